//! The tables of the edge as a list reads them: base where nothing is laid over it, and the overlay.

use proto::index::index_name;
use proto::json::JsonError;
use proto::list::{Ask, Entry, SortValue, Source};
use proto::names::CollectionName;
use rusqlite::types::{ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};

use crate::error::{Done, Fault};
use crate::indexes::TABLES;
use crate::ledger::record_key;
use crate::limits::LIST_BYTES;
use crate::reader::{POINT, point};
use crate::view::ViewRow;

/// One collection in a transaction.
pub(crate) struct Tables<'c> {
    pub(crate) conn: &'c Connection,
    pub(crate) id: i64,
    pub(crate) collection: &'c CollectionName,
}

struct Bound<'a>(&'a SortValue);

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
fn sort_value(row: &Row<'_>, column: usize) -> Done<SortValue> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => SortValue::Null,
        ValueRef::Integer(int) => SortValue::Int(int),
        ValueRef::Real(real) => SortValue::Real(real),
        text => SortValue::Text(text.as_str().map_err(|error| Fault::damaged("a stored value", error))?.to_owned()),
    })
}

impl Tables<'_> {
    pub(crate) fn statement(&self, table: usize, ask: &Ask<'_>) -> String {
        let (table, id) = (TABLES[table], self.id);
        let columns: String = ask.columns.iter().map(|column| format!(", {column}")).collect();
        let index = ask.index.map_or_else(|| format!("{table}_key"), |index| index_name(table, id, index));
        format!("SELECT key{columns} FROM {table} INDEXED BY {index} WHERE collection = {id}{} LIMIT {}", ask.tail, ask.limit)
    }
}

impl Source for Tables<'_> {
    type Row = ViewRow;
    type Error = Fault;

    fn tables(&self) -> usize {
        TABLES.len()
    }

    fn entries(&mut self, table: usize, ask: &Ask<'_>) -> Done<(Vec<Entry>, bool)> {
        let mut statement = self.conn.prepare(&self.statement(table, ask))?;
        let mut rows = statement.query(params_from_iter(ask.bound.iter().map(Bound)))?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let values = (0..ask.columns.len()).map(|column| sort_value(row, column + 1)).collect::<Done<Vec<_>>>()?;
            bytes += values.iter().map(|value| if let SortValue::Text(text) = value { text.len() } else { 0 }).sum::<usize>();
            entries.push(Entry { values, key: row.get(0)? });
            if bytes > LIST_BYTES {
                return Ok((entries, false));
            }
        }
        let complete = entries.len() < ask.limit;
        Ok((entries, complete))
    }

    /// What has ops laid over it is read where they lie, whatever base says.
    fn read(&mut self, key: &str, table: Option<usize>) -> Done<Option<ViewRow>> {
        let row = point(self.conn, POINT, self.id, self.collection, &record_key(key)?)?;
        let seen_in = |row: &ViewRow| usize::from(row.writer.is_none());
        Ok(row.filter(|row| table.is_none_or(|table| table == seen_in(row))))
    }

    fn text<'r>(&self, row: &'r ViewRow) -> &'r str {
        &row.value
    }

    fn values(&mut self, text: &str, columns: &[String]) -> Done<Vec<SortValue>> {
        let mut statement = self.conn.prepare(&format!("SELECT {} FROM (SELECT ?1 AS value)", columns.join(", ")))?;
        let mut rows = statement.query([text])?;
        let row = rows.next()?.ok_or_else(|| Fault::damaged("a stored value", "it cannot be read"))?;
        (0..columns.len()).map(|column| sort_value(row, column)).collect()
    }

    fn damaged(&self, error: JsonError) -> Fault {
        Fault::damaged("a stored value", error)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
#[path = "list_tests.rs"]
mod tests;
