//! Base: what the cloud last said a record is. An older version never replaces a newer one.

use proto::ids::Revision;
use proto::names::Key;
use proto::op::Hash;
use rusqlite::{Connection, params};

use crate::digests::{Digests, stored_hash};
use crate::error::{Done, Fault};
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
pub(crate) fn store(conn: &Connection, digests: &mut Digests, collection: i64, key: &Key, new: &NewBase<'_>) -> Done<Stored> {
    let mut insert = conn.prepare_cached(
        "INSERT INTO base (collection, key, granted, revision, born, updated_ms, fill, writer, actor, value, hash) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (collection, key) DO NOTHING",
    )?;
    let (revision, born, updated, fill) = (stored(new.revision.0), stored(new.born.0), stored(new.updated_ms), stored(new.fill));
    let values = params![collection, key.as_str(), new.granted, revision, born, updated, fill, new.writer, new.actor, new.value, new.hash];
    if insert.execute(values)? > 0 {
        digests.add(new.granted, Some(&new.hash));
        return Ok(Stored::New);
    }
    let old = counted(conn, collection, key)?.ok_or_else(|| Fault::damaged("base", "a row is there and cannot be found"))?;
    if old.revision < new.revision || new.repairs {
        let mut update = conn.prepare_cached(
            "UPDATE base SET granted = ?2, revision = ?3, born = ?4, updated_ms = ?5, fill = ?6, writer = ?7, actor = ?8, value = ?9, \
             hash = ?10 WHERE id = ?1",
        )?;
        update.execute(params![old.id, new.granted, revision, born, updated, fill, new.writer, new.actor, new.value, new.hash])?;
        digests.remove(old.granted, old.hash.as_ref());
        digests.add(new.granted, Some(&new.hash));
        return Ok(Stored::Changed);
    }
    if old.hash.is_none() && old.revision == new.revision && old.granted == new.granted {
        // It did not count, because this version was put aside.
        conn.prepare_cached("UPDATE base SET hash = ?2 WHERE id = ?1")?.execute(params![old.id, new.hash])?;
        digests.add(old.granted, Some(&new.hash));
    }
    if new.fill > 0 && old.granted == new.granted {
        conn.prepare_cached("UPDATE base SET fill = ?2 WHERE id = ?1")?.execute(params![old.id, fill])?;
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
    /// Of all this.
    pub(crate) hash: Hash,
    /// It came by a repair: it replaces the row whatever revision that claims to have, because a flipped bit may be there.
    pub(crate) repairs: bool,
}

/// Where a row is, and what it contributes to a digest.
struct Counted {
    id: i64,
    granted: i64,
    revision: Revision,
    hash: Option<Hash>,
}

fn counted(conn: &Connection, collection: i64, key: &Key) -> Done<Option<Counted>> {
    let mut statement = conn.prepare_cached("SELECT id, granted, revision, hash FROM base WHERE collection = ?1 AND key = ?2")?;
    let mut rows = statement.query(params![collection, key.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Counted { id: row.get(0)?, granted: row.get(1)?, revision: Revision(number(row, 2)?), hash: stored_hash(row, 3) }))
}

/// Takes a row out of its grant's digest: a newer version of the record is held elsewhere, or not known.
pub(crate) fn uncount(conn: &Connection, digests: &mut Digests, collection: i64, key: &Key) -> Done<()> {
    let Some(Counted { id, granted, hash: Some(hash), .. }) = counted(conn, collection, key)? else { return Ok(()) };
    conn.prepare_cached("UPDATE base SET hash = NULL WHERE id = ?1")?.execute([id])?;
    digests.remove(granted, Some(&hash));
    Ok(())
}

/// Removes a record that was deleted or left at `revision`; tells whether there was one.
pub(crate) fn remove(conn: &Connection, digests: &mut Digests, collection: i64, key: &Key, revision: Revision) -> Done<bool> {
    let sql = "DELETE FROM base WHERE collection = ?1 AND key = ?2 AND revision < ?3 RETURNING granted, hash";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![collection, key.as_str(), stored(revision.0)])?;
    let Some(row) = rows.next()? else { return Ok(false) };
    digests.remove(row.get(0)?, stored_hash(row, 1).as_ref());
    Ok(true)
}

/// Removes one row by its place, and what it contributes.
pub(crate) fn remove_row(conn: &Connection, digests: &mut Digests, id: i64) -> Done<()> {
    let mut statement = conn.prepare_cached("DELETE FROM base WHERE id = ?1 RETURNING granted, hash")?;
    let mut rows = statement.query([id])?;
    if let Some(row) = rows.next()? {
        digests.remove(row.get(0)?, stored_hash(row, 1).as_ref());
    }
    Ok(())
}
