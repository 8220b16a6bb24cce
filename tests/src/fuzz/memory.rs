//! How much memory a decoder takes, seen by an allocator that counts.

use peak_alloc::PeakAlloc;

/// The counting allocator of this process. Other threads' memory counts too: one entry runs at a time.
#[derive(Debug, Clone, Copy)]
pub struct Memory(&'static PeakAlloc);

/// What anything may take beside what its input asks for: error texts, small tables.
const SLACK: usize = 256 * 1024;

impl Memory {
    /// By this allocator, which has to be the process's.
    pub fn of(counter: &'static PeakAlloc) -> Self {
        Self(counter)
    }

    /// Runs it, and asserts that it held at most so many bytes at once, give or take some hundred KiB.
    pub fn within<T>(&self, most: usize, act: impl FnOnce() -> T) -> T {
        let before = self.0.current_usage();
        self.0.reset_peak_usage();
        let made = act();
        let held = self.0.peak_usage().saturating_sub(before);
        assert!(held <= most + SLACK, "{held} bytes of memory were held at once, {most} is the most");
        made
    }
}
