//! Lists: records with filters, exports, conflicts.

use proto::definition::Definition;
use proto::ids::Revision;
use proto::json::Value;
use proto::list::walk::{self, Room};
use proto::list::{ListPage, ListQuery, Plan, Position};
use proto::names::{CollectionName, Key};
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::{StoreError, counted, stored};
use super::list_source::Records;
use super::reads::{head, record_row};
use super::refused::Refused;
use super::rows::{ConflictRow, ConflictsRequest, ExportPage, RecordPage, RecordRow};
use super::scan::to_key;
use super::watch;
use crate::limits::{PAGE_BYTES, PAGE_ROWS};

/// A page of records.
pub(super) fn list(
    conn: &Connection,
    collection: i64,
    definition: &Definition,
    query: &ListQuery,
) -> Result<Result<RecordPage, Refused>, StoreError> {
    let head = Revision(head(conn)?);
    let plan = match Plan::choose(query, &definition.index_list()) {
        Ok(plan) => plan,
        Err(error) => return Ok(Err(error.into())),
    };
    let room = Room::new(query.limit.clamp(1, PAGE_ROWS), PAGE_BYTES);
    let page = if plan.index.is_none() && query.keys.is_empty() && !query.order.key_descending {
        scan(conn, collection, query, room)?
    } else {
        walk::page(&mut Records { conn, id: collection, collection: &query.collection }, query, &plan, room)?
    };
    Ok(Ok(RecordPage { records: page.records, next: page.next, since: watch::end(conn)?, head }))
}

/// In key order, upwards.
pub(super) fn scan(conn: &Connection, collection: i64, query: &ListQuery, mut room: Room) -> Result<ListPage<RecordRow>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT key, revision, born, updated_ms, writer, actor, value FROM records
         WHERE collection = ?1 AND key >= ?2 AND key <> ?3 AND deleted = 0 ORDER BY key",
    )?;
    let after = query.after.as_ref().map_or("", |after| after.key.as_str());
    // One lower bound: of two, SQLite seeks to the first and walks to the second.
    let from = query.prefix.as_deref().unwrap_or_default().max(after);
    let mut rows = statement.query((collection, from, after))?;
    let mut page = ListPage { records: Vec::new(), next: None };
    let mut last = query.after.clone();
    while let Some(row) = rows.next()? {
        let key = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        if !query.starts(key) {
            break;
        }
        if !room.look(page.records.len()) {
            page.next = last;
            break;
        }
        let value = row.get_ref(6)?.as_str().map_err(rusqlite::Error::from)?;
        if matches(value, query)? {
            if !room.take(page.records.len(), value.len()) {
                page.next = last;
                break;
            }
            page.records.push(record_row(conn, collection, &query.collection, row)?);
        }
        last = Some(Position::of_key(key));
    }
    Ok(page)
}

/// Whether a value fulfils all conditions.
fn matches(value: &str, query: &ListQuery) -> Result<bool, StoreError> {
    if query.conditions.is_empty() {
        return Ok(true);
    }
    let value = Value::read(value).map_err(|error| StoreError::Damaged(format!("value: {error}")))?;
    Ok(query.conditions.iter().all(|condition| condition.matches(&value)))
}

/// A page of an export.
pub(super) fn export(conn: &Connection, collection: i64, definition: &Definition, after: Option<&Key>) -> Result<ExportPage, StoreError> {
    let mut page = ExportPage { records: Vec::new(), key_in_value: definition.key.is_some(), next: None };
    let mut query =
        conn.prepare_cached("SELECT key, value FROM records WHERE collection = ?1 AND key > ?2 AND deleted = 0 ORDER BY key")?;
    let mut rows = query.query((collection, after.map_or("", Key::as_str)))?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        if page.records.len() >= PAGE_ROWS || bytes >= PAGE_BYTES {
            page.next = page.records.last().map(|(key, _)| key.clone());
            break;
        }
        let (key, value): (String, String) = (row.get(0)?, row.get(1)?);
        bytes += value.len();
        page.records.push((to_key(&key)?, value));
    }
    Ok(page)
}

const CONFLICT: &str = "SELECT c.seq, c.id, o.name, c.key, c.state, r.value FROM conflicts c JOIN collections o ON o.id = c.collection
     JOIN records r ON r.collection = (SELECT id FROM collections WHERE name = '_conflicts') AND r.key = c.id";

/// A conflict row.
pub(super) fn conflict(conn: &Connection, id: &str) -> Result<Option<ConflictRow>, StoreError> {
    conn.prepare_cached(&format!("{CONFLICT} WHERE c.id = ?1"))?.query_row([id], |row| Ok(conflict_row(row))).optional()?.transpose()
}

/// Conflict rows, oldest first.
pub(super) fn conflicts(conn: &Connection, request: &ConflictsRequest) -> Result<(Vec<ConflictRow>, Option<u64>), StoreError> {
    let limit = request.limit.clamp(1, PAGE_ROWS);
    let after = stored(request.after.unwrap_or(0))?;
    let names = request.collections.as_ref().map(|names| names.iter().map(CollectionName::as_str).collect::<Vec<_>>());
    let mut query = conn.prepare_cached(&format!(
        "{CONFLICT} WHERE c.seq > ?1 {} AND (?3 IS NULL OR o.name IN (SELECT value FROM json_each(?3))) ORDER BY c.seq",
        if request.state.is_some() { "AND c.state = ?2" } else { "AND ?2 IS NULL" }
    ))?;
    // A list of strings always serialises.
    let names = names.map(|names| serde_json::to_string(&names).unwrap_or_default());
    let mut rows = query.query((after, request.state.as_deref(), names))?;
    let (mut found, mut bytes) = (Vec::<ConflictRow>::new(), 0);
    while let Some(row) = rows.next()? {
        if found.len() >= limit || bytes >= PAGE_BYTES {
            let next = found.last().map(|last| last.seq);
            return Ok((found, next));
        }
        let row = conflict_row(row)?;
        bytes += row.json.len();
        found.push(row);
    }
    Ok((found, None))
}

fn conflict_row(row: &Row<'_>) -> Result<ConflictRow, StoreError> {
    let name: String = row.get(2)?;
    Ok(ConflictRow {
        seq: counted(row.get(0)?)?,
        id: row.get(1)?,
        collection: CollectionName::parse(&name).map_err(|error| StoreError::Damaged(error.to_string()))?,
        key: row.get(3)?,
        state: row.get(4)?,
        json: row.get(5)?,
    })
}
