//! One store under test, with the verbs that tests speak.

use std::collections::BTreeMap;

use proto::build::Action;
use proto::definition::Definition;
use proto::frame::Reason;
use proto::ids::Revision;
use proto::json::Value;
use proto::names::{CollectionName, Key, NodeName};

use crate::store::{
    AdmitJob, Admitted, Answer, Certificate, CloudOp, CloudWrite, Condition, ImportChunk, ImportHow, ImportLine, ImportMode, Imported, Job,
    JoinJob, JoinTokenRow, OpResult, RecordRow, Refused, Store, StoreRead, Touched, Written,
};

/// A place where a store can be opened again and again.
pub(super) trait Fixture {
    /// The store under test.
    type Store: Store;
    /// A backup of a place whose store was closed.
    type Image: Clone;

    fn new() -> Self;
    fn open(&mut self, now_ms: u64) -> Self::Store;
    fn save(&self) -> Self::Image;
    fn put_back(&mut self, image: &Self::Image);

    /// Panics where digests are not those of the records.
    fn check(store: &Self::Store);
}

pub(super) struct Bench<F: Fixture> {
    pub(super) fixture: F,
    store: Option<F::Store>,
    pub(super) reader: Option<<F::Store as Store>::Reader>,
    pub(super) now_ms: u64,
    /// Whom the last commit touched.
    pub(super) touched: Touched,
    tokens: u8,
}

pub(super) fn name(text: &str) -> CollectionName {
    CollectionName::parse(text).unwrap()
}

pub(super) fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

