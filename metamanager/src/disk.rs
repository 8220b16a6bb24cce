//! Free space: asked before every commit, so that a full card is an answer and not a failure (docs/design.md §9).

use std::path::Path;

use crate::limits::{PAUSE_FREE_BYTES, REFUSE_FREE_BYTES, TIGHT_FREE_BYTES};

/// How much room a disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this process may still write.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Tells the room on the disk of a folder; a test can tell anything.
pub trait Disk: Send + Sync {
    /// The room, or none where it cannot be told: then no threshold applies.
    fn space(&self, folder: &Path) -> Option<Space>;

    /// The disk is as good as full, and something must be stored: gives
    /// back what was kept for that. Tells whether there was any.
    fn make_room(&self, folder: &Path) -> bool {
        let _ = folder;
        false
    }
}

/// What the operating system says (`statvfs`).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn space(&self, folder: &Path) -> Option<Space> {
        let stat = rustix::fs::statvfs(folder).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Some(Space { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) })
    }
}

impl SystemDisk {
    /// Whether the file system takes no writes at all: a card that failed is often mounted again like that. None where
    /// it cannot be told.
    pub fn is_read_only(self, folder: &Path) -> Option<bool> {
        let stat = rustix::fs::statvfs(folder).ok()?;
        Some(stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
    }
}

impl Space {
    /// Below so many free bytes what the cloud sends has to wait.
    pub fn pause_bytes(self) -> u64 {
        PAUSE_FREE_BYTES.min(self.total / 10)
    }

    /// Whether what the cloud sends has to wait.
    pub fn pauses_downstream(self) -> bool {
        self.free < self.pause_bytes()
    }

    /// Whether the next commit may fail.
    pub fn is_tight(self) -> bool {
        self.free < TIGHT_FREE_BYTES
    }

    /// Whether local writes are refused.
    pub fn refuses_writes(self) -> bool {
        self.free < REFUSE_FREE_BYTES.min(self.total / 20)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_follow_the_smaller_bound() {
        let big = |free_mib: u64| Space { free: free_mib << 20, total: 256 << 30 };
        assert!(big(511).pauses_downstream() && !big(512).pauses_downstream());
        assert!(big(255).refuses_writes() && !big(256).refuses_writes());
        let small = |free_mib: u64| Space { free: free_mib << 20, total: 1_000 << 20 };
        assert!(small(99).pauses_downstream() && !small(100).pauses_downstream());
        assert!(small(49).refuses_writes() && !small(50).refuses_writes());
    }

    #[test]
    fn the_system_tells_its_room() {
        let space = SystemDisk.space(Path::new(".")).unwrap();
        assert!(space.total > 0 && space.free <= space.total);
        assert_eq!(SystemDisk.space(Path::new("/no/such/folder")), None);
    }
}
