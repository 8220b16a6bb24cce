//! What a hub must be able to do so that the HTTP surface can stand in front of it.
//!
//! [`Hub`] is the part that cloud and edge share, [`CloudAdmin`] and [`EdgeAdmin`] what only one of them has. The
//! HTTP side parses, bounds and renders; everything that needs the store (preconditions, policies, entitlement) is
//! judged behind these traits, inside the transaction, and comes back as a [`Problem`].

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use proto::device::Twin;
use proto::ids::{DatabaseId, Revision, WriteId};
use proto::json::Value;
use proto::names::{CollectionName, Key, NodeName};
use proto::op::Idempotency;
use proto::resolve::Resolve;
use serde::Serialize;
use transport::join::{JoinRequest, JoinResponse, RenewRequest};

use crate::http::import::ImportLines;
use crate::metrics::MetricsWriter;
use crate::problem::Problem;
use crate::shapes::{
    AccessToken, AccessTokenRequest, AppliedCollection, ConflictState, ImportSummary, JoinToken, JoinTokenRequest, NewAccessToken,
    NewJoinToken, Node, NodeEvent, RawJson, Record, RecordFields, Resync, Time, Verification, Verified, Write, WriteState,
};

/// The records, writes and conflicts of one hub, as its API shows them.
pub trait Hub: Send + Sync + 'static {
    /// What `GET /v1/status` shows.
    type Status: Serialize + Send;

    /// Who asks. The edge lets everyone in who came through loopback or its socket, unless tokens are required; the
    /// cloud wants a bearer token. Errors: `unauthorized`.
    fn authorize(&self, credentials: Credentials<'_>) -> impl Future<Output = Result<Caller, Problem>> + Send;

    /// Every collection's definition, in name order.
    fn collections(&self) -> impl Future<Output = Result<Vec<Collection>, Problem>> + Send;

    /// One definition. Errors: `not_found`.
    fn collection(&self, name: &CollectionName) -> impl Future<Output = Result<Collection, Problem>> + Send;

    /// One page of a collection. Errors: `not_found`, `no_index` naming the line to add where no declared index serves the
    /// order.
    fn list(&self, query: ListQuery) -> impl Future<Output = Result<Page, Problem>> + Send;

    /// Whether a reader who holds this version of a record, as [`Hub::get`] just showed it, knows all of it: a tag names the
    /// newest pending write, and an older one may have been rejected since. Wrong only to the safe side.
    fn is_same(&self, record: &Record) -> impl Future<Output = Result<bool, Problem>> + Send;

    /// One record: what local readers see, or with `base` what the cloud last said it is (on the cloud: the same).
    /// Errors: `not_found`.
    fn get(&self, collection: &CollectionName, key: &Key, base: bool) -> impl Future<Output = Result<Record, Problem>> + Send;

    /// The same, with what is known of who set which field.
    fn get_with_fields(
        &self,
        collection: &CollectionName,
        key: &Key,
        base: bool,
    ) -> impl Future<Output = Result<RecordFields, Problem>> + Send;

    /// Sends an answered write that had no effect once more, as a new write on what the records are now. Errors: `not_found`,
    /// `in_progress` while it has no answer, `not_open` where it took effect or was sent again already, and as [`Hub::mutate`].
    fn resend(&self, id: &WriteId, request: ResendRequest) -> impl Future<Output = Result<MutationAnswer, Problem>> + Send;

    /// Drops what is kept of an answered write. Errors: `not_found`, `in_progress` while it has no answer.
    fn discard(&self, id: &WriteId, origin: Origin) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Commits the ops as one write. `Ok` means durable. Errors: whatever refuses the write before it is taken.
    fn mutate(&self, request: MutationRequest) -> impl Future<Output = Result<MutationAnswer, Problem>> + Send;

    /// Writes, newest last. Errors: `bad_request` for a bad token.
    fn writes(&self, filter: WriteFilter) -> impl Future<Output = Result<WritePage, Problem>> + Send;

    /// One write; with `wait`, at the latest after that long, or as soon as its outcome is known. Errors: `not_found`.
    fn write(&self, id: &WriteId, wait: Option<Duration>) -> impl Future<Output = Result<Write, Problem>> + Send;

    /// Reads `lines` to their end and checks them, then commits them 1,000 at a time. Errors: `bad_line` and
    /// everything else that refuses the input as a whole; then nothing has changed.
    fn import(&self, request: ImportRequest, lines: &mut ImportLines) -> impl Future<Output = Result<ImportSummary, Problem>> + Send;

    /// The next records to export, from the first key above `after`, as many as the hub likes to hold at once.
    fn export(&self, collection: &CollectionName, after: Option<Key>) -> impl Future<Output = Result<ExportPage, Problem>> + Send;

    /// Conflict rows, oldest first. Errors: `bad_request` for a bad token.
    fn conflicts(&self, filter: ConflictFilter) -> impl Future<Output = Result<ConflictPage, Problem>> + Send;

    /// One conflict row. Errors: `not_found`.
    fn conflict(&self, id: &str) -> impl Future<Output = Result<ConflictRow, Problem>> + Send;

    /// The node that this hub is; none: it is the cloud.
    fn own_node(&self) -> Option<NodeName> {
        None
    }

    /// What time it is, milliseconds since 1970.
    fn now_ms(&self) -> u64;

    /// Devices that speak at this hub's broker and are not declared.
    fn strangers(&self) -> Vec<Stranger> {
        Vec::new()
    }

    /// A device's twin with what waits to become a part of its record; none: the record says all, or there is none.
    fn twin(&self, device: &Key) -> impl Future<Output = Result<Option<Twin>, Problem>> + Send {
        let _ = device;
        async { Ok(None) }
    }

    /// What the hub is doing.
    fn status(&self) -> impl Future<Output = Result<Self::Status, Problem>> + Send;

    /// Whether requests can be served. Errors: `not_joined`, `not_synced`, `unavailable`, each saying what is missing.
    fn ready(&self) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Access tokens; never the secrets.
    fn access_tokens(&self) -> impl Future<Output = Result<Vec<AccessToken>, Problem>> + Send;

    /// Makes an access token; the answer holds the secret, once.
    fn create_access_token(
        &self,
        request: AccessTokenRequest,
        origin: Origin,
    ) -> impl Future<Output = Result<NewAccessToken, Problem>> + Send;

    /// Revokes an access token. Errors: `not_found`.
    fn revoke_access_token(&self, id: &str, origin: Origin) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Writes the hub's figures; only metrics of [`crate::metrics::METRICS`] can be written.
    fn metrics(&self, out: &mut MetricsWriter) -> impl Future<Output = Result<(), Problem>> + Send;
}

