use super::*;
use crate::local::{LocalRequest, LocalWrite, Precondition};
use proto::build::{Action, Request};
use proto::frame::{DefinitionText, Grant, Grants, Share, Welcome};
use proto::ids::{Epoch, Position, Revision};
use proto::json::Value;
use proto::names::{CollectionName, Key};

fn store(folder: &Path) -> Store {
    let mut store = Store::open(&folder.join("edge.db"), Options::default(), Now::default()).unwrap();
    let name = CollectionName::parse("a").unwrap();
    let share = Share { collection: name.clone(), partition: None };
    let grants = Grants {
        revision: Revision(1),
        grants: vec![Grant { share, since: Revision(1), from: Revision(1) }],
        definitions: vec![DefinitionText { name, revision: Revision(1), json: "{}".to_owned() }],
        labels: Vec::new(),
    };
    let welcome = Welcome {
        version: 1,
        features: Vec::new(),
        session: 1,
        epochs: Vec::new(),
        head: Revision(1),
        cursor: Cursor { epoch: Epoch(1), position: Position::at(Revision(1)) },
        reset: false,
        taken: 0,
        grants: Some(grants),
        now_ms: 0,
        ping_ms: 1,
        silence_ms: 1,
        fork: None,
        labels: Vec::new(),
        hashes: Vec::new(),
        held: None,
    };
    store.adopt(&welcome, Now::default()).unwrap();
    store
}

fn put(key: &str, size: usize) -> Vec<LocalWrite> {
    let value = Value::parse(&format!(r#"{{"t":"{}"}}"#, "x".repeat(size))).unwrap();
    let collection = CollectionName::parse("a").unwrap();
    let request = Request { collection, key: Key::parse(key).unwrap(), action: Action::Put { value, create: false }, expect: None };
    let requests = vec![LocalRequest { request, precondition: Precondition::None, own_key: false }];
    vec![LocalWrite { requests, actor: None, request_id: None, idempotency: None, resends: None }]
}

#[test]
fn a_full_disk_acknowledges_nothing_and_passes() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(folder.path());
    let pages: i64 = store.conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.conn.pragma_update(None, "max_page_count", pages + 2).unwrap();
    let mut group = put("1", 10);
    group.extend(put("2", 100_000));
    let answers = store.commit(Now::default(), group);
    let codes: Vec<_> = answers.iter().map(|answer| answer.as_ref().unwrap_err().code()).collect();
    assert_eq!(codes, ["disk_full", "disk_full"]);
    assert_eq!((store.health, store.status().unwrap().newest_write), (Health::Reload, 0));
    store.conn.pragma_update(None, "max_page_count", 1_000_000).unwrap();
    assert!(store.commit(Now::default(), put("2", 100_000))[0].is_ok());
    assert_eq!(store.facts().unwrap().newest_write, 1);
}

#[test]
fn after_a_disk_failure_the_file_is_opened_again_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(folder.path());
    assert!(store.commit(Now::default(), put("1", 10))[0].is_ok());
    let opens = |store: &Store| store.conn.query_row("SELECT opens FROM meta", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(opens(&store), 1);
    let failed = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC), None);
    let error = store.transaction::<()>(|tx| {
        tx.ledger.meta.newest = 99;
        Err(failed.into())
    });
    assert!(matches!(error, Err(StoreError::Io { .. })));
    assert_eq!(store.health, Health::Reopen);
    assert!(store.commit(Now::default(), put("2", 10))[0].is_ok());
    assert_eq!((opens(&store), store.facts().unwrap().newest_write), (2, 2));
}

#[test]
fn errors_are_told_apart() {
    let of = |code| StoreError::of(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None).into(), Path::new("edge.db"));
    assert!(matches!(of(rusqlite::ffi::SQLITE_FULL), StoreError::Full { .. }));
    assert!(matches!(of(rusqlite::ffi::SQLITE_CORRUPT), StoreError::Corrupt { .. }));
    assert!(matches!(of(rusqlite::ffi::SQLITE_NOTADB), StoreError::Corrupt { .. }));
    assert!(matches!(of(rusqlite::ffi::SQLITE_IOERR_WRITE), StoreError::Io { .. }));
    assert!(matches!(of(rusqlite::ffi::SQLITE_BUSY), StoreError::Other { .. }));
    assert!(of(rusqlite::ffi::SQLITE_FULL).to_string().contains("edge.db"));
}

#[test]
fn a_start_and_hello_do_not_scan_the_waiting_writes() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(folder.path());
    for key in 0..50 {
        assert!(store.commit(Now::default(), put(&key.to_string(), 10))[0].is_ok());
    }
    let facts = store.facts().unwrap();
    assert_eq!((facts.newest_write, facts.outbox_first, facts.report.outbox_writes, facts.gaps.len()), (50, 1, 50, 0));
    let mut plan = store.conn.prepare(&format!("EXPLAIN QUERY PLAN {FIRST_PENDING}")).unwrap();
    let lines: Vec<String> = plan.query_map([], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
    assert!(lines.iter().any(|line| line.starts_with("SEARCH writes USING INTEGER PRIMARY KEY")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("SCAN writes") || line.starts_with("SCAN outcomes")), "{lines:?}");
}
