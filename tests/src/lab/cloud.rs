//! The cloud: the real store in a scratch folder, and the verbs of its API.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cloudhub::store::{
    Answer, Certificate, CloudOp, CloudWrite, Condition, Job, JoinJob, JoinTokenRow, OpenOptions, RecordRow, Refused, SqliteReader,
    SqliteStore, Store, StoreRead, Touched, WriteRow, Written,
};
use metamanager::{LocalRequest, Precondition};
use proto::build::Action;
use proto::definition::{Definition, Labels};
use proto::device::NODE_LABEL;
use proto::ids::{Revision, WriteId};
use proto::list::ListQuery;
use tempfile::TempDir;

use super::power::Power;
use super::words::{collection, key, node};

/// Its wall clock at the beginning.
pub const WALL_MS: u64 = 1_800_000_000_000;

/// The one hub of a laboratory.
pub struct Cloud {
    folder: TempDir,
    pub(super) power: Option<Power>,
    store: Option<SqliteStore>,
    reader: Option<SqliteReader>,
    starts: u64,
    tokens: u8,
    /// Definitions by name, as last set.
    pub definitions: BTreeMap<String, Definition>,
    /// Labels by node, as last set, with the one that holds its name.
    pub labels: BTreeMap<String, Labels>,
}

impl Cloud {
    pub(super) fn new() -> Self {
        let mut cloud = Self::blank(super::scratch());
        cloud.open(0);
        cloud
    }

    /// One whose disk keeps what was synced and nothing else.
    pub(super) fn failing(seed: u64) -> Self {
        let mut cloud = Self::blank(super::scratch());
        cloud.power = Some(Power::new(cloud.path(), seed));
        cloud.open(0);
        cloud
    }

    /// Nothing yet.
    fn blank(folder: TempDir) -> Self {
        let (definitions, labels) = (BTreeMap::new(), BTreeMap::new());
        Self { folder, power: None, store: None, reader: None, starts: 0, tokens: 0, definitions, labels }
    }

    /// One whose database is a copy of this file. Its starts are told from those that made the file.
    pub(super) fn of_file(file: &Path, now_ms: u64) -> Self {
        let folder = super::scratch();
        std::fs::copy(file, folder.path().join("cloudhub.db")).unwrap();
        let mut cloud = Self { starts: 1 << 16, tokens: 0x80, ..Self::blank(folder) };
        cloud.open(now_ms);
        let collections = cloud.reader().collections().unwrap().into_iter();
        cloud.definitions = collections.map(|row| (row.name.to_string(), row.definition)).collect();
        let own = |name: String, mut labels: Labels| {
            labels.insert(NODE_LABEL.to_owned(), name.clone());
            (name, labels)
        };
        cloud.labels = cloud.reader().nodes(None, 1_000).unwrap().into_iter().map(|row| own(row.name.to_string(), row.labels)).collect();
        cloud
    }

