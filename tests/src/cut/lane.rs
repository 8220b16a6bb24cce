//! When what is sent arrives: one direction of one connection, pure and the same for the same seed.

use super::sender::Sender;
use super::weather::{MILLION, Weather};
use crate::lab::dice::Dice;

/// What a stream is cut into, as TCP does on Ethernet.
pub(super) const SEGMENT: usize = 1_448;
/// TCP's shortest wait until it sends again what nobody acknowledged, microseconds (RFC 6298 as Linux has it).
pub(super) const RETRANSMIT_US: u64 = 200_000;
/// How often in a row a segment is lost at most: a stream goes on at the end.
const LOSSES: u32 = 8;

/// One direction of one connection. Times are microseconds on a clock of the caller's.
#[derive(Debug)]
pub(super) struct Lane {
    dice: Dice,
    /// When everything that was sent has left.
    free: u64,
    /// When the last one that kept the order arrives.
    last: u64,
    sender: Sender,
}

impl Lane {
    /// The lane of the `connection`-th connection, `down` from the server to the client.
    pub(super) fn new(seed: u64, connection: u64, down: bool) -> Self {
        let mut dice = Dice::new(seed ^ connection.wrapping_mul(2).wrapping_add(u64::from(down)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.roll();
        Self { dice, free: 0, last: 0, sender: Sender::default() }
    }

    /// When a datagram arrives: never, once, or twice.
    pub(super) fn datagram(&mut self, weather: &Weather, now: u64, bytes: usize) -> Vec<u64> {
        if self.waiting(weather, now) > weather.buffer {
            return Vec::new();
        }
        let leaves = self.leave(weather, now, bytes);
        // Every fate is rolled for, so that one setting does not change what another does to later datagrams.
        let [lost, twice, late] = [weather.loss, weather.duplicate, weather.reorder].map(|share| self.chance(share));
        let arrives = leaves + self.travel(weather);
        if lost {
            return Vec::new();
        }
        let arrives = if late {
            arrives + weather.latency.as_micros() as u64 / 2 + 5_000
        } else {
            self.last = self.last.max(arrives);
            self.last
        };
        if twice { vec![arrives, arrives + 1_000] } else { vec![arrives] }
    }

    /// How much of a stream may be sent now, at most `most`; or when to ask again.
    pub(super) fn room(&mut self, weather: &Weather, now: u64, most: usize) -> Result<usize, u64> {
        if weather.congestion { self.sender.room(now, 2 * weather.latency.as_micros() as u64, most) } else { Ok(most) }
    }

    /// When a piece of a stream arrives. What is lost is sent again, and what follows waits for it; that a sender slows down
    /// for it is up to [`Lane::room`].
    pub(super) fn piece(&mut self, weather: &Weather, now: u64, bytes: usize) -> u64 {
        let leaves = self.leave(weather, now, bytes);
        let round_trip = 2 * weather.latency.as_micros() as u64;
        let (mut again, mut most) = (0, 0);
        for _ in 0..bytes.div_ceil(SEGMENT) {
            let losses = (0..LOSSES).take_while(|_| self.chance(weather.loss)).count() as u32;
            // The first time the receiver's duplicate acknowledgements tell, then only the timer does, doubled each time.
            let wait = if losses == 0 { 0 } else { round_trip + (2_u64.pow(losses - 1) - 1) * RETRANSMIT_US.max(round_trip) };
            again = again.max(wait);
            most = most.max(losses);
        }
        let arrives = leaves + self.travel(weather) + again;
        if weather.congestion {
            self.sender.sent(leaves, bytes, arrives + round_trip / 2, most, round_trip);
        }
        self.last = self.last.max(arrives);
        self.last
    }

    /// Bytes that wait in front of the path.
    fn waiting(&self, weather: &Weather, now: u64) -> usize {
        let bits = weather.bandwidth.unwrap_or(0) as u128 * u128::from(self.free.saturating_sub(now)) / 1_000_000;
        usize::try_from(bits / 8).unwrap_or(usize::MAX)
    }

    fn leave(&mut self, weather: &Weather, now: u64, bytes: usize) -> u64 {
        let takes = weather.bandwidth.map_or(0, |bandwidth| bytes as u64 * 8 * MILLION / bandwidth);
        self.free = self.free.max(now) + takes;
        self.free
    }

    fn travel(&mut self, weather: &Weather) -> u64 {
        weather.latency.as_micros() as u64 + self.dice.below(weather.jitter.as_micros() as u64 + 1)
    }

    fn chance(&mut self, share: u64) -> bool {
        self.dice.below(MILLION) < share
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LATENCY: Weather = Weather {
        latency: Duration::from_millis(150),
        jitter: Duration::ZERO,
        loss: 0,
        duplicate: 0,
        reorder: 0,
        bandwidth: None,
        buffer: 64 * 1024,
        congestion: false,
    };

    fn fates(weather: &Weather, seed: u64) -> Vec<Vec<u64>> {
        let mut lane = Lane::new(seed, 0, false);
        (0..10_000).map(|n| lane.datagram(weather, n * 1_000, 1_200)).collect()
    }

    #[test]
    fn one_seed_is_one_fate() {
        let rough = Weather { loss: 50_000, duplicate: 10_000, reorder: 20_000, jitter: Duration::from_millis(40), ..LATENCY };
        assert_eq!(fates(&rough, 7), fates(&rough, 7));
        assert_ne!(fates(&rough, 7), fates(&rough, 8));
        let lost = fates(&rough, 7).iter().filter(|fate| fate.is_empty()).count();
        let twice = fates(&rough, 7).iter().filter(|fate| fate.len() == 2).count();
        assert!((400..600).contains(&lost) && (60..140).contains(&twice), "{lost} lost, {twice} twice");
    }

    #[test]
    fn jitter_alone_keeps_the_order_and_reorder_breaks_it() {
        let ordered = |weather: &Weather| fates(weather, 3).concat().is_sorted();
        assert!(ordered(&Weather { jitter: Duration::from_millis(90), ..LATENCY }));
        assert!(!ordered(&Weather { reorder: 10_000, ..LATENCY }));
    }

    #[test]
    fn a_narrow_path_carries_what_it_can_and_drops_the_rest() {
        let narrow = Weather { bandwidth: Some(64_000), ..LATENCY };
        let arrived = fates(&narrow, 1).concat();
        // 10 s of datagrams at 9.6 Mbit/s: the buffer holds 64 KiB, 8 s' worth, and 10 s go through.
        let carried = arrived.len() * 1_200;
        assert!((130_000..160_000).contains(&carried), "{carried}");
    }

    #[test]
    fn a_stream_keeps_its_order_and_pays_for_what_is_lost() {
        let lossy = Weather { loss: 100_000, ..LATENCY };
        let mut lane = Lane::new(5, 0, true);
        let arrivals: Vec<u64> = (0..1_000).map(|n| lane.piece(&lossy, n * 1_000, SEGMENT)).collect();
        assert!(arrivals.is_sorted());
        assert!(arrivals.iter().zip(0..).any(|(at, n)| *at >= n * 1_000 + 450_000), "a lost segment takes another round trip");
        let mut lane = Lane::new(5, 0, true);
        assert_eq!(lane.piece(&Weather { bandwidth: Some(64_000), ..LATENCY }, 0, 1024 * 1024), 131_072_000 + 150_000, "1 MiB takes 131 s");
    }
}
