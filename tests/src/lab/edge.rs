//! One node: the real database in a scratch folder, what its applications did, and what they must be able to trust.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use edgehub::link::{Backoff, Days};
use metamanager::{
    Committed, Disk, Event, ListQuery, LocalRequest, LocalWrite, Options, ReadError, Reader, Space, Store, ViewRow, WriteError, WriteRef,
};
use proto::build::{Action, Request};
use proto::clock::Now;
use proto::frame::{Frame, Hello, Reason};
use proto::ids::{DatabaseId, Revision, WriteId};
use proto::json::Raw;
use proto::names::{CollectionName, Key, NodeName};
use proto::op::{Idempotency, Verdict};
use proto::session::handshake::DAILY_LIMIT;
use proto::traffic::{Cause, Traffic};
use tempfile::TempDir;

use super::cloud::WALL_MS;
use super::devices::Reports;
use super::dice::Dice;
use super::power::Power;
use super::words::{collection, key, node};

/// How many records are looked at after every step.
const WATCHED: usize = 64;
/// The collection whose records are created in the cloud, never deleted, and changed by increments of `n` alone: so
/// what its counters must show is known at every moment.
pub const TALLY: &str = "tally";

/// A disk with as much room as a test says, so that none depends on the machine's.
#[derive(Default)]
struct LabDisk {
    full: AtomicBool,
}

impl Disk for LabDisk {
    fn space(&self, _: &Path) -> Option<Space> {
        self.full.load(Ordering::Relaxed).then_some(Space { free: 0, total: 1 << 40 })
    }
}

/// An increment on [`TALLY`] that this node was promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) number: u64,
    pub(super) key: Key,
    pub(super) delta: i64,
}

/// One node of a laboratory.
pub struct Edge {
    /// Its name.
    pub name: NodeName,
    folder: TempDir,
    pub(super) power: Option<Power>,
    store: Option<Store>,
    reader: Option<Reader>,
    disk: Arc<LabDisk>,
    /// It connects when it has no session.
    pub online: bool,
    /// Its wall clock at the beginning, milliseconds.
    pub wall_ms: u64,
    /// Every outcome that its database made durable, in that order.
    answered: Arc<Mutex<Vec<(u64, Verdict)>>>,
    /// How many of them it had before its power failed, where it goes on as if it had not.
    pub(super) sure: Option<usize>,
    pub(super) connect_ms: u64,
    /// What passed on its links, and how much may in a day. It outlives the process.
    pub days: Days,
    /// How long it waits between tries, and the chance in it; none: half a second.
    pub(super) backoff: Option<(Backoff, Dice)>,
    /// Nothing gets through to it, or from it, before.
    pub(super) dark_until_ms: u64,
    /// Nothing was put back or copied: records never go back, and each write has one outcome.
    pub watched: bool,
    /// Every increment on [`TALLY`] that was answered with 2xx.
    pub(super) promised: Vec<Added>,
    /// Those of them that base does not hold yet.
    pub(super) open: Vec<Added>,
    /// The newest revision of base that was seen of each watched record.
    pub(super) seen: BTreeMap<(CollectionName, Key), Revision>,
    /// What its devices report, and when it goes up.
    pub(super) reports: Reports,
    /// Its place, as a busy hub gave it.
    pub(super) ticket: Vec<u8>,
    /// Bytes of writes that its outbox holds, unless the usual.
    max_outbox_bytes: Option<u64>,
}

impl Edge {
    /// A new database; its id comes from its place, because ids decide ties of clocks.
    pub(super) fn new(name: &str, place: u8, failing: Option<u64>) -> Self {
        let mut edge = Self::blank(name);
        edge.power = failing.map(|seed| Power::new(edge.path(), seed ^ u64::from(place)));
        drop(Store::open(&edge.path(), Options::default(), edge.now(0)).unwrap());
        edge.restart(0, |file| {
            file.execute("UPDATE meta SET database = ?1", [[place; 16]]).unwrap();
        });
        edge
    }

    /// Nothing yet.
    fn blank(name: &str) -> Self {
        Self {
            name: node(name),
            folder: super::scratch(),
            power: None,
            store: None,
            reader: None,
            disk: Arc::default(),
            online: true,
            wall_ms: WALL_MS,
            answered: Arc::default(),
            sure: None,
            connect_ms: 0,
            days: Days::new(None),
            backoff: None,
            dark_until_ms: 0,
            ticket: Vec::new(),
            watched: true,
            promised: Vec::new(),
            open: Vec::new(),
            seen: BTreeMap::new(),
            reports: Reports::default(),
            max_outbox_bytes: None,
        }
    }

    /// One whose database is a copy of this file.
    pub(super) fn of_file(name: &str, file: &Path, now_ms: u64) -> Self {
        let mut edge = Self::blank(name);
        std::fs::copy(file, edge.path()).unwrap();
        edge.open(now_ms);
        let mut after = 0;
        while let Some(row) = edge.reader().write(after + 1).unwrap().filter(|row| row.outcome.is_some()) {
            after += 1;
            edge.answered.lock().unwrap().extend(row.outcome.map(|outcome| (after, outcome.verdict)));
        }
        edge
    }

