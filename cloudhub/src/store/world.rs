//! The state that a write is judged in, read from the transaction that will commit it.

use std::sync::Arc;

use proto::definition::Defined;
use proto::ids::{DatabaseId, Revision};
use proto::json::Value;
use proto::names::{CollectionName, Key};
use proto::op::{Hash, Verdict};
use rusqlite::{Connection, OptionalExtension, Row as SqlRow};

use super::catalog::Catalog;
use super::conflicts;
use super::error::{StoreError, counted, stored};
use super::grants::NodeShares;
use super::kin::Kin;
use super::share;
use crate::reconcile::{Clocks, Content, Decided, Held, Row, RowKey, SchemaError, Stored, World};

/// A live record in the column `deleted`.
pub(super) const LIVE: i64 = 0;
/// A tombstone; `value` is what the record was.
pub(super) const TOMBSTONE: i64 = 1;
/// An append record that an admin removed; `value` is its content's hash.
pub(super) const REMOVED: i64 = 2;

/// [`World`] over one connection.
pub(super) struct SqlWorld<'a> {
    pub(super) conn: &'a Connection,
    pub(super) catalog: &'a Catalog,
    /// The author's node; none: the cloud.
    pub(super) shares: Option<&'a NodeShares>,
    /// The author's database; 0: the cloud.
    pub(super) database: u32,
    /// What the author's database shares with others.
    pub(super) kin: Option<&'a Kin>,
}

impl World for SqlWorld<'_> {
    type Error = StoreError;

    fn record(&self, collection: &CollectionName, key: &Key) -> Result<Option<Stored>, StoreError> {
        let Some(entry) = self.catalog.get(self.conn, collection)? else { return Ok(None) };
        let mut stored = stored_record(self.conn, entry.id, key)?;
        if let (Some(stored), Some(kin)) = (&mut stored, self.kin) {
            stored.clocks.adopt(kin.shared(), self.database);
        }
        Ok(stored)
    }

    fn definition(&self, collection: &CollectionName) -> Result<Option<Arc<Defined>>, StoreError> {
        Ok(self.catalog.get(self.conn, collection)?.map(|entry| Arc::clone(&entry.defined)))
    }

    fn granted(&self, collection: &CollectionName, partition: Option<&str>) -> Result<bool, StoreError> {
        let (Some(shares), Some(entry)) = (self.shares, self.catalog.get(self.conn, collection)?) else { return Ok(false) };
        Ok(shares.has(entry.id, &share::encode(partition)))
    }

    fn exit_above(&self, collection: &CollectionName, key: &Key, seen: Revision) -> Result<Option<Revision>, StoreError> {
        let (Some(shares), Some(entry)) = (self.shares, self.catalog.get(self.conn, collection)?) else { return Ok(None) };
        let mut find =
            self.conn.prepare_cached("SELECT revision FROM exits WHERE collection = ?1 AND share = ?2 AND key = ?3 AND revision > ?4")?;
        let mut newest = None;
        for grant in shares.grants.iter().filter(|grant| grant.collection == entry.id) {
            let found: Option<i64> =
                find.query_row((entry.id, &grant.share, key.as_str(), stored(seen.0)?), |row| row.get(0)).optional()?;
            newest = newest.max(found.map(counted).transpose()?);
        }
        Ok(newest.map(Revision))
    }

    fn floor(&self, collection: &CollectionName) -> Result<Revision, StoreError> {
        let Some(entry) = self.catalog.get(self.conn, collection)? else { return Ok(Revision::ZERO) };
        let floor: Option<i64> = self
            .conn
            .prepare_cached("SELECT revision FROM floors WHERE collection = ?1")?
            .query_row([entry.id], |row| row.get(0))
            .optional()?;
        Ok(Revision(floor.map(counted).transpose()?.unwrap_or(0)))
    }

    fn outcome(&self, number: u64) -> Result<Option<Decided>, StoreError> {
        let Ok(number) = stored(number) else { return Ok(None) };
        let found: Option<(i64, i64)> = self
            .conn
            .prepare_cached("SELECT verdict, coalesce(effect, revision) FROM writes WHERE database = ?1 AND number = ?2")?
            .query_row((self.database, number), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match (found, self.kin) {
            (Some((verdict, revision)), _) => Ok(Some(Decided { verdict: to_verdict(verdict)?, revision: Revision(counted(revision)?) })),
            (None, Some(kin)) => kin.decided(self.conn, counted(number)?),
            (None, None) => Ok(None),
        }
    }

    fn open_conflict(&self, row: &RowKey) -> Result<Option<Row>, StoreError> {
        let Some(entry) = self.catalog.get(self.conn, &row.collection)? else { return Ok(None) };
        let text: Option<String> = self
            .conn
            .prepare_cached(
                "SELECT r.value FROM conflicts c JOIN records r
                 ON r.collection = (SELECT id FROM collections WHERE name = '_conflicts') AND r.key = c.id
                 WHERE c.collection = ?1 AND c.key = ?2 AND c.kind = ?3 AND c.field = ?4 AND c.hidden = ?5 AND c.state = 'open'",
            )?
            .query_row((entry.id, row.key.as_str(), row.kind.as_str(), &row.field, row.hidden), |row| row.get(0))
            .optional()?;
        let damaged = |error| StoreError::Damaged(format!("conflict row about {} {}: {error}", row.collection, row.key));
        text.map(|text| Row::parse(&text).map_err(|error| damaged(error.to_string()))).transpose()
    }

    fn conflict(&self, id: &Key) -> Result<Option<Held>, StoreError> {
        conflicts::held(self.conn, id)
    }

    fn schema_error(&self, defined: &Defined, value: &Value) -> Result<Option<SchemaError>, StoreError> {
        match self.catalog.get(self.conn, &defined.name)? {
            Some(entry) => Ok(entry.schema_error(value)),
            None => Ok(None),
        }
    }

    fn database(&self, database: u32) -> Result<DatabaseId, StoreError> {
        let id: Option<[u8; 16]> =
            self.conn.prepare_cached("SELECT database FROM databases WHERE id = ?1")?.query_row([database], |row| row.get(0)).optional()?;
        Ok(DatabaseId(id.unwrap_or_default()))
    }
}

