//! The store's threads: one that writes, and pools that read. Everything else of the hub is tasks that never wait for a
//! disk.
//!
//! [`Engine`] is the handle. `writer` commits groups: what arrived while the last commit ran is the next group, so a busy
//! hub pays one fsync for many writes and an idle one waits for nobody. `readers` answers reads beside it. `queue` is
//! what both take their work from; it is bounded, and [`Failed::Busy`] is what a caller hears when it is full.
//!
//! Nothing is answered before it is durable. When a commit fails, everything in it is answered with an error and nobody
//! is told of an effect; a store that cannot go on is closed, all sessions with it, and opened again.

mod queue;
mod readers;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use proto::ids::{DatabaseId, Epoch};
use proto::names::NodeName;
use tokio::sync::{oneshot, watch};

use crate::clock::SystemClock;
use crate::limits::{LOOKUP_QUEUE, LOOKUP_THREADS, SCAN_QUEUE, SCAN_THREADS, WRITER_QUEUE_BYTES, WRITER_QUEUE_JOBS};
use crate::store::{Answer, Class, Job, OpenError, Refused, Store, StoreError, StoreRead, Touched};
use queue::{NoRoom, Queue};
use readers::{Pool, Supply};
use writer::{Command, Writer, weight};

/// Opens the store: at the start, and again after it failed.
pub type Open<S> = Box<dyn FnMut() -> Result<S, OpenError> + Send>;

/// Takes the answer to a job; called on the writer's thread, so it must not block.
pub type Reply = Box<dyn FnOnce(Result<Answer, Failed>) + Send>;

/// Whom the writer tells, between two groups, what it did.
pub trait Witness: Send + Sync {
    /// The database of the node's live session: an admission is judged by it.
    fn live(&self, node: &NodeName) -> Option<DatabaseId>;

    /// A group is durable; these have something to read now.
    fn touched(&self, touched: &Touched);

    /// The store is closed. Sessions that it admitted must end: what they know is not of the next opening.
    fn store_closed(&self);
}

/// Why a job or a read has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failed {
    /// It alone was refused; nothing of it is stored.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Too much waits already: come back.
    #[error("the hub is busy: too many requests wait for its store")]
    Busy,
    /// No room on the disk; nothing was stored.
    #[error("the disk of the data folder is full: nothing was stored")]
    DiskFull,
    /// The store is closed for the moment, or the hub stops. After a failed commit nothing was answered and nothing is
    /// known: ask again what holds.
    #[error("the store is not open at the moment")]
    Unavailable,
    /// A node's stream cannot go on; its next session begins otherwise.
    #[error("{0}")]
    BelowFloor(String),
    /// A read failed.
    #[error("{0}")]
    Internal(String),
}

impl Failed {
    /// A failed transaction.
    fn of(error: &StoreError) -> Self {
        if error.class() == Class::Full { Self::DiskFull } else { Self::Unavailable }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        match error.class() {
            _ if matches!(error, StoreError::BelowFloor { .. }) => Self::BelowFloor(error.to_string()),
            Class::Retry => Self::Unavailable,
            Class::Full => Self::DiskFull,
            Class::Corrupt | Class::Stop => Self::Internal(error.to_string()),
        }
    }
}

impl From<NoRoom> for Failed {
    fn from(reason: NoRoom) -> Self {
        match reason {
            NoRoom::Full => Self::Busy,
            NoRoom::Closed => Self::Unavailable,
        }
    }
}

/// What the writer has done since the start.
#[derive(Debug, Default)]
pub struct Tally {
    /// Groups committed.
    pub commits: AtomicU64,
    /// Groups that could not be committed.
    pub failures: AtomicU64,
    /// Jobs in the committed groups.
    pub jobs: AtomicU64,
    /// Writes decided in the committed groups, by verdict, in the order of [`proto::op::Verdict`].
    pub verdicts: [AtomicU64; 5],
}

/// What tasks and threads share.
struct Shared {
    jobs: Queue<Command>,
    lookups: Pool,
    scans: Pool,
    supply: Supply,
    tally: Tally,
    is_open: AtomicBool,
    /// Counts the openings of the store.
    opening: AtomicU64,
    epoch: AtomicU64,
    /// Rung after each commit, without payload.
    changes: watch::Sender<()>,
}

/// The handle that tasks ask the store with.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

/// The threads, for whoever ends them.
#[must_use = "the store is closed properly only by Threads::stop"]
pub struct Threads {
    shared: Arc<Shared>,
    readers: Vec<JoinHandle<()>>,
    writer: JoinHandle<()>,
}

/// What the writer's thread is started with.
pub struct Setup<S> {
    /// Opens the store.
    pub open: Open<S>,
    /// The process's clocks.
    pub clock: SystemClock,
    /// Whom it tells.
    pub witness: Arc<dyn Witness>,
    /// Whether the disk has room for what is written on somebody's wish.
    pub has_room: Box<dyn Fn() -> bool + Send>,
    /// The shortest and the longest pause before a store that failed is opened again.
    pub reopen_pause: (Duration, Duration),
}

