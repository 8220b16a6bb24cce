//! What goes between a broker and the worker, whichever broker it is.

use std::sync::Arc;

use rumqttc::Publish;

use super::broker::Requests;
use super::internal::House;
use super::trouble::Trouble;

/// A message of a device.
#[derive(Debug, Clone)]
pub(super) struct Message {
    /// What was said, and where.
    pub(super) publish: Publish,
    /// The connection of the broker inside edgehub that it came over; none: it is another broker's.
    pub(super) from: Option<u64>,
}

/// What comes from a broker.
pub(super) enum Arrived {
    /// It is there; and whether it has kept what it knew of edgehub, where it could have.
    Up { kept: Option<bool> },
    /// It is not there any more, or not yet.
    Down(Trouble),
    /// A message, to be acknowledged.
    Message(Message),
}

/// The way to a broker.
#[derive(Clone)]
pub(super) enum Way {
    External(Requests),
    Internal(Arc<House>),
}

impl Way {
    /// Asks for what devices say.
    pub(super) fn subscribe(&self) -> bool {
        match self {
            Self::External(requests) => requests.subscribe(),
            // It brings it all by itself.
            Self::Internal(_) => true,
        }
    }

    /// Hands over a message; false: there is no room for it.
    pub(super) fn publish(&self, message: devicetwin::outgoing::Message) -> bool {
        match self {
            Self::External(requests) => requests.publish(message),
            Self::Internal(house) => house.publish(message),
        }
    }

    /// The database has what the message said, or it was answered why not.
    pub(super) fn acknowledge(&self, message: &Message) {
        match (self, message.from) {
            (Self::Internal(house), Some(connection)) => house.acknowledge(connection, &message.publish),
            (Self::External(requests), None) => requests.acknowledge(&message.publish),
            _ => {}
        }
    }

    /// The last words.
    pub(super) fn disconnect(&self) {
        if let Self::External(requests) = self {
            requests.disconnect();
        }
    }
}
