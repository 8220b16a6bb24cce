//! What a statement may name. SQLite asks here while it prepares one, before anything of it runs.
//!
//! The tables of the database are read by the inner views alone. SQLite tells which view an access comes from by the name
//! that stands in the FROM clause, and a caller's own `WITH products AS (SELECT … FROM base)` would go by the name of a
//! table; so the views that count have a random name.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::bounds::Bounds;
use super::views::Views;
use crate::error::{Done, Fault};

/// What secret names begin with.
const MARK: &str = "view_";
/// Bytes of chance in a secret name.
const CHANCE: usize = 16;
/// Tables that are functions of a JSON text.
const JSON_TABLES: [&str; 2] = ["json_each", "json_tree"];
/// What reads and computes; nothing that reaches out of the statement, and nothing whose work grows with the product of
/// the lengths of two texts (`instr`, `replace`, `trim`), which could not be interrupted.
const FUNCTIONS: &[&str] = &[
    "->",
    "->>",
    "abs",
    "avg",
    "ceil",
    "ceiling",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "count",
    "cume_dist",
    "date",
    "datetime",
    "dense_rank",
    "first_value",
    "floor",
    "glob",
    "group_concat",
    "hex",
    "if",
    "ifnull",
    "iif",
    "json",
    "json_array",
    "json_array_length",
    "json_extract",
    "json_group_array",
    "json_group_object",
    "json_object",
    "json_quote",
    "json_type",
    "json_valid",
    "julianday",
    "lag",
    "last_value",
    "lead",
    "length",
    "like",
    "likelihood",
    "likely",
    "lower",
    "max",
    "min",
    "mod",
    "nth_value",
    "ntile",
    "nullif",
    "octet_length",
    "percent_rank",
    "pow",
    "power",
    "random",
    "rank",
    "round",
    "row_number",
    "sign",
    "sqrt",
    "strftime",
    "string_agg",
    "substr",
    "substring",
    "sum",
    "time",
    "timediff",
    "total",
    "trunc",
    "typeof",
    "unicode",
    "unixepoch",
    "unlikely",
    "upper",
];

/// A name that a caller cannot know.
pub(super) fn secret() -> Done<String> {
    let mut chance = [0u8; CHANCE];
    getrandom::fill(&mut chance).map_err(|error| Fault::damaged("the system's random numbers", error))?;
    let mut name = MARK.to_owned();
    for byte in chance {
        let _ = write!(name, "{byte:02x}");
    }
    name.push('_');
    Ok(name)
}

/// A message of SQLite's, in which a secret name may stand.
pub(super) fn without_secret(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(MARK) {
        let (before, from) = rest.split_at(at);
        let name = &from[MARK.len()..];
        let chance = name.bytes().take_while(u8::is_ascii_hexdigit).count();
        let secret = chance == 2 * CHANCE && name[chance..].starts_with('_');
        out.push_str(before);
        out.push_str(if secret { "" } else { MARK });
        rest = &name[if secret { chance + 1 } else { 0 }..];
    }
    out.push_str(rest);
    out
}

/// What was turned away first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// A table that is none of the caller's.
    Table(String),
    /// Anything else, in words.
    Deed(String),
}

/// Remembers what was turned away.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Arc<Mutex<Option<Refused>>>);

impl Gate {
    /// From now on the connection prepares only what a caller may ask.
    pub(super) fn close(conn: &mut Connection, views: Views, bounds: &Bounds) -> rusqlite::Result<Self> {
        let gate = Self::default();
        let rules = Rules { others: others(conn)?, views };
        let (remembered, bounds) = (gate.clone(), bounds.clone());
        conn.authorizer(Some(move |context: AuthContext<'_>| {
            if bounds.is_over() {
                return Authorization::Deny;
            }
            match rules.judge(&context) {
                Ok(()) => Authorization::Allow,
                Err(refused) => {
                    remembered.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(refused);
                    Authorization::Deny
                }
            }
        }))?;
        Ok(gate)
    }

    pub(super) fn refused(&self) -> Option<Refused> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Every table and every table-like module that is not the caller's.
fn others(conn: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for sql in ["SELECT lower(name) FROM main.sqlite_schema", "SELECT lower(name) FROM pragma_module_list"] {
        let mut statement = conn.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            names.insert(row.get(0)?);
        }
    }
    Ok(names)
}

struct Rules {
    views: Views,
    others: BTreeSet<String>,
}

impl Rules {
    fn judge(&self, context: &AuthContext<'_>) -> Result<(), Refused> {
        match context.action {
            AuthAction::Select | AuthAction::Recursive => Ok(()),
            AuthAction::Read { table_name, column_name } => self.read(context, table_name, column_name),
            AuthAction::Function { function_name } => function(function_name),
            ref other => Err(Refused::Deed(format!("only a SELECT is taken here, not {}", deed(other)))),
        }
    }

    fn read(&self, context: &AuthContext<'_>, table: &str, column: &str) -> Result<(), Refused> {
        let inside = context.accessor.is_some_and(|accessor| accessor.starts_with(&self.views.secret));
        if inside && context.database_name == Some("main") && ["base", "overlay"].contains(&table) {
            return Ok(());
        }
        let low = table.to_ascii_lowercase();
        let view = self.views.tables.contains(&low) || low.starts_with(&self.views.secret);
        let is_json = JSON_TABLES.contains(&low.as_str());
        // Without a column it may also be a name that the statement itself gave; SQLite does not say in which schema it is.
        let own = column.is_empty()
            && context.database_name.is_none()
            && !self.others.contains(&low)
            && !low.starts_with("sqlite_")
            && !low.starts_with("pragma_");
        let temp = context.database_name.is_none_or(|database| database == "temp");
        if (view && temp) || is_json || own { Ok(()) } else { Err(Refused::Table(table.to_owned())) }
    }
}

fn function(name: &str) -> Result<(), Refused> {
    if FUNCTIONS.contains(&name.to_ascii_lowercase().as_str()) {
        return Ok(());
    }
    Err(Refused::Deed(format!("the function {name} is not among those that a query may call; docs/guide/app.md lists them")))
}

fn deed(action: &AuthAction<'_>) -> &'static str {
    match action {
        AuthAction::Insert { .. } => "INSERT",
        AuthAction::Update { .. } => "UPDATE",
        AuthAction::Delete { .. } => "DELETE",
        AuthAction::Pragma { .. } => "PRAGMA",
        AuthAction::Attach { .. } => "ATTACH",
        AuthAction::Detach { .. } => "DETACH",
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => "a transaction",
        AuthAction::CreateVtable { .. } => "CREATE VIRTUAL TABLE",
        _ => "a change of the schema",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_functions_is_in_order_and_small_letters() {
        assert!(FUNCTIONS.is_sorted() && FUNCTIONS.iter().all(|name| *name == name.to_ascii_lowercase()));
    }

    #[test]
    fn secret_names_are_cut_out_of_messages() {
        let name = format!("{MARK}{}_", "0f".repeat(CHANCE));
        assert_eq!(without_secret(&format!("no such column: {name}products.x in {name}y")), "no such column: products.x in y");
        assert_eq!(without_secret("view_ of view_0f_ and view_"), "view_ of view_0f_ and view_");
        assert_eq!(without_secret(""), "");
    }
}
