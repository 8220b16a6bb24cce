//! A folder with an edge database, and words for what the cloud sends.

use std::collections::BTreeMap;
use std::path::PathBuf;

use metamanager::{Adopted, Applied, Committed, LocalRequest, LocalWrite, Options, Precondition, Reader, Store, ViewRow, WriteError};
use proto::build::{Action, Request};
use proto::clock::Now;
use proto::digest::{Digest, Hashed};
use proto::frame::{Batch, Content, DefinitionText, Entry, Fill, FillPart, Grant, Grants, Record, Share, Welcome};
use proto::ids::{Cursor, Epoch, EpochStart, Position, Revision};
use proto::json::{Raw, Value};
use proto::names::{CollectionName, Key, NodeName};
use proto::op::{Outcome, Verdict};
use tempfile::TempDir;

pub(crate) const STOCK: &str = r#"{"key":"id","indexes":["note"],"fields":{"n":{"type":"counter","min":0},"price":{"edge":"read-only"}}}"#;
pub(crate) const SALES: &str = r#"{"policy":"append"}"#;
pub(crate) const CUT: &str = r#"{"partition":{"field":"W","label":"site"}}"#;
pub(crate) const FIXED: &str = r#"{"edge":"read-only"}"#;

pub(crate) fn name(text: &str) -> CollectionName {
    CollectionName::parse(text).unwrap()
}

pub(crate) fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

pub(crate) fn value(text: &str) -> Value {
    Value::parse(text).unwrap()
}

pub(crate) fn at(revision: u64) -> Position {
    Position::at(Revision(revision))
}

pub(crate) fn now(ms: u64) -> Now {
    Now { wall_ms: 1_800_000_000_000 + ms, mono_ms: ms }
}

pub(crate) fn grant(collection: &str, partition: Option<&str>, since: u64, from: u64) -> Grant {
    let share = Share { collection: name(collection), partition: partition.map(str::to_owned) };
    Grant { share, since: Revision(since), from: Revision(from) }
}

/// The collections of most tests: `stock` (a counter `n`), `sales` (append), `cut` (partition `lyon`), `fixed`.
pub(crate) fn grants(from: u64) -> Grants {
    let all = [("cut", CUT, Some("lyon")), ("fixed", FIXED, None), ("sales", SALES, None), ("stock", STOCK, None)];
    let conflicts = [("_conflicts", Some("cut/lyon")), ("_conflicts", Some("sales")), ("_conflicts", Some("stock"))];
    let mut grants: Vec<_> = conflicts.iter().map(|(collection, partition)| grant(collection, *partition, 1, from)).collect();
    grants.extend(all.iter().map(|(collection, _, partition)| grant(collection, *partition, 1, from)));
    let definition = |(collection, json, _): &(&str, &str, Option<&str>)| DefinitionText {
        name: name(collection),
        revision: Revision(1),
        json: (*json).to_owned(),
    };
    Grants { revision: Revision(1), grants, definitions: all.iter().map(definition).collect(), labels: Vec::new() }
}

pub(crate) fn welcome(session: u64, head: u64, grants: Option<Grants>) -> Welcome {
    Welcome {
        version: 1,
        features: Vec::new(),
        session,
        epochs: vec![EpochStart { epoch: Epoch(7), first: Revision(1) }],
        head: Revision(head),
        cursor: Cursor { epoch: Epoch(7), position: at(head) },
        reset: false,
        taken: 0,
        grants,
        now_ms: 0,
        ping_ms: 15_000,
        silence_ms: 45_000,
        fork: None,
        labels: Vec::new(),
        hashes: Vec::new(),
        held: None,
    }
}

pub(crate) fn record(collection: &str, id: &str, revision: u64, content: Content) -> Record {
    let partition = if collection == "cut" { Some("lyon".to_owned()) } else { None };
    Record {
        collection: name(collection),
        key: key(id),
        revision: Revision(revision),
        born: Revision(1),
        partition,
        updated_ms: revision * 1_000,
        writer: format!("cloud:{revision}"),
        actor: None,
        content,
    }
}

pub(crate) fn is(collection: &str, id: &str, revision: u64, text: &str) -> Entry {
    Entry::Record(record(collection, id, revision, Content::Value(text.to_owned())))
}

