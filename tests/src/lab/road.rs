//! One direction of a link: slow, late, and lost whole when the link is cut. In order, as over one stream; or in two lanes, as over QUIC
//! (decision 0009): what is in a lane keeps its order, bulk never comes before control that was begun before it, and control overtakes
//! bulk as chance has it.

use std::collections::VecDeque;

use super::dice::Dice;

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
    /// How many were sent before it.
    place: u64,
    begins_ms: u64,
    ends_ms: u64,
    bytes: Vec<u8>,
}

/// What keeps its order.
#[derive(Debug, Default)]
struct Lane {
    flights: VecDeque<Flight>,
    free_ms: u64,
    /// When what was sent last has come.
    newest_ms: u64,
}

#[derive(Debug)]
pub(super) struct Pipe {
    road: Road,
    /// Control and, where it has a stream of its own, bulk.
    lanes: [Lane; 2],
    /// How late what is sent over two streams is, beside the rest; none: there is one.
    apart: Option<Dice>,
    delivered: u64,
    sent: u64,
    /// How often control came before bulk that was sent earlier.
    overtaken: u64,
    /// Nothing gets through before.
    dark_until_ms: u64,
    /// Takes everything and brings nothing: half of a half-open connection.
    pub(super) dead: bool,
}

impl Pipe {
    pub(super) fn new(road: Road, apart: Option<Dice>) -> Self {
        Self { road, lanes: Default::default(), apart, delivered: 0, sent: 0, overtaken: 0, dark_until_ms: 0, dead: false }
    }

    fn lane(&self, bulk: bool) -> usize {
        usize::from(bulk && self.apart.is_some())
    }

    /// Whether the next frame can be sent.
    pub(super) fn is_free(&self, bulk: bool, now_ms: u64) -> bool {
        self.lanes[self.lane(bulk)].free_ms <= now_ms
    }

    /// When the next frame can be sent that cannot be now.
    pub(super) fn frees_ms(&self, now_ms: u64) -> Option<u64> {
        self.lanes.iter().map(|lane| lane.free_ms).filter(|free_ms| *free_ms > now_ms).min()
    }

    pub(super) fn send(&mut self, now_ms: u64, bulk: bool, bytes: Vec<u8>) {
        let took_ms = bytes.len() as u64 * 1000 / self.road.rate;
        let leaves_ms = now_ms.max(self.dark_until_ms);
        // What a lost packet, or another way through the network, costs one stream.
        let late_ms = self.apart.as_mut().map_or(0, |dice| if dice.one_in(3) { dice.below(8 * self.road.delay_ms + 1) } else { 0 });
        let behind_ms = if bulk { self.lanes[0].newest_ms } else { 0 };
        let lane = &mut self.lanes[usize::from(bulk && self.apart.is_some())];
        lane.free_ms = leaves_ms + took_ms;
        if !self.dead {
            let begins_ms = leaves_ms + self.road.delay_ms;
            let ends_ms = (begins_ms + took_ms + late_ms).max(lane.newest_ms).max(behind_ms);
            lane.newest_ms = ends_ms;
            self.sent += 1;
            lane.flights.push_back(Flight { place: self.sent, begins_ms, ends_ms, bytes });
        }
    }

    /// Everything that is on its way comes later, and nothing is lost.
    pub(super) fn freeze(&mut self, now_ms: u64, for_ms: u64) {
        for lane in &mut self.lanes {
            lane.free_ms = lane.free_ms.max(now_ms) + for_ms;
            lane.newest_ms += for_ms;
            for flight in &mut lane.flights {
                flight.begins_ms += for_ms;
                flight.ends_ms += for_ms;
            }
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

    /// The lane whose next frame comes first; at one time control does.
    fn first(&self) -> Option<(u64, usize)> {
        (0..2).filter_map(|lane| Some((self.lanes[lane].flights.front()?.ends_ms, lane))).min()
    }

    pub(super) fn next_ms(&self) -> Option<u64> {
        self.first().map(|(ends_ms, _)| ends_ms)
    }

    pub(super) fn arrive(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        let (_, lane) = self.first().filter(|(ends_ms, _)| *ends_ms <= now_ms)?;
        let flight = self.lanes[lane].flights.pop_front()?;
        self.delivered += flight.bytes.len() as u64;
        self.overtaken += u64::from(self.lanes[1].flights.front().is_some_and(|bulk| bulk.place < flight.place));
        Some(flight.bytes)
    }

    /// How often control overtook bulk since this was asked last.
    pub(super) fn take_overtaken(&mut self) -> u64 {
        std::mem::take(&mut self.overtaken)
    }

    /// Bytes that have come, those of a frame that is still on its way too.
    pub(super) fn counted(&self, now_ms: u64) -> u64 {
        let partly = |flight: &Flight| (now_ms.saturating_sub(flight.begins_ms) * self.road.rate / 1000).min(flight.bytes.len() as u64);
        self.delivered + self.lanes.iter().flat_map(|lane| &lane.flights).map(partly).sum::<u64>()
    }
}
