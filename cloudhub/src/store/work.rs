//! One transaction while it is being made: what the jobs of a group share.

use std::collections::{BTreeMap, BTreeSet};

use proto::clock::{Clock, Hlc, Now};
use proto::frame::Share;
use proto::ids::Revision;
use proto::names::NodeName;
use rusqlite::Connection;

use super::catalog::Catalog;
use super::digests::Changes;
use super::error::StoreError;
use super::heads::Shared;
use super::job::{Touched, Verdicts};
use super::refused::{Refused, TokenRefused};
use super::share;

/// Why a job has no answer.
#[derive(Debug)]
pub(super) enum JobError {
    /// It alone is refused.
    Refused(Refused),
    /// The database failed; perhaps for this row alone, see [`StoreError::is_row`].
    Store(StoreError),
}

impl From<StoreError> for JobError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<rusqlite::Error> for JobError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<Refused> for JobError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<TokenRefused> for JobError {
    fn from(refused: TokenRefused) -> Self {
        Self::Refused(refused.into())
    }
}

/// A group commit under way.
pub(super) struct Work<'a> {
    /// Inside the transaction.
    pub(super) conn: &'a Connection,
    pub(super) catalog: &'a Catalog,
    pub(super) shared: &'a Shared,
    /// The head before the transaction.
    pub(super) committed: u64,
    /// The newest revision given out in it.
    pub(super) head: u64,
    /// The largest clock value seen.
    pub(super) hlc: Hlc,
    pub(super) now_ms: u64,
    pub(super) marks: Marks,
    /// What became of the digests, since the innermost savepoint that is open.
    pub(super) digests: Changes,
}

/// Whom the transaction touches.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Partitions as the tables write them, with the collection's name.
    pub(super) shares: BTreeSet<(i64, String)>,
    pub(super) names: BTreeMap<i64, proto::names::CollectionName>,
    pub(super) nodes: BTreeSet<NodeName>,
    /// Writes that were decided, by verdict.
    pub(super) verdicts: Verdicts,
}

impl Work<'_> {
    /// The next clock value of the cloud itself: above all that it has seen.
    pub(super) fn tick(&mut self) -> Hlc {
        let mut clock = Clock::new(self.hlc);
        self.hlc = clock.tick(Now { wall_ms: self.now_ms, mono_ms: self.now_ms });
        self.hlc
    }

    /// Runs `body` so that a failure undoes what it changed.
    pub(super) fn savepoint<T>(&mut self, body: impl FnOnce(&mut Self) -> Result<T, JobError>) -> Result<T, JobError> {
        self.conn.prepare_cached("SAVEPOINT job")?.execute([])?;
        let (head, hlc, verdicts) = (self.head, self.hlc, self.marks.verdicts);
        let before = std::mem::take(&mut self.digests);
        let result = body(self);
        let changes = std::mem::replace(&mut self.digests, before);
        if result.is_ok() {
            self.digests.join(changes);
        } else {
            (self.head, self.hlc, self.marks.verdicts) = (head, hlc, verdicts);
            self.catalog.begin();
            self.conn.prepare_cached("ROLLBACK TO job")?.execute([])?;
        }
        self.conn.prepare_cached("RELEASE job")?.execute([])?;
        result
    }

    /// Whom to wake after the commit.
    pub(super) fn touched(&self) -> Touched {
        let name = |(collection, column): &(i64, String)| {
            let collection = self.marks.names.get(collection)?.clone();
            Some(Share { collection, partition: share::decode(column) })
        };
        Touched { head: Revision(self.head), shares: self.marks.shares.iter().filter_map(name).collect(), nodes: self.marks.nodes.clone() }
    }
}
