//! A hub in memory: enough of the rules to see that requests arrive as they were meant.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use proto::definition::Definition;
use proto::ids::{DatabaseId, Revision, WriteId};
use proto::json::{Raw, Value, merge_patch};
use proto::list::{Plan, Position};
use proto::names::{CollectionName, Key, NodeName};
use proto::traffic::Traffic;
use tokio::sync::Notify;
use transport::join::{JoinRequest, JoinResponse, RenewRequest, Servers};

use super::super::import::ImportLines;
use crate::hub::*;
use crate::metrics::{CONFLICTS_OPEN, MetricsWriter, RECORDS};
use crate::problem::{Code, Problem};
use crate::shapes::*;
use crate::watch::*;

#[derive(Default)]
pub(super) struct FakeHub {
    tokens: bool,
    revoked: std::sync::atomic::AtomicBool,
    /// A read of the key `held` says that it has arrived, and waits until it is released.
    pub(super) arrived: Notify,
    pub(super) released: Notify,
    rung: tokio::sync::watch::Sender<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    revision: u64,
    records: BTreeMap<(String, String), (Value, u64)>,
    writes: Vec<Write>,
    last: Option<MutationRequest>,
    last_wait: Option<Duration>,
    labels: BTreeMap<String, String>,
    dry: bool,
}

impl FakeHub {
    /// A hub whose callers need tokens.
    pub(super) fn with_tokens() -> Self {
        Self { tokens: true, ..Self::default() }
    }

