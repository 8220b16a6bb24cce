//! The readers: each call begins a read transaction, sees one state, and ends it.

use std::path::Path;
use std::sync::Arc;

use proto::definition::Definition;
use proto::frame::{Batch, Fill, Share};
use proto::ids::{Position, Revision, WriteId};
use proto::list::ListQuery;
use proto::names::{CollectionName, Key, NodeName};
use proto::op::{Verdict, Write};
use proto::session::cloud::Ahead;
use rusqlite::{Connection, Row};

use super::catalog::Catalog;
use super::error::{StoreError, counted, limit as row_limit, stored};
use super::heads::Shared;
use super::job::{CollectionApplied, ImportHow, ImportLine, Peer};
use super::refused::Refused;
use super::rows::{
    AccessTokenRow, CollectionRow, ConflictRow, ConflictsRequest, DeviceCounts, ExportPage, Figures, JoinTokenRow, NodeEvent, NodeRow,
    RecordFields, RecordPage, RecordRow, WriteRow, WritesRequest,
};
use super::watch::{self, WatchPage, WatchPlace};
use super::world::{to_verdict, verdict_number};
use super::{ReadAhead, ScanRequest, StoreRead, Stretch, ahead, definitions, fields, import, list, open, scan, status, tokens};
use crate::limits::PAGE_ROWS;

/// One reading connection. Every thread has its own.
pub struct SqliteReader {
    conn: Connection,
    shared: Arc<Shared>,
    catalog: Catalog,
}

impl SqliteReader {
    pub(super) fn open(path: &Path, shared: Arc<Shared>) -> Result<Self, StoreError> {
        Ok(Self { conn: open::open_reader(path)?, shared, catalog: Catalog::default() })
    }

    fn read<T>(&self, body: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.catalog.begin();
        let tx = self.conn.unchecked_transaction()?;
        let result = body(&tx)?;
        tx.finish()?;
        Ok(result)
    }

    /// Runs `body` where the collection exists.
    fn inside<T>(
        &self,
        name: &CollectionName,
        body: impl FnOnce(&Connection, i64, &Definition) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.read(|conn| match self.catalog.get(conn, name)? {
            Some(entry) => body(conn, entry.id, &entry.defined.definition).map(Some),
            None => Ok(None),
        })
    }
}

impl StoreRead for SqliteReader {
    fn head(&mut self) -> Result<Revision, StoreError> {
        self.read(|conn| Ok(Revision(head(conn)?)))
    }

    fn scan(&mut self, request: &ScanRequest<'_>) -> Result<Batch, StoreError> {
        self.read(|conn| scan::scan(conn, &self.shared, request))
    }

    fn ahead(&mut self, peer: Peer, wanted: &Ahead) -> Result<ReadAhead, StoreError> {
        self.read(|conn| ahead::read(conn, &self.shared, peer, wanted))
    }

    fn outcomes_above(&mut self, peer: Peer, acked: Revision) -> Result<u64, StoreError> {
        self.read(|conn| status::outcomes_above(conn, peer, acked))
    }

    fn behind(&mut self, node: &NodeName, at: &Position, fills: &[Fill]) -> Result<u64, StoreError> {
        self.read(|conn| status::behind(conn, &self.shared, node, at, fills))
    }

    fn record(&mut self, collection: &CollectionName, key: &Key) -> Result<Option<RecordRow>, StoreError> {
        Ok(self.inside(collection, |conn, id, _| record(conn, id, collection, key))?.flatten())
    }

    fn record_fields(&mut self, collection: &CollectionName, key: &Key) -> Result<Option<RecordFields>, StoreError> {
        Ok(self.inside(collection, |conn, id, _| fields::read(conn, id, collection, key))?.flatten())
    }

    fn list(&mut self, query: &ListQuery) -> Result<Result<RecordPage, Refused>, StoreError> {
        let page = self.inside(&query.collection, |conn, id, definition| list::list(conn, id, definition, query))?;
        Ok(page.unwrap_or_else(|| Err(Refused::NoCollection(query.collection.clone()))))
    }

