//! Opening the file: whose it is, how old it is, and the settings of docs/design.md §9.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::error::{Done, OpenError, StoreError};
use crate::limits::{CHECKPOINT_PAGES, LOCK_WAIT, LOG_BYTES, READER_CACHE_KIB, STATEMENTS, WRITER_CACHE_KIB};
use crate::schema::{self, APPLICATION_ID, FORMAT};

/// 3.51.3: before it a reset of the write-ahead log could corrupt a database with several connections.
const SQLITE_AT_LEAST: i32 = 3_051_003;

/// Opens or makes the file for the one writer.
pub(crate) fn writer(path: &Path) -> Result<Connection, OpenError> {
    if rusqlite::version_number() < SQLITE_AT_LEAST {
        return Err(OpenError::Sqlite { found: rusqlite::version() });
    }
    check_header(path)?;
    again(path)
}

/// The same while other connections of this process are open: the file is opened by SQLite alone. Closing a descriptor of our
/// own would give back the locks of all of them (fcntl(2), sqlite.org/howtocorrupt.html §2.2).
pub(crate) fn again(path: &Path) -> Result<Connection, OpenError> {
    let failed = |fault| OpenError::Store(StoreError::of(fault, path));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags).map_err(|error| failed(error.into()))?;
    let format = check_format(&conn, path)?;
    settle_writer(&conn).map_err(failed)?;
    if format < FORMAT {
        schema::migrate(&mut conn, format).map_err(failed)?;
    }
    Ok(conn)
}

/// One more connection that only reads.
pub(crate) fn reader(path: &Path) -> Done<Connection> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    settle(&conn, READER_CACHE_KIB)?;
    Ok(conn)
}

/// A file that is no SQLite database at all must not be taken for a damaged one of ours.
pub(crate) fn check_header(path: &Path) -> Result<(), OpenError> {
    let mut header = Vec::new();
    match File::open(path).and_then(|file| file.take(16).read_to_end(&mut header)) {
        Ok(0) => Ok(()),
        Ok(_) if header == b"SQLite format 3\0" => Ok(()),
        Ok(_) => Err(OpenError::Foreign { path: path.to_owned(), detail: "not a SQLite file".to_owned() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(OpenError::Folder { folder: crate::lock::folder_of(path), source }),
    }
}

/// The file's format, 0 for a new one; refuses what is not ours or newer than this version.
pub(crate) fn check_format(conn: &Connection, path: &Path) -> Result<i32, OpenError> {
    let failed = |error: rusqlite::Error| OpenError::Store(StoreError::of(error.into(), path));
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(failed);
    let (application, format) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    match (application, format) {
        (0, 0) if tables == 0 => Ok(0),
        (APPLICATION_ID, _) if format > FORMAT => Err(OpenError::Newer { path: path.to_owned(), found: format, known: FORMAT }),
        (APPLICATION_ID, _) => Ok(format),
        _ => Err(OpenError::Foreign { path: path.to_owned(), detail: format!("application id {application:#x}, {tables} tables") }),
    }
}

fn settle(conn: &Connection, cache_kib: i32) -> Done<()> {
    conn.busy_timeout(LOCK_WAIT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.pragma_update(None, "cache_size", -cache_kib)?;
    conn.pragma_update(None, "mmap_size", 0)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    Ok(())
}

fn settle_writer(conn: &Connection) -> Done<()> {
    settle(conn, WRITER_CACHE_KIB)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    conn.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    conn.pragma_update(None, "secure_delete", true)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(())
}
