//! Opening: the lock of the data folder, the settings of every connection, migrations, the new epoch.

use std::fs::{File, OpenOptions as FileOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use proto::ids::{Epoch, EpochStart, Revision};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::{Class, OpenError, StoreError, counted, limit, stored};
use super::schema::{APPLICATION_ID, MIGRATIONS, VERSION};
use crate::limits::EPOCHS;

/// The first SQLite without the WAL bug of design §9.
const SQLITE_MIN: i32 = 3_051_003;
/// Memory that the writer's page cache may use, KiB (negative, as SQLite wants it).
const WRITER_CACHE: i64 = -64 * 1024;
/// The same for a reader.
const READER_CACHE: i64 = -8 * 1024;

/// Where the store is.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// The data folder; `cloudhub.db` and `cloudhub.lock` are in it.
    pub data: PathBuf,
}

impl OpenOptions {
    /// The database file.
    pub fn database(&self) -> PathBuf {
        self.data.join("cloudhub.db")
    }
}

/// Held as long as the process uses the data folder; the system gives it back however the process ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the folder for this process.
    ///
    /// # Errors
    /// [`OpenError::InUse`], naming the process that has it; [`OpenError::Folder`].
    pub fn take(data: &Path) -> Result<Self, OpenError> {
        let path = data.join("cloudhub.lock");
        let folder = |source| OpenError::Folder { path: path.clone(), source };
        let mut file = FileOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(folder)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let read = file.take(32).read_to_string(&mut pid);
                let pid = if read.is_ok() && !pid.trim().is_empty() { pid.trim().to_owned() } else { "unknown".to_owned() };
                return Err(OpenError::InUse { path: data.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(folder(source)),
        }
        file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(folder)?;
        writeln!(file, "{}", std::process::id()).map_err(folder)?;
        Ok(Self { _file: file })
    }
}

/// What a fresh start of the store knows.
pub(super) struct Opened {
    pub(super) conn: Connection,
    pub(super) head: u64,
    pub(super) epoch: EpochStart,
}

/// Opens the writer's connection, brings the tables up to date, and begins a new epoch.
pub(super) fn open_writer(path: &Path, now_ms: u64, random: &mut dyn FnMut() -> u64) -> Result<Opened, OpenError> {
    if rusqlite::version_number() < SQLITE_MIN {
        return Err(OpenError::Library { found: rusqlite::version() });
    }
    let database = |source: StoreError| match source.class() {
        Class::Full => OpenError::Full { path: path.to_owned() },
        _ => OpenError::Database { path: path.to_owned(), source },
    };
    let mut conn = Connection::open_with_flags(path, flags() | OpenFlags::SQLITE_OPEN_CREATE).map_err(|e| database(e.into()))?;
    check_owner(&conn, path)?;
    settings(&conn, WRITER_CACHE).map_err(|e| database(e.into()))?;
    migrate(&mut conn, now_ms).map_err(database)?;
    let (head, epoch) = begin_epoch(&mut conn, now_ms, random).map_err(database)?;
    Ok(Opened { conn, head, epoch })
}

/// Opens one reader's connection.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let conn = Connection::open_with_flags(path, flags())?;
    settings(&conn, READER_CACHE)?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}

fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// Refuses other programs' files and newer formats before anything is written.
pub(super) fn check_owner(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    let pragma = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let database = |error: rusqlite::Error| match StoreError::from(error) {
        StoreError::Sqlite(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => {
            OpenError::Foreign { path: path.to_owned() }
        }
        source => OpenError::Database { path: path.to_owned(), source },
    };
    let (application, format) = (pragma("application_id").map_err(database)?, pragma("user_version").map_err(database)?);
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(database)?;
    if application != APPLICATION_ID && (application != 0 || tables > 0) {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    if format > VERSION {
        return Err(OpenError::Newer { path: path.to_owned(), found: format, known: VERSION });
    }
    Ok(())
}

/// The settings of design §9. The auto-checkpoint runs in the writer, between two group commits.
fn settings(conn: &Connection, cache: i64) -> rusqlite::Result<()> {
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    conn.set_prepared_statement_cache_capacity(128);
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    conn.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    conn.pragma_update(None, "cache_size", cache)?;
    conn.pragma_update(None, "mmap_size", 0)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "secure_delete", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "foreign_keys", false)
}

fn migrate(conn: &mut Connection, now_ms: u64) -> Result<(), StoreError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let format: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(format).unwrap_or(0);
    for step in MIGRATIONS.iter().skip(done).copied().flatten() {
        step.run(&tx)?;
    }
    if done == 0 {
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.execute("INSERT INTO meta (id, head, hlc, created_ms) VALUES (1, 0, 0, ?1)", [stored(now_ms)?])?;
    }
    if format < VERSION {
        tx.pragma_update(None, "user_version", VERSION)?;
    }
    tx.commit()?;
    Ok(())
}

fn begin_epoch(conn: &mut Connection, now_ms: u64, random: &mut dyn FnMut() -> u64) -> Result<(u64, EpochStart), StoreError> {
    let epoch = loop {
        match random() {
            0 => {}
            id => break id,
        }
    };
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let head = counted(tx.query_row("SELECT head FROM meta WHERE id = 1", [], |row| row.get(0))?)?;
    let first = head + 1;
    tx.execute("INSERT INTO epochs (epoch, first, opened_ms) VALUES (?1, ?2, ?3)", (epoch.cast_signed(), stored(first)?, stored(now_ms)?))?;
    tx.execute("DELETE FROM epochs WHERE seq <= (SELECT max(seq) FROM epochs) - ?1", [limit(EPOCHS)])?;
    tx.commit()?;
    Ok((head, EpochStart { epoch: Epoch(epoch), first: Revision(first) }))
}
