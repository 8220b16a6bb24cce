//! How much of what a broker said is in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts the bytes of messages that are not done with.
#[derive(Debug, Default)]
pub(super) struct Inward {
    bytes: AtomicUsize,
    /// Rung when some are done with.
    pub(super) freed: Notify,
}

/// A message's share; it ends with this.
#[derive(Debug)]
pub(super) struct Held(Arc<Inward>, usize);

impl Inward {
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// So many bytes more.
    pub(super) fn hold(self: &Arc<Self>, bytes: usize) -> Arc<Held> {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Arc::new(Held(Arc::clone(self), bytes))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.bytes.fetch_sub(self.1, Ordering::Relaxed);
        self.0.freed.notify_one();
    }
}
