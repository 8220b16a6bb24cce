//! What goes between a broker and the worker, whichever broker it is.

use std::sync::Arc;

use rumqttc::Publish;

use super::broker::Requests;
use super::internal::House;
use super::inward::Held;
use super::trouble::Trouble;

/// A message of a device.
#[derive(Debug, Clone)]
pub(super) struct Message {
    /// What was said, and where.
    pub(super) publish: Publish,
    /// The connection that it came over: it is acknowledged there, or comes again.
    pub(super) from: u64,
    /// What it takes of the memory there is for such messages.
    pub(super) _room: Option<Arc<Held>>,
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
    pub(super) async fn subscribe(&self) -> bool {
        match self {
            Self::External(requests) => requests.subscribe().await,
            // It brings it all by itself.
            Self::Internal(_) => true,
        }
    }

    /// Hands over a message, when there is room for it; false: the broker went away before there was.
    pub(super) async fn publish(&self, message: devicetwin::outgoing::Message) -> bool {
        match self {
            Self::External(requests) => requests.publish(message).await,
            Self::Internal(house) => house.publish(message),
        }
    }

    /// The database has what the message said, or it was answered why not.
    pub(super) fn acknowledge(&self, message: &Message) {
        match self {
            Self::Internal(house) => house.acknowledge(message.from, &message.publish),
            Self::External(requests) => requests.acknowledge(message.from, &message.publish),
        }
    }

    /// The last words.
    pub(super) fn disconnect(&self) {
        if let Self::External(requests) = self {
            requests.disconnect();
        }
    }
}
