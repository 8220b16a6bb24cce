//! Old values in kept writes: with a right, what the node's own writes tell of its records goes too (docs/design.md §5).
//!
//! An op says what a field `was`. Of records that came through a grant that is gone, the value gives way to its hash: the op
//! can still be judged, and what the node itself wrote stays. The hash of the write as it was committed is kept beside it,
//! so that the cloud knows a repeat when it sees one.

use std::collections::BTreeSet;

use proto::names::CollectionName;
use proto::op::{Body, Op, Was, Write, hash};
use rusqlite::params;

use crate::apply::Applying;
use crate::error::{Done, Fault};
use crate::ledger::{number, stored};
use crate::limits::WITHDRAW_STEP;
use crate::outbox::{self, without_effect};

/// One kept write.
struct Kept {
    number: u64,
    bytes: Vec<u8>,
    hash: Option<Vec<u8>>,
}

/// Cuts the old values out of every kept write, where an op is about a record of one of these collections that base does not
/// hold (any more). Base has lost the rows of the grants that are gone.
pub(crate) fn old_values(applying: &mut Applying<'_, '_>, collections: &BTreeSet<CollectionName>) -> Done<()> {
    let mut after = 0;
    loop {
        let writes = page(applying, after)?;
        let Some(last) = writes.last() else { return Ok(()) };
        after = last.number;
        for kept in writes {
            cut(applying, collections, kept)?;
        }
    }
}

fn page(applying: &Applying<'_, '_>, after: u64) -> Done<Vec<Kept>> {
    let mut statement =
        applying.tx.conn.prepare_cached("SELECT number, bytes, hash FROM writes WHERE number > ?1 ORDER BY number LIMIT ?2")?;
    let rows = statement.query_map(params![stored(after), WITHDRAW_STEP as i64], |row| {
        Ok(Kept { number: number(row, 0)?, bytes: row.get(1)?, hash: row.get(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn cut(applying: &mut Applying<'_, '_>, collections: &BTreeSet<CollectionName>, kept: Kept) -> Done<()> {
    let mut write = Write::decode(&kept.bytes).map_err(|error| Fault::damaged("a stored write", error))?;
    let (mut gone, mut changed) = (false, false);
    for op in write.ops.iter_mut().filter(|op| collections.contains(&op.collection)) {
        if !is_held(applying, op)? {
            gone = true;
            changed |= forget_was(op);
        }
    }
    if gone {
        // The cloud's words may quote the record.
        let mut words = applying.tx.conn.prepare_cached("UPDATE outcomes SET detail = NULL WHERE number = ?1 AND detail IS NOT NULL")?;
        words.execute([stored(kept.number)])?;
    }
    if !changed {
        return Ok(());
    }
    let bytes = write.encode();
    let original = kept.hash.unwrap_or_else(|| hash(&kept.bytes).to_vec());
    let mut update = applying.tx.conn.prepare_cached("UPDATE writes SET bytes = ?2, hash = ?3, sum = ?4 WHERE number = ?1")?;
    update.execute(params![stored(kept.number), bytes, original, outbox::sum(kept.number, &bytes)])?;
    account(applying, kept.number, outbox::is_system(&write), kept.bytes.len() as u64, bytes.len() as u64)
}

fn is_held(applying: &Applying<'_, '_>, op: &Op) -> Done<bool> {
    let Some(collection) = applying.tx.ledger.collections.get(&op.collection) else { return Ok(false) };
    let mut find = applying.tx.conn.prepare_cached("SELECT 1 FROM base WHERE collection = ?1 AND key = ?2")?;
    Ok(find.exists(params![collection.id, op.key.as_str()])?)
}

/// An op on a record that was not there, or through a pending write only, tells of the node's own writes alone.
fn forget_was(op: &mut Op) -> bool {
    let Body::Merge(changes) = &mut op.body else { return false };
    let mut changed = false;
    for change in changes.iter_mut().filter(|_| op.seen.0 > 0 && op.depends.is_none()) {
        if let Was::Value(raw) = &change.was {
            change.was = Was::Hash(hash(raw.as_str().as_bytes()));
            changed = true;
        }
    }
    changed
}

/// The bytes are counted where the write stands: waiting, delivered, or without effect.
fn account(applying: &mut Applying<'_, '_>, of: u64, system: bool, before: u64, after: u64) -> Done<()> {
    let outcome = outbox::outcome_of(applying.tx.conn, of)?;
    let meta = &mut applying.tx.ledger.meta;
    if outcome.is_none() && system {
        meta.system_bytes = (meta.system_bytes + after).saturating_sub(before);
    }
    let bytes = match outcome {
        None => &mut meta.outbox_bytes,
        Some((verdict, _)) if without_effect(verdict) => &mut meta.rejected_bytes,
        Some(_) => &mut meta.delivered_bytes,
    };
    *bytes = (*bytes + after).saturating_sub(before);
    Ok(())
}
