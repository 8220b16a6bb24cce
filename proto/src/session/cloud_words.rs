//! What the cloud's end of a session and its shell say to each other.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

#[cfg(doc)]
use super::cloud::CloudSession;
use super::{End, Mode};
use crate::frame::{Fill, Grants, Held, Hello, NumberedWrite, RangeSums, Reason, Report, Share};
use crate::ids::{Cursor, EpochStart, Position, Revision};
use crate::names::{CollectionName, Key};
use crate::op::Hash;

/// What the cloud's shell is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Judge the Hello against what is stored of this node and database, and offer a session number. Answer with
    /// [`CloudSession::admitted`] or [`CloudSession::refused`].
    Admit(Box<Hello>),
    /// The edge has committed this session number: store it as confirmed. No answer.
    ConfirmSession(u64),
    /// Read a batch in one short read transaction. Answer with [`CloudSession::scanned`] or
    /// [`CloudSession::scan_failed`].
    Scan(Scan),
    /// Read ahead of the stream, in one short read transaction. Answer with [`CloudSession::read_ahead`] or
    /// [`CloudSession::scan_failed`].
    Ahead(Ahead),
    /// The edge compared digests: whether all agreed, and at which revision. Worth saving.
    Compared {
        /// The state that was compared.
        revision: Revision,
        /// How many grants differ.
        differing: usize,
        /// What differs is narrowed and sent again; else it is shown, and looked at again when the next verification is due.
        repairing: bool,
    },
    /// Decide and commit these, in order, and keep what is a part of one that is not whole yet. A store refuses them when `session` is not the database's newest. Answer
    /// with [`CloudSession::committed`] or [`CloudSession::commit_failed`].
    Commit {
        /// The session's number.
        session: u64,
        /// In number order, without holes but declared ones.
        writes: Vec<NumberedWrite>,
    },
    /// The edge's durable cursor moved; worth saving now and then.
    Acked(Position),
    /// What the operator is to see of the node.
    Report(Report),
    /// It is over. Send what [`CloudSession::poll_send`] still has and close the link.
    Closed(End),
}

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The batch begins here.
    pub from: Position,
    /// Back-fills that the edge says are open, in order: the first that is still granted goes on when the stream
    /// stands at the head. They come from the peer: what is not granted is skipped.
    pub fills: Vec<Fill>,
    /// The grants that the edge was told; another revision goes into the batch.
    pub told: Revision,
    /// At most so many records.
    pub max_records: usize,
    /// About so many bytes, by [`crate::frame::Record::wire_len`], but at least one record.
    pub max_bytes: usize,
    /// When the batch stands at the head: digests of all grants but these (their back-fills are open).
    pub digests: Option<Vec<Share>>,
    /// When the batch stands at the head: which of these ranges really differ.
    pub compare: Vec<RangeSums>,
    /// When the batch stands at the head: these records as they are, or [`crate::frame::Content::Deleted`] at the head's
    /// revision where this node gets no such record.
    pub ask: Vec<(CollectionName, Key)>,
}

impl Scan {
    /// A stretch of the stream and a part of a back-fill, and nothing beside them.
    pub fn plain(from: Position, fills: Vec<Fill>, told: Revision, max_records: usize, max_bytes: usize) -> Self {
        Self { from, fills, told, max_records, max_bytes, digests: None, compare: Vec::new(), ask: Vec::new() }
    }
}

/// What to read ahead of the stream, for an edge that cannot store records, or whose outcomes go first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    /// The edge's cursor: the batch leads nowhere.
    pub at: Position,
    /// Outcomes above this revision, in order; when there are any, nothing else.
    pub outcomes: Revision,
    /// Where no outcome is left: the records, as they are, that the writes decided above this revision touched. None: no records.
    pub records: Option<Revision>,
    /// At most so many of either.
    pub max_records: usize,
    /// About so many bytes, but at least one record.
    pub max_bytes: usize,
}

/// What the store says of a database whose session may begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Admission {
    /// The session number that is offered, above both sides' last.
    pub session: u64,
    /// The store's epochs, oldest first.
    pub epochs: Vec<EpochStart>,
    /// The newest revision.
    pub head: Revision,
    /// Where the stream begins.
    pub cursor: Cursor,
    /// What the edge holds is not of this store.
    pub reset: bool,
    /// Up to here the edge and this store have one history; above it the edge asks by key. None: all is of this store.
    pub fork: Option<Revision>,
    /// The last write taken of this database.
    pub taken: u64,
    /// The grants, when the edge's hash differs.
    pub grants: Option<Grants>,
    /// The revision of the grants that the edge knows with this.
    pub told: Revision,
    /// Writes up to this number are answered before anything else comes down: the database took another one's place, and what
    /// that one's writes did must not arrive before their outcomes. 0: none.
    pub answer_first: u64,
    /// The node's labels, for people.
    pub labels: Vec<(String, String)>,
    /// The hashes of the database's pending writes up to `taken`, the newest last; zeros: not held.
    pub hashes: Vec<Hash>,
    /// What is held of the next write.
    pub held: Option<Held>,
}

/// What is shown of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// How batches flow.
    pub mode: Mode,
    /// The edge's durable cursor.
    pub acked: Position,
    /// All that is known to be there is acknowledged.
    pub in_sync: bool,
    /// Back-fills that the edge has open.
    pub fills: usize,
    /// Batches that are not acknowledged.
    pub batches: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Why it is paused.
    pub paused: Option<Reason>,
}
