//! What the cloud's end of a session and its shell say to each other.

use alloc::boxed::Box;
use alloc::vec::Vec;

#[cfg(doc)]
use super::cloud::CloudSession;
use super::{End, Mode};
use crate::frame::{Fill, Grants, Hello, NumberedWrite, Reason, Report};
use crate::ids::{Cursor, EpochStart, Position, Revision};

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
    /// Decide and commit these, in order. A store refuses them when `session` is not the database's newest. Answer
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
    /// The last write taken of this database.
    pub taken: u64,
    /// The grants, when the edge's hash differs.
    pub grants: Option<Grants>,
    /// The revision of the grants that the edge knows with this.
    pub told: Revision,
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
