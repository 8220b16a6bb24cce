//! The shell for applications in the same process: one writer thread, two readers, a handle that can be cloned.
//!
//! Group commit needs no timer: what arrived while the last commit ran is the next one. Reads run on the caller's
//! thread, on one of the read connections. Replies and observers run on the writer's thread: they hand on and return, and
//! never wait for another answer of the same database.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use proto::clock::Now;
use proto::frame::Batch;
use proto::list::ListQuery;
use proto::names::{CollectionName, Key};

use crate::apply::Applied;
use crate::check::Checked;
use crate::damage::Damage;
use crate::error::{ApplyError, OpenError, ReadError, Refusal, StoreError, WriteError};
use crate::limits::{CALM, GROUP_WRITES, QUEUE, WIPE_PAUSE};
use crate::list::ListPage;
use crate::local::{Committed, LocalWrite};
use crate::query::Queries;
use crate::reader::Reader;
use crate::readers::Readers;
use crate::renew::Names;
use crate::store::{Options, Store};
use crate::view::ViewRow;

/// Reads the clocks: wall time (with the cloud's offset where it is known) and monotonic time.
pub type ReadClock = Arc<dyn Fn() -> Now + Send + Sync>;

type WriteReply = Box<dyn FnOnce(Result<Committed, WriteError>) + Send>;
type ApplyReply = Box<dyn FnOnce(Result<Applied, ApplyError>) + Send>;
type Work = Box<dyn FnOnce(&mut Store, Now) + Send>;

enum Command {
    Write(LocalWrite, WriteReply),
    Apply(Vec<Batch>, ApplyReply),
    Run(Work),
    /// Somebody reads again after a calm.
    Warm,
    Stop,
}

/// The database with its threads. Clones share it; the last one to go closes it.
#[derive(Clone)]
pub struct Metamanager {
    shared: Arc<Shared>,
}

struct Shared {
    /// The process before this one ended without a word.
    unclean: bool,
    damage: Arc<Damage>,
    commands: SyncSender<Command>,
    readers: Arc<Readers>,
    /// Ends checks early.
    closing: Arc<AtomicBool>,
    queries: Queries,
    writer: Mutex<Option<JoinHandle<()>>>,
    names: Arc<Mutex<Names>>,
}

