//! How fast the sender of a stream may go, as TCP's congestion control has it, pure: slow start from ten segments, one step back
//! for each round trip in which something was lost, then CUBIC in the region where it is as fast as Reno (RFC 9438, 4.3), which is
//! where a path that loses packets keeps it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::lane::{RETRANSMIT_US, SEGMENT};

/// Segments that a connection begins with, and begins with again after a pause (RFC 6928, RFC 5681).
const INITIAL: f64 = 10.0;
/// What is left of the window after a loss.
const STEP_BACK: f64 = 0.7;
/// Segments that the window grows by in a round trip without loss: with [`STEP_BACK`] as fast as Reno on average.
const GROWTH: f64 = 0.53;
/// How many losses in a row only the timer notices: the window begins anew.
const TIMER: u32 = 3;

/// One direction's sender.
#[derive(Debug)]
pub(super) struct Sender {
    /// Segments that may be on their way, and where slow start ends.
    window: f64,
    threshold: f64,
    flying: usize,
    news: BinaryHeap<Reverse<(u64, u64, News)>>,
    sent: u64,
    /// When the newest piece left, and when the window was last made smaller.
    last_us: u64,
    reduced_us: u64,
    /// When something last had to wait for the window.
    full_us: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    /// So many bytes have arrived, as the sender hears.
    Arrived(usize),
    /// A segment that left then was lost, so many times.
    Lost(u64, u32),
}

impl Default for Sender {
    fn default() -> Self {
        Self {
            window: INITIAL,
            threshold: f64::INFINITY,
            flying: 0,
            news: BinaryHeap::new(),
            sent: 0,
            last_us: 0,
            reduced_us: 0,
            full_us: 0,
        }
    }
}

impl Sender {
    /// How much may leave now, at most `most`; or when to ask again.
    pub(super) fn room(&mut self, now: u64, round_trip: u64, most: usize) -> Result<usize, u64> {
        self.hear(now, round_trip);
        if self.flying == 0 && now > self.last_us + round_trip.max(RETRANSMIT_US) {
            self.window = self.window.min(INITIAL);
        }
        let window = (self.window.max(1.0) * SEGMENT as f64) as usize;
        let room = window.saturating_sub(self.flying);
        // Pieces of an eighth of the window: large ones cost less, small ones lose their segments one by one.
        let piece = (window / 8 / SEGMENT * SEGMENT).clamp(SEGMENT, most.max(SEGMENT));
        match self.news.peek() {
            Some(Reverse((at, ..))) if room < piece => {
                self.full_us = now;
                Err(*at)
            }
            _ => Ok(piece),
        }
    }

    /// A piece left: when its sender hears that it arrived, and of a lost segment in it how often it was lost.
    pub(super) fn sent(&mut self, now: u64, bytes: usize, heard: u64, losses: u32, round_trip: u64) {
        self.flying += bytes;
        self.last_us = now;
        self.tell(heard, News::Arrived(bytes));
        if losses > 0 {
            self.tell(now + round_trip, News::Lost(now, losses));
        }
    }

    fn tell(&mut self, at: u64, news: News) {
        self.sent += 1;
        self.news.push(Reverse((at, self.sent, news)));
    }

    fn hear(&mut self, now: u64, round_trip: u64) {
        while self.news.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, _, news))) = self.news.pop() else { return };
            match news {
                News::Arrived(bytes) => self.arrived(bytes, now <= self.full_us + 2 * round_trip.max(RETRANSMIT_US)),
                News::Lost(left, losses) => self.lost(left, losses, now),
            }
        }
    }

    fn arrived(&mut self, bytes: usize, full: bool) {
        let segments = bytes as f64 / SEGMENT as f64;
        // Who does not use the window has not learnt that a larger one would do.
        if full {
            self.window += if self.window < self.threshold { segments } else { GROWTH * segments / self.window };
        }
        self.flying -= bytes;
    }

    fn lost(&mut self, left: u64, losses: u32, now: u64) {
        if left < self.reduced_us {
            return;
        }
        self.threshold = (self.window * STEP_BACK).max(2.0);
        self.window = if losses < TIMER { self.threshold } else { 1.0 };
        self.reduced_us = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::dice::Dice;

    /// Bytes a second of a sender that always has something to send.
    fn rate(round_trip: u64, loss: u64) -> f64 {
        const SPAN: u64 = 600_000_000;
        let (mut sender, mut dice, mut now, mut bytes) = (Sender::default(), Dice::new(7), 0, 0);
        while now < SPAN {
            match sender.room(now, round_trip, SEGMENT) {
                Err(later) => now = later.max(now + 1),
                Ok(piece) => {
                    let losses = (0..8).take_while(|_| dice.below(1_000_000) < loss).count() as u32;
                    sender.sent(now, piece, now + round_trip * u64::from(1 + losses), losses, round_trip);
                    bytes += piece;
                }
            }
        }
        bytes as f64 * 1e6 / SPAN as f64
    }

    #[test]
    fn a_lossy_path_is_as_fast_as_mathis_says() {
        for (round_trip, loss) in [(50_000, 20_000), (300_000, 20_000), (300_000, 1_000), (50_000, 100_000)] {
            let share = loss as f64 / 1e6;
            let mathis = SEGMENT as f64 * 1e6 / round_trip as f64 * (1.5 / share).sqrt();
            let ratio = rate(round_trip, loss) / mathis;
            assert!((0.5..1.5).contains(&ratio), "{round_trip} µs, {loss} in a million: {ratio:.2} of {mathis:.0} bytes/s");
        }
    }

    #[test]
    fn it_begins_slowly_and_again_after_a_pause() {
        let mut sender = Sender::default();
        let mut burst = |now: u64| {
            let mut bytes = 0;
            while let Ok(piece) = sender.room(now, 100_000, SEGMENT) {
                sender.sent(now, piece, now + 100_000, 0, 100_000);
                bytes += piece;
            }
            bytes / SEGMENT
        };
        assert_eq!([burst(0), burst(100_000), burst(200_000)], [10, 20, 40]);
        assert_eq!(burst(10_000_000), 10);
    }
}
