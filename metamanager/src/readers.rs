//! The read connections of a process, shared by all its threads, and when they give their memory back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use crate::error::StoreError;
use crate::limits::READERS;
use crate::reader::Reader;
use crate::store::Store;

/// As many connections as run at the same time.
pub(crate) struct Readers {
    readers: [Mutex<Reader>; READERS],
    turn: AtomicUsize,
    /// Something was read since [`Readers::take_used`] was last asked.
    used: AtomicBool,
}

impl Readers {
    pub(crate) fn open(store: &Store) -> Result<Self, StoreError> {
        let readers = [Mutex::new(store.reader()?), Mutex::new(store.reader()?)];
        Ok(Self { readers, turn: AtomicUsize::new(0), used: AtomicBool::new(false) })
    }

    /// Whichever is free; else the one whose turn it is.
    pub(crate) fn any(&self) -> MutexGuard<'_, Reader> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % READERS;
        for place in [first, (first + 1) % READERS] {
            match self.readers[place].try_lock() {
                Ok(reader) => return reader,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        self.readers[first].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a use; true for the first one after [`Readers::take_used`].
    pub(crate) fn begin_use(&self) -> bool {
        // Looked at first: readers on two cores do not take the line from each other.
        !self.used.load(Ordering::Relaxed) && !self.used.swap(true, Ordering::Relaxed)
    }

    /// Whether something was read since the last time.
    pub(crate) fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// Gives back what the connections hold of the file. One that reads just now keeps it until the next time.
    pub(crate) fn release_memory(&self) {
        for reader in &self.readers {
            if let Ok(reader) = reader.try_lock() {
                reader.release_memory();
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proto::clock::Now;

    use super::*;
    use crate::store::Options;

    const NOW: Now = Now { wall_ms: 5, mono_ms: 5 };

    #[test]
    fn the_first_use_after_a_calm_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("edge.db"), Options::default(), NOW).unwrap();
        let readers = Readers::open(&store).unwrap();
        assert!(!readers.take_used(), "nobody has read yet");
        assert!(readers.begin_use());
        assert!(!readers.begin_use(), "told once");
        assert!(readers.take_used());
        assert!(!readers.take_used());
        assert!(readers.begin_use(), "and again after the next calm");
    }

    #[test]
    fn what_was_given_back_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("edge.db"), Options::default(), NOW).unwrap();
        let readers = Readers::open(&store).unwrap();
        let before = (readers.any().status().unwrap(), store.facts().unwrap());
        store.release_memory();
        readers.release_memory();
        assert_eq!((readers.any().status().unwrap(), store.facts().unwrap()), before);
    }
}