    /// The files of its database that hold this text.
    pub fn files_with(&self, text: &str) -> Vec<PathBuf> {
        let holds = |path: &PathBuf| {
            let bytes = std::fs::read(path).unwrap_or_default();
            bytes.windows(text.len()).any(|part| part == text.as_bytes())
        };
        let names = ["edge.db", "edge.db-wal", "edge.db-shm"];
        names.iter().map(|name| self.folder.path().join(name)).filter(holds).collect()
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("edge.db")
    }

    fn open(&mut self, now_ms: u64) {
        let answered = Arc::clone(&self.answered);
        let observer = Arc::new(move |event: &Event| {
            if let Event::Answered { outcomes } = event {
                answered.lock().unwrap().extend(outcomes);
            }
        });
        let max_outbox_bytes = self.outbox_bound();
        let options = Options { node: Some(self.name.clone()), disk: self.disk.clone(), observer: Some(observer), max_outbox_bytes };
        let store = Store::open(&self.path(), options, self.now(now_ms)).unwrap();
        self.reader = Some(store.reader().unwrap());
        self.store = Some(store);
        self.reports.restart(now_ms);
    }

    /// How many bytes of writes its outbox may hold.
    pub(super) fn outbox_bound(&self) -> u64 {
        self.max_outbox_bytes.unwrap_or(Options::default().max_outbox_bytes)
    }

    /// How many bytes of writes its outbox holds, from its next start on.
    pub fn bound_outbox(&mut self, bytes: u64) {
        self.max_outbox_bytes = Some(bytes);
    }

    /// Whether its disk is full.
    pub(super) fn fill_disk(&self, full: bool) {
        self.disk.full.store(full, Ordering::Relaxed);
    }

    /// Ends without a word and starts again; `meanwhile` gets the file that nobody holds.
    pub(super) fn restart(&mut self, now_ms: u64, meanwhile: impl FnOnce(&rusqlite::Connection)) {
        let Self { power, reader, store, .. } = self;
        Power::fail(power, || (*reader, *store) = (None, None));
        meanwhile(&rusqlite::Connection::open(self.path()).unwrap());
        self.open(now_ms);
        self.forget_unsure();
    }

    /// Ends, and starts again with this file.
    pub(super) fn put_back(&mut self, image: &[u8], now_ms: u64) {
        (self.reader, self.store) = (None, None);
        self.reports.kept.clear();
        replace(&self.path(), image);
        Power::reread(&self.power);
        self.open(now_ms);
    }

    /// The newest session number that it committed.
    pub fn session(&mut self) -> u64 {
        self.store().facts().unwrap().session
    }

    /// Whether it gave a write out, under whatever id it had then.
    pub fn gave(&mut self, id: &WriteId) -> bool {
        let names = self.store().names();
        let names = names.lock().unwrap();
        matches!(id, WriteId::Edge { database, number, .. } if names.gave(database, *number))
    }

    /// What became of a write, as its readers are told: `"applied"`, `"rejected guard"`, `"pending"`.
    pub fn state(&mut self, number: u64) -> String {
        let row = self.reader().write(number).unwrap().unwrap();
        let code = row.outcome.and_then(|outcome| outcome.code);
        [Some(row.state.as_str().to_owned()), code].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    pub(super) fn now(&self, now_ms: u64) -> Now {
        Now { wall_ms: self.wall_ms + now_ms, mono_ms: now_ms }
    }

    pub(super) fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    /// What readers see.
    pub fn reader(&mut self) -> &mut Reader {
        self.reader.as_mut().unwrap()
    }

    pub(super) fn hello(&mut self, now_ms: u64) -> Hello {
        let wall_ms = self.now(now_ms).wall_ms;
        let facts = self.store().facts().unwrap();
        Hello {
            versions: proto::session::handshake::VERSIONS,
            features: Vec::new(),
            database: facts.database,
            session: facts.session,
            epochs: facts.epochs,
            cursor: facts.cursor,
            grants_hash: facts.grants_hash,
            fills: facts.fills,
            newest_write: facts.newest_write,
            outbox_first: facts.outbox_first,
            gaps: facts.gaps,
            now_ms: wall_ms,
            software: String::new(),
            metered: false,
            report: facts.report,
            previous: facts.previous,
            ticket: self.ticket.clone(),
            held: facts.held,
            paused: self.used_up(now_ms).map(|detail| Reason { code: DAILY_LIMIT.to_owned(), detail: detail.to_owned() }),
        }
    }

    /// That nothing but control and writes should come, if it is so now.
    pub(super) fn used_up(&mut self, now_ms: u64) -> Option<&'static str> {
        self.days.turn(now_ms);
        self.days.is_used_up(0).then_some("the daily limit is reached")
    }

    /// A frame went up.
    pub(super) fn sent(&mut self, frame: &Frame, bytes: usize, now_ms: u64) {
        let mut traffic = Traffic::default();
        traffic.sent.add(frame.cause(), bytes as u64);
        self.days.book(&traffic, now_ms);
    }

