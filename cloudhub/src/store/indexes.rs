//! Declared indexes: partial ones of the table of all records, made and dropped in the transaction that changes the definition.
//! Plain SQL throughout: the file stays readable and checkable without us.

use std::collections::BTreeMap;

use proto::definition::{Definition, DefinitionError};
use proto::index::{Index, create_index, index_name, index_names};
use rusqlite::Connection;

use super::error::StoreError;
use crate::limits::INDEXES;

/// The table that has them.
pub(super) const TABLE: &str = "records";

/// What every row that is indexed is, beside of its collection.
const LIVE: &str = " AND deleted = 0";

/// Brings the indexes of a collection in line with its definition; none: it is gone.
pub(super) fn settle(conn: &Connection, collection: i64, definition: Option<&Definition>) -> Result<(), StoreError> {
    let wanted = definition.map(Definition::index_list).unwrap_or_default();
    let mut make: BTreeMap<String, &Index> = wanted.iter().map(|index| (index_name(TABLE, collection, index), index)).collect();
    for name in existing(conn, &index_names(TABLE, collection))? {
        if make.remove(&name).is_none() {
            conn.execute_batch(&format!("DROP INDEX {name}"))?;
        }
    }
    for (_, index) in make {
        conn.execute_batch(&create_index(TABLE, collection, index, LIVE))?;
    }
    Ok(())
}

fn existing(conn: &Connection, prefix: &str) -> Result<Vec<String>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?1 AND substr(name, 1, length(?2)) = ?2")?;
    let names = statement.query_map([TABLE, prefix], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// What definitions declared before this version took notice of it.
pub(super) fn make_all(conn: &Connection) -> Result<(), StoreError> {
    let mut statement = conn.prepare("SELECT id, definition FROM collections WHERE name NOT LIKE '\\_%' ESCAPE '\\'")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    for (id, definition) in rows.collect::<Result<Vec<_>, _>>()? {
        if let Ok(definition) = Definition::parse(&definition) {
            settle(conn, id, Some(&definition))?;
        }
    }
    Ok(())
}

/// What speaks against the indexes of a new definition of a collection; none: of one that there is not yet.
pub(super) fn check(
    conn: &Connection,
    collection: Option<i64>,
    definition: &Definition,
) -> Result<Result<(), DefinitionError>, StoreError> {
    if let Err(error) = definition.check_indexes() {
        return Ok(Err(error));
    }
    let all = existing(conn, "declared_")?.len();
    let own = collection.map(|id| existing(conn, &index_names(TABLE, id))).transpose()?.map_or(0, |own| own.len());
    let would = all - own + definition.index_list().len();
    if definition.index_list().len() > own && would > INDEXES {
        let reason =
            format!("all collections together would have {would} indexes; {INDEXES} is the most, for every write looks at each of them");
        return Ok(Err(DefinitionError::Invalid { field: "indexes".to_owned(), reason }));
    }
    Ok(Ok(()))
}
