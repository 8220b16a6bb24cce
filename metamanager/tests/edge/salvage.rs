//! Damaged files: whatever page is lost, what is left of the outbox is saved whole, and what is not is declared.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use metamanager::{Metamanager, Options, ReadError, Store, WriteState};
use proto::names::CollectionName;
use rusqlite::Connection;

use crate::kit::{Edge, batch, create, is, now, sell, welcome};

/// A database with records, some answered writes, and 400 that wait, in one file without a log.
fn full() -> Edge {
    let mut edge = Edge::new();
    let records = (0..60).map(|id| is("stock", &id.to_string(), 11, &format!(r#"{{"id":{id},"n":20,"text":"{}"}}"#, "x".repeat(300))));
    edge.apply(vec![batch(10, 11, true, records.collect())]);
    for id in 0..100 {
        edge.write(vec![sell("1", 1)]);
        edge.write(vec![create("stock", &format!("new-{id}"), &format!(r#"{{"id":"new-{id}","text":"{}"}}"#, "y".repeat(200)))]);
    }
    edge.store().checkpoint().unwrap();
    edge
}

/// The waiting writes, as they are sent.
fn waiting(store: &Store) -> BTreeMap<u64, Vec<u8>> {
    let mut all = BTreeMap::new();
    loop {
        let after = all.last_key_value().map_or(0, |(number, _)| *number);
        let part = store.outbox_after(after, 1 << 20).unwrap();
        all.extend(part.writes.into_iter().map(|write| (write.number, write.bytes)));
        if !part.more {
            return all;
        }
    }
}

fn marked(path: &Path) {
    std::fs::write(path.with_extension("db.damaged"), "for the test").unwrap();
}

fn aside(folder: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let log = |path: &PathBuf| path.to_string_lossy().ends_with("-wal") || path.to_string_lossy().ends_with("-shm");
    names.filter(|path| path.to_string_lossy().contains(".corrupt.") && !log(path)).collect()
}

#[test]
fn any_page_may_be_lost() {
    let mut edge = full();
    let all = waiting(edge.store());
    assert_eq!(all.len(), 200);
    let database = edge.store().database();
    edge.store = None;
    let whole = std::fs::read(edge.path()).unwrap();
    let pages = whole.len() / 4096;
    let mut saved_some = 0;
    for page in 0..pages {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.db");
        std::fs::write(&path, &whole).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0xa5; 4096], page as u64 * 4096).unwrap();
        marked(&path);
        let mut store = Store::open(&path, Options::default(), now(1_000)).unwrap();
        assert_eq!(aside(folder.path()).len(), 1, "page {page}");
        assert!(!path.with_extension("db.damaged").exists());
        assert_ne!(store.database(), database, "it goes on under an id of its own");
        let saved = waiting(&store);
        for (number, bytes) in &saved {
            assert_eq!(all.get(number), Some(bytes), "page {page}, write {number}");
        }
        let facts = store.facts().unwrap();
        assert!(facts.previous.is_some());
        let declared: u64 = facts.gaps.iter().map(|(first, last)| last - first + 1).sum();
        if !saved.is_empty() {
            saved_some += 1;
            // Where the file's own figures were lost, what is missing at either end is the cloud's to tell.
            assert!(
                saved.len() as u64 + declared <= 200 && saved.len() as u64 + declared >= facts.newest_write - saved.keys().next().unwrap()
            );
        }
    }
    // Without the pages of the schema, or the root of the table of writes, nothing can be found.
    assert!(saved_some + 4 >= pages, "{saved_some} of {pages} pages");
}

#[test]
fn a_file_that_is_cut_off_or_no_database() {
    for (cut, header) in [(Some(40_000), None), (None, Some(b"not a database!!"))] {
        let mut edge = full();
        edge.store = None;
        let file = std::fs::OpenOptions::new().write(true).open(edge.path()).unwrap();
        cut.iter().for_each(|len| file.set_len(*len).unwrap());
        header.iter().for_each(|bytes| file.write_all_at(*bytes, 0).unwrap());
        edge.reopen();
        if cut.is_some() && aside(edge.folder.path()).is_empty() {
            // SQLite noticed nothing yet: the first read does.
            edge.store = None;
            marked(&edge.path());
            edge.reopen();
        }
        assert_eq!(aside(edge.folder.path()).len(), 1);
    }
}

/// After a kill the outbox is compared with its checksums; one write that is not what was committed is lost, and no other.
#[test]
fn a_changed_write_is_found_before_it_is_sent() {
    let mut edge = full();
    let options = edge.options.clone();
    let conn = Connection::open(edge.path()).unwrap();
    conn.execute("UPDATE writes SET bytes = CAST(bytes || x'00' AS BLOB) WHERE number = 77", []).unwrap();
    edge.store = None;
    // The connection is still open: a log is left, as after a kill.
    let damaged = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = damaged.clone();
    let observer: metamanager::Observer = std::sync::Arc::new(move |event| {
        if *event == metamanager::Event::Damaged {
            told.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    let options = Options { observer: Some(observer), ..options };
    let clock: metamanager::ReadClock = std::sync::Arc::new(|| now(1_000));
    let opened = Metamanager::open(&edge.path(), options, clock).unwrap();
    assert!(!opened.examine().unwrap());
    assert!(damaged.load(std::sync::atomic::Ordering::Relaxed));
    opened.close();
    drop((opened, conn));
    edge.reopen();
    let facts = edge.store().facts().unwrap();
    assert_eq!(facts.gaps, [(77, 77)]);
    assert_eq!(waiting(edge.store()).len(), 199);
    // Nothing is read before it has come; what was written waits over it.
    edge.adopt(&welcome(1, 11, Some(crate::kit::grants(10))));
    let stock = CollectionName::parse("stock").unwrap();
    assert_eq!(edge.reader().count(&stock), Err(ReadError::NotSynced));
    let lost = edge.reader().writes(Some(WriteState::Answered(proto::op::Verdict::Lost)), 0, 10).unwrap();
    assert_eq!(lost.writes.iter().map(|write| write.number).collect::<Vec<_>>(), [77]);
}
