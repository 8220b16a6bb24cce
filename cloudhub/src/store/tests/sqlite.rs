//! The embedded store as a fixture, and what is true of it alone.

use std::path::PathBuf;

use rusqlite::Connection;
use tempfile::TempDir;

use super::bench::{Bench, Fixture, key, name};
use super::edge::{Edge, put};
use super::shops;
use crate::store::schema::MIGRATIONS;
use crate::store::{Class, OpenError, OpenOptions, SqliteStore, Store, StoreError, StoreRead};

pub(super) struct Embedded {
    folder: TempDir,
    seed: u64,
}

impl Fixture for Embedded {
    type Store = SqliteStore;
    type Image = Vec<u8>;

    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), seed: 0 }
    }

    fn open(&mut self, now_ms: u64) -> SqliteStore {
        self.seed += 1;
        let seed = self.seed;
        SqliteStore::open(&self.options(), now_ms, &mut || seed).unwrap()
    }

    fn save(&self) -> Vec<u8> {
        std::fs::read(self.file()).unwrap()
    }

    fn put_back(&mut self, image: &Vec<u8>) {
        for end in ["-wal", "-shm"] {
            let _absent = std::fs::remove_file(self.folder.path().join(format!("cloudhub.db{end}")));
        }
        std::fs::write(self.file(), image).unwrap();
    }

    fn check(store: &SqliteStore) {
        assert_eq!(store.digests_fault(), None);
    }
}

impl Embedded {
    fn options(&self) -> OpenOptions {
        OpenOptions { data: self.folder.path().to_owned() }
    }

    fn file(&self) -> PathBuf {
        self.options().database()
    }

    /// A second connection, to do what the store would not.
    pub(super) fn raw(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }
}

