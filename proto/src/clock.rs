//! The hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014), design §4.
//!
//! Time breaks ties between values and does nothing else.

use core::fmt;

use crate::limits::CLOCK_AHEAD_MS;

/// 48 bits of milliseconds since 1970 and a 16-bit counter; a full counter carries into the milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The first value of a millisecond.
    pub fn from_ms(ms: u64) -> Self {
        Self(ms.min((1 << 48) - 1) << 16)
    }

    /// The millisecond part.
    pub fn ms(self) -> u64 {
        self.0 >> 16
    }

    /// The cloud's bound on an edge's clock: at most a minute ahead of its own. Tells whether it had to clamp.
    pub fn clamp(self, now_ms: u64) -> (Self, bool) {
        let bound = Self::from_ms(now_ms.saturating_add(CLOCK_AHEAD_MS));
        if self > bound { (bound, true) } else { (self, false) }
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ms(), self.0 & 0xffff)
    }
}

/// What the shell read off its clocks, milliseconds: wall time since 1970 (plus the cloud's offset, where
/// known) and a monotonic time of any origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Wall time.
    pub wall_ms: u64,
    /// Monotonic time.
    pub mono_ms: u64,
}

/// The clock of one database. Its newest value is stored with every write, and given back at start.
#[derive(Debug, Clone)]
pub struct Clock {
    last: Hlc,
    anchor: Option<(u64, u64)>,
    /// The cloud's time, and the monotonic one when it was told.
    cloud: Option<(u64, u64)>,
}

impl Clock {
    /// A clock that never returns a value at or below `stored`.
    pub fn new(stored: Hlc) -> Self {
        Self { last: stored, anchor: None, cloud: None }
    }

    /// The newest value given out or observed.
    pub fn last(&self) -> Hlc {
        self.last
    }

    /// The time for people, milliseconds: the wall clock, or where that is behind the stored value, the stored
    /// value carried on by the monotonic clock.
    pub fn time_ms(&mut self, now: Now) -> u64 {
        if now.wall_ms >= self.last.ms() {
            self.anchor = None;
            return now.wall_ms;
        }
        let (ms, mono) = *self.anchor.get_or_insert((self.last.ms(), now.mono_ms));
        (ms + now.mono_ms.saturating_sub(mono)).max(self.last.ms())
    }

    /// The next value, above every one before.
    pub fn tick(&mut self, now: Now) -> Hlc {
        let physical = Hlc::from_ms(self.time_ms(now));
        self.last = if physical > self.last { physical } else { Hlc(self.last.0 + 1) };
        self.last
    }

    /// The cloud told its time. An edge whose stored clock is over a minute ahead of it sets it back; tells whether.
    pub fn told(&mut self, cloud_ms: u64, now: Now) -> bool {
        // A hub may say anything: what no clock value can hold is no time.
        self.cloud = Some((cloud_ms.min(Hlc(u64::MAX).ms()), now.mono_ms));
        let ahead = self.last.ms() > cloud_ms.saturating_add(CLOCK_AHEAD_MS);
        if ahead {
            (self.last, self.anchor) = (Hlc::from_ms(cloud_ms), None);
        }
        ahead
    }

    /// The cloud's time, carried on by the monotonic clock; `None` where it was not told since the process began. What is kept for so
    /// and so long is kept by this one: a wall clock that jumps removes nothing.
    pub fn cloud_ms(&self, now: Now) -> Option<u64> {
        self.cloud.map(|(ms, mono_ms)| ms.saturating_add(now.mono_ms.saturating_sub(mono_ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(wall_ms: u64, mono_ms: u64) -> Now {
        Now { wall_ms, mono_ms }
    }

    #[test]
    fn follows_the_monotonic_clock_while_the_wall_is_behind() {
        let mut clock = Clock::new(Hlc::from_ms(1_000_000));
        assert_eq!(clock.tick(at(5, 100)), Hlc(Hlc::from_ms(1_000_000).0 + 1));
        assert_eq!(clock.tick(at(5, 350)).ms(), 1_000_250);
        assert_eq!(clock.tick(at(2_000_000, 351)).ms(), 2_000_000);
    }

    /// `clock-1970-70000-writes`: more writes in one millisecond than the counter holds.
    #[test]
    fn clock_1970_70000_writes() {
        let mut clock = Clock::new(Hlc::default());
        let mut last = Hlc::default();
        for _ in 0..70_000 {
            let next = clock.tick(at(0, 0));
            assert!(next > last);
            last = next;
        }
        assert_eq!(last.ms(), 1);
    }

    #[test]
    fn sets_back_only_when_far_ahead() {
        let mut clock = Clock::new(Hlc::from_ms(100_000));
        assert_eq!(clock.cloud_ms(at(0, 0)), None);
        assert!(!clock.told(40_000, at(0, 0)));
        assert!(clock.told(39_999, at(0, 10)));
        assert_eq!(clock.last().ms(), 39_999);
        assert_eq!(clock.cloud_ms(at(u64::MAX, 15)), Some(40_004));
        assert!(!clock.told(u64::MAX, at(0, 20)));
        assert_eq!(clock.cloud_ms(at(0, 21)), Some(1 << 48), "the year 292 million is no time");
    }

    #[test]
    fn a_writer_is_at_most_a_minute_ahead() {
        let bound = Hlc::from_ms(1_000 + CLOCK_AHEAD_MS);
        for (at, expected) in [(bound.0 - 1, (bound.0 - 1, false)), (bound.0, (bound.0, false)), (bound.0 + 1, (bound.0, true))] {
            assert_eq!(Hlc(at).clamp(1_000), (Hlc(expected.0), expected.1));
        }
        assert_eq!(Hlc::from_ms(u64::MAX), Hlc(u64::MAX << 16), "the last millisecond there is");
    }

    proptest! {
        #[test]
        fn never_goes_back(steps in prop::collection::vec((0u64..10_000, 0u64..10), 1..100)) {
            let mut clock = Clock::new(Hlc::from_ms(3_000));
            let (mut mono, mut last) = (0, clock.last());
            for (wall, step) in steps {
                mono += step;
                let next = clock.tick(at(wall, mono));
                prop_assert!(next > last);
                last = next;
            }
        }
    }
}
