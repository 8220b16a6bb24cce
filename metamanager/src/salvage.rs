//! What is saved from a damaged file (docs/design.md §9): it is put aside, never deleted, and a new database takes its place
//! that has every write which can still be read and is whole, under its number, and what devices reported. The cloud knows it by the old id
//! (`meta.previous`), and what is missing between the numbers is declared. Everything else comes from the cloud again.

use std::fs::File;
use std::path::{Path, PathBuf};

use proto::ids::DatabaseId;
use proto::op::Write;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Row, params};

use crate::damage::mark_of;
use crate::error::{Done, OpenError, StoreError};
use crate::ledger::{number, stored};
use crate::outbox::{is_system, sum};
use crate::{lock, renew, requests, tokens};

/// Numbers that are looked up one by one where scans fail: a page of many small writes, many times over.
const LOOKUPS: u64 = 1_000_000;

/// Bytes of a page of our files.
const PAGE: u64 = 4096;

/// What was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Saved {
    /// Where the damaged file is now.
    pub(crate) aside: PathBuf,
    /// Writes without an outcome.
    pub(crate) pending: u64,
    /// Other writes, which are kept for a while.
    pub(crate) kept: u64,
    /// Values that devices reported and that were in no write yet.
    pub(crate) reported: u64,
}

/// Whether an opening failed because the file is damaged. `joined`: a file in this place is a node's database, whatever its
/// first bytes say, if it consists of pages; what does not was put there by somebody, who is told.
pub(crate) fn is_damage(error: &OpenError, joined: bool) -> bool {
    let pages = |path: &Path| std::fs::metadata(path).is_ok_and(|file| file.len() >= PAGE && file.len() % PAGE == 0);
    match error {
        OpenError::Store(StoreError::Corrupt { .. }) => true,
        OpenError::Foreign { path, .. } => joined && pages(path),
        _ => false,
    }
}

/// Puts the file and its log aside. Tells where it is now.
pub(crate) fn put_aside(path: &Path, now_ms: u64) -> Result<PathBuf, OpenError> {
    let named = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let failed = |source| OpenError::Folder { folder: lock::folder_of(path), source };
    let mut stamp = now_ms / 1_000;
    while named(&format!(".corrupt.{stamp}")).exists() {
        stamp += 1;
    }
    let aside = format!(".corrupt.{stamp}");
    for part in ["-wal", "-shm", ""] {
        let from = named(part);
        if from.exists() {
            std::fs::rename(&from, named(&format!("{aside}{part}"))).map_err(failed)?;
        }
    }
    // The mark goes last: a power cut before it finds no file, or the file and the mark.
    let _ = std::fs::remove_file(mark_of(path));
    File::open(lock::folder_of(path)).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(named(&aside))
}

/// Fills a new database with what can be read of the one that was put aside.
pub(crate) fn save(aside: &Path, conn: &Connection, now_ms: u64) -> Done<Saved> {
    let tx = conn.unchecked_transaction()?;
    let from = open(aside);
    let old = from.as_ref().and_then(|from| facts(from).ok()).unwrap_or_default();
    let mut into = Into { conn: &tx, newest: old.newest, lowest: None };
    let mut reported = 0;
    if let Some(from) = &from {
        reported = crate::reported::salvage(from, &tx)?;
        requests::salvage(from, &tx);
        writes(from, &mut into, old.newest)?;
        requests::forget_above(&tx, into.newest)?;
        outcomes(from, &tx);
        aliases(from, &tx)?;
        tokens::save(from, &tx);
    }
    let previous = old.database.unwrap_or(DatabaseId::UNKNOWN);
    renew::alias(&tx, previous, into.newest)?;
    let answered = old.answered.unwrap_or_else(|| into.lowest.map_or(into.newest, |lowest| lowest.saturating_sub(1)));
    count(&tx, &into, answered, &old, previous)?;
    missing(&tx, answered, into.newest, now_ms)?;
    let pending = tx.query_row("SELECT outbox_writes FROM meta", [], |row| number(row, 0))?;
    let all = tx.query_row("SELECT count(*) FROM writes", [], |row| number(row, 0))?;
    tx.commit()?;
    Ok(Saved { aside: aside.to_owned(), pending, kept: all - pending, reported })
}

