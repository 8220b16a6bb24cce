//! The frames of the link as types that are valid because they exist. [`Frame::decode`] is the only way in.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;

use crate::digest::{Digest, RangeSet};
use crate::ids::{Cursor, DatabaseId, EpochStart, Position, Revision};
use crate::names::{CollectionName, Key};
use crate::op::{Hash, Outcome};

mod compress;
mod decode;
mod encode;

/// Bytes or members that do not follow the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}: {why}")]
pub struct Malformed {
    /// The frame or member.
    pub what: &'static str,
    /// What is wrong with it.
    pub why: String,
}

impl Malformed {
    /// Names a member and what is wrong with it.
    pub fn new(what: &'static str, why: impl Display) -> Self {
        Self { what, why: why.to_string() }
    }
}

/// An empty string on the wire is an absent one.
pub(crate) fn some_text(text: String) -> Option<String> {
    if text.is_empty() { None } else { Some(text) }
}

/// One message of the link.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // each variant is the struct of its name
pub enum Frame {
    Hello(Hello),
    Welcome(Welcome),
    Refuse(Refuse),
    /// The edge has committed the session number.
    Started {
        session: u64,
    },
    Batch(Batch),
    Ack(Ack),
    /// Alive and busy: bytes received so far in this session. The edge says it while a large frame comes or a commit
    /// runs, the cloud only while a large frame comes.
    Received {
        bytes: u64,
    },
    Nack(Reason),
    /// The edge can store again.
    Ready,
    Writes(Vec<NumberedWrite>),
    /// The cloud has durably decided every write up to here.
    Taken {
        number: u64,
    },
    Ping {
        sent_ms: u64,
        report: Option<Report>,
    },
    Pong {
        sent_ms: u64,
        now_ms: u64,
    },
    Close(Reason),
    Compared(Compared),
    /// The edge wants digests with the next batch at the head.
    Verify,
    /// The edge wants these records as they are now.
    Ask(Vec<(CollectionName, Key)>),
    /// So much of a write that comes in parts is durable at the cloud, or of a value at the edge.
    Held(Held),
    /// A part of a large value, ahead of the batch that it belongs to.
    Piece(Piece),
}

impl Frame {
    /// The frame's kind, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "Hello",
            Self::Welcome(_) => "Welcome",
            Self::Refuse(_) => "Refuse",
            Self::Started { .. } => "Started",
            Self::Batch(_) => "Batch",
            Self::Ack(_) => "Ack",
            Self::Received { .. } => "Received",
            Self::Nack(_) => "Nack",
            Self::Ready => "Ready",
            Self::Writes(_) => "Writes",
            Self::Taken { .. } => "Taken",
            Self::Ping { .. } => "Ping",
            Self::Pong { .. } => "Pong",
            Self::Close(_) => "Close",
            Self::Compared(_) => "Compared",
            Self::Verify => "Verify",
            Self::Ask(_) => "Ask",
            Self::Held(_) => "Held",
            Self::Piece(_) => "Piece",
        }
    }
}

/// A stable code and a text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Stable.
    pub code: String,
    /// For people.
    pub detail: String,
}

/// One partition of one collection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    /// The collection.
    pub collection: CollectionName,
    /// The partition's value; none where the collection is not cut.
    pub partition: Option<String>,
}

/// A node's right to one partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// What it is a right to.
    pub share: Share,
    /// The revision that it was given at; another one is another grant.
    pub since: Revision,
    /// The back-fill reads what is at or below this; everything above comes in the stream.
    pub from: Revision,
}

/// A definition on the wire: its JSON is parsed by whoever stores it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DefinitionText {
    /// The collection.
    pub name: CollectionName,
    /// The revision that it came with.
    pub revision: Revision,
    /// [`crate::definition::Definition`] as JSON.
    pub json: String,
}

/// Everything that a node is entitled to, and the definitions of those collections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    /// The cloud transaction that last changed them.
    pub revision: Revision,
    /// In (collection, partition) order.
    pub grants: Vec<Grant>,
    /// In name order.
    pub definitions: Vec<DefinitionText>,
    /// The node's labels, for people, in name order.
    pub labels: Vec<(String, String)>,
}

