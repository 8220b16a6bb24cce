//! A path that swallows everything and says nothing: both ends of a session notice it within 45 s by a clock that the test
//! holds. What kernels buffer and what QUIC acknowledges for itself is no sign of life.

#[path = "silence/ends.rs"]
mod ends;
#[path = "silence/link.rs"]
mod link;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proto::clock::Now;
use proto::limits::{PING_MS, SILENCE_MS};
use tests::cut::{Way, Weather};
use tests::until::{until, until_shown};

use super::{Carrier, Far, beside, sell};
use ends::Seen;

/// The time that both sessions go by.
#[derive(Default)]
struct Clock(AtomicU64);

impl Clock {
    fn now(&self) -> Now {
        let mono_ms = self.0.load(Ordering::SeqCst);
        Now { wall_ms: 1_800_000_000_000 + mono_ms, mono_ms }
    }
}

/// What a hole swallows.
const HOLES: [&[Way]; 3] = [&[Way::Up], &[Way::Down], &Way::BOTH];

#[test]
fn a_silent_black_hole_is_noticed_by_both_sides() {
    let cases: Vec<_> = Carrier::EACH.into_iter().flat_map(|carrier| HOLES.map(|hole| (carrier, hole))).collect();
    beside(&cases, |(carrier, hole)| swallowed(*carrier, hole));
}

fn swallowed(carrier: Carrier, hole: &[Way]) {
    let clock = Arc::new(Clock::default());
    let (path, pumps) = link::linked(carrier, &clock);
    let both: [&Arc<Seen>; 2] = [&pumps.edge, &pumps.cloud];
    // One more second, and both have looked at it.
    let second = || {
        let now_ms = clock.0.fetch_add(1_000, Ordering::SeqCst) + 1_000;
        both.iter().for_each(|seen| seen.wake());
        let looked = || both.iter().all(|seen| seen.end().is_some() || seen.looked_ms() >= now_ms);
        until("both have looked at the clock", || looked().then_some(()));
    };
    until("open", || pumps.cloud.is_open().then_some(()));
    // For five minutes it is idle, and alive.
    for ping in 1..=u64::from(300_000 / PING_MS) {
        (0..u64::from(PING_MS) / 1_000).for_each(|_| second());
        until_shown("a ping was answered", || {
            let heard = pumps.edge.pongs() >= ping;
            heard.then_some(()).ok_or_else(|| format!("{ping}: {:?} {:?}", pumps.edge.end(), pumps.cloud.end()))
        });
    }
    hole.iter().for_each(|way| path.hole(*way, true));
    let from_ms = clock.now().mono_ms;
    // Both sides have something to say, more than the path holds. Kernels take it, and acknowledge what comes from the other side.
    both.iter().for_each(|seen| seen.speak());
    while clock.now().mono_ms < from_ms + u64::from(SILENCE_MS) {
        second();
    }
    // Who heard nothing has closed by now; where one way is open, the other side was told. Over QUIC it is told by the connection's
    // end where the session's last word finds no room: nothing that was sent into the hole is acknowledged.
    let mut silent = 0;
    for (name, seen) in [("edge", &pumps.edge), ("cloud", &pumps.cloud)] {
        let (why, at_ms) = until_shown(&format!("{carrier:?} {hole:?}: the {name}'s end"), || seen.end().ok_or_else(String::new));
        silent += usize::from(why == "silence");
        let told = carrier == Carrier::Quic && hole.len() == 1 && why.contains("Closed");
        assert!(why == "silence" || told, "{carrier:?} {hole:?} {name}: {why}");
        assert!(at_ms <= from_ms + u64::from(SILENCE_MS), "{name}: noticed after {} ms", at_ms - from_ms);
    }
    assert!(silent >= hole.len(), "each noticed by itself: {silent}");
}

/// The node loses its power on a path that tells nobody, and comes back by another one: the cloud, which still believes in the
/// old connection, takes the new one at once.
#[test]
fn a_half_open_connection_keeps_nobody_out() {
    beside(&Carrier::EACH, |carrier| {
        let mut far = Far::new(*carrier, Weather::default());
        let session = far.session();
        Way::BOTH.into_iter().for_each(|way| far.path.hole(way, true));
        sell(&mut far.shop(), "on the way", "");
        far.world.edges[0].kill();
        let other = carrier.path(carrier.port(&far.world), Weather::default());
        far.world.edges[0].hub = Some(other.address());
        far.world.edges[0].start();
        far.agrees(1);
        assert_eq!(far.session(), session + 1);
        // What the old path still holds comes too late, and does nothing.
        far.path.mend();
        sell(&mut far.shop(), "after", "");
        far.agrees(2);
        assert_eq!(far.session(), session + 1, "a frame of a session that was replaced ended the new one");
    });
}
