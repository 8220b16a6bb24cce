//! What the writer is asked to do, and what it answers. One job is one request of one caller; a group of them is one
//! transaction.

use std::collections::{BTreeMap, BTreeSet};

use proto::build::Action;
use proto::definition::{Definition, Labels};
use proto::frame::{Grants, Held, Hello, NumberedWrite, Reason, Report, Share};
use proto::ids::{Cursor, DatabaseId, EpochStart, Position, Revision, WriteId};
use proto::json::Value;
use proto::names::{CollectionName, Key, NodeName};
use proto::op::{Hash, Idempotency, Verdict};

use super::refused::Refused;
use super::rows::{AccessTokenRow, JoinTokenRow, RecordRow, WriteRow};

/// One database of one node, as the store knows it while the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    pub(super) node: i64,
    pub(super) database: u32,
}

/// One request to the writer. The answer's kind is named with each.
#[derive(Debug)]
pub enum Job {
    /// A Hello: [`Answer::Admitted`].
    Admit(Box<AdmitJob>),
    /// The first frame after Welcome proves that the edge committed this session number: [`Answer::Done`].
    Confirm {
        /// Whose.
        peer: Peer,
        /// The number.
        session: u64,
    },
    /// Writes of an outbox, in order: [`Answer::Taken`].
    Take {
        /// Whose.
        peer: Peer,
        /// The session that they came in; a replaced one is refused.
        session: u64,
        /// The writes.
        writes: Vec<NumberedWrite>,
    },
    /// A write through the cloud's API: [`Answer::Written`].
    Write(Box<CloudWrite>),
    /// Drops what is kept of a write of this API: [`Answer::Done`].
    Discard {
        /// Its revision.
        revision: Revision,
    },
    /// A part of an import: [`Answer::Imported`].
    Import(Box<ImportChunk>),
    /// Creates or changes a definition: [`Answer::Applied`].
    PutCollection {
        /// The collection.
        name: CollectionName,
        /// What it says now.
        definition: Box<Definition>,
    },
    /// Brings the collections of devices in line with this version's definitions of them: [`Answer::Done`].
    DefineDevices,
    /// Removes a definition and its records: [`Answer::Done`].
    DeleteCollection {
        /// The collection.
        name: CollectionName,
    },
    /// Sets and removes labels: [`Answer::Done`].
    Label {
        /// The node.
        node: NodeName,
        /// `None` removes; labels that are not named stay.
        labels: BTreeMap<String, Option<String>>,
    },
    /// Takes a node in: [`Answer::Joined`].
    Join(Box<JoinJob>),
    /// A renewed certificate: [`Answer::Done`].
    Certificate {
        /// The node.
        node: NodeName,
        /// The certificate.
        certificate: Certificate,
    },
    /// Takes the node's rights away: [`Answer::Done`]. Its sessions are the caller's to close.
    Revoke {
        /// The node.
        node: NodeName,
    },
    /// Makes a database that was refused the rightful one: [`Answer::Done`].
    Accept {
        /// The node.
        node: NodeName,
        /// The database.
        database: DatabaseId,
    },
    /// Forgets the node: [`Answer::Done`].
    DeleteNode {
        /// The node.
        node: NodeName,
    },
    /// Gives the node's grants anew, so that it fills them again: [`Answer::Resynced`].
    Resync {
        /// The node.
        node: NodeName,
        /// Only those of this collection.
        collection: Option<CollectionName>,
    },
    /// Something that the operator should see: [`Answer::Done`].
    Event {
        /// The node.
        node: NodeName,
        /// Stable word.
        kind: &'static str,
        /// For people.
        detail: String,
        /// When it happened, milliseconds since 1970: it may be saved later than what came after it.
        at_ms: u64,
    },
    /// [`Answer::Done`].
    NewJoinToken(Box<JoinTokenRow>, [u8; 32]),
    /// [`Answer::Done`].
    RevokeJoinToken {
        /// Its id.
        id: String,
    },
    /// [`Answer::Done`].
    NewAccessToken(Box<AccessTokenRow>, [u8; 32]),
    /// [`Answer::Done`].
    RevokeAccessToken {
        /// Its id.
        id: String,
    },
    /// What was learned about nodes and need not be durable at once: [`Answer::Done`].
    Seen(Vec<Seen>),
}