/// What only the cloud's API has: nodes, tokens, definitions, joining.
pub trait CloudAdmin: crate::watch::Watched {
    /// Nodes in name order, and the token of the next page. Errors: `bad_request` for a bad token.
    fn nodes(&self, after: Option<PageToken>, limit: usize)
    -> impl Future<Output = Result<(Vec<Node>, Option<PageToken>), Problem>> + Send;

    /// One node. Errors: `not_found`.
    fn node(&self, name: &NodeName) -> impl Future<Output = Result<Node, Problem>> + Send;

    /// The newest events of a node, oldest first. Errors: `not_found`.
    fn node_events(&self, name: &NodeName) -> impl Future<Output = Result<Vec<NodeEvent>, Problem>> + Send;

    /// Sets (`Some`) and removes (`None`) labels; the others stay. Errors: `not_found`, `bad_request` for a bad label.
    fn label_node(
        &self,
        name: &NodeName,
        labels: BTreeMap<String, Option<String>>,
        origin: Origin,
    ) -> impl Future<Output = Result<Node, Problem>> + Send;

    /// Refuses the node's certificates from now on and closes its session. Errors: `not_found`.
    fn revoke_node(&self, name: &NodeName, origin: Origin) -> impl Future<Output = Result<Node, Problem>> + Send;

    /// Makes a database that was refused the rightful one of the node: its next session is let in. Errors: `not_found`.
    fn accept_database(&self, name: &NodeName, database: DatabaseId, origin: Origin) -> impl Future<Output = Result<Node, Problem>> + Send;

    /// Compares what the node holds with what the cloud has, all of it or one collection, and sends again what differs. Waits
    /// for what comes of it. Errors: `not_found`, `node_offline`, `node_too_old`, `in_progress` when it takes too long,
    /// `bad_request` where the node gets nothing of the collection.
    fn verify_node(
        &self,
        name: &NodeName,
        collection: Option<CollectionName>,
        origin: Origin,
    ) -> impl Future<Output = Result<Verification, Problem>> + Send;

    /// Has the node drop and fill again what it holds, all of it or one collection; also while it is away. Errors:
    /// `not_found`, `bad_request` where the node gets nothing of it.
    fn resync_node(
        &self,
        name: &NodeName,
        collection: Option<CollectionName>,
        origin: Origin,
    ) -> impl Future<Output = Result<Resync, Problem>> + Send;

