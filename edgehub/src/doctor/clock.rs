//! The clocks: the system's against this program's own age, against what the database has seen, against the hub's.

use api::shapes::Time;

use super::{CLOCK_APART_MS, Check, span};

const NAME: &str = "clock";

/// So far ahead, certificates count as ended that have not.
const FAR_MS: u64 = 86_400_000;

/// Milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    /// The system's wall clock.
    pub(super) system_ms: u64,
    /// Before this, this program did not exist.
    pub(super) build_ms: u64,
    /// The database's stored clock, where there is a database.
    pub(super) stored_ms: Option<u64>,
    /// What the hub says, where it could be asked.
    pub(super) hub_ms: Option<u64>,
}

pub(super) fn judge(facts: &Facts) -> Check {
    let findings = [system(facts), stored(facts)].into_iter().flatten().collect::<Vec<_>>();
    if !findings.is_empty() {
        return Check::worst(NAME, findings);
    }
    let against = match facts.hub_ms {
        Some(hub) => format!("{} from the hub's", span(hub.abs_diff(facts.system_ms))),
        None => "the hub could not be asked".to_owned(),
    };
    Check::ok(NAME, format!("{}, {against}", Time(facts.system_ms)))
}

fn system(facts: &Facts) -> Option<Check> {
    let Facts { system_ms, build_ms, hub_ms, .. } = *facts;
    let shown = Time(system_ms);
    let set = "set the system's clock: switch NTP on (timedatectl set-ntp true) and let it reach a time server";
    if let Some(hub) = hub_ms {
        return match (system_ms > hub, hub.abs_diff(system_ms)) {
            (_, apart) if apart <= CLOCK_APART_MS => None,
            (true, apart) if apart > FAR_MS => Some(Check::failed(
                NAME,
                format!("the system clock says {shown}, {} ahead of the hub's: certificates count as ended before they are", span(apart)),
                set,
            )),
            (ahead, apart) => {
                let way = if ahead { "ahead of" } else { "behind" };
                Some(Check::warning(NAME, format!("the system clock says {shown}, {} {way} the hub's", span(apart)), set))
            }
        };
    }
    (system_ms < build_ms).then(|| {
        let found = format!("the system clock says {shown}, before this program was made ({})", Time(build_ms));
        Check::warning(NAME, found, set)
    })
}

/// The stored clock never goes back by itself; the link sets it back when it comes up.
fn stored(facts: &Facts) -> Option<Check> {
    let stored = facts.stored_ms?;
    let (now, whose) = match facts.hub_ms {
        Some(hub) => (hub, "the hub's"),
        None => (facts.system_ms.max(facts.build_ms), "the system's"),
    };
    let ahead = stored.saturating_sub(now);
    // A machine that booted in 1970, offline: the stored clock is the better one.
    if ahead <= CLOCK_APART_MS || (facts.hub_ms.is_none() && facts.system_ms < facts.build_ms) {
        return None;
    }
    let found = format!("the clock stored in the database says {}, {} ahead of {whose}", Time(stored), span(ahead));
    Some(Check::warning(NAME, found, "nothing: once the system clock was wrong by as much; the next session with the hub sets it back"))
}
