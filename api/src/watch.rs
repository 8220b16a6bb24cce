//! What a watch is of, and what it brings: the events of `GET /v1/watch`, in steps that the HTTP side asks for.
//!
//! A hub tells no watcher anything by itself: it is asked for the next step whenever the watcher has room, and rings when
//! there may be one. So a slow reader costs nobody anything but itself.

use std::future::Future;

use proto::names::CollectionName;
use tokio::sync::watch;

use crate::hub::{Caller, ConflictRow, Hub};
use crate::problem::Problem;
use crate::shapes::{Object, Record, Write};

/// A hub that can be watched.
pub trait Watched: Hub {
    /// The next events after a place, as many as one step holds, or none. Errors: `not_found` for a collection that is
    /// named and not there, when a watch begins.
    fn watch(&self, watch: &Watch, from: &WatchFrom) -> impl Future<Output = Result<WatchStep, Problem>> + Send;

    /// Rung when there may be more.
    fn changes(&self) -> watch::Receiver<()>;
}

/// Who watches what.
#[derive(Debug, Clone)]
pub struct Watch {
    /// The collections that are named; none: all that the caller sees, except the system's.
    pub collections: Vec<CollectionName>,
    /// Who asks.
    pub caller: Caller,
}

impl Watch {
    /// Whether records of this collection are told.
    pub fn wants(&self, collection: &CollectionName) -> bool {
        let named = if self.collections.is_empty() { !collection.is_system() } else { self.collections.contains(collection) };
        named && self.caller.sees(collection.as_str())
    }

    /// Whether a conflict about a record of this collection is told; all are, where the rows themselves are named.
    pub fn wants_conflict(&self, about: &str) -> bool {
        let rows = self.collections.contains(&CollectionName::conflicts()) && self.caller.sees(about);
        rows || self.wants_any(about)
    }

    fn wants_any(&self, collection: &str) -> bool {
        CollectionName::parse(collection).is_ok_and(|collection| self.wants(&collection))
    }

    /// Whether a write's outcome is told: something of it is wanted, and the caller sees all of it.
    pub fn wants_write(&self, write: &Write) -> bool {
        let all = self.collections.is_empty() && self.caller.collections.is_none();
        write.ops.iter().all(|op| self.caller.sees(&op.collection)) && (all || write.ops.iter().any(|op| self.wants_any(&op.collection)))
    }
}

/// Where a step begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchFrom {
    /// A watch begins: only what comes from now on.
    Now,
    /// A watch begins: everything that is there, then what comes.
    Start,
    /// A watch begins at a token that the application kept.
    Token(String),
    /// A watch goes on.
    On(String),
}

/// The next events.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchStep {
    /// In order.
    pub events: Vec<WatchEvent>,
    /// Where to go on after all of them: a token.
    pub next: String,
    /// There is more already.
    pub more: bool,
}

impl WatchStep {
    /// Nothing, at this place.
    pub fn empty(next: String) -> Self {
        Self { events: Vec::new(), next, more: false }
    }

    /// The place that was asked for is not known, or too old: the watch goes on from this one, and the application lists
    /// again.
    pub fn reset(next: String) -> Self {
        Self { events: vec![WatchEvent { id: next.clone(), what: Seen::Reset }], next, more: false }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchEvent {
    /// Where to go on after it: a token.
    pub id: String,
    /// What it says.
    pub what: Seen,
}

/// What an event says.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// A record, as it is now.
    Record(Record),
    /// A record is gone.
    Deleted {
        /// Its collection.
        collection: String,
        /// Its key.
        key: String,
    },
    /// A write has its outcome.
    Outcome(Write),
    /// A conflict row is new or has changed.
    Conflict(ConflictRow),
    /// List again.
    Reset,
}

impl Seen {
    /// The event's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Record(_) | Self::Deleted { .. } => "record",
            Self::Outcome(_) => "outcome",
            Self::Conflict(_) => "conflict",
            Self::Reset => "reset",
        }
    }

    /// Writes the event's data.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Record(record) => record.write_json(out, None),
            Self::Deleted { collection, key } => {
                let mut object = Object::new(out);
                object.text("collection", collection);
                object.text("key", key);
                object.flag("deleted", true);
                object.end();
            }
            Self::Outcome(write) => write.write_json(out),
            Self::Conflict(conflict) => out.extend_from_slice(conflict.row.as_str().as_bytes()),
            Self::Reset => out.extend_from_slice(b"{}"),
        }
    }
}
