//! One page of a collection. In key order without an index base and overlay are merged as they are read; every other list is
//! read as [`proto::list`] plans it.

use proto::json::Value;
use proto::list::walk::{self, Room};
use proto::list::{self, ListQuery, Plan, Position};
use rusqlite::{Connection, OptionalExtension, Rows, params};

use crate::base::Base;
use crate::conflicts;
use crate::error::{Done, Fault, ReadError};
use crate::follow::{self, Since};
use crate::indexes;
use crate::ledger::record_key;
use crate::limits::{LIST_BYTES, LIST_LIMIT};
use crate::list_source::Tables;
use crate::reader::{self, Reader};
use crate::view::{LaidRow, ViewRow, merge};

/// One page.
#[derive(Debug, Clone, PartialEq)]
pub struct ListPage {
    /// The records, in the order that was asked for.
    pub records: Vec<ViewRow>,
    /// The place of what was looked at last, when there may be more.
    pub next: Option<Position>,
    /// Where the log of changes ended in the state that was listed.
    pub since: Since,
}

impl Reader {
    /// One page of a collection, all of it of one state.
    pub fn list(&mut self, query: &ListQuery) -> Result<ListPage, ReadError> {
        let id = self.id(&query.collection)?;
        let page = self.ask(|conn| {
            let state = conn.unchecked_transaction()?;
            let page = page(&state, id, query)?;
            state.finish()?;
            Ok(page)
        })?;
        page.unwrap_or_else(|| Err(self.unknown(&query.collection)?))
    }
}

/// None: this node does not get the collection.
fn page(conn: &Connection, id: i64, query: &ListQuery) -> Done<Option<Result<ListPage, ReadError>>> {
    let plain = query.order.fields.is_empty() && query.conditions.is_empty();
    let Some(declared) = declared(conn, id, plain)? else { return Ok(None) };
    let plan = match Plan::choose(query, &indexes::read(declared.as_deref())) {
        Ok(plan) => plan,
        Err(error) => return Ok(Some(Err(error.into()))),
    };
    let room = Room::new(query.limit.clamp(1, LIST_LIMIT), LIST_BYTES);
    let page = if plan.index.is_none() && query.keys.is_empty() && !query.order.key_descending {
        scan(conn, id, query, room)
    } else {
        walk::page(&mut Tables { conn, id, collection: &query.collection }, query, &plan, room)
    };
    let (page, since) = (page?, follow::end(conn)?);
    Ok(Some(Ok(ListPage { records: page.records, next: page.next, since })))
}

/// The `indexes` of a collection's definition, where they matter; none: there is no such collection here.
fn declared(conn: &Connection, id: i64, plain: bool) -> Done<Option<Option<String>>> {
    let sql = if plain {
        "SELECT NULL FROM collections WHERE id = ?1 AND (definition IS NOT NULL OR name LIKE '\\_%' ESCAPE '\\')"
    } else {
        "SELECT json_extract(definition, '$.indexes') FROM collections WHERE id = ?1 AND (definition IS NOT NULL OR name LIKE '\\_%' ESCAPE '\\')"
    };
    Ok(conn.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?)
}

fn matches(query: &ListQuery, row: &ViewRow) -> Done<bool> {
    if query.conditions.is_empty() {
        return Ok(true);
    }
    let value = Value::read(&row.value).map_err(|error| Fault::damaged("a stored value", error))?;
    Ok(query.conditions.iter().all(|condition| condition.matches(&value)))
}

/// In key order, upwards.
pub(crate) fn scan(conn: &Connection, id: i64, query: &ListQuery, mut room: Room) -> Done<list::ListPage<ViewRow>> {
    let mut merged = Merged::new(conn)?;
    merged.with(id, query, |rows| {
        let mut page = list::ListPage { records: Vec::new(), next: None };
        let mut last = query.after.clone();
        while let Some((key, row)) = rows.next()? {
            if !query.starts(&key) {
                break;
            }
            if !room.look(page.records.len()) {
                page.next = last;
                break;
            }
            if let Some(row) = row
                && matches(query, &row)?
            {
                if !room.take(page.records.len(), row.value.len()) {
                    page.next = last;
                    break;
                }
                page.records.push(row);
            }
            last = Some(Position::of_key(&key));
        }
        Ok(page)
    })
}

