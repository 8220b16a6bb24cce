//! Connections that end in the middle of a frame, at every size of what came before.

use serde_json::json;
use tests::cut::{Way, Weather};
use tests::until::until;

use super::{Carrier, Far, beside, noise, sell};

/// The largest offset is 2 to the power of this.
const POWERS: u32 = 20;

/// After 2, 3, 5, 9, … bytes, up to a megabyte and one: a connection is reset just there. Over QUIC, which no path can reset, the
/// datagram is lost there and the node's address changes.
#[test]
fn a_reset_at_any_byte_loses_nothing_and_doubles_nothing() {
    let cases: Vec<_> = Carrier::EACH.into_iter().flat_map(|carrier| Way::BOTH.map(|way| (carrier, way))).collect();
    beside(&cases, |(carrier, way)| {
        let far = Far::new(*carrier, Weather::default());
        let (mut cloud, mut shop) = (far.cloud(), far.shop());
        let before = far.session();
        for power in 0..=POWERS {
            let bytes = 2_u64.pow(power) + 1;
            far.path.reset_after(*way, bytes);
            // Enough to reach that byte, in writes that are each within the bounds.
            let parts = 1 + bytes / 500_000;
            for part in 0..parts {
                let note = noise(bytes + part, (bytes / parts) as usize * 5 / 4 + 100);
                sell(&mut shop, &format!("{power}-{part}"), &note);
                let value = json!({"name": note});
                cloud.json("PUT", &format!("/v1/collections/products/records/{power}-{part}"), &value).unwrap().ok(201);
            }
            until(&format!("{carrier:?} {way:?}: a reset at byte {bytes}"), || (far.path.counts().resets > u64::from(power)).then_some(()));
            far.world.settle();
        }
        far.agrees((0..=POWERS).map(|power| 1 + (2_i64.pow(power) + 1) / 500_000).sum());
        let sessions = far.session() - before;
        match carrier {
            Carrier::WebSocket => assert!(sessions > i64::from(POWERS), "each reset ends a session: {sessions}"),
            Carrier::Quic => assert_eq!(sessions, 0, "the session lives on under another address"),
        }
    });
}
