//! What a judgement reads: the write, and the state of the store around it.

use std::sync::Arc;

use proto::clock::Hlc;
use proto::definition::Defined;
use proto::ids::{DatabaseId, Revision, WriteId};
use proto::json::Value;
use proto::names::{CollectionName, Key, NodeName};
use proto::op::{Hash, Verdict, Write};

use super::clocks::{Clocks, Stamp};
use super::conflict::{Row, RowKey};
use super::resolve::Held;

/// A write that waits for its judgement.
#[derive(Debug, Clone)]
pub struct Judged<'a> {
    /// Who wrote it.
    pub author: Author,
    /// Its id, as conflict rows show it.
    pub id: WriteId,
    /// What it says.
    pub write: &'a Write,
    /// Its clock, already clamped to the cloud's; the write's own is not read.
    pub hlc: Hlc,
    /// The revision that it is decided at.
    pub revision: Revision,
    /// The cloud's wall clock, milliseconds since 1970; only conflict rows show it.
    pub now_ms: u64,
}

/// Who wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Author {
    /// An edge database.
    Edge {
        /// The node that holds it.
        node: NodeName,
        /// The store's small number for the database, 1 or above.
        database: u32,
        /// The write's number in that database.
        number: u64,
    },
    /// The cloud's API, which has seen the head: never concurrent.
    Cloud {
        /// An admin asked to pass append, bounds, transitions and schema.
        force: bool,
    },
}

/// The small number that stands for the cloud itself in every clock.
const CLOUD: u32 = 0;

impl Judged<'_> {
    pub(super) fn database(&self) -> u32 {
        match self.author {
            Author::Edge { database, .. } => database,
            Author::Cloud { .. } => CLOUD,
        }
    }

    pub(super) fn is_edge(&self) -> bool {
        matches!(self.author, Author::Edge { .. })
    }

    pub(super) fn is_forced(&self) -> bool {
        self.author == Author::Cloud { force: true }
    }

    /// The clock that this write leaves on what it changes.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp { revision: self.revision, hlc: self.hlc, database: self.database() }
    }
}

/// Where a record goes. `None`: to no node, because its partition field is absent or no string; `Some(None)`: the one
/// partition of a collection that is not cut; `Some(Some(value))`: the partition of that value.
pub type Place = Option<Option<String>>;

/// A record as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its value, or what is left of it.
    pub content: Content,
    /// The revision that last changed it.
    pub revision: Revision,
    /// The revision that created it; of a deleted one, the one that had created it.
    pub born: Revision,
    /// Who last changed what.
    pub clocks: Clocks,
    /// Where it goes; of a deleted one, where its last value went.
    pub place: Place,
}

/// A record's value, or what is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// It is there.
    Live(Value),
    /// A tombstone, kept for the collection's retention.
    Deleted {
        /// What it was.
        last: Value,
    },
    /// An append record that an admin removed: the key and the content's hash stay for ever, the content does not.
    Removed {
        /// The hash of the value's text.
        hash: Hash,
    },
}

impl Stored {
    /// The value, where the record is not deleted.
    pub fn live(&self) -> Option<&Value> {
        match &self.content {
            Content::Live(value) => Some(value),
            Content::Deleted { .. } | Content::Removed { .. } => None,
        }
    }
}

/// What became of an earlier write of the author's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// The answer.
    pub verdict: Verdict,
    /// The revision that it was decided at.
    pub revision: Revision,
}

impl Decided {
    /// None of it took effect.
    pub(super) fn is_void(self) -> bool {
        self.verdict >= Verdict::Rejected
    }
}

/// What the newest schema says against a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaError {
    /// The top-level field; empty: the value as a whole.
    pub field: String,
    /// For people.
    pub message: String,
}

/// The state that a write is judged in. All answers come from one transaction; what is asked about a node or a
/// database is asked about the author's.
pub trait World {
    /// Why the store could not answer. Ends the judgement; nothing is decided.
    type Error;

    /// A record, live or deleted.
    fn record(&self, collection: &CollectionName, key: &Key) -> Result<Option<Stored>, Self::Error>;

    /// The newest definition. `None`: there is no such collection.
    fn definition(&self, collection: &CollectionName) -> Result<Option<Arc<Defined>>, Self::Error>;

    /// Whether the author's node is granted a partition. Never asked for the cloud.
    fn granted(&self, collection: &CollectionName, partition: Option<&str>) -> Result<bool, Self::Error>;

    /// The revision of the newest exit marker of a record in the shares of the author's node, where it is above `seen`.
    fn exit_above(&self, collection: &CollectionName, key: &Key, seen: Revision) -> Result<Option<Revision>, Self::Error>;

    /// The newest revision of a tombstone or marker that compaction removed from the collection; 0: none.
    fn floor(&self, collection: &CollectionName) -> Result<Revision, Self::Error>;

    /// What became of an earlier write of the author's database, as long as the store remembers.
    fn outcome(&self, number: u64) -> Result<Option<Decided>, Self::Error>;

    /// The one open conflict row under this key.
    fn open_conflict(&self, row: &RowKey) -> Result<Option<Row>, Self::Error>;

    /// A conflict row by its id.
    fn conflict(&self, id: &Key) -> Result<Option<Held>, Self::Error>;

    /// What the newest schema says against a value. `None` also where there is no schema.
    fn schema_error(&self, defined: &Defined, value: &Value) -> Result<Option<SchemaError>, Self::Error>;

    /// The id behind a database's small number; all zeros for the cloud. Asked for ties alone.
    fn database(&self, database: u32) -> Result<DatabaseId, Self::Error>;
}