    /// No token is good any more.
    pub(super) fn revoke_all(&self) {
        self.revoked.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// The newest mutation that arrived.
    pub(super) fn last(&self) -> MutationRequest {
        self.state.lock().unwrap().last.clone().unwrap()
    }

    pub(super) fn last_wait(&self) -> Option<Duration> {
        self.state.lock().unwrap().last_wait
    }

    pub(super) fn was_dry(&self) -> bool {
        self.state.lock().unwrap().dry
    }

    pub(super) fn fill(&self, count: usize) {
        let mut state = self.state.lock().unwrap();
        for number in 0..count {
            let value = Value::parse(&format!("{{\"n\":{number},\n\"Name\":\"N{}\"}}", number % 2)).unwrap();
            state.records.insert(("products".into(), format!("{number:05}")), (value, 1));
        }
    }

    fn definition(name: &CollectionName) -> Result<Definition, Problem> {
        match name.as_str() {
            "products" => Ok(Definition::parse(r#"{"key":"ProductID"}"#).unwrap()),
            "notes" => Ok(Definition::parse("{}").unwrap()),
            _ => Err(Problem::no_collection(name.as_str())),
        }
    }
}

impl State {
    fn record(&self, collection: &str, key: &str) -> Result<Record, Problem> {
        let found = self.records.get(&(collection.to_owned(), key.to_owned()));
        let (value, revision) = found.ok_or_else(|| Problem::no_record(collection, key))?;
        Ok(Record {
            collection: collection.into(),
            key: key.into(),
            value: value.into(),
            revision: Revision(*revision),
            updated_at: Time(1_795_166_400_120),
            writer: "lyon".into(),
            actor: None,
            sync: RecordSync::default(),
        })
    }

    fn judge(&self, op: &OpRequest) -> Result<(), Problem> {
        let found = self.record(op.collection.as_str(), op.key.as_str());
        let holds = match (&op.condition, &found) {
            (Condition::None, _) | (Condition::Absent, Err(_)) | (Condition::Present, Ok(_)) => true,
            (Condition::Match(tags), Ok(record)) => tags.contains(&record.etag()),
            (Condition::Revision(revision), Ok(record)) => record.revision == *revision,
            _ => false,
        };
        if holds { Ok(()) } else { Err(Problem::new(Code::Precondition, "the record is another now")) }
    }

    fn apply(&mut self, op: &OpRequest) -> Result<Option<OpResult>, Problem> {
        let (collection, key) = (op.collection.to_string(), op.key.to_string());
        let place = (collection.clone(), key.clone());
        let old = self.records.get(&place).map(|(value, _)| value.clone());
        let created = old.is_none();
        let new = match &op.action {
            OpAction::Create(_) if !created => return Err(Problem::new(Code::KeyTaken, "taken").key(&key)),
            OpAction::Create(value) | OpAction::Put(value) => value.clone(),
            OpAction::Merge(patch) => {
                let mut value = old.unwrap_or_default();
                for (name, raw) in patch.fields() {
                    let merged = merge_patch(value.get(name), raw).unwrap();
                    value.set(name, merged);
                }
                value
            }
            OpAction::Increment(by) => {
                let mut value = old.ok_or_else(|| Problem::no_record(&collection, &key))?;
                for (name, delta) in by {
                    let sum = value.get(name).and_then(Raw::as_i64).unwrap_or(0) + delta;
                    value.set(name, Raw::integer(sum));
                }
                value
            }
            OpAction::Delete { .. } => {
                self.records.remove(&place).ok_or_else(|| Problem::no_record(&collection, &key))?;
                return Ok(Some(OpResult::Deleted { collection, key }));
            }
            OpAction::Check(_) | OpAction::Resolve(_) => return Ok(None),
        };
        self.records.insert(place, (new, self.revision));
        let record = self.record(&collection, &key)?;
        Ok(Some(if created { OpResult::Created(record) } else { OpResult::Changed(record) }))
    }
}

impl Hub for FakeHub {
    type Status = BTreeMap<&'static str, u64>;

    fn now_ms(&self) -> u64 {
        1_795_166_400_000
    }

    async fn authorize(&self, credentials: Credentials<'_>) -> Result<Caller, Problem> {
        let named = |name: &str, role, collections: Option<&str>| Caller {
            name: Some(name.into()),
            role,
            collections: collections.map(|only| [CollectionName::parse(only).unwrap()].into()),
        };
        match credentials.bearer {
            _ if !self.tokens => Ok(Caller::LOCAL),
            _ if self.revoked.load(std::sync::atomic::Ordering::Relaxed) => Err(Problem::new(Code::Unauthorized, "revoked")),
            Some("admin") => Ok(named("admin", Role::Admin, None)),
            Some("notes-editor") => Ok(named("notes-editor", Role::Editor, Some("notes"))),
            Some("viewer") => Ok(named("viewer", Role::Viewer, None)),
            _ => Err(Problem::new(Code::Unauthorized, "send Authorization: Bearer TOKEN")),
        }
    }

    async fn collections(&self) -> Result<Vec<Collection>, Problem> {
        let names = ["notes", "products"].map(|name| CollectionName::parse(name).unwrap());
        Ok(vec![self.collection(&names[0]).await?, self.collection(&names[1]).await?])
    }

    async fn collection(&self, name: &CollectionName) -> Result<Collection, Problem> {
        let own = Self::definition(name)?;
        Ok(Collection { name: name.clone(), revision: Revision(3), records: 5, definition: RawJson::trusted(own.to_json()) })
    }

    async fn list(&self, query: ListQuery) -> Result<Page, Problem> {
        let declared = Self::definition(&query.collection)?.index_list();
        Plan::choose(&query, &declared)?;
        let state = self.state.lock().unwrap();
        let keys = state.records.keys().filter(|(collection, key)| {
            collection == query.collection.as_str()
                && query.prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix))
                && (query.keys.is_empty() || query.keys.iter().any(|own| own.as_str() == key))
                && query.after.as_ref().is_none_or(|after| after.key.as_str() < key.as_str())
        });
        let mut records: Vec<_> = keys.map(|(collection, key)| state.record(collection, key).unwrap()).collect();
        records.retain(|record| {
            let value = Value::parse(record.value.as_str()).unwrap();
            query.conditions.iter().all(|condition| condition.matches(&value))
        });
        let next = records.get(query.limit).map(|_| Position::of_key(&records[query.limit - 1].key));
        records.truncate(query.limit);
        Ok(Page { records, next, since: "e1.7".into() })
    }

    async fn get(&self, collection: &CollectionName, key: &Key, base: bool) -> Result<Record, Problem> {
        if key.as_str() == "panic" {
            panic!("a secret reason");
        }
        if key.as_str() == "held" {
            self.arrived.notify_one();
            self.released.notified().await;
        }
        Self::definition(collection)?;
        let mut record = self.state.lock().unwrap().record(collection.as_str(), key.as_str())?;
        if !base && key.as_str() == "waits" {
            record.sync.pending = vec!["lyon:7f3a9c:42".parse().unwrap()];
        }
        Ok(record)
    }

    async fn get_with_fields(&self, collection: &CollectionName, key: &Key, base: bool) -> Result<RecordFields, Problem> {
        let record = self.get(collection, key, base).await?;
        let value = Value::parse(record.value.as_str()).unwrap();
        let known = FieldChange { revision: Some(record.revision), at: Some(Time(0)), writer: Some("lyon".into()), actor: None };
        let change =
            |(name, raw): (&str, &Raw)| (name.to_owned(), if raw.as_str() == "null" { FieldChange::default() } else { known.clone() });
        Ok(RecordFields { fields: value.fields().map(change).collect(), record })
    }

    async fn mutate(&self, request: MutationRequest) -> Result<MutationAnswer, Problem> {
        let mut state = self.state.lock().unwrap();
        state.last = Some(request.clone());
        for op in &request.ops {
            Self::definition(&op.collection)?;
            state.judge(op)?;
        }
        state.revision += 1;
        let mut results = Vec::new();
        for op in &request.ops {
            results.extend(state.apply(op)?);
        }
        let revision = Revision(state.revision);
        let write = Write {
            id: WriteId::Cloud(revision),
            state: WriteState::Applied,
            at: Time(1_795_166_400_120),
            actor: request.origin.actor,
            revision: Some(revision),
            code: None,
            detail: None,
            conflicts: vec![],
            resent_as: None,
            ops: request.ops.iter().map(|op| WriteOp::new(WriteOpKind::Merge, op.collection.as_str(), op.key.as_str())).collect(),
        };
        state.writes.push(write.clone());
        self.rung.send_replace(());
        Ok(MutationAnswer { write, results })
    }

    async fn is_same(&self, record: &Record) -> Result<bool, Problem> {
        Ok(record.sync.pending.len() < 2)
    }

    async fn resend(&self, id: &WriteId, request: ResendRequest) -> Result<MutationAnswer, Problem> {
        let mut write = self.write(id, None).await?;
        write.actor = request.origin.actor;
        Ok(MutationAnswer { write, results: Vec::new() })
    }

    async fn discard(&self, id: &WriteId, _: Origin) -> Result<(), Problem> {
        self.state.lock().unwrap().writes.retain(|write| write.id != *id);
        Ok(())
    }

    async fn writes(&self, filter: WriteFilter) -> Result<WritePage, Problem> {
        let state = self.state.lock().unwrap();
        let start = filter.after.map_or(Ok(0), |token| token.to_number())? as usize;
        let all = state.writes.iter().filter(|write| filter.state.is_none_or(|state| state == write.state));
        let writes: Vec<_> = all.skip(start).take(filter.limit).cloned().collect();
        let next = (start + writes.len() < state.writes.len() && writes.len() == filter.limit)
            .then(|| PageToken::of_number((start + writes.len()) as u64));
        Ok(WritePage { writes, next })
    }

    async fn write(&self, id: &WriteId, wait: Option<Duration>) -> Result<Write, Problem> {
        let mut state = self.state.lock().unwrap();
        state.last_wait = wait;
        let found = state.writes.iter().find(|write| write.id == *id).cloned();
        found.ok_or_else(|| Problem::not_found(format!("there is no write {id}")))
    }

    async fn import(&self, request: ImportRequest, lines: &mut ImportLines) -> Result<ImportSummary, Problem> {
        let definition = Self::definition(&request.collection)?;
        let fields = request.key_fields.as_deref();
        while let Some(line) = lines.next().await? {
            line.record(&definition, fields)?;
        }
        let mut summary = ImportSummary::default();
        let mut state = self.state.lock().unwrap();
        for line in lines.replay()? {
            let (key, value) = line?.record(&definition, fields)?;
            let place = (request.collection.to_string(), key.to_string());
            summary.read += 1;
            match state.records.insert(place, (value.clone(), 1)) {
                None => summary.created += 1,
                Some((old, _)) if old.same(&value) => summary.unchanged += 1,
                Some(_) => summary.changed += 1,
            }
        }
        Ok(summary)
    }

    async fn export(&self, collection: &CollectionName, after: Option<Key>) -> Result<ExportPage, Problem> {
        let definition = Self::definition(collection)?;
        let state = self.state.lock().unwrap();
        let own = state
            .records
            .iter()
            .filter(|((own, key), _)| own == collection.as_str() && after.as_ref().is_none_or(|after| after.as_str() < key.as_str()));
        let records: Vec<_> = own
            .take(3)
            .map(|((_, key), (value, _))| (Key::parse(key).unwrap(), RawJson::trusted(value.to_text().replace(",\"", ",\n\""))))
            .collect();
        let next = (records.len() == 3).then(|| records[2].0.clone());
        Ok(ExportPage { records, key_in_value: definition.key.is_some(), next })
    }

    async fn conflicts(&self, filter: ConflictFilter) -> Result<ConflictPage, Problem> {
        let row = self.conflict("c1").await?;
        let wanted = filter.state.is_none_or(|state| state == ConflictState::Open)
            && filter.collections.is_none_or(|only| only.iter().any(|own| own.as_str() == row.collection));
        Ok(ConflictPage { conflicts: wanted.then_some(row).into_iter().collect(), next: None })
    }

    async fn conflict(&self, id: &str) -> Result<ConflictRow, Problem> {
        let row = format!("{{\"id\":\"{id}\",\"collection\":\"products\",\"state\":\"open\"}}");
        match id {
            "c1" => Ok(ConflictRow { collection: "products".into(), row: RawJson::trusted(row) }),
            _ => Err(Problem::not_found(format!("there is no conflict {id:?}"))),
        }
    }

    async fn status(&self) -> Result<Self::Status, Problem> {
        Ok(BTreeMap::from([("revision", self.state.lock().unwrap().revision)]))
    }

    async fn ready(&self) -> Result<(), Problem> {
        match self.state.lock().unwrap().revision {
            0 => Err(Problem::new(Code::NotSynced, "no definitions yet").retry_after(Duration::from_secs(5))),
            _ => Ok(()),
        }
    }

    async fn access_tokens(&self) -> Result<Vec<AccessToken>, Problem> {
        Ok(vec![access_token("till")])
    }

    async fn create_access_token(&self, request: AccessTokenRequest, _: Origin) -> Result<NewAccessToken, Problem> {
        Ok(NewAccessToken { token: "secret".into(), about: access_token(&request.name) })
    }

    async fn revoke_access_token(&self, id: &str, _: Origin) -> Result<(), Problem> {
        if id == "a1" { Ok(()) } else { Err(Problem::not_found("no such token")) }
    }

    async fn metrics(&self, out: &mut MetricsWriter) -> Result<(), Problem> {
        out.sample(&RECORDS, &["products"], self.state.lock().unwrap().records.len() as f64);
        out.sample(&CONFLICTS_OPEN, &[], 1.0);
        Ok(())
    }
}

/// Places are numbers of writes; before 0 and after the last there is nothing.
impl Watched for FakeHub {
    async fn watch(&self, watch: &Watch, from: &WatchFrom) -> Result<WatchStep, Problem> {
        for name in &watch.collections {
            Self::definition(name)?;
        }
        let state = self.state.lock().unwrap();
        let end = state.writes.len();
        let start = match from {
            WatchFrom::Now => end,
            WatchFrom::Start => {
                let all = state.records.keys().map(|(collection, key)| Seen::Record(state.record(collection, key).unwrap()));
                let wanted = all.filter(
                    |what| matches!(what, Seen::Record(record) if watch.wants(&CollectionName::parse(&record.collection).unwrap())),
                );
                let events = wanted.map(|what| WatchEvent { id: format!("f{end}"), what }).collect();
                return Ok(WatchStep { events, next: format!("f{end}"), more: false });
            }
            WatchFrom::Token(text) | WatchFrom::On(text) => {
                let place = text.strip_prefix('f').and_then(|place| place.parse().ok());
                let Some(place) = place.filter(|place| *place <= end) else { return Ok(WatchStep::reset(format!("f{end}"))) };
                place
            }
        };
        let mut events = Vec::new();
        // One write a step, so that there is more.
        for (place, write) in state.writes.iter().enumerate().skip(start).take(1) {
            let id = format!("f{}", place + 1);
            for op in write.ops.iter().filter(|op| watch.wants(&CollectionName::parse(&op.collection).unwrap())) {
                let (collection, key) = (op.collection.clone(), op.key.clone());
                let what = state.record(&collection, &key).map_or(Seen::Deleted { collection, key }, Seen::Record);
                events.push(WatchEvent { id: id.clone(), what });
            }
            if watch.wants_write(write) {
                events.push(WatchEvent { id, what: Seen::Outcome(write.clone()) });
            }
        }
        let next = end.min(start + 1);
        Ok(WatchStep { events, next: format!("f{next}"), more: next < end })
    }

