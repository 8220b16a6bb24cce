#![allow(clippy::unwrap_used)]

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::frame::{Batch, Fill, Hello, Share};
use proto::ids::{DatabaseId, Epoch, EpochStart, Position, Revision, WriteId};
use proto::list::ListQuery;
use proto::names::{CollectionName, Key, NodeName};
use proto::session::cloud::Ahead;

use super::*;
use crate::store::{
    AccessTokenRow, AdmitJob, CollectionApplied, CollectionRow, ConflictRow, ConflictsRequest, Decided, DeviceCounts, ExportPage, Figures,
    ImportHow, ImportLine, JoinTokenRow, Largest, NodeEvent, NodeRow, RecordPage, RecordRow, ScanRequest, WriteRow, WritesRequest,
};

/// What the fake store does with the groups, told by the test.
enum Tell {
    Commit,
    Fail(StoreError),
    Panic,
}

/// A store without a disk: each group waits until the test says what becomes of it.
struct FakeStore {
    groups: SyncSender<Vec<String>>,
    tells: Arc<Mutex<Receiver<Tell>>>,
    head: u64,
    epoch: u64,
}

struct FakeReader(u64);

fn label(job: &Job) -> String {
    match job {
        Job::RevokeJoinToken { id } => id.clone(),
        Job::Admit(admit) => format!("{} live={}", admit.node, admit.live.is_some()),
        Job::NewAccessToken(token, _) => token.id.clone(),
        other => format!("{other:?}"),
    }
}

impl Store for FakeStore {
    type Reader = FakeReader;

    fn largest(&self) -> Largest {
        Largest { jobs: 4, bytes: 1_000_000 }
    }

    fn head(&self) -> Revision {
        Revision(self.head)
    }

    fn epoch(&self) -> EpochStart {
        EpochStart { epoch: Epoch(self.epoch), first: Revision(1) }
    }

    fn reader(&self) -> Result<FakeReader, StoreError> {
        Ok(FakeReader(self.epoch))
    }

    fn decide(&mut self, group: Vec<Job>, _: u64) -> Result<Decided, StoreError> {
        self.groups.send(group.iter().map(label).collect()).unwrap();
        let tell = self.tells.lock().unwrap().recv().unwrap();
        match tell {
            Tell::Commit => {
                self.head += 1;
                let touched = Touched { head: Revision(self.head), ..Touched::default() };
                Ok(Decided { answers: group.iter().map(|_| Ok(Answer::Done)).collect(), touched, verdicts: [0; 5] })
            }
            Tell::Fail(error) => Err(error),
            Tell::Panic => panic!("told to"),
        }
    }

    fn tidy(&mut self, _: u64) -> Result<(Touched, bool), StoreError> {
        Ok((Touched::default(), false))
    }

    fn close(self) -> Result<(), StoreError> {
        self.groups.send(vec!["closed".to_owned()]).unwrap();
        Ok(())
    }
}

