//! Base: what the cloud last said a record is. An older version never replaces a newer one.

use proto::ids::Revision;
use proto::names::Key;
use rusqlite::{Connection, params};

use crate::error::Done;
use crate::ledger::{number, stored};

/// One row of base.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub(crate) granted: i64,
    pub(crate) revision: Revision,
    pub(crate) born: Revision,
    pub(crate) updated_ms: u64,
    pub(crate) writer: String,
    pub(crate) actor: Option<String>,
    pub(crate) value: String,
}

impl Base {
    /// All but the text.
    pub(crate) fn without_value(&self) -> Self {
        Self {
            granted: self.granted,
            revision: self.revision,
            born: self.born,
            updated_ms: self.updated_ms,
            writer: self.writer.clone(),
            actor: self.actor.clone(),
            value: String::new(),
        }
    }
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    New,
    Changed,
    /// What is there is as new.
    Kept,
}

pub(crate) fn load(conn: &Connection, collection: i64, key: &Key) -> Done<Option<Base>> {
    let mut statement = conn
        .prepare_cached("SELECT granted, revision, born, updated_ms, writer, actor, value FROM base WHERE collection = ?1 AND key = ?2")?;
    let mut rows = statement.query(params![collection, key.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Base {
        granted: row.get(0)?,
        revision: Revision(number(row, 1)?),
        born: Revision(number(row, 2)?),
        updated_ms: number(row, 3)?,
        writer: row.get(4)?,
        actor: row.get(5)?,
        value: row.get(6)?,
    }))
}

/// Stores a record and marks it as seen by the back-fill `fill` (0: none is open).
pub(crate) fn store(conn: &Connection, collection: i64, key: &Key, new: &NewBase<'_>) -> Done<Stored> {
    let mut insert = conn.prepare_cached(
        "INSERT INTO base (collection, key, granted, revision, born, updated_ms, fill, writer, actor, value) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (collection, key) DO NOTHING",
    )?;
    let (revision, born, updated, fill) = (stored(new.revision.0), stored(new.born.0), stored(new.updated_ms), stored(new.fill));
    let values = params![collection, key.as_str(), new.granted, revision, born, updated, fill, new.writer, new.actor, new.value];
    if insert.execute(values)? > 0 {
        return Ok(Stored::New);
    }
    let mut update = conn.prepare_cached(
        "UPDATE base SET granted = ?3, revision = ?4, born = ?5, updated_ms = ?6, fill = ?7, writer = ?8, actor = ?9, value = ?10 \
         WHERE collection = ?1 AND key = ?2 AND revision < ?4",
    )?;
    if update.execute(values)? > 0 {
        return Ok(Stored::Changed);
    }
    if new.fill > 0 {
        let mut mark = conn.prepare_cached("UPDATE base SET fill = ?3 WHERE collection = ?1 AND key = ?2 AND granted = ?4")?;
        mark.execute(params![collection, key.as_str(), fill, new.granted])?;
    }
    Ok(Stored::Kept)
}

/// What [`store`] stores.
#[derive(Debug)]
pub(crate) struct NewBase<'a> {
    pub(crate) granted: i64,
    pub(crate) revision: Revision,
    pub(crate) born: Revision,
    pub(crate) updated_ms: u64,
    pub(crate) fill: u64,
    pub(crate) writer: &'a str,
    pub(crate) actor: Option<&'a str>,
    pub(crate) value: &'a str,
}

/// Removes a record that was deleted or left at `revision`; tells whether there was one.
pub(crate) fn remove(conn: &Connection, collection: i64, key: &Key, revision: Revision) -> Done<bool> {
    let mut statement = conn.prepare_cached("DELETE FROM base WHERE collection = ?1 AND key = ?2 AND revision < ?3")?;
    Ok(statement.execute(params![collection, key.as_str(), stored(revision.0)])? > 0)
}