    /// Forgets a node. Errors: `not_found`.
    fn delete_node(&self, name: &NodeName, origin: Origin) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Join tokens that are neither used up nor expired nor revoked; never the secrets.
    fn join_tokens(&self) -> impl Future<Output = Result<Vec<JoinToken>, Problem>> + Send;

    /// Makes a join token; the answer holds the secret, once.
    fn create_join_token(&self, request: JoinTokenRequest, origin: Origin) -> impl Future<Output = Result<NewJoinToken, Problem>> + Send;

    /// Revokes a join token. Errors: `not_found`.
    fn revoke_join_token(&self, id: &str, origin: Origin) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Creates or changes a definition, given as the JSON form of a `[[collection]]` table without `name`, which is
    /// the path's; with `dry_run` only says what it would do. Errors: `bad_request` with `field` for a wrong definition.
    fn put_collection(
        &self,
        name: &CollectionName,
        definition: Value,
        dry_run: bool,
        origin: Origin,
    ) -> impl Future<Output = Result<AppliedCollection, Problem>> + Send;

    /// Deletes a definition and its records. Errors: `not_found`.
    fn delete_collection(&self, name: &CollectionName, origin: Origin) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Takes a node in: no bearer token, the join token in the body is the proof. Errors: `unauthorized` for a wrong,
    /// expired or used-up token, `name_taken`.
    fn join(&self, request: JoinRequest) -> impl Future<Output = Result<JoinResponse, Problem>> + Send;

    /// Renews a certificate, proved by the old key. Errors: `unauthorized` when the proof is wrong or it was revoked.
    fn renew(&self, request: RenewRequest) -> impl Future<Output = Result<JoinResponse, Problem>> + Send;
}

/// What only the edge's API has.
pub trait EdgeAdmin: crate::watch::Watched {
    /// Writes that have no outcome yet, in order. Errors: `bad_request` for a bad token.
    fn outbox(&self, after: Option<PageToken>, limit: usize) -> impl Future<Output = Result<WritePage, Problem>> + Send;

    /// Reads every record again and compares with the cloud, as far as the link lets it; waits for repairs, for a while.
    /// Errors: `not_found` for a collection that is not here.
    fn verify(&self, collection: Option<CollectionName>) -> impl Future<Output = Result<Verified, Problem>> + Send;

    /// Answers a SELECT over what local readers see. Errors: `bad_request` for anything else, naming what; `query_limit`;
    /// `rate` when too many run.
    fn query(&self, request: QueryRequest) -> impl Future<Output = Result<QueryAnswer, Problem>> + Send;
}

/// One SELECT.
#[derive(Debug, Clone)]
pub struct QueryRequest {
    /// The statement.
    pub sql: String,
    /// The values of its parameters.
    pub params: QueryParams,
    /// Rows to answer.
    pub limit: Option<usize>,
    /// How long it may run.
    pub timeout: Option<Duration>,
    /// Who asks.
    pub caller: Caller,
}

/// The values of a statement's parameters.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryParams {
    /// By place.
    Positional(Vec<QueryParam>),
    /// By name.
    Named(Vec<(String, QueryParam)>),
}

/// One of them; true and false are 1 and 0.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryParam {
    /// NULL.
    Null,
    /// A whole number of 64 bits.
    Integer(i64),
    /// Any other number.
    Real(f64),
    /// A text.
    Text(String),
}

/// The answer to a SELECT.
#[derive(Debug, Clone)]
pub struct QueryAnswer {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// A list of lists.
    pub rows: RawJson,
    /// There is more.
    pub truncated: bool,
}

/// What a request brings to prove who it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    /// The text after `Authorization: Bearer`.
    pub bearer: Option<&'a str>,
    /// Where it came in.
    pub peer: Peer,
}

/// Where a connection came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Through TCP.
    Tcp {
        /// The address that was connected to.
        local: std::net::SocketAddr,
        /// Who connected.
        remote: std::net::SocketAddr,
        /// Nobody in between could read or answer.
        tls: bool,
    },
    /// Through the Unix socket, whose mode is the permission.
    Unix,
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads and writes records.
    Editor,
    /// Everything: definitions, nodes, tokens.
    Admin,
}

