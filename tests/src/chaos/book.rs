//! What one application was promised, and what therefore has to be there in the end.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::twins::Last;

/// One promised write that nobody has looked up yet.
#[derive(Debug, Clone)]
pub(super) struct Promise {
    /// Its id.
    pub write: String,
    /// What it does.
    pub what: What,
    /// Whether the answer was already the last word: the cloud's is.
    pub decided: bool,
}

/// What a write does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// One sale, by its key: a record, and a counter that goes up by as much in the same write.
    Sale(String),
    /// The shared counter and the application's own go up by so much.
    Tally(i64),
    /// A counter that only this application increments, without a name and without a record beside it: nothing but the link's own
    /// memory tells its repeats. It is this now.
    Plain(i64),
    /// The application's own record, that nobody else writes: this is its number now; none: it is deleted.
    Note(String, Option<u64>),
    /// The application's two records get the same number in one write.
    Pair(u64),
    /// The number in a record goes up by one, if nobody else changed it since it was read.
    Seat(String),
    /// A field that all write: the later time wins.
    Field(String, String),
    /// A record goes to another site; only one application moves any.
    Move(String, String),
    /// What is desired of a device (`DEVICE/PROPERTY`) is this number now.
    Desired(String, u64),
    /// The application's own record among what only depots get has this number now, if its shop has the right when it is judged.
    Rack(u64),
    /// A note on a parcel, which may be another site's by then.
    Parcel,
    /// Something whose effect may be undone by others, and is looked at only as what is the same everywhere.
    Other,
}

impl What {
    /// Whether the cloud may say no, for this reason: somebody else came first, or the right was lost.
    pub(super) fn may_be_rejected(&self, code: &str) -> bool {
        match self {
            Self::Seat(_) | Self::Field(..) | Self::Other => true,
            // Also what stood on another write that was.
            Self::Rack(_) | Self::Parcel => ["not_entitled", "depends"].contains(&code),
            _ => false,
        }
    }
}

/// A sale as its application knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sold {
    /// Answered 2xx.
    Promised,
    /// No answer came, or one that does not say.
    Maybe,
    /// Refused.
    Refused,
}

/// One application's book.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Promised since the last look.
    pub promises: Vec<Promise>,
    /// Every sale it tried.
    pub sales: BTreeMap<String, Sold>,
    /// The sum of its tallies.
    pub tallied: i64,
    /// Its own counter.
    pub(super) plain: i64,
    /// Its own records.
    pub notes: BTreeMap<String, Option<u64>>,
    /// The number of its two records.
    pub pair: u64,
    /// How often its changes of a seat were taken.
    pub seats: BTreeMap<String, i64>,
    /// What it wrote into fields that all write.
    pub fields: BTreeMap<String, BTreeSet<String>>,
    /// Where it moved what to.
    pub moves: BTreeMap<String, String>,
    /// The number of its record among what only depots get.
    pub rack: u64,
    /// What it desired last of a device.
    pub desired: BTreeMap<String, Last>,
}

impl Book {
    /// The write is decided: what it did is expected from now on. The last word on a promise that cannot be rejected was taken down
    /// when it was given.
    pub(super) fn accepted(&mut self, what: &What, write: &Value) {
        match what {
            What::Rack(number) => self.rack = *number,
            What::Seat(key) => *self.seats.entry(key.clone()).or_default() += 1,
            What::Desired(key, number) => {
                let revision = write["revision"].as_u64().unwrap_or(0);
                let last = Last { revision, number: *number, stood: write["state"] == "applied" };
                self.desired.insert(key.clone(), last);
            }
            _ => {}
        }
    }

    /// A write was promised: what its application reads from now on.
    pub(super) fn promised(&mut self, write: String, what: What, decided: bool) {
        match &what {
            What::Sale(key) => drop(self.sales.insert(key.clone(), Sold::Promised)),
            What::Tally(by) => self.tallied += by,
            What::Plain(now) => self.plain = *now,
            What::Note(key, number) => drop(self.notes.insert(key.clone(), *number)),
            What::Pair(number) => self.pair = *number,
            What::Field(place, text) => drop(self.fields.entry(place.clone()).or_default().insert(text.clone())),
            What::Move(key, site) => drop(self.moves.insert(key.clone(), site.clone())),
            What::Seat(_) | What::Rack(_) | What::Parcel | What::Desired(..) | What::Other => {}
        }
        self.promises.push(Promise { write, what, decided });
    }
}