pub(crate) fn gone(collection: &str, id: &str, revision: u64) -> Entry {
    Entry::Record(record(collection, id, revision, Content::Deleted))
}

pub(crate) fn answered(number: u64, revision: u64, verdict: Verdict) -> Entry {
    let outcome = Outcome { verdict, revision: Revision(revision), code: None, detail: None, conflicts: Vec::new() };
    Entry::Outcome { database: None, number, outcome }
}

pub(crate) fn batch(from: u64, through: u64, at_head: bool, entries: Vec<Entry>) -> Batch {
    Batch { at_head, entries, ..Batch::empty(at(from), at(through)) }
}

pub(crate) fn filled(grant: Grant, reached: u64, done: bool, records: Vec<Record>) -> FillPart {
    FillPart { fill: Fill { grant, at: at(reached), ranges: None }, done, records }
}

/// One edge, and readers beside it.
pub(crate) struct Edge {
    pub(crate) folder: TempDir,
    pub(crate) store: Option<Store>,
    pub(crate) options: Options,
}

impl Edge {
    /// A new database that has joined and holds every grant of [`grants`], filled, at revision 10.
    pub(crate) fn new() -> Self {
        let mut edge = Self::unjoined();
        edge.store().adopt(&welcome(1, 10, Some(grants(10))), now(0)).unwrap();
        for grant in grants(10).grants {
            let part = Batch { fill: Some(filled(grant, 10, true, Vec::new())), ..batch(10, 10, true, Vec::new()) };
            edge.apply(vec![part]);
        }
        edge
    }

    pub(crate) fn unjoined() -> Self {
        let options = Options { node: Some(NodeName::parse("lyon").unwrap()), disk: std::sync::Arc::new(Roomy), ..Options::default() };
        let mut edge = Self { folder: tempfile::tempdir().unwrap(), store: None, options };
        edge.reopen();
        edge
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("edge.db")
    }

    /// Ends without a word, as `kill -9` does between two commits, and starts again.
    pub(crate) fn reopen(&mut self) {
        self.store = None;
        self.store = Some(Store::open(&self.path(), self.options.clone(), now(0)).unwrap());
    }

    /// Ends, and starts again after `meanwhile` had the folder to itself.
    pub(crate) fn closed(&mut self, meanwhile: impl FnOnce()) {
        self.store = None;
        meanwhile();
        self.reopen();
    }

    /// The same, with the file that nobody holds.
    pub(crate) fn meanwhile(&mut self, change: impl FnOnce(&rusqlite::Connection)) {
        let path = self.path();
        self.closed(|| change(&rusqlite::Connection::open(path).unwrap()));
    }

