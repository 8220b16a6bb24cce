//! Threads that read: each has its own connection, and a new one after the store was opened anew.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::queue::{NoRoom, Queue, Waited};
use crate::store::StoreRead;

/// One read; it is called with nothing where the store is closed. With the reader comes the opening that it is of.
pub(super) type Read = Box<dyn FnOnce(Option<(&mut dyn StoreRead, u64)>) + Send>;

/// Reads that wait, and the threads that take them.
pub(super) struct Pool(Queue<Read>);

impl Pool {
    pub(super) fn new(waiting: usize) -> Self {
        Self(Queue::new(waiting, usize::MAX))
    }

    pub(super) fn push(&self, read: Read) -> Result<(), NoRoom> {
        self.0.push(read, 0).map_err(|(_, reason)| reason)
    }

    pub(super) fn close(&self) {
        self.0.close();
    }

    /// A thread's life.
    pub(super) fn run(&self, supply: &Supply) {
        let mut own: Option<(Box<dyn StoreRead>, u64)> = None;
        while let Waited::Entries(reads) = self.0.take(None, 1, |_, _| true) {
            for read in reads {
                supply.refresh(&mut own);
                let store = own.as_mut().map(|(store, opening)| (&mut **store as &mut dyn StoreRead, *opening));
                // Whoever waits for the answer learns it by the dropped sender.
                if catch_unwind(AssertUnwindSafe(|| read(store))).is_err() {
                    tracing::error!("a read of the store panicked");
                }
            }
        }
    }
}

/// Fresh connections for the threads.
#[derive(Default)]
pub(super) struct Supply(Mutex<Fresh>);

#[derive(Default)]
struct Fresh {
    opening: u64,
    readers: Vec<Box<dyn StoreRead>>,
}

impl Supply {
    fn lock(&self) -> MutexGuard<'_, Fresh> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the threads use from now on: one for each thread, or none while the store is closed.
    pub(super) fn renew(&self, opening: u64, readers: Vec<Box<dyn StoreRead>>) {
        *self.lock() = Fresh { opening, readers };
    }

    /// Brings a thread's connection up to date.
    fn refresh(&self, own: &mut Option<(Box<dyn StoreRead>, u64)>) {
        let mut fresh = self.lock();
        if own.as_ref().is_none_or(|(_, opening)| *opening != fresh.opening) {
            let opening = fresh.opening;
            *own = fresh.readers.pop().map(|reader| (reader, opening));
        }
    }
}
