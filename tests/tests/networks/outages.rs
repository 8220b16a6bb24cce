//! An outage of any length with one change inside: it is delivered, and nothing else has to happen for that. Longer ones, up to
//! beyond what is remembered of deletions, are in virtual time: `schedules::outages`.

use std::time::Duration;

use serde_json::{Value, json};
use tests::cut::{Outage, Weather};
use tests::until::until_shown;

use super::{Carrier, Far, beside, merge};

const LENGTHS_MS: [u64; 6] = [10, 30, 100, 300, 1_000, 3_000];

/// Where the change is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Cloud,
    Shop,
    /// The cloud sets what a device is to do, and the shop what it does, in one record.
    Both,
}

/// When it is made, as seen from the outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Cutting,
    Inside,
    Mending,
}

/// What happens to the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Connections are reset and refused.
    Reset,
    /// Nothing arrives.
    Hole,
    /// Nothing arrives, and then the node has another address.
    Moved,
}

#[test]
fn an_outage_of_any_length_delivers_what_changed() {
    let cases =
        [(Carrier::WebSocket, Kind::Reset), (Carrier::WebSocket, Kind::Hole), (Carrier::Quic, Kind::Hole), (Carrier::Quic, Kind::Moved)];
    beside(&cases, |(carrier, kind)| {
        let far = Far::new(*carrier, Weather::default());
        for (place, lasts_ms) in LENGTHS_MS.into_iter().enumerate() {
            let all = [By::Cloud, By::Shop, By::Both];
            for (turn, by) in all.into_iter().enumerate().skip(if lasts_ms < 3_000 { 0 } else { 2 }) {
                // In all, each place of the change meets each moment.
                let at = [At::Cutting, At::Inside, At::Mending][(place + turn) % 3];
                step(&far, *kind, Duration::from_millis(lasts_ms), by, at);
            }
        }
        far.agrees(0);
    });
}

/// One outage, and one change around it.
fn step(far: &Far, kind: Kind, lasts: Duration, by: By, at: At) {
    let value = json!(format!("{by:?} {at:?} {lasts:?}"));
    let change = || {
        if by != By::Shop {
            merge(&mut far.cloud(), "devices", "pump", "desired.speed", &value);
        }
        if by != By::Cloud {
            merge(&mut far.shop(), "devices", "pump", "reported.speed", &value);
        }
    };
    if at == At::Cutting {
        change();
    }
    let outage = if kind == Kind::Reset { Outage::Cut } else { Outage::Hole };
    far.path.outage(outage, lasts, || {
        if at == At::Inside {
            change();
        }
        if kind == Kind::Moved {
            far.path.move_clients();
        }
    });
    if at == At::Mending {
        change();
    }
    until_shown(&format!("{kind:?} of {lasts:?}, changed by {by:?} at {at:?}: delivered"), || {
        let (there, here) = (far.world.cloud.record("devices", "pump"), far.world.edges[0].record("devices", "pump"));
        let has = |record: &Option<Value>, field: &str| record.as_ref().is_some_and(|record| record[field] == value);
        let desired = by == By::Shop || (has(&there, "desired.speed") && has(&here, "desired.speed"));
        let reported = by == By::Cloud || (has(&there, "reported.speed") && has(&here, "reported.speed"));
        (desired && reported).then_some(()).ok_or_else(|| format!("cloud {there:?}\nshop {here:?}"))
    });
}
