//! Compaction (design §3): what was deleted, moved away or removed longer ago than the collection's `tombstone_retention`
//! is forgotten. The collection's *floor* is the newest revision of what was forgotten: who has not come up to it cannot
//! learn from the stream what went, and reads anew ([`super::grants::renew`]).

use std::borrow::Cow;

use proto::ids::Revision;
use proto::names::CollectionName;
use rusqlite::OptionalExtension;

use super::catalog::Entry;
use super::error::{StoreError, counted, limit, stored};
use super::work::Work;
use crate::limits::{MARK_EVERY_MS, MARKS, REMOVED_CLOCKS, RETENTION_MIN_MS, TIDY_ROWS};
use crate::reconcile::{Clocks, Content, Stored};

/// One step: at most [`TIDY_ROWS`] tombstones and exit markers. Tells whether there is more to do.
pub(super) fn step(work: &Work<'_>) -> Result<bool, StoreError> {
    mark(work)?;
    let names: Vec<String> =
        work.conn.prepare_cached("SELECT name FROM collections ORDER BY id")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut left = TIDY_ROWS;
    for name in names {
        let name = CollectionName::parse(&name).map_err(|error| StoreError::Damaged(error.to_string()))?;
        let Some(entry) = work.catalog.get(work.conn, &name)? else { continue };
        let before = stored(work.now_ms.saturating_sub(retention_ms(&entry)))?;
        for statement in [TOMBSTONES, EXITS] {
            left -= forget(work, entry.id, before, statement, left)?;
        }
        if left == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

fn retention_ms(entry: &Entry) -> u64 {
    entry.defined.definition.tombstone_retention_ms().max(RETENTION_MIN_MS)
}

const TOMBSTONES: &str = "DELETE FROM records WHERE id IN (SELECT id FROM records INDEXED BY records_tombstones
    WHERE collection = ?1 AND deleted = 1 AND updated_ms < ?2 ORDER BY updated_ms LIMIT ?3) RETURNING revision";
const EXITS: &str = "DELETE FROM exits WHERE collection = ?1 AND (share, key) IN (SELECT share, key FROM exits INDEXED BY exits_age
    WHERE collection = ?1 AND left_ms < ?2 ORDER BY left_ms LIMIT ?3) RETURNING revision";

fn forget(work: &Work<'_>, collection: i64, before: i64, statement: &str, most: usize) -> Result<usize, StoreError> {
    let revisions: Vec<i64> =
        work.conn.prepare_cached(statement)?.query_map((collection, before, limit(most)), |row| row.get(0))?.collect::<Result<_, _>>()?;
    if let Some(newest) = revisions.iter().max() {
        raise(work, collection, *newest)?;
    }
    Ok(revisions.len())
}

/// A floor never goes down.
fn raise(work: &Work<'_>, collection: i64, revision: i64) -> Result<(), StoreError> {
    work.conn
        .prepare_cached(
            "INSERT INTO floors (collection, revision) VALUES (?1, ?2)
             ON CONFLICT (collection) DO UPDATE SET revision = max(revision, excluded.revision)",
        )?
        .execute((collection, revision))?;
    Ok(())
}

/// Once a day: which revision is the newest now.
fn mark(work: &Work<'_>) -> Result<(), StoreError> {
    let last: Option<i64> = work.conn.prepare_cached("SELECT max(at_ms) FROM marks")?.query_row([], |row| row.get(0))?;
    let due = last.map(counted).transpose()?.is_none_or(|last| work.now_ms >= last.saturating_add(MARK_EVERY_MS));
    if due {
        work.conn
            .prepare_cached("INSERT INTO marks (at_ms, head) VALUES (?1, ?2)")?
            .execute((stored(work.now_ms)?, stored(work.committed)?))?;
        work.conn
            .prepare_cached("DELETE FROM marks WHERE at_ms <= (SELECT at_ms FROM marks ORDER BY at_ms DESC LIMIT 1 OFFSET ?1)")?
            .execute([stored(MARKS)?])?;
    }
    Ok(())
}

/// The clocks as they are stored: removed fields keep theirs as long as a tombstone is kept, and no record keeps more than
/// [`REMOVED_CLOCKS`]. The floor covers what goes, so a writer that had not seen it counts as concurrent.
pub(super) fn clocks<'s>(work: &Work<'_>, entry: &Entry, record: &'s Stored) -> Result<Cow<'s, Clocks>, StoreError> {
    let Content::Live(value) = &record.content else { return Ok(Cow::Borrowed(&record.clocks)) };
    if !record.clocks.has_removed(value) {
        return Ok(Cow::Borrowed(&record.clocks));
    }
    let before = stored(work.now_ms.saturating_sub(retention_ms(entry)))?;
    let marked: Option<i64> = work
        .conn
        .prepare_cached("SELECT head FROM marks WHERE at_ms <= ?1 ORDER BY at_ms DESC LIMIT 1")?
        .query_row([before], |row| row.get(0))
        .optional()?;
    let old = Revision(marked.map(counted).transpose()?.unwrap_or(0));
    let mut kept = record.clocks.clone();
    if let Some(newest) = kept.forget(value, old, REMOVED_CLOCKS) {
        raise(work, entry.id, stored(newest.0)?)?;
    }
    Ok(Cow::Owned(kept))
}
