//! The one writer: a plain synchronous object. Everything that changes the file goes through [`Store`], one
//! transaction at a time, and what it returns is durable.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::clock::{Clock, Hlc, Now};
use proto::frame::{Fill, Held, Report};
use proto::ids::{Cursor, DatabaseId, EpochStart};
use proto::names::{CollectionName, NodeName};
use proto::op::{Hash, Verdict};
use rusqlite::Connection;

use crate::checking::Checking;
use crate::damage::{Damage, mark_of};
use crate::disk::{Disk, Space, SystemDisk};
use crate::error::{Done, OpenError, StoreError};
use crate::indexes;
use crate::inspect::has_log;
use crate::ledger::{self, Ledger, number};
use crate::limits::{LOCK_WAIT, OUTBOX_BYTES, REINDEXED, WIPE_PAGES};
use crate::lock::{self, Lock};
use crate::lost;
use crate::open;
use crate::outbox::{self, OutboxPart};
use crate::overlay::Own;
use crate::pieces;
use crate::query::Queries;
use crate::reader::Reader;
use crate::renew::{self, Names};
use crate::salvage;
use crate::status::{self, Status};
use crate::wipe::Raw;

/// Told after each durable commit, on the thread that committed: be quick.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// What a commit made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Local writes; the newest number that was given.
    Committed {
        /// The newest write.
        newest: u64,
    },
    /// Outcomes of writes of this database.
    Answered {
        /// Numbers and verdicts, in order.
        outcomes: Vec<(u64, Verdict)>,
    },
    /// Something from the cloud: records, grants, the cursor.
    Changed,
    /// The log of changes has more in it, or begins anew.
    Noted,
    /// The file is damaged: close the database and open it again, and what was not sent is saved from it.
    Damaged,
}

/// How a database is opened.
#[derive(Clone)]
pub struct Options {
    /// The node's name once it has joined: to know this database's own writes where a record or a tag names one.
    pub node: Option<NodeName>,
    /// Bytes of writes that may wait for the cloud, kept rejected ones included.
    pub max_outbox_bytes: u64,
    /// Who tells the free space.
    pub disk: Arc<dyn Disk>,
    /// Who is told about commits.
    pub observer: Option<Observer>,
}

impl Default for Options {
    fn default() -> Self {
        Self { node: None, max_outbox_bytes: OUTBOX_BYTES, disk: Arc::new(SystemDisk), observer: None }
    }
}

/// What the edge says of its database in Hello.
#[derive(Debug, Clone, PartialEq)]
pub struct HelloFacts {
    /// The database.
    pub database: DatabaseId,
    /// The newest session number that it committed; 0: none.
    pub session: u64,
    /// The epochs that it knows, oldest first.
    pub epochs: Vec<EpochStart>,
    /// Its durable cursor; none: a new database.
    pub cursor: Option<Cursor>,
    /// [`proto::frame::Grants::hash`] of what it holds.
    pub grants_hash: Hash,
    /// Its open back-fills.
    pub fills: Vec<Fill>,
    /// The newest number ever given to a write.
    pub newest_write: u64,
    /// The oldest pending number; 0: none.
    pub outbox_first: u64,
    /// Numbers that will never come.
    pub gaps: Vec<(u64, u64)>,
    /// The database that this one took the place of.
    pub previous: Option<DatabaseId>,
    /// What is kept of a value that comes in pieces.
    pub held: Option<Held>,
    /// What the operator sees of the outbox.
    pub report: Report,
}

/// Whether what is in memory can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Sound,
    /// A transaction was rolled back: the small tables are read again.
    Reload,
    /// A declared index says something else than the rows: it is built again first.
    Reindex,
    /// The disk failed: the file is opened again, before anything else.
    Reopen,
}

/// The edge database, for its one writer.
pub struct Store {
    path: PathBuf,
    conn: Connection,
    ledger: Ledger,
    clock: Clock,
    own: Own,
    names: Arc<Mutex<Names>>,
    options: Options,
    health: Health,
    /// How often declared indexes were built again since the file was opened.
    reindexed: u32,
    /// A log was left: the process before this one ended without a word.
    unclean: bool,
    damage: Arc<Damage>,
    pub(crate) checking: Checking,
    /// The file itself, once it had to be wiped.
    raw: Option<Raw>,
    _lock: Lock,
}

/// What the work of one transaction may touch.
pub(crate) struct Tx<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) clock: &'a mut Clock,
    pub(crate) own: &'a Own,
    pub(crate) max_outbox_bytes: u64,
}

