//! What can go wrong with the database, and what the caller does next.

use std::path::PathBuf;

use rusqlite::ErrorCode;

/// Why the store did not open. The texts are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the data folder.
    #[error("{path} is in use by another cloudhub (process {pid}); stop that one first, or name another folder with --data")]
    InUse {
        /// The data folder.
        path: PathBuf,
        /// What the lock file says; `unknown` when it cannot be read.
        pid: String,
    },
    /// A newer program has written it.
    #[error(
        "{path} was written by a newer cloudhub (format {found}, this program knows {known}); install that version or restore a backup"
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// It is a database, but not ours.
    #[error("{path} is not a cloudhub database; move it away, or name another folder with --data")]
    Foreign {
        /// The database file.
        path: PathBuf,
    },
    /// The library is older than the WAL bug's fix.
    #[error("SQLite {found} is too old: 3.51.3 or newer, please (an older WAL bug can corrupt databases)")]
    Library {
        /// Its version.
        found: &'static str,
    },
    /// The folder or the lock file.
    #[error("cannot use {path}: {source}")]
    Folder {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No room, not even for a start.
    #[error("the disk that holds {path} is full; free some space, then start again")]
    Full {
        /// The database file.
        path: PathBuf,
    },
    /// SQLite's own words.
    #[error("cannot open {path}: {source}")]
    Database {
        /// The database file.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
}

/// A transaction that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite's own words.
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A row that this program cannot have written.
    #[error("damaged row in the database: {0}")]
    Damaged(String),
    /// Another process moved the head: the store is shared with one that should not be there.
    #[error("the database was changed by another process: revision {0} is no longer the newest")]
    Fenced(u64),
    /// A node's stream stands where what went since is forgotten: its next session begins with a back-fill.
    #[error("the stream stands at revision {at}, and what left {collection} up to revision {floor} is forgotten: it is read anew")]
    BelowFloor {
        /// Where the stream stands.
        at: u64,
        /// The collection.
        collection: String,
        /// Up to where its past is forgotten.
        floor: u64,
    },
    /// An earlier error left the connection in doubt.
    #[error("the database failed earlier and must be opened again")]
    Poisoned,
}

/// What to do about a [`StoreError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Try again.
    Retry,
    /// The disk is full: make room, then try again; reads go on.
    Full,
    /// The file is damaged: stop, keep it, restore a backup.
    Corrupt,
    /// Anything else: close, open again.
    Stop,
}

impl StoreError {
    /// What to do.
    pub fn class(&self) -> Class {
        match self {
            Self::Damaged(_) => Class::Corrupt,
            Self::BelowFloor { .. } => Class::Retry,
            Self::Fenced(_) | Self::Poisoned => Class::Stop,
            Self::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Class::Retry,
                Some(ErrorCode::DiskFull) => Class::Full,
                // The index of the log, which is a file beside it, cannot grow.
                _ if error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => Class::Full,
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Class::Corrupt,
                _ => Class::Stop,
            },
        }
    }

    /// Whether the row or the statement is at fault and not the database: such a write is rejected alone.
    pub(super) fn is_row(&self) -> bool {
        match self {
            Self::Damaged(_) => true,
            Self::BelowFloor { .. } | Self::Fenced(_) | Self::Poisoned => false,
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch | ErrorCode::ParameterOutOfRange)
            ),
        }
    }
}

/// A number that SQLite keeps: its integers are signed, ours count from 0.
pub(super) fn stored(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::Damaged(format!("number {number} is out of range")))
}

/// The other way round.
pub(super) fn counted(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Damaged(format!("number {number} is negative")))
}

/// A number of rows for `LIMIT`.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
