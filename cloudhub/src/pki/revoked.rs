//! Serial numbers of revoked certificates, in a file beside the database so that restoring an old database does
//! not let them in again. One line each: serial number, node.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, RwLock};

use proto::names::NodeName;
use transport::identity::Serial;
use transport::private_file;

use super::PkiError;
use crate::limits::REVOKED_BYTES;

#[derive(Debug)]
pub(super) struct Revoked {
    path: PathBuf,
    serials: RwLock<BTreeSet<Serial>>,
    /// One appends at a time, so that lines stay lines; readers do not wait for the disk.
    appending: Mutex<()>,
}

impl Revoked {
    /// Loads the file. A last line without its end is a revocation that nobody was told of: it is taken all the
    /// same if it can be read, and dropped if not.
    pub(super) fn open(path: PathBuf) -> Result<Self, PkiError> {
        let text = private_file::read_up_to(&path, REVOKED_BYTES)?.unwrap_or_default();
        let mut serials = BTreeSet::new();
        let mut whole = String::new();
        for (number, line) in text.split_inclusive('\n').enumerate() {
            match line.split_whitespace().next().map(str::parse) {
                Some(Ok(serial)) => {
                    serials.insert(serial);
                    whole.push_str(line.trim_end());
                    whole.push('\n');
                }
                Some(Err(_)) if line.ends_with('\n') => {
                    let why = format!("line {} does not begin with a serial number; correct or remove it", number + 1);
                    return Err(PkiError::content(&path, why));
                }
                _ => {}
            }
        }
        if whole != text {
            private_file::write(&path, whole.as_bytes())?;
        }
        Ok(Self { path, serials: RwLock::new(serials), appending: Mutex::new(()) })
    }

    pub(super) fn contains(&self, serial: &Serial) -> bool {
        self.serials.read().unwrap_or_else(PoisonError::into_inner).contains(serial)
    }

    /// Refused from now on, durable when it returns; refused even if the file could not be written.
    pub(super) fn add(&self, serial: &Serial, node: &NodeName) -> Result<(), PkiError> {
        let _one = self.appending.lock().unwrap_or_else(PoisonError::into_inner);
        self.serials.write().unwrap_or_else(PoisonError::into_inner).insert(serial.clone());
        Ok(private_file::append_line(&self.path, &format!("{serial} {node}"))?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn serial(text: &str) -> Serial {
        text.parse().unwrap()
    }

    #[test]
    fn revocations_outlive_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("revoked");
        let lyon = NodeName::parse("lyon").unwrap();
        Revoked::open(path.clone()).unwrap().add(&serial("0a01"), &lyon).unwrap();
        let revoked = Revoked::open(path.clone()).unwrap();
        revoked.add(&serial("0a02"), &lyon).unwrap();
        for (text, expected) in [("0a01", true), ("0a02", true), ("0a03", false)] {
            assert_eq!(revoked.contains(&serial(text)), expected, "{text}");
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), "0a01 lyon\n0a02 lyon\n");
    }

    #[test]
    fn a_torn_line_does_not_swallow_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("revoked");
        std::fs::write(&path, "0a01 lyon\n0a0").unwrap();
        let revoked = Revoked::open(path.clone()).unwrap();
        revoked.add(&serial("0a02"), &NodeName::parse("oslo").unwrap()).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "0a01 lyon\n0a02 oslo\n");
    }

    #[test]
    fn a_damaged_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("revoked");
        std::fs::write(&path, "0a01 lyon\nhello\n").unwrap();
        let error = Revoked::open(path).unwrap_err().to_string();
        assert!(error.contains("revoked cannot be used: line 2"), "{error}");
    }
}
