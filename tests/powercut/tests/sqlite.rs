//! What SQLite promises of a commit, on this disk: it holds where commits are synced, and the disk shows where they are not.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use powercut::{Loss, Watch};
use rusqlite::{Connection, params};

const COMMITS: i64 = 60;

fn dice(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |bound| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound.max(1)
    }
}

/// What a file holds: the newest commit, and whether all before it are there and nothing is broken.
fn found(path: &Path) -> rusqlite::Result<(i64, bool)> {
    let db = Connection::open(path)?;
    let whole: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    let newest = db.query_row("SELECT coalesce(max(n), 0) FROM done", [], |row| row.get(0))?;
    let count: i64 = db.query_row("SELECT count(*) FROM done", [], |row| row.get(0))?;
    let sum: i64 = db.query_row("SELECT sum(total) FROM stock", [], |row| row.get(0))?;
    Ok((newest, whole == "ok" && count == newest && sum == newest))
}

/// Cuts a run of commits at every moment, four ways: how many cuts, how many lost what had been answered, how many broke it.
fn cuts(pragmas: &str) -> (u64, u64, u64) {
    let (live, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let watch = Watch::new(live.path()).unwrap();
    let db = Connection::open(live.path().join("a.db")).unwrap();
    db.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=20; PRAGMA cache_size=10;").unwrap();
    db.execute_batch("CREATE TABLE done(n INTEGER PRIMARY KEY, pad BLOB); CREATE TABLE stock(id INTEGER PRIMARY KEY, total INTEGER);")
        .unwrap();
    db.execute_batch("INSERT INTO stock VALUES (1, 0), (2, 0), (3, 0)").unwrap();
    db.execute_batch(pragmas).unwrap();
    watch.keep_log();
    for n in 1..=COMMITS {
        let all = db.unchecked_transaction().unwrap();
        all.execute("INSERT INTO done VALUES (?1, randomblob(?2))", params![n, 50 + n * 37 % 3_000]).unwrap();
        all.execute("UPDATE stock SET total = total + 1 WHERE id = ?1", [1 + n % 3]).unwrap();
        all.commit().unwrap();
        watch.mark(n as u64);
    }
    drop(db);
    let (mut count, mut lost, mut broken, mut below) = (0, 0, 0, dice(1));
    watch.log().moments(|moment| {
        for loss in Loss::ALL {
            for entry in std::fs::read_dir(left.path()).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
            for (name, bytes) in moment.cut(loss, &mut below) {
                std::fs::write(left.path().join(name), bytes).unwrap();
            }
            count += 1;
            match found(&left.path().join("a.db")) {
                Ok((newest, true)) => lost += u64::from(newest < moment.mark as i64),
                _ => broken += 1,
            }
        }
    });
    (count, lost, broken)
}

#[test]
fn a_commit_that_was_synced_outlasts_every_cut() {
    let (count, lost, broken) = cuts("PRAGMA synchronous=FULL");
    assert!(count > 1_000, "{count}");
    assert_eq!((lost, broken), (0, 0));
}

#[test]
fn the_disk_shows_what_commits_that_are_not_synced_lose() {
    let (_, lost, broken) = cuts("PRAGMA synchronous=NORMAL");
    assert!(lost > 0);
    assert_eq!(broken, 0);
    let (_, lost, broken) = cuts("PRAGMA synchronous=OFF");
    assert!(lost > 0 && broken > 0, "{lost} {broken}");
}

#[test]
fn the_power_fails_after_so_many_syncs() {
    let live = tempfile::tempdir().unwrap();
    let watch = Watch::new(live.path()).unwrap();
    let db = Connection::open(live.path().join("a.db")).unwrap();
    db.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE done(n INTEGER PRIMARY KEY)").unwrap();
    watch.fail_after(2);
    for n in 1..=5 {
        db.execute("INSERT INTO done VALUES (?1)", [n]).unwrap();
    }
    assert!(watch.has_failed());
    drop(db);
    let left = watch.cut(Loss::Everything, &mut |_| 0);
    watch.put_back(&left).unwrap();
    let db = Connection::open(live.path().join("a.db")).unwrap();
    assert_eq!(db.query_row("SELECT max(n) FROM done", [], |row| row.get::<_, i64>(0)).unwrap(), 2);
    watch.fail_after(2);
    db.execute("INSERT INTO done VALUES (9)", []).unwrap();
    assert!(!watch.has_failed());
}