/// A connection that changes nothing and bears a damaged schema. None: not even that.
fn open(aside: &Path) -> Option<Connection> {
    let conn = Connection::open_with_flags(aside, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX).ok()?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).ok()?;
    let _ = conn.pragma_update(None, "writable_schema", true);
    let _ = conn.pragma_update(None, "cell_size_check", true);
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).ok()?;
    Some(conn)
}

/// What the old file says of itself, as far as it can be read.
#[derive(Debug, Default)]
struct Facts {
    database: Option<DatabaseId>,
    newest: u64,
    answered: Option<u64>,
    clock: i64,
}

fn facts(from: &Connection) -> Done<Facts> {
    Ok(from.query_row("SELECT database, newest, answered, clock FROM meta WHERE id = 1", [], |row| {
        Ok(Facts { database: Some(DatabaseId(row.get(0)?)), newest: number(row, 1)?, answered: Some(number(row, 2)?), clock: row.get(3)? })
    })?)
}

struct Into<'a> {
    conn: &'a Connection,
    newest: u64,
    lowest: Option<u64>,
}

impl Into<'_> {
    /// Keeps a write that is whole.
    fn take(&mut self, row: &Row<'_>) -> Done<u64> {
        let of = number(row, 0)?;
        let (at_ms, prev, bytes): (i64, Vec<u8>, Vec<u8>) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let known: Option<Vec<u8>> = row.get(4)?;
        let write = Write::decode(&bytes).ok().filter(|_| known.is_none_or(|known| known == sum(of, &bytes)));
        if let Some(write) = write.filter(|_| of > 0) {
            let original: Option<[u8; 16]> = row.get(5)?;
            let mut insert = self.conn.prepare_cached(
                "INSERT OR IGNORE INTO writes (number, at_ms, prev, bytes, sum, hash, system) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            insert.execute(params![stored(of), at_ms, prev, bytes, sum(of, &bytes), original, is_system(&write)])?;
            requests::salvage_write(self.conn, of, &write)?;
            self.newest = self.newest.max(of);
            self.lowest = Some(self.lowest.map_or(of, |lowest| lowest.min(of)));
        }
        Ok(of)
    }
}

const COLUMNS: &str = "SELECT number, at_ms, prev, bytes, sum, hash FROM writes";

/// Every write that can be read: forwards to the first damage, backwards to the last, and one by one what lies between.
fn writes(from: &Connection, into: &mut Into<'_>, newest: u64) -> Done<()> {
    let first = scan(from, &format!("{COLUMNS} ORDER BY number"), into)?;
    let Scan::Cut(first) = first else { return Ok(()) };
    let last = match scan(from, &format!("{COLUMNS} ORDER BY number DESC"), into)? {
        Scan::Cut(Some(last)) => last,
        _ => newest + 1,
    };
    let first = first.unwrap_or(0);
    let Ok(mut one) = from.prepare(&format!("{COLUMNS} WHERE number = ?1")) else { return Ok(()) };
    for of in (first + 1..last).take(usize::try_from(LOOKUPS).unwrap_or(usize::MAX)) {
        let Ok(mut rows) = one.query([stored(of)]) else { continue };
        if let Ok(Some(row)) = rows.next() {
            let _ = into.take(row);
        }
    }
    Ok(())
}

/// How a scan ended.
enum Scan {
    Whole,
    /// After this number.
    Cut(Option<u64>),
}

