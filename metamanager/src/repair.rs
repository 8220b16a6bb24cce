//! Repairs: a grant whose digest differs is filled again in the ranges of keys that differ, and in no others. What the fill
//! brings replaces the row; what neither the fill nor the stream touched goes.

use proto::digest::{RangeSet, range_of};
use proto::frame::Repair;
use proto::ids::Revision;
use proto::names::{CollectionName, Key};
use rusqlite::{OptionalExtension, params};

use crate::apply::Applying;
use crate::error::Done;
use crate::ledger::{Granted, record_key, stored};
use crate::limits::CHECK_STEP;
use crate::{base, conflicts, grants};

/// Opens what the cloud found. Nothing: no range differs any more, or the grant is not what it was, or fills already.
pub(crate) fn open(applying: &mut Applying<'_, '_>, repair: &Repair) -> Done<()> {
    let share = &repair.grant.share;
    let Some(place) = applying.tx.ledger.granted(share.collection.as_str(), share.partition.as_deref()) else { return Ok(()) };
    let granted = applying.tx.ledger.grants[place].clone();
    if repair.ranges.is_empty() || !granted.done || granted.grant.since != repair.grant.since {
        return Ok(());
    }
    tracing::warn!(
        collection = %share.collection, partition = share.partition, ranges = repair.ranges.len(),
        "records here are not what the cloud has; these ranges of keys are read again"
    );
    grants::reopen(applying, &granted, &repair.grant, Some(repair.ranges))?;
    applying.done.repairs.push((share.clone(), repair.ranges));
    Ok(())
}

/// Removes the rows of these ranges that the repair did not see, whatever their revision: it may be what was damaged. The
/// keys are read from the index alone.
pub(crate) fn sweep(applying: &mut Applying<'_, '_>, granted: &Granted, ranges: &RangeSet) -> Done<()> {
    let mut after = String::new();
    let mut gone = false;
    loop {
        let (page, last) = page(applying, granted.collection, &after, ranges)?;
        for (id, key) in page {
            gone |= unseen(applying, granted, id)? && remove_row(applying, granted.collection, id, &key).map(|()| true)?;
        }
        let Some(last) = last else { break };
        after = last;
    }
    if gone && granted.grant.share.collection == CollectionName::conflicts() {
        conflicts::forget_missing(applying.tx.conn, applying.tx.ledger)?;
    }
    Ok(())
}

/// Rows and their keys.
type Places = Vec<(i64, Key)>;

/// Those of the next keys that are in the ranges, and the last key that was looked at; none: there is none left.
fn page(applying: &Applying<'_, '_>, collection: i64, after: &str, ranges: &RangeSet) -> Done<(Places, Option<String>)> {
    let sql = "SELECT id, key FROM base INDEXED BY base_key WHERE collection = ?1 AND key > ?2 ORDER BY key LIMIT ?3";
    let mut statement = applying.tx.conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![collection, after, CHECK_STEP as i64])?;
    let (mut page, mut last) = (Vec::new(), None);
    while let Some(row) = rows.next()? {
        let key: String = row.get(1)?;
        if ranges.contains(range_of(&key)) {
            page.push((row.get(0)?, record_key(&key)?));
        }
        last = Some(key);
    }
    Ok((page, last))
}

fn unseen(applying: &Applying<'_, '_>, granted: &Granted, id: i64) -> Done<bool> {
    let mut statement = applying.tx.conn.prepare_cached("SELECT 1 FROM base WHERE id = ?1 AND granted = ?2 AND fill <> ?3")?;
    Ok(statement.exists(params![id, granted.id, stored(granted.generation)])?)
}

/// Removes a row, and counts it out.
pub(crate) fn remove_row(applying: &mut Applying<'_, '_>, collection: i64, id: i64, key: &Key) -> Done<()> {
    base::remove_row(applying.tx.conn, &mut applying.tx.ledger.digests, id)?;
    let laid = applying.has_overlay(collection, key)?;
    applying.tx.ledger.count(collection, -1, if laid { 0 } else { -1 });
    if laid {
        applying.unsettle((collection, key.clone()), Revision::ZERO);
    } else {
        applying.tx.ledger.note(applying.tx.conn, collection, key.as_str())?;
    }
    applying.done.records += 1;
    Ok(())
}

/// Removes the row of a key, if there is one.
pub(crate) fn remove_key(applying: &mut Applying<'_, '_>, collection: i64, key: &str) -> Done<()> {
    let sql = "SELECT id FROM base WHERE collection = ?1 AND key = ?2";
    let id = applying.tx.conn.prepare_cached(sql)?.query_row(params![collection, key], |row| row.get(0)).optional()?;
    match id {
        Some(id) => remove_row(applying, collection, id, &record_key(key)?),
        None => Ok(()),
    }
}