    fn export(&mut self, collection: &CollectionName, after: Option<&Key>) -> Result<Option<ExportPage>, StoreError> {
        self.inside(collection, |conn, id, definition| list::export(conn, id, definition, after))
    }

    fn check_import(&mut self, how: &ImportHow, lines: &[ImportLine], now_ms: u64) -> Result<Result<(), Refused>, StoreError> {
        self.read(|conn| import::check(conn, &self.catalog, how, lines, now_ms))
    }

    fn collections(&mut self) -> Result<Vec<CollectionRow>, StoreError> {
        self.read(|conn| collections(conn, None))
    }

    fn collection(&mut self, name: &CollectionName) -> Result<Option<CollectionRow>, StoreError> {
        Ok(self.read(|conn| collections(conn, Some(name)))?.pop())
    }

    fn try_definition(&mut self, name: &CollectionName, definition: &Definition) -> Result<Result<CollectionApplied, Refused>, StoreError> {
        self.read(|conn| definitions::dry_run(conn, name, definition))
    }

    fn write(&mut self, id: &WriteId) -> Result<Option<WriteRow>, StoreError> {
        self.read(|conn| write(conn, id))
    }

    fn writes(&mut self, request: &WritesRequest) -> Result<(Vec<WriteRow>, Option<Revision>), StoreError> {
        self.read(|conn| writes(conn, request))
    }

    fn conflict(&mut self, id: &str) -> Result<Option<ConflictRow>, StoreError> {
        self.read(|conn| list::conflict(conn, id))
    }

    fn conflicts(&mut self, request: &ConflictsRequest) -> Result<(Vec<ConflictRow>, Option<u64>), StoreError> {
        self.read(|conn| list::conflicts(conn, request))
    }

    fn knows(&mut self, name: &CollectionName) -> Result<bool, StoreError> {
        Ok(self.inside(name, |_, _, _| Ok(()))?.is_some())
    }

    fn collection_names(&mut self) -> Result<Vec<CollectionName>, StoreError> {
        self.read(|conn| {
            let mut query = conn.prepare_cached("SELECT name FROM collections WHERE name NOT LIKE '\\_%' ESCAPE '\\' ORDER BY name")?;
            let names = query.query_map([], |row| row.get::<_, String>(0))?;
            names.map(|name| CollectionName::parse(&name?).map_err(|error| StoreError::Damaged(error.to_string()))).collect()
        })
    }

    fn watch_end(&mut self) -> Result<WatchPlace, StoreError> {
        self.read(watch::end)
    }

    fn watch(&mut self, from: &WatchPlace, wanted: &dyn Fn(&CollectionName) -> bool) -> Result<WatchPage, StoreError> {
        self.read(|conn| watch::read(conn, from, wanted))
    }

    fn stretch(&mut self, collection: &CollectionName, after: Option<&Key>) -> Result<Option<Stretch>, StoreError> {
        self.inside(collection, |conn, id, _| watch::stretch(conn, id, collection, after))
    }

    fn node(&mut self, name: &NodeName) -> Result<Option<NodeRow>, StoreError> {
        self.read(|conn| status::node(conn, name))
    }

    fn nodes(&mut self, after: Option<&NodeName>, limit: usize) -> Result<Vec<NodeRow>, StoreError> {
        self.read(|conn| status::nodes(conn, after, limit))
    }

    fn granted(&mut self, node: &NodeName) -> Result<Option<Vec<Share>>, StoreError> {
        self.read(|conn| status::granted(conn, &self.shared, node))
    }

    fn devices(&mut self, node: &NodeName) -> Result<DeviceCounts, StoreError> {
        self.read(|conn| status::devices(conn, node))
    }

    fn events(&mut self, node: &NodeName) -> Result<Option<Vec<NodeEvent>>, StoreError> {
        self.read(|conn| status::events(conn, node))
    }

    fn join_tokens(&mut self, now_ms: u64) -> Result<Vec<JoinTokenRow>, StoreError> {
        self.read(|conn| tokens::join_tokens(conn, now_ms))
    }

