//! What goes wrong and in which order, from the seed alone: pure.

use std::time::Duration;

use super::EDGES;
use super::rights::{Labels, RELABELLED};
use crate::cut::{Way, Weather};
use crate::lab::dice::Dice;

/// Who suffers from a list of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Actor {
    /// The process of a hub; 0 is cloudhub.
    Process(usize),
    /// Its wall clock.
    Clock(usize),
    /// The path of an edge, over TCP (0) or UDP (1).
    Path(usize, usize),
    /// A small disk.
    Disk(usize),
    /// The labels of the nodes.
    Labels,
}

/// One blow for a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// `kill -9`.
    Kill,
    /// SIGTERM.
    Terminate,
    /// SIGSTOP, and SIGCONT after so long.
    Stop(Duration),
}

/// What a process meets next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    /// How long it runs from its start, or from where it was let go on.
    pub runs: Duration,
    /// What ends that.
    pub blow: Blow,
    /// How long nobody starts it again.
    pub down: Duration,
    /// What an edge's link runs over when it is started again; none: what it did.
    pub transport: Option<&'static str>,
}

/// What happens to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// From now on it is like this, one way.
    Weather(Way, Weather),
    /// Everything is reset for so long.
    Cut(Duration),
    /// A black hole for so long, one way or both.
    Hole(Option<Way>, Duration),
    /// The connection with this byte from now on is reset.
    Reset(Way, u64),
    /// Datagrams come from another address.
    Move,
}

/// The faults of one actor in one round, without end.
pub(super) struct Faults {
    dice: Dice,
}

const MS: Duration = Duration::from_millis(1);

impl Faults {
    /// The same seed, round and actor: the same faults.
    pub(super) fn new(seed: u64, round: u64, actor: Actor) -> Self {
        let (kind, at) = match actor {
            Actor::Process(hub) => (1, hub),
            Actor::Clock(hub) => (2, hub),
            Actor::Path(edge, carried) => (3, edge * 2 + carried),
            Actor::Disk(disk) => (4, disk),
            Actor::Labels => (5, 0),
        };
        let mut mixed = Dice::new(seed);
        for part in [round, kind, at as u64] {
            mixed = Dice::new(mixed.roll() ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
        Self { dice: mixed }
    }

    /// Whether this actor is spared in this round: who lives for a whole round shows what grows.
    pub(super) fn spared(&mut self) -> bool {
        self.dice.one_in(4)
    }

    /// Between two times, as likely in each decade.
    fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let share = self.dice.below(1 << 24) as f64 / f64::from(1 << 24);
        least.mul_f64((most.as_secs_f64() / least.as_secs_f64()).powf(share))
    }

    /// For a process: 1 ms to 5 s after its start.
    pub(super) fn life(&mut self) -> Life {
        let runs = self.between(MS, 5_000 * MS);
        let blow = match self.dice.below(10) {
            0 => Blow::Terminate,
            1 | 2 => Blow::Stop(self.between(10 * MS, 3_000 * MS)),
            _ => Blow::Kill,
        };
        let down = if self.dice.one_in(3) { self.between(MS, 3_000 * MS) } else { Duration::ZERO };
        let transport = self.dice.one_in(4).then(|| self.dice.pick(&["websocket", "quic", "auto"]));
        Life { runs, blow, down, transport }
    }

    /// For a clock: after how long it jumps, and where to, in seconds before or after the truth. A hub's clock is at most a day wrong:
    /// it is the one that the certificates of its whole fleet are judged by.
    pub(super) fn jump(&mut self, hub: usize) -> (Duration, i64) {
        const SMALL: [i64; 9] = [0, 0, -3_600, -61, -2, 1, 61, 3_600, 86_400];
        // 1970, a day before, ten years ahead.
        const LARGE: [i64; 4] = [-1_790_000_000, -86_400, 86_400, 315_360_000];
        let after = self.between(300 * MS, 8_000 * MS);
        let large = hub > 0 && self.dice.one_in(5);
        (after, if large { self.dice.pick(&LARGE) } else { self.dice.pick(&SMALL) })
    }

    /// For a path: after how long what happens.
    pub(super) fn trouble(&mut self) -> (Duration, Trouble) {
        let after = self.between(20 * MS, 5_000 * MS);
        let way = self.dice.pick(&Way::BOTH);
        let trouble = match self.dice.below(8) {
            0..=2 => Trouble::Weather(way, self.weather()),
            3 => Trouble::Cut(self.between(10 * MS, 5_000 * MS)),
            4 => Trouble::Hole(None, self.between(10 * MS, 5_000 * MS)),
            5 => Trouble::Hole(Some(way), self.between(10 * MS, 5_000 * MS)),
            6 => Trouble::Reset(way, self.dice.below(50_000)),
            _ => Trouble::Move,
        };
        (after, trouble)
    }

    fn weather(&mut self) -> Weather {
        let mut weather = Weather::default();
        if self.dice.one_in(3) {
            return weather;
        }
        weather.latency = self.between(MS / 10, 300 * MS);
        weather.jitter = self.between(MS / 10, 50 * MS);
        weather.loss = self.dice.pick(&[0, 1_000, 20_000, 100_000]);
        weather.duplicate = self.dice.pick(&[0, 10_000, 100_000]);
        weather.reorder = self.dice.pick(&[0, 10_000, 100_000]);
        weather.bandwidth = self.dice.pick(&[None, None, Some(256_000), Some(1_000_000)]);
        weather
    }

    /// For the labels: after how long which node becomes what.
    pub(super) fn relabel(&mut self) -> (Duration, &'static str, Labels) {
        let (after, node) = (self.between(100 * MS, 4_000 * MS), self.dice.pick(&RELABELLED));
        // Its own parcels, those of others beside them or instead of them, or none.
        let sites = EDGES.into_iter().filter(|site| self.dice.one_in(if *site == node { 2 } else { 4 })).collect();
        (after, node, Labels { sites, depot: self.dice.one_in(2) })
    }

    /// For a disk: after how long it is full, and for how long.
    pub(super) fn full(&mut self) -> (Duration, Duration) {
        (self.between(500 * MS, 10_000 * MS), self.between(100 * MS, 4_000 * MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lives(seed: u64, round: u64, hub: usize) -> Vec<Life> {
        let mut faults = Faults::new(seed, round, Actor::Process(hub));
        (0..200).map(|_| faults.life()).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_in_the_same_order() {
        assert_eq!(lives(7, 1, 0), lives(7, 1, 0));
        for (seed, round, hub) in [(8, 1, 0), (7, 2, 0), (7, 1, 1)] {
            assert_ne!(lives(7, 1, 0), lives(seed, round, hub));
        }
    }

    #[test]
    fn processes_live_from_a_millisecond_to_five_seconds() {
        let lives = lives(1, 1, 0);
        assert!(lives.iter().all(|life| (MS..=5_000 * MS).contains(&life.runs)));
        let decade = |from: u32| lives.iter().filter(|life| (from * MS..from * 10 * MS).contains(&life.runs)).count();
        assert!([1, 10, 100].iter().all(|from| decade(*from) > 30), "each decade is met");
        for wanted in [Blow::Kill, Blow::Terminate] {
            assert!(lives.iter().any(|life| life.blow == wanted), "{wanted:?}");
        }
        assert!(lives.iter().any(|life| matches!(life.blow, Blow::Stop(_))));
    }
}
