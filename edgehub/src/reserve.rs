//! The disk of the data folder with its reserve (docs/design.md §9).

use std::path::Path;

use api::reserve::Reserve;
use metamanager::{Disk, Space, SystemDisk};

/// What the database asks for room.
#[derive(Debug)]
pub(crate) struct NodeDisk;

impl Disk for NodeDisk {
    fn space(&self, folder: &Path) -> Option<Space> {
        let space = SystemDisk.space(folder)?;
        Some(Space { free: space.free.saturating_sub(Reserve::of(folder).owed()), ..space })
    }

    fn make_room(&self, folder: &Path) -> bool {
        Reserve::of(folder).give_back()
    }
}

/// The free bytes.
pub(crate) fn free(folder: &Path) -> Option<u64> {
    SystemDisk.space(folder).map(|space| space.free)
}

/// The free bytes, and how many of them the reserve leaves beside it: with fewer, what the cloud sends has to wait.
pub(crate) fn room(folder: &Path) -> Option<(u64, u64)> {
    SystemDisk.space(folder).map(|space| (space.free, space.pause_bytes()))
}