/// Who asks, and what they may.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token's name; `None` for a local application of an edge without tokens.
    pub name: Option<Arc<str>>,
    /// What they may do.
    pub role: Role,
    /// In which collections; `None`: in all of them.
    pub collections: Option<Arc<[CollectionName]>>,
}

impl Role {
    /// As stores keep it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Admin => "admin",
        }
    }

    /// The same, the other way round.
    pub fn read(text: &str) -> Option<Self> {
        [Self::Viewer, Self::Editor, Self::Admin].into_iter().find(|role| role.as_str() == text)
    }
}

impl Caller {
    /// A local application, which may do everything.
    pub const LOCAL: Self = Self { name: None, role: Role::Admin, collections: None };

    /// Whether records of this collection may be read.
    pub fn sees(&self, collection: &str) -> bool {
        self.collections.as_ref().is_none_or(|names| names.iter().any(|name| name.as_str() == collection))
    }

    /// Whether records of every collection may be changed.
    pub fn may_write_all(&self) -> bool {
        self.role >= Role::Editor && self.collections.is_none()
    }

    /// Whether records of this collection may be changed.
    pub fn may_write(&self, collection: &str) -> bool {
        self.role >= Role::Editor && self.sees(collection)
    }
}

/// Who caused a change, for the write's row, records, conflicts and logs.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The authenticated caller.
    pub caller: Caller,
    /// `Tombolo-Actor`, at most [`proto::limits::ACTOR_BYTES`].
    pub actor: Option<String>,
    /// `Request-Id`, the application's or a made one.
    pub request_id: Arc<str>,
    /// Whether it is the application's.
    pub named: bool,
}

impl Origin {
    /// The id that goes with a write to the other side and into its log: a made one says nothing there.
    pub fn travelling_id(&self) -> Option<String> {
        self.named.then(|| self.request_id.to_string())
    }
}

/// One collection.
#[derive(Debug, Clone)]
pub struct Collection {
    /// Its name.
    pub name: CollectionName,
    /// The revision of its definition.
    pub revision: Revision,
    /// Its live records, as readers see them.
    pub records: u64,
    /// Its definition, as [`proto::definition::Definition::to_json`] has it: an object without `name`.
    pub definition: RawJson,
}

/// An opaque place in a list. The hub makes it from a key or a number and reads it back; the application only returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken(pub(crate) String);

pub use proto::list::ListQuery;

/// One page of records.
#[derive(Debug, Clone)]
pub struct Page {
    /// The records, in the order that was asked for.
    pub records: Vec<Record>,
    /// The place of what was looked at last, when there may be more.
    pub next: Option<proto::list::Position>,
    /// Where a watch can go on so that it misses nothing after this page.
    pub since: String,
}

/// A device that speaks and is not declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// What it calls itself.
    pub id: String,
    /// When it spoke last.
    pub last_seen: Time,
    /// Where.
    pub topics: Vec<String>,
    /// How often.
    pub messages: u64,
}

/// One write to be committed.
#[derive(Debug, Clone)]
pub struct MutationRequest {
    /// The ops, at least one, at most [`proto::limits::WRITE_OPS`], in order.
    pub ops: Vec<OpRequest>,
    /// Who asks.
    pub origin: Origin,
    /// Answer when the outcome is known, at the latest after this long.
    pub wait: Option<Duration>,
    /// `Idempotency-Key`: a request that was answered under it is not committed again, but answered again.
    pub idempotency: Option<Idempotency>,
}

/// An answered write to be sent once more.
#[derive(Debug, Clone)]
pub struct ResendRequest {
    /// Who asks.
    pub origin: Origin,
    /// As of a mutation.
    pub wait: Option<Duration>,
    /// As of a mutation.
    pub idempotency: Option<Idempotency>,
}

/// One op of a write, as the application stated it.
#[derive(Debug, Clone)]
pub struct OpRequest {
    /// The collection.
    pub collection: CollectionName,
    /// The key. For [`OpAction::Create`] the one to use where the value does not hold it.
    pub key: Key,
    /// What to do.
    pub action: OpAction,
    /// What must hold now.
    pub condition: Condition,
}

