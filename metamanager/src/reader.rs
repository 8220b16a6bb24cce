//! Reading: a connection of its own, so that no reader waits for the writer. Every answer is of one state.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::frame::DefinitionText;
use proto::ids::Revision;
use proto::names::{CollectionName, Key};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::base::Base;
use crate::damage::Damage;
use crate::error::{Done, Fault, ReadError, StoreError};
use crate::ledger::{collection_name, number};
use crate::numbers::unpack;
use crate::open;
use crate::outbox::{self, OutboxPart};
use crate::status::{self, Status};
use crate::view::{LaidRow, ViewRow, merge};

/// A read-only connection.
pub struct Reader {
    path: PathBuf,
    conn: Connection,
    damage: Arc<Damage>,
    /// Ids never change their meaning, so they are looked up once.
    ids: BTreeMap<CollectionName, i64>,
}

/// The overlay's row, then base's, then the open conflicts': one statement, so one state.
pub(crate) const POINT: &str = "\
    SELECT 0, value, at_ms, 0, 0, actor, NULL, laid FROM overlay WHERE collection = ?1 AND key = ?2 \
    UNION ALL SELECT 1, value, updated_ms, revision, born, actor, writer, NULL FROM base WHERE collection = ?1 AND key = ?2 \
    UNION ALL SELECT 2, id, 0, 0, 0, NULL, NULL, NULL FROM conflicts WHERE collection = ?3 AND key = ?2 AND state = 0";

const BASE: &str = "SELECT 1, value, updated_ms, revision, born, actor, writer, NULL FROM base WHERE collection = ?1 AND key = ?2 \
    UNION ALL SELECT 2, id, 0, 0, 0, NULL, NULL, NULL FROM conflicts WHERE collection = ?3 AND key = ?2 AND state = 0";

impl Reader {
    pub(crate) fn open(path: &Path, damage: Arc<Damage>) -> Result<Self, StoreError> {
        let conn = open::reader(path).map_err(|fault| damage.look(StoreError::of(fault, path)))?;
        Ok(Self { path: path.to_owned(), conn, damage, ids: BTreeMap::new() })
    }

    /// A record as local readers see it: base with the pending ops laid over it.
    pub fn get(&mut self, collection: &CollectionName, key: &Key) -> Result<Option<ViewRow>, ReadError> {
        let id = self.id(collection)?;
        self.ask(|conn| point(conn, POINT, id, collection, key))
    }

    /// A record as the cloud last said that it is.
    pub fn get_base(&mut self, collection: &CollectionName, key: &Key) -> Result<Option<ViewRow>, ReadError> {
        let id = self.id(collection)?;
        self.ask(|conn| point(conn, BASE, id, collection, key))
    }

    /// How many records readers see in a collection.
    pub fn count(&mut self, collection: &CollectionName) -> Result<u64, ReadError> {
        let id = self.id(collection)?;
        self.ask(|conn| Ok(conn.prepare_cached("SELECT view FROM collections WHERE id = ?1")?.query_row([id], |row| number(row, 0))?))
    }

    /// What waits above a number, at least one write if there is any; about `max_bytes`.
    pub fn outbox_after(&self, number: u64, max_bytes: usize) -> Result<OutboxPart, ReadError> {
        self.ask(|conn| outbox::part(conn, number, max_bytes))
    }

