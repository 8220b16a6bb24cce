//! One process a data folder: a lock file that the kernel releases when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::error::OpenError;

/// Held as long as the store lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// `edge.db.lock` beside `edge.db`.
fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

pub(crate) fn folder_of(database: &Path) -> PathBuf {
    match database.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Takes the lock, or says who holds it.
pub(crate) fn take(database: &Path) -> Result<Lock, OpenError> {
    let folder = folder_of(database);
    let failed = |source| OpenError::Folder { folder: folder.clone(), source };
    let path = lock_path(database);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(OpenError::InUse { folder, pid });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
    Ok(Lock { _file: file })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.db");
        let first = take(&path).unwrap();
        let text = take(&path).unwrap_err().to_string();
        assert!(text.contains(folder.path().to_str().unwrap()) && text.contains(&std::process::id().to_string()), "{text}");
        drop(first);
        assert!(take(&path).is_ok());
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let text = take(&folder.path().join("none/edge.db")).unwrap_err().to_string();
        assert!(text.contains("none"), "{text}");
    }
}
