//! The process's clocks, read in one place.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use proto::clock::Now;

/// Reads wall and monotonic time.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time begins now.
    #[allow(clippy::new_without_default)] // a default that depends on the moment would surprise
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }

    /// Both times.
    pub fn now(&self) -> Now {
        Now { wall_ms: wall_ms(), mono_ms: u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX) }
    }
}

/// The system's wall clock, milliseconds since 1970; 0 before that.
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
