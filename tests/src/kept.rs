//! What earlier versions left: databases as SQL text and frames as hex text, in `tests/data/fixtures/VERSION/`. Text,
//! so that a review sees what is in them; `make fixtures` writes those of the present version.

pub mod frames;
pub mod newer;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

/// The database files of [`crate::lab::story`], as they are named in a version's folder.
pub const DATABASES: [&str; 3] = ["cloudhub", "edge-lyon", "edge-oslo"];

/// Where a version's fixtures are.
pub fn folder(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fixtures").join(version)
}

/// A database as statements that make it again, rows in the order of their keys.
///
/// # Errors
/// As SQLite says.
pub fn dump(conn: &Connection) -> rusqlite::Result<String> {
    let pragma = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let mut text =
        format!("PRAGMA application_id = {};\nPRAGMA user_version = {};\nBEGIN;\n", pragma("application_id")?, pragma("user_version")?);
    let objects = |kind: &str| -> rusqlite::Result<Vec<(String, String)>> {
        let sql = "SELECT name, sql FROM sqlite_schema WHERE type = ?1 AND sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY name";
        conn.prepare(sql)?.query_map([kind], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    };
    let tables = objects("table")?;
    for (_, sql) in &tables {
        let _ = writeln!(text, "{sql};");
    }
    for (name, _) in &tables {
        rows(conn, name, &mut text)?;
    }
    let counted: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_sequence'", [], |row| row.get(0))?;
    if counted > 0 {
        text.push_str("DELETE FROM sqlite_sequence;\n");
        rows(conn, "sqlite_sequence", &mut text)?;
    }
    for (_, sql) in objects("index")? {
        let _ = writeln!(text, "{sql};");
    }
    text.push_str("COMMIT;\n");
    Ok(text)
}

fn rows(conn: &Connection, table: &str, text: &mut String) -> rusqlite::Result<()> {
    let mut names = conn.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let names: Vec<String> = names.query_map([table], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let quoted: Vec<String> = names.iter().map(|name| format!("quote(\"{name}\")")).collect();
    let order: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let sql = format!("SELECT {} FROM {table} ORDER BY {}", quoted.join(" || ',' || "), order.join(", "));
    let mut select = conn.prepare(&sql)?;
    for row in select.query_map([], |row| row.get::<_, String>(0))? {
        let _ = writeln!(text, "INSERT INTO {table} VALUES ({});", row?);
    }
    Ok(())
}

/// Makes a database file from such statements.
///
/// # Errors
/// As SQLite says.
pub fn load(sql: &str, path: &Path) -> rusqlite::Result<()> {
    let conn = Connection::open(path)?;
    conn.execute_batch(sql)
}

/// Bytes as hex, in lines that a review can show.
pub fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let lines: Vec<&str> = digits.as_bytes().chunks(120).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
    lines.join("\n")
}

/// The other way round: blocks of hex lines, each under a line `# name`. Whatever is not hex is left out.
pub fn blocks(text: &str) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# ") {
            found.push((name.to_owned(), String::new()));
        } else if let Some((_, digits)) = found.last_mut() {
            digits.push_str(line.trim());
        }
    }
    let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    found.into_iter().map(|(name, digits)| (name, digits.as_bytes().chunks(2).filter_map(byte).collect())).collect()
}
