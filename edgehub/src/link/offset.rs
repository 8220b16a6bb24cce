//! How far the hub's clock is from this machine's. A measurement is wrong by up to half of the time that its answer took, and on a
//! crowded link that can be many seconds: a better one from a while ago is worth more.

/// How far two clocks drift apart at worst, in a million.
const DRIFT_PPM: u64 = 200;

/// The best measurement so far.
#[derive(Debug, Default)]
pub(super) struct Offset {
    /// When it was, and how wrong it may have been, microseconds.
    best: Option<(u64, u64)>,
}

impl Offset {
    /// Whether a measurement whose answer took `rtt_ms` says more than what is known.
    pub(super) fn takes(&mut self, now_ms: u64, rtt_ms: u64) -> bool {
        let doubt_us = rtt_ms.saturating_mul(500);
        let better = self.best.is_none_or(|(at_ms, before_us)| {
            let drifted_us = now_ms.saturating_sub(at_ms).saturating_mul(DRIFT_PPM) / 1_000;
            doubt_us <= before_us.saturating_add(drifted_us)
        });
        if better {
            self.best = Some((now_ms, doubt_us));
        }
        better
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As seen on a path with a full buffer: an answer that took 10 s showed an offset of 5 s that was not there.
    #[test]
    fn an_answer_that_took_long_does_not_replace_a_quick_one() {
        let mut offset = Offset::default();
        assert!(offset.takes(0, 40), "the first is better than nothing");
        assert!(!offset.takes(15_000, 10_741));
        assert!(offset.takes(30_000, 38));
        assert!(offset.takes(45_000, 40), "as good, and newer");
    }

    #[test]
    fn what_is_known_grows_old() {
        let mut offset = Offset::default();
        offset.takes(0, 20);
        assert!(!offset.takes(60_000, 200), "12 ms of drift are less than 90 ms of doubt");
        assert!(offset.takes(1_000_000, 200));
    }
}