fn scan(from: &Connection, sql: &str, into: &mut Into<'_>) -> Done<Scan> {
    let mut last = None;
    let Ok(mut statement) = from.prepare(sql) else { return Ok(Scan::Cut(None)) };
    let Ok(mut rows) = statement.query([]) else { return Ok(Scan::Cut(None)) };
    loop {
        match rows.next() {
            Ok(Some(row)) => match into.take(row) {
                Ok(of) => last = Some(of),
                Err(_) => return Ok(Scan::Cut(last)),
            },
            Ok(None) => return Ok(Scan::Whole),
            Err(_) => return Ok(Scan::Cut(last)),
        }
    }
}

/// Outcomes of the writes that were saved. One that cannot be read is given once more by the cloud.
fn outcomes(from: &Connection, into: &Connection) {
    let copy = || -> Done<()> {
        let mut query = from.prepare("SELECT number, verdict, revision, at_ms, declared, code, detail, conflicts FROM outcomes")?;
        let mut insert = into.prepare(
            "INSERT OR IGNORE INTO outcomes (number, verdict, revision, at_ms, declared, code, detail, conflicts) \
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 WHERE EXISTS (SELECT 1 FROM writes WHERE number = ?1)",
        )?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let values = (0..8).map(|place| row.get::<_, rusqlite::types::Value>(place)).collect::<Result<Vec<_>, _>>()?;
            insert.execute(rusqlite::params_from_iter(values))?;
        }
        Ok(())
    };
    if let Err(error) = copy() {
        tracing::warn!(?error, "some outcomes cannot be read; the cloud gives them again");
    }
}

fn aliases(from: &Connection, into: &Connection) -> Done<()> {
    for alias in renew::aliases(from).unwrap_or_default() {
        renew::alias(into, alias.database, alias.upto)?;
    }
    Ok(())
}

/// The figures of the new database follow from its rows.
fn count(conn: &Connection, into: &Into<'_>, answered: u64, old: &Facts, previous: DatabaseId) -> Done<()> {
    // Without its outcome a write below `answered` would never go up: it was answered, and is not pending.
    conn.execute(
        "DELETE FROM writes WHERE number <= ?1 AND NOT EXISTS (SELECT 1 FROM outcomes WHERE outcomes.number = writes.number)",
        [stored(answered)],
    )?;
    conn.execute(
        "WITH judged AS (SELECT length(w.bytes) AS bytes, w.system AS system, o.verdict AS verdict FROM writes w LEFT JOIN outcomes o ON o.number = w.number)
         UPDATE meta SET newest = ?1, answered = ?2, clock = ?3, previous = ?4, saved = 1, trimmed = 0,
             outbox_writes = (SELECT count(*) FROM judged WHERE verdict IS NULL),
             outbox_bytes = (SELECT coalesce(sum(bytes), 0) FROM judged WHERE verdict IS NULL),
             system_bytes = (SELECT coalesce(sum(bytes), 0) FROM judged WHERE verdict IS NULL AND system),
             rejected_writes = (SELECT count(*) FROM judged WHERE verdict >= 3),
             rejected_bytes = (SELECT coalesce(sum(bytes), 0) FROM judged WHERE verdict >= 3),
             delivered_bytes = (SELECT coalesce(sum(bytes), 0) FROM judged WHERE verdict < 3)",
        params![stored(into.newest), stored(answered.min(into.newest)), old.clock, previous.0],
    )?;
    Ok(())
}

/// Numbers that were given out and are in no row will never come: they are declared.
fn missing(conn: &Connection, answered: u64, newest: u64, now_ms: u64) -> Done<()> {
    let ranges = crate::lost::missing(conn, answered, newest)?;
    for (first, last) in &ranges {
        tracing::error!(first, last, "writes that were not sent could not be saved from the damaged file");
        conn.execute("INSERT INTO lost (first, last, at_ms) VALUES (?1, ?2, ?3)", params![stored(*first), stored(*last), stored(now_ms)])?;
    }
    Ok(())
}