/// `poison-write`: one write makes SQLite fail; it is rejected alone, the next ones go through.
#[test]
fn poison_write() {
    let mut bench = shops::<Embedded>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    bench
        .fixture
        .raw()
        .execute_batch("CREATE TRIGGER poison BEFORE INSERT ON records WHEN NEW.key = '2' BEGIN SELECT RAISE(ABORT, 'poison'); END;")
        .unwrap();
    let mut both = put("products", "3", r#"{"ProductID":3}"#);
    both.extend(put("products", "2", r#"{"ProductID":2}"#));
    lyon.commit(put("products", "1", r#"{"ProductID":1}"#));
    lyon.commit(both);
    lyon.commit(put("products", "4", r#"{"ProductID":4}"#));
    let taken = lyon.upload(&mut bench).unwrap();
    assert_eq!((taken.taken, taken.stop), (3, None));
    lyon.sync(&mut bench);
    lyon.answered(&[(1, "applied", ""), (2, "rejected", "malformed"), (3, "applied", "")]);
    assert!(lyon.outcome(2).detail.as_ref().unwrap().contains("poison"));
    assert!(bench.get("products", "3").is_none(), "the write is rejected whole");
    assert!(bench.get("products", "4").is_some());
    lyon.same_as_cloud(&mut bench);
}

#[test]
fn a_second_process_is_refused() {
    let mut fixture = Embedded::new();
    let held = fixture.open(1);
    let Err(OpenError::InUse { pid, .. }) = SqliteStore::open(&fixture.options(), 1, &mut || 9) else { panic!("opened twice") };
    assert_eq!(pid, std::process::id().to_string());
    drop(held);
    fixture.open(1);
}

#[test]
fn a_newer_file_and_a_foreign_one_are_refused() {
    let mut fixture = Embedded::new();
    fixture.open(1).close().unwrap();
    fixture.raw().pragma_update(None, "user_version", 1_000).unwrap();
    let error = SqliteStore::open(&fixture.options(), 1, &mut || 9).err().unwrap();
    assert!(matches!(error, OpenError::Newer { found: 1_000, .. }), "{error}");

    let fixture = Embedded::new();
    fixture.raw().execute_batch("CREATE TABLE mine (a)").unwrap();
    assert!(matches!(SqliteStore::open(&fixture.options(), 1, &mut || 9), Err(OpenError::Foreign { .. })));

    let fixture = Embedded::new();
    std::fs::write(fixture.file(), "this is a text file and no database at all, and it is long enough to tell".repeat(20)).unwrap();
    assert!(matches!(SqliteStore::open(&fixture.options(), 1, &mut || 9), Err(OpenError::Foreign { .. })));
}

/// Two writers on one file: the second to commit loses its transaction and not the order.
#[test]
fn a_moved_head_fences_the_writer() {
    let mut bench = Bench::<Embedded>::new();
    bench.define("notes", "{}");
    bench.fixture.raw().execute_batch("UPDATE meta SET head = head + 1").unwrap();
    let now_ms = bench.now_ms;
    let job = || crate::store::Job::DeleteCollection { name: name("notes") };
    let error = bench.store().decide(vec![job()], now_ms).unwrap_err();
    assert!(matches!(error, StoreError::Fenced(1)), "{error}");
    assert_eq!(error.class(), Class::Stop);
    assert!(matches!(bench.store().decide(vec![job()], now_ms), Err(StoreError::Poisoned)));
    bench.crash();
    assert!(bench.reader().collection(&name("notes")).unwrap().is_some(), "nothing of it happened");
}

/// A write that is in the tables twice would be applied twice: the schema itself forbids it.
#[test]
fn a_number_is_stored_once() {
    let mut bench = shops::<Embedded>();
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.commit(put("products", "1", r#"{"ProductID":1}"#));
    lyon.upload(&mut bench).unwrap();
    let twice = bench.fixture.raw().execute(
        "INSERT INTO writes (revision, database, number, hash, verdict, at_ms, payload) SELECT revision + 1, database, number, hash, verdict, at_ms, payload FROM writes WHERE database > 0",
        [],
    );
    assert!(twice.is_err());
}

/// Deleted bytes are gone from the file, not only from its tables.
#[test]
fn what_a_node_lost_is_not_in_the_file() {
    let mut bench = shops::<Embedded>();
    bench.put("products", "1", r#"{"ProductID":1,"Secret":"swordfish-and-more-of-it"}"#);
    bench.done(crate::store::Job::DeleteCollection { name: name("products") });
    let now_ms = bench.now_ms;
    while bench.store().tidy(now_ms).unwrap().1 {}
    bench.fixture.raw().execute_batch("PRAGMA secure_delete = ON; DELETE FROM writes").unwrap();
    bench.restart();
    let bytes = std::fs::read(bench.fixture.file()).unwrap();
    assert!(!bytes.windows(9).any(|window| window == b"swordfish"));
    assert!(bench.reader().record(&name("products"), &key("1")).unwrap().is_none());
}

/// Format 2 gives every record its hash and every partition its digest.
#[test]
fn a_file_of_format_1_gets_its_digests() {
    let mut fixture = Embedded::new();
    let raw = fixture.raw();
    MIGRATIONS[0].iter().for_each(|step| step.run(&raw).unwrap());
    raw.execute_batch(
        "PRAGMA application_id = 0x54424c43; PRAGMA user_version = 1;
         INSERT INTO meta (id, head, hlc, created_ms) VALUES (1, 9, 0, 0);
         INSERT INTO collections (id, name, revision, definition) VALUES (7, 'stock', 1, '{\"partition\":{\"field\":\"W\",\"label\":\"site\"}}');
         INSERT INTO records (id, collection, key, revision, born, share, deleted, updated_ms, writer, actor, clocks, value) VALUES
             (1, 7, 'a', 2, 2, '=lyon', 0, 5, 'cloud:2', NULL, x'', '{\"W\":\"lyon\"}'),
             (4, 7, 'b', 3, 2, '=lyon', 0, 6, 'cloud:3', 'ann', x'', '{\"W\":\"lyon\",\"n\":1}'),
             (6, 7, 'c', 4, 4, '=oslo', 1, 7, 'cloud:4', NULL, x'', '{\"W\":\"oslo\"}'),
             (9, 7, 'd', 5, 5, NULL, 0, 8, 'cloud:5', NULL, x'', '{}'),
             (10, 8, 'e', 6, 6, '', 0, 8, 'cloud:6', NULL, x'', '{}');
         INSERT INTO doomed (collection) VALUES (8);",
    )
    .unwrap();
    drop(raw);
    let store = fixture.open(1);
    Embedded::check(&store);
    drop(store);
    let raw = fixture.raw();
    let (ids, hashes, digests): (String, i64, String) = raw
        .query_row(
            "SELECT (SELECT group_concat(id) FROM (SELECT id FROM records ORDER BY id)), (SELECT count(hash) FROM records),
                 (SELECT group_concat(collection || share || count) FROM digests)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!((ids.as_str(), hashes, digests.as_str()), ("1,4,6,9,10", 4, "7=lyon2"));
}