pub(super) fn node(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

pub(super) fn value(json: &str) -> Value {
    Value::parse(json).unwrap()
}

impl<F: Fixture> Bench<F> {
    pub(super) fn new() -> Self {
        let mut fixture = F::new();
        let now_ms = 1_800_000_000_000;
        let store = fixture.open(now_ms);
        let reader = store.reader().unwrap();
        Self { fixture, store: Some(store), reader: Some(reader), now_ms, touched: Touched::default(), tokens: 0 }
    }

    pub(super) fn store(&mut self) -> &mut F::Store {
        self.store.as_mut().unwrap()
    }

    pub(super) fn reader(&mut self) -> &mut <F::Store as Store>::Reader {
        self.reader.as_mut().unwrap()
    }

    /// Closes the store and opens it again.
    pub(super) fn restart(&mut self) {
        self.reader = None;
        self.store.take().unwrap().close().unwrap();
        self.reopen();
    }

    /// Drops the store as a killed process would, and opens it again.
    pub(super) fn crash(&mut self) {
        self.reader = None;
        self.store = None;
        self.reopen();
    }

    /// Closes the store, keeps a backup of it, and opens it again.
    pub(super) fn save(&mut self) -> F::Image {
        self.reader = None;
        self.store.take().unwrap().close().unwrap();
        let image = self.fixture.save();
        self.reopen();
        image
    }

    /// Opens a backup in the place of what is there.
    pub(super) fn put_back(&mut self, image: &F::Image) {
        self.reader = None;
        self.store = None;
        self.fixture.put_back(image);
        self.reopen();
    }

    fn reopen(&mut self) {
        let store = self.fixture.open(self.now_ms);
        self.reader = Some(store.reader().unwrap());
        self.store = Some(store);
    }

    pub(super) fn group(&mut self, jobs: Vec<Job>) -> Vec<Result<Answer, Refused>> {
        self.now_ms += 1;
        let now_ms = self.now_ms;
        let decided = self.store().decide(jobs, now_ms).unwrap();
        self.touched = decided.touched;
        F::check(self.store());
        decided.answers
    }

    pub(super) fn job(&mut self, job: Job) -> Result<Answer, Refused> {
        self.group(vec![job]).pop().unwrap()
    }

    pub(super) fn done(&mut self, job: Job) {
        assert!(matches!(self.job(job).unwrap(), Answer::Done));
    }

    pub(super) fn head(&mut self) -> u64 {
        let head = self.reader().head().unwrap();
        assert_eq!(head, self.store().head());
        head.0
    }

    pub(super) fn define(&mut self, collection: &str, json: &str) {
        self.try_define(collection, json).unwrap();
    }

    pub(super) fn try_define(&mut self, collection: &str, json: &str) -> Result<Answer, Refused> {
        let definition = Box::new(Definition::parse(json).unwrap());
        self.job(Job::PutCollection { name: name(collection), definition })
    }

    /// A join token for a node, and the hash of its secret.
    pub(super) fn token(&mut self, bound: Option<&str>, labels: &[(&str, &str)], replaces: bool) -> [u8; 32] {
        self.tokens += 1;
        let hash = [self.tokens; 32];
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (created_ms, id) = (self.now_ms, format!("t{}", self.tokens));
        let row =
            JoinTokenRow { id, node: bound.map(node), replaces, labels, uses: 1, used: 0, created_ms, expires_ms: created_ms + 60_000 };
        self.done(Job::NewJoinToken(Box::new(row), hash));
        hash
    }

    pub(super) fn join(&mut self, node_name: &str, labels: &[(&str, &str)]) {
        let hash = self.token(None, labels, false);
        self.join_with(hash, Some(node_name), "serial-1").unwrap();
    }

    pub(super) fn join_with(&mut self, secret_hash: [u8; 32], node_name: Option<&str>, serial: &str) -> Result<Answer, Refused> {
        let certificate = Certificate { serial: serial.to_owned(), not_after_ms: self.now_ms + 90 * 86_400_000 };
        self.job(Job::Join(Box::new(JoinJob { secret_hash, node: node_name.map(node), certificate })))
    }

    pub(super) fn label(&mut self, node_name: &str, labels: &[(&str, Option<&str>)]) {
        let labels: BTreeMap<_, _> = labels.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect();
        self.done(Job::Label { node: node(node_name), labels });
    }

    pub(super) fn admit(&mut self, job: AdmitJob) -> Result<Box<Admitted>, Reason> {
        match self.job(Job::Admit(Box::new(job))).unwrap() {
            Answer::Admitted(answer) => answer.map_err(|denied| denied.reason),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn write(&mut self, ops: Vec<CloudOp>) -> Result<Written, Refused> {
        let write =
            CloudWrite { ops, admin: false, actor: Some("office".to_owned()), request_id: None, caller: String::new(), idempotency: None };
        match self.job(Job::Write(Box::new(write)))? {
            Answer::Written(written) => Ok(*written),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn put(&mut self, collection: &str, record: &str, json: &str) -> u64 {
        let current = self.get(collection, record).map(|row| row.revision);
        let condition = current.map_or(Condition::None, |revision| Condition::Revisions(vec![revision]));
        let mut op = put_op(collection, record, json);
        op.condition = condition;
        self.write(vec![op]).unwrap().write.revision.0
    }

    pub(super) fn delete(&mut self, collection: &str, record: &str) -> u64 {
        self.write(vec![op(collection, record, Action::Delete { force: true })]).unwrap().write.revision.0
    }

    pub(super) fn get(&mut self, collection: &str, record: &str) -> Option<RecordRow> {
        self.reader().record(&name(collection), &key(record)).unwrap()
    }

    pub(super) fn import(
        &mut self,
        collection: &str,
        mode: ImportMode,
        set_counters: bool,
        lines: &[(&str, &str)],
    ) -> Result<Imported, Refused> {
        let how = ImportHow { collection: name(collection), mode, set_counters };
        match self.job(Job::Import(Box::new(ImportChunk { how, lines: import_lines(lines), actor: None })))? {
            Answer::Imported(imported) => Ok(imported),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn import_lines(lines: &[(&str, &str)]) -> Vec<ImportLine> {
    let line = |(at, (record, json)): (usize, &(&str, &str))| ImportLine { line: at as u64 + 1, key: key(record), value: value(json) };
    lines.iter().enumerate().map(line).collect()
}

pub(super) fn op(collection: &str, record: &str, action: Action) -> CloudOp {
    CloudOp { collection: name(collection), key: key(record), key_from_value: false, action, condition: Condition::None }
}

pub(super) fn put_op(collection: &str, record: &str, json: &str) -> CloudOp {
    op(collection, record, Action::Put { value: value(json), create: false })
}

pub(super) fn created(result: &OpResult) -> &RecordRow {
    match result {
        OpResult::Created(row) => row,
        other => panic!("{other:?}"),
    }
}

pub(super) fn revision(revision: u64) -> Revision {
    Revision(revision)
}
