//! When a query has had enough: time, memory, or nobody waits any more.
//!
//! SQLite has no bound of memory for one connection, and one for the process would fail the writer. So the process is
//! looked at: what it has grown by since the first of the queries that run now began. That counts what others take meanwhile
//! too; the bound is far above what they do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::{QUERY_LOOK, QUERY_MEMORY_BYTES};

/// What the queries of one database have in common.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// How many run, and what the process held when the first of them began.
    running: Mutex<(usize, u64)>,
    /// The database closes.
    closing: AtomicBool,
}

impl Shared {
    /// Ends all of them.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    fn enter(&self) -> u64 {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.0 == 0 {
            running.1 = resident().unwrap_or(u64::MAX);
        }
        running.0 += 1;
        running.1
    }
}

/// Why a query was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Reason {
    Time = 1,
    Memory = 2,
    Closing = 3,
}

/// One query's bounds; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Bounds(Arc<Run>);

#[derive(Debug)]
struct Run {
    shared: Arc<Shared>,
    cancelled: Arc<AtomicBool>,
    began: Instant,
    time: Duration,
    /// What the process held at the beginning, bytes.
    held: u64,
    /// Microseconds after the beginning at which memory is looked at next.
    look: AtomicU64,
    reason: Mutex<Option<Reason>>,
}

impl Bounds {
    pub(super) fn begin(shared: &Arc<Shared>, time: Duration, cancelled: Arc<AtomicBool>) -> Self {
        let run = Run {
            held: shared.enter(),
            shared: Arc::clone(shared),
            cancelled,
            began: Instant::now(),
            time,
            look: AtomicU64::new(0),
            reason: Mutex::new(None),
        };
        Self(Arc::new(run))
    }

    /// Whether it has to end; asked very often.
    pub(super) fn is_over(&self) -> bool {
        let run = &*self.0;
        let passed = run.began.elapsed();
        let reason = if passed >= run.time {
            Some(Reason::Time)
        } else if run.cancelled.load(Ordering::Relaxed) || run.shared.closing.load(Ordering::Relaxed) {
            Some(Reason::Closing)
        } else if micros(passed) >= run.look.load(Ordering::Relaxed) {
            run.look.store(micros(passed + QUERY_LOOK), Ordering::Relaxed);
            resident().filter(|now| now.saturating_sub(run.held) > QUERY_MEMORY_BYTES).map(|_| Reason::Memory)
        } else {
            None
        };
        if let Some(reason) = reason {
            run.reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        }
        reason.is_some()
    }

    /// Why it was ended, in words.
    pub(super) fn reason(&self) -> Option<String> {
        let reason = (*self.0.reason.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(match reason {
            Reason::Time => format!(
                "the query ran longer than {} s and was ended; ask for less, or by fields that the collection's `indexes` name",
                self.0.time.as_secs_f32()
            ),
            Reason::Memory => format!(
                "the query needed more than {} MiB of memory and was ended; sort, group and join less at once",
                QUERY_MEMORY_BYTES >> 20
            ),
            Reason::Closing => "the query was ended: nobody waits for it, or edgehub stops".to_owned(),
        })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner).0 -= 1;
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The memory of this process that is no file's, bytes; none where the system does not tell.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_shared_and_end() {
        let shared = Arc::new(Shared::default());
        let cancelled = Arc::new(AtomicBool::new(false));
        let bounds = Bounds::begin(&shared, Duration::from_secs(600), Arc::clone(&cancelled));
        assert!(!bounds.clone().is_over() && bounds.reason().is_none());
        let second = Bounds::begin(&shared, Duration::ZERO, Arc::default());
        assert!(second.is_over() && second.reason().unwrap().contains("longer"));
        cancelled.store(true, Ordering::Relaxed);
        assert!(bounds.is_over() && bounds.reason().unwrap().contains("nobody"));
        drop((bounds, second));
        assert_eq!(shared.running.lock().unwrap().0, 0);
        shared.close();
        assert!(Bounds::begin(&shared, Duration::from_secs(600), Arc::default()).is_over());
    }
}
