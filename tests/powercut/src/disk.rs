//! What of a folder's files would be left if the power failed now.

use std::collections::BTreeMap;

/// What a disk writes whole, bytes.
const SECTOR: usize = 512;

/// The files that were left, by name.
pub type Image = BTreeMap<String, Vec<u8>>;

/// What was asked of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It was opened; it is made where it was not.
    Open,
    /// These bytes were put at this place.
    Write(u64, Vec<u8>),
    /// It was cut, or filled with zeros, to this length.
    Truncate(u64),
    /// All that was asked of it before is durable when this is done. The first sync of a new file syncs the folder too, as SQLite's
    /// does for a journal and a WAL: what was made and removed there before is durable then.
    Sync,
    /// It was removed; `true`: and the folder synced.
    Delete(bool),
}

/// Which of the changes that were not synced are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// None: the power came back before the cache was lost, as when only the process dies.
    Nothing,
    /// All of them.
    Everything,
    /// All after one, of which some sectors came.
    Tail,
    /// Any of them; those that came did so in any order, and of each any sectors, with rubbish in some that did not.
    Scattered,
}

/// The ways to lose, for those who want each.
impl Loss {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nothing, Self::Everything, Self::Tail, Self::Scattered];
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
    Delete,
}

#[derive(Debug, Clone, Default)]
struct File {
    /// What a cut cannot take; none: not even the name.
    durable: Option<Vec<u8>>,
    /// It is there for those who look while the power is on.
    exists: bool,
    pending: Vec<Change>,
}

/// The files of one folder.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    files: BTreeMap<String, File>,
}

impl Disk {
    /// A disk that has kept these files.
    pub fn of(image: Image) -> Self {
        let files = image.into_iter().map(|(name, bytes)| (name, File { durable: Some(bytes), exists: true, pending: Vec::new() }));
        Self { files: files.collect() }
    }

    /// Takes note of what was asked of a file.
    pub fn apply(&mut self, name: &str, event: Event) {
        let known = self.files.get(name).is_some_and(|file| file.durable.is_some());
        if event == Event::Sync && !known {
            self.files.values_mut().for_each(File::sync_name);
        }
        let file = match self.files.get_mut(name) {
            Some(file) => file,
            None => self.files.entry(name.to_owned()).or_default(),
        };
        match event {
            Event::Open => file.exists = true,
            Event::Write(at, bytes) => file.pending.push(Change::Write(at, bytes)),
            Event::Truncate(to) => file.pending.push(Change::Truncate(to)),
            Event::Sync => file.sync(),
            Event::Delete(true) => *file = File::default(),
            Event::Delete(false) => {
                file.exists = false;
                file.pending.push(Change::Delete);
            }
        }
    }

    /// How many changes a cut could take.
    pub fn unsynced(&self) -> usize {
        self.files.values().map(|file| file.pending.len()).sum()
    }

    /// What is left after a cut now. `below(n)` gives chance: a number below `n`.
    pub fn cut(&self, loss: Loss, below: &mut impl FnMut(u64) -> u64) -> Image {
        let left = self.files.iter().filter_map(|(name, file)| file.cut(loss, below).map(|bytes| (name.clone(), bytes)));
        left.collect()
    }
}

impl File {
    fn sync(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        pending.into_iter().for_each(|change| make(&mut self.durable, change));
        self.durable.get_or_insert_default();
    }

    /// Its folder was synced: it is in it, or it is not.
    fn sync_name(&mut self) {
        if let Some(at) = self.pending.iter().rposition(|change| matches!(change, Change::Delete)) {
            self.pending.drain(..=at);
            self.durable = None;
        }
        if self.exists {
            self.durable.get_or_insert_default();
        }
    }

    fn cut(&self, loss: Loss, below: &mut impl FnMut(u64) -> u64) -> Option<Vec<u8>> {
        let mut bytes = self.durable.clone();
        match loss {
            Loss::Everything => {}
            Loss::Nothing => self.pending.iter().for_each(|change| make(&mut bytes, change.clone())),
            Loss::Tail => {
                let whole = below(self.pending.len() as u64 + 1) as usize;
                self.pending[..whole].iter().for_each(|change| make(&mut bytes, change.clone()));
                if let Some(torn) = self.pending.get(whole) {
                    tear(&mut bytes, torn, false, below);
                }
            }
            Loss::Scattered => {
                let mut left: Vec<_> = self.pending.iter().collect();
                if below(2) == 0 {
                    (1..left.len()).for_each(|at| left.swap(at, below(at as u64 + 1) as usize));
                }
                for change in left {
                    match below(4) {
                        0 => {}
                        1 => tear(&mut bytes, change, true, below),
                        _ => make(&mut bytes, change.clone()),
                    }
                }
            }
        }
        bytes
    }
}

