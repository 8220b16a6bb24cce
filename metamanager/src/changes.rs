//! The log of changes, written: what readers may see otherwise than before, in the order in which it became durable, so
//! that an application can follow the database and go on after any pause (`follow` reads it).
//!
//! An entry names a record whose view may have changed, or a write that got its outcome; never a value: who follows looks
//! that up, and so sees the newest. It is stored by the transaction that it is about. Entries of one transaction share
//! rows, as much as fits a page: one small row at the end of the table a commit, and a back-fill pays for every
//! hundredth record.
//!
//! Where the log cannot say what happened (a right is gone and with it every trace of its records, the cloud's history is
//! another one) it begins anew under another id, and whoever followed the old one has to list again.

use rusqlite::{Connection, params};

use crate::error::{Done, Fault};
use crate::ledger::{Ledger, Meta, number, stored};
use crate::limits::{CHANGES_KEPT, CHANGES_ROW_BYTES, CHANGES_STEP};
use crate::numbers::{push, take};

/// Instead of a collection's id: the entry is a write.
const WRITE: u64 = 0;

/// What was noted and is not stored yet, and where the log begins.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    open: Vec<u8>,
    count: u64,
    /// The number of the oldest entry that is kept.
    oldest: u64,
}

/// One entry, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Entry {
    Record { collection: i64, key: String },
    Outcome { number: u64 },
}

impl Changes {
    pub(crate) fn load(conn: &Connection, meta: &Meta) -> Done<Self> {
        Ok(Self { open: Vec::new(), count: 0, oldest: oldest(conn, meta)? })
    }
}

fn oldest(conn: &Connection, meta: &Meta) -> Done<u64> {
    let mut first = conn.prepare_cached("SELECT coalesce((SELECT min(seq) FROM changes), ?1)")?;
    Ok(first.query_row([stored(meta.changes)], |row| number(row, 0))?)
}

impl Ledger {
    /// Readers may see this record otherwise than before.
    pub(crate) fn note(&mut self, conn: &Connection, collection: i64, key: &str) -> Done<()> {
        let open = &mut self.changes.open;
        push(open, stored_id(collection)?);
        push(open, key.len() as u64);
        open.extend_from_slice(key.as_bytes());
        self.noted(conn)
    }

    /// A write of this database got its outcome.
    pub(crate) fn note_outcome(&mut self, conn: &Connection, of: u64) -> Done<()> {
        push(&mut self.changes.open, WRITE);
        push(&mut self.changes.open, of);
        self.noted(conn)
    }

    fn noted(&mut self, conn: &Connection) -> Done<()> {
        self.changes.count += 1;
        if self.changes.open.len() < CHANGES_ROW_BYTES { Ok(()) } else { self.store_changes(conn) }
    }

    /// Stores what was noted; part of the transaction that it is about.
    pub(crate) fn store_changes(&mut self, conn: &Connection) -> Done<()> {
        let Self { changes, meta, .. } = self;
        if changes.count == 0 {
            return Ok(());
        }
        let mut insert = conn.prepare_cached("INSERT INTO changes (seq, entries) VALUES (?1, ?2)")?;
        insert.execute(params![stored(meta.changes), changes.open])?;
        meta.changes += changes.count;
        changes.open.clear();
        changes.count = 0;
        if meta.changes - changes.oldest > CHANGES_KEPT + CHANGES_STEP {
            conn.prepare_cached("DELETE FROM changes WHERE seq < ?1")?.execute([stored(meta.changes - CHANGES_KEPT)])?;
            changes.oldest = oldest(conn, meta)?;
        }
        Ok(())
    }

    /// Begins the log anew: who followed it lists again.
    pub(crate) fn forget_changes(&mut self, conn: &Connection) -> Done<()> {
        conn.execute("DELETE FROM changes", [])?;
        self.changes = Changes { open: Vec::new(), count: 0, oldest: self.meta.changes };
        self.meta.log = fresh()?;
        Ok(())
    }
}

fn stored_id(collection: i64) -> Done<u64> {
    u64::try_from(collection).ok().filter(|id| *id != WRITE).ok_or_else(|| Fault::damaged("collections", format!("a row {collection}")))
}

/// A random id for a log. Never 0, which stands in a file that has none yet.
pub(crate) fn fresh() -> Done<u64> {
    let mut id = [0; 8];
    getrandom::fill(&mut id).map_err(|error| Fault::damaged("the system's random numbers", error))?;
    Ok(u64::from_le_bytes(id).max(1))
}

/// The entries of one row.
pub(crate) fn entries(mut bytes: &[u8]) -> Done<Vec<Entry>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let collection = take(&mut bytes)?;
        let next = take(&mut bytes)?;
        if collection == WRITE {
            found.push(Entry::Outcome { number: next });
            continue;
        }
        let length = usize::try_from(next).ok().filter(|length| *length <= bytes.len());
        let (key, rest) = bytes.split_at(length.ok_or_else(|| damaged("a key is longer than its row"))?);
        bytes = rest;
        let key = std::str::from_utf8(key).map_err(|_| damaged("a key is not UTF-8"))?.to_owned();
        let collection = i64::try_from(collection).map_err(|_| damaged("a collection's id is above 63 bits"))?;
        found.push(Entry::Record { collection, key });
    }
    Ok(found)
}

fn damaged(why: &str) -> Fault {
    Fault::damaged("the log of changes", why)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn damage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = entries(&bytes);
        }
    }
}