    /// A frame came down.
    pub(super) fn received(&mut self, cause: Cause, bytes: usize, now_ms: u64) {
        let mut traffic = Traffic::default();
        traffic.received.add(cause, bytes as u64);
        self.days.book(&traffic, now_ms);
    }

    pub(super) fn write(
        &mut self,
        requests: Vec<LocalRequest>,
        idempotency: Option<Idempotency>,
        now_ms: u64,
    ) -> Result<Committed, WriteError> {
        let now = self.now(now_ms);
        for LocalRequest { request, .. } in &requests {
            self.watch(&request.collection, &request.key);
        }
        let write = LocalWrite { requests: requests.clone(), actor: None, request_id: None, idempotency, resends: None };
        let committed = self.store().commit(now, vec![write]).pop().unwrap()?;
        if let (WriteRef::Own(number), false) = (&committed.write, committed.repeat) {
            let added: Vec<_> = requests.iter().flat_map(|request| added(*number, request)).collect();
            self.open.extend_from_slice(&added);
            self.promised.extend(added);
        }
        Ok(committed)
    }

    /// From now on this record may not go back.
    pub fn watch(&mut self, collection: &CollectionName, key: &Key) {
        if self.seen.len() < WATCHED {
            self.seen.entry((collection.clone(), key.clone())).or_default();
        }
    }

    /// A record as local readers see it.
    pub fn row(&mut self, name: &str, id: &str) -> Option<ViewRow> {
        self.reader().get(&collection(name), &key(id)).unwrap()
    }

    /// A record's value as local readers see it.
    pub fn value(&mut self, name: &str, id: &str) -> Option<String> {
        self.row(name, id).map(|row| row.value)
    }

    /// Everything that local readers see of a collection.
    pub fn all(&mut self, name: &CollectionName) -> Vec<ViewRow> {
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let query = ListQuery { after, ..ListQuery::all(name.clone(), 1_000) };
            let page = match self.reader().list(&query) {
                // The node does not get it.
                Err(ReadError::UnknownCollection(_) | ReadError::NotSynced) => return rows,
                page => page.unwrap(),
            };
            rows.extend(page.records);
            after = page.next;
            if after.is_none() {
                return rows;
            }
        }
    }

    /// The newest number that was given to a write.
    pub fn newest_write(&mut self) -> u64 {
        self.reader().status().unwrap().newest_write
    }

    /// The oldest write without an outcome.
    pub(super) fn first_pending(&mut self) -> Option<u64> {
        self.reader().outbox_after(0, 1).unwrap().writes.first().map(|write| write.number)
    }

    /// Writes without an outcome.
    pub fn pending(&mut self) -> u64 {
        self.reader().status().unwrap().outbox_writes
    }

    /// Every outcome so far: number and verdict.
    pub fn outcomes(&self) -> Vec<(u64, Verdict)> {
        self.answered.lock().unwrap().clone()
    }

    /// Of the outcomes that it reported after its power had failed it keeps those that its database has.
    fn forget_unsure(&mut self) {
        let Some(sure) = self.sure.take() else { return };
        let answered = self.outcomes();
        let kept =
            answered[sure..].iter().filter(|(number, _)| self.reader().write(*number).unwrap().is_some_and(|row| row.outcome.is_some()));
        let kept: Vec<_> = answered[..sure].iter().chain(kept).copied().collect();
        *self.answered.lock().unwrap() = kept;
    }

    /// The same as words, `"1 applied"` or `"2 rejected guard"`.
    pub fn answers(&mut self) -> Vec<String> {
        let answered = self.outcomes();
        let word = |(number, verdict): (u64, Verdict)| {
            let row = self.reader().write(number).unwrap().unwrap();
            let code = row.outcome.and_then(|outcome| outcome.code);
            [Some(number.to_string()), Some(verdict.as_str().to_owned()), code].into_iter().flatten().collect::<Vec<_>>().join(" ")
        };
        answered.into_iter().map(word).collect()
    }

    /// Its database.
    pub fn database(&mut self) -> DatabaseId {
        self.store().database()
    }

    /// The id that the cloud knows a write under.
    pub fn id(&mut self, number: u64) -> WriteId {
        let database = self.database();
        WriteId::edge(&self.name, &database, number)
    }
}

/// Puts a database file in the place of another one, and of its log.
pub(super) fn replace(path: &Path, image: &[u8]) {
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(path.with_file_name(format!("{}{end}", path.file_name().unwrap().to_str().unwrap())));
    }
    std::fs::write(path, image).unwrap();
}

fn added(number: u64, LocalRequest { request, .. }: &LocalRequest) -> Vec<Added> {
    promised(request).into_iter().map(|(key, delta)| Added { number, key, delta }).collect()
}

/// What a request adds to a counter of [`TALLY`].
pub(super) fn promised(request: &Request) -> Option<(Key, i64)> {
    let delta = match &request.action {
        _ if request.collection.as_str() != TALLY => return None,
        Action::Increment(by) => by.iter().map(|(_, delta)| delta).sum(),
        Action::Put { value, .. } => value.get("n").and_then(Raw::as_i64)?,
        _ => return None,
    };
    Some((request.key.clone(), delta))
}
