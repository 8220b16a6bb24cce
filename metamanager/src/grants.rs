//! What the node gets. A right that is gone is deleted with its data in the transaction that learns it; what the node
//! itself wrote and has not sent stays.

use std::collections::{BTreeMap, BTreeSet};

use proto::digest::RangeSet;
use proto::frame::{DefinitionText, Grant, Grants, Share};
use proto::ids::{Position, Revision};
use proto::names::CollectionName;
use rusqlite::{Connection, params};

use crate::apply::Applying;
use crate::digests::stored_hash;
use crate::error::{Done, Fault};
use crate::ledger::{Granted, record_key, stored};
use crate::{blocked, conflicts, indexes, pieces, repair, withdraw};

/// Which grants fill again although they stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// None.
    No,
    /// All: what the node holds is not of this store.
    All,
    /// Those given above a fork, and those whose fill is under way: it read another history.
    Above(Revision),
}

impl Again {
    fn fills(self, granted: &Granted) -> bool {
        match self {
            Self::No => false,
            Self::All => true,
            Self::Above(fork) => granted.grant.since > fork || !granted.done,
        }
    }
}

/// Takes new grants and definitions. One that the node has under the same (share, since) keeps its progress, unless `again`
/// says otherwise; every other one fills from the beginning.
pub(crate) fn replace(applying: &mut Applying<'_, '_>, new: &Grants, again: Again) -> Done<()> {
    define(applying, &new.definitions)?;
    let wanted: BTreeMap<&Share, &Grant> = new.grants.iter().map(|grant| (&grant.share, grant)).collect();
    let mut lost = BTreeSet::new();
    for granted in applying.tx.ledger.grants.clone() {
        match wanted.get(&granted.grant.share) {
            None => {
                remove(applying, &granted)?;
                lost.insert(granted.grant.share.collection);
            }
            Some(grant) if again.fills(&granted) || grant.since != granted.grant.since => reopen(applying, &granted, grant, None)?,
            Some(_) => {}
        }
    }
    if !lost.is_empty() {
        withdraw::old_values(applying, &lost)?;
        applying.tx.ledger.forget_changes(applying.tx.conn)?;
        applying.tx.ledger.meta.wipe = 1;
        pieces::clear(applying.tx.conn)?;
    }
    for (share, grant) in wanted {
        if applying.tx.ledger.granted(share.collection.as_str(), share.partition.as_deref()).is_none() {
            insert(applying, grant)?;
        }
    }
    forget_blocked(applying)?;
    applying.tx.ledger.meta.grants_revision = Some(new.revision);
    set_labels(applying.tx.conn, &new.labels)
}

/// The node's own labels, which the cloud tells for people to read; nothing is decided by them here.
pub(crate) fn set_labels(conn: &Connection, labels: &[(String, String)]) -> Done<()> {
    let labels: BTreeMap<_, _> = labels.iter().map(|(name, value)| (name, value)).collect();
    let json = serde_json::to_string(&labels).map_err(|error| Fault::damaged("labels", error))?;
    conn.prepare_cached("UPDATE meta SET labels = ?1 WHERE labels IS NOT ?1")?.execute([json])?;
    Ok(())
}

/// What was put aside because it belongs to no partition of this node is not waited for: rows are of grants alone.
fn forget_blocked(applying: &mut Applying<'_, '_>) -> Done<()> {
    let gone = applying.tx.conn.execute(
        "DELETE FROM blocked WHERE NOT EXISTS (SELECT 1 FROM grants JOIN collections ON collections.id = grants.collection \
         WHERE collections.name = blocked.collection AND grants.share IS blocked.share)",
        [],
    )?;
    applying.tx.ledger.blocked = applying.tx.ledger.blocked.saturating_sub(gone as u64);
    Ok(())
}

