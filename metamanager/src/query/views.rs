//! One table a collection, as local readers see it: base, with the pending ops laid over it.

use std::collections::BTreeSet;

use proto::definition::Definition;
use proto::index::index_expression;
use proto::names::CollectionName;
use rusqlite::{Connection, OptionalExtension};

use super::gate::secret;
use super::{Made, Query, QueryError, Unmade};
use crate::error::ReadError;
use crate::limits::QUERY_TABLES;

/// The names of the views that there are.
#[derive(Debug, Default)]
pub(super) struct Views {
    /// What the views behind the tables begin with; nobody can know it.
    pub(super) secret: String,
    /// The tables, in small letters.
    pub(super) tables: BTreeSet<String>,
}

/// Makes the tables that a statement names.
pub(super) fn create(conn: &Connection, query: &Query) -> Made<Views> {
    if !conn.prepare("SELECT 1 FROM meta WHERE grants_revision IS NOT NULL")?.exists([])? {
        return Err(Unmade::Told(ReadError::NotSynced.into()));
    }
    let mut views = Views { secret: secret()?, tables: BTreeSet::new() };
    let mut find = conn.prepare("SELECT id, definition, arriving FROM collections WHERE name = ?1 AND definition IS NOT NULL")?;
    for word in words(&query.sql) {
        let Ok(name) = CollectionName::parse(&word) else { continue };
        let seen = query.collections.as_ref().is_none_or(|names| names.contains(&name));
        if !seen || word.starts_with('_') {
            continue;
        }
        let found = find.query_row([&word], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, bool>(2)?)));
        let Some((id, definition, arriving)) = found.optional()? else { continue };
        if arriving {
            return Err(Unmade::Told(ReadError::NotSynced.into()));
        }
        if views.tables.len() == QUERY_TABLES {
            return Err(Unmade::Told(QueryError::Limit(format!("the statement names more than {QUERY_TABLES} collections"))));
        }
        let fields = Definition::parse(&definition).map(|definition| definition.indexed_fields()).unwrap_or_default();
        conn.execute_batch(&spell(&views.secret, &word, id, &fields))?;
        views.tables.insert(word);
    }
    Ok(views)
}

/// `likelihood` says that a collection is most of its table: otherwise SQLite, which knows nothing of the rows, takes it for
/// ten of them and reads it whole rather than a range of a declared index.
///
/// Two views: the inner one, whose name is a secret, is what may read the database's own tables; a name that a caller
/// can write, a caller can give to something else as well.
fn spell(secret: &str, name: &str, id: i64, fields: &[String]) -> String {
    let mut taken: BTreeSet<String> = ["_key", "_value", "_revision", "_pending"].map(str::to_owned).into();
    let mut columns = String::new();
    for field in fields {
        // Columns that differ in the size of letters only are one to SQLite; the first is reached by name.
        if let (Some(expression), true) = (index_expression(field), taken.insert(field.to_ascii_lowercase())) {
            columns.push_str(&format!(", {expression} AS \"{field}\""));
        }
    }
    format!(
        "CREATE TEMP VIEW \"{secret}{name}\" AS \
         SELECT key AS _key, value AS _value, revision AS _revision, 0 AS _pending{columns} FROM main.base \
         WHERE likelihood(collection = {id}, 0.9) \
         AND NOT EXISTS (SELECT 1 FROM main.overlay AS laid WHERE laid.collection = {id} AND laid.key = base.key) \
         UNION ALL \
         SELECT key, value, CAST(coalesce((SELECT held.revision FROM main.base AS held WHERE held.collection = {id} \
         AND held.key = overlay.key), 0) AS INTEGER), 1{columns} FROM main.overlay \
         WHERE likelihood(collection = {id}, 0.9) AND value IS NOT NULL; \
         CREATE TEMP VIEW \"{name}\" AS SELECT * FROM temp.\"{secret}{name}\";"
    )
}

/// Everything in a statement that could be a collection's name, in small letters; more than that does no harm.
fn words(sql: &str) -> BTreeSet<String> {
    let sql = sql.to_ascii_lowercase();
    let plain = sql.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    // A name with a hyphen is one in quotes only.
    let quoted = sql.split(['"', '`', '[', ']', '\'']).filter(|piece| piece.contains('-'));
    plain.chain(quoted).filter(|word| !word.is_empty() && word.len() <= 63).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_statement() {
        let found = words("SELECT p._key FROM Products p JOIN \"price-list\" l ON [x-y].z = `q-r` -- orders-1");
        for word in ["products", "price-list", "x-y", "q-r", "orders", "p", "_key"] {
            assert!(found.contains(word), "{word}: {found:?}");
        }
        assert!(words("").is_empty());
    }
}
