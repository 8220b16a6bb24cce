//! Declared indexes: partial ones of the shared tables, made and dropped with the definition that declares them, in its
//! transaction. Plain SQL throughout: the file stays readable and checkable without us.

use std::collections::BTreeMap;

use proto::definition::Definition;
use proto::index::{Index, create_index, index_list, index_name, index_names};
use rusqlite::Connection;

use crate::error::{Done, Fault};

/// The tables that have them; lists read both.
pub(crate) const TABLES: [&str; 2] = ["base", "overlay"];

/// The indexes of a definition's `indexes`, as JSON text.
pub(crate) fn read(declared: Option<&str>) -> Vec<Index> {
    let texts: Vec<String> = declared.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    index_list(&texts)
}

/// Brings the indexes of a collection in line with its definition.
pub(crate) fn settle(conn: &Connection, collection: i64, definition: Option<&Definition>) -> Done<()> {
    let wanted = definition.map(Definition::index_list).unwrap_or_default();
    for table in TABLES {
        let mut make: BTreeMap<String, &Index> = wanted.iter().map(|index| (index_name(table, collection, index), index)).collect();
        for name in existing(conn, table, collection)? {
            if make.remove(&name).is_none() {
                conn.execute_batch(&format!("DROP INDEX {name}"))?;
            }
        }
        for (_, index) in make {
            conn.execute_batch(&create_index(table, collection, index, ""))?;
        }
    }
    Ok(())
}

fn existing(conn: &Connection, table: &str, collection: i64) -> Done<Vec<String>> {
    let mut statement =
        conn.prepare_cached("SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?1 AND substr(name, 1, length(?2)) = ?2")?;
    let names = statement.query_map([table, &index_names(table, collection)], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// What definitions declared before this version took notice of it.
pub(crate) fn make_all(conn: &Connection) -> Done<()> {
    let mut statement = conn.prepare("SELECT id, definition FROM collections WHERE definition IS NOT NULL")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    for (id, definition) in rows.collect::<Result<Vec<_>, _>>()? {
        // One that this version cannot read is told of where it is used.
        if let Ok(definition) = Definition::parse(&definition) {
            settle(conn, id, Some(&definition))?;
        }
    }
    Ok(())
}

/// Whether a row and an index do not say the same, in the words of SQLite: SQLITE_CORRUPT_INDEX.
pub(crate) fn parted(fault: &Fault) -> bool {
    matches!(fault, Fault::Sql(rusqlite::Error::SqliteFailure(error, _)) if error.extended_code == rusqlite::ffi::SQLITE_CORRUPT_INDEX)
}

/// Builds all of them again.
pub(crate) fn rebuild(conn: &Connection) -> Done<()> {
    let tx = conn.unchecked_transaction()?;
    drop_all(&tx)?;
    make_all(&tx)?;
    Ok(tx.commit()?)
}

/// Drops all of them: they do not say what damaged rows say, and no row could be changed. Tells whether there were any.
pub(crate) fn drop_all(conn: &Connection) -> Done<bool> {
    let mut statement = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'index' AND name LIKE 'declared\\_%' ESCAPE '\\'")?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    for name in &names {
        conn.execute_batch(&format!("DROP INDEX {name}"))?;
    }
    Ok(!names.is_empty())
}
