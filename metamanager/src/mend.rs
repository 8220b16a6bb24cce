//! What a check found is put right as far as this side can: the figures, the index of the keys, rows that belong to nothing.
//! A row whose content changed gets the hash of what it is now, so that the digest tells the truth; the cloud has the rest.

use std::collections::BTreeMap;

use proto::clock::Now;
use proto::ids::Revision;
use proto::names::CollectionName;
use rusqlite::{ErrorCode, params};

use crate::apply::{Applied, Applying};
use crate::check::{self, Checked, Found, Judged, judge};
use crate::digests::stored_hash;
use crate::error::{Done, Fault, StoreError};
use crate::ledger::record_key;
use crate::limits::CHECK_STEP;
use crate::store::{Event, Store};
use crate::{base, conflicts, indexes};

const DROP_INDEX: &str = "DROP INDEX base_key";
const MAKE_INDEX: &str = "CREATE UNIQUE INDEX base_key ON base (collection, key)";
/// Of rows with one key the one that came last stays.
const DROP_DOUBLES: &str =
    "DELETE FROM base WHERE id NOT IN (SELECT max(id) FROM base GROUP BY collection, key) RETURNING collection, granted, hash";

impl Store {
    /// Mends a part of what a check found. None: there is more, call again; local writes go between. The last one tells what
    /// came of it; when the cloud was compared with and agrees, that is on record now.
    pub fn settle(&mut self, found: &mut Found, now: Now) -> Result<Option<Checked>, StoreError> {
        let complete = self.transaction(|tx| {
            if tx.ledger.meta.generation != found.generation {
                found.truncated = true;
                found.checked = Checked { again: true, compared: None, ..std::mem::take(&mut found.checked) };
                return Ok(Some(Applied::default()));
            }
            let mut applying = Applying::new(tx, now);
            let at_ms = applying.at_ms;
            let complete = step(&mut applying, found)?;
            let applied = applying.finish()?;
            if complete && found.agreement.is_some_and(|agreement| agreement.equal && agreement.complete) {
                tx.ledger.meta.verified_ms = Some(at_ms);
            }
            Ok(complete.then_some(applied))
        })?;
        let Some(applied) = complete else { return Ok(None) };
        if !found.truncated {
            self.checking.read(found.begun_ms);
        }
        if found.index_damaged || found.checked.damaged > 0 {
            tracing::error!(rows = found.checked.damaged, index = found.index_damaged, "rows of the edge database are not what was stored");
        }
        if applied.records > 0 || found.checked.compared.is_some() {
            self.tell(&Event::Changed);
        }
        Ok(Some(std::mem::take(&mut found.checked)))
    }

    /// Checks and mends at once, on this thread: for whoever has no other. None: the database is being closed.
    pub fn check(&mut self, now: Now) -> Result<Option<Checked>, StoreError> {
        let Some(check) = self.take_check(now.mono_ms)? else { return Ok(None) };
        let Some(mut found) = check.run()? else { return Ok(None) };
        loop {
            if let Some(checked) = self.settle(&mut found, now)? {
                return Ok(Some(checked));
            }
        }
    }
}

/// Tells whether that was all.
fn step(applying: &mut Applying<'_, '_>, found: &mut Found) -> Done<bool> {
    // Without the right index no row can be removed, and none be changed that an index says something else of: so then
    // everything happens at once.
    let index = found.index_damaged && !found.corrected;
    if !found.corrected {
        correct(applying, found);
    }
    if index {
        applying.tx.conn.execute_batch(DROP_INDEX)?;
    }
    let wrong = index || !found.damaged.is_empty();
    let declared = wrong && found.mended == 0 && indexes::drop_all(applying.tx.conn)?;
    if declared {
        empty_what_is_no_json(applying, &found.damaged)?;
    }
    let end = if index || declared { found.damaged.len() } else { found.damaged.len().min(found.mended + CHECK_STEP) };
    let homes = check::homes(applying.tx.ledger);
    let mut conflict = false;
    for id in &found.damaged[found.mended..end] {
        conflict |= row(applying, &homes, *id)?;
    }
    if index {
        conflict = true;
        make_index(applying)?;
        // What readers saw by the wrong index is nowhere written.
        applying.tx.ledger.forget_changes(applying.tx.conn)?;
    }
    if declared {
        indexes::make_all(applying.tx.conn)?;
    }
    if conflict {
        conflicts::forget_missing(applying.tx.conn, applying.tx.ledger)?;
    }
    found.mended = end;
    found.corrected = true;
    Ok(end == found.damaged.len())
}

