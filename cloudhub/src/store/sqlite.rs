//! The embedded store: one connection that writes, and a group of jobs in each transaction.

use std::path::PathBuf;
use std::sync::Arc;

use proto::clock::Hlc;
use proto::ids::{EpochStart, Revision};
use rusqlite::{Connection, TransactionBehavior};

use super::catalog::Catalog;
use super::digests::Changes;
use super::error::{Class, OpenError, StoreError, stored};
use super::heads::Shared;
use super::job::{Answer, Decided, Job, Touched};
use super::open::{FolderLock, OpenOptions, open_writer};
use super::reads::SqliteReader;
use super::refused::Refused;
use super::work::{JobError, Marks, Work};
use super::{Largest, Store, admit, cloud_write, definitions, import, nodes, parts, tidy, tokens, upstream};
use crate::limits::{GROUP_BYTES, GROUP_JOBS};

/// The cloud's store in one SQLite file.
pub struct SqliteStore {
    conn: Connection,
    path: PathBuf,
    head: u64,
    hlc: Hlc,
    epoch: EpochStart,
    shared: Arc<Shared>,
    catalog: Catalog,
    poisoned: bool,
    /// Given back last: dropped after the connection.
    _lock: FolderLock,
}

impl SqliteStore {
    /// Opens the store, or makes it, and begins a new epoch. `random` gives epoch ids; a simulator gives its own.
    pub fn open(options: &OpenOptions, now_ms: u64, random: &mut dyn FnMut() -> u64) -> Result<Self, OpenError> {
        let lock = FolderLock::take(&options.data)?;
        let path = options.database();
        let opened = open_writer(&path, now_ms, random)?;
        let hlc = opened.conn.query_row("SELECT hlc FROM meta WHERE id = 1", [], |row| row.get::<_, i64>(0));
        let hlc = hlc.map_err(|error| OpenError::Database { path: path.clone(), source: error.into() })?;
        Ok(Self {
            conn: opened.conn,
            path,
            head: opened.head,
            hlc: Hlc(hlc.cast_unsigned()),
            epoch: opened.epoch,
            shared: Arc::new(Shared::new(opened.head)),
            catalog: Catalog::default(),
            poisoned: false,
            _lock: lock,
        })
    }

    /// What is wrong with hashes and digests, if anything is.
    #[cfg(test)]
    pub(super) fn digests_fault(&self) -> Option<String> {
        super::digests::fault(&self.conn).unwrap_or_else(|error| Some(error.to_string()))
    }

    /// Runs `body` in one transaction, and commits what it did with its revisions.
    fn commit<T>(&mut self, now_ms: u64, body: impl FnOnce(&mut Work<'_>) -> Result<T, StoreError>) -> Result<(T, Touched), StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned);
        }
        let result = self.transact(now_ms, body);
        if let Err(error) = &result {
            self.catalog.forget();
            self.poisoned = matches!(error.class(), Class::Stop | Class::Corrupt);
        }
        let (value, touched, hlc) = result?;
        (self.head, self.hlc) = (touched.head.0, hlc);
        Ok((value, touched))
    }

    fn transact<T>(
        &mut self,
        now_ms: u64,
        body: impl FnOnce(&mut Work<'_>) -> Result<T, StoreError>,
    ) -> Result<(T, Touched, Hlc), StoreError> {
        self.catalog.begin();
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut work = Work {
            conn: &tx,
            catalog: &self.catalog,
            shared: &self.shared,
            committed: self.head,
            head: self.head,
            hlc: self.hlc,
            now_ms,
            marks: Marks::default(),
            digests: Changes::default(),
        };
        let value = body(&mut work)?;
        work.digests.save(&tx)?;
        let (touched, hlc) = (work.touched(), work.hlc);
        if touched.head.0 > self.head {
            set_head(&tx, self.head, touched.head.0, hlc)?;
            self.shared.raise(&work.marks.shares, touched.head.0);
        }
        tx.commit()?;
        Ok((value, touched, hlc))
    }
}

/// The revision is compared and set: where another process has moved it, this transaction does not happen.
fn set_head(conn: &Connection, from: u64, to: u64, hlc: Hlc) -> Result<(), StoreError> {
    let moved = conn.prepare_cached("UPDATE meta SET head = ?2, hlc = ?3 WHERE id = 1 AND head = ?1")?.execute((
        stored(from)?,
        stored(to)?,
        hlc.0.cast_signed(),
    ))?;
    if moved == 1 { Ok(()) } else { Err(StoreError::Fenced(from)) }
}

impl Store for SqliteStore {
    type Reader = SqliteReader;

