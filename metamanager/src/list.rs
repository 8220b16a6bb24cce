//! One page of a collection: base and overlay, each in key order, merged as they are read.

use std::collections::BTreeSet;

use proto::json::{Raw, Value};
use proto::names::{CollectionName, Key};
use rusqlite::{Connection, Rows, params};

use crate::base::Base;
use crate::conflicts;
use crate::error::{Done, Fault, ReadError};
use crate::follow::{self, Since};
use crate::ledger::record_key;
use crate::limits::{LIST_BYTES, LIST_KEYS, LIST_LIMIT};
use crate::reader::{self, Reader};
use crate::view::{LaidRow, ViewRow, merge};

/// Which records to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// The collection.
    pub collection: CollectionName,
    /// Only keys above this one.
    pub after: Option<String>,
    /// Only keys that start with this.
    pub prefix: Option<String>,
    /// Only these (the first 100); empty: all.
    pub keys: Vec<Key>,
    /// Top-level fields and texts, all of which must match: the string, or the JSON number, `true`, `false` or `null`
    /// that the text spells.
    pub filters: Vec<(String, String)>,
    /// At most this many, up to 1,000.
    pub limit: usize,
}

/// One page, in byte order of the keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListPage {
    /// The records.
    pub records: Vec<ViewRow>,
    /// The last key that was looked at, when there may be more.
    pub next: Option<String>,
    /// Where the log of changes ended in the state that was listed.
    pub since: Since,
    bytes: usize,
}

impl ListPage {
    /// Takes a row while there is room, else says that there is more.
    fn take(&mut self, row: ViewRow, limit: usize) -> bool {
        let full = self.records.len() >= limit.clamp(1, LIST_LIMIT) || self.bytes + row.value.len() > LIST_BYTES;
        if let (true, Some(last)) = (full, self.records.last()) {
            self.next = Some(last.key.to_string());
            return false;
        }
        self.bytes += row.value.len();
        self.records.push(row);
        true
    }
}

impl Reader {
    /// One page of a collection, all of it of one state.
    pub fn list(&mut self, query: &ListQuery) -> Result<ListPage, ReadError> {
        let id = self.id(&query.collection)?;
        let filters: Vec<_> = query.filters.iter().map(|(field, text)| Filter::new(field, text)).collect();
        let page = self.ask(|conn| {
            let state = conn.unchecked_transaction()?;
            if !conn
                .prepare_cached("SELECT 1 FROM collections WHERE id = ?1 AND (definition IS NOT NULL OR name LIKE '\\_%' ESCAPE '\\')")?
                .exists([id])?
            {
                return Ok(None);
            }
            let mut page = if query.keys.is_empty() { range(&state, id, query, &filters)? } else { named(&state, id, query, &filters)? };
            page.since = follow::end(&state)?;
            state.finish()?;
            Ok(Some(page))
        })?;
        page.map_or_else(|| Err(self.unknown(&query.collection)?), Ok)
    }
}

/// A condition on one field, ready to be compared.
#[derive(Debug)]
struct Filter<'a> {
    field: &'a str,
    text: &'a str,
    /// The JSON scalar that the text spells, where it spells one.
    spelt: Option<Raw>,
}

impl<'a> Filter<'a> {
    fn new(field: &'a str, text: &'a str) -> Self {
        let scalar = text.starts_with(['-', 't', 'f', 'n', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
        Self { field, text, spelt: Raw::parse(text).ok().filter(|raw| scalar && raw.as_str() == text) }
    }

    fn matches(&self, value: &Value) -> bool {
        let Some(raw) = value.get(self.field) else { return false };
        match raw.as_text() {
            Some(text) => text == self.text,
            None => self.spelt.as_ref().is_some_and(|spelt| spelt.same(raw)),
        }
    }
}

fn matches(filters: &[Filter<'_>], row: &ViewRow) -> Done<bool> {
    if filters.is_empty() {
        return Ok(true);
    }
    let value = Value::read(&row.value).map_err(|error| Fault::damaged("a stored value", error))?;
    Ok(filters.iter().all(|filter| filter.matches(&value)))
}

fn starts(query: &ListQuery, key: &str) -> bool {
    query.prefix.as_deref().is_none_or(|prefix| key.starts_with(prefix))
}

/// Named keys, in key order; absent ones are left out.
fn named(conn: &Connection, id: i64, query: &ListQuery, filters: &[Filter<'_>]) -> Done<ListPage> {
    let keys: BTreeSet<&Key> = query.keys.iter().take(LIST_KEYS).collect();
    let after = query.after.as_deref().unwrap_or("");
    let mut page = ListPage::default();
    for key in keys.into_iter().filter(|key| key.as_str() > after && starts(query, key.as_str())) {
        let Some(row) = reader::point(conn, reader::POINT, id, &query.collection, key)? else { continue };
        if matches(filters, &row)? && !page.take(row, query.limit) {
            break;
        }
    }
    Ok(page)
}

fn range(conn: &Connection, id: i64, query: &ListQuery, filters: &[Filter<'_>]) -> Done<ListPage> {
    let mut merged = Merged::new(conn)?;
    merged.with(id, query, |rows| {
        let mut page = ListPage::default();
        while let Some(row) = rows.next()? {
            if !starts(query, row.key.as_str()) {
                break;
            }
            if !matches(filters, &row)? {
                continue;
            }
            if !page.take(row, query.limit) {
                break;
            }
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
             WHERE collection = ?1 AND key >= ?2 AND key > ?3 ORDER BY key",
        )?;
        let laid = conn.prepare_cached(
            "SELECT key, value, at_ms, 0, 0, actor, NULL, laid FROM overlay WHERE collection = ?1 AND key >= ?2 AND key > ?3 ORDER BY key",
        )?;
        Ok(Self { conn, base, laid })
    }

    fn with<T>(&mut self, id: i64, query: &ListQuery, read: impl FnOnce(&mut MergedRows<'_>) -> Done<T>) -> Done<T> {
        let (prefix, after) = (query.prefix.as_deref().unwrap_or(""), query.after.as_deref().unwrap_or(""));
        let conflicts = self.conn.prepare_cached("SELECT 1 FROM meta WHERE conflicts_open > 0")?.exists([])?;
        let mut rows = MergedRows {
            base: self.base.query(params![id, prefix, after])?,
            laid: self.laid.query(params![id, prefix, after])?,
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

    /// The next record that readers see; what laid ops delete is passed over.
    fn next(&mut self) -> Done<Option<ViewRow>> {
        loop {
            let order = match (&self.next_base, &self.next_laid) {
                (None, None) => return Ok(None),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((base, _)), Some((laid, _))) => base.cmp(laid),
            };
            let base = if order.is_le() { self.step_base()? } else { None };
            let laid = if order.is_ge() { self.step_laid()? } else { None };
            let Some(key) = base.as_ref().map(|(key, _)| key).or(laid.as_ref().map(|(key, _)| key)) else { return Ok(None) };
            let key = record_key(key)?;
            let open = match self.conflicts {
                Some((conn, collection)) => conflicts::open_of(conn, collection, &key)?,
                None => Vec::new(),
            };
            if let Some(row) = merge(&key, laid.map(|(_, laid)| laid), base.map(|(_, base)| base), open) {
                return Ok(Some(row));
            }
        }
    }
}