/// Only the head is ever read here.
#[rustfmt::skip]
impl StoreRead for FakeReader {
    fn head(&mut self) -> Result<Revision, StoreError> { Ok(Revision(self.0)) }
    fn scan(&mut self, _: &ScanRequest<'_>) -> Result<Batch, StoreError> { unreachable!() }
    fn ahead(&mut self, _: crate::store::Peer, _: &Ahead) -> Result<crate::store::ReadAhead, StoreError> { unreachable!() }
    fn outcomes_above(&mut self, _: crate::store::Peer, _: Revision) -> Result<u64, StoreError> { unreachable!() }
    fn behind(&mut self, _: &NodeName, _: &Position, _: &[Fill]) -> Result<u64, StoreError> { unreachable!() }
    fn record(&mut self, _: &CollectionName, _: &Key) -> Result<Option<RecordRow>, StoreError> { unreachable!() }
    fn record_fields(&mut self, _: &CollectionName, _: &Key) -> Result<Option<crate::store::RecordFields>, StoreError> { unreachable!() }
    fn list(&mut self, _: &ListQuery) -> Result<Result<RecordPage, Refused>, StoreError> { unreachable!() }
    fn export(&mut self, _: &CollectionName, _: Option<&Key>) -> Result<Option<ExportPage>, StoreError> { unreachable!() }
    fn check_import(&mut self, _: &ImportHow, _: &[ImportLine], _: u64) -> Result<Result<(), Refused>, StoreError> { unreachable!() }
    fn collections(&mut self) -> Result<Vec<CollectionRow>, StoreError> { unreachable!() }
    fn collection(&mut self, _: &CollectionName) -> Result<Option<CollectionRow>, StoreError> { unreachable!() }
    fn try_definition(&mut self, _: &CollectionName, _: &proto::definition::Definition) -> Result<Result<CollectionApplied, Refused>, StoreError> { unreachable!() }
    fn write(&mut self, _: &WriteId) -> Result<Option<WriteRow>, StoreError> { unreachable!() }
    fn writes(&mut self, _: &WritesRequest) -> Result<(Vec<WriteRow>, Option<Revision>), StoreError> { unreachable!() }
    fn conflict(&mut self, _: &str) -> Result<Option<ConflictRow>, StoreError> { unreachable!() }
    fn conflicts(&mut self, _: &ConflictsRequest) -> Result<(Vec<ConflictRow>, Option<u64>), StoreError> { unreachable!() }
    fn knows(&mut self, _: &CollectionName) -> Result<bool, StoreError> { unreachable!() }
    fn collection_names(&mut self) -> Result<Vec<CollectionName>, StoreError> { unreachable!() }
    fn watch_end(&mut self) -> Result<crate::store::WatchPlace, StoreError> { unreachable!() }
    fn watch(&mut self, _: &crate::store::WatchPlace, _: &dyn Fn(&CollectionName) -> bool) -> Result<crate::store::WatchPage, StoreError> { unreachable!() }
    fn stretch(&mut self, _: &CollectionName, _: Option<&Key>) -> Result<Option<crate::store::Stretch>, StoreError> { unreachable!() }
    fn node(&mut self, _: &NodeName) -> Result<Option<NodeRow>, StoreError> { unreachable!() }
    fn nodes(&mut self, _: Option<&NodeName>, _: usize) -> Result<Vec<NodeRow>, StoreError> { unreachable!() }
    fn granted(&mut self, _: &NodeName) -> Result<Option<Vec<Share>>, StoreError> { unreachable!() }
    fn devices(&mut self, _: &NodeName) -> Result<DeviceCounts, StoreError> { unreachable!() }
    fn events(&mut self, _: &NodeName) -> Result<Option<Vec<NodeEvent>>, StoreError> { unreachable!() }
    fn join_tokens(&mut self, _: u64) -> Result<Vec<JoinTokenRow>, StoreError> { unreachable!() }
    fn may_join(&mut self, _: &[u8; 32], _: Option<&NodeName>, _: u64) -> Result<Result<NodeName, Refused>, StoreError> { unreachable!() }
    fn access_tokens(&mut self, _: u64) -> Result<Vec<AccessTokenRow>, StoreError> { unreachable!() }
    fn access_token(&mut self, _: &[u8; 32], _: u64) -> Result<Option<AccessTokenRow>, StoreError> { unreachable!() }
    fn figures(&mut self) -> Result<Figures, StoreError> { unreachable!() }
}

/// Remembers the heads it was told, and whether the store was closed.
#[derive(Default)]
struct FakeWitness {
    heads: Mutex<Vec<u64>>,
    closed: AtomicBool,
}

impl Witness for FakeWitness {
    fn live(&self, node: &NodeName) -> Option<DatabaseId> {
        (node.as_str() == "oslo").then_some(DatabaseId([1; 16]))
    }

    fn touched(&self, touched: &Touched) {
        self.heads.lock().unwrap().push(touched.head.0);
    }

    fn store_closed(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }
}

struct Bench {
    engine: Engine,
    threads: Threads,
    groups: Receiver<Vec<String>>,
    tells: SyncSender<Tell>,
    witness: Arc<FakeWitness>,
}

fn bench(has_room: bool) -> Bench {
    let (groups, seen) = sync_channel(64);
    let (tells, told) = sync_channel(64);
    let told = Arc::new(Mutex::new(told));
    let witness = Arc::new(FakeWitness::default());
    let mut epoch = 0;
    let open = move || {
        epoch += 1;
        Ok(FakeStore { groups: groups.clone(), tells: Arc::clone(&told), head: 0, epoch })
    };
    let setup = Setup {
        open: Box::new(open),
        clock: SystemClock::new(),
        witness: Arc::clone(&witness) as Arc<dyn Witness>,
        has_room: Box::new(move || has_room),
        reopen_pause: (Duration::ZERO, Duration::ZERO),
    };
    let (engine, threads) = Engine::start(setup).unwrap();
    Bench { engine, threads, groups: seen, tells, witness }
}

impl Bench {
    /// Hands a job over; the answer arrives in the receiver.
    fn send(&self, id: &str) -> Receiver<Result<(), Failed>> {
        self.submit(Job::RevokeJoinToken { id: id.to_owned() })
    }

    fn submit(&self, job: Job) -> Receiver<Result<(), Failed>> {
        let (tell, answer) = sync_channel(1);
        self.engine.submit(job, Box::new(move |result| tell.send(result.map(drop)).unwrap()));
        answer
    }

    fn group(&self) -> Vec<String> {
        self.groups.recv().unwrap()
    }
}

fn full() -> StoreError {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None).into()
}

