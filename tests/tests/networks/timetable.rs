//! A link that is there now and then: what came is kept, and what was acknowledged is not sent again.

use std::time::Duration;

use serde_json::json;
use tests::cut::{Outage, Way, Weather};
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
        assert!(periods >= 2, "{periods} periods: nothing was interrupted");
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

/// What is too large for any session there: it takes 8 s of such a line.
const LARGE: usize = 900_000;

/// A shop at the end of a line of 1 Mbit/s.
fn narrow(carrier: Carrier) -> Far {
    let far = Far::new(carrier, Weather::default());
    let mut narrow = Weather { buffer: 32 * 1024, ..Weather::far(Duration::from_millis(20)) };
    narrow.set("bandwidth", "1mbit").unwrap();
    Way::BOTH.into_iter().for_each(|way| far.path.set(way, narrow));
    far
}

/// Ends the session three times, each time when 250,000 bytes more have gone that way: the connection is reset, and where no path can
/// do that the hub is killed. Then all is in sync, and what the other side had of it was not sent again.
fn interrupted(mut far: Far, carrier: Carrier, way: Way, before: u64, sold: i64) {
    let (place, session) = (if way == Way::Up { 0 } else { 1 }, far.session());
    for ends in 1..=3 {
        let due = before + 250_000 * ends;
        until(&format!("{carrier:?} {way:?}: {due} bytes"), || (far.path.counts().bytes[place] >= due).then_some(()));
        match carrier {
            Carrier::WebSocket => far.path.reset_after(way, 1),
            Carrier::Quic => {
                far.world.cloud.kill();
                far.world.cloud.start();
            }
        }
        until(&format!("{carrier:?} {way:?}: session {ends} more"), || (far.session() >= session + ends as i64).then_some(()));
    }
    far.agrees(sold);
    let passed = far.path.counts().bytes[place] - before;
    assert!(passed > incompressible(LARGE), "{carrier:?} {way:?}: only {passed} bytes");
    // Once, and what was on its way when a session ended: whole it would be more than twice.
    assert!(passed < LARGE as u64 * 8 / 5, "{carrier:?} {way:?}: {passed} bytes for {LARGE}");
}

#[test]
fn a_write_larger_than_any_session_passes() {
    over_each(|carrier| {
        let far = narrow(carrier);
        let before = far.path.counts().bytes[0];
        let mut shop = far.shop();
        sell(&mut shop, "large", &noise(1, LARGE));
        (0..10).for_each(|at| sell(&mut shop, &format!("s{at}"), "behind it"));
        interrupted(far, carrier, Way::Up, before, 11);
    });
}

#[test]
fn a_value_larger_than_any_session_passes() {
    over_each(|carrier| {
        let far = narrow(carrier);
        let before = far.path.counts().bytes[1];
        far.cloud().json("PUT", "/v1/collections/products/records/large", &json!({"name": noise(2, LARGE)})).unwrap().ok(201);
        far.cloud().json("PUT", "/v1/collections/products/records/small", &json!({"name": "behind it"})).unwrap().ok(201);
        interrupted(far, carrier, Way::Down, before, 0);
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
