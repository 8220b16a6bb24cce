//! What a decision changes: records, exit markers, conflict rows that follow their record.

use proto::digest::Hashed;
use proto::ids::Revision;
use proto::names::CollectionName;
use proto::op::{Hash, Outcome};
use rusqlite::OptionalExtension;

use super::catalog::Entry;
use super::compact;
use super::conflicts;
use super::error::{StoreError, stored};
use super::share;
use super::work::Work;
use super::world::{LIVE, REMOVED, TOMBSTONE, hash_text, verdict_number};
use crate::reconcile::{Content, Decision, RecordChange};

/// Who made a change, for the rows that it leaves.
pub(super) struct By<'a> {
    /// The write's id.
    pub(super) writer: String,
    pub(super) actor: Option<&'a str>,
    /// The author's node; 0: the cloud.
    pub(super) node: i64,
    /// The revision of the change.
    pub(super) revision: u64,
}

/// Makes a decision true.
pub(super) fn apply(work: &mut Work<'_>, decision: &Decision, by: &By<'_>) -> Result<(), StoreError> {
    for change in &decision.records {
        record(work, change, by)?;
    }
    for change in &decision.conflicts {
        conflicts::put(work, change, by)?;
    }
    Ok(())
}

fn record(work: &mut Work<'_>, change: &RecordChange, by: &By<'_>) -> Result<(), StoreError> {
    let unknown = || StoreError::Damaged(format!("a decision about {}, which does not exist", change.collection));
    let entry = work.catalog.get(work.conn, &change.collection)?.ok_or_else(unknown)?;
    if change.stored.revision < Revision(by.revision) {
        return clocks_alone(work, &entry, change);
    }
    let (deleted, value) = match &change.stored.content {
        Content::Live(value) => (LIVE, value.to_text()),
        Content::Deleted { last } => (TOMBSTONE, last.to_text()),
        Content::Removed { hash } => (REMOVED, hash_text(hash)),
    };
    let place = share::of_place(&change.stored.place);
    let clocks = compact::clocks(work, &entry, &change.stored)?;
    let row = RecordRow {
        collection: entry.id,
        key: change.key.as_str(),
        born: change.stored.born.0,
        share: place.as_deref(),
        deleted,
        clocks: &clocks.encode(),
        value: &value,
    };
    put_record(work, &row, by)?;
    touch(work, entry.id, &change.collection, place.as_deref());
    let cut = entry.defined.definition.partition.is_some();
    if let Some(left) = &change.left {
        leave(work, entry.id, &change.collection, &share::encode(left.as_deref()), change.key.as_str(), by.revision)?;
    }
    if cut {
        if let Some(place) = place.as_deref() {
            come_back(work, entry.id, place, change.key.as_str())?;
        }
        conflicts::follow(work, &entry, change, by)?;
    }
    Ok(())
}

/// An equal value was claimed again: nobody has anything to read, but the claim counts.
fn clocks_alone(work: &Work<'_>, entry: &Entry, change: &RecordChange) -> Result<(), StoreError> {
    work.conn.prepare_cached("UPDATE records SET clocks = ?3 WHERE collection = ?1 AND key = ?2")?.execute((
        entry.id,
        change.key.as_str(),
        change.stored.clocks.encode(),
    ))?;
    Ok(())
}

/// A row of `records` as it will be; who and when come with [`By`].
pub(super) struct RecordRow<'a> {
    pub(super) collection: i64,
    pub(super) key: &'a str,
    pub(super) born: u64,
    pub(super) share: Option<&'a str>,
    pub(super) deleted: i64,
    pub(super) clocks: &'a [u8],
    pub(super) value: &'a str,
}

