//! `edgehub reset`: back to a machine that has never joined.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

use api::cli::{CliError, Console};

/// The database with the files that SQLite keeps beside it.
const DATABASE: [&str; 4] = ["edge.db", "edge.db-wal", "edge.db-shm", "edge.db-journal"];

/// The file that a running edgehub holds locked; it stays, or two processes could hold two files of that name.
const LOCK: &str = "edge.db.lock";

/// Removes identity and database. The configuration stays, and so does a database that was set aside as corrupt.
pub(super) fn run(data: &Path, yes: bool, console: &mut Console<'_>) -> Result<(), CliError> {
    let shown = data.display();
    if !data.is_dir() {
        return Err(CliError::Failed(format!("there is no data folder {shown}; name another with --data DIR")));
    }
    if !yes {
        return Err(CliError::Usage(format!(
            "this removes the node's identity and database in {shown}; writes that have not been sent are lost \
             (see them with: edgehub outbox list --data {shown}); if that is what you want: edgehub reset --yes --data {shown}"
        )));
    }
    let _lock = lock(data)?;
    // The identity goes first: what is left of an interrupted reset is a node that must join again, never one that
    // connects under its old name with an empty database.
    let mut removed = remove(&data.join("pki"), |path| std::fs::remove_dir_all(path))?;
    for name in DATABASE {
        removed |= remove(&data.join(name), |path| std::fs::remove_file(path))?;
    }
    match removed {
        true => console
            .line(&format!("identity and database removed from {shown}; join again: edgehub join --data {shown} --server HOST --token T")),
        false => console.line(&format!("{shown} holds no identity and no database")),
    }
}

/// Keeps an edgehub from starting meanwhile, and finds one that runs. Where there is no lock file, none ever ran.
fn lock(data: &Path) -> Result<Option<File>, CliError> {
    let file = match File::options().write(true).open(data.join(LOCK)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CliError::Failed(format!("cannot open {}: {error}", data.join(LOCK).display()))),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(CliError::Failed(format!("edgehub is running on {}; stop it first", data.display()))),
        Err(TryLockError::Error(error)) => Err(CliError::Failed(format!("cannot lock {}: {error}", data.join(LOCK).display()))),
    }
}

/// Whether there was something to remove.
fn remove(path: &Path, how: impl Fn(&Path) -> std::io::Result<()>) -> Result<bool, CliError> {
    match how(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(CliError::Failed(format!("cannot remove {}: {error}", path.display()))),
    }
}
