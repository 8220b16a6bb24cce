//! One connection, as everybody but its own task sees it.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::frame::{Fill, Report};
use proto::ids::Position;
use proto::names::NodeName;
use proto::session::Mode;
use tokio::sync::Notify;
use transport::counters::LinkCounters;
use transport::link::TransportKind;

use super::verify::Checked;

/// A node's connection, from its handshake to its end.
#[derive(Debug)]
pub struct Live {
    /// Which one; never given twice.
    pub id: u64,
    /// Who, by its certificate.
    pub node: NodeName,
    /// From where.
    pub address: String,
    /// Through what.
    pub transport: TransportKind,
    /// Bytes that passed.
    pub counters: Arc<LinkCounters>,
    /// Rung when there may be something to read, or when the session is to end.
    pub(super) wake: Notify,
    /// Rung when there is an answer to [`Live::verify`], or there will be none.
    checked: Notify,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    end: Option<Box<Ending>>,
    view: View,
    /// How often somebody asked for a verification, and how much of that the session knows.
    asked: u64,
    told: u64,
    /// The newest answer, and which requests it answers.
    answer: Option<(u64, Arc<Checked>)>,
    over: bool,
}

/// Why the hub ends a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Stable word, as the edge hears it.
    pub code: &'static str,
    /// For people.
    pub detail: String,
}

/// How a session goes.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The edge has committed the session number: the node is online.
    pub open: bool,
    /// How batches flow.
    pub mode: Mode,
    /// The edge's durable cursor.
    pub acked: Position,
    /// All that is known to be there is acknowledged.
    pub in_sync: bool,
    /// Back-fills that are open, as far as the newest scan was told.
    pub fills: Vec<Fill>,
    /// Why the edge takes nothing.
    pub paused: Option<String>,
    /// What it said of its outbox.
    pub report: Option<Box<Report>>,
    /// Since when it has been behind without a break, milliseconds since 1970.
    pub behind_since_ms: Option<u64>,
    /// Its system clock less the hub's when it connected, milliseconds.
    pub skew_ms: i64,
    /// Its program can compare digests.
    pub compares: bool,
    /// When its digests last agreed in this session, milliseconds since 1970.
    pub verified_ms: Option<u64>,
}

impl Live {
    pub(super) fn new(id: u64, node: NodeName, address: String, transport: TransportKind, counters: Arc<LinkCounters>) -> Self {
        Self { id, node, address, transport, counters, wake: Notify::new(), checked: Notify::new(), inside: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // What is in it is replaced whole.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the session to end. The first reason counts.
    pub fn end(&self, code: &'static str, detail: impl Into<String>) {
        self.lock().end.get_or_insert_with(|| Box::new(Ending { code, detail: detail.into() }));
        self.wake.notify_one();
    }

    /// Whether it has been asked to end.
    pub(super) fn is_ending(&self) -> bool {
        self.lock().end.is_some()
    }

    /// Why it is to end, if it is.
    pub(super) fn ending(&self) -> Option<Ending> {
        self.lock().end.as_deref().cloned()
    }

    /// Asks the session to compare digests; [`Live::checked`] waits for what comes of it.
    pub fn verify(&self) -> u64 {
        let mut inside = self.lock();
        inside.asked += 1;
        self.wake.notify_one();
        inside.asked
    }

    /// What came of a request; `None`: the connection is over.
    pub async fn checked(&self, ticket: u64) -> Option<Arc<Checked>> {
        loop {
            let mut rung = pin!(self.checked.notified());
            // From here on no ring is missed.
            rung.as_mut().enable();
            let (answer, over) = {
                let inside = self.lock();
                (inside.answer.clone(), inside.over)
            };
            match answer.filter(|(answered, _)| *answered >= ticket) {
                Some((_, checked)) => return Some(checked),
                None if over => return None,
                None => rung.await,
            }
        }
    }

    /// The newest request, if the session does not know it.
    pub(super) fn wants_verification(&self) -> Option<u64> {
        let mut inside = self.lock();
        let asked = inside.asked;
        (std::mem::replace(&mut inside.told, asked) < asked).then_some(asked)
    }

    /// Answers all requests up to a ticket.
    pub(super) fn answer(&self, ticket: u64, checked: Checked) {
        if ticket > 0 {
            self.lock().answer = Some((ticket, Arc::new(checked)));
            self.checked.notify_waiters();
        }
    }

    /// Nothing comes from it any more.
    pub(super) fn over(&self) {
        self.lock().over = true;
        self.checked.notify_waiters();
    }

    /// How it goes.
    pub fn view(&self) -> View {
        self.lock().view.clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.lock().view);
    }
}