/// What the writer answers, see [`Job`].
#[derive(Debug)]
#[allow(missing_docs)] // each variant is the struct of its name
pub enum Answer {
    /// Admitted, or why not.
    Admitted(Result<Box<Admitted>, Denied>),
    Taken(Taken),
    Written(Box<Written>),
    Imported(Imported),
    Applied(CollectionApplied),
    /// The node's name, and the labels that it has now.
    Joined {
        node: NodeName,
        labels: Labels,
    },
    Resynced(Resynced),
    Done,
}

/// What a group commit did.
#[derive(Debug)]
pub struct Decided {
    /// One for each job, in the order of the group.
    pub answers: Vec<Result<Answer, Refused>>,
    /// Whom to wake.
    pub touched: Touched,
    /// How many writes it decided.
    pub verdicts: Verdicts,
}

/// How many of each [`Verdict`], in its order.
pub type Verdicts = [u64; Verdict::ALL.len()];

/// Which sessions have something to read now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// The newest revision.
    pub head: Revision,
    /// Partitions with changed records or exit markers.
    pub shares: BTreeSet<Share>,
    /// Nodes with outcomes, changed grants, or a changed state.
    pub nodes: BTreeSet<NodeName>,
}

/// A node that wants a session.
#[derive(Debug)]
pub struct AdmitJob {
    /// The name in its certificate.
    pub node: NodeName,
    /// The serial of its certificate, to refuse a replaced machine; none: not checked.
    pub serial: Option<String>,
    /// Its first frame.
    pub hello: Box<Hello>,
    /// The database of the node's live session, if it has one.
    pub live: Option<DatabaseId>,
    /// Where it connected from.
    pub address: String,
    /// `websocket`, `quic`, `memory`.
    pub transport: &'static str,
}

/// Why a node's database gets no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// Said to the edge.
    pub reason: Reason,
    /// It is a copy of a database that has no session now: it may come back at once, under an id of its own.
    pub renew: bool,
}

/// What Welcome says, and where the stream begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted {
    /// The handle for everything that follows.
    pub peer: Peer,
    /// The session number that is offered.
    pub session: u64,
    /// The newest epochs, oldest first.
    pub epochs: Vec<EpochStart>,
    /// The newest revision.
    pub head: Revision,
    /// Where the stream begins.
    pub cursor: Cursor,
    /// What the edge holds is not of this store.
    pub reset: bool,
    /// Up to here the edge and this store have one history; none: all that it holds is of this store.
    pub fork: Option<Revision>,
    /// The last write taken of this database.
    pub taken: u64,
    /// Writes up to this number have their outcomes before anything else comes down; 0: none.
    pub answer_first: u64,
    /// The node's labels.
    pub labels: Vec<(String, String)>,
    /// The hashes of its pending writes up to `taken`, the newest last; zeros: not held.
    pub hashes: Vec<Hash>,
    /// What is held of the next write, which comes in parts.
    pub held: Option<Held>,
    /// How many outcomes lie above the cursor.
    pub unacknowledged: u64,
    /// Present when they differ from what the edge holds.
    pub grants: Option<Grants>,
    /// The revision of the grants that the node knows after Welcome.
    pub told: Revision,
}

/// What became of a part of an outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Every write up to here is decided.
    pub taken: u64,
    /// What is kept of the next one, when a part of it came.
    pub held: Option<Held>,
    /// Why it stopped there: `copied_database` (a known number with other content), `out_of_order`, or `parts` (they are not what
    /// the write's hash says). The session closes with it.
    pub stop: Option<Reason>,
    /// The decided writes whose request an application had named, in order: for the log, once they are durable.
    pub named: Vec<Named>,
}

/// A write whose request had a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The `Request-Id`.
    pub request_id: String,
    /// Which write.
    pub write: WriteId,
    /// What became of it.
    pub verdict: Verdict,
}

