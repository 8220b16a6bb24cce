//! What can go wrong, and what to do then.

use std::path::{Path, PathBuf};

use proto::build::BuildError;
use proto::ids::{Position, Revision};
use proto::json::JsonError;
use proto::resolve::ResolveError;
use proto::schema::Violation;

/// The database could not do what was asked. Nothing of it was stored; a store that had an I/O error opens its file
/// anew before it does anything else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// 507 for local writes, Nack for downstream; try again when there is room.
    #[error("the disk that holds {} is full; free some space", .path.display())]
    Full {
        /// The database file.
        path: PathBuf,
    },
    /// The file is damaged; keep it, and ask for help with it.
    #[error("{} is damaged ({detail}); keep the file: writes that were not sent yet can be saved from it", .path.display())]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// SQLite's or our words.
        detail: String,
    },
    /// The disk failed; the next try opens the file anew.
    #[error("the disk that holds {} failed ({detail}); look at the system's log", .path.display())]
    Io {
        /// The database file.
        path: PathBuf,
        /// SQLite's words.
        detail: String,
    },
    /// Anything else that SQLite says.
    #[error("{} could not be used: {detail}", .path.display())]
    Other {
        /// The database file.
        path: PathBuf,
        /// SQLite's words.
        detail: String,
    },
}

impl StoreError {
    /// Whether it is the disk's room that is missing.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    pub(crate) fn of(fault: Fault, path: &Path) -> Self {
        let path = path.to_owned();
        let error = match fault {
            Fault::Damaged(detail) => return Self::Corrupt { path, detail },
            Fault::Sql(error) => error,
        };
        let detail = error.to_string();
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full { path },
            // The index of the log, which is a file beside it, cannot grow.
            _ if error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => {
                Self::Full { path }
            }
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => Self::Corrupt { path, detail },
            // An index asks SQLite to read a stored value that has been damaged.
            _ if detail.contains("malformed JSON") => Self::Corrupt { path, detail },
            Some(rusqlite::ErrorCode::SystemIoFailure | rusqlite::ErrorCode::CannotOpen) => Self::Io { path, detail },
            _ => Self::Other { path, detail },
        }
    }
}

/// What the inside of the crate passes up: SQLite's error, or a stored row that cannot be.
#[derive(Debug)]
pub(crate) enum Fault {
    Sql(rusqlite::Error),
    Damaged(String),
}

