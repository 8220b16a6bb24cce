//! `64kbit`, through real transports: what takes longer than any timer makes progress, and passes once.

use serde_json::json;
use tests::cut::Weather;

use super::{Far, incompressible, noise, over_each, sell};

/// At 64 kbit/s this takes 12.5 s each way: longer than the cloud waits for progress before it scans again. The whole megabyte,
/// which takes 131 s, goes through in virtual time: `schedules::large`.
const BYTES: usize = 100_000;

#[test]
fn sixty_four_kbit() {
    over_each(|carrier| {
        let far = Far::new(carrier, Weather::default());
        let mut narrow = Weather { buffer: 32 * 1024, ..Weather::default() };
        narrow.set("bandwidth", "64kbit").unwrap();
        tests::cut::Way::BOTH.into_iter().for_each(|way| far.path.set(way, narrow));
        let (before, session) = (far.path.counts(), far.session());
        let value = json!({"name": noise(1, BYTES)});
        far.cloud().json("PUT", "/v1/collections/products/records/large", &value).unwrap().ok(201);
        sell(&mut far.shop(), "large", &noise(2, BYTES));
        far.agrees(1);
        let after = far.path.counts();
        assert_eq!(far.session(), session, "nobody lost patience");
        for (way, (before, after)) in before.bytes.into_iter().zip(after.bytes).enumerate() {
            let (passed, needed) = (after - before, incompressible(BYTES));
            assert!(passed > needed, "way {way}: only {passed} bytes passed");
            // Frames, encryption, pings, the comparison of digests; over QUIC what was lost in front of the path. The sale goes
            // down again as a record. A second copy of it would be more.
            let most = BYTES as u64 * if way == 0 { 3 } else { 5 } / 2;
            assert!(passed < most, "{carrier:?}, way {way}: {passed} bytes passed, of a value of {BYTES}");
        }
    });
}