/// What cannot be read cannot be indexed: the record is empty until it has come again.
fn empty_what_is_no_json(applying: &mut Applying<'_, '_>, damaged: &[i64]) -> Done<()> {
    let mut update = applying.tx.conn.prepare_cached("UPDATE base SET value = '{}' WHERE id = ?1 AND NOT json_valid(value)")?;
    for id in damaged {
        update.execute([id])?;
    }
    Ok(())
}

/// The figures become true to the rows of the state that was read; what changed since then changed both alike.
fn correct(applying: &mut Applying<'_, '_>, found: &Found) {
    for (granted, lack) in &found.lacks {
        applying.tx.ledger.digests.correct(*granted, *lack);
    }
    for (collection, (records, view)) in &found.uncounted {
        applying.tx.ledger.count(*collection, *records, *view);
    }
}

/// Mends one row, unless it was replaced meanwhile. Tells whether a conflict row may have gone.
fn row(applying: &mut Applying<'_, '_>, homes: &BTreeMap<i64, i64>, id: i64) -> Done<bool> {
    let conn = applying.tx.conn;
    let mut statement = conn.prepare_cached(&format!("SELECT {} FROM base WHERE id = ?1", check::columns()))?;
    let mut rows = statement.query([id])?;
    let Some(found) = rows.next()? else { return Ok(false) };
    let Judged { collection, granted, stored, truth, stray } = judge(conn, applying.tx.ledger, homes, found)?;
    let key = found.get::<_, String>(0).ok().and_then(|key| record_key(&key).ok());
    drop(rows);
    let digests = &mut applying.tx.ledger.digests;
    if !stray {
        conn.prepare_cached("UPDATE base SET hash = ?2 WHERE id = ?1")?.execute(params![id, truth])?;
        digests.remove(granted, stored.as_ref());
        digests.add(granted, truth.as_ref());
        return Ok(false);
    }
    base::remove_row(conn, digests, id)?;
    let laid = match &key {
        Some(key) => applying.has_overlay(collection, key)?,
        None => false,
    };
    applying.tx.ledger.count(collection, -1, if laid { 0 } else { -1 });
    match key {
        Some(key) if laid => applying.unsettle((collection, key), Revision::ZERO),
        Some(key) => applying.tx.ledger.note(conn, collection, key.as_str())?,
        None => {}
    }
    let conflicts = applying.tx.ledger.collections.get(&CollectionName::conflicts());
    Ok(conflicts.is_some_and(|own| own.id == collection))
}

/// Makes the index anew from the rows.
fn make_index(applying: &mut Applying<'_, '_>) -> Done<()> {
    match applying.tx.conn.execute_batch(MAKE_INDEX) {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => drop_doubles(applying)?,
        made => return made.map_err(Fault::from),
    }
    Ok(applying.tx.conn.execute_batch(MAKE_INDEX)?)
}

/// While the index was wrong a record may have come a second time.
fn drop_doubles(applying: &mut Applying<'_, '_>) -> Done<()> {
    let mut statement = applying.tx.conn.prepare(DROP_DOUBLES)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        applying.tx.ledger.digests.remove(row.get(1)?, stored_hash(row, 2).as_ref());
        applying.tx.ledger.count(row.get(0)?, -1, -1);
    }
    Ok(())
}
