//! Where a hub keeps its data.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The rule by which a hub finds its data folder.
#[derive(Debug, Clone, Copy)]
pub struct DataDir {
    /// The folder beside the user, e.g. `edgehub-data`.
    pub local: &'static str,
    /// The folder of the machine, e.g. `/var/lib/edgehub`.
    pub system: &'static str,
}

impl DataDir {
    /// The folder when nothing names one: the local one if it exists or the user is not root, else the system's.
    /// Absolute, so that every message says the same.
    pub fn default_path(&self) -> PathBuf {
        self.pick(Path::new(self.local).is_dir(), is_root())
    }

    /// The folder that was named, or else the default one; absolute.
    pub fn resolve(&self, named: Option<PathBuf>) -> PathBuf {
        match named.filter(|named| !named.as_os_str().is_empty()) {
            Some(named) => absolute(&named),
            None => self.default_path(),
        }
    }

    fn pick(&self, local_exists: bool, root: bool) -> PathBuf {
        if local_exists || !root { absolute(Path::new(self.local)) } else { PathBuf::from(self.system) }
    }
}

/// `path` from the root, without touching the disk (a folder may not exist yet).
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Whether this process runs as root; where the system does not say, it does not.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: DataDir = DataDir { local: "edgehub-data", system: "/var/lib/edgehub" };

    #[test]
    fn root_uses_the_system_folder_unless_a_local_one_exists() {
        assert_eq!(RULE.pick(false, true), Path::new("/var/lib/edgehub"));
        for (exists, root) in [(true, true), (true, false), (false, false)] {
            let picked = RULE.pick(exists, root);
            assert!(picked.is_absolute() && picked.ends_with("edgehub-data"), "{picked:?}");
        }
    }
}