    fn changes(&self) -> tokio::sync::watch::Receiver<()> {
        self.rung.subscribe()
    }
}

impl EdgeAdmin for FakeHub {
    async fn outbox(&self, _: Option<PageToken>, limit: usize) -> Result<WritePage, Problem> {
        let writes = self.state.lock().unwrap().writes.iter().take(limit).cloned().collect();
        Ok(WritePage { writes, next: None })
    }

    async fn verify(&self, collection: Option<CollectionName>) -> Result<Verified, Problem> {
        Ok(Verified {
            agreed: Some(true),
            revision: Some(7),
            records: Some(3),
            damaged: Some(0),
            repaired: Vec::new(),
            verified_at: None,
            detail: collection.map_or_else(String::new, |name| name.to_string()),
        })
    }

    /// Says what arrived.
    async fn query(&self, request: QueryRequest) -> Result<QueryAnswer, Problem> {
        let shown = format!("{:?} {:?} {:?}", request.params, request.limit, request.timeout);
        let rows = RawJson::trusted(serde_json::to_string(&[[shown]]).unwrap());
        Ok(QueryAnswer { columns: vec![request.sql], rows, truncated: false })
    }
}

fn lyon(labels: BTreeMap<String, String>) -> Node {
    Node {
        name: "lyon".into(),
        labels,
        state: NodeState::Online,
        reason: Some(NodeReason::CatchingUp),
        last_seen: Some(Time(0)),
        address: None,
        transport: Some("websocket".into()),
        version: None,
        database: None,
        certificate: Certificate { not_after: None },
        sync: NodeSync { state: SyncState::InSync, cursor: Some(1), head: 1, lag_records: 0, verified_at: None },
        outbox: NodeOutbox::default(),
        conflicts: OpenConflicts::default(),
        devices: None,
        bytes: LinkBytes::new(Time(0), Traffic::default(), None, Traffic::default(), None),
        warnings: vec![],
    }
}

fn access_token(name: &str) -> AccessToken {
    AccessToken { id: "a1".into(), name: name.into(), role: Role::Editor, collections: vec![], created_at: Time(0), expires_at: None }
}

fn join_token(labels: BTreeMap<String, String>) -> JoinToken {
    JoinToken { id: "j1".into(), node: None, replace: false, labels, uses: 1, used: 0, created_at: Time(0), expires_at: Time(86_400_000) }
}

impl CloudAdmin for FakeHub {
    async fn nodes(&self, _: Option<PageToken>, _: usize) -> Result<(Vec<Node>, Option<PageToken>), Problem> {
        Ok((vec![lyon(self.state.lock().unwrap().labels.clone())], Some(PageToken::of_text("lyon"))))
    }

