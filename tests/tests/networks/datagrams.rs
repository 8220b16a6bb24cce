//! What happens to datagrams alone: twice, overtaken, from another address.

use std::time::Duration;

use serde_json::json;
use tests::cut::Weather;
use tests::until::until;

use super::{Carrier, Far, noise, sell};

const RECORDS: u64 = 1_500;
const SALES: u64 = 150;

/// The node's address changes several times while it catches up and hands over its sales, on a path that doubles and
/// reorders: it is one session all the time.
#[test]
fn a_session_lives_on_under_other_addresses() {
    let weather =
        Weather { duplicate: 100_000, reorder: 100_000, jitter: Duration::from_millis(10), ..Weather::far(Duration::from_millis(5)) };
    let far = Far::new(Carrier::Quic, weather);
    let line = |at: u64| json!({"key": format!("p{at}"), "value": {"name": noise(at, 500)}}).to_string();
    let lines: Vec<_> = (0..RECORDS).map(line).collect();
    let headers = [("content-type", "application/x-ndjson")];
    let path = "/v1/collections/products/import";
    let (mut shop, session) = (far.shop(), far.session());
    let before = far.path.counts().bytes;
    let passed = |way: usize, bytes: u64| until("bytes pass", || (far.path.counts().bytes[way] >= before[way] + bytes).then_some(()));
    far.cloud().send("POST", path, &headers, Some(lines.join("\n").as_bytes())).unwrap().ok(200);
    for part in 1..=4 {
        passed(1, part * 100_000);
        moved(&far);
    }
    far.world.settle();
    let before = far.path.counts().bytes;
    let passed = |way: usize, bytes: u64| until("bytes pass", || (far.path.counts().bytes[way] >= before[way] + bytes).then_some(()));
    for part in 0..3 {
        (0..SALES / 3).for_each(|at| sell(&mut shop, &format!("s{part}-{at}"), &noise(at, 1_000)));
        passed(0, part * 40_000);
        moved(&far);
    }
    far.agrees(SALES as i64);
    assert_eq!(far.session(), session, "the session's number stayed");
}

/// Gives the node another address, which the cloud then sees.
fn moved(far: &Far) {
    let before = far.path.counts().connections;
    far.path.move_clients();
    until("another address is seen", || (far.path.counts().connections > before).then_some(()));
}
