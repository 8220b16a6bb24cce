//! Looking at an edge database from outside, beside a running node or without one. Nothing is changed, and nothing is
//! locked: a node that starts meanwhile does not notice.

use std::path::Path;
use std::time::{Duration, Instant};

use proto::clock::Hlc;
use proto::ids::DatabaseId;
use rusqlite::{Connection, OpenFlags};

use crate::error::{Done, Fault, OpenError, StoreError};
use crate::limits::INSPECT_STEPS;
use crate::open::{check_format, check_header};
use crate::schema::FORMAT;

/// What stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Its format.
    pub format: i32,
    /// The newest format that this version knows.
    pub known: i32,
    /// The random id of the file.
    pub database: DatabaseId,
    /// The newest value of the stored clock, milliseconds since 1970.
    pub clock_ms: u64,
    /// Writes without an outcome.
    pub outbox_writes: u64,
    /// Their bytes.
    pub outbox_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of the log beside it; 0 where there is none.
    pub log_bytes: u64,
}

/// What SQLite's `quick_check` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Soundness {
    /// Nothing.
    Sound,
    /// Damage, in SQLite's words.
    Damaged(String),
    /// It was not done in time: the file is large, or the disk slow.
    Unfinished,
}

/// Reads what the file says of itself; `None` where there is no file.
///
/// # Errors
/// [`OpenError`]: not an edge database, a newer one, or one that cannot be read.
pub fn inspect(path: &Path) -> Result<Option<Inspection>, OpenError> {
    let Ok(file) = std::fs::metadata(path) else { return Ok(None) };
    check_header(path)?;
    let failed = |fault| OpenError::Store(StoreError::of(fault, path));
    let conn = look(path).map_err(failed)?;
    let format = check_format(&conn, path)?;
    if format == 0 {
        return Ok(None);
    }
    let (database, clock, outbox_writes, outbox_bytes) = facts(&conn).map_err(failed)?;
    Ok(Some(Inspection {
        format,
        known: FORMAT,
        database: DatabaseId(database),
        clock_ms: Hlc(clock).ms(),
        outbox_writes,
        outbox_bytes,
        file_bytes: file.len(),
        log_bytes: std::fs::metadata(log(path)).map_or(0, |log| log.len()),
    }))
}

fn facts(conn: &Connection) -> Done<([u8; 16], u64, u64, u64)> {
    let sql = "SELECT database, clock, outbox_writes, outbox_bytes FROM meta WHERE id = 1";
    let unsigned = |value: i64| value.cast_unsigned();
    Ok(conn.query_row(sql, [], |row| Ok((row.get(0)?, unsigned(row.get(1)?), unsigned(row.get(2)?), unsigned(row.get(3)?))))?)
}

/// Looks for damage, for `patience` at most.
///
/// # Errors
/// [`StoreError`]: it could not even be begun.
pub fn quick_check(path: &Path, patience: Duration) -> Result<Soundness, StoreError> {
    let failed = |fault| StoreError::of(fault, path);
    let had_log = has_log(path);
    let found = look(path).and_then(|conn| check(conn, patience)).map_err(failed)?;
    if matches!(found, Soundness::Damaged(_)) && !had_log && has_log(path) {
        // A node has started meanwhile and writes: read through its log, what was read beside it means nothing.
        return look(path).and_then(|conn| check(conn, patience)).map_err(failed);
    }
    Ok(found)
}

fn check(mut conn: Connection, patience: Duration) -> Done<Soundness> {
    let end = Instant::now() + patience;
    conn.progress_handler(INSPECT_STEPS, Some(move || Instant::now() >= end))?;
    let said = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match said {
        Ok(said) if said == "ok" => Ok(Soundness::Sound),
        Ok(said) => Ok(Soundness::Damaged(said)),
        Err(error) => match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::OperationInterrupted) => Ok(Soundness::Unfinished),
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => Ok(Soundness::Damaged(error.to_string())),
            _ => Err(Fault::Sql(error)),
        },
    }
}

/// A connection that leaves no file behind: without a log nobody writes, and then SQLite is told that nobody will.
fn look(path: &Path) -> Done<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let still = if has_log(path) { "" } else { "&immutable=1" };
    let conn = Connection::open_with_flags(format!("file:{}?mode=ro{still}", escape(path)), flags)?;
    conn.busy_timeout(crate::limits::LOCK_WAIT)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    Ok(conn)
}

fn log(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Whether anything stands in the log; a node that was stopped may leave an empty one.
pub(crate) fn has_log(path: &Path) -> bool {
    std::fs::metadata(log(path)).is_ok_and(|log| log.len() > 0)
}

/// A path in a `file:` URI.
fn escape(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte);
    let bytes = path.as_os_str().as_bytes();
    bytes.iter().map(|byte| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use proto::clock::Now;

    use super::*;
    use crate::{Options, Store};

    const NOW: Now = Now { wall_ms: 1_795_166_400_000, mono_ms: 0 };
    const PATIENCE: Duration = Duration::from_secs(60);

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_database_is_looked_at_open_and_closed_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge ?#%.db");
        assert_eq!(inspect(&path).unwrap(), None);
        let mut store = Store::open(&path, Options::default(), NOW).unwrap();
        let seen = inspect(&path).unwrap().unwrap();
        assert_eq!((seen.database, seen.format), (store.database(), FORMAT));
        assert!(seen.log_bytes > 0);
        store.checkpoint().unwrap();
        drop(store);
        let before = names(folder.path());
        assert_eq!(inspect(&path).unwrap().unwrap().database, seen.database);
        assert_eq!(quick_check(&path, PATIENCE).unwrap(), Soundness::Sound);
        assert_eq!(names(folder.path()), before);
    }

    #[test]
    fn what_is_no_database_and_what_is_damaged_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.db");
        drop(Store::open(&path, Options::default(), NOW).unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 4096].fill(0x5a);
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(quick_check(&path, PATIENCE).unwrap(), Soundness::Damaged(_)));
        bytes[..16].fill(b'x');
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(inspect(&path), Err(OpenError::Foreign { .. })));
    }

    #[test]
    fn a_check_without_time_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.db");
        let store = Store::open(&path, Options::default(), NOW).unwrap();
        let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
            INSERT INTO writes (number, at_ms, prev, bytes) SELECT i, 0, x'', zeroblob(100) FROM n";
        drop(store);
        Connection::open(&path).unwrap().execute_batch(many).unwrap();
        assert_eq!(quick_check(&path, Duration::ZERO).unwrap(), Soundness::Unfinished);
    }
}