impl Store {
    /// Opens the database file, or makes it. Nothing is scanned: a million waiting writes open as fast as none.
    /// `DATABASE.lock` beside it keeps other processes out.
    pub fn open(path: &Path, options: Options, now: Now) -> Result<Self, OpenError> {
        let lock = lock::take(path)?;
        let joined = options.node.is_some();
        let unclean = has_log(path);
        let (conn, mut ledger) = match load(path) {
            _ if mark_of(path).exists() => rescue(path, now)?,
            Err(error) if salvage::is_damage(&error, joined) => {
                tracing::error!(%error, "the edge database is damaged");
                rescue(path, now)?
            }
            loaded => loaded?,
        };
        let forgotten = ledger::forget_names(&conn).and_then(|gone| if gone > 0 { Ledger::load(&conn).map(Some) } else { Ok(None) });
        if let Some(fewer) = forgotten.map_err(|fault| StoreError::of(fault, path))? {
            ledger = fewer;
        }
        let mut clock = Clock::new(Hlc(ledger.meta.clock));
        let aliases = renew::aliases(&conn).map_err(|fault| StoreError::of(fault, path))?;
        let own = Own { node: options.node.clone(), database: ledger.meta.database, aliases };
        let names = Arc::new(Mutex::new(Names { database: own.database, aliases: own.aliases.clone() }));
        tracing::debug!(path = %path.display(), database = %own.database, time_ms = clock.time_ms(now), "edge database opened");
        let observer = options.observer.clone();
        let mut store = Self {
            path: path.to_owned(),
            conn,
            ledger,
            clock,
            own,
            names,
            options,
            health: Health::Sound,
            reindexed: 0,
            unclean,
            damage: Damage::new(path, observer),
            checking: Checking::default(),
            raw: None,
            _lock: lock,
        };
        store.tend();
        Ok(store)
    }

    pub(crate) fn was_unclean(&self) -> bool {
        self.unclean
    }

    pub(crate) fn damage(&self) -> Arc<Damage> {
        Arc::clone(&self.damage)
    }