impl Grants {
    /// A hash of what matters: shares, when they were given, and definitions (not `from`, which a new session may move).
    pub fn hash(&self) -> Hash {
        let mut bytes = Vec::new();
        let mut text = |text: &str| {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        };
        for grant in &self.grants {
            text("grant");
            text(grant.share.collection.as_str());
            text(grant.share.partition.as_deref().unwrap_or("\u{0}"));
            text(&grant.since.to_string());
        }
        for definition in &self.definitions {
            text("definition");
            text(definition.name.as_str());
            text(&definition.revision.to_string());
        }
        crate::op::hash(&bytes)
    }
}

/// How far the back-fill of one grant has come: everything up to `at` of what is at or below `from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    /// The grant.
    pub grant: Grant,
    /// How far.
    pub at: Position,
    /// A repair reads only these ranges of keys; none: the whole grant.
    pub ranges: Option<RangeSet>,
}

/// The first frame of a session, edge to cloud.
#[derive(Debug, Clone, PartialEq)]
pub struct Hello {
    /// Lowest and highest protocol version that the edge speaks.
    pub versions: (u32, u32),
    /// Names of optional features.
    pub features: Vec<String>,
    /// The database.
    pub database: DatabaseId,
    /// The newest session number that it committed; 0: none.
    pub session: u64,
    /// The epochs that it knows, oldest first.
    pub epochs: Vec<EpochStart>,
    /// Its durable cursor; none: a new database.
    pub cursor: Option<Cursor>,
    /// [`Grants::hash`] of what it holds.
    pub grants_hash: Hash,
    /// Its open back-fills.
    pub fills: Vec<Fill>,
    /// The newest number ever given to a write of this database.
    pub newest_write: u64,
    /// The oldest pending number; 0: none.
    pub outbox_first: u64,
    /// Numbers that will never come.
    pub gaps: Vec<(u64, u64)>,
    /// Its wall clock, milliseconds.
    pub now_ms: u64,
    /// Version of the program, for display.
    pub software: String,
    /// Fewer pings (design §5).
    pub metered: bool,
    /// What the operator sees of its outbox.
    pub report: Report,
    /// The database that this one takes the place of: same file or salvaged writes, same numbers, new id.
    pub previous: Option<DatabaseId>,
    /// The place among those who wait for their turn, as the newest [`Refuse`] gave it; empty: none.
    pub ticket: Vec<u8>,
    /// The session begins paused, as if [`Frame::Nack`] had followed. A hub that does not know it hears of it by that frame.
    pub paused: Option<Reason>,
    /// What is here of a value that comes in pieces.
    pub held: Option<Held>,
}

/// The cloud's answer when the session may begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Welcome {
    /// The protocol version of this session.
    pub version: u32,
    /// Features that both know.
    pub features: Vec<String>,
    /// The offered session number.
    pub session: u64,
    /// The store's epochs, oldest first.
    pub epochs: Vec<EpochStart>,
    /// The newest revision.
    pub head: Revision,
    /// Where the stream begins: the edge's own cursor, or another one that it adopts.
    pub cursor: Cursor,
    /// What the edge holds is not of this store: every grant fills anew and the rest goes.
    pub reset: bool,
    /// The last write taken of this database.
    pub taken: u64,
    /// Present when they differ from what the edge holds.
    pub grants: Option<Grants>,
    /// The cloud's wall clock, milliseconds.
    pub now_ms: u64,
    /// How often the edge pings, milliseconds.
    pub ping_ms: u32,
    /// How long without a byte until either side closes, milliseconds.
    pub silence_ms: u32,
    /// Up to here the edge and this store have one history, and what the edge holds above it is of another one: it asks
    /// for those records by key. None: all that it holds is of this store.
    pub fork: Option<Revision>,
    /// The node's labels, for people.
    pub labels: Vec<(String, String)>,
    /// What the store holds as the hashes of the pending writes up to [`Welcome::taken`], the newest last: a database that
    /// committed something else under these numbers is a copy. All zeros: not held.
    pub hashes: Vec<Hash>,
    /// What the cloud holds of the next write; none: nothing, or parts were not agreed on.
    pub held: Option<Held>,
}