    fn may_join(&mut self, secret_hash: &[u8; 32], node: Option<&NodeName>, now_ms: u64) -> Result<Result<NodeName, Refused>, StoreError> {
        self.read(|conn| Ok(tokens::permit(conn, secret_hash, node, now_ms)?.map(|permit| permit.node)))
    }

    fn access_tokens(&mut self, now_ms: u64) -> Result<Vec<AccessTokenRow>, StoreError> {
        self.read(|conn| tokens::access_tokens(conn, now_ms))
    }

    fn access_token(&mut self, hash: &[u8; 32], now_ms: u64) -> Result<Option<AccessTokenRow>, StoreError> {
        self.read(|conn| tokens::access_token(conn, hash, now_ms))
    }

    fn figures(&mut self) -> Result<Figures, StoreError> {
        self.read(status::figures)
    }
}

/// The newest revision of this state.
pub(super) fn head(conn: &Connection) -> Result<u64, StoreError> {
    counted(conn.prepare_cached("SELECT head FROM meta WHERE id = 1")?.query_row([], |row| row.get(0))?)
}

/// A live record, with the ids of its open conflicts.
pub(super) fn record(conn: &Connection, collection: i64, name: &CollectionName, key: &Key) -> Result<Option<RecordRow>, StoreError> {
    let mut query = conn.prepare_cached(
        "SELECT key, revision, born, updated_ms, writer, actor, value FROM records
         WHERE collection = ?1 AND key = ?2 AND deleted = 0",
    )?;
    let mut rows = query.query((collection, key.as_str()))?;
    rows.next()?.map(|row| record_row(conn, collection, name, row)).transpose()
}

/// A row `key, revision, born, updated_ms, writer, actor, value`.
pub(super) fn record_row(conn: &Connection, collection: i64, name: &CollectionName, row: &Row<'_>) -> Result<RecordRow, StoreError> {
    let key: String = row.get(0)?;
    Ok(RecordRow {
        collection: name.clone(),
        conflicts: open_conflicts(conn, collection, &key)?,
        key: scan::to_key(&key)?,
        revision: Revision(counted(row.get(1)?)?),
        born: Revision(counted(row.get(2)?)?),
        updated_ms: counted(row.get(3)?)?,
        writer: row.get(4)?,
        actor: row.get(5)?,
        value: row.get(6)?,
    })
}

fn open_conflicts(conn: &Connection, collection: i64, key: &str) -> Result<Vec<String>, StoreError> {
    Ok(conn
        .prepare_cached("SELECT id FROM conflicts WHERE collection = ?1 AND key = ?2 AND state = 'open' ORDER BY seq LIMIT ?3")?
        .query_map((collection, key, row_limit(PAGE_ROWS)), |row| row.get(0))?
        .collect::<Result<_, _>>()?)
}

fn collections(conn: &Connection, only: Option<&CollectionName>) -> Result<Vec<CollectionRow>, StoreError> {
    let mut query = conn.prepare_cached(
        "SELECT name, revision, definition, (SELECT count(*) FROM records WHERE collection = c.id AND deleted = 0)
         FROM collections c WHERE (?1 IS NULL AND name NOT LIKE '\\_%' ESCAPE '\\') OR name = ?1 ORDER BY name",
    )?;
    query
        .query_map([only.map(CollectionName::as_str)], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?, row.get::<_, i64>(3)?))
        })?
        .map(|row| {
            let (name, revision, json, records) = row?;
            Ok(CollectionRow {
                definition: definitions::parse(&name, &json)?,
                name: CollectionName::parse(&name).map_err(|error| StoreError::Damaged(error.to_string()))?,
                revision: Revision(counted(revision)?),
                records: counted(records)?,
            })
        })
        .collect()
}

/// Names of a write's row, and of its database.
pub(super) const WRITE: &str =
    "SELECT w.revision, w.number, w.verdict, w.code, w.detail, w.conflicts, w.actor, w.at_ms, w.payload, d.database, n.name
     FROM writes w LEFT JOIN databases d ON d.id = w.database LEFT JOIN nodes n ON n.id = d.node";

