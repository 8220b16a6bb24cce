//! Far away, and not all of it arrives.

use std::time::Duration;

use serde_json::json;
use tests::cut::Weather;

use super::{Far, noise, over_each, sell};

/// 300 ms there and back, and every twentieth packet is lost: an import at the cloud and sales in the shop meet.
#[test]
fn three_hundred_milliseconds_and_five_percent_loss_converge() {
    over_each(|carrier| {
        let weather = Weather { loss: 50_000, ..Weather::far(Duration::from_millis(150)) };
        let far = Far::new(carrier, weather);
        let (mut shop, session) = (far.shop(), far.session());
        let line = |at: u64| json!({"key": format!("p{at}"), "value": {"name": noise(at, 100)}}).to_string();
        let lines: Vec<_> = (0..300).map(line).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let body = lines.join("\n");
                let headers = [("content-type", "application/x-ndjson")];
                let path = "/v1/collections/products/import";
                far.cloud().send("POST", path, &headers, Some(body.as_bytes())).unwrap().ok(200);
            });
            (0..100).for_each(|at| sell(&mut shop, &format!("s{at}"), ""));
        });
        far.agrees(100);
        let lost = far.path.counts();
        assert_eq!(far.session(), session, "a bad path is no reason for another session: {lost:?}");
    });
}