    fn largest(&self) -> Largest {
        Largest { jobs: GROUP_JOBS, bytes: GROUP_BYTES }
    }

    fn head(&self) -> Revision {
        Revision(self.head)
    }

    fn epoch(&self) -> EpochStart {
        self.epoch
    }

    fn reader(&self) -> Result<SqliteReader, StoreError> {
        SqliteReader::open(&self.path, Arc::clone(&self.shared))
    }

    fn decide(&mut self, group: Vec<Job>, now_ms: u64) -> Result<Decided, StoreError> {
        let ((answers, verdicts), touched) = self.commit(now_ms, |work| {
            let answers = group.into_iter().map(|job| alone(work, job)).collect::<Result<_, _>>()?;
            Ok((answers, work.marks.verdicts))
        })?;
        Ok(Decided { answers, touched, verdicts })
    }

    fn tidy(&mut self, now_ms: u64) -> Result<(Touched, bool), StoreError> {
        let (more, touched) = self.commit(now_ms, tidy::step)?;
        Ok((touched, more))
    }

    fn close(self) -> Result<(), StoreError> {
        self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        self.conn.close().map_err(|(_, error)| error.into())
    }
}

/// One job of a group: whatever refuses it, the others go on.
fn alone(work: &mut Work<'_>, job: Job) -> Result<Result<Answer, Refused>, StoreError> {
    match work.savepoint(|work| run(work, job)) {
        Ok(answer) => Ok(Ok(answer)),
        Err(JobError::Refused(refused)) => Ok(Err(refused)),
        Err(JobError::Store(error)) if error.is_row() => Ok(Err(Refused::Unstorable(error.to_string()))),
        Err(JobError::Store(error)) => Err(error),
    }
}

fn run(work: &mut Work<'_>, job: Job) -> Result<Answer, JobError> {
    let done = |()| Answer::Done;
    match job {
        Job::Admit(job) => admit::admit(work, &job).map(Answer::Admitted),
        Job::Confirm { peer, session } => admit::confirm(work, peer, session).map(done),
        Job::Take { peer, session, writes } => upstream::take(work, peer, session, &parts::joined(writes)).map(Answer::Taken),
        Job::Write(write) => cloud_write::write(work, *write).map(|written| Answer::Written(Box::new(written))),
        Job::Discard { revision } => cloud_write::discard(work, revision).map(done),
        Job::Import(chunk) => import::import(work, *chunk).map(Answer::Imported),
        Job::PutCollection { name, definition } => definitions::put(work, &name, &definition).map(Answer::Applied),
        Job::DefineDevices => definitions::define_devices(work).map(done),
        Job::DeleteCollection { name } => definitions::delete(work, &name).map(done),
        Job::Label { node, labels } => nodes::label(work, &node, &labels).map(done),
        Job::Join(job) => nodes::join(work, &job).map(|(node, labels)| Answer::Joined { node, labels }),
        Job::Certificate { node, certificate } => nodes::certificate(work, &node, &certificate).map(done),
        Job::Revoke { node } => nodes::revoke(work, &node).map(done),
        Job::Accept { node, database } => nodes::accept(work, &node, &database).map(done),
        Job::DeleteNode { node } => nodes::delete(work, &node).map(done),
        Job::Resync { node, collection } => nodes::resync(work, &node, collection.as_ref()).map(Answer::Resynced),
        Job::Event { node, kind, detail, at_ms } => nodes::note(work, &node, kind, &detail, at_ms).map(done),
        Job::NewJoinToken(token, hash) => tokens::new_join(work, &token, &hash).map(done),
        Job::RevokeJoinToken { id } => tokens::revoke(work, "join_tokens", "join token", &id).map(done),
        Job::NewAccessToken(token, hash) => tokens::new_access(work, &token, &hash).map(done),
        Job::RevokeAccessToken { id } => tokens::revoke(work, "access_tokens", "access token", &id).map(done),
        Job::Seen(seen) => Ok(nodes::seen(work, &seen).map(done)?),
    }
}