    /// Its database file.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("cloudhub.db")
    }

    fn open(&mut self, now_ms: u64) {
        self.starts += 1;
        let mut random = self.starts << 32;
        let options = OpenOptions { data: self.folder.path().to_owned() };
        let store = SqliteStore::open(&options, WALL_MS + now_ms, &mut || {
            random += 1;
            random
        })
        .unwrap();
        self.reader = Some(store.reader().unwrap());
        self.store = Some(store);
    }

    /// Ends without a word and starts again; `meanwhile` gets the file that nobody holds.
    pub(super) fn restart(&mut self, now_ms: u64, meanwhile: impl FnOnce(&rusqlite::Connection)) {
        let Self { power, reader, store, .. } = self;
        Power::fail(power, || (*reader, *store) = (None, None));
        meanwhile(&rusqlite::Connection::open(self.folder.path().join("cloudhub.db")).unwrap());
        self.open(now_ms);
    }

    /// Ends, and starts again with this file.
    pub(super) fn put_back(&mut self, image: &[u8], now_ms: u64) {
        (self.reader, self.store) = (None, None);
        super::edge::replace(&self.path(), image);
        Power::reread(&self.power);
        self.open(now_ms);
    }

    /// What happened to a node, oldest first: the kinds of its events.
    pub fn events(&mut self, name: &str) -> Vec<String> {
        self.reader().events(&node(name)).unwrap().unwrap().into_iter().map(|event| event.kind).collect()
    }

    /// What readers see.
    pub fn reader(&mut self) -> &mut SqliteReader {
        self.reader.as_mut().unwrap()
    }

    /// Decides one job; whom it touched.
    pub(super) fn decide(&mut self, job: Job, now_ms: u64) -> (Result<Answer, Refused>, Touched) {
        let mut decided = self.store.as_mut().unwrap().decide(vec![job], WALL_MS + now_ms).unwrap();
        (decided.answers.pop().unwrap(), decided.touched)
    }

    /// What every hub does at its start: from now on devices can be declared.
    pub(super) fn define_devices(&mut self, now_ms: u64) -> Touched {
        self.definitions.extend(proto::device::definitions().into_iter().map(|(name, definition)| (name.to_string(), definition)));
        let (answer, touched) = self.decide(Job::DefineDevices, now_ms);
        answer.unwrap();
        touched
    }

    pub(super) fn define(&mut self, name: &str, json: &str, now_ms: u64) -> Touched {
        let definition = Definition::parse(json).unwrap();
        self.definitions.insert(name.to_owned(), definition.clone());
        let (answer, touched) = self.decide(Job::PutCollection { name: collection(name), definition: Box::new(definition) }, now_ms);
        answer.unwrap();
        touched
    }

    /// All steps of housekeeping that are due, and whom each touched.
    pub(super) fn tidy(&mut self, now_ms: u64) -> Vec<Touched> {
        let mut all = Vec::new();
        loop {
            let (touched, more) = self.store.as_mut().unwrap().tidy(WALL_MS + now_ms).unwrap();
            all.push(touched);
            if !more {
                return all;
            }
        }
    }

    pub(super) fn undefine(&mut self, name: &str, now_ms: u64) -> Touched {
        self.definitions.remove(name);
        let (answer, touched) = self.decide(Job::DeleteCollection { name: collection(name) }, now_ms);
        answer.unwrap();
        touched
    }

    pub(super) fn join(&mut self, name: &str, labels: &[(&str, &str)], now_ms: u64) {
        self.tokens += 1;
        let labels: Labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut own = labels.clone();
        own.insert(NODE_LABEL.to_owned(), name.to_owned());
        self.labels.insert(name.to_owned(), own);
        let (created_ms, secret_hash) = (WALL_MS + now_ms, [self.tokens; 32]);
        let token = JoinTokenRow {
            id: format!("t{}", self.tokens),
            node: None,
            replaces: false,
            labels,
            uses: 1,
            used: 0,
            created_ms,
            expires_ms: created_ms + 60_000,
        };
        self.decide(Job::NewJoinToken(Box::new(token), secret_hash), now_ms).0.unwrap();
        let certificate = Certificate { serial: "01".to_owned(), not_after_ms: u64::MAX >> 1 };
        self.decide(Job::Join(Box::new(JoinJob { secret_hash, node: Some(node(name)), certificate })), now_ms).0.unwrap();
    }

    pub(super) fn label(&mut self, name: &str, label: &str, text: &str, now_ms: u64) -> Touched {
        self.labels.get_mut(name).unwrap().insert(label.to_owned(), text.to_owned());
        let labels = BTreeMap::from([(label.to_owned(), Some(text.to_owned()))]);
        let (answer, touched) = self.decide(Job::Label { node: node(name), labels }, now_ms);
        answer.unwrap();
        touched
    }

    /// A write through the API. A put of a record that is there names what it replaces.
    pub(super) fn write(&mut self, requests: Vec<LocalRequest>, now_ms: u64) -> (Result<Written, Refused>, Touched) {
        let ops = requests.into_iter().map(|request| self.op(request)).collect();
        let write = CloudWrite { ops, admin: true, actor: None, request_id: None, caller: String::new(), idempotency: None };
        let (answer, touched) = self.decide(Job::Write(Box::new(write)), now_ms);
        let written = answer.map(|answer| match answer {
            Answer::Written(written) => *written,
            other => panic!("{other:?}"),
        });
        (written, touched)
    }

    fn op(&mut self, LocalRequest { request, precondition, own_key }: LocalRequest) -> CloudOp {
        let present = self.reader().record(&request.collection, &request.key).unwrap().map(|row| row.revision);
        let condition = match (precondition, &request.action, present) {
            (Precondition::Absent, ..) => Condition::Absent,
            (Precondition::Present, ..) => Condition::Present,
            (_, Action::Put { create: false, .. }, Some(revision)) => Condition::Revisions(vec![revision]),
            _ => Condition::None,
        };
        CloudOp { collection: request.collection, key: request.key, key_from_value: own_key, action: request.action, condition }
    }

    /// A live record.
    pub fn record(&mut self, name: &str, id: &str) -> Option<RecordRow> {
        self.reader().record(&collection(name), &key(id)).unwrap()
    }

    /// A live record's value.
    pub fn value(&mut self, name: &str, id: &str) -> Option<String> {
        self.record(name, id).map(|row| row.value)
    }

    /// All live records of a collection.
    pub fn all(&mut self, name: &str) -> Vec<RecordRow> {
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let request = ListQuery { after, ..ListQuery::all(collection(name), 1_000) };
            let page = self.reader().list(&request).unwrap().unwrap();
            rows.extend(page.records);
            after = page.next;
            if after.is_none() {
                return rows;
            }
        }
    }

    /// What was decided about a write.
    pub fn decided(&mut self, id: &WriteId) -> Option<WriteRow> {
        self.reader().write(id).unwrap()
    }

    /// The newest revision.
    pub fn head(&mut self) -> Revision {
        self.reader().head().unwrap()
    }
}