    /// The digest that is kept of each grant is what its rows and its blocked records add up to, read one by one.
    pub(crate) fn assert_digests(&mut self) {
        const ROWS: &str = "SELECT base.granted, base.key, base.revision, base.born, base.updated_ms, base.writer, base.actor, base.value \
            FROM base JOIN collections ON collections.id = base.collection \
            WHERE NOT EXISTS (SELECT 1 FROM blocked WHERE blocked.collection = collections.name AND blocked.key = base.key)";
        const BLOCKED: &str = "SELECT grants.id, blocked.hash FROM blocked JOIN collections ON collections.name = blocked.collection \
            JOIN grants ON grants.collection = collections.id AND grants.share IS blocked.share WHERE blocked.hash IS NOT NULL";
        let file = rusqlite::Connection::open(self.path()).unwrap();
        let mut truth: BTreeMap<i64, Digest> = BTreeMap::new();
        let mut rows = file.prepare(ROWS).unwrap();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let number = |place| row.get::<_, i64>(place).unwrap().cast_unsigned();
            let text = |place| row.get::<_, String>(place).unwrap();
            let (key, writer, actor, value) = (text(1), text(5), row.get::<_, Option<String>>(6).unwrap(), text(7));
            let (revision, born, updated_ms) = (Revision(number(2)), Revision(number(3)), number(4));
            let hashed = Hashed { key: &key, revision, born, updated_ms, writer: &writer, actor: actor.as_deref(), value: &value };
            truth.entry(row.get(0).unwrap()).or_default().add(&hashed.hash());
        }
        let mut blocked = file.prepare(BLOCKED).unwrap();
        let mut rows = blocked.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            truth.entry(row.get(0).unwrap()).or_default().add(&row.get(1).unwrap());
        }
        let mut grants = file.prepare("SELECT id, digest_count, digest_sum FROM grants").unwrap();
        let mut rows = grants.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let (id, count, sum): (i64, i64, [u8; 16]) = (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap());
            let kept = Digest { count: count.cast_unsigned(), sum: u128::from_le_bytes(sum) };
            assert_eq!(kept, truth.get(&id).copied().unwrap_or_default(), "grant {id}");
        }
    }

    /// No row counts, whatever is there.
    pub(crate) fn assert_none_counts(&mut self) {
        let status = self.reader().status().unwrap();
        assert!(status.grants.iter().all(|grant| grant.digest == Digest::default()), "{:?}", status.grants);
    }

    pub(crate) fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    pub(crate) fn reader(&mut self) -> Reader {
        self.store().reader().unwrap()
    }

    /// As a link does: the cloud's time first.
    pub(crate) fn adopt(&mut self, welcome: &Welcome) -> Adopted {
        self.store().observe_cloud_time(now(0).wall_ms, now(0)).unwrap();
        self.store().adopt(welcome, now(0)).unwrap()
    }

    pub(crate) fn apply(&mut self, batches: Vec<Batch>) -> Applied {
        self.store().apply(&batches, now(0)).unwrap()
    }

    pub(crate) fn try_write(&mut self, requests: Vec<LocalRequest>) -> Result<Committed, WriteError> {
        let write = LocalWrite { requests, actor: None, request_id: None, idempotency: None, resends: None };
        self.store().commit(now(5), vec![write]).pop().unwrap()
    }

    pub(crate) fn write(&mut self, requests: Vec<LocalRequest>) -> Committed {
        self.try_write(requests).unwrap()
    }

    pub(crate) fn row(&mut self, collection: &str, id: &str) -> Option<ViewRow> {
        self.reader().get(&name(collection), &key(id)).unwrap()
    }

    pub(crate) fn view(&mut self, collection: &str, id: &str) -> Option<String> {
        self.row(collection, id).map(|row| row.value)
    }

    /// The counter `n` as readers see it.
    pub(crate) fn n(&mut self, id: &str) -> Option<i64> {
        self.view("stock", id).map(|text| value(&text).get("n").and_then(Raw::as_i64).unwrap())
    }

    /// The id that the cloud knows a write under.
    pub(crate) fn id(&mut self, number: u64) -> String {
        format!("lyon:{}:{number}", self.store().database().short())
    }
}

/// A disk that is never full, so that no test depends on the machine's.
pub(crate) struct Roomy;

impl metamanager::Disk for Roomy {
    fn space(&self, _: &std::path::Path) -> Option<metamanager::Space> {
        None
    }
}

fn asks(collection: &str, id: &str, action: Action) -> LocalRequest {
    let request = Request { collection: name(collection), key: key(id), action, expect: None };
    LocalRequest { request, precondition: Precondition::None, own_key: false }
}

pub(crate) fn put(collection: &str, id: &str, text: &str) -> LocalRequest {
    asks(collection, id, Action::Put { value: value(text), create: false })
}

pub(crate) fn create(collection: &str, id: &str, text: &str) -> LocalRequest {
    asks(collection, id, Action::Put { value: value(text), create: true })
}

pub(crate) fn merge(collection: &str, id: &str, text: &str) -> LocalRequest {
    asks(collection, id, Action::Merge(value(text)))
}

pub(crate) fn sell(id: &str, count: i64) -> LocalRequest {
    asks("stock", id, Action::Increment(vec![("n".to_owned(), -count)]))
}

pub(crate) fn delete(collection: &str, id: &str) -> LocalRequest {
    asks(collection, id, Action::Delete { force: false })
}

pub(crate) fn check(collection: &str, id: &str, field: &str, text: &str) -> LocalRequest {
    asks(collection, id, Action::Check(vec![(field.to_owned(), Raw::parse(text).unwrap())]))
}

pub(crate) fn when(request: LocalRequest, precondition: Precondition) -> LocalRequest {
    LocalRequest { precondition, ..request }
}