pub(super) fn put_record(work: &mut Work<'_>, row: &RecordRow<'_>, by: &By<'_>) -> Result<(), StoreError> {
    let hash = (row.deleted == LIVE).then(|| hash(row, by, work.now_ms));
    let held: Option<(i64, Option<String>, Option<Hash>)> = work
        .conn
        .prepare_cached("SELECT id, share, hash FROM records WHERE collection = ?1 AND key = ?2")?
        .query_row((row.collection, row.key), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let sql = match held {
        Some(_) => {
            "UPDATE records SET revision = ?4, born = ?5, share = ?6, deleted = ?7, updated_ms = ?8, writer = ?9, actor = ?10,
                 clocks = ?11, hash = ?12, value = ?13 WHERE id = ?1 AND collection = ?2 AND key = ?3"
        }
        None => {
            "INSERT INTO records (id, collection, key, revision, born, share, deleted, updated_ms, writer, actor, clocks, hash, value)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
        }
    };
    work.conn.prepare_cached(sql)?.execute(rusqlite::params![
        held.as_ref().map(|(id, ..)| id),
        row.collection,
        row.key,
        stored(by.revision)?,
        stored(row.born)?,
        row.share,
        row.deleted,
        stored(work.now_ms)?,
        &by.writer,
        by.actor,
        row.clocks,
        hash,
        row.value,
    ])?;
    if let Some((_, share, hash)) = held {
        work.digests.remove(row.collection, share.as_deref(), hash.as_ref());
    }
    work.digests.add(row.collection, row.share, hash.as_ref());
    Ok(())
}

/// Over what a node gets of it.
fn hash(row: &RecordRow<'_>, by: &By<'_>, now_ms: u64) -> Hash {
    let hashed = Hashed {
        key: row.key,
        revision: Revision(by.revision),
        born: Revision(row.born),
        updated_ms: now_ms,
        writer: &by.writer,
        actor: by.actor,
        value: row.value,
    };
    hashed.hash()
}

/// A record left a partition: an exit marker tells the nodes that had it there.
pub(super) fn leave(
    work: &mut Work<'_>,
    collection: i64,
    name: &CollectionName,
    column: &str,
    key: &str,
    revision: u64,
) -> Result<(), StoreError> {
    work.conn
        .prepare_cached("INSERT OR REPLACE INTO exits (collection, share, key, revision, left_ms) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute((collection, column, key, stored(revision)?, stored(work.now_ms)?))?;
    touch(work, collection, name, Some(column));
    Ok(())
}

/// A record is in a partition: a marker that says it left would be wrong now.
pub(super) fn come_back(work: &Work<'_>, collection: i64, column: &str, key: &str) -> Result<(), StoreError> {
    work.conn.prepare_cached("DELETE FROM exits WHERE collection = ?1 AND share = ?2 AND key = ?3")?.execute((collection, column, key))?;
    Ok(())
}

/// Whoever is granted this partition has something to read.
pub(super) fn touch(work: &mut Work<'_>, collection: i64, name: &CollectionName, column: Option<&str>) {
    if let Some(column) = column {
        work.marks.shares.insert((collection, column.to_owned()));
        work.marks.names.entry(collection).or_insert_with(|| name.clone());
    }
}

/// A decided write, as the table `writes` keeps it.
pub(super) struct WriteEntry<'a> {
    /// 0: the cloud.
    pub(super) database: u32,
    pub(super) number: u64,
    pub(super) hash: proto::op::Hash,
    /// The revision that it was decided at; the outcome's is where it took effect.
    pub(super) revision: u64,
    pub(super) outcome: &'a Outcome,
    pub(super) actor: Option<&'a str>,
    pub(super) payload: &'a [u8],
}

pub(super) fn put_write(work: &mut Work<'_>, entry: &WriteEntry<'_>) -> Result<(), StoreError> {
    let outcome = entry.outcome;
    work.marks.verdicts[outcome.verdict as usize] += 1;
    // A list of strings always serialises.
    let conflicts = (!outcome.conflicts.is_empty()).then(|| serde_json::to_string(&outcome.conflicts).unwrap_or_default());
    work.conn
        .prepare_cached(
            "INSERT INTO writes (revision, database, number, hash, verdict, code, detail, conflicts, actor, at_ms, payload, effect)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute((
            stored(entry.revision)?,
            entry.database,
            stored(entry.number)?,
            entry.hash,
            verdict_number(outcome.verdict),
            outcome.code.as_deref(),
            outcome.detail.as_deref(),
            conflicts,
            entry.actor,
            stored(work.now_ms)?,
            entry.payload,
            (outcome.revision.0 != entry.revision).then(|| stored(outcome.revision.0)).transpose()?,
        ))?;
    Ok(())
}
