//! Looks into the database of a running edgehub through a read-only connection: what another connection sees is
//! committed, and every commit is synced before anyone sees it. The hub is not asked, so it is not disturbed.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};

use super::stage::COLLECTION;

/// How often a question is asked that takes long to come true.
const PACE: Duration = Duration::from_millis(2);

/// A second eye on an `edge.db`.
pub struct EdgeFile(Connection);

/// Where an edge database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The revision of its cursor.
    pub cursor: u64,
    /// Writes without an outcome.
    pub outbox: u64,
    /// Records of the benchmarks' collection in base.
    pub records: u64,
    /// Back-fills that are not done.
    pub filling: u64,
}

impl EdgeFile {
    /// Opens the database in a data folder, as soon as it is there.
    pub fn open(data: &Path) -> Self {
        let path = data.join("edge.db");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = super::pace::poll("the edge database", PACE, || {
            let conn = Connection::open_with_flags(&path, flags).ok()?;
            conn.query_row("SELECT 1 FROM meta", [], |_| Ok(())).ok()?;
            Some(conn)
        });
        Self(conn)
    }

    /// How it stands now.
    pub fn standing(&self) -> Standing {
        let mut statement = self
            .0
            .prepare_cached(
                "SELECT cursor_revision, outbox_writes, (SELECT records FROM collections WHERE name = ?1), \
                 (SELECT count(*) FROM grants WHERE done = 0) FROM meta",
            )
            .expect("the tables of an edge database");
        // Numbers are stored bit for bit.
        let figure = |row: &Row<'_>, place| row.get::<_, Option<i64>>(place).map(|value| value.unwrap_or_default().cast_unsigned());
        statement
            .query_row([COLLECTION], |row| {
                Ok(Standing { cursor: figure(row, 0)?, outbox: figure(row, 1)?, records: figure(row, 2)?, filling: figure(row, 3)? })
            })
            .expect("one row of figures")
    }

    /// The revision of a record in base; 0: it is not there.
    pub fn revision(&self, key: &str) -> u64 {
        let mut statement = self
            .0
            .prepare_cached("SELECT revision FROM base WHERE collection = (SELECT id FROM collections WHERE name = ?1) AND key = ?2")
            .expect("the tables of an edge database");
        let revision: Option<i64> = statement.query_row([COLLECTION, key], |row| row.get(0)).optional().expect("an answer");
        revision.unwrap_or_default().cast_unsigned()
    }

    /// Waits until it stands as asked.
    #[track_caller]
    pub fn wait(&self, what: &str, reached: impl Fn(Standing) -> bool) {
        super::pace::poll(what, PACE, || reached(self.standing()).then_some(()));
    }
}