/// Reads a record as reconciliation wants it.
pub(super) fn stored_record(conn: &Connection, collection: i64, key: &Key) -> Result<Option<Stored>, StoreError> {
    let mut find =
        conn.prepare_cached("SELECT revision, born, share, deleted, clocks, value FROM records WHERE collection = ?1 AND key = ?2")?;
    let mut rows = find.query((collection, key.as_str()))?;
    rows.next()?.map(|row| to_stored(row, key)).transpose()
}

fn to_stored(row: &SqlRow<'_>, key: &Key) -> Result<Stored, StoreError> {
    let damaged = |what: &str, error: String| StoreError::Damaged(format!("{what} of record {key}: {error}"));
    let text = row.get_ref(5)?.as_str().map_err(rusqlite::Error::from)?;
    let read = |text| Value::read(text).map_err(|error| damaged("value", error.to_string()));
    let content = match row.get(3)? {
        LIVE => Content::Live(read(text)?),
        TOMBSTONE => Content::Deleted { last: read(text)? },
        _ => Content::Removed { hash: parse_hash(text).ok_or_else(|| damaged("hash", text.to_owned()))? },
    };
    let clocks = row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?;
    Ok(Stored {
        content,
        revision: Revision(counted(row.get(0)?)?),
        born: Revision(counted(row.get(1)?)?),
        clocks: Clocks::decode(clocks).map_err(|error| damaged("clocks", error.to_string()))?,
        place: share::to_place(row.get(2)?),
    })
}

/// A hash as the column `value` of a removed record has it.
pub(super) fn hash_text(hash: &Hash) -> String {
    DatabaseId(*hash).to_string()
}

fn parse_hash(text: &str) -> Option<Hash> {
    text.parse::<DatabaseId>().ok().map(|id| id.0)
}

/// A verdict's number in the tables.
pub(super) fn verdict_number(verdict: Verdict) -> i64 {
    match verdict {
        Verdict::Applied => 1,
        Verdict::Merged => 2,
        Verdict::Flagged => 3,
        Verdict::Rejected => 4,
        Verdict::Lost => 5,
    }
}

/// The verdict of a number in the tables.
pub(super) fn to_verdict(number: i64) -> Result<Verdict, StoreError> {
    [Verdict::Applied, Verdict::Merged, Verdict::Flagged, Verdict::Rejected, Verdict::Lost]
        .into_iter()
        .find(|verdict| verdict_number(*verdict) == number)
        .ok_or_else(|| StoreError::Damaged(format!("verdict {number}")))
}
