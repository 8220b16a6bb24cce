//! Lists: records with filters, exports, conflicts.

use proto::definition::Definition;
use proto::ids::Revision;
use proto::json::{Raw, Value};
use proto::names::{CollectionName, Key};
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::{StoreError, counted, stored};
use super::reads::{head, record, record_row};
use super::rows::{ConflictRow, ConflictsRequest, ExportPage, ListRequest, RecordPage};
use super::scan::to_key;
use crate::limits::{LIST_LOOKS, PAGE_BYTES, PAGE_ROWS};

/// A page of records in key order.
pub(super) fn list(conn: &Connection, collection: i64, request: &ListRequest) -> Result<RecordPage, StoreError> {
    let head = Revision(head(conn)?);
    let limit = request.limit.clamp(1, PAGE_ROWS);
    if !request.keys.is_empty() {
        return named(conn, collection, request, limit, head);
    }
    let mut page = RecordPage { records: Vec::new(), next: None, head };
    let mut query = conn.prepare_cached(
        "SELECT key, revision, born, updated_ms, writer, actor, value FROM records
         WHERE collection = ?1 AND key > ?2 AND key >= ?3 AND deleted = 0 ORDER BY key",
    )?;
    let prefix = request.prefix.as_deref().unwrap_or_default();
    let mut rows = query.query((collection, request.after.as_ref().map_or("", Key::as_str), prefix))?;
    let (mut bytes, mut last) = (0, None);
    for looks in 0.. {
        let Some(row) = rows.next()? else { break };
        let key = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        if !key.starts_with(prefix) {
            break;
        }
        if page.records.len() >= limit || bytes >= PAGE_BYTES || looks >= LIST_LOOKS {
            page.next = last;
            break;
        }
        last = Some(to_key(key)?);
        let value = row.get_ref(6)?.as_str().map_err(rusqlite::Error::from)?;
        if matches(value, &request.filters)? {
            bytes += value.len();
            page.records.push(record_row(conn, collection, &request.collection, row)?);
        }
    }
    Ok(page)
}

/// The records of a list of keys.
fn named(conn: &Connection, collection: i64, request: &ListRequest, limit: usize, head: Revision) -> Result<RecordPage, StoreError> {
    let prefix = request.prefix.as_deref().unwrap_or_default();
    let mut keys: Vec<_> = request.keys.iter().filter(|key| key.as_str().starts_with(prefix)).collect();
    keys.retain(|key| request.after.as_ref().is_none_or(|after| *key > after));
    keys.sort();
    keys.dedup();
    let mut page = RecordPage { records: Vec::new(), next: None, head };
    let mut last: Option<&Key> = None;
    for key in keys {
        if page.records.len() >= limit {
            page.next = last.cloned();
            break;
        }
        last = Some(key);
        if let Some(row) = record(conn, collection, &request.collection, key)?
            && matches(&row.value, &request.filters)?
        {
            page.records.push(row);
        }
    }
    Ok(page)
}

/// Whether a value passes all filters.
fn matches(value: &str, filters: &[(String, String)]) -> Result<bool, StoreError> {
    if filters.is_empty() {
        return Ok(true);
    }
    let value = Value::read(value).map_err(|error| StoreError::Damaged(format!("value: {error}")))?;
    Ok(filters.iter().all(|(field, text)| value.get(field).is_some_and(|raw| spells(raw, text))))
}

/// Whether a text is a string's content, or spells the number, `true`, `false` or `null`.
fn spells(raw: &Raw, text: &str) -> bool {
    match raw.as_text() {
        Some(own) => own == text,
        None => Raw::parse(text).is_ok_and(|spelled| !spelled.as_str().starts_with(['{', '[', '"']) && spelled.same(raw)),
    }
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