pub(super) fn write(conn: &Connection, id: &WriteId) -> Result<Option<WriteRow>, StoreError> {
    match id {
        WriteId::Cloud(revision) => {
            let Ok(revision) = stored(revision.0) else { return Ok(None) };
            let mut query = conn.prepare_cached(&format!("{WRITE} WHERE w.revision = ?1 AND w.database = 0"))?;
            let mut rows = query.query([revision])?;
            rows.next()?.map(write_row).transpose()
        }
        WriteId::Edge { node, database, number } => {
            let Ok(number) = stored(*number) else { return Ok(None) };
            let mut query = conn.prepare_cached(&format!(
                "{WRITE} WHERE w.number = ?1 AND w.database IN (SELECT id FROM databases
                     WHERE node = (SELECT id FROM nodes WHERE name = ?2) AND lower(substr(hex(database), 1, 6)) = ?3)
                 ORDER BY w.revision DESC LIMIT 1"
            ))?;
            let mut rows = query.query((number, node.as_str(), database))?;
            rows.next()?.map(write_row).transpose()
        }
    }
}

fn writes(conn: &Connection, request: &WritesRequest) -> Result<(Vec<WriteRow>, Option<Revision>), StoreError> {
    let limit = request.limit.clamp(1, PAGE_ROWS);
    // Those in one state have an index where they are few: however many were applied, they are not scanned.
    let state = match request.verdict {
        None => "?2 IS NULL",
        Some(Verdict::Applied) => "w.verdict = ?2",
        Some(_) => "w.verdict > 1 AND w.verdict = ?2",
    };
    let mut query = conn.prepare_cached(&format!("{WRITE} WHERE {state} AND w.revision > ?1 ORDER BY w.revision LIMIT ?3"))?;
    let after = stored(request.after.unwrap_or_default().0)?;
    let mut rows = query.query((after, request.verdict.map(verdict_number), row_limit(limit + 1)))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if found.len() == limit {
            let next = found.last().map(|last: &WriteRow| last.revision);
            return Ok((found, next));
        }
        found.push(write_row(row)?);
    }
    Ok((found, None))
}

pub(super) fn write_row(row: &Row<'_>) -> Result<WriteRow, StoreError> {
    let damaged = |what: String| StoreError::Damaged(format!("write: {what}"));
    let revision = Revision(counted(row.get(0)?)?);
    let (database, node): (Option<[u8; 16]>, Option<String>) = (row.get(9)?, row.get(10)?);
    let id = match (database, node) {
        (Some(database), Some(node)) => {
            let node = NodeName::parse(&node).map_err(|error| damaged(error.to_string()))?;
            WriteId::edge(&node, &proto::ids::DatabaseId(database), counted(row.get(1)?)?)
        }
        _ => WriteId::Cloud(revision),
    };
    let payload = row.get_ref(8)?.as_blob().map_err(rusqlite::Error::from)?;
    let write = if payload.is_empty() { None } else { Some(Write::decode(payload).map_err(|error| damaged(error.to_string()))?) };
    let decided_ms = counted(row.get(7)?)?;
    Ok(WriteRow {
        id,
        verdict: to_verdict(row.get(2)?)?,
        revision,
        code: row.get(3)?,
        detail: row.get(4)?,
        conflicts: strings(row.get(5)?)?,
        actor: row.get(6)?,
        at_ms: write.as_ref().map_or(decided_ms, |write| write.at_ms),
        ops: write.map_or_else(Vec::new, |write| write.ops),
    })
}

/// A JSON list of strings in a column; NULL is an empty one.
pub(super) fn strings(json: Option<String>) -> Result<Vec<String>, StoreError> {
    match json {
        None => Ok(Vec::new()),
        Some(json) => serde_json::from_str(&json).map_err(|error| StoreError::Damaged(format!("list: {error}"))),
    }
}
