//! Two ways to a hub at once, without sockets: who starts when, who has won, who is to be given up.
//!
//! A try ends when its link is up and the hub has let this node in. Not a frame has been sent then: a loser leaves nothing at the
//! hub but a connection without a session.

use super::ways::Way;

/// How much later the second way starts beside the first, milliseconds (design §5).
pub(super) const STAGGER_MS: u64 = 1_000;

/// One race.
#[derive(Debug)]
pub(super) struct Race {
    first: Way,
    second: Option<Way>,
    second_due_ms: u64,
    begun: bool,
    running: Vec<Way>,
    started: Vec<Way>,
    won: Option<Way>,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Start this one, and ask again.
    Start(Way),
    /// Wait for a try's end, at most until then (milliseconds).
    Wait(Option<u64>),
    /// It is decided: drop whatever else runs.
    Won(Way),
    /// None came up.
    Lost,
}

impl Race {
    pub(super) fn new(now_ms: u64, (first, second): (Way, Option<Way>)) -> Self {
        let second_due_ms = now_ms + STAGGER_MS;
        Self { first, second, second_due_ms, begun: false, running: Vec::new(), started: Vec::new(), won: None }
    }

    pub(super) fn step(&mut self, now_ms: u64) -> Step {
        if let Some(way) = self.won {
            return Step::Won(way);
        }
        if !std::mem::replace(&mut self.begun, true) {
            return self.start(self.first);
        }
        // A first way that failed already has nothing to be waited for.
        if let Some(second) = self.second.take_if(|_| now_ms >= self.second_due_ms || self.running.is_empty()) {
            return self.start(second);
        }
        if self.running.is_empty() { Step::Lost } else { Step::Wait(self.second.map(|_| self.second_due_ms)) }
    }

    fn start(&mut self, way: Way) -> Step {
        self.running.push(way);
        self.started.push(way);
        Step::Start(way)
    }

    /// This try has failed.
    pub(super) fn failed(&mut self, way: Way) {
        self.running.retain(|running| *running != way);
    }

    /// This try's link is up. The first one counts.
    pub(super) fn up(&mut self, way: Way) {
        self.won.get_or_insert(way);
    }

    /// Whether this way was tried.
    pub(super) fn has_tried(&self, way: Way) -> bool {
        self.started.contains(&way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Way::{Quic, WebSocket};

    fn both() -> Race {
        Race::new(100, (Quic, Some(WebSocket)))
    }

    #[test]
    fn the_second_starts_a_second_later_and_the_first_that_is_up_wins() {
        let mut race = both();
        assert_eq!(race.step(100), Step::Start(Quic));
        assert_eq!(race.step(100), Step::Wait(Some(1_100)));
        assert_eq!(race.step(1_099), Step::Wait(Some(1_100)));
        assert!(!race.has_tried(WebSocket));
        assert_eq!(race.step(1_100), Step::Start(WebSocket));
        assert_eq!(race.step(1_100), Step::Wait(None));
        race.up(WebSocket);
        race.up(Quic);
        assert_eq!(race.step(1_200), Step::Won(WebSocket), "the first that is up, even when the other follows in the same moment");
        assert!(race.has_tried(Quic));
    }

    #[test]
    fn a_first_that_is_up_in_time_leaves_the_second_alone() {
        let mut race = both();
        race.step(100);
        race.up(Quic);
        assert_eq!(race.step(5_000), Step::Won(Quic));
        assert!(!race.has_tried(WebSocket));
    }

    #[test]
    fn a_first_that_fails_lets_the_second_start_at_once() {
        let mut race = both();
        race.step(100);
        race.failed(Quic);
        assert_eq!(race.step(101), Step::Start(WebSocket));
        race.failed(WebSocket);
        assert_eq!(race.step(102), Step::Lost);
    }

    #[test]
    fn one_that_fails_leaves_the_other_its_time() {
        let mut race = both();
        race.step(100);
        race.step(1_100);
        race.failed(WebSocket);
        assert_eq!(race.step(1_200), Step::Wait(None));
        race.up(Quic);
        assert_eq!(race.step(1_300), Step::Won(Quic));
    }

    #[test]
    fn one_way_alone_is_a_race_too() {
        let mut race = Race::new(0, (WebSocket, None));
        assert_eq!(race.step(0), Step::Start(WebSocket));
        assert_eq!(race.step(9_000), Step::Wait(None));
        race.failed(WebSocket);
        assert_eq!(race.step(9_001), Step::Lost);
    }
}
