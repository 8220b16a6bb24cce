//! The local API's answers, out of the edge database. No request waits for the network, except where it asks to
//! (`Prefer: wait`, `?wait=`).
//!
//! `records`, `query`, `mutate`, `writes`, `watch`, `import`, `status` and `verify` each serve their part of [`api::hub::Hub`];
//! `access` says who asks; `shape` turns rows into the shapes that applications see.

mod access;
mod fields;
mod import;
mod mutate;
mod query;
mod records;
mod shape;
mod status;
mod verify;
mod watch;
mod writes;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use api::http::import::ImportLines;
use api::hub::{
    Caller, Collection, ConflictFilter, ConflictPage, ConflictRow, Credentials, EdgeAdmin, ExportPage, Hub, ImportRequest, ListQuery,
    MutationAnswer, MutationRequest, Origin, Page, PageToken, QueryAnswer, QueryRequest, ResendRequest, Stranger, WriteFilter, WritePage,
};
use api::metrics::MetricsWriter;
use api::problem::{Code, Problem};
use api::shapes::{
    AccessToken, AccessTokenRequest, EdgeStatus, ImportSummary, NewAccessToken, Record, RecordFields, Time, Verified, Write, WriteState,
};
use api::watch::{Watch, WatchFrom, WatchStep, Watched};
use metamanager::{Metamanager, Reader};
use proto::device::Twin;
use proto::ids::WriteId;
use proto::names::{CollectionName, Key, NodeName};
use tokio::sync::watch::Receiver;

pub use access::Access;
pub use query::Turns;

use crate::clock::SystemClock;
use crate::config::MqttConfig;
use crate::eventbus::BusBoard;
use crate::link::{Board, Verification, Volume};

/// Everything that an answer may need.
pub struct LocalHub {
    /// The edge database.
    pub store: Metamanager,
    /// The node's name, once it has joined.
    pub node: Arc<OnceLock<NodeName>>,
    /// How the link is.
    pub board: Arc<Board>,
    /// How to ask whether everything is here.
    pub verification: Arc<Verification>,
    /// What has passed on the link.
    pub volume: Arc<Volume>,
    /// Rung when writes got their outcomes.
    pub answered: Receiver<()>,
    /// Rung when readers may see something otherwise than before.
    pub changes: Receiver<()>,
    /// The process's clocks.
    pub clock: SystemClock,
    /// The data folder.
    pub data: PathBuf,
    /// How many writes got which outcome since the start.
    pub tally: Arc<Tally>,
    /// Who needs a token.
    pub access: Access,
    /// Whose query's turn it is.
    pub queries: Turns,
    /// Devices over MQTT, and where.
    pub bus: (Arc<BusBoard>, MqttConfig),
}

/// Counts for metrics.
#[derive(Debug, Default)]
pub struct Tally {
    /// Writes taken.
    pub committed: std::sync::atomic::AtomicU64,
    /// Writes by outcome, in the order of [`proto::op::Verdict`].
    pub verdicts: [std::sync::atomic::AtomicU64; 5],
}

impl LocalHub {
    fn node(&self) -> Result<&NodeName, Problem> {
        let missing = || {
            let detail =
                format!("this edgehub has not joined a cloud; run: edgehub join --server HOST --token T --data {}", self.data.display());
            Problem::new(Code::NotJoined, detail).retry_after(Duration::from_secs(5))
        };
        self.node.get().ok_or_else(missing)
    }

    fn write_id(&self, number: u64) -> Result<WriteId, Problem> {
        Ok(WriteId::edge(self.node()?, &self.store.names().database, number))
    }

    /// The number of a write of this database, under whatever id it had then; no other write is known here.
    fn number_of(&self, id: &WriteId) -> Result<u64, Problem> {
        let names = self.store.names();
        match id {
            WriteId::Edge { node, database, number } if node == self.node()? && names.gave(database, *number) => Ok(*number),
            _ => Err(Problem::not_found(format!("there is no write {id} in this database ({})", names.database.short()))),
        }
    }
}

impl Hub for LocalHub {
    type Status = EdgeStatus;

    async fn authorize(&self, credentials: Credentials<'_>) -> Result<Caller, Problem> {
        self.who(credentials)
    }

    async fn collections(&self) -> Result<Vec<Collection>, Problem> {
        self.node()?;
        let read = |reader: &mut Reader| Ok((reader.definitions()?, reader.status()?));
        let (rows, status) = self.store.read(read).map_err(shape::read_problem)?;
        let operators = rows.into_iter().filter(|row| !row.name.is_system());
        Ok(operators.map(|row| shape::collection(row, &status)).collect())
    }