/// Why the threads did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store did not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its readers did not.
    #[error("the database cannot be read: {0}")]
    Reader(#[from] StoreError),
    /// The system has no thread.
    #[error("no thread can be started: {0}")]
    Thread(#[from] std::io::Error),
}

impl Engine {
    /// Opens the store and starts its threads.
    pub fn start<S: Store<Reader: 'static> + 'static>(mut setup: Setup<S>) -> Result<(Self, Threads), StartError> {
        let store = (setup.open)()?;
        let shared = Arc::new(Shared {
            jobs: Queue::new(WRITER_QUEUE_JOBS, WRITER_QUEUE_BYTES),
            lookups: Pool::new(LOOKUP_QUEUE),
            scans: Pool::new(SCAN_QUEUE),
            supply: Supply::default(),
            tally: Tally::default(),
            is_open: AtomicBool::new(false),
            opening: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            changes: watch::Sender::new(()),
        });
        let mut writer = Writer::new(setup, Arc::clone(&shared));
        writer.opened(store)?;
        let mut readers = Vec::new();
        for at in 0..LOOKUP_THREADS + SCAN_THREADS {
            let shared = Arc::clone(&shared);
            let name = if at < LOOKUP_THREADS { "lookup" } else { "scan" };
            let run = move || if at < LOOKUP_THREADS { shared.lookups.run(&shared.supply) } else { shared.scans.run(&shared.supply) };
            readers.push(std::thread::Builder::new().name(name.into()).spawn(run)?);
        }
        let writer = std::thread::Builder::new().name("writer".into()).spawn(move || writer.run())?;
        Ok((Self(Arc::clone(&shared)), Threads { shared, readers, writer }))
    }

    /// Hands a job over. The answer may come at once, when there is no room.
    pub fn submit(&self, job: Job, reply: Reply) {
        let weight = weight(&job);
        if let Err((command, reason)) = self.0.jobs.push(Command { job, reply }, weight) {
            (command.reply)(Err(reason.into()));
        }
    }

    /// Hands a job over and waits until it is durable or refused. Dropping the future does not take the job back.
    pub async fn job(&self, job: Job) -> Result<Answer, Failed> {
        let (tell, answer) = oneshot::channel();
        self.submit(job, Box::new(move |result| drop(tell.send(result))));
        answer.await.unwrap_or(Err(Failed::Unavailable))
    }

    /// Reads on one of the API's threads.
    pub async fn read<T: Send + 'static>(
        &self,
        body: impl FnOnce(&mut dyn StoreRead) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failed> {
        let (tell, answer) = oneshot::channel();
        let read = move |store: Option<(&mut dyn StoreRead, u64)>| {
            let result = store.map_or(Err(Failed::Unavailable), |(store, _)| body(store).map_err(Failed::from));
            drop(tell.send(result));
        };
        self.0.lookups.push(Box::new(read)).map_err(Failed::from)?;
        answer.await.unwrap_or(Err(Failed::Unavailable))
    }

    /// Reads on one of the sessions' threads, only if the store is still of the opening that the session was admitted in.
    pub fn scan<T: Send + 'static>(
        &self,
        opening: u64,
        body: impl FnOnce(&mut dyn StoreRead) -> Result<T, StoreError> + Send + 'static,
        answer: impl FnOnce(Result<T, Failed>) + Send + 'static,
    ) -> Result<(), Failed> {
        let read = move |store: Option<(&mut dyn StoreRead, u64)>| {
            let store = store.filter(|(_, current)| *current == opening);
            answer(store.map_or(Err(Failed::Unavailable), |(store, _)| body(store).map_err(Failed::from)));
        };
        self.0.scans.push(Box::new(read)).map_err(Failed::from)
    }

    /// Counts the openings of the store; what was admitted in one is not known in the next.
    pub fn opening(&self) -> u64 {
        self.0.opening.load(Ordering::Acquire)
    }

    /// Whether the store is open.
    pub fn is_open(&self) -> bool {
        self.0.is_open.load(Ordering::Acquire)
    }

    /// The epoch of the present opening.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.0.epoch.load(Ordering::Acquire))
    }

    /// Rung when something was committed, or the store was opened again.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    /// What the writer has done.
    pub fn tally(&self) -> &Tally {
        &self.0.tally
    }

    /// Jobs that wait for the writer.
    pub fn waiting(&self) -> usize {
        self.0.jobs.len()
    }
}

impl Threads {
    /// Takes nothing more, answers what waits, and closes the store with a checkpoint. Blocks until that is done.
    pub fn stop(self) {
        self.shared.lookups.close();
        self.shared.scans.close();
        for reader in self.readers {
            // A reader catches what panics in it.
            let _ = reader.join();
        }
        self.shared.jobs.close();
        if self.writer.join().is_err() {
            tracing::error!("the writer's thread panicked; what it had answered is durable");
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("open", &self.is_open()).finish_non_exhaustive()
    }
}