fn define(applying: &mut Applying<'_, '_>, definitions: &[DefinitionText]) -> Done<()> {
    let (conn, ledger) = (applying.tx.conn, &mut *applying.tx.ledger);
    for definition in definitions {
        ledger.collection_id(conn, &definition.name)?;
    }
    let wanted: BTreeMap<&CollectionName, &DefinitionText> = definitions.iter().map(|text| (&text.name, text)).collect();
    for (name, collection) in &mut ledger.collections {
        let text = wanted.get(name).copied();
        if collection.definition.as_ref() == text {
            continue;
        }
        let (revision, json) = (text.map(|text| stored(text.revision.0)), text.map(|text| &text.json));
        conn.prepare_cached("UPDATE collections SET revision = ?2, definition = ?3 WHERE id = ?1")?.execute(params![
            collection.id,
            revision,
            json
        ])?;
        collection.define(text.cloned());
        indexes::settle(conn, collection.id, collection.defined.as_ref().and_then(|defined| Some(&defined.as_ref().ok()?.definition)))?;
        if let Some(Err(why)) = &collection.defined {
            tracing::error!(collection = %name, why, "a definition cannot be read by this version; local writes to it are refused");
        }
    }
    Ok(())
}

fn insert(applying: &mut Applying<'_, '_>, grant: &Grant) -> Done<()> {
    let ledger = &mut *applying.tx.ledger;
    let collection = ledger.collection_id(applying.tx.conn, &grant.share.collection)?;
    ledger.meta.generation += 1;
    let generation = ledger.meta.generation;
    let mut statement = applying
        .tx
        .conn
        .prepare_cached("INSERT INTO grants (collection, share, since, filled_from, sweep, generation) VALUES (?1, ?2, ?3, ?4, 0, ?5)")?;
    let (since, from) = (stored(grant.since.0), stored(grant.from.0));
    statement.execute(params![collection, grant.share.partition, since, from, stored(generation)])?;
    let id = applying.tx.conn.last_insert_rowid();
    let granted =
        Granted { id, collection, grant: grant.clone(), at: Position::default(), done: false, sweep: false, generation, ranges: None };
    ledger.digests.open(id);
    let place = ledger.grants.partition_point(|other| other.grant.share < grant.share);
    ledger.grants.insert(place, granted);
    Ok(())
}

/// The same share, granted anew or to be repaired: its rows stay readable until the fill has replaced or swept them.
pub(crate) fn reopen(applying: &mut Applying<'_, '_>, granted: &Granted, grant: &Grant, ranges: Option<RangeSet>) -> Done<()> {
    blocked::expect_again(applying.tx, granted.id, &granted.grant.share, ranges.as_ref())?;
    let ledger = &mut *applying.tx.ledger;
    ledger.meta.generation += 1;
    let generation = ledger.meta.generation;
    let mut statement = applying.tx.conn.prepare_cached(
        "UPDATE grants SET since = ?2, filled_from = ?3, at_revision = 0, at_collection = NULL, at_key = NULL, done = 0, sweep = 1, \
         generation = ?4, ranges = ?5 WHERE id = ?1",
    )?;
    let bytes = ranges.map(|ranges| ranges.to_bytes());
    statement.execute(params![granted.id, stored(grant.since.0), stored(grant.from.0), stored(generation), bytes])?;
    if let Some(open) = ledger.grants.iter_mut().find(|open| open.id == granted.id) {
        let (grant, at) = (grant.clone(), Position::default());
        *open = Granted { grant, at, done: false, sweep: true, generation, ranges, id: open.id, collection: open.collection };
    }
    Ok(())
}

