//! Conflict rows: records of `_conflicts` that come from the cloud like any other, with an index that says which
//! record each is about.

use std::str::FromStr;

use proto::names::{CollectionName, Key};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Deserialize;

use crate::error::{Done, Fault, ReadError};
use crate::ledger::Ledger;
use crate::limits::{LIST_BYTES, LIST_LIMIT};
use crate::reader::Reader;

/// Whether a person is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConflictState {
    /// A person decides.
    Open,
    /// The rules decided; the row keeps the loser.
    Auto,
    /// A person decided.
    Resolved,
}

/// Not `open`, `auto` or `resolved`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a conflict is open, auto or resolved")]
pub struct BadConflictState;

impl FromStr for ConflictState {
    type Err = BadConflictState;

    fn from_str(text: &str) -> Result<Self, BadConflictState> {
        match text {
            "open" => Ok(Self::Open),
            "auto" => Ok(Self::Auto),
            "resolved" => Ok(Self::Resolved),
            _ => Err(BadConflictState),
        }
    }
}

/// One conflict row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictRow {
    /// Its id.
    pub id: String,
    /// The collection of the record that it is about.
    pub collection: String,
    /// The key of that record.
    pub key: String,
    /// Whether a person is needed.
    pub state: ConflictState,
    /// The whole row, as JSON text.
    pub row: String,
}

/// One page of conflict rows, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConflictsPage {
    /// The rows.
    pub conflicts: Vec<ConflictRow>,
    /// The last id, when there may be more.
    pub next: Option<String>,
}

/// The members of a row that the index needs.
#[derive(Debug, Deserialize)]
pub(crate) struct About {
    collection: String,
    key: String,
    state: ConflictState,
}

impl About {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("not a conflict row: {error}"))
    }
}

/// Whether a collection is that of the rows.
pub(crate) fn is(name: &CollectionName) -> bool {
    name.as_str() == "_conflicts"
}

fn code(state: ConflictState) -> i64 {
    match state {
        ConflictState::Open => 0,
        ConflictState::Auto => 1,
        ConflictState::Resolved => 2,
    }
}

/// Follows a row that was stored (`Some`) or removed.
pub(crate) fn follow(conn: &Connection, ledger: &mut Ledger, id: &Key, about: Option<&About>) -> Done<()> {
    let mut before = conn.prepare_cached("SELECT collection, key FROM conflicts WHERE id = ?1 AND state = 0")?;
    let was: Option<(String, String)> = before.query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let is = about.filter(|about| about.state == ConflictState::Open).map(|about| (about.collection.clone(), about.key.clone()));
    match about {
        Some(about) => {
            let mut statement =
                conn.prepare_cached("INSERT OR REPLACE INTO conflicts (id, collection, key, state) VALUES (?1, ?2, ?3, ?4)")?;
            statement.execute(params![id.as_str(), about.collection, about.key, code(about.state)])?;
        }
        None => drop(conn.prepare_cached("DELETE FROM conflicts WHERE id = ?1")?.execute([id.as_str()])?),
    }
    let meta = &mut ledger.meta;
    meta.conflicts_open = meta.conflicts_open.saturating_add(u64::from(is.is_some())).saturating_sub(u64::from(was.is_some()));
    if was == is {
        return Ok(());
    }
    was.iter().chain(&is).try_for_each(|(collection, key)| note(conn, ledger, collection, key))
}

/// Readers see at a record which open conflicts it has.
fn note(conn: &Connection, ledger: &mut Ledger, collection: &str, key: &str) -> Done<()> {
    let known = CollectionName::parse(collection).ok().and_then(|name| ledger.collections.get(&name)).map(|known| known.id);
    known.map_or(Ok(()), |id| ledger.note(conn, id, key))
}

/// Follows a row as readers see it: base, or a resolution that waits for its outcome laid over it.
pub(crate) fn follow_view(conn: &Connection, ledger: &mut Ledger, id: &Key, view: Option<&str>) -> Done<()> {
    let about = view.map(About::parse).transpose().map_err(|error| Fault::damaged("a conflict row", error))?;
    follow(conn, ledger, id, about.as_ref())
}

