//! Copies of a hub: `cloudhub backup FILE` and `cloudhub restore FILE`.
//!
//! A backup is one tar file, readable by its owner alone because it holds the authority's key: first the `Manifest`,
//! then what it lists, in its order. [`save`] writes one beside a running hub or without one, [`restore`] believes
//! nothing of a file before all of it was read and compared with its manifest.

mod read;
mod restore;
mod save;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use api::shapes::Time;
use serde::{Deserialize, Serialize};

pub use restore::{Restored, check_interrupted, restore};
pub use save::{Saved, save};

use crate::store::{CopyError, OpenError};
use transport::private_file::FileError;

/// The newest format of backups that this program knows.
const FORMAT: u32 = 1;
/// The first member.
const MANIFEST: &str = "manifest.json";
/// The database.
const DATABASE: &str = "cloudhub.db";
/// The administrator's token.
const TOKEN: &str = "admin.token";
/// What a member of the authority is named before its own name.
const PKI: &str = "pki/";
/// The serial numbers of revoked certificates.
const REVOKED: &str = "pki/revoked";

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    /// [`FORMAT`].
    format: u32,
    /// The program that wrote it.
    hub_version: String,
    /// The format of the database in it.
    database_format: i64,
    /// The newest revision in it.
    head: u64,
    /// The epoch that the hub was in.
    epoch: String,
    /// When it was made.
    made_at: Time,
    /// What follows, in this order.
    members: Vec<Member>,
}

/// One file in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    /// Its name in the data folder.
    name: String,
    /// Its size.
    bytes: u64,
    /// Its SHA-256, in hex.
    sha256: String,
}

/// Why there is no backup, or nothing was restored. The texts are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file cannot be used.
    #[error("cannot {verb} {}: {source}", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A private file cannot be written.
    #[error(transparent)]
    Private(#[from] FileError),
    /// There is nothing to back up.
    #[error("{} has no cloudhub.db; name the data folder of a cloudhub with --data", .0.display())]
    NoHub(PathBuf),
    /// The backup would replace a file.
    #[error("{} exists; name another file, or replace that one with --overwrite", .0.display())]
    Exists(PathBuf),
    /// Another backup into the same file runs.
    #[error("{} is being written by another backup; wait for its end, or name another file", .0.display())]
    Running(PathBuf),
    /// The database cannot be copied, or the copied one not be used.
    #[error(transparent)]
    Database(#[from] CopyError),
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] OpenError),
    /// Not a backup of a hub, or not a whole one.
    #[error("{} cannot be restored: {why}; nothing was changed", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An earlier restore did not come to its end.
    #[error(
        "a restore into {} did not come to its end; run it again: cloudhub restore FILE --data {} (what was there before is in {before})",
        data.display(), data.display()
    )]
    Interrupted {
        /// The data folder.
        data: PathBuf,
        /// Where the earlier content is.
        before: String,
    },
}

fn file_error(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    move |source| BackupError::File { verb, path: path.to_owned(), source }
}

/// Whether a member may have this name: the database, the token, or a plain file of `pki/`.
fn is_member(name: &str) -> bool {
    let plain = |name: &str| {
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(sound)
    };
    name == DATABASE || name == TOKEN || name.strip_prefix(PKI).is_some_and(plain)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns when what a folder lists is durable.
fn sync_dir(dir: &Path) -> Result<(), BackupError> {
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(file_error("sync", dir))
}

/// The folder that a file is in.
fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    name.into()
}
