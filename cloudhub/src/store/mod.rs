//! The cloud's store: the newest version of every record, what the nodes may have of it, and what became of every write.
//!
//! [`Store`] and [`StoreRead`] are what the rest of cloudhub knows; [`SqliteStore`] is the embedded implementation. One
//! writer decides groups of [`Job`]s, each group in one transaction with one fsync; readers see whole transactions. A
//! shared store can take its place: the revision is a counter of our own that is compared and set in each transaction, so
//! that of two hubs one loses its transaction and not its order.
//!
//! Read on in this order: [`job`] (what the writer is asked), `sqlite` (a group commit), `upstream` and `cloud_write` (one
//! write each), `apply` (what a decision changes), `scan` (what a node gets), `admit` and `grants` (which nodes, and what
//! they may have), `reads` (what the API shows).

use proto::frame::{Batch, Fill, Share};
use proto::ids::{EpochStart, Position, Revision, WriteId};
use proto::list::ListQuery;
use proto::names::{CollectionName, Key, NodeName};
use proto::session::cloud::{Ahead, Scan};

mod admit;
mod ahead;
mod apply;
mod catalog;
mod cloud_write;
mod compact;
mod conflicts;
mod copy;
mod definitions;
mod digests;
mod error;
mod fields;
mod fill;
mod forks;
mod grants;
mod heads;
mod import;
mod indexes;
pub mod job;
mod kin;
mod lanes;
mod list;
mod list_source;
mod lost;
mod nodes;
mod open;
mod parts;
mod reads;
mod refused;
mod requests;
mod resolve;
mod rows;
mod scan;
mod schema;
mod share;
mod sqlite;
mod status;
#[cfg(test)]
mod tests;
mod tidy;
mod tokens;
mod upstream;
mod watch;
mod welcome;
mod work;
mod world;

pub use copy::{CopyError, DatabaseFacts, copy_database, inspect};
pub use error::{Class, OpenError, StoreError};
pub use job::{
    AdmitJob, Admitted, Answer, Certificate, CloudOp, CloudWrite, CollectionApplied, Condition, Decided, Denied, ImportChunk, ImportHow,
    ImportLine, ImportMode, Imported, Job, JoinJob, Named, OpResult, Peer, Resynced, Seen, Taken, Touched, Written,
};
pub use open::{FolderLock, OpenOptions};
pub use reads::SqliteReader;
pub use refused::{Refused, TokenRefused};
pub use rows::{
    AccessTokenRow, CollectionRow, ConflictRow, ConflictsRequest, DeviceCounts, ExportPage, FieldRow, Figures, JoinTokenRow, NodeEvent,
    NodeRow, RecordFields, RecordPage, RecordRow, WriteRow, WritesRequest,
};
pub use sqlite::SqliteStore;
pub use watch::{WatchChange, WatchPage, WatchPlace, WatchWhat};

/// Records in key order, and the last key where there are more.
pub type Stretch = (Vec<RecordRow>, Option<Key>);

/// The newest format of databases that this program knows.
pub const DATABASE_FORMAT: i64 = schema::VERSION;

/// The most that one group of jobs may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Largest {
    /// Jobs.
    pub jobs: usize,
    /// Bytes of values and writes.
    pub bytes: usize,
}

/// What a store must be able to change. There is one writer.
pub trait Store: Send {
    /// Its readers.
    type Reader: StoreRead;

    /// The largest transaction; whoever makes groups stays inside.
    fn largest(&self) -> Largest;

    /// The newest revision.
    fn head(&self) -> Revision;

    /// The epoch of this start.
    fn epoch(&self) -> EpochStart;

    /// One more reader; every thread has its own.
    fn reader(&self) -> Result<Self::Reader, StoreError>;

    /// Decides a group of jobs in one transaction. `Ok` means durable; a job that is refused changes nothing and leaves the
    /// others alone. On an error nothing happened and nothing may be answered: see [`StoreError::class`].
    fn decide(&mut self, group: Vec<Job>, now_ms: u64) -> Result<Decided, StoreError>;

    /// One bounded step of housekeeping; who was touched by it, and whether there is more to do at once.
    fn tidy(&mut self, now_ms: u64) -> Result<(Touched, bool), StoreError>;

    /// Brings everything into the main file and closes it.
    fn close(self) -> Result<(), StoreError>;
}

/// What to read for a node, see [`StoreRead::scan`].
#[derive(Debug, Clone, Copy)]
pub struct ScanRequest<'a> {
    /// Who.
    pub peer: Peer,
    /// What its session asks for.
    pub scan: &'a Scan,
}

/// What was read ahead of a node's stream, see [`StoreRead::ahead`].
#[derive(Debug, Clone, PartialEq)]
pub struct ReadAhead {
    /// It leads nowhere; an empty one: nothing is left.
    pub batch: Batch,
    /// The outcomes up to this revision are in it or were before.
    pub outcomes: Revision,
    /// The same for records.
    pub records: Revision,
}

/// What a store must be able to show. Each call sees one state: whole transactions, the newest at its begin.
pub trait StoreRead: Send {
    /// The newest revision.
    fn head(&mut self) -> Result<Revision, StoreError>;