#[test]
fn what_arrives_during_a_commit_is_the_next_group() {
    let bench = bench(true);
    let first = bench.send("a");
    assert_eq!(bench.group(), ["a"], "an idle writer waits for nobody");
    let others: Vec<_> = ["b", "c", "d", "e", "f"].iter().map(|id| bench.send(id)).collect();
    assert!(first.try_recv().is_err(), "nothing is answered before it is durable");
    bench.tells.send(Tell::Commit).unwrap();
    assert_eq!(bench.group(), ["b", "c", "d", "e"], "cut at the store's largest");
    assert_eq!(first.recv().unwrap(), Ok(()));
    bench.tells.send(Tell::Commit).unwrap();
    assert_eq!(bench.group(), ["f"]);
    bench.tells.send(Tell::Commit).unwrap();
    assert!(others.iter().all(|answer| answer.recv().unwrap() == Ok(())));
    bench.threads.stop();
    assert_eq!(bench.groups.recv().unwrap(), ["closed"]);
    assert_eq!(bench.engine.tally().commits.load(Ordering::Relaxed), 3, "three transactions for six jobs");
    assert_eq!(bench.engine.tally().jobs.load(Ordering::Relaxed), 6);
}

#[test]
fn a_failed_commit_answers_all_with_the_failure_and_wakes_nobody() {
    let bench = bench(true);
    let (one, two) = (bench.send("a"), bench.send("b"));
    let mut seen = bench.group().len();
    bench.tells.send(Tell::Fail(full())).unwrap();
    while seen < 2 {
        seen += bench.group().len();
        bench.tells.send(Tell::Fail(full())).unwrap();
    }
    assert_eq!([one.recv().unwrap(), two.recv().unwrap()], [Err(Failed::DiskFull), Err(Failed::DiskFull)]);
    let three = bench.send("c");
    assert_eq!(bench.group(), ["c"], "a full disk does not close the store");
    bench.tells.send(Tell::Commit).unwrap();
    assert_eq!(three.recv().unwrap(), Ok(()));
    bench.threads.stop();
    assert!(!bench.witness.closed.load(Ordering::SeqCst));
    let heads = bench.witness.heads.lock().unwrap();
    assert_eq!(heads.iter().filter(|head| **head > 0).count(), 1);
    assert!(bench.engine.tally().failures.load(Ordering::Relaxed) >= 1);
}

#[test]
fn a_store_that_cannot_go_on_is_closed_and_opened_again() {
    for tell in [Tell::Fail(StoreError::Fenced(3)), Tell::Panic] {
        let bench = bench(true);
        assert_eq!((bench.engine.opening(), bench.engine.epoch()), (1, Epoch(1)));
        let lost = bench.send("a");
        bench.group();
        bench.tells.send(tell).unwrap();
        assert_eq!(lost.recv().unwrap(), Err(Failed::Unavailable));
        assert!(bench.witness.closed.load(Ordering::SeqCst), "its sessions were told before anybody was answered");
        let next = bench.send("b");
        assert_eq!(bench.group(), ["b"]);
        bench.tells.send(Tell::Commit).unwrap();
        assert_eq!(next.recv().unwrap(), Ok(()));
        assert_eq!((bench.engine.opening(), bench.engine.epoch(), bench.engine.is_open()), (2, Epoch(2), true));
        bench.threads.stop();
    }
}

#[tokio::test]
async fn reads_are_of_the_newest_opening_and_scans_of_their_own() {
    let bench = bench(true);
    assert_eq!(bench.engine.read(|store| store.head()).await, Ok(Revision(1)));
    let scan = async |opening| {
        let (tell, answer) = oneshot::channel();
        bench.engine.scan(opening, |store| store.head(), |result| drop(tell.send(result))).unwrap();
        answer.await.unwrap()
    };
    assert_eq!(scan(1).await, Ok(Revision(1)));
    assert_eq!(scan(2).await, Err(Failed::Unavailable));
    let panics = bench.engine.read(|_| -> Result<(), StoreError> { panic!("a mistake") }).await;
    assert_eq!(panics, Err(Failed::Unavailable));
    assert_eq!(bench.engine.read(|store| store.head()).await, Ok(Revision(1)), "the thread goes on");
    bench.threads.stop();
    assert_eq!(bench.engine.read(|store| store.head()).await, Err(Failed::Unavailable));
}

fn hello(node: &str) -> Job {
    let hello = Hello {
        versions: (1, 1),
        features: Vec::new(),
        database: DatabaseId([2; 16]),
        session: 0,
        epochs: Vec::new(),
        cursor: None,
        grants_hash: Default::default(),
        fills: Vec::new(),
        newest_write: 0,
        outbox_first: 0,
        gaps: Vec::new(),
        now_ms: 0,
        software: String::new(),
        metered: false,
        report: Default::default(),
        previous: None,
        ticket: Vec::new(),
        paused: None,
        held: None,
    };
    let node = NodeName::parse(node).unwrap();
    Job::Admit(Box::new(AdmitJob { node, serial: None, hello: Box::new(hello), live: None, address: String::new(), transport: "memory" }))
}