/// After rows of `_conflicts` were removed together.
pub(crate) fn forget_missing(conn: &Connection, ledger: &mut Ledger) -> Done<()> {
    let name = CollectionName::conflicts();
    let mut gone = conn.prepare(
        "DELETE FROM conflicts WHERE id NOT IN (SELECT key FROM base WHERE collection = (SELECT id FROM collections WHERE name = ?1)) \
         RETURNING collection, key, state",
    )?;
    let mut rows = gone.query([name.as_str()])?;
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(2)? == code(ConflictState::Open) {
            note(conn, ledger, row.get_ref(0)?.as_str().unwrap_or_default(), row.get_ref(1)?.as_str().unwrap_or_default())?;
        }
    }
    ledger.meta.conflicts_open =
        conn.query_row("SELECT count(*) FROM conflicts WHERE state = 0", [], |row| crate::ledger::number(row, 0))?;
    Ok(())
}

/// The open conflicts of a record.
pub(crate) fn open_of(conn: &Connection, collection: &str, key: &Key) -> Done<Vec<String>> {
    let mut statement = conn.prepare_cached("SELECT id FROM conflicts WHERE collection = ?1 AND key = ?2 AND state = 0 ORDER BY id")?;
    let ids = statement.query_map(params![collection, key.as_str()], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

const ROWS: &str = "SELECT conflicts.id, conflicts.collection, conflicts.key, conflicts.state, coalesce(overlay.value, base.value) \
    FROM conflicts JOIN base ON base.collection = (SELECT id FROM collections WHERE name = '_conflicts') AND base.key = conflicts.id \
    LEFT JOIN overlay ON overlay.collection = base.collection AND overlay.key = base.key WHERE ";

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<ConflictRow> {
    let state = match row.get::<_, i64>(3)? {
        0 => ConflictState::Open,
        1 => ConflictState::Auto,
        _ => ConflictState::Resolved,
    };
    Ok(ConflictRow { id: row.get(0)?, collection: row.get(1)?, key: row.get(2)?, state, row: row.get(4)? })
}

impl Reader {
    /// Conflict rows of a state (none: all of them), in the order of their ids.
    pub fn conflicts(&mut self, state: Option<ConflictState>, after: Option<&str>, limit: usize) -> Result<ConflictsPage, ReadError> {
        self.ask(|conn| {
            let (filter, state) = match state {
                Some(state) => ("conflicts.state = ?3 AND conflicts.id > ?1 ORDER BY conflicts.id LIMIT ?2", code(state)),
                None => ("conflicts.id > ?1 AND ?3 < 0 ORDER BY conflicts.id LIMIT ?2", -1),
            };
            let mut statement = conn.prepare_cached(&format!("{ROWS}{filter}"))?;
            let limit = limit.clamp(1, LIST_LIMIT);
            let mut rows = statement.query_map(params![after.unwrap_or(""), limit as i64 + 1, state], read)?;
            let (mut page, mut bytes) = (ConflictsPage::default(), 0);
            while let Some(found) = rows.next().transpose()? {
                bytes += found.row.len();
                if page.conflicts.len() == limit || (bytes > LIST_BYTES && !page.conflicts.is_empty()) {
                    page.next = page.conflicts.last().map(|last| last.id.clone());
                    break;
                }
                page.conflicts.push(found);
            }
            Ok(page)
        })
    }

    /// One conflict row.
    pub fn conflict(&mut self, id: &str) -> Result<Option<ConflictRow>, ReadError> {
        self.ask(|conn| find(conn, id))
    }
}

/// One conflict row, in whatever state `conn` reads.
pub(crate) fn find(conn: &Connection, id: &str) -> Done<Option<ConflictRow>> {
    Ok(conn.prepare_cached(&format!("{ROWS}conflicts.id = ?1"))?.query_row([id], read).optional()?)
}