    /// The next stretch of a node's stream: what it is entitled to now, above `from`, the newest version of each record,
    /// whole revisions, outcomes before the records of their revision; and at the head a part of a back-fill.
    fn scan(&mut self, request: &ScanRequest<'_>) -> Result<Batch, StoreError>;

    /// Outcomes of a node's writes, and where none is left the records that those writes touched, ahead of its stream.
    fn ahead(&mut self, peer: Peer, ahead: &Ahead) -> Result<ReadAhead, StoreError>;

    /// How many outcomes of a database lie above a revision.
    fn outcomes_above(&mut self, peer: Peer, acked: Revision) -> Result<u64, StoreError>;

    /// Records that a node has yet to get, up to [`crate::limits::BEHIND`].
    fn behind(&mut self, node: &NodeName, at: &Position, fills: &[Fill]) -> Result<u64, StoreError>;

    /// A live record; `None` also where there is no such collection.
    fn record(&mut self, collection: &CollectionName, key: &Key) -> Result<Option<RecordRow>, StoreError>;

    /// The same, and who set which of its fields.
    fn record_fields(&mut self, collection: &CollectionName, key: &Key) -> Result<Option<RecordFields>, StoreError>;

    /// A page of a collection. Refused: [`Refused::NoCollection`], [`Refused::NoIndex`].
    fn list(&mut self, query: &ListQuery) -> Result<Result<RecordPage, Refused>, StoreError>;

    /// A page of an export; `None`: there is no such collection.
    fn export(&mut self, collection: &CollectionName, after: Option<&Key>) -> Result<Option<ExportPage>, StoreError>;

    /// Judges the lines of an import against the newest state, each alone, and changes nothing.
    fn check_import(&mut self, how: &ImportHow, lines: &[ImportLine], now_ms: u64) -> Result<Result<(), Refused>, StoreError>;

    /// All collections of operators, in name order.
    fn collections(&mut self) -> Result<Vec<CollectionRow>, StoreError>;

    /// One collection.
    fn collection(&mut self, name: &CollectionName) -> Result<Option<CollectionRow>, StoreError>;

    /// What [`Job::PutCollection`] would do.
    fn try_definition(
        &mut self,
        name: &CollectionName,
        definition: &proto::definition::Definition,
    ) -> Result<Result<CollectionApplied, Refused>, StoreError>;

    /// A decided write.
    fn write(&mut self, id: &WriteId) -> Result<Option<WriteRow>, StoreError>;

    /// Decided writes in the order of their revisions, and where to go on.
    fn writes(&mut self, request: &WritesRequest) -> Result<(Vec<WriteRow>, Option<Revision>), StoreError>;

    /// A conflict row.
    fn conflict(&mut self, id: &str) -> Result<Option<ConflictRow>, StoreError>;

    /// Conflict rows, oldest first, and where to go on.
    fn conflicts(&mut self, request: &ConflictsRequest) -> Result<(Vec<ConflictRow>, Option<u64>), StoreError>;

    /// Whether there is such a collection.
    fn knows(&mut self, name: &CollectionName) -> Result<bool, StoreError>;

    /// The names of all collections but the system's.
    fn collection_names(&mut self) -> Result<Vec<CollectionName>, StoreError>;

    /// Where a watch that begins now goes on.
    fn watch_end(&mut self) -> Result<WatchPlace, StoreError>;

    /// What changed since a place: of records what is wanted, of outcomes and conflicts all.
    fn watch(&mut self, from: &WatchPlace, wanted: &dyn Fn(&CollectionName) -> bool) -> Result<WatchPage, StoreError>;

    /// The next records of a collection in key order, and the last key where there are more.
    fn stretch(&mut self, collection: &CollectionName, after: Option<&Key>) -> Result<Option<Stretch>, StoreError>;

    /// A node.
    fn node(&mut self, name: &NodeName) -> Result<Option<NodeRow>, StoreError>;

    /// Nodes in name order.
    fn nodes(&mut self, after: Option<&NodeName>, limit: usize) -> Result<Vec<NodeRow>, StoreError>;

    /// The partitions that a node gets, conflict rows apart; `None`: there is no such node.
    fn granted(&mut self, node: &NodeName) -> Result<Option<Vec<Share>>, StoreError>;

    /// How many devices a node has.
    fn devices(&mut self, node: &NodeName) -> Result<DeviceCounts, StoreError>;

    /// What happened to a node, oldest first; `None`: there is no such node.
    fn events(&mut self, node: &NodeName) -> Result<Option<Vec<NodeEvent>>, StoreError>;

    /// Join tokens that can still be used.
    fn join_tokens(&mut self, now_ms: u64) -> Result<Vec<JoinTokenRow>, StoreError>;

    /// Whether a join would be let in, and under which name: to be asked before a certificate is signed.
    fn may_join(&mut self, secret_hash: &[u8; 32], node: Option<&NodeName>, now_ms: u64) -> Result<Result<NodeName, Refused>, StoreError>;

    /// Access tokens that can still be used.
    fn access_tokens(&mut self, now_ms: u64) -> Result<Vec<AccessTokenRow>, StoreError>;

    /// The access token with this hash, if it can be used now.
    fn access_token(&mut self, hash: &[u8; 32], now_ms: u64) -> Result<Option<AccessTokenRow>, StoreError>;

    /// Figures for status and metrics.
    fn figures(&mut self) -> Result<Figures, StoreError>;
}