    /// The definitions of the collections that this node gets, in name order; the system's are left out.
    pub fn definitions(&mut self) -> Result<Vec<DefinitionText>, ReadError> {
        self.ask(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT name, revision, definition FROM collections WHERE definition IS NOT NULL AND name NOT LIKE '\\_%' ESCAPE '\\' ORDER BY name",
            )?;
            let mut rows = statement.query([])?;
            let mut definitions = Vec::new();
            while let Some(row) = rows.next()? {
                definitions.push(definition(row)?);
            }
            Ok(definitions)
        })
    }

    /// One definition; none when this node does not get the collection.
    pub fn definition(&mut self, name: &CollectionName) -> Result<Option<DefinitionText>, ReadError> {
        self.ask(|conn| {
            let mut statement =
                conn.prepare_cached("SELECT name, revision, definition FROM collections WHERE name = ?1 AND definition IS NOT NULL")?;
            let mut rows = statement.query([name.as_str()])?;
            rows.next()?.map(definition).transpose()
        })
    }

    /// The figures of this moment.
    pub fn status(&mut self) -> Result<Status, ReadError> {
        self.ask(status::read)
    }

    /// Gives back what the connection holds of the file.
    pub(crate) fn release_memory(&self) {
        release_memory(&self.conn);
    }

    pub(crate) fn ask<T>(&self, question: impl FnOnce(&Connection) -> Done<T>) -> Result<T, ReadError> {
        question(&self.conn).map_err(|fault| self.damage.look(StoreError::of(fault, &self.path)).into())
    }

    /// A collection's id. Only what was never known is looked up again.
    pub(crate) fn id(&mut self, name: &CollectionName) -> Result<i64, ReadError> {
        if let Some(id) = self.ids.get(name) {
            return Ok(*id);
        }
        let found = self.ask(|conn| {
            let mut statement = conn.prepare_cached("SELECT id, arriving FROM collections WHERE name = ?1")?;
            Ok(statement.query_row([name.as_str()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?))).optional()?)
        })?;
        let Some((id, arriving)) = found else { return Err(self.unknown(name)?) };
        if arriving {
            return Err(ReadError::NotSynced);
        }
        self.ids.insert(name.clone(), id);
        Ok(id)
    }

    /// Why a collection cannot be read.
    pub(crate) fn unknown(&self, name: &CollectionName) -> Result<ReadError, ReadError> {
        let synced = self.ask(|conn| {
            let mut statement = conn.prepare_cached("SELECT 1 FROM meta WHERE grants_revision IS NOT NULL")?;
            Ok(statement.exists([])?)
        })?;
        Ok(if synced { ReadError::UnknownCollection(name.to_string()) } else { ReadError::NotSynced })
    }
}

/// Gives back a connection's page cache and its idle statements. Both come back with the next work, in less time than
/// its first fsync takes.
pub(crate) fn release_memory(conn: &Connection) {
    conn.flush_prepared_statement_cache();
    if let Err(error) = conn.release_memory() {
        tracing::debug!(%error, "the page cache was kept");
    }
}

fn definition(row: &Row<'_>) -> Done<DefinitionText> {
    Ok(DefinitionText { name: collection_name(&row.get::<_, String>(0)?)?, revision: Revision(number(row, 1)?), json: row.get(2)? })
}

pub(crate) fn point(conn: &Connection, sql: &str, id: i64, collection: &CollectionName, key: &Key) -> Done<Option<ViewRow>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![id, key.as_str(), collection.as_str()])?;
    let (mut view, mut base, mut conflicts) = (None, None, Vec::new());
    while let Some(row) = rows.next()? {
        match row.get::<_, i64>(0)? {
            0 => view = Some(laid(row)?),
            1 => base = Some(base_row(row, view.is_none())?),
            _ => conflicts.push(row.get(1)?),
        }
    }
    Ok(merge(key, view, base, conflicts))
}

pub(crate) fn laid(row: &Row<'_>) -> Done<LaidRow> {
    let laid = unpack(row.get_ref(7)?.as_blob().map_err(|error| Fault::damaged("overlay", error))?)?;
    Ok(LaidRow { value: row.get(1)?, at_ms: number(row, 2)?, actor: row.get(5)?, laid })
}

/// A row of base, without its value where ops are laid over it.
pub(crate) fn base_row(row: &Row<'_>, with_value: bool) -> Done<Base> {
    Ok(Base {
        granted: 0,
        value: if with_value { row.get(1)? } else { String::new() },
        updated_ms: number(row, 2)?,
        revision: Revision(number(row, 3)?),
        born: Revision(number(row, 4)?),
        actor: row.get(5)?,
        writer: row.get(6)?,
    })
}