/// What an op does.
#[derive(Debug, Clone)]
pub enum OpAction {
    /// `POST …/records`: creates only. The key is the value's own where the definition names key fields and the value
    /// has them; else [`OpRequest::key`], a fresh UUIDv7. A live key: `key_taken`.
    Create(Value),
    /// Replaces the record, or creates it.
    Put(Value),
    /// An RFC 7396 merge patch as the application sent it; null removes a field.
    Merge(Value),
    /// Adds to counters.
    Increment(BTreeMap<String, i64>),
    /// Deletes.
    Delete {
        /// Also a record with a non-zero counter, or one under `append`.
        force: bool,
    },
    /// Changes nothing; the write applies only where these fields have these values.
    Check(Value),
    /// Resolves a conflict: alone in its write, in `_conflicts`, the row's id for the key. Errors: `not_found`, `not_open`,
    /// `bad_request` where the row keeps nothing of the side that is asked for.
    Resolve(Resolve),
}

/// A precondition, judged where it is answered: 412 `precondition` when it does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// None. A PUT that changes a counter is refused with 428 `count_needs_match`.
    None,
    /// `If-None-Match: *` or `"if":"absent"`: no such record.
    Absent,
    /// `If-Match: *`: any such record.
    Present,
    /// `If-Match` with tags: the record has one of them.
    Match(Vec<Etag>),
    /// `"if": REVISION`: base has this revision; also judged by the cloud.
    Revision(Revision),
}

/// The version of a record that an application saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etag {
    /// The revision of its base; 0 when there is none yet.
    pub revision: Revision,
    /// The newest write that was pending on it.
    pub write: Option<WriteId>,
}

/// What a committed write did.
#[derive(Debug, Clone)]
pub struct MutationAnswer {
    /// The write: pending at the edge, final on the cloud.
    pub write: Write,
    /// One entry a record that the ops touch (a check touches none), where the first of them stands: what the write as a
    /// whole made of it.
    pub results: Vec<OpResult>,
}

/// What became of one record.
#[derive(Debug, Clone)]
pub enum OpResult {
    /// It did not exist before.
    Created(Record),
    /// It existed before.
    Changed(Record),
    /// It is gone.
    Deleted {
        /// Its collection.
        collection: String,
        /// Its key.
        key: String,
    },
    /// The request, which was made before under its `Idempotency-Key`, created it, and it is gone since.
    Gone {
        /// Its collection.
        collection: String,
        /// Its key.
        key: String,
    },
}

/// Which writes to list.
#[derive(Debug, Clone)]
pub struct WriteFilter {
    /// Only these states.
    pub state: Option<WriteState>,
    /// After this place.
    pub after: Option<PageToken>,
    /// At most this many, 1 to 1,000.
    pub limit: usize,
    /// Only writes all of whose ops are in these collections; `None`: all.
    pub collections: Option<Arc<[CollectionName]>>,
}

/// One page of writes.
#[derive(Debug, Clone)]
pub struct WritePage {
    /// The writes.
    pub writes: Vec<Write>,
    /// Where to go on, when there is more.
    pub next: Option<PageToken>,
}

/// How an import takes its lines.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// The collection.
    pub collection: CollectionName,
    /// What a line does.
    pub mode: ImportMode,
    /// Whether counters of records that exist are set too.
    pub set_counters: bool,
    /// The fields that hold the key, where the request names them; they go before the definition's.
    pub key_fields: Option<Vec<String>>,
    /// Who asks.
    pub origin: Origin,
}

/// What one line of an import does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImportMode {
    /// Creates only.
    Create,
    /// Replaces or creates.
    #[default]
    Put,
    /// Merges into what is there, or creates.
    Merge,
}

/// Some records of an export.
#[derive(Debug, Clone)]
pub struct ExportPage {
    /// Keys and values, in key order.
    pub records: Vec<(Key, RawJson)>,
    /// Whether the definition names key fields: then a line is the value alone, else `{"key","value"}`.
    pub key_in_value: bool,
    /// The last key of this page, when there is more.
    pub next: Option<Key>,
}

/// Which conflicts to list.
#[derive(Debug, Clone)]
pub struct ConflictFilter {
    /// Only this state; `None`: all.
    pub state: Option<ConflictState>,
    /// After this place.
    pub after: Option<PageToken>,
    /// At most this many, 1 to 1,000.
    pub limit: usize,
    /// Only about these collections; `None`: all.
    pub collections: Option<Arc<[CollectionName]>>,
}

/// One page of conflicts.
#[derive(Debug, Clone)]
pub struct ConflictPage {
    /// The rows.
    pub conflicts: Vec<ConflictRow>,
    /// Where to go on, when there is more.
    pub next: Option<PageToken>,
}

/// One conflict row, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct ConflictRow {
    /// The collection that it is about.
    pub collection: String,
    /// The whole row, see [`crate::shapes::Conflict`].
    pub row: RawJson,
}
