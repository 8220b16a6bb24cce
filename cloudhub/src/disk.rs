//! The room on the data folder's disk (docs/design.md §9): refused in time, a write costs nobody anything.

use std::path::Path;

use api::reserve::Reserve;

use crate::limits::{REFUSE_FREE_BYTES, TIGHT_FREE_BYTES};

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

    /// Below so many free bytes writes are refused.
    pub(crate) fn refuse_bytes(self) -> u64 {
        REFUSE_FREE_BYTES.min(self.total / 20)
    }

    /// Whether the next commit may fail.
    pub(crate) fn is_tight(self) -> bool {
        self.free < TIGHT_FREE_BYTES
    }

    /// Whether writes are refused, so that what is left serves what must be stored.
    pub(crate) fn refuses_writes(self) -> bool {
        self.free < self.refuse_bytes()
    }
}

/// Whether what is stored on somebody's wish finds room. Where even what must be stored would not, the reserve is given back.
pub(crate) fn has_room(folder: &Path) -> bool {
    let Some(space) = Space::of(folder) else { return true };
    let reserve = Reserve::of(folder);
    if space.is_tight() && reserve.give_back() {
        tracing::warn!(data = %folder.display(), "the disk is full: the reserve was given back");
    }
    !Space { free: space.free.saturating_sub(reserve.owed()), ..space }.refuses_writes()
}

/// The free bytes.
pub(crate) fn free(folder: &Path) -> Option<u64> {
    Space::of(folder).map(|space| space.free)
}

/// The free bytes, and how many of them the reserve leaves beside it: twice as much as writes leave alone, so that giving it
/// back is not the next thing.
pub(crate) fn reserve_room(folder: &Path) -> Option<(u64, u64)> {
    Space::of(folder).map(|space| (space.free, 2 * space.refuse_bytes()))
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
