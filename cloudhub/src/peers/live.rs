//! One connection, as everybody but its own task sees it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::frame::{Fill, Report};
use proto::ids::Position;
use proto::names::NodeName;
use proto::session::Mode;
use tokio::sync::Notify;
use transport::counters::LinkCounters;
use transport::link::TransportKind;

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
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    end: Option<Box<Ending>>,
    view: View,
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
}

impl Live {
    pub(super) fn new(id: u64, node: NodeName, address: String, transport: TransportKind, counters: Arc<LinkCounters>) -> Self {
        Self { id, node, address, transport, counters, wake: Notify::new(), inside: Mutex::default() }
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

    /// Why it is to end, if it is.
    pub(super) fn ending(&self) -> Option<Ending> {
        self.lock().end.as_deref().cloned()
    }

    /// How it goes.
    pub fn view(&self) -> View {
        self.lock().view.clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.lock().view);
    }
}
