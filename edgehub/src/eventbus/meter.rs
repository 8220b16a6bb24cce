//! How much devices report, and what becomes of it.

use std::sync::{Mutex, PoisonError};

/// Seconds that a rate is taken over.
const SECONDS: u64 = 60;

/// Counts reported values.
#[derive(Debug, Default)]
pub struct Meter(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// What waited when edgehub started.
    before: u64,
    kept: u64,
    sent: u64,
    /// How many in which second, the newest last; what is older than a minute goes.
    recent: std::collections::VecDeque<(u64, u64)>,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Values that were kept since the start.
    pub kept: u64,
    /// Values that went into a write since the start.
    pub sent: u64,
    /// Values that newer ones overtook before they went up.
    pub coalesced: u64,
    /// Values that were kept in the last minute.
    pub last_minute: u64,
}

impl Meter {
    fn with<T>(&self, look: impl FnOnce(&mut Counts) -> T) -> T {
        // A panic while it was held leaves counts that are still worth showing.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// So many waited already.
    pub(super) fn begin(&self, waiting: u64) {
        self.with(|counts| counts.before = waiting);
    }

    /// So many were kept.
    pub(super) fn kept(&self, values: u64, now_ms: u64) {
        let second = now_ms / 1000;
        self.with(|counts| {
            counts.kept += values;
            match counts.recent.back_mut() {
                // Clocks are set back.
                Some((last, count)) if *last >= second => *count += values,
                _ => counts.recent.push_back((second, values)),
            }
            while counts.recent.len() as u64 > SECONDS {
                counts.recent.pop_front();
            }
        });
    }

    /// So many went into a write.
    pub(super) fn sent(&self, values: u64) {
        self.with(|counts| counts.sent += values);
    }

    /// What was counted, where so many wait now.
    pub fn figures(&self, waiting: u64, now_ms: u64) -> Figures {
        let since = (now_ms / 1000).saturating_sub(SECONDS);
        self.with(|counts| Figures {
            kept: counts.kept,
            sent: counts.sent,
            coalesced: (counts.before + counts.kept).saturating_sub(counts.sent + waiting),
            last_minute: counts.recent.iter().filter(|(second, _)| *second > since).map(|(_, count)| count).sum(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_sent_waits_or_was_overtaken() {
        let meter = Meter::default();
        meter.begin(2);
        meter.kept(10, 1_000);
        meter.sent(4);
        assert_eq!(meter.figures(3, 1_500), Figures { kept: 10, sent: 4, coalesced: 5, last_minute: 10 });
        // Rows can go with their device.
        assert_eq!(meter.figures(100, 1_500).coalesced, 0);
    }

    #[test]
    fn a_rate_is_that_of_the_last_minute() {
        let meter = Meter::default();
        for second in 0..200 {
            meter.kept(1, second * 1_000);
            meter.kept(1, second * 1_000 + 500);
        }
        assert_eq!(meter.figures(0, 199_900).last_minute, 120);
        assert_eq!(meter.figures(0, 230_000).last_minute, 58);
        assert_eq!(meter.figures(0, 1_000_000).last_minute, 0);
        meter.kept(1, 0);
        assert!(meter.with(|counts| counts.recent.len()) <= 60, "a clock that was set back");
    }
}