impl Metamanager {
    /// Opens the database and starts its writer.
    pub fn open(path: &Path, options: Options, clock: ReadClock) -> Result<Self, OpenError> {
        let store = Store::open(path, options, clock())?;
        let readers = Arc::new(Readers::open(&store)?);
        let closing = store.closing();
        let (names, queries) = (store.names(), store.queries());
        let (unclean, damage) = (store.was_unclean(), store.damage());
        let (commands, queue) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("edge-db-writer".to_owned());
        let warm = Arc::clone(&readers);
        let writer = thread
            .spawn(move || run(store, &queue, &clock, &warm))
            .map_err(|source| OpenError::Folder { folder: crate::lock::folder_of(path), source })?;
        let shared = Shared { unclean, damage, commands, readers, closing, queries, writer: Mutex::new(Some(writer)), names };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Commits a write; returns when it is durable.
    pub fn commit(&self, write: LocalWrite) -> Result<Committed, WriteError> {
        let (reply, answer) = answer();
        if self.shared.commands.send(Command::Write(write, Box::new(reply))).is_err() {
            return Err(Refusal::Closed.into());
        }
        answer().unwrap_or_else(|| Err(Refusal::Closed.into()))
    }

    /// Commits a write and calls `reply` on the writer's thread when it is durable or refused. Never blocks: when too
    /// many wait, the answer is [`Refusal::Busy`].
    pub fn commit_then(&self, write: LocalWrite, reply: impl FnOnce(Result<Committed, WriteError>) + Send + 'static) {
        match self.shared.commands.try_send(Command::Write(write, Box::new(reply))) {
            Err(TrySendError::Full(Command::Write(_, reply))) => reply(Err(Refusal::Busy.into())),
            Err(TrySendError::Disconnected(Command::Write(_, reply))) => reply(Err(Refusal::Closed.into())),
            Ok(()) | Err(_) => {}
        }
    }

    /// Applies batches and calls `reply` on the writer's thread; batches that wait together share a commit. The
    /// session's window bounds how many can wait, so this may block for the length of a commit.
    pub fn apply_then(&self, batches: Vec<Batch>, reply: impl FnOnce(Result<Applied, ApplyError>) + Send + 'static) {
        drop(self.shared.commands.send(Command::Apply(batches, Box::new(reply))));
    }

    /// Runs something on the writer and hands its result to `reply` there. When the database is closed, neither runs.
    pub fn run_then<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store, Now) -> T + Send + 'static,
        reply: impl FnOnce(T) + Send + 'static,
    ) {
        let run = Box::new(move |store: &mut Store, now| reply(work(store, now)));
        drop(self.shared.commands.send(Command::Run(run)));
    }

    /// Runs something on the writer and waits for its result; none when the database is closed.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut Store, Now) -> T + Send + 'static) -> Option<T> {
        let (reply, answer) = answer();
        self.run_then(work, reply);
        answer()
    }

    pub(crate) fn was_unclean(&self) -> bool {
        self.shared.unclean
    }

    pub(crate) fn damage(&self) -> Arc<Damage> {
        Arc::clone(&self.shared.damage)
    }

    /// The database's id and those that it had before.
    pub fn names(&self) -> Names {
        self.shared.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads, on the caller's thread: whichever reader is free.
    pub fn read<T>(&self, question: impl FnOnce(&mut Reader) -> T) -> T {
        if self.shared.readers.begin_use() {
            // A full queue is no calm either.
            drop(self.shared.commands.try_send(Command::Warm));
        }
        question(&mut self.shared.readers.any())
    }

    /// A record as local readers see it.
    pub fn get(&self, collection: &CollectionName, key: &Key) -> Result<Option<ViewRow>, ReadError> {
        self.read(|reader| reader.get(collection, key))
    }

    /// One page of a collection.
    pub fn list(&self, query: &ListQuery) -> Result<ListPage, ReadError> {
        self.read(|reader| reader.list(query))
    }

    /// SELECTs of applications.
    pub fn queries(&self) -> &Queries {
        &self.shared.queries
    }

    /// Runs the check that waits, or else one that compares with nothing, on the caller's thread, and mends what it finds in
    /// steps between which local writes go on. None: one is running already, or the database is closed.
    pub fn check(&self) -> Result<Option<Checked>, StoreError> {
        let Some(check) = self.run(|store, now| store.take_check(now.mono_ms)).transpose()?.flatten() else { return Ok(None) };
        let Some(mut found) = check.run()? else { return Ok(None) };
        loop {
            let step = move |store: &mut Store, now| (store.settle(&mut found, now), found);
            let Some((settled, rest)) = self.run(step) else { return Ok(None) };
            if let Some(checked) = settled? {
                return Ok(Some(checked));
            }
            found = rest;
        }
    }

    /// Finishes what waits, moves the log into the file, releases the data folder. Reads still work; writes answer
    /// [`Refusal::Closed`].
    pub fn close(&self) {
        self.shared.stop();
    }
}

