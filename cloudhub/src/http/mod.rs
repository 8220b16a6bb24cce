//! The cloud's API, out of the store: [`CloudHub`] implements what the shared HTTP surface asks of a hub.
//!
//! `records`, `writes`, `watch`, `import`, `status`, `nodes`, `verify`, `tokens` and `joining` each serve their part; `fleet` and `warnings` say what of
//! the nodes an operator should look at; `access` says who asks; `shape`
//! turns rows into the shapes that applications see, `refusal` turns refusals into problems.

mod access;
mod admin;
mod fleet;
mod import;
mod joining;
mod nodes;
mod records;
mod refusal;
mod shape;
mod status;
mod tokens;
mod verify;
mod warnings;
mod watch;
mod writes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::http::import::ImportLines;
use api::hub::{
    Caller, Collection, ConflictFilter, ConflictPage, ConflictRow, Credentials, ExportPage, Hub, ImportRequest, ListQuery, MutationAnswer,
    MutationRequest, Origin, Page, ResendRequest, WriteFilter, WritePage,
};
use api::metrics::MetricsWriter;
use api::problem::Problem;
use api::shapes::{AccessToken, AccessTokenRequest, CloudStatus, ImportSummary, NewAccessToken, Record, RecordFields, Write};
use api::watch::{Watch, WatchFrom, WatchStep, Watched};
use proto::ids::WriteId;
use proto::names::{CollectionName, Key};
use transport::join::Servers;

use crate::clock::SystemClock;
use crate::engine::{Engine, Failed};
use crate::peers::{Gate, Registry};
use crate::pki::Pki;
use crate::store::{Answer, Job, StoreError, StoreRead};
pub use access::Access;
pub use joining::JoinAnswers;

/// Everything that an answer may need.
pub struct CloudHub {
    /// The store.
    pub engine: Engine,
    /// Who is connected.
    pub registry: Arc<Registry>,
    /// How much may begin at once.
    pub gate: Arc<Gate>,
    /// Certificates.
    pub pki: Arc<Pki>,
    /// Who may ask.
    pub access: Access,
    /// Answers to joins that may have been lost.
    pub joins: JoinAnswers,
    /// What a node learns at its join.
    pub servers: Servers,
    /// Where the hub listens, by what: `api`, `websocket`.
    pub listen: BTreeMap<String, String>,
    /// The process's clocks.
    pub clock: SystemClock,
    /// When the hub was started, milliseconds since 1970.
    pub started_ms: u64,
    /// The data folder.
    pub data: PathBuf,
}

impl CloudHub {
    async fn read<T: Send + 'static>(
        &self,
        body: impl FnOnce(&mut dyn StoreRead) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        self.engine.read(body).await.map_err(|failed| self.problem(failed))
    }

    async fn job(&self, job: Job) -> Result<Answer, Problem> {
        self.engine.job(job).await.map_err(|failed| self.problem(failed))
    }

    fn problem(&self, failed: Failed) -> Problem {
        refusal::problem(failed, self.clock.wall_ms())
    }
}

/// Who changed something, for the log.
fn by(origin: &Origin) -> &str {
    origin.caller.name.as_deref().unwrap_or("-")
}

/// The writer answers a job with the kind that the job names; another one is a mistake of this program.
fn unexpected(answer: &Answer) -> Problem {
    Problem::internal(format!("the store answered another question: {answer:?}"))
}

impl Watched for CloudHub {
    async fn watch(&self, watch: &Watch, from: &WatchFrom) -> Result<WatchStep, Problem> {
        self.next_events(watch, from).await
    }

    fn changes(&self) -> tokio::sync::watch::Receiver<()> {
        self.engine.changes()
    }
}

impl Hub for CloudHub {
    type Status = CloudStatus;

    async fn authorize(&self, credentials: Credentials<'_>) -> Result<Caller, Problem> {
        self.who(credentials).await
    }

    async fn collections(&self) -> Result<Vec<Collection>, Problem> {
        let rows = self.read(|store| store.collections()).await?;
        Ok(rows.into_iter().map(shape::collection).collect())
    }

    async fn collection(&self, name: &CollectionName) -> Result<Collection, Problem> {
        Ok(shape::collection(self.definition(name).await?))
    }

    async fn list(&self, query: ListQuery) -> Result<Page, Problem> {
        self.list_records(query).await
    }

    async fn get(&self, collection: &CollectionName, key: &Key, _base: bool) -> Result<Record, Problem> {
        self.record(collection, key).await
    }

    async fn get_with_fields(&self, collection: &CollectionName, key: &Key, _base: bool) -> Result<RecordFields, Problem> {
        self.record_fields(collection, key).await
    }

    fn now_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    async fn mutate(&self, request: MutationRequest) -> Result<MutationAnswer, Problem> {
        self.commit(request).await
    }

    async fn is_same(&self, _: &Record) -> Result<bool, Problem> {
        Ok(true)
    }

    async fn resend(&self, id: &WriteId, _: ResendRequest) -> Result<MutationAnswer, Problem> {
        self.send_again(id).await
    }

    async fn discard(&self, id: &WriteId, origin: Origin) -> Result<(), Problem> {
        self.drop_write(id, &origin).await
    }

    async fn writes(&self, filter: WriteFilter) -> Result<WritePage, Problem> {
        self.list_writes(filter).await
    }

    async fn write(&self, id: &WriteId, _wait: Option<Duration>) -> Result<Write, Problem> {
        self.one_write(id).await
    }

    async fn import(&self, request: ImportRequest, lines: &mut ImportLines) -> Result<ImportSummary, Problem> {
        self.import_lines(request, lines).await
    }

    async fn export(&self, collection: &CollectionName, after: Option<Key>) -> Result<ExportPage, Problem> {
        self.export_records(collection, after).await
    }

    async fn conflicts(&self, filter: ConflictFilter) -> Result<ConflictPage, Problem> {
        self.list_conflicts(filter).await
    }

    async fn conflict(&self, id: &str) -> Result<ConflictRow, Problem> {
        self.one_conflict(id).await
    }

    async fn status(&self) -> Result<CloudStatus, Problem> {
        self.present_status().await
    }

    async fn ready(&self) -> Result<(), Problem> {
        if self.engine.is_open() { Ok(()) } else { Err(self.problem(Failed::Unavailable)) }
    }

    async fn access_tokens(&self) -> Result<Vec<AccessToken>, Problem> {
        self.list_access_tokens().await
    }

    async fn create_access_token(&self, request: AccessTokenRequest, origin: Origin) -> Result<NewAccessToken, Problem> {
        self.new_access_token(request, &origin).await
    }

    async fn revoke_access_token(&self, id: &str, origin: Origin) -> Result<(), Problem> {
        self.job(Job::RevokeAccessToken { id: id.to_owned() }).await?;
        self.access.forget();
        tracing::info!(token = id, by = by(&origin), "access token revoked");
        Ok(())
    }

    async fn metrics(&self, out: &mut MetricsWriter) -> Result<(), Problem> {
        self.figures(out).await
    }
}