    async fn node(&self, name: &NodeName) -> Result<Node, Problem> {
        match name.as_str() {
            "lyon" => Ok(lyon(self.state.lock().unwrap().labels.clone())),
            _ => Err(Problem::not_found(format!("there is no node {name}"))),
        }
    }

    async fn node_events(&self, name: &NodeName) -> Result<Vec<NodeEvent>, Problem> {
        self.node(name).await?;
        Ok(vec![NodeEvent { at: Time(0), kind: "joined".into(), detail: "joined".into() }])
    }

    async fn label_node(&self, name: &NodeName, labels: BTreeMap<String, Option<String>>, _: Origin) -> Result<Node, Problem> {
        for (label, value) in labels {
            let own = &mut self.state.lock().unwrap().labels;
            match value {
                Some(value) => own.insert(label, value),
                None => own.remove(&label),
            };
        }
        self.node(name).await
    }

    async fn revoke_node(&self, name: &NodeName, _: Origin) -> Result<Node, Problem> {
        Ok(Node { state: NodeState::Revoked, ..self.node(name).await? })
    }

    async fn accept_database(&self, name: &NodeName, database: DatabaseId, _: Origin) -> Result<Node, Problem> {
        Ok(Node { database: Some(database.to_string()), ..self.node(name).await? })
    }