/// A write through the cloud's API.
#[derive(Debug)]
pub struct CloudWrite {
    /// In order; later ops see earlier ones.
    pub ops: Vec<CloudOp>,
    /// The caller is an administrator, whose `force` overrides append.
    pub admin: bool,
    /// Who, as the application said.
    pub actor: Option<String>,
    /// For logs.
    pub request_id: Option<String>,
    /// Whose Idempotency-Keys these are: the token's name.
    pub caller: String,
    /// The application's own name of the request, under which it may be repeated.
    pub idempotency: Option<Idempotency>,
}

/// One op of it.
#[derive(Debug, Clone)]
pub struct CloudOp {
    /// The collection.
    pub collection: CollectionName,
    /// The record.
    pub key: Key,
    /// `POST`: the value's own key goes before [`CloudOp::key`] where the definition names key fields and they are there.
    pub key_from_value: bool,
    /// What is asked.
    pub action: Action,
    /// What must hold now.
    pub condition: Condition,
}

/// A precondition, judged in the transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    None,
    /// No such record.
    Absent,
    /// Any such record.
    Present,
    /// The record has one of these revisions (`If-Match`).
    Revisions(Vec<Revision>),
    /// `"if": REVISION`.
    Revision(Revision),
}

/// A committed write of the cloud's API.
#[derive(Debug)]
pub struct Written {
    /// The write.
    pub write: WriteRow,
    /// One for each changed record, in the order of the ops.
    pub results: Vec<OpResult>,
}

/// What became of one record.
#[derive(Debug, Clone, PartialEq)]
pub enum OpResult {
    /// It did not exist before.
    Created(RecordRow),
    /// It did.
    Changed(RecordRow),
    /// It is gone.
    Deleted {
        /// Its collection.
        collection: CollectionName,
        /// Its key.
        key: Key,
    },
    /// The request, which was made before, had created it, and it is gone since.
    Gone {
        /// Its collection.
        collection: CollectionName,
        /// Its key.
        key: Key,
    },
}

/// Up to [`crate::limits::IMPORT_LINES`] lines of an import: one transaction.
#[derive(Debug)]
pub struct ImportChunk {
    /// How the lines are taken.
    pub how: ImportHow,
    /// The lines.
    pub lines: Vec<ImportLine>,
    /// Who.
    pub actor: Option<String>,
}

/// How an import takes its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportHow {
    /// The collection.
    pub collection: CollectionName,
    /// What a line does.
    pub mode: ImportMode,
    /// Counters of records that exist are set too.
    pub set_counters: bool,
}

/// What one line of an import does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportMode {
    /// Creates only.
    Create,
    /// Replaces or creates.
    Put,
    /// Merges into what is there, or creates.
    Merge,
}

/// One line of an import.
#[derive(Debug, Clone)]
pub struct ImportLine {
    /// Its number, from 1.
    pub line: u64,
    /// The record.
    pub key: Key,
    /// The value, or the merge patch.
    pub value: Value,
}

/// What a chunk did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// Records that did not exist.
    pub created: u64,
    /// Records that changed.
    pub changed: u64,
    /// Lines that said what was there.
    pub unchanged: u64,
    /// The chunk's revision, or the head where nothing changed.
    pub revision: Revision,
}

/// What a definition does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectionApplied {
    /// There was none of this name.
    pub created: bool,
    /// There was one, and it said something else.
    pub changed: bool,
    /// Nodes that get the collection or a part of it.
    pub selects: u64,
    /// All nodes.
    pub nodes: u64,
}

/// What is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resynced {
    /// How many partitions.
    pub grants: u64,
    /// They are given since this revision.
    pub revision: Revision,
}

/// A node that brings a join token.
#[derive(Debug)]
pub struct JoinJob {
    /// SHA-256 of the token's secret.
    pub secret_hash: [u8; 32],
    /// The name that it asks for.
    pub node: Option<NodeName>,
    /// The certificate that it gets.
    pub certificate: Certificate,
}

/// What is kept of a node's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its serial, as text.
    pub serial: String,
    /// When it ends, milliseconds since 1970.
    pub not_after_ms: u64,
}

/// What was learned about a node; saved lazily.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The node and its database.
    pub peer: Peer,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// How far it has durably come.
    pub cursor: Option<Position>,
    /// What it said about its outbox.
    pub report: Option<Report>,
    /// When its digests agreed, milliseconds since 1970.
    pub verified_ms: Option<u64>,
}