/// The cloud's answer when it may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refuse {
    /// `copied_database`, `in_use`, `version`, `revoked`, `busy`, …
    pub reason: Reason,
    /// When to come back, milliseconds; 0: as the back-off says.
    pub retry_ms: u64,
    /// Versions that the hub speaks.
    pub versions: (u32, u32),
    /// The edge takes a new database id, names its old one in [`Hello::previous`], and comes back at once.
    pub renew: bool,
    /// With `busy`: keeps the edge's place until it comes back with it, [`crate::limits::TICKET_BYTES`] at most; empty: none.
    pub ticket: Vec<u8>,
}

/// A stretch of the ordered stream and, when it stands at the head, a part of a back-fill read in the same state.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Where the stretch begins: where the one before ended.
    pub from: Position,
    /// Where it ends.
    pub through: Position,
    /// `through` was the head of the state that was read.
    pub at_head: bool,
    /// Applied before the entries.
    pub grants: Option<Grants>,
    /// In revision order; an outcome before the records of its revision.
    pub entries: Vec<Entry>,
    /// A part of one grant's back-fill.
    pub fill: Option<FillPart>,
    /// Digests of done grants in the state at `through`; only in a batch at the head.
    pub digests: Vec<GrantDigest>,
    /// Answers to [`Compared`]; only in a batch at the head.
    pub repairs: Vec<Repair>,
    /// Records as they are in the state that was read: answers to Ask, and what writes touched while the edge is paused.
    /// [`Content::Deleted`]: this node gets no such record.
    pub asked: Vec<Record>,
    /// The record whose value is the empty text has the value of this hash, which came in pieces.
    pub pieces: Option<Hash>,
}

impl Batch {
    /// The texts of its values, to be changed.
    fn values(&mut self) -> impl Iterator<Item = &mut String> {
        let entries = self.entries.iter_mut().filter_map(|entry| match entry {
            Entry::Record(record) => Some(record),
            Entry::Outcome { .. } => None,
        });
        let filled = self.fill.iter_mut().flat_map(|part| &mut part.records);
        entries.chain(filled).chain(&mut self.asked).filter_map(|record| match &mut record.content {
            Content::Value(text) => Some(text),
            Content::Deleted | Content::Left => None,
        })
    }

    /// Its largest value, if that is larger than `above`.
    pub(crate) fn large_value(&mut self, above: usize) -> Option<&mut String> {
        self.values().filter(|text| text.len() > above).max_by_key(|text| text.len())
    }

    /// Where the value belongs that came in pieces.
    pub fn missing_value(&mut self) -> Option<&mut String> {
        self.values().find(|text| text.is_empty())
    }

    /// Whether it is no stretch of the stream: outcomes and records ahead of it, which move no cursor.
    pub fn is_ahead(&self) -> bool {
        let brings = !self.entries.is_empty() || !self.asked.is_empty();
        self.from == self.through && brings && !self.at_head && self.grants.is_none() && self.fill.is_none()
    }

    /// A stretch with nothing in it.
    pub fn empty(from: Position, through: Position) -> Self {
        Self {
            from,
            through,
            at_head: false,
            grants: None,
            entries: Vec::new(),
            fill: None,
            digests: Vec::new(),
            repairs: Vec::new(),
            asked: Vec::new(),
            pieces: None,
        }
    }
}

/// What one grant's partition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantDigest {
    /// The grant's share.
    pub share: Share,
    /// And since when.
    pub since: Revision,
    /// Its records.
    pub digest: Digest,
}

/// Which ranges of a grant differ: the edge fills those again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The grant; `from` is the head of the state that was compared.
    pub grant: Grant,
    /// The ranges; empty: nothing differs any more.
    pub ranges: RangeSet,
}

/// What came of comparing the digests of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Where that batch ended.
    pub revision: Revision,
    /// The grants that differ; empty: all agree.
    pub differing: Vec<RangeSums>,
}

/// The sums of one grant's records, by range of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSums {
    /// The grant's share.
    pub share: Share,
    /// And since when.
    pub since: Revision,
    /// [`crate::digest::RANGES`] sums.
    pub sums: Vec<u128>,
}