    async fn verify_node(&self, name: &NodeName, collection: Option<CollectionName>, _: Origin) -> Result<Verification, Problem> {
        self.node(name).await?;
        let found = RepairedPartition { collection: "products".into(), partition: None, ranges: 3, of: 256 };
        Ok(Verification {
            node: name.to_string(),
            collection: collection.map(|name| name.to_string()),
            agreed: true,
            revision: 7,
            partitions: 1,
            verified_at: Some(Time(0)),
            repaired: vec![found],
        })
    }

    async fn resync_node(&self, name: &NodeName, collection: Option<CollectionName>, _: Origin) -> Result<Resync, Problem> {
        self.node(name).await?;
        Ok(Resync { node: name.to_string(), collection: collection.map(|name| name.to_string()), partitions: 2, revision: 9 })
    }

    async fn delete_node(&self, name: &NodeName, _: Origin) -> Result<(), Problem> {
        self.node(name).await.map(drop)
    }

    async fn join_tokens(&self) -> Result<Vec<JoinToken>, Problem> {
        Ok(vec![join_token(BTreeMap::new())])
    }

    async fn create_join_token(&self, request: JoinTokenRequest, _: Origin) -> Result<NewJoinToken, Problem> {
        Ok(NewJoinToken { token: "secret".into(), join_command: "join".into(), ca_sha256: "00".into(), about: join_token(request.labels) })
    }

