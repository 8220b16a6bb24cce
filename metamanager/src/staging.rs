//! Parts of a cloud transaction that is larger than a batch: they wait, durably, and become visible together.

use proto::frame::{Content, Record, Share};
use proto::ids::Revision;
use rusqlite::{Connection, Row, params};

use crate::error::Done;
use crate::ledger::{collection_name, number, record_key, stored};

/// What came in this transaction; most revisions are complete before it ends and never touch the table.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    fresh: Vec<Record>,
}

impl Staging {
    pub(crate) fn put(&mut self, record: &Record) {
        self.fresh.push(record.clone());
    }

    /// Everything that waits, older parts first: the revision is complete.
    pub(crate) fn take(&mut self, conn: &Connection) -> Done<Vec<Record>> {
        let mut records = Vec::new();
        let mut statement = conn.prepare_cached(
            "SELECT collection, key, share, revision, born, updated_ms, writer, actor, kind, value FROM staging ORDER BY collection, key",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            records.push(record(row)?);
        }
        if !records.is_empty() {
            clear(conn)?;
        }
        records.append(&mut self.fresh);
        Ok(records)
    }

    /// Forgets what belongs to a share that is gone.
    pub(crate) fn forget(&mut self, share: &Share) {
        self.fresh.retain(|record| record.collection != share.collection || record.partition != share.partition);
    }

    /// Stores what is still incomplete when the transaction ends.
    pub(crate) fn keep(&mut self, conn: &Connection) -> Done<()> {
        for record in self.fresh.drain(..) {
            let (kind, value) = match &record.content {
                Content::Value(text) => (0, Some(text)),
                Content::Deleted => (1, None),
                Content::Left => (2, None),
            };
            let mut statement = conn.prepare_cached(
                "INSERT OR REPLACE INTO staging (collection, key, share, revision, born, updated_ms, writer, actor, kind, value) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?;
            statement.execute(params![
                record.collection.as_str(),
                record.key.as_str(),
                record.partition,
                stored(record.revision.0),
                stored(record.born.0),
                stored(record.updated_ms),
                record.writer,
                record.actor,
                kind,
                value,
            ])?;
        }
        Ok(())
    }
}

/// Forgets every part: the stream begins somewhere else.
pub(crate) fn clear(conn: &Connection) -> Done<()> {
    conn.prepare_cached("DELETE FROM staging")?.execute([])?;
    Ok(())
}

fn record(row: &Row<'_>) -> Done<Record> {
    let value: Option<String> = row.get(9)?;
    let content = match (row.get::<_, i64>(8)?, value) {
        (0, Some(text)) => Content::Value(text),
        (2, _) => Content::Left,
        _ => Content::Deleted,
    };
    Ok(Record {
        collection: collection_name(&row.get::<_, String>(0)?)?,
        key: record_key(&row.get::<_, String>(1)?)?,
        partition: row.get(2)?,
        revision: Revision(number(row, 3)?),
        born: Revision(number(row, 4)?),
        updated_ms: number(row, 5)?,
        writer: row.get(6)?,
        actor: row.get(7)?,
        content,
    })
}
