//! The process's clocks, read in one place.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
        let since = self.system().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { wall_ms: millis(since), mono_ms: millis(self.origin.elapsed()) }
    }

    /// The wall clock, milliseconds since 1970; 0 before that.
    pub fn wall_ms(&self) -> u64 {
        self.now().wall_ms
    }

    /// The wall clock as certificates are judged by it.
    pub fn system(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Milliseconds of a duration.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970 of a time; 0 before that.
pub fn since_1970(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}
