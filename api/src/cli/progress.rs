//! How far a long transfer is: one line on standard error, drawn anew in its place, where that is a terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout};

/// A line that is drawn more often costs more than the work.
const REDRAW: Duration = Duration::from_millis(100);
/// Letters of the bar.
const BAR: usize = 30;
/// Back to the line's beginning, and away with the rest of what stood there.
const BEGIN: &str = "\r";
const CLEAR: &str = "\x1b[K";

/// One transfer.
pub(super) struct Progress {
    shown: bool,
    length: Option<u64>,
    moved: Arc<AtomicU64>,
    begun: Instant,
}

impl Progress {
    /// `moved` counts the bytes; `length` is where it will end, if that is known.
    pub(super) fn start(length: Option<u64>, moved: Arc<AtomicU64>) -> Self {
        Self { shown: io::stderr().is_terminal(), length, moved, begun: Instant::now() }
    }

    /// Draws while `work` goes on, and disappears with it.
    pub(super) async fn during<F: Future>(&self, work: F) -> F::Output {
        let mut work = std::pin::pin!(work);
        loop {
            let done = timeout(REDRAW, work.as_mut()).await;
            match &done {
                Ok(_) => self.draw(""),
                Err(_) => self.draw(&line(self.moved.load(Ordering::Relaxed), self.length, self.begun.elapsed())),
            }
            if let Ok(done) = done {
                return done;
            }
        }
    }

    /// That a terminal takes no line is no reason to end the work.
    fn draw(&self, line: &str) {
        if self.shown {
            let _ = write!(io::stderr().lock(), "{BEGIN}{line}{CLEAR}");
        }
    }
}

fn line(moved: u64, length: Option<u64>, took: Duration) -> String {
    let rate = u128::from(moved) * 1000 / took.as_millis().max(1);
    let rate = size(u64::try_from(rate).unwrap_or(u64::MAX));
    match length {
        None => format!("{} {rate}/s", size(moved)),
        Some(length) => {
            let part = u128::from(moved.min(length)) * BAR as u128 / u128::from(length.max(1));
            let full = "█".repeat(usize::try_from(part).unwrap_or(BAR));
            format!("{full:░<BAR$} {}/{} {rate}/s", size(moved), size(length))
        }
    }
}

/// `12.3 MiB`.
fn size(bytes: u64) -> String {
    let mut tenths = u128::from(bytes) * 10;
    for unit in ["B", "KiB", "MiB"] {
        if tenths < 10_240 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) };
        }
        tenths /= 1024;
    }
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_and_how_fast() {
        let half = line(5 << 20, Some(10 << 20), Duration::from_secs(2));
        assert_eq!(half, format!("{}{} 5.0 MiB/10.0 MiB 2.5 MiB/s", "█".repeat(15), "░".repeat(15)));
        assert_eq!(line(0, Some(0), Duration::ZERO), format!("{} 0 B/0 B 0 B/s", "░".repeat(30)));
        assert_eq!(line(1536, None, Duration::from_secs(1)), "1.5 KiB 1.5 KiB/s");
        assert!(line(u64::MAX, Some(1), Duration::ZERO).starts_with(&"█".repeat(30)));
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_done_while_it_is_drawn() {
        let progress = Progress::start(None, Arc::default());
        let done = progress.during(async {
            tokio::time::sleep(REDRAW * 3).await;
            7
        });
        assert_eq!(done.await, 7);
    }
}