/// A part of a back-fill.
#[derive(Debug, Clone, PartialEq)]
pub struct FillPart {
    /// The grant, and how far this part reaches.
    pub fill: Fill,
    /// Nothing follows: what the edge holds of the grant at or below `from`, and was not in the fill, goes.
    pub done: bool,
    /// In (revision, collection, key) order.
    pub records: Vec<Record>,
}

/// One thing in the stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// The newest version of a record.
    Record(Record),
    /// The outcome of a write of this node.
    Outcome {
        /// The database; none: the session's own.
        database: Option<DatabaseId>,
        /// The write's number.
        number: u64,
        /// The answer.
        outcome: Outcome,
    },
}

/// The newest version of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The collection.
    pub collection: CollectionName,
    /// The key.
    pub key: Key,
    /// The revision that last changed it.
    pub revision: Revision,
    /// The revision that created it.
    pub born: Revision,
    /// Its partition.
    pub partition: Option<String>,
    /// When it was changed, milliseconds since 1970.
    pub updated_ms: u64,
    /// The id of the write that last changed it.
    pub writer: String,
    /// Who, as that write said.
    pub actor: Option<String>,
    /// What it is now.
    pub content: Content,
}

/// What a record is now.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// This object, as JSON text. It was checked when it was accepted; the bounds are checked again on arrival.
    Value(String),
    /// Deleted.
    Deleted,
    /// Moved out of what the node gets.
    Left,
}

/// What the edge has made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Its cursor.
    pub cursor: Position,
    /// Its open back-fills; a grant that is not here is done.
    pub fills: Vec<Fill>,
    /// The outcomes of all writes of this database up to this number are durable there.
    pub answered: u64,
}

/// One write of an outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedWrite {
    /// Its number.
    pub number: u64,
    /// The encoded [`crate::op::Write`]; empty when `rejected`.
    pub bytes: Vec<u8>,
    /// Declared: it was rejected before a restore and stays rejected.
    pub rejected: bool,
    /// The hash of what was committed, where `bytes` lack old values that the node may no longer hold; none: that of `bytes`.
    pub hash: Option<Hash>,
    /// It was made before the edge learned that the cloud's history forks at this revision: what it had seen above counts as
    /// this.
    pub fork: Option<Revision>,
    /// `bytes` are only a part of the encoded write: this one. None: all of it.
    pub part: Option<Part>,
}

impl NumberedWrite {
    /// Whether the write is whole with this: no part of it follows.
    pub fn completes(&self) -> bool {
        self.part.as_ref().is_none_or(|part| part.at + self.bytes.len() >= part.total)
    }

    /// Everything but the bytes.
    pub fn without_bytes(&self) -> Self {
        let Self { number, rejected, hash, fork, part, .. } = *self;
        Self { number, bytes: Vec::new(), rejected, hash, fork, part }
    }
}

/// Which part of an encoded write, or of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// How many bytes of the whole come before it.
    pub at: usize,
    /// Bytes of the whole.
    pub total: usize,
    /// The hash of the whole, as it is sent.
    pub hash: Hash,
}

/// A part of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Which part of which value.
    pub part: Part,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What is durable of what comes in parts: at the cloud of a write, at the edge of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The write's number; 0: a value.
    pub number: u64,
    /// The hash of the whole.
    pub hash: Hash,
    /// So many bytes from its beginning.
    pub bytes: usize,
}

/// What the operator sees of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Pending writes.
    pub outbox_writes: u64,
    /// When the oldest was committed, milliseconds since 1970; 0: none.
    pub outbox_oldest_ms: u64,
    /// Warnings of the edge's own status.
    pub warnings: Vec<String>,
    /// How its devices speak; none: it has no broker, or does not say.
    pub devices: Option<Devices>,
}

/// How the devices of a node speak; counts are since the edge's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Devices {
    /// A broker is there.
    pub broker: bool,
    /// Since when that holds, milliseconds since 1970.
    pub broker_since_ms: u64,
    /// Reported values that were kept in the last minute.
    pub updates: u64,
    /// Reported values that were kept.
    pub kept: u64,
    /// Of these, those that newer ones overtook before they went up.
    pub coalesced: u64,
    /// Of these, those that have yet to go up.
    pub waiting: u64,
    /// Messages that were refused, or of which a part was.
    pub refused: u64,
    /// Devices that speak and are not declared.
    pub unknown: u64,
}
