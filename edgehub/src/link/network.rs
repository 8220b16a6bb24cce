//! Whether this machine's network has changed since the last look: a cable plugged in, an address given, a route that
//! came or went (design §5, "Alive": the back-off is reset then).
//!
//! The kernel's tables are read and compared: a few kilobytes, a few times while the link is down, and never while it is
//! up. A netlink socket would tell sooner, and would also ring for every renewed lease and router advertisement.

use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

/// IPv4 routes, IPv4 addresses, IPv6 addresses. One that cannot be read counts as empty.
const TABLES: [&str; 3] = ["net/route", "net/fib_trie", "net/if_inet6"];

/// What the network looked like.
#[derive(Debug)]
pub(super) struct Network {
    folder: PathBuf,
    seen: u64,
}

impl Network {
    /// As it is now.
    pub(super) fn new() -> Self {
        Self::below(Path::new("/proc"))
    }

    fn below(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), seen: look(folder) }
    }

    /// Whether it is another one than at the last question.
    pub(super) fn has_changed(&mut self) -> bool {
        let now = look(&self.folder);
        std::mem::replace(&mut self.seen, now) != now
    }
}

fn look(folder: &Path) -> u64 {
    // Compared only with others of this process: which hash it is does not matter.
    let mut hasher = DefaultHasher::new();
    for table in TABLES {
        hasher.write(&std::fs::read(folder.join(table)).unwrap_or_default());
        hasher.write_u8(0xFF);
    }
    hasher.finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_new_address_is_a_change_and_the_same_tables_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut network = Network::below(folder.path());
        assert!(!network.has_changed(), "nothing can be read, so nothing changes");
        std::fs::create_dir(folder.path().join("net")).unwrap();
        std::fs::write(folder.path().join("net/route"), "eth0 00000000 0101A8C0").unwrap();
        assert!(network.has_changed());
        assert!(!network.has_changed(), "it is told once");
        std::fs::write(folder.path().join("net/if_inet6"), "fe80 eth0").unwrap();
        assert!(network.has_changed());
        std::fs::write(folder.path().join("net/route"), "").unwrap();
        assert!(network.has_changed(), "the cable is out");
    }
}