impl Shared {
    fn stop(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.queries.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            drop(self.commands.send(Command::Stop));
            if writer.thread().id() != std::thread::current().id() && writer.join().is_err() {
                tracing::error!("the writer of the edge database ended with a panic");
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An answer to give, and how to wait for it: none where whoever should have given it is gone. (A channel would be compiled anew,
/// in all the ways in which one can be used, for each type of answer.)
fn answer<T: Send + 'static>() -> (impl FnOnce(T) + Send + 'static, impl FnOnce() -> Option<T>) {
    let slot = Arc::new(Slot { answer: Mutex::new(Answer::Waiting), bell: Condvar::new() });
    let giver = Giver(Arc::clone(&slot));
    (move |value| giver.0.put(Answer::Given(value)), move || slot.take())
}

enum Answer<T> {
    Waiting,
    Given(T),
    Nobody,
}

struct Slot<T> {
    answer: Mutex<Answer<T>>,
    bell: Condvar,
}

impl<T> Slot<T> {
    /// The first one counts.
    fn put(&self, answer: Answer<T>) {
        let mut here = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*here, Answer::Waiting) {
            *here = answer;
            self.bell.notify_one();
        }
    }

    fn take(&self) -> Option<T> {
        let mut here = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        while matches!(*here, Answer::Waiting) {
            here = self.bell.wait(here).unwrap_or_else(PoisonError::into_inner);
        }
        match std::mem::replace(&mut *here, Answer::Nobody) {
            Answer::Given(value) => Some(value),
            Answer::Waiting | Answer::Nobody => None,
        }
    }
}

/// Whoever should give the answer; when it goes, nobody will.
struct Giver<T>(Arc<Slot<T>>);

impl<T> Drop for Giver<T> {
    fn drop(&mut self) {
        self.0.put(Answer::Nobody);
    }
}

/// The writer's life. What the connections keep of the file serves a busy node; one that is at rest for [`CALM`] gives
/// it back, and sleeps until something happens. What a lost right left to wipe goes on while no command comes.
fn run(mut store: Store, queue: &Receiver<Command>, clock: &ReadClock, readers: &Readers) {
    let mut warm = true;
    loop {
        let next = match (store.is_untidy(), warm) {
            (true, _) => queue.recv_timeout(WIPE_PAUSE),
            (false, true) => queue.recv_timeout(CALM),
            (false, false) => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(first) => {
                warm = true;
                if !Round::gather(first, queue).work(&mut store, clock) {
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) if store.is_untidy() => store.tend(),
            Err(RecvTimeoutError::Timeout) => {
                warm = readers.take_used();
                if !warm {
                    store.release_memory();
                    readers.release_memory();
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    // What came behind the stop is dropped: whoever waits for it sees that nobody will answer.
    if let Err(error) = store.checkpoint() {
        tracing::warn!(%error, "the log was not moved into the file; the next start does it");
    }
}

/// What arrived while the last commit ran.
#[derive(Default)]
struct Round {
    writes: Vec<(LocalWrite, WriteReply)>,
    batches: Vec<(Vec<Batch>, ApplyReply)>,
    /// At most one: what was asked before it goes before it.
    last: Option<Work>,
    stop: bool,
}

impl Round {
    fn gather(first: Command, queue: &Receiver<Command>) -> Self {
        let mut round = Self::default();
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Write(write, reply) => round.writes.push((write, reply)),
                Command::Apply(batches, reply) => round.batches.push((batches, reply)),
                Command::Run(work) => round.last = Some(work),
                Command::Warm => {}
                Command::Stop => round.stop = true,
            }
            let full = round.writes.len() + round.batches.len() >= GROUP_WRITES;
            next = if round.last.is_some() || round.stop || full { None } else { queue.try_recv().ok() };
        }
        round
    }

    /// One commit for the writes, one for the batches, then what else was asked. False: stop.
    fn work(self, store: &mut Store, clock: &ReadClock) -> bool {
        let (writes, replies): (Vec<_>, Vec<_>) = self.writes.into_iter().unzip();
        if !writes.is_empty() {
            let answers = store.commit(clock(), writes);
            replies.into_iter().zip(answers).for_each(|(reply, answer)| reply(answer));
        }
        apply(store, clock(), self.batches);
        if let Some(work) = self.last {
            work(store, clock());
        }
        !self.stop
    }
}

/// Applies all that waits in one commit; each caller is told what is durable now, and the first what was new.
fn apply(store: &mut Store, now: Now, waiting: Vec<(Vec<Batch>, ApplyReply)>) {
    let (batches, replies): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
    if replies.is_empty() {
        return;
    }
    let batches: Vec<Batch> = batches.into_iter().flatten().collect();
    let mut result = store.apply(&batches, now);
    // Before the answer: what it lets the session ask for needs the room.
    drop(batches);
    for reply in replies {
        reply(result.clone());
        if let Ok(applied) = &mut result {
            let Applied { cursor, fills, answered, asks, .. } = applied.clone();
            *applied = Applied { cursor, fills, answered, asks, ..Applied::default() };
        }
    }
}
