//! The room on the data folder's disk (docs/design.md §9): refused in time, a write costs nobody anything.

use std::path::Path;

use crate::limits::REFUSE_FREE_BYTES;

/// How much room a disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    /// Bytes that this process may still write.
    pub(crate) free: u64,
    /// Bytes in all.
    pub(crate) total: u64,
}

impl Space {
    /// The room on the disk of a folder; none where it cannot be told: then no threshold applies.
    pub(crate) fn of(folder: &Path) -> Option<Self> {
        let stat = rustix::fs::statvfs(folder).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Some(Self { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) })
    }

    /// Whether writes are refused, so that what is left serves what must be stored.
    pub(crate) fn refuses_writes(self) -> bool {
        self.free < REFUSE_FREE_BYTES.min(self.total / 20)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_threshold_counts() {
        let of = |free: u64, total: u64| Space { free: free << 20, total: total << 20 };
        assert!(of(255, 1 << 20).refuses_writes() && !of(256, 1 << 20).refuses_writes());
        assert!(of(49, 1_000).refuses_writes() && !of(50, 1_000).refuses_writes());
        let here = Space::of(Path::new(".")).unwrap();
        assert!(here.free <= here.total);
        assert_eq!(Space::of(Path::new("/no/such/folder")), None);
    }
}