    async fn collection(&self, name: &CollectionName) -> Result<Collection, Problem> {
        self.node()?;
        let read = |reader: &mut Reader| Ok((reader.definition(name)?, reader.status()?));
        let (row, status) = self.store.read(read).map_err(shape::read_problem)?;
        row.map(|row| shape::collection(row, &status)).ok_or_else(|| Problem::no_collection(name.as_str()))
    }

    async fn list(&self, query: ListQuery) -> Result<Page, Problem> {
        self.list_records(query)
    }

    async fn get(&self, collection: &CollectionName, key: &Key, base: bool) -> Result<Record, Problem> {
        self.record(collection, key, base)
    }

    async fn get_with_fields(&self, collection: &CollectionName, key: &Key, base: bool) -> Result<RecordFields, Problem> {
        self.record_fields(collection, key, base)
    }

    fn own_node(&self) -> Option<NodeName> {
        self.node.get().cloned()
    }

    fn now_ms(&self) -> u64 {
        self.clock.now().wall_ms
    }

    fn strangers(&self) -> Vec<Stranger> {
        let all = self.bus.0.strangers().into_iter();
        all.map(|stranger| Stranger {
            id: stranger.id,
            last_seen: Time(stranger.last_seen_ms),
            topics: stranger.topics.into_iter().collect(),
            messages: stranger.messages,
        })
        .collect()
    }

    async fn twin(&self, device: &Key) -> Result<Option<Twin>, Problem> {
        self.store.read(|reader| reader.twin(device)).map_err(shape::read_problem)
    }

    async fn mutate(&self, request: MutationRequest) -> Result<MutationAnswer, Problem> {
        self.commit(request).await
    }

    async fn is_same(&self, record: &Record) -> Result<bool, Problem> {
        self.is_steady(record)
    }

    async fn resend(&self, id: &WriteId, request: ResendRequest) -> Result<MutationAnswer, Problem> {
        self.send_again(id, request).await
    }

    async fn discard(&self, id: &WriteId, _: Origin) -> Result<(), Problem> {
        self.drop_write(id).await
    }

    async fn writes(&self, filter: WriteFilter) -> Result<WritePage, Problem> {
        self.list_writes(filter)
    }

    async fn write(&self, id: &WriteId, wait: Option<Duration>) -> Result<Write, Problem> {
        let number = self.number_of(id)?;
        self.settled(number, wait).await
    }

    async fn import(&self, request: ImportRequest, lines: &mut ImportLines) -> Result<ImportSummary, Problem> {
        self.import_lines(request, lines).await
    }

    async fn export(&self, collection: &CollectionName, after: Option<Key>) -> Result<ExportPage, Problem> {
        self.export_records(collection, after)
    }

    async fn conflicts(&self, filter: ConflictFilter) -> Result<ConflictPage, Problem> {
        self.list_conflicts(filter)
    }

    async fn conflict(&self, id: &str) -> Result<ConflictRow, Problem> {
        self.node()?;
        let row = self.store.read(|reader| reader.conflict(id)).map_err(shape::read_problem)?;
        row.map(shape::conflict).ok_or_else(|| Problem::not_found(format!("there is no conflict {id:?} here")))
    }

    async fn status(&self) -> Result<EdgeStatus, Problem> {
        self.present_status()
    }

    async fn ready(&self) -> Result<(), Problem> {
        self.node()?;
        let status = self.store.read(Reader::status).map_err(shape::read_problem)?;
        if status.synced { Ok(()) } else { Err(shape::not_synced()) }
    }

    async fn access_tokens(&self) -> Result<Vec<AccessToken>, Problem> {
        self.list_tokens()
    }

    async fn create_access_token(&self, request: AccessTokenRequest, origin: Origin) -> Result<NewAccessToken, Problem> {
        self.new_token(request, &origin).await
    }

    async fn revoke_access_token(&self, id: &str, origin: Origin) -> Result<(), Problem> {
        self.revoke_token(id, &origin).await
    }

    async fn metrics(&self, out: &mut MetricsWriter) -> Result<(), Problem> {
        self.figures(out)
    }
}

impl Watched for LocalHub {
    async fn watch(&self, watch: &Watch, from: &WatchFrom) -> Result<WatchStep, Problem> {
        self.next_events(watch, from)
    }

    fn changes(&self) -> Receiver<()> {
        self.changes.clone()
    }
}

impl EdgeAdmin for LocalHub {
    async fn outbox(&self, after: Option<PageToken>, limit: usize) -> Result<WritePage, Problem> {
        self.list_writes(WriteFilter { state: Some(WriteState::Pending), after, limit, collections: None })
    }

    async fn verify(&self, collection: Option<CollectionName>) -> Result<Verified, Problem> {
        self.verify_now(collection).await
    }

    async fn query(&self, request: QueryRequest) -> Result<QueryAnswer, Problem> {
        self.answer_query(request).await
    }
}