    async fn revoke_join_token(&self, id: &str, _: Origin) -> Result<(), Problem> {
        if id == "j1" { Ok(()) } else { Err(Problem::not_found("no such token")) }
    }

    async fn put_collection(
        &self,
        name: &CollectionName,
        definition: Value,
        dry_run: bool,
        _: Origin,
    ) -> Result<AppliedCollection, Problem> {
        let created = definition.get("key").is_some();
        assert!(definition.get("name").is_none());
        self.state.lock().unwrap().dry = dry_run;
        Ok(AppliedCollection { name: name.to_string(), created, changed: false, selects: 2, nodes: 3 })
    }

    async fn delete_collection(&self, name: &CollectionName, _: Origin) -> Result<(), Problem> {
        Self::definition(name).map(drop)
    }

    async fn join(&self, request: JoinRequest) -> Result<JoinResponse, Problem> {
        if request.secret != "good" {
            return Err(Problem::new(Code::Unauthorized, "the join token is not known"));
        }
        let servers = Servers { websocket: vec!["hub:10000".into()], ..Servers::default() };
        let (certificate, ca, time) = ("pem".into(), "pem".into(), Time(0).to_string());
        Ok(JoinResponse { node: request.node.unwrap_or_default(), certificate, ca, servers, time })
    }

    async fn renew(&self, request: RenewRequest) -> Result<JoinResponse, Problem> {
        let (node, servers, time) = ("lyon".into(), Servers::default(), Time(0).to_string());
        Ok(JoinResponse { node, certificate: request.csr, ca: "pem".into(), servers, time })
    }
}
