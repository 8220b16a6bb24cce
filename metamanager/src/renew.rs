//! Another id for this database: it is a copy of one that goes on elsewhere, or what was saved from a damaged file. Numbers,
//! outbox, cursor and base stay what they are; the old id goes on to name the writes that were given under it.

use proto::ids::DatabaseId;
use proto::limits::DATABASES_PER_NODE;
use rusqlite::{Connection, params};

use crate::error::{Done, Fault, StoreError};
use crate::ledger::{number, stored};
use crate::store::Store;

/// An id that this database had, and the newest number that was given under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The id.
    pub database: DatabaseId,
    /// The number.
    pub upto: u64,
}

/// Under which ids this database gives out writes, and gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Its id.
    pub database: DatabaseId,
    /// Those before.
    pub aliases: Vec<Alias>,
}

impl Names {
    /// Whether a write of this short id and number was given out here.
    pub fn gave(&self, short: &str, number: u64) -> bool {
        let before = |alias: &Alias| number <= alias.upto && alias.database.short() == short;
        self.database.short() == short || self.aliases.iter().any(before)
    }
}

impl Store {
    /// Takes a new random id, durably; the cloud then knows this database for one of its own, and which one it was.
    pub fn renew(&mut self) -> Result<DatabaseId, StoreError> {
        let database = self.transaction(|tx| {
            let database = fresh()?;
            let meta = &mut tx.ledger.meta;
            alias(tx.conn, meta.database, meta.newest)?;
            meta.previous = Some(meta.database);
            meta.database = database;
            meta.session = 0;
            // What a copy noted under the same numbers is something else.
            tx.ledger.forget_changes(tx.conn)?;
            Ok(database)
        })?;
        self.take_name()?;
        tracing::warn!(%database, "this database is a copy of another one; it goes on under an id of its own");
        Ok(database)
    }
}

/// A random id.
pub(crate) fn fresh() -> Done<DatabaseId> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| Fault::damaged("the system's random numbers", error))?;
    Ok(DatabaseId(id))
}

/// Remembers an old id; of so many, the newest.
pub(crate) fn alias(conn: &Connection, database: DatabaseId, upto: u64) -> Done<()> {
    conn.prepare_cached("DELETE FROM aliases WHERE database NOT IN (SELECT database FROM aliases ORDER BY upto DESC LIMIT ?1)")?
        .execute([DATABASES_PER_NODE as i64 - 1])?;
    conn.prepare_cached("INSERT OR REPLACE INTO aliases (database, upto) VALUES (?1, ?2)")?.execute(params![database.0, stored(upto)])?;
    Ok(())
}

/// The ids that this database had.
pub(crate) fn aliases(conn: &Connection) -> Done<Vec<Alias>> {
    let mut statement = conn.prepare_cached("SELECT database, upto FROM aliases ORDER BY upto")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Alias { database: DatabaseId(row.get(0)?), upto: number(row, 1)? });
    }
    Ok(found)
}
