//! One direction of a link: in order, slow, late, and lost whole when the link is cut.

use std::collections::VecDeque;

/// How a link is.
#[derive(Debug, Clone, Copy)]
pub struct Road {
    /// Bytes a second.
    pub rate: u64,
    /// One way, milliseconds.
    pub delay_ms: u64,
}

/// What a shop in the same town has.
pub const LAN: Road = Road { rate: 10_000_000, delay_ms: 1 };

#[derive(Debug)]
struct Flight {
    begins_ms: u64,
    ends_ms: u64,
    bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Pipe {
    road: Road,
    flights: VecDeque<Flight>,
    free_ms: u64,
    delivered: u64,
    /// Nothing gets through before.
    dark_until_ms: u64,
    /// Takes everything and brings nothing: half of a half-open connection.
    pub(super) dead: bool,
}

impl Pipe {
    pub(super) fn new(road: Road) -> Self {
        Self { road, flights: VecDeque::new(), free_ms: 0, delivered: 0, dark_until_ms: 0, dead: false }
    }

    /// When the next frame can be sent.
    pub(super) fn free_ms(&self) -> u64 {
        self.free_ms
    }

    pub(super) fn send(&mut self, now_ms: u64, bytes: Vec<u8>) {
        let took_ms = bytes.len() as u64 * 1000 / self.road.rate;
        let leaves_ms = now_ms.max(self.dark_until_ms);
        self.free_ms = leaves_ms + took_ms;
        if !self.dead {
            let begins_ms = leaves_ms + self.road.delay_ms;
            self.flights.push_back(Flight { begins_ms, ends_ms: begins_ms + took_ms, bytes });
        }
    }

    /// Everything that is on its way comes later, and nothing is lost.
    pub(super) fn freeze(&mut self, now_ms: u64, for_ms: u64) {
        self.free_ms = self.free_ms.max(now_ms) + for_ms;
        for flight in &mut self.flights {
            flight.begins_ms += for_ms;
            flight.ends_ms += for_ms;
        }
    }

    /// Nothing gets through for a while: what is on its way and what is sent meanwhile comes afterwards, if anybody still waits.
    pub(super) fn darken(&mut self, now_ms: u64, until_ms: u64) {
        self.freeze(now_ms, until_ms.saturating_sub(now_ms));
        self.dark_until_ms = until_ms;
    }

    /// Bytes that have come.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    pub(super) fn next_ms(&self) -> Option<u64> {
        self.flights.front().map(|flight| flight.ends_ms)
    }

    pub(super) fn arrive(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        let flight = self.flights.pop_front_if(|flight| flight.ends_ms <= now_ms)?;
        self.delivered += flight.bytes.len() as u64;
        Some(flight.bytes)
    }

    /// Bytes that have come, those of a frame that is still on its way too.
    pub(super) fn counted(&self, now_ms: u64) -> u64 {
        let partly = |flight: &Flight| (now_ms.saturating_sub(flight.begins_ms) * self.road.rate / 1000).min(flight.bytes.len() as u64);
        self.delivered + self.flights.iter().map(partly).sum::<u64>()
    }
}