/// A grant that is gone goes with everything that came through it.
fn remove(applying: &mut Applying<'_, '_>, granted: &Granted) -> Done<()> {
    remove_rows(applying, granted, None)?;
    let share = &granted.grant.share;
    // What is still there of a blocked record is an older version, perhaps of another share that the record has left.
    for key in blocked::forget(applying.tx, share)? {
        repair::remove_key(applying, granted.collection, &key)?;
    }
    let sql = "DELETE FROM staging WHERE collection = ?1 AND share IS ?2";
    applying.tx.conn.execute(sql, params![share.collection.as_str(), share.partition])?;
    applying.tx.ledger.digests.forget(granted.id);
    applying.staging.forget(share);
    applying.tx.conn.execute("DELETE FROM grants WHERE id = ?1", [granted.id])?;
    applying.tx.ledger.grants.retain(|other| other.id != granted.id);
    applying.done.lost_rights += 1;
    Ok(())
}

/// Removes rows of base that came through a grant: all of them, or those that a fill of this generation did not see
/// and whose revision is not above the given one.
pub(crate) fn remove_rows(applying: &mut Applying<'_, '_>, granted: &Granted, unseen: Option<(u64, Revision)>) -> Done<()> {
    let (filter, generation, from) = match unseen {
        Some((generation, from)) => ("granted = ?2 AND fill <> ?3 AND revision <= ?4", stored(generation), stored(from.0)),
        None => ("granted = ?2 AND ?3 = ?4", 0, 0),
    };
    let laid = laid_over(applying, granted, filter, (generation, from))?;
    if unseen.is_some() {
        uncount(applying, granted, filter, (generation, from))?;
    }
    let gone = delete(applying, granted, filter, (generation, from), unseen.is_some())?;
    let with_overlay = laid.len() as i64;
    applying.tx.ledger.count(granted.collection, -gone, with_overlay - gone);
    for key in laid {
        applying.unsettle((granted.collection, key), Revision::ZERO);
    }
    if gone > 0 && granted.grant.share.collection == CollectionName::conflicts() {
        conflicts::forget_missing(applying.tx.conn, applying.tx.ledger)?;
    }
    Ok(())
}

/// Deletes the rows and, with `noted`, notes each for whoever follows: with a right its keys go too. Tells how many.
fn delete(applying: &mut Applying<'_, '_>, granted: &Granted, filter: &str, bounds: (i64, i64), noted: bool) -> Done<i64> {
    let (conn, ledger) = (applying.tx.conn, &mut *applying.tx.ledger);
    let mut statement = conn.prepare(&format!("DELETE FROM base WHERE collection = ?1 AND {filter} RETURNING key"))?;
    let mut rows = statement.query(params![granted.collection, granted.id, bounds.0, bounds.1])?;
    let mut gone = 0;
    while let Some(row) = rows.next()? {
        gone += 1;
        if noted {
            ledger.note(conn, granted.collection, row.get_ref(0)?.as_str().unwrap_or_default())?;
        }
    }
    Ok(gone)
}

/// Takes the rows out of the grant's digest.
fn uncount(applying: &mut Applying<'_, '_>, granted: &Granted, filter: &str, bounds: (i64, i64)) -> Done<()> {
    let mut statement = applying.tx.conn.prepare(&format!("SELECT hash FROM base WHERE collection = ?1 AND {filter}"))?;
    let mut rows = statement.query(params![granted.collection, granted.id, bounds.0, bounds.1])?;
    while let Some(row) = rows.next()? {
        applying.tx.ledger.digests.remove(granted.id, stored_hash(row, 0).as_ref());
    }
    Ok(())
}

/// Those of the rows that have ops laid over them.
fn laid_over(applying: &Applying<'_, '_>, granted: &Granted, filter: &str, bounds: (i64, i64)) -> Done<Vec<proto::names::Key>> {
    if applying.tx.ledger.meta.overlays == 0 {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT key FROM overlay WHERE collection = ?1 AND EXISTS (SELECT 1 FROM base WHERE base.collection = ?1 \
         AND base.key = overlay.key AND {filter})"
    );
    let mut statement = applying.tx.conn.prepare(&sql)?;
    let mut rows = statement.query(params![granted.collection, granted.id, bounds.0, bounds.1])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        keys.push(record_key(&row.get::<_, String>(0)?)?);
    }
    Ok(keys)
}