#[test]
fn two_hellos_of_one_node_are_judged_one_after_the_other() {
    let bench = bench(true);
    let first = bench.send("a");
    bench.group();
    let others: Vec<_> = ["lyon", "oslo", "lyon"].iter().map(|node| bench.submit(hello(node))).collect();
    bench.tells.send(Tell::Commit).unwrap();
    assert_eq!(bench.group(), ["lyon live=false", "oslo live=true"]);
    bench.tells.send(Tell::Commit).unwrap();
    assert_eq!(bench.group(), ["lyon live=false"]);
    bench.tells.send(Tell::Commit).unwrap();
    assert!(others.iter().chain([&first]).all(|answer| answer.recv().unwrap() == Ok(())));
    bench.threads.stop();
}

#[test]
fn without_room_only_what_frees_or_records_goes_on() {
    let bench = bench(false);
    let row =
        AccessTokenRow { id: "new".into(), name: "x".into(), role: "viewer".into(), collections: None, created_ms: 0, expires_ms: None };
    assert_eq!(bench.submit(Job::NewAccessToken(Box::new(row), [0; 32])).recv().unwrap(), Err(Failed::DiskFull));
    let revoked = bench.send("old");
    assert_eq!(bench.group(), ["old"]);
    bench.tells.send(Tell::Commit).unwrap();
    assert_eq!(revoked.recv().unwrap(), Ok(()));
    bench.threads.stop();
}

/// Reads again as soon as it has an answer, as a session does that catches up.
fn catches_up(engine: &Engine, node: usize, left: usize, served: Arc<Mutex<Vec<usize>>>, done: SyncSender<()>) {
    let log = Arc::clone(&served);
    let read = move |store: &mut dyn StoreRead| {
        log.lock().unwrap().push(node);
        store.head()
    };
    let next = engine.clone();
    let answer = move |_| if left > 1 { catches_up(&next, node, left - 1, served, done) } else { done.send(()).unwrap() };
    engine.scan(1, read, answer).unwrap();
}

/// KubeEdge #3567, #7278: who has much to read keeps nobody waiting for more than one read of each.
#[test]
fn nodes_that_catch_up_are_read_for_in_turn() {
    const NODES: usize = 50;
    let bench = bench(true);
    let (mut held, served) = (Vec::new(), Arc::new(Mutex::new(Vec::new())));
    let (done, all) = sync_channel(NODES);
    for _ in 0..SCAN_THREADS {
        let (go, wait) = sync_channel::<()>(1);
        bench.engine.scan(1, move |store| Ok((wait.recv().is_ok(), store.head()?)), drop).unwrap();
        held.push(go);
    }
    (0..NODES).for_each(|node| catches_up(&bench.engine, node, 20, Arc::clone(&served), done.clone()));
    held.iter().for_each(|go| go.send(()).unwrap());
    (0..NODES).for_each(|_| all.recv().unwrap());
    let mut counts = [0u32; NODES];
    for node in served.lock().unwrap().iter() {
        counts[*node] += 1;
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        // Two threads that take one after the other may note it the other way round.
        assert!(most - least <= 2, "one was served {most} times, another {least}");
    }
    bench.threads.stop();
}

/// Hands in writes again as soon as those before are decided.
fn uploads(engine: &Engine, id: String, left: usize) {
    let (next, again) = (engine.clone(), id.clone());
    let reply = move |_| {
        if left > 1 {
            uploads(&next, again, left - 1)
        }
    };
    engine.submit(Job::RevokeJoinToken { id }, Box::new(reply));
}

#[test]
fn nodes_that_drain_their_outboxes_take_turns_and_one_write_waits_for_one_round() {
    let bench = bench(true);
    let first = bench.send("first");
    bench.group();
    (0..8).for_each(|node| uploads(&bench.engine, node.to_string(), 5));
    let next = || {
        bench.tells.send(Tell::Commit).unwrap();
        bench.group().join(" ")
    };
    assert_eq!([next(), next(), next()], ["0 1 2 3", "4 5 6 7", "0 1 2 3"]);
    let one = bench.send("one write");
    assert_eq!([next(), next(), next()], ["4 5 6 7", "one write 0 1 2", "3 4 5 6"]);
    (0..5).for_each(|_| drop(next()));
    bench.tells.send(Tell::Commit).unwrap();
    assert!([first, one].iter().all(|answer| answer.recv().unwrap() == Ok(())));
    bench.threads.stop();
}
