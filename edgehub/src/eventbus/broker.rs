//! The connection to the broker: MQTT 3.1.1, a session that the broker keeps, and messages that are acknowledged when the database
//! has them.

use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, Publish, QoS, SubscribeFilter};
use tokio::sync::mpsc;

use crate::config::Broker;

/// Largest packet that is taken, bytes: the largest payload, its topic and what is around them.
const PACKET_BYTES: usize = devicetwin::limits::PAYLOAD_BYTES + 128 * 1024;
/// Messages of ours that wait for the broker's acknowledgement.
const INFLIGHT: u16 = 1_000;
/// Messages and acknowledgements that wait for the connection: MQTT has 65,535 numbers for what can wait for one.
const REQUESTS: usize = 65_536;
/// Messages that wait for the worker: the connection is not read while they do.
const WAITING: usize = 1_024;
/// The broker hears of us this often.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// The pause before the next connection: from, to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// What comes from the broker.
pub(super) enum Arrived {
    /// Connected.
    Up,
    /// Not connected any more, or not yet.
    Down(String),
    /// A message, to be acknowledged.
    Message(Publish),
}

/// The way to the broker.
#[derive(Clone)]
pub(super) struct Way(AsyncClient);

/// Begins to connect. What arrives comes through the channel, until it is dropped.
pub(super) fn connect(broker: &Broker, client_id: String) -> (Way, mpsc::Receiver<Arrived>, impl Future<Output = ()> + Send + use<>) {
    let mut options = MqttOptions::new(client_id, broker.host.clone(), broker.port);
    options
        .set_clean_session(false)
        .set_manual_acks(true)
        .set_keep_alive(KEEP_ALIVE)
        .set_inflight(INFLIGHT)
        .set_max_packet_size(PACKET_BYTES, 4 * PACKET_BYTES);
    if let Some(user) = &broker.user {
        options.set_credentials(user.name.clone(), user.password.clone());
    }
    let (client, events) = AsyncClient::new(options, REQUESTS);
    let (sender, arrived) = mpsc::channel(WAITING);
    (Way(client), arrived, carry(events, sender))
}

async fn carry(mut events: EventLoop, sender: mpsc::Sender<Arrived>) {
    let mut pause = PAUSES.0;
    loop {
        let arrived = match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                pause = PAUSES.0;
                Arrived::Up
            }
            Ok(Event::Incoming(Packet::Publish(message))) => Arrived::Message(message),
            Ok(_) => continue,
            Err(error) => Arrived::Down(error.to_string()),
        };
        let down = matches!(arrived, Arrived::Down(_));
        if sender.send(arrived).await.is_err() {
            return;
        }
        if down {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

impl Way {
    /// Asks for what devices say.
    pub(super) fn subscribe(&self) -> bool {
        let filters = devicetwin::topic::SUBSCRIPTIONS.map(|topic| SubscribeFilter::new(topic.to_owned(), QoS::AtLeastOnce));
        self.0.try_subscribe_many(filters).is_ok()
    }

    /// Hands over a message; false: too many wait.
    pub(super) fn publish(&self, message: devicetwin::outgoing::Message) -> bool {
        self.0.try_publish(message.topic, QoS::AtLeastOnce, false, message.payload).is_ok()
    }

    /// The database has what the message said, or it was answered why not.
    pub(super) fn acknowledge(&self, message: &Publish) {
        // Where there is no room for it the broker sends the message again, and that does no harm.
        let _ = self.0.try_ack(message);
    }

    /// Says goodbye; the broker keeps the session.
    pub(super) fn disconnect(&self) {
        let _ = self.0.try_disconnect();
    }
}
