//! A broker inside edgehub (MQTT 3.1.1), for machines that have none (decision 0017).
//!
//! `sessions` is the broker as such, without I/O; `connection` is one client's socket; here they are put together, and what devices say
//! is handed to the worker. It keeps nothing on disk, and needs not: a device's message on one of edgehub's topics is acknowledged when
//! the edge database has it.

mod connection;
mod filter;
mod limits;
mod sessions;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rumqttc::mqttbytes::v4::{ConnAck, Connect};
use rumqttc::{Publish, QoS};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::board::BusBoard;
use super::limits::WAITING;
use super::prompt::Prompt;
use super::trouble::Trouble;
use super::way::{Arrived, Way};
use crate::config::User;
use sessions::Sessions;

/// What the broker inside edgehub is told.
#[derive(Clone)]
pub(super) struct Door {
    /// Where it listens.
    pub(super) listen: SocketAddr,
    /// With what, where it speaks TLS.
    pub(super) tls: Option<TlsAcceptor>,
    /// Who gets in; none: everybody.
    pub(super) devices: Option<User>,
}

impl Door {
    /// Whether somebody may come in.
    fn admits(&self, connect: &Connect) -> bool {
        let Some(User { name, password }) = &self.devices else { return true };
        // Hashes, so that how long it takes says nothing about how much of it was right.
        let hash = |text: &str| Sha256::digest(text.as_bytes());
        let given = connect.login.as_ref().map_or(("", ""), |login| (login.username.as_str(), login.password.as_str()));
        (hash(given.0) == hash(name)) & (hash(given.1) == hash(password))
    }
}

/// What the connections and the worker share.
pub(super) struct House {
    state: Mutex<State>,
    board: Arc<BusBoard>,
}

#[derive(Default)]
struct State {
    sessions: Sessions,
    /// What wakes a connection's task.
    bells: BTreeMap<u64, Arc<Notify>>,
    /// Who was there, and what was dropped, when it was shown last.
    shown: (usize, u64),
}

impl House {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Who panicked had one client in hand; that one is put out, the others go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, change: impl FnOnce(&mut Sessions) -> T) -> T {
        let mut state = self.lock();
        let made = change(&mut state.sessions);
        for number in state.sessions.rung() {
            if let Some(bell) = state.bells.get(&number) {
                bell.notify_one();
            }
        }
        let now = state.sessions.counts();
        if state.shown != now {
            state.shown = now;
            let away = state.sessions.away() as u64;
            self.board.internal(|broker| (broker.clients, broker.sessions, broker.dropped) = (now.0 as u64, away, now.1));
        }
        made
    }

    fn connect(&self, connect: Connect, bell: Arc<Notify>) -> Result<(u64, ConnAck), ConnAck> {
        let connected = self.with(|sessions| sessions.connect(connect))?;
        bell.notify_one();
        self.lock().bells.insert(connected.0, bell);
        Ok(connected)
    }

    fn leave(&self, number: u64) {
        self.with(|sessions| sessions.gone(number, false));
        self.lock().bells.remove(&number);
    }

    /// A message of edgehub's goes to whoever wants it.
    pub(super) fn publish(&self, message: devicetwin::outgoing::Message) -> bool {
        self.with(|sessions| sessions.spread(Publish::new(message.topic, QoS::AtLeastOnce, message.payload)));
        true
    }

    /// The database has a message of a connection's.
    pub(super) fn acknowledge(&self, number: u64, publish: &Publish) {
        self.with(|sessions| sessions.acknowledge(number, publish));
    }

    /// Whoever waits for an acknowledgement has to say it again.
    pub(super) fn again(&self) {
        self.with(Sessions::drop_unacknowledged);
    }
}

/// Opens the broker. What arrives comes through the channel, until it is dropped.
pub(super) fn open(door: Door, board: Arc<BusBoard>) -> (Way, mpsc::Receiver<Arrived>, impl Future<Output = ()> + Send) {
    let house = Arc::new(House { state: Mutex::default(), board: Arc::clone(&board) });
    let (sender, arrived) = mpsc::channel(WAITING);
    (Way::Internal(Arc::clone(&house)), arrived, keep_open(door, house, sender, board))
}

/// Listens for as long as somebody hears; whatever ends it is shown, and it begins again.
async fn keep_open(door: Door, house: Arc<House>, sender: mpsc::Sender<Arrived>, board: Arc<BusBoard>) {
    loop {
        let why = match TcpListener::bind(door.listen).await {
            Err(error) => format!("{}: {error}", door.listen),
            Ok(listener) => {
                if sender.send(Arrived::Up { kept: None }).await.is_err() {
                    return;
                }
                // A task of its own, which takes those of its connections with it: a panic in it is seen here, and ends nothing else.
                let mut listening = JoinSet::new();
                listening.spawn(listen(listener, door.clone(), Arc::clone(&house), sender.clone(), Arc::clone(&board)));
                match listening.join_next().await {
                    Some(Err(panicked)) => format!("the broker inside edgehub failed: {panicked}"),
                    _ => return,
                }
            }
        };
        if sender.send(Arrived::Down(Trouble::Listen(why))).await.is_err() {
            return;
        }
        tokio::time::sleep(limits::LISTEN_AGAIN).await;
    }
}

/// Takes connections until nobody hears what they say.
async fn listen(listener: TcpListener, door: Door, house: Arc<House>, sender: mpsc::Sender<Arrived>, board: Arc<BusBoard>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = sender.closed() => return,
            accepted = listener.accept() => match accepted {
                // As many again may be on their way in.
                Ok(_) if connections.len() >= 2 * limits::CONNECTIONS => board.internal(|broker| broker.turned_away += 1),
                Ok((tcp, from)) => {
                    let tcp = Prompt::new(tcp);
                    connections.spawn(connection::serve(tcp, from, door.clone(), Arc::clone(&house), sender.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the broker inside edgehub cannot take a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                }
            },
            Some(ended) = connections.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "a connection of the broker inside edgehub failed; the client connects again");
                board.internal(|broker| broker.failed += 1);
            },
        }
    }
}
