//! The disk of the data folder with its reserve (docs/design.md §9).

use std::path::{Path, PathBuf};
use std::time::Duration;

use api::reserve::Reserve;
use metamanager::{Disk, Space, SystemDisk};
use tokio::sync::watch;
use tracing::{debug, info};

/// How often a reserve that was given back is missed.
const LOOK: Duration = Duration::from_secs(30);

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

/// Holds the reserve as soon as there is room for it, and again after it was given back.
pub(crate) async fn hold(data: PathBuf, mut stop: watch::Receiver<bool>) {
    let mut told = false;
    loop {
        let folder = data.clone();
        let held = tokio::task::spawn_blocking(move || {
            let space = SystemDisk.space(&folder)?;
            Some(Reserve::of(&folder).hold(space.free, space.pause_bytes()))
        });
        match held.await {
            Ok(Some(Ok(true))) => told = false,
            Ok(Some(Ok(false))) if !told => {
                info!(data = %data.display(), "no room for the disk reserve; it is made when there is");
                told = true;
            }
            Ok(Some(Err(error))) => debug!(data = %data.display(), %error, "the disk reserve cannot be made"),
            _ => {}
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = stop.changed() => return,
        }
    }
}
