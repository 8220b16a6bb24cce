//! What readers get to see: records, writes, conflicts, nodes, tokens.

use super::watch::WatchPlace;
use proto::definition::{Definition, Labels};
use proto::frame::Report;
use proto::ids::{DatabaseId, Epoch, Position, Revision, WriteId};
use proto::list;
use proto::names::{CollectionName, Key, NodeName};
use proto::op::{Op, Verdict};

/// A live record.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordRow {
    /// Its collection.
    pub collection: CollectionName,
    /// Its key.
    pub key: Key,
    /// JSON text, as accepted.
    pub value: String,
    /// The revision that last changed it.
    pub revision: Revision,
    /// The revision that created it.
    pub born: Revision,
    /// When it was changed, milliseconds since 1970.
    pub updated_ms: u64,
    /// The id of the write that changed it.
    pub writer: String,
    /// Who, as that write said.
    pub actor: Option<String>,
    /// Ids of its open conflicts.
    pub conflicts: Vec<String>,
}

/// A live record, and who set which of its fields.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordFields {
    /// The record.
    pub record: RecordRow,
    /// Every field of its value, in the value's order.
    pub fields: Vec<FieldRow>,
}

/// The newest change of a field; nothing but its name in collections of the system, which keep no clocks of fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldRow {
    /// The field.
    pub name: String,
    /// The revision of the write that set it.
    pub revision: Option<Revision>,
    /// When, by the writer's clock, milliseconds since 1970.
    pub at_ms: Option<u64>,
    /// The node, or `cloud`; none also where the node was deleted.
    pub writer: Option<String>,
    /// Who, as that write said; none also where the write is no longer kept.
    pub actor: Option<String>,
}

/// A decided write.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteRow {
    /// Its id.
    pub id: WriteId,
    /// The answer.
    pub verdict: Verdict,
    /// The revision that it was decided at.
    pub revision: Revision,
    /// The stable code.
    pub code: Option<String>,
    /// For people.
    pub detail: Option<String>,
    /// Conflict rows that it opened or added to.
    pub conflicts: Vec<String>,
    /// Who.
    pub actor: Option<String>,
    /// When it was committed, milliseconds since 1970, by the clock of the database that did.
    pub at_ms: u64,
    /// What it said; empty for an import, and for bytes that made no sense.
    pub ops: Vec<Op>,
}

/// A conflict row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictRow {
    /// Its place in the list.
    pub seq: u64,
    /// Its id.
    pub id: String,
    /// The collection that it is about.
    pub collection: CollectionName,
    /// The record that it is about.
    pub key: String,
    /// `open`, `auto` or `resolved`.
    pub state: String,
    /// The whole row.
    pub json: String,
}

/// A collection.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectionRow {
    /// Its name.
    pub name: CollectionName,
    /// The revision that its definition came with.
    pub revision: Revision,
    /// Its definition.
    pub definition: Definition,
    /// Live records.
    pub records: u64,
}

/// How many devices a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceCounts {
    /// Declared ones.
    pub declared: u64,
    /// Those that said last that they are online or ok.
    pub online: u64,
}

/// A node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeRow {
    /// Its name.
    pub name: NodeName,
    /// Its labels.
    pub labels: Labels,
    /// It may not come back.
    pub revoked: bool,
    /// When it joined, milliseconds since 1970.
    pub created_ms: u64,
    /// When it was last heard of, milliseconds since 1970; 0: never.
    pub last_seen_ms: u64,
    /// Where from.
    pub address: String,
    /// Through what.
    pub transport: String,
    /// The program it runs.
    pub version: String,
    /// The database of its newest session.
    pub database: Option<DatabaseId>,
    /// The serial of its certificate.
    pub serial: String,
    /// The serial of the one before, while the renewed one has not been used.
    pub old_serial: Option<String>,
    /// When its certificate ends, milliseconds since 1970.
    pub not_after_ms: u64,
    /// How far it has come, as last saved.
    pub cursor: Revision,
    /// Its outbox, as last saved.
    pub report: Report,
    /// When the digests of its database last agreed with the cloud's, milliseconds since 1970.
    pub verified_ms: Option<u64>,
    /// Open conflicts that its writes opened.
    pub conflicts_open: u64,
    /// Whether any collection selects it.
    pub selected: bool,
}

impl NodeRow {
    /// The saved cursor as a place in the stream.
    pub fn position(&self) -> Position {
        Position::at(self.cursor)
    }
}

/// Something that happened to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEvent {
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// Stable word.
    pub kind: String,
    /// For people.
    pub detail: String,
}

/// A join token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinTokenRow {
    /// Its id.
    pub id: String,
    /// The only node that may use it.
    pub node: Option<NodeName>,
    /// A node of that name may exist and is replaced.
    pub replaces: bool,
    /// Labels that the node gets.
    pub labels: Labels,
    /// How often it may be used.
    pub uses: u64,
    /// How often it was.
    pub used: u64,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// When it ends, milliseconds since 1970.
    pub expires_ms: u64,
}

/// An access token, without its secret.
pub use api::access::Kept as AccessTokenRow;

/// A page of records.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordPage {
    /// Where a watch goes on after what is listed.
    pub since: WatchPlace,
    /// In the order that was asked for.
    pub records: Vec<RecordRow>,
    /// The place of what was looked at last, when there may be more.
    pub next: Option<list::Position>,
    /// The state that was read.
    pub head: Revision,
}

/// A page of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportPage {
    /// Keys and values, in byte order of the keys.
    pub records: Vec<(Key, String)>,
    /// The definition names key fields, so that a line is the value alone.
    pub key_in_value: bool,
    /// The last key, when there is more.
    pub next: Option<Key>,
}

/// Which writes to list.
#[derive(Debug, Clone, Default)]
pub struct WritesRequest {
    /// Only this answer.
    pub verdict: Option<Verdict>,
    /// Only decided after this.
    pub after: Option<Revision>,
    /// At most this many.
    pub limit: usize,
}

/// Which conflicts to list.
#[derive(Debug, Clone, Default)]
pub struct ConflictsRequest {
    /// Only `open`, `auto` or `resolved`.
    pub state: Option<String>,
    /// Only after this place.
    pub after: Option<u64>,
    /// At most this many.
    pub limit: usize,
    /// Only about these collections.
    pub collections: Option<Vec<CollectionName>>,
}

/// Figures for status and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// The newest revision.
    pub head: Revision,
    /// The epoch of this start.
    pub epoch: Epoch,
    /// Collections of operators.
    pub collections: u64,
    /// Nodes that are not revoked.
    pub nodes: u64,
    /// Nodes that are revoked.
    pub revoked: u64,
    /// Conflicts that wait for a person.
    pub conflicts_open: u64,
    /// Bytes of the database file.
    pub database_bytes: u64,
}
