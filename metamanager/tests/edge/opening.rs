//! Whose file it is, and what a start does.

use metamanager::{OpenError, Options, Store};
use rusqlite::Connection;

use crate::kit::{Edge, create, now};

fn open(edge: &Edge) -> Result<Store, OpenError> {
    Store::open(&edge.path(), edge.options.clone(), now(0))
}

#[test]
fn a_second_process_is_told_where_the_first_one_is() {
    let edge = Edge::new();
    let text = open(&edge).err().unwrap().to_string();
    assert!(text.contains(edge.folder.path().to_str().unwrap()), "{text}");
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
}

#[test]
fn a_newer_file_is_refused_with_both_versions() {
    let mut edge = Edge::new();
    edge.store = None;
    Connection::open(edge.path()).unwrap().pragma_update(None, "user_version", 9).unwrap();
    let text = open(&edge).err().unwrap().to_string();
    assert!(text.contains("format 9") && text.contains("up to 4") && text.contains("edge.db"), "{text}");
    Connection::open(edge.path()).unwrap().pragma_update(None, "user_version", 4).unwrap();
    edge.reopen();
    assert!(edge.store().status().unwrap().synced, "nothing was lost");
}

#[test]
fn files_of_something_else_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edge.db");
    std::fs::write(&path, "a shopping list, not a database").unwrap();
    let refused = || Store::open(&path, Options::default(), now(0)).err().unwrap();
    assert!(matches!(refused(), OpenError::Foreign { .. }));
    assert_eq!(std::fs::read(&path).unwrap(), b"a shopping list, not a database");
    std::fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    assert!(matches!(refused(), OpenError::Foreign { .. }));
}

#[test]
fn settings_are_those_of_the_design() {
    let mut edge = Edge::new();
    edge.write(vec![create("stock", "1", r#"{"id":1}"#)]);
    let id = edge.store().database();
    edge.reopen();
    assert_eq!(edge.store().database(), id);
    let conn = Connection::open(edge.path()).unwrap();
    let text = |pragma: &str| conn.pragma_query_value(None, pragma, |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
    assert_eq!(text("journal_mode"), rusqlite::types::Value::Text("wal".to_owned()));
    assert_eq!(text("application_id"), rusqlite::types::Value::Integer(0x546d_626c));
    assert_eq!(text("user_version"), rusqlite::types::Value::Integer(4));
    let opens: i64 = conn.query_row("SELECT opens FROM meta", [], |row| row.get(0)).unwrap();
    assert_eq!(opens, 2, "every start commits a change, so that what an earlier one left in the log is synced");
}