fn make(file: &mut Option<Vec<u8>>, change: Change) {
    match change {
        Change::Write(at, new) => put(file, at, &new),
        Change::Truncate(to) => file.get_or_insert_default().resize(to as usize, 0),
        Change::Delete => *file = None,
    }
}

fn put(file: &mut Option<Vec<u8>>, at: u64, new: &[u8]) {
    let (file, at) = (file.get_or_insert_default(), at as usize);
    if file.len() < at + new.len() {
        file.resize(at + new.len(), 0);
    }
    file[at..at + new.len()].copy_from_slice(new);
}

/// Some sectors of a write come; the others are as before or, with `rubbish`, perhaps nothing that ever was.
fn tear(file: &mut Option<Vec<u8>>, change: &Change, rubbish: bool, below: &mut impl FnMut(u64) -> u64) {
    let Change::Write(at, bytes) = change else { return };
    let mut from = 0;
    while from < bytes.len() {
        let place = at + from as u64;
        let to = (from + SECTOR - (place as usize % SECTOR)).min(bytes.len());
        match below(4) {
            0 | 1 => put(file, place, &bytes[from..to]),
            2 if rubbish => put(file, place, &(from..to).map(|_| below(256) as u8).collect::<Vec<_>>()),
            _ => {}
        }
        from = to;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn disk() -> Disk {
        let mut disk = Disk::of(Image::from([("a".to_owned(), b"0000".to_vec())]));
        disk.apply("a", Event::Write(0, b"11".to_vec()));
        disk.apply("a", Event::Sync);
        disk.apply("a", Event::Write(2, b"22".to_vec()));
        disk.apply("b", Event::Open);
        disk.apply("b", Event::Write(0, b"new".to_vec()));
        disk
    }

    #[test]
    fn what_was_synced_is_left_and_no_name_that_was_not() {
        let left = disk().cut(Loss::Everything, &mut |_| 0);
        assert_eq!(left, Image::from([("a".to_owned(), b"1100".to_vec())]));
        let left = disk().cut(Loss::Nothing, &mut |_| 0);
        assert_eq!(left, Image::from([("a".to_owned(), b"1122".to_vec()), ("b".to_owned(), b"new".to_vec())]));
    }

    #[test]
    fn a_removal_lasts_from_the_sync_of_its_folder() {
        let mut disk = disk();
        disk.apply("a", Event::Delete(false));
        assert!(disk.cut(Loss::Everything, &mut |_| 0).contains_key("a"));
        assert!(!disk.cut(Loss::Nothing, &mut |_| 0).contains_key("a"));
        disk.apply("c", Event::Open);
        disk.apply("c", Event::Sync);
        let left: Vec<_> = disk.cut(Loss::Everything, &mut |_| 0).into_keys().collect();
        assert_eq!(left, ["b", "c"], "the first sync of a file is one of its folder");
        disk.apply("b", Event::Delete(true));
        assert!(!disk.cut(Loss::Everything, &mut |_| 0).contains_key("b"));
    }

    #[test]
    fn a_torn_write_comes_in_sectors_and_touches_nothing_beside_it() {
        let mut disk = Disk::of(Image::from([("a".to_owned(), vec![b'.'; 2_000])]));
        disk.apply("a", Event::Write(100, vec![b'x'; 1_500]));
        let mut seed = 1_u64;
        let mut below = |bound: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % bound
        };
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let left = disk.cut(Loss::Tail, &mut below).remove("a").unwrap();
            assert!(left[..100].iter().chain(&left[1_600..]).all(|byte| *byte == b'.'));
            let sectors = [(100, 512), (512, 1_024), (1_024, 1_536), (1_536, 1_600)];
            assert!(sectors.iter().all(|(from, to)| left[*from..*to].iter().all(|byte| *byte == left[*from])), "sectors are whole");
            seen.insert(sectors.map(|(from, _)| left[from]));
        }
        assert!(seen.len() >= 15, "of the 16 ways to be torn {} came", seen.len());
    }
}
