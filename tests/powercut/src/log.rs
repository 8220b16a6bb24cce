//! A whole run of a disk, moment by moment.

use crate::disk::{Disk, Event, Image, Loss};

#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Event(String, Event),
    Mark(u64),
    /// The files were put there by somebody else.
    Replaced(Disk),
}

/// All that was asked of a folder's files, in order, with the marks that the test made between.
#[derive(Debug, Clone, Default)]
pub struct Log {
    pub(crate) start: Disk,
    pub(crate) entries: Vec<Entry>,
}

/// A moment in it at which the power may fail.
#[derive(Debug)]
pub struct Moment<'a> {
    /// How many events came before.
    pub at: usize,
    /// The newest mark before; none yet: 0.
    pub mark: u64,
    /// Something became durable with it, or was marked: what is whole now has to be from here on.
    pub settled: bool,
    disk: &'a Disk,
}

impl Moment<'_> {
    /// What is left of the files. `below(n)` gives chance: a number below `n`.
    pub fn cut(&self, loss: Loss, below: &mut impl FnMut(u64) -> u64) -> Image {
        self.disk.cut(loss, below)
    }

    /// How many changes a cut could take.
    pub fn unsynced(&self) -> usize {
        self.disk.unsynced()
    }
}

impl Log {
    /// How many events there are.
    pub fn events(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry, Entry::Event(..))).count()
    }

    /// How often a file was synced.
    pub fn syncs(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry, Entry::Event(_, Event::Sync))).count()
    }

    /// Every moment: before the first event, and after each event and each mark.
    pub fn moments(self, mut look: impl FnMut(&Moment<'_>)) {
        let Self { start: mut disk, entries } = self;
        let (mut at, mut mark) = (0, 0);
        look(&Moment { at, mark, settled: true, disk: &disk });
        for entry in entries {
            let settled = !matches!(&entry, Entry::Event(_, event) if *event != Event::Sync);
            match entry {
                Entry::Replaced(files) => disk = files,
                Entry::Mark(new) => mark = new,
                Entry::Event(name, event) => {
                    disk.apply(&name, event);
                    at += 1;
                }
            }
            look(&Moment { at, mark, settled, disk: &disk });
        }
    }
}
