//! Keys, certificates and tokens on disk: readable by their owner alone, and after a crash either the old
//! content or the new, never a part.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::limits::PEM_FILE;

/// What could not be done to which file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}: {source}", path.display())]
pub struct FileError {
    verb: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    fn because(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { verb, path: path.to_owned(), source }
    }
}

/// Makes the folder (0700) and what leads to it, where missing.
///
/// # Errors
/// [`FileError`], naming the folder.
pub fn create_dir(dir: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(FileError::because("create", dir))
}

/// Writes `content` as the file's whole content (0600) and returns when it is durable: a temporary file, fsync,
/// rename, fsync of the folder.
///
/// # Errors
/// [`FileError`]; the old content, if any, still stands.
pub fn write(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = dir.join(format!(".{name}.new"));
    write_synced(&temporary, content).map_err(FileError::because("write", &temporary))?;
    std::fs::rename(&temporary, path).map_err(FileError::because("replace", path))?;
    sync_dir(dir)
}

/// Removes the file, where there is one, and returns when that is durable.
///
/// # Errors
/// [`FileError`].
pub fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_dir(path.parent().unwrap_or(Path::new("."))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::because("remove", path)(error)),
    }
}

/// Appends one line (0600, created where missing) and returns when it is durable.
///
/// # Errors
/// [`FileError`]; part of the line may have been written.
pub fn append_line(path: &Path, line: &str) -> Result<(), FileError> {
    let existed = path.exists();
    let append = || -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_all()
    };
    append().map_err(FileError::because("append to", path))?;
    if existed { Ok(()) } else { sync_dir(path.parent().unwrap_or(Path::new("."))) }
}

/// The file's text, or `None` where there is no such file.
///
/// # Errors
/// [`FileError`]: unreadable, not UTF-8, or larger than such a file can be.
pub fn read(path: &Path) -> Result<Option<String>, FileError> {
    read_up_to(path, PEM_FILE)
}

/// The same for a file that may have this many bytes.
///
/// # Errors
/// As [`read`].
pub fn read_up_to(path: &Path, most: u64) -> Result<Option<String>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::because("read", path)(error)),
    };
    let mut text = String::new();
    file.take(most + 1).read_to_string(&mut text).map_err(FileError::because("read", path))?;
    if text.len() as u64 > most {
        return Err(FileError::because("read", path)(io::Error::other("the file is far too large for what it should hold")));
    }
    Ok(Some(text))
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // create_new: the mode is ours, and a link that somebody put there is not followed.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync_dir(dir: &Path) -> Result<(), FileError> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(FileError::because("sync", dir))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn content_is_replaced_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pki/node.key");
        create_dir(path.parent().unwrap()).unwrap();
        assert_eq!(read(&path).unwrap(), None);
        for content in ["one", "two"] {
            write(&path, content.as_bytes()).unwrap();
            assert_eq!(read(&path).unwrap().as_deref(), Some(content));
        }
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }

    #[test]
    fn what_an_interrupted_write_left_does_not_disturb() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.crt");
        std::fs::write(dir.path().join(".ca.crt.new"), "half").unwrap();
        write(&path, b"whole").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("whole"));
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing/ca.crt");
        let error = write(&path, b"x").unwrap_err().to_string();
        assert!(error.starts_with("cannot write ") && error.contains("missing/.ca.crt.new"), "{error}");
        std::fs::write(dir.path().join("large"), vec![b'x'; PEM_FILE as usize + 1]).unwrap();
        assert!(read(&dir.path().join("large")).unwrap_err().to_string().contains("too large"));
    }

    #[test]
    fn lines_are_appended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("revoked");
        append_line(&path, "a").unwrap();
        append_line(&path, "b").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("a\nb\n"));
    }
}
