//! The records of one collection as a list reads them.

use proto::index::index_name;
use proto::json::JsonError;
use proto::list::{Ask, Entry, SortValue, Source};
use proto::names::CollectionName;
use rusqlite::types::{ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};

use super::error::StoreError;
use super::indexes::TABLE;
use super::reads::record;
use super::rows::RecordRow;
use super::scan::to_key;
use crate::limits::PAGE_BYTES;

/// One collection in a transaction.
pub(super) struct Records<'c> {
    pub(super) conn: &'c Connection,
    pub(super) id: i64,
    pub(super) collection: &'c CollectionName,
}

pub(super) struct Bound<'a>(pub(super) &'a SortValue);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            SortValue::Null => ToSqlOutput::Owned(Value::Null),
            SortValue::Int(int) => ToSqlOutput::Owned(Value::Integer(*int)),
            SortValue::Real(real) => ToSqlOutput::Owned(Value::Real(*real)),
            SortValue::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

/// What an index holds of a field.
fn sort_value(row: &Row<'_>, column: usize) -> Result<SortValue, StoreError> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => SortValue::Null,
        ValueRef::Integer(int) => SortValue::Int(int),
        ValueRef::Real(real) => SortValue::Real(real),
        text => SortValue::Text(text.as_str().map_err(rusqlite::Error::from)?.to_owned()),
    })
}

impl Records<'_> {
    pub(super) fn statement(&self, ask: &Ask<'_>) -> String {
        let columns: String = ask.columns.iter().map(|column| format!(", {column}")).collect();
        let index = ask.index.map_or_else(|| "records_key".to_owned(), |index| index_name(TABLE, self.id, index));
        let (id, tail, limit) = (self.id, ask.tail, ask.limit);
        format!("SELECT key{columns} FROM {TABLE} INDEXED BY {index} WHERE collection = {id} AND deleted = 0{tail} LIMIT {limit}")
    }
}

impl Source for Records<'_> {
    type Row = RecordRow;
    type Error = StoreError;

    fn tables(&self) -> usize {
        1
    }

    fn entries(&mut self, _: usize, ask: &Ask<'_>) -> Result<(Vec<Entry>, bool), StoreError> {
        let mut statement = self.conn.prepare(&self.statement(ask))?;
        let mut rows = statement.query(params_from_iter(ask.bound.iter().map(Bound)))?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let values = (0..ask.columns.len()).map(|column| sort_value(row, column + 1)).collect::<Result<Vec<_>, _>>()?;
            bytes += values.iter().map(|value| if let SortValue::Text(text) = value { text.len() } else { 0 }).sum::<usize>();
            entries.push(Entry { values, key: row.get(0)? });
            if bytes > PAGE_BYTES {
                return Ok((entries, false));
            }
        }
        let complete = entries.len() < ask.limit;
        Ok((entries, complete))
    }

    fn read(&mut self, key: &str, _: Option<usize>) -> Result<Option<RecordRow>, StoreError> {
        record(self.conn, self.id, self.collection, &to_key(key)?)
    }

    fn text<'r>(&self, row: &'r RecordRow) -> &'r str {
        &row.value
    }

    fn values(&mut self, text: &str, columns: &[String]) -> Result<Vec<SortValue>, StoreError> {
        let mut statement = self.conn.prepare(&format!("SELECT {} FROM (SELECT ?1 AS value)", columns.join(", ")))?;
        let mut rows = statement.query([text])?;
        let row = rows.next()?.ok_or_else(|| StoreError::Damaged("a value that cannot be read".to_owned()))?;
        (0..columns.len()).map(|column| sort_value(row, column)).collect()
    }

    fn damaged(&self, error: JsonError) -> StoreError {
        StoreError::Damaged(format!("value: {error}"))
    }
}
