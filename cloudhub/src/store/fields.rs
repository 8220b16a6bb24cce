//! Who set which field of a record: from its clocks, which name a revision and a database, and from what is kept of that write.

use proto::ids::Revision;
use proto::json::Value;
use proto::names::{CollectionName, Key};
use rusqlite::{Connection, OptionalExtension};

use super::error::{StoreError, stored};
use super::reads;
use super::rows::{FieldRow, RecordFields, RecordRow};
use crate::reconcile::{Clocks, Stamp};

/// A live record, and the newest change of each of its fields.
pub(super) fn read(conn: &Connection, collection: i64, name: &CollectionName, key: &Key) -> Result<Option<RecordFields>, StoreError> {
    let Some(record) = reads::record(conn, collection, name, key)? else { return Ok(None) };
    let damaged = |what: &str, error: String| StoreError::Damaged(format!("{what} of record {key}: {error}"));
    let value = Value::read(&record.value).map_err(|error| damaged("value", error.to_string()))?;
    if name.is_system() {
        let fields = value.fields().map(|(field, _)| FieldRow { name: field.to_owned(), ..FieldRow::default() }).collect();
        return Ok(Some(RecordFields { record, fields }));
    }
    let mut query = conn.prepare_cached("SELECT clocks FROM records WHERE collection = ?1 AND key = ?2")?;
    let clocks = query.query_row((collection, key.as_str()), |row| Ok(Clocks::decode(row.get_ref(0)?.as_blob()?)))?;
    let clocks = clocks.map_err(|error| damaged("clocks", error.to_string()))?;
    let change = |(field, _)| change(conn, &record, field, &clocks.newest(field));
    let fields = value.fields().map(change).collect::<Result<_, _>>()?;
    Ok(Some(RecordFields { record, fields }))
}

fn change(conn: &Connection, record: &RecordRow, field: &str, stamp: &Stamp) -> Result<FieldRow, StoreError> {
    let (writer, actor) = match stamp.revision == record.revision {
        true => (record.writer.split(':').next().map(str::to_owned), record.actor.clone()),
        false => by(conn, stamp)?,
    };
    Ok(FieldRow { name: field.to_owned(), revision: Some(stamp.revision), at_ms: Some(stamp.hlc.ms()), writer, actor })
}

/// The node, as long as its database is known, and the actor, as long as the write is kept.
fn by(conn: &Connection, stamp: &Stamp) -> Result<(Option<String>, Option<String>), StoreError> {
    let writer = match stamp.database {
        0 => Some("cloud".to_owned()),
        database => conn
            .prepare_cached("SELECT n.name FROM databases d JOIN nodes n ON n.id = d.node WHERE d.id = ?1")?
            .query_row([database], |row| row.get(0))
            .optional()?,
    };
    Ok((writer, actor(conn, stamp.revision)?))
}

fn actor(conn: &Connection, revision: Revision) -> Result<Option<String>, StoreError> {
    let mut query = conn.prepare_cached("SELECT actor FROM writes WHERE revision = ?1")?;
    Ok(query.query_row([stored(revision.0)?], |row| row.get(0)).optional()?.flatten())
}
