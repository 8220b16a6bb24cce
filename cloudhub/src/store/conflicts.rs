//! Conflict rows: records of `_conflicts`, and a table that finds them by what they are about.

use proto::clock::Hlc;
use proto::ids::Revision;
use proto::names::{CollectionName, Key};
use rusqlite::{Connection, OptionalExtension};

use super::apply::{By, RecordRow, come_back, leave, put_record, touch};
use super::catalog::Entry;
use super::error::{StoreError, counted, stored};
use super::grants::conflicts_id;
use super::share;
use super::work::Work;
use super::world::{LIVE, TOMBSTONE};
use crate::limits::CLOSED_CONFLICTS_PER_RECORD;
use crate::reconcile::{Clocks, ConflictChange, Held, RecordChange, Row, RowKey, RowState, Stamp};

/// What a row says.
pub(super) fn text(conn: &Connection, id: &Key) -> Result<Option<String>, StoreError> {
    let mut find =
        conn.prepare_cached("SELECT r.value FROM conflicts c JOIN records r ON r.collection = ?2 AND r.key = c.id WHERE c.id = ?1")?;
    Ok(find.query_row((id.as_str(), conflicts_id(conn)?), |row| row.get(0)).optional()?)
}

/// Reads a row as a resolution is judged against it.
pub(super) fn held(conn: &Connection, id: &Key) -> Result<Option<Held>, StoreError> {
    let damaged = |detail: String| StoreError::Damaged(format!("conflict row {id}: {detail}"));
    let mut find = conn.prepare_cached(
        "SELECT r.value, r.share, c.field, c.hidden FROM conflicts c JOIN records r ON r.collection = ?2 AND r.key = c.id
         WHERE c.id = ?1",
    )?;
    let mut rows = find.query((id.as_str(), conflicts_id(conn)?))?;
    let Some(found) = rows.next()? else { return Ok(None) };
    let text = found.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
    let row = Row::parse(text).map_err(|error| damaged(error.to_string()))?;
    let column: Option<String> = found.get(1)?;
    let key = RowKey {
        collection: CollectionName::parse(&row.collection).map_err(|error| damaged(error.to_string()))?,
        key: Key::parse(&row.key).map_err(|error| damaged(error.to_string()))?,
        kind: row.kind,
        field: found.get(2)?,
        hidden: found.get(3)?,
    };
    Ok(Some(Held { row, key, partition: column.as_deref().and_then(share::decode) }))
}

/// Opens a row, adds to it, or closes it.
pub(super) fn put(work: &mut Work<'_>, change: &ConflictChange, by: &By<'_>) -> Result<(), StoreError> {
    let unknown = || StoreError::Damaged(format!("a conflict about {}, which does not exist", change.row.collection));
    let entry = work.catalog.get(work.conn, &change.row.collection)?.ok_or_else(unknown)?;
    let place = change.partition.as_deref().map(|partition| share::encode(Some(partition)));
    write_row(work, &change.id, place.as_deref(), LIVE, &change.value.to_text(), by)?;
    work.conn
        .prepare_cached(
            "INSERT INTO conflicts (id, collection, key, kind, field, hidden, state, node, changed_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (id) DO UPDATE SET state = excluded.state, node = excluded.node, changed_ms = excluded.changed_ms",
        )?
        .execute((
            &change.id,
            entry.id,
            change.row.key.as_str(),
            change.row.kind.as_str(),
            &change.row.field,
            change.row.hidden,
            change.state.as_str(),
            by.node,
            stored(work.now_ms)?,
        ))?;
    if change.state != RowState::Open {
        trim(work, &entry, change.row.key.as_str(), by)?;
    }
    Ok(())
}

/// Keeps the newest rows of a record that are no longer open.
fn trim(work: &mut Work<'_>, entry: &Entry, key: &str, by: &By<'_>) -> Result<(), StoreError> {
    let old: Option<String> = work
        .conn
        .prepare_cached(
            "SELECT id FROM conflicts WHERE collection = ?1 AND key = ?2 AND state <> 'open' ORDER BY seq DESC LIMIT 1 OFFSET ?3",
        )?
        .query_row((entry.id, key, stored(CLOSED_CONFLICTS_PER_RECORD)?), |row| row.get(0))
        .optional()?;
    old.map_or(Ok(()), |id| remove(work, &id, by))
}

/// Removes a row: a tombstone tells the nodes.
pub(super) fn remove(work: &mut Work<'_>, id: &str, by: &By<'_>) -> Result<(), StoreError> {
    let column: Option<String> = current(work, id)?.and_then(|(_, column)| column);
    write_row(work, id, column.as_deref(), TOMBSTONE, "{}", by)?;
    work.conn.prepare_cached("DELETE FROM conflicts WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// The rows about a record go where the record went.
pub(super) fn follow(work: &mut Work<'_>, entry: &Entry, change: &RecordChange, by: &By<'_>) -> Result<(), StoreError> {
    let ids: Vec<String> = work
        .conn
        .prepare_cached("SELECT id FROM conflicts WHERE collection = ?1 AND key = ?2 AND hidden = 0")?
        .query_map((entry.id, change.key.as_str()), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let name = change.collection.as_str();
    let partition = change.stored.place.as_ref().map(|partition| share::conflict_partition(name, partition.as_deref()));
    let place = partition.map(|partition| share::encode(Some(&partition)));
    for id in ids {
        let column = current(work, &id)?.and_then(|(_, column)| column);
        if column != place {
            let value: String = work
                .conn
                .prepare_cached("SELECT value FROM records WHERE collection = ?1 AND key = ?2")?
                .query_row((conflicts_id(work.conn)?, &id), |row| row.get(0))?;
            write_row(work, &id, place.as_deref(), LIVE, &value, by)?;
        }
    }
    Ok(())
}

/// Where a row's record was born and is now.
fn current(work: &Work<'_>, id: &str) -> Result<Option<(u64, Option<String>)>, StoreError> {
    let found: Option<(i64, Option<String>)> = work
        .conn
        .prepare_cached("SELECT born, share FROM records WHERE collection = ?1 AND key = ?2")?
        .query_row((conflicts_id(work.conn)?, id), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    found.map(|(born, column)| Ok((counted(born)?, column))).transpose()
}

fn write_row(work: &mut Work<'_>, id: &str, place: Option<&str>, deleted: i64, value: &str, by: &By<'_>) -> Result<(), StoreError> {
    let collection = conflicts_id(work.conn)?;
    let name = CollectionName::conflicts();
    let before = current(work, id)?;
    let born = before.as_ref().map_or(by.revision, |(born, _)| *born);
    // Nobody writes these rows but the cloud, so their clocks say only who made them.
    let clocks = Clocks::new(Stamp { revision: Revision(born), hlc: Hlc::default(), database: 0 }).encode();
    put_record(work, &RecordRow { collection, key: id, born, share: place, deleted, clocks: &clocks, value }, by)?;
    touch(work, collection, &name, place);
    if let Some(place) = place {
        come_back(work, collection, place, id)?;
    }
    match before.and_then(|(_, column)| column) {
        Some(column) if Some(column.as_str()) != place => leave(work, collection, &name, &column, id, by.revision),
        _ => Ok(()),
    }
}
