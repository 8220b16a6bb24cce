//! A link that is there now and then: what came is kept, and what was acknowledged is not sent again.

use std::time::Duration;

use serde_json::json;
use tests::cut::{Outage, Weather};
use tests::until::{until, until_shown};

use super::{Carrier, Far, beside, incompressible, noise, over_each, sell};

const RECORDS: u64 = 300;
const SALES: u64 = 250;
const BYTES: usize = 1_500;

/// Up two seconds in every three at 1 Mbit/s, with a backlog for several such seconds both ways. A hole of one second ends no
/// session, a reset ends it each time. The whole timetable, 10 s in every 60 s, where a hole ends it too, is kept in virtual
/// time: `schedules::timetable`.
#[test]
fn a_link_that_is_up_now_and_then_drains() {
    let cases = [(Carrier::WebSocket, Outage::Cut), (Carrier::WebSocket, Outage::Hole), (Carrier::Quic, Outage::Hole)];
    beside(&cases, |(carrier, kind)| {
        let far = Far::new(*carrier, Weather::default());
        let mut narrow = Weather { buffer: 32 * 1024, ..Weather::far(Duration::from_millis(20)) };
        narrow.set("bandwidth", "1mbit").unwrap();
        tests::cut::Way::BOTH.into_iter().for_each(|way| far.path.set(way, narrow));
        let (before, session) = (far.path.counts(), far.session());
        let timetable = far.path.timetable(*kind, Duration::from_secs(2), Duration::from_secs(3));
        let line = |at: u64| json!({"key": format!("p{at}"), "value": {"name": noise(at, BYTES)}}).to_string();
        let lines: Vec<_> = (0..RECORDS).map(line).collect();
        let headers = [("content-type", "application/x-ndjson")];
        let path = "/v1/collections/products/import";
        far.cloud().send("POST", path, &headers, Some(lines.join("\n").as_bytes())).unwrap().ok(200);
        let mut shop = far.shop();
        (0..SALES).for_each(|at| sell(&mut shop, &format!("s{at}"), &noise(at, BYTES)));
        drained(&far);
        let periods = timetable.periods();
        drop(timetable);
        assert!(periods >= 3, "{periods} periods: nothing was interrupted");
        far.agrees(SALES as i64);
        let sessions = far.session() - session;
        match kind {
            Outage::Hole => assert_eq!(sessions, 0, "{carrier:?}: a pause below the deadline ends no session"),
            Outage::Cut => assert!(sessions > 0, "{carrier:?}"),
        }
        // Down go the records, the sales as records, and the outcomes; up the sales. What was on its way when a session ended,
        // less than the smallest window, goes again.
        let passed = far.path.counts();
        let needed = [SALES, RECORDS + SALES].map(|count| count * BYTES as u64);
        for way in [0, 1] {
            let passed = passed.bytes[way] - before.bytes[way];
            let most = needed[way] * 3 / 2 + sessions.unsigned_abs() * 128 * 1024;
            assert!(passed < most, "{carrier:?} {kind:?}, way {way}: {passed} bytes for {}", needed[way]);
        }
    });
}

/// A sale of 900 KB takes 8 s of such a line, and no session lives for so long: the connection is reset every two seconds, and where
/// no path can do that the hub is killed. What the hub has of it is not sent again.
#[test]
fn a_write_larger_than_any_session_passes() {
    const LARGE: usize = 900_000;
    over_each(|carrier| {
        let mut far = Far::new(carrier, Weather::default());
        let mut narrow = Weather { buffer: 32 * 1024, ..Weather::far(Duration::from_millis(20)) };
        narrow.set("bandwidth", "1mbit").unwrap();
        tests::cut::Way::BOTH.into_iter().for_each(|way| far.path.set(way, narrow));
        let (before, session) = (far.path.counts().bytes[0], far.session());
        let mut shop = far.shop();
        sell(&mut shop, "large", &noise(1, LARGE));
        (0..10).for_each(|at| sell(&mut shop, &format!("s{at}"), "behind it"));
        for ends in 1..=3 {
            let due = before + 250_000 * ends;
            until(&format!("{carrier:?}: {due} bytes up"), || (far.path.counts().bytes[0] >= due).then_some(()));
            match carrier {
                Carrier::WebSocket => far.path.reset_after(tests::cut::Way::Up, 1),
                Carrier::Quic => {
                    far.world.cloud.kill();
                    far.world.cloud.start();
                }
            }
            until(&format!("{carrier:?}: session {ends} more"), || (far.session() >= session + ends as i64).then_some(()));
        }
        far.agrees(11);
        let passed = far.path.counts().bytes[0] - before;
        assert!(passed > incompressible(LARGE), "{carrier:?}: only {passed} bytes");
        // Once, and what was on its way when a session ended: without parts it would be more than twice.
        assert!(passed < LARGE as u64 * 8 / 5, "{carrier:?}: {passed} bytes for {LARGE}");
    });
}

/// Waits until nothing is left on either side; the cursor never goes back meanwhile.
fn drained(far: &Far) {
    let mut shop = far.shop();
    let mut cursor = 0;
    until_shown("drained", || {
        let status = shop.get("/v1/status").map_err(|error| error.to_string())?.json();
        let now = status["sync"]["cursor"].as_u64().unwrap();
        assert!(now >= cursor, "the cursor went from {cursor} back to {now}");
        cursor = now;
        let node = far.cloud().get("/v1/nodes/lyon").map_err(|error| error.to_string())?.json();
        let drained = status["outbox"]["writes"] == 0 && node["sync"]["lag_records"] == 0;
        drained.then_some(()).ok_or_else(|| format!("{status}\n{node}"))
    });
}
