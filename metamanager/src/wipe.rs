//! After a right was lost: not a byte of what came through it stays in the file or its log (docs/design.md §5, grants).
//!
//! `secure_delete` overwrites a deleted row where it stood, but not the copy of it that an earlier reordering of a page may
//! have left in the unused middle of that page; and the log holds older versions of pages until it is emptied. So the log is
//! emptied first, then the unused middles are overwritten in the file itself, a stretch at a time. What is overwritten
//! means nothing to SQLite, so readers are not disturbed. `meta.wipe` says how far it has come, and a start goes on there.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The file beside SQLite's own connections. It is never closed: the system would take it for the end of every lock that
/// this process has on the file, those of SQLite among them.
#[derive(Debug)]
pub(crate) struct Raw(ManuallyDrop<File>);

impl Raw {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).open(path).map(|file| Self(ManuallyDrop::new(file)))
    }

    /// Overwrites the unused middles of `count` pages from page `first` (counted from 0), durably. Where to go on; none: that
    /// was the end of the file.
    pub(crate) fn wipe(&self, first: u64, count: u64) -> io::Result<Option<u64>> {
        let mut header = [0; 100];
        self.0.read_exact_at(&mut header, 0)?;
        let size = page_size(&header);
        let pages = self.0.metadata()?.len() / size;
        let end = pages.min(first.saturating_add(count));
        let mut page = vec![0; size as usize];
        let mut changed = false;
        for place in first..end {
            self.0.read_exact_at(&mut page, place * size)?;
            let Some(unused) = unused(&page, place == 0).filter(|unused| page[unused.clone()].iter().any(|byte| *byte != 0)) else {
                continue;
            };
            self.0.write_all_at(&vec![0; unused.len()], place * size + unused.start as u64)?;
            changed = true;
        }
        if changed {
            self.0.sync_data()?;
        }
        Ok(Some(end).filter(|end| *end < pages))
    }
}

fn page_size(header: &[u8; 100]) -> u64 {
    match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size => u64::from(size).max(512),
    }
}

/// The bytes between a b-tree page's list of cells and its cells (the SQLite file format, 1.6). Other pages have none:
/// they begin with the number of another page, and so with a zero in any file below 64 GB.
fn unused(page: &[u8], first: bool) -> Option<Range<usize>> {
    let header = if first { 100 } else { 0 };
    let number = |at: usize| Some(usize::from(u16::from_be_bytes([*page.get(at)?, *page.get(at + 1)?])));
    let length = match page.get(header)? {
        2 | 5 => 12,
        10 | 13 => 8,
        _ => return None,
    };
    let list_end = header + length + 2 * number(header + 3)?;
    let cells = match number(header + 5)? {
        0 => 65_536,
        cells => cells,
    };
    (list_end <= cells && cells <= page.len()).then_some(list_end..cells)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_b_tree_pages_have_an_unused_middle() {
        let mut page = vec![7; 512];
        page[..8].copy_from_slice(&[13, 0, 0, 0, 2, 1, 200 - 1, 0]);
        assert_eq!(unused(&page, false), Some(12..455));
        page[0] = 0;
        assert_eq!(unused(&page, false), None, "an overflow page or one of the free list");
        page[..8].copy_from_slice(&[13, 0, 0, 2, 0, 0, 9, 0]);
        assert_eq!(unused(&page, false), None, "more cells than there is room for: not what it seems");
    }
}