impl Fault {
    pub(crate) fn damaged(what: &str, why: impl std::fmt::Display) -> Self {
        Self::Damaged(format!("{what}: {why}"))
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

pub(crate) type Done<T> = Result<T, Fault>;

/// Why a database was not opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another part of this one, uses it.
    #[error("data folder {} is in use by another edgehub{}; stop that one, or name another folder", .folder.display(), process(.pid))]
    InUse {
        /// The data folder.
        folder: PathBuf,
        /// The other process, where it could be read.
        pid: Option<u32>,
    },
    /// Made by a newer version.
    #[error("{} has format {found}, this version knows formats up to {known}: install the newer edgehub again", .path.display())]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its format.
        found: i32,
        /// The newest that this version knows.
        known: i32,
    },
    /// Not an edge database.
    #[error("{} is no edge database ({detail}); move it away, or name another data folder", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        detail: String,
    },
    /// The folder or the lock file cannot be used.
    #[error("data folder {} cannot be used: {source}", .folder.display())]
    Folder {
        /// The data folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite is too old: an older write-ahead log can corrupt databases with several connections.
    #[error("SQLite {found} is linked in; 3.51.3 or newer is needed")]
    Sqlite {
        /// Its version.
        found: &'static str,
    },
    /// The database could not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn process(pid: &Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

/// Why a read was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// 404 `not_found`.
    #[error("there is no collection {0:?} on this node")]
    UnknownCollection(String),
    /// 503 `not_synced`.
    #[error("the collections have not arrived from the cloud yet")]
    NotSynced,
    /// 400 `no_index`.
    #[error(transparent)]
    NoIndex(#[from] proto::list::NoIndex),
    /// 503 `unavailable`.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a local write was refused. Nothing of it was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct WriteError {
    /// Which of the write's requests it is about, counted from 0; none: the whole write.
    pub op: Option<usize>,
    /// The collection of that request.
    pub collection: Option<String>,
    /// The key of that request.
    pub key: Option<String>,
    /// Why.
    pub reason: Refusal,
}

/// The reasons.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 503 `not_synced`: no definitions yet.
    #[error("the collections have not arrived from the cloud yet; writes are taken as soon as they have")]
    NotSynced,
    /// 404 `not_found`.
    #[error("there is no collection {0:?} on this node")]
    UnknownCollection(String),
    /// 404 `not_found`.
    #[error("there is no device {0:?} on this node")]
    UnknownDevice(String),
    /// 403 `read_only`.
    #[error("collection {0} is the system's: applications do not write to it")]
    SystemCollection(String),
    /// 403 `not_entitled`: the result would belong to no partition that this node gets.
    #[error("{collection} record {key:?} would belong to {}, which this node does not get", spell_partition(.partition))]
    NotEntitled {
        /// The collection.
        collection: String,
        /// The key.
        key: String,
        /// The partition of the result; none: it has none.
        partition: Option<String>,
    },
    /// 412 `precondition`.
    #[error("the precondition does not hold: the record is {present} now")]
    Precondition {
        /// What it is: a tag, `absent`, or `present`.
        present: String,
    },
    /// 422 `idempotency_reuse`.
    #[error("this Idempotency-Key was used for another request, which is write {write}; a new request takes a new key")]
    KeyReused {
        /// The write that answers the request.
        write: String,
    },
    /// 400 `bad_request`.
    #[error("an Idempotency-Key has 1 to 255 bytes")]
    BadKey,
    /// 404 `not_found`.
    #[error("write {0} is not known here: this database has not made it, or no longer keeps it")]
    UnknownWrite(String),
    /// 409 `in_progress`.
    #[error("write {0} is pending: the cloud's answer, or the records that go with it, are still to come")]
    Pending(String),
    /// 409 `not_open`.
    #[error("write {write} was {state}: it took effect, and again it would have it twice")]
    TookEffect {
        /// Which.
        write: String,
        /// Its state.
        state: &'static str,
    },
    /// 409 `not_open`.
    #[error("write {write} was sent again already, as {newer}")]
    SentAgain {
        /// Which.
        write: String,
        /// The newer one.
        newer: String,
    },
    /// 409 `not_open`.
    #[error("of write {0} only its number is known here, not its content")]
    NoContent(String),
    /// As the op says.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A conflict that cannot be resolved so: 404 `not_found`, 409 `not_open`, or 400 `bad_request`.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// 422 `schema`: the cloud would refuse it, by the newest definition that is here.
    #[error("{}", .0.message)]
    Schema(Violation),
    /// 413 `too_large`.
    #[error("{0}")]
    TooLarge(String),
    /// 400 `bad_request`.
    #[error("a write has at least one op")]
    Empty,
    /// 503 `unavailable`: a newer cloud declared something that this version does not know.
    #[error("the definition of {collection} cannot be read by this version ({detail}); update edgehub")]
    UnreadableDefinition {
        /// The collection.
        collection: String,
        /// What is wrong with it.
        detail: String,
    },
    /// 507 `outbox_full`.
    #[error(
        "{bytes} bytes of writes wait for the cloud and no more fit; they go up when the link is back ([outbox] max_bytes raises the bound)"
    )]
    OutboxFull {
        /// Bytes that wait.
        bytes: u64,
    },
    /// 507 `disk_full`.
    #[error("only {free} bytes are free on the disk; local writes are refused until there is more")]
    DiskFull {
        /// Free bytes.
        free: u64,
    },
    /// 429 `rate`.
    #[error("too many writes wait to be stored; try again")]
    Busy,
    /// 507 `disk_full` where the disk is full, else 503 `unavailable`.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// 503 `unavailable`.
    #[error("the database is being closed")]
    Closed,
}

fn spell_partition(partition: &Option<String>) -> String {
    partition.as_ref().map_or_else(|| "no partition".to_owned(), |value| format!("partition {value:?}"))
}

