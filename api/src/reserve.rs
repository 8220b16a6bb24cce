//! Reserves of disk space (docs/design.md §9): files that are only there to be given back when the disk is full. The large one, so
//! that what must be stored still is: outcomes at a node, which empty its outbox, and at the hub what records that something ended.
//! The small one is for the next start: opening a database takes some pages, and reads are to be served on a full disk too.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, info};

/// Its size, bytes: thousands of outcomes, and a checkpoint of the log.
pub const RESERVE_BYTES: u64 = 32 * 1024 * 1024;

/// What is kept for a start, bytes: the index of the log, 32 KiB for each 4,096 pages in it, its first commit, and the lock file.
pub const START_BYTES: u64 = 2 * 1024 * 1024;

/// Where there is not as much room, less of it is kept, in such steps.
const START_STEP: u64 = 4 * 1024;

/// Its file's name.
const START: &str = "reserve.start";

/// How often a reserve that was given back is missed.
const LOOK: Duration = Duration::from_secs(30);

/// The reserve of one data folder.
#[derive(Debug, Clone)]
pub struct Reserve {
    path: PathBuf,
}

impl Reserve {
    /// That of a data folder: `DATA/reserve`. Nothing is made yet.
    pub fn of(data: &Path) -> Self {
        Self { path: data.join("reserve") }
    }

    /// Whether it is there.
    pub fn is_held(&self) -> bool {
        length(&self.path) == Some(RESERVE_BYTES)
    }

    /// Makes it where it is missing and `free` bytes leave more than `keep` beside it. Tells whether it is there.
    ///
    /// # Errors
    /// The file cannot be made; nothing of it is left behind.
    pub fn hold(&self, free: u64, keep: u64) -> io::Result<bool> {
        if self.is_held() {
            return Ok(true);
        }
        if free < keep.saturating_add(RESERVE_BYTES) {
            return Ok(false);
        }
        make(&self.path, RESERVE_BYTES).map(|()| true)
    }

    /// The disk is full: gives it back. Tells whether there was one. An empty file says that it is owed.
    pub fn give_back(&self) -> bool {
        self.is_held() && empty(&self.path)
    }

    /// Bytes of free space that are not anybody's: what was given back is for what must be stored, on small disks too, where
    /// it is more than the room that is left alone anyway.
    pub fn owed(&self) -> u64 {
        if length(&self.path).is_some_and(|bytes| bytes < RESERVE_BYTES) { RESERVE_BYTES } else { 0 }
    }
}

fn length(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|file| file.len())
}

/// Gives the room of a file back, and leaves the file. Tells whether it did.
fn empty(path: &Path) -> bool {
    OpenOptions::new().write(true).truncate(true).open(path).is_ok()
}

/// A file that takes `bytes` of real room; without them there is none.
fn make(path: &Path, bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // One with holes would hold nothing back.
    let made = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes);
    if made.is_err() {
        // A part of a reserve takes room and gives none.
        let _ = std::fs::remove_file(path);
    }
    Ok(made?)
}

/// Opens what is in a data folder. Where `free` bytes may not be enough, it has the room that was kept for a start, and what it leaves of
/// that is kept for the next one: another start takes little more, for the files are there by then.
pub fn opening<T>(data: &Path, free: Option<u64>, open: impl FnOnce() -> T) -> T {
    let path = data.join(START);
    if free.is_some_and(|free| free < START_BYTES) && empty(&path) {
        info!(data = %data.display(), "the disk is full: what was kept for a start is given back");
    }
    let opened = open();
    hold_for_start(&path);
    opened
}

/// Keeps room for the next start, less where there is not as much.
fn hold_for_start(path: &Path) {
    let held = length(path).unwrap_or(0);
    let sizes = (1..=START_BYTES / START_STEP).rev().map(|steps| steps * START_STEP);
    let _ = sizes.take_while(|bytes| *bytes > held).find(|bytes| make(path, *bytes).is_ok());
}

/// Holds the reserve of a data folder as soon as there is room for it, and again after it was given back, until `stop` says so.
/// `room` tells the free bytes, and how many of them are to be left beside it; none where that cannot be told.
pub async fn keep(data: PathBuf, mut stop: watch::Receiver<bool>, room: fn(&Path) -> Option<(u64, u64)>) {
    let mut told = false;
    loop {
        let folder = data.clone();
        let hold = move |(free, keep)| {
            let held = Reserve::of(&folder).hold(free, keep);
            if matches!(held, Ok(true)) {
                hold_for_start(&folder.join(START));
            }
            held
        };
        let folder = data.clone();
        let held = tokio::task::spawn_blocking(move || room(&folder).map(hold));
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
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn it_takes_real_room_and_gives_it_back_once() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(folder.path());
        assert!(!reserve.hold(RESERVE_BYTES + 9, 10).unwrap(), "the rest would be too little");
        assert!(!reserve.is_held());
        assert!(reserve.hold(RESERVE_BYTES + 10, 10).unwrap());
        let file = std::fs::metadata(folder.path().join("reserve")).unwrap();
        assert!(file.blocks() * 512 >= RESERVE_BYTES, "{} blocks", file.blocks());
        assert!(reserve.hold(0, 10).unwrap(), "it is there already");
        assert_eq!(reserve.owed(), 0);
        assert!(reserve.give_back());
        assert!(!reserve.give_back() && !reserve.is_held());
        assert_eq!(reserve.owed(), RESERVE_BYTES);
        assert_eq!(std::fs::metadata(folder.path().join("reserve")).unwrap().blocks(), 0);
        assert!(reserve.hold(RESERVE_BYTES, 0).unwrap());
        assert_eq!(reserve.owed(), 0);
    }

    #[test]
    fn a_start_has_its_room_where_there_is_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(START);
        opening(folder.path(), Some(0), || assert_eq!(length(&path), None, "the first start has none"));
        assert_eq!(length(&path), Some(START_BYTES));
        for enough in [Some(START_BYTES), None] {
            opening(folder.path(), enough, || assert_eq!(length(&path), Some(START_BYTES)));
        }
        opening(folder.path(), Some(START_BYTES - 1), || assert_eq!(std::fs::metadata(&path).unwrap().blocks(), 0));
        assert!(std::fs::metadata(&path).unwrap().blocks() * 512 >= START_BYTES);
    }
}
