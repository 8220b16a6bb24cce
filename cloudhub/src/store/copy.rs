//! A copy of the database while it is used, and what a copied file is.

use std::path::{Path, PathBuf};

use proto::ids::Epoch;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::{OpenError, StoreError, counted};
use super::open::check_owner;
use crate::limits::{BACKUP_LOG_BYTES, BACKUP_STEP_PAGES};

/// What a database file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseFacts {
    /// Its format.
    pub format: i64,
    /// Its newest revision.
    pub head: u64,
    /// The epoch of its newest start.
    pub epoch: Epoch,
}

/// Why there is no copy. The texts are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// One of the two files cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What was copied is damaged, so the database is.
    #[error("{path} is damaged: {what}; keep it, and restore an older backup")]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What SQLite found.
        what: String,
    },
    /// The hub writes faster than the copy comes along.
    #[error(
        "the log of {path} has grown by {grown} bytes while it was copied, more than the {BACKUP_LOG_BYTES} that are allowed; \
         try again when the hub has less to write"
    )]
    Busy {
        /// The database file.
        path: PathBuf,
        /// How much, bytes.
        grown: u64,
    },
}

fn failed(path: &Path) -> impl Fn(rusqlite::Error) -> OpenError + '_ {
    |source| OpenError::Database { path: path.to_owned(), source: StoreError::from(source) }
}

/// Copies `from` as it is at one moment into the new file `to`, and checks the copy. The hub may run and write: a reader
/// holds nobody up, and only the log cannot be shortened meanwhile, which is why its growth is watched.
///
/// # Errors
/// [`CopyError`]; `to` may be there in part.
pub fn copy_database(from: &Path, to: &Path) -> Result<DatabaseFacts, CopyError> {
    copy_pages(from, to)?;
    match inspect(to) {
        // What is wrong with the copy was wrong with the original.
        Err(CopyError::Damaged { what, .. }) => Err(CopyError::Damaged { path: from.to_owned(), what }),
        facts => facts,
    }
}

fn copy_pages(from: &Path, to: &Path) -> Result<(), CopyError> {
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX);
    let source = source.map_err(failed(from))?;
    source.busy_timeout(std::time::Duration::from_secs(5)).map_err(failed(from))?;
    // A hub that does not run is left as it stands, its log too.
    source.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed(from))?;
    check_owner(&source, from)?;
    // The moment: while this transaction is open, every step reads the same state.
    let moment = source.unchecked_transaction().map_err(failed(from))?;
    moment.query_row("SELECT head FROM meta", [], |_| Ok(())).map_err(failed(from))?;
    let log = log_bytes(from);
    let mut target = Connection::open(to).map_err(failed(to))?;
    {
        let copy = Backup::new(&source, &mut target).map_err(failed(to))?;
        while copy.step(BACKUP_STEP_PAGES).map_err(failed(to))? != StepResult::Done {
            let grown = log_bytes(from).saturating_sub(log);
            if grown > BACKUP_LOG_BYTES {
                return Err(CopyError::Busy { path: from.to_owned(), grown });
            }
        }
    }
    // One file, without a log of its own.
    target.pragma_update(None, "journal_mode", "DELETE").map_err(failed(to))?;
    target.close().map_err(|(_, error)| failed(to)(error))?;
    Ok(())
}

fn log_bytes(database: &Path) -> u64 {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).map_or(0, |file| file.len())
}

/// Checks a database file that nobody uses, whole, and says what it is. Nothing is written.
///
/// # Errors
/// [`CopyError`]: not ours, newer, or damaged.
pub fn inspect(path: &Path) -> Result<DatabaseFacts, CopyError> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX);
    let conn = conn.map_err(failed(path))?;
    check_owner(&conn, path)?;
    let found: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(failed(path))?;
    if found != "ok" {
        return Err(CopyError::Damaged { path: path.to_owned(), what: found });
    }
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(failed(path));
    let head = counted(number("SELECT head FROM meta")?);
    let head = head.map_err(|source| OpenError::Database { path: path.to_owned(), source })?;
    Ok(DatabaseFacts {
        format: number("PRAGMA user_version")?,
        head,
        epoch: Epoch(number("SELECT epoch FROM epochs ORDER BY seq DESC LIMIT 1")?.cast_unsigned()),
    })
}