impl WriteError {
    /// The stable code (docs/interfaces.md).
    pub fn code(&self) -> &'static str {
        match &self.reason {
            Refusal::NotSynced => "not_synced",
            Refusal::UnknownCollection(_) | Refusal::UnknownDevice(_) => "not_found",
            Refusal::SystemCollection(_) => "read_only",
            Refusal::NotEntitled { .. } => "not_entitled",
            Refusal::Precondition { .. } => "precondition",
            Refusal::Build(error) => build_code(error),
            Refusal::Resolve(ResolveError::Unknown(_)) => "not_found",
            Refusal::Resolve(ResolveError::NotOpen(_)) => "not_open",
            Refusal::Resolve(ResolveError::NothingKept { .. } | ResolveError::NotAlone) => "bad_request",
            Refusal::Resolve(ResolveError::Unreadable { .. }) => "unavailable",
            Refusal::KeyReused { .. } => "idempotency_reuse",
            Refusal::UnknownWrite(_) => "not_found",
            Refusal::Pending(_) => "in_progress",
            Refusal::TookEffect { .. } | Refusal::SentAgain { .. } | Refusal::NoContent(_) => "not_open",
            Refusal::Schema(_) => "schema",
            Refusal::TooLarge(_) => "too_large",
            Refusal::Empty | Refusal::BadKey => "bad_request",
            Refusal::OutboxFull { .. } => "outbox_full",
            Refusal::DiskFull { .. } => "disk_full",
            Refusal::Busy => "rate",
            Refusal::Store(error) if error.is_full() => "disk_full",
            Refusal::UnreadableDefinition { .. } | Refusal::Store(_) | Refusal::Closed => "unavailable",
        }
    }

    /// The field that it is about.
    pub fn field(&self) -> Option<&str> {
        match &self.reason {
            Refusal::Build(BuildError::ReadOnly { field, .. }) => field.as_deref(),
            Refusal::Resolve(ResolveError::NothingKept { .. }) => Some("use"),
            Refusal::Schema(violation) => Some(violation.field.as_str()).filter(|field| !field.is_empty()),
            Refusal::Build(BuildError::Counter(field) | BuildError::NoCounter(field) | BuildError::CountNeedsMatch(field)) => Some(field),
            Refusal::Build(BuildError::Key(
                proto::definition::KeyError::Mismatch { field, .. } | proto::definition::KeyError::Part(field),
            )) => Some(field),
            Refusal::KeyReused { .. } | Refusal::BadKey => Some("Idempotency-Key"),
            _ => None,
        }
    }
}

impl From<Refusal> for WriteError {
    fn from(reason: Refusal) -> Self {
        Self { op: None, collection: None, key: None, reason }
    }
}

fn build_code(error: &BuildError) -> &'static str {
    match error {
        BuildError::ReadOnly { .. } | BuildError::AppendOnly(_) => "read_only",
        BuildError::NotFound { .. } => "not_found",
        BuildError::KeyTaken { .. } => "key_taken",
        BuildError::Key(_) => "key_mismatch",
        BuildError::Counter(_) | BuildError::NoCounter(_) => "counter_not_integer",
        BuildError::CountNeedsMatch(_) => "count_needs_match",
        BuildError::Value(JsonError::TooLarge(_)) => "too_large",
        BuildError::Value(JsonError::NotObject) => "not_object",
        BuildError::Value(_) => "bad_request",
    }
}

/// Why nothing of what came down was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Nack; ask [`crate::Store::disk_pause`] every 30 s, and say `ready` when it is over.
    #[error("only {free} bytes are free on the disk; what the cloud sends waits")]
    DiskLow {
        /// Free bytes.
        free: u64,
    },
    /// A batch does not follow what was applied: close the session, the next one begins at the cursor.
    #[error("a batch begins at {}, the cursor is at {}", spell(.from), spell(.cursor))]
    Gap {
        /// The durable cursor.
        cursor: Position,
        /// Where the batch begins.
        from: Position,
    },
    /// The cloud took other content under this number: this database is a copy, or an old image, of one that went on. Take
    /// another id with [`crate::Store::renew`], and come again.
    #[error("write {number} of this database is another one in the cloud: this is a copied card or an old image")]
    Copied {
        /// The first such write.
        number: u64,
    },
    /// A value that came in pieces is not what its hash says, or not all there. What was kept of it is gone: close the session, it
    /// comes again from its beginning.
    #[error("the pieces of a value are not what its hash says, or not all here; it comes again from its beginning")]
    Pieces,
    /// A batch before the first Welcome: close the session.
    #[error("a batch came before the session had begun")]
    NotAdopted,
    /// Full: Nack. Else close the session and come again: the store opens its file anew.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn spell(at: &Position) -> String {
    let Revision(revision) = at.revision;
    match &at.inside {
        None => revision.to_string(),
        Some((collection, key)) => format!("{revision} + {collection}/{key}"),
    }
}