/// The statements of a merged scan; rows borrow them.
struct Merged<'c> {
    conn: &'c Connection,
    base: rusqlite::CachedStatement<'c>,
    laid: rusqlite::CachedStatement<'c>,
}

impl<'c> Merged<'c> {
    fn new(conn: &'c Connection) -> Done<Self> {
        let base = conn.prepare_cached(
            "SELECT key, value, updated_ms, revision, born, actor, writer, NULL FROM base \
             WHERE collection = ?1 AND key >= ?2 AND key <> ?3 ORDER BY key",
        )?;
        let laid = conn.prepare_cached(
            "SELECT key, value, at_ms, 0, 0, actor, NULL, laid FROM overlay WHERE collection = ?1 AND key >= ?2 AND key <> ?3 ORDER BY key",
        )?;
        Ok(Self { conn, base, laid })
    }

    fn with<T>(&mut self, id: i64, query: &ListQuery, read: impl FnOnce(&mut MergedRows<'_>) -> Done<T>) -> Done<T> {
        let prefix = query.prefix.as_deref().unwrap_or("");
        let after = query.after.as_ref().map_or("", |after| after.key.as_str());
        // One lower bound: of two, SQLite seeks to the first and walks to the second.
        let from = prefix.max(after);
        let conflicts = self.conn.prepare_cached("SELECT 1 FROM meta WHERE conflicts_open > 0")?.exists([])?;
        let mut rows = MergedRows {
            base: self.base.query(params![id, from, after])?,
            laid: self.laid.query(params![id, from, after])?,
            next_base: None,
            next_laid: None,
            conflicts: conflicts.then_some((self.conn, query.collection.as_str())),
        };
        rows.step_base()?;
        rows.step_laid()?;
        read(&mut rows)
    }
}

/// Both scans, the next row of each read ahead.
struct MergedRows<'s> {
    base: Rows<'s>,
    laid: Rows<'s>,
    next_base: Option<(String, Base)>,
    next_laid: Option<(String, LaidRow)>,
    conflicts: Option<(&'s Connection, &'s str)>,
}

impl MergedRows<'_> {
    fn step_base(&mut self) -> Done<Option<(String, Base)>> {
        let next = match self.base.next()? {
            Some(row) => Some((row.get(0)?, reader::base_row(row, true)?)),
            None => None,
        };
        Ok(std::mem::replace(&mut self.next_base, next))
    }

    fn step_laid(&mut self) -> Done<Option<(String, LaidRow)>> {
        let next = match self.laid.next()? {
            Some(row) => Some((row.get(0)?, reader::laid(row)?)),
            None => None,
        };
        Ok(std::mem::replace(&mut self.next_laid, next))
    }

    /// The next key, and what readers see there: nothing where laid ops delete the record.
    fn next(&mut self) -> Done<Option<(String, Option<ViewRow>)>> {
        let order = match (&self.next_base, &self.next_laid) {
            (None, None) => return Ok(None),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((base, _)), Some((laid, _))) => base.cmp(laid),
        };
        let base = if order.is_le() { self.step_base()? } else { None };
        let laid = if order.is_ge() { self.step_laid()? } else { None };
        let Some(text) = base.as_ref().map(|(key, _)| key).or(laid.as_ref().map(|(key, _)| key)).cloned() else { return Ok(None) };
        let key = record_key(&text)?;
        let open = match self.conflicts {
            Some((conn, collection)) => conflicts::open_of(conn, collection, &key)?,
            None => Vec::new(),
        };
        let row = merge(&key, laid.map(|(_, laid)| laid), base.map(|(_, base)| base), open);
        Ok(Some((text, row)))
    }
}
