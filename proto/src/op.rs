//! What a write says (design §4): ops as they were committed, which never change afterwards.

use alloc::string::String;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::clock::Hlc;
use crate::ids::Revision;
use crate::json::{Raw, Value};
use crate::limits::WAS_BYTES;
use crate::names::{CollectionName, Key};

/// The first 16 bytes of a SHA-256, FIPS 180-4.
pub type Hash = [u8; 16];

/// Hashes bytes: writes over their encoded form, old values over their JSON text.
pub fn hash(bytes: &[u8]) -> Hash {
    let digest = Sha256::digest(bytes);
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}

/// One or more ops that an application committed together. Its number and database travel beside it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Write {
    /// When, by the hybrid clock of the database that committed it.
    pub hlc: Hlc,
    /// When, for people: milliseconds since 1970.
    pub at_ms: u64,
    /// Who, as the application said (`Tombolo-Actor`).
    pub actor: Option<String>,
    /// The request that made it, for logs on both sides.
    pub request_id: Option<String>,
    /// The application's own name of the request, under which it may be repeated.
    pub idempotency: Option<Idempotency>,
    /// In the order given; later ops see earlier ones.
    pub ops: Vec<Op>,
}

/// `Idempotency-Key`: unique in the node, so that a request that is made again has no second effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// What the application calls its request, 1 to [`crate::limits::IDEMPOTENCY_KEY_BYTES`].
    pub key: String,
    /// The hash of the request: another one under the same key is refused.
    pub request: Hash,
}

/// One operation on one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// The collection.
    pub collection: CollectionName,
    /// The record.
    pub key: Key,
    /// Up to which revision the edge knew the record; 0 where the view held none.
    pub seen: Revision,
    /// The revision of the definition that it was made under.
    pub definition: Revision,
    /// The pending write that created the record, where it existed only through that one. This op is rejected with it.
    pub depends: Option<u64>,
    /// Pending writes (the newest [`crate::limits::STANDS_ON`]) that lay over the record when a count was taken.
    pub stands_on: Vec<u64>,
    /// `"if": REVISION`: rejected `guard` when another database changed the record above it.
    pub expect: Option<Revision>,
    /// What it does.
    pub body: Body,
}

/// What an op does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Creates, and only creates.
    Put(Value),
    /// Sets and removes top-level fields; with `seen` 0 it creates or merges.
    Merge(Vec<Change>),
    /// Adds to counters; never creates.
    Increment(Vec<(String, i64)>),
    /// Deletes; `force` also a record with a non-zero counter.
    Delete {
        /// Asked for with `force`.
        force: bool,
    },
    /// The write applies only when these fields still have these values; `None`: absent.
    Check(Vec<(String, Option<Raw>)>),
}

/// A claim on one top-level field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The field.
    pub field: String,
    /// Its new value.
    pub to: To,
    /// What it was in the view.
    pub was: Was,
}

/// What a field becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// This value; null is a value.
    Set(Raw),
    /// Nothing.
    Remove,
    /// A counter was set: what was observed, and the difference to the view that is added.
    Count {
        /// The figure that was given.
        observed: i64,
        /// Observed minus view.
        delta: i64,
    },
}

/// What a field was in the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Was {
    /// The view had no such field.
    Absent,
    /// Its value, up to [`WAS_BYTES`].
    Value(Raw),
    /// The hash of its text, above that.
    Hash(Hash),
}

impl Was {
    /// What to remember of a field's value.
    pub fn of(value: Option<&Raw>) -> Self {
        match value {
            None => Self::Absent,
            Some(raw) if raw.as_str().len() <= WAS_BYTES => Self::Value(raw.clone()),
            Some(raw) => Self::Hash(hash(raw.as_str().as_bytes())),
        }
    }

    /// Whether a stored field still is what the op saw.
    pub fn is(&self, stored: Option<&Raw>) -> bool {
        match (self, stored) {
            (Self::Absent, None) => true,
            (Self::Value(was), Some(stored)) => was.same(stored),
            (Self::Hash(was), Some(stored)) => *was == hash(stored.as_str().as_bytes()),
            _ => false,
        }
    }
}

impl Body {
    /// The word in every interface.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Put(_) => "put",
            Self::Merge(_) => "merge",
            Self::Increment(_) => "increment",
            Self::Delete { .. } => "delete",
            Self::Check(_) => "check",
        }
    }
}

impl Op {
    /// Whether it may change the record.
    pub fn is_check(&self) -> bool {
        matches!(self.body, Body::Check(_))
    }

    /// Whether it says something about a top-level field.
    pub fn claims(&self, field: &str) -> bool {
        match &self.body {
            Body::Put(value) => value.get(field).is_some(),
            Body::Merge(changes) => changes.iter().any(|change| change.field == field),
            Body::Increment(by) => by.iter().any(|(name, _)| name == field),
            Body::Delete { .. } | Body::Check(_) => false,
        }
    }

    /// Whether it creates a record where there is none.
    pub fn creates(&self) -> bool {
        self.seen == Revision::ZERO && matches!(self.body, Body::Put(_) | Body::Merge(_))
    }

    /// How many bytes of names and values it carries, for the bound of a write.
    pub fn size(&self) -> usize {
        let raw = |raw: &Raw| raw.as_str().len();
        let body = match &self.body {
            Body::Put(value) => value.text_len(),
            Body::Merge(changes) => changes.iter().map(Change::size).sum(),
            Body::Increment(by) => by.iter().map(|(field, _)| field.len() + 8).sum(),
            Body::Delete { .. } => 0,
            Body::Check(fields) => fields.iter().map(|(field, value)| field.len() + value.as_ref().map_or(0, raw)).sum(),
        };
        self.collection.as_str().len() + self.key.as_str().len() + body
    }
}

impl Change {
    fn size(&self) -> usize {
        let to = match &self.to {
            To::Set(raw) => raw.as_str().len(),
            To::Remove => 0,
            To::Count { .. } => 16,
        };
        let was = match &self.was {
            Was::Value(raw) => raw.as_str().len(),
            Was::Absent => 0,
            Was::Hash(_) => 16,
        };
        self.field.len() + to + was
    }
}

/// The cloud's one answer to a write. The order is that of strength: the strongest of a write's ops counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// All of it took effect.
    Applied,
    /// Single fields lost.
    Merged,
    /// It took effect, and an open conflict asks a person to look.
    Flagged,
    /// None of it took effect.
    Rejected,
    /// The number is known, its content is not (design §9).
    Lost,
}

impl Verdict {
    /// All of them, in their order: for tables that have a place for each.
    pub const ALL: [Self; 5] = [Self::Applied, Self::Merged, Self::Flagged, Self::Rejected, Self::Lost];

    /// The word in every interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Merged => "merged",
            Self::Flagged => "flagged",
            Self::Rejected => "rejected",
            Self::Lost => "lost",
        }
    }
}

/// A write's outcome, as it travels in the record stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The answer.
    pub verdict: Verdict,
    /// The revision that it was decided at.
    pub revision: Revision,
    /// The stable code of a rejection or a flag: `key_taken`, `bound`, `count`, `guard`, `gone`, `depends`, …
    pub code: Option<String>,
    /// For people.
    pub detail: Option<String>,
    /// Ids of the conflict rows that it opened or added to.
    pub conflicts: Vec<String>,
}

#[cfg(test)]
#[path = "op_tests.rs"]
mod tests;