    /// One more connection that only reads.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.path, Arc::clone(&self.damage))
    }

    /// SELECTs of applications.
    pub fn queries(&self) -> Queries {
        Queries::of(&self.path, Arc::clone(&self.damage))
    }

    /// The node has joined: from now on this database's own writes are known by name.
    pub fn set_node(&mut self, node: NodeName) {
        self.own.node = Some(node);
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The random id of this file.
    pub fn database(&self) -> DatabaseId {
        self.own.database
    }

    /// Its id and those before, for all who show write ids; kept up to date.
    pub fn names(&self) -> Arc<Mutex<Names>> {
        Arc::clone(&self.names)
    }

    /// After the id changed.
    pub(crate) fn take_name(&mut self) -> Result<(), StoreError> {
        self.own.aliases = self.ask(|conn, _| renew::aliases(conn))?;
        self.own.database = self.ledger.meta.database;
        let names = Names { database: self.own.database, aliases: self.own.aliases.clone() };
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
        Ok(())
    }

    /// What Hello says.
    pub fn facts(&mut self) -> Result<HelloFacts, StoreError> {
        self.heal()?;
        let meta = &self.ledger.meta;
        let first = self.ask(|conn, _| first_pending(conn))?;
        Ok(HelloFacts {
            database: meta.database,
            session: meta.session,
            epochs: self.ledger.epochs.clone(),
            cursor: meta.cursor.clone(),
            grants_hash: self.ledger.held().hash(),
            fills: self.ledger.fills(),
            newest_write: meta.newest,
            outbox_first: first.map_or(0, |(number, _)| number),
            gaps: self.ask(|conn, _| lost::declared(conn))?,
            previous: meta.previous,
            held: self.ask(|conn, _| pieces::held(conn))?,
            report: self.report()?,
        })
    }

    /// What an operator of the cloud is to see of this node.
    pub fn report(&self) -> Result<Report, StoreError> {
        let first = self.ask(|conn, _| first_pending(conn))?;
        let (outbox_writes, outbox_oldest_ms) = (self.ledger.meta.outbox_writes, first.map_or(0, |(_, at_ms)| at_ms));
        Ok(Report { outbox_writes, outbox_oldest_ms, ..Report::default() })
    }

    /// The figures of this moment.
    pub fn status(&self) -> Result<Status, StoreError> {
        self.ask(|conn, _| status::read(conn))
    }

    /// Collections whose definition this version cannot read, and why: local writes to them are refused.
    pub fn unreadable(&self) -> Vec<(CollectionName, String)> {
        let all = self.ledger.collections.iter();
        all.filter_map(|(name, collection)| Some((name.clone(), collection.defined.as_ref()?.as_ref().err()?.clone()))).collect()
    }

    /// What waits above a number, at least one write if there is any; about `max_bytes`.
    pub fn outbox_after(&self, number: u64, max_bytes: usize) -> Result<OutboxPart, StoreError> {
        self.ask(|conn, _| outbox::part(conn, number, max_bytes))
    }

    /// Compares the stored clock with the cloud's; over a minute ahead, it is set back, durably. Tells whether.
    /// From then on what was kept long enough by the cloud's time may go.
    pub fn observe_cloud_time(&mut self, cloud_ms: u64, now: Now) -> Result<bool, StoreError> {
        self.transaction(|tx| Ok(tx.clock.told(cloud_ms, now)))
    }

    /// The time for people, milliseconds since 1970: never behind the newest write.
    pub fn time_ms(&mut self, now: Now) -> u64 {
        self.clock.time_ms(now)
    }

    /// The newest value of the stored clock.
    pub fn clock(&self) -> Hlc {
        self.clock.last()
    }

    /// Free bytes, when what the cloud sends has to wait for more.
    pub fn disk_pause(&self) -> Option<u64> {
        self.space().filter(|space| space.pauses_downstream()).map(|space| space.free)
    }

    /// Moves the log into the file: at shutdown, so that the next start has nothing to recover.
    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.empty_log().map(drop)
    }

    /// Gives back what the connection holds of the file: for a node that is at rest.
    pub fn release_memory(&self) {
        crate::reader::release_memory(&self.conn);
    }

    /// Whether the log is empty now; not, while a reader still stands in it.
    fn empty_log(&mut self) -> Result<bool, StoreError> {
        self.ask(|conn, _| Ok(conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))? == 0))
    }

    /// Whether [`Store::tend`] has something to do.
    pub fn is_untidy(&self) -> bool {
        self.ledger.meta.wipe > 0
    }

    /// After a right was lost: empties the log and overwrites what the file still holds of it, one bounded step. Does nothing
    /// else; what it cannot do now, because a reader stands in the log, it does when it is called again, or at the next start.
    pub fn tend(&mut self) {
        if self.is_untidy()
            && let Err(error) = self.wipe()
        {
            tracing::warn!(%error, "the file may still hold records of a right that is gone; it is tried again");
        }
    }

    fn wipe(&mut self) -> Result<(), StoreError> {
        self.heal()?;
        self.ask(|conn, _| Ok(conn.busy_timeout(Duration::ZERO)?))?;
        let emptied = self.empty_log();
        self.ask(|conn, _| Ok(conn.busy_timeout(LOCK_WAIT)?))?;
        if !emptied? {
            return Ok(());
        }
        let io = |source: std::io::Error| StoreError::Io { path: self.path.clone(), detail: source.to_string() };
        let raw = match self.raw.take() {
            Some(raw) => raw,
            None => Raw::open(&self.path).map_err(io)?,
        };
        let next = raw.wipe(self.ledger.meta.wipe - 1, WIPE_PAGES).map_err(io);
        self.raw = Some(raw);
        // What the writer holds of these pages is what they were: it reads them again.
        self.ask(|conn, _| Ok(conn.execute_batch("PRAGMA shrink_memory")?))?;
        let next = next?.map_or(0, |next| next + 1);
        self.transaction(|tx| {
            tx.ledger.meta.wipe = next;
            Ok(())
        })
    }

    pub(crate) fn space(&self) -> Option<Space> {
        self.options.disk.space(&lock::folder_of(&self.path))
    }

    pub(crate) fn tell(&self, event: &Event) {
        if let Some(observer) = &self.options.observer {
            observer(event);
        }
    }

    /// Runs `work` in one transaction and commits it: `Ok` means durable. After an error nothing of it is stored.
    pub(crate) fn transaction<T>(&mut self, work: impl FnOnce(&mut Tx<'_>) -> Done<T>) -> Result<T, StoreError> {
        // What gets as far as here must be stored: what may wait was refused before.
        if self.space().is_some_and(Space::is_tight) && self.options.disk.make_room(&lock::folder_of(&self.path)) {
            tracing::warn!(path = %self.path.display(), "the disk is full: the reserve was given back");
        }
        self.heal()?;
        let log = (self.ledger.meta.log, self.ledger.meta.changes);
        let result = self.try_transaction(work);
        if result.is_ok() && log != (self.ledger.meta.log, self.ledger.meta.changes) {
            self.tell(&Event::Noted);
        }
        result.map_err(|fault| {
            let reindex = indexes::parted(&fault) && self.reindexed < REINDEXED;
            let error = match reindex {
                true => StoreError::Other { path: self.path.clone(), detail: "an index is damaged; it is built again".to_owned() },
                false => self.damage.look(StoreError::of(fault, &self.path)),
            };
            let undone = self.conn.is_autocommit() || self.conn.execute_batch("ROLLBACK").is_ok();
            self.health = match undone && !matches!(error, StoreError::Io { .. }) {
                true if reindex => Health::Reindex,
                true => Health::Reload,
                false => Health::Reopen,
            };
            tracing::error!(%error, "a commit failed; nothing of it is acknowledged");
            error
        })
    }

    fn try_transaction<T>(&mut self, work: impl FnOnce(&mut Tx<'_>) -> Done<T>) -> Done<T> {
        let Self { conn, ledger, clock, own, options, .. } = self;
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let max_outbox_bytes = options.max_outbox_bytes;
        let value = work(&mut Tx { conn, ledger, clock, own, max_outbox_bytes })?;
        ledger.meta.clock = clock.last().0;
        ledger.save(conn)?;
        conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(value)
    }

    /// After a failed commit: reads the small tables again, after a disk failure from a file that was opened again.
    fn heal(&mut self) -> Result<(), StoreError> {
        match self.health {
            Health::Sound => return Ok(()),
            Health::Reload => self.ledger = self.ask(|conn, _| Ledger::load(conn))?,
            Health::Reindex => {
                self.reindexed += 1;
                self.ask(|conn, _| indexes::rebuild(conn))?;
                self.ledger = self.ask(|conn, _| Ledger::load(conn))?;
            }
            Health::Reopen => match open::again(&self.path).and_then(|conn| read(conn, &self.path)) {
                Ok((conn, ledger)) => (self.conn, self.ledger) = (conn, ledger),
                Err(OpenError::Store(error)) => return Err(error),
                Err(other) => return Err(StoreError::Io { path: self.path.clone(), detail: other.to_string() }),
            },
        }
        self.health = Health::Sound;
        Ok(())
    }

    pub(crate) fn ask<T>(&self, question: impl FnOnce(&Connection, &Ledger) -> Done<T>) -> Result<T, StoreError> {
        question(&self.conn, &self.ledger).map_err(|fault| self.damage.look(StoreError::of(fault, &self.path)))
    }
}

/// Puts a damaged file aside and makes a new one of what can be saved.
fn rescue(path: &Path, now: Now) -> Result<(Connection, Ledger), OpenError> {
    let aside = salvage::put_aside(path, now.wall_ms)?;
    let (conn, _) = load(path)?;
    let saved = salvage::save(&aside, &conn, now.wall_ms).map_err(|fault| StoreError::of(fault, path))?;
    tracing::error!(
        aside = %saved.aside.display(), pending = saved.pending, kept = saved.kept, reported = saved.reported,
        "the damaged database was put aside; what was not sent goes up first, everything else comes from the cloud again"
    );
    drop(conn);
    load(path)
}

fn load(path: &Path) -> Result<(Connection, Ledger), OpenError> {
    read(open::writer(path)?, path)
}

fn read(conn: Connection, path: &Path) -> Result<(Connection, Ledger), OpenError> {
    let ledger = ledger::begin(&conn).and_then(|()| Ledger::load(&conn));
    Ok((conn, ledger.map_err(|fault| StoreError::of(fault, path))?))
}

const FIRST_PENDING: &str = "SELECT number, at_ms FROM writes WHERE number > (SELECT answered FROM meta) \
    AND NOT EXISTS (SELECT 1 FROM outcomes WHERE outcomes.number = writes.number AND declared = 0) ORDER BY number LIMIT 1";

/// The oldest write without an outcome, and when it was committed.
pub(crate) fn first_pending(conn: &Connection) -> Done<Option<(u64, u64)>> {
    let mut statement = conn.prepare_cached(FIRST_PENDING)?;
    let mut rows = statement.query([])?;
    Ok(match rows.next()? {
        Some(row) => Some((number(row, 0)?, number(row, 1)?)),
        None => None,
    })
}

#[cfg(test)]
#[path = "store_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
