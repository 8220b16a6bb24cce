//! What an operator should know of one node.

use api::shapes::{NodeReason, NodeState, Time, unselected};
use proto::limits::CLOCK_AHEAD_MS;

use super::nodes::Seen;
use crate::clock::millis;
use crate::limits::{AWAY_BEHIND, CERTIFICATE_SHORT, ONLINE_BEHIND};

/// The hub's own, then what the node said of itself.
pub(super) fn warnings(seen: &Seen, now_ms: u64) -> Vec<String> {
    let (state, reason, _) = seen.state();
    if state == NodeState::Revoked {
        return Vec::new();
    }
    let mut all = Vec::new();
    if !seen.row.selected {
        all.push(unselected(&seen.row.labels));
    }
    all.extend(refused(seen, reason));
    all.extend(behind(seen, now_ms));
    all.extend(skew(seen));
    all.extend(certificate(seen, now_ms));
    let told: Vec<_> = seen.report().warnings.iter().filter(|warning| !all.contains(warning)).cloned().collect();
    all.extend(told);
    all
}

/// A refusal that `reason` does not show: the node itself is online, or the code has no reason of its own.
fn refused(seen: &Seen, reason: Option<NodeReason>) -> Option<String> {
    let code = seen.presence.refused.as_deref()?;
    let events = format!("cloudhub node events {} tells more", seen.row.name);
    if seen.presence.is_online() {
        return Some(format!("another machine that says it is this node was refused ({code}); {events}"));
    }
    (reason == Some(NodeReason::LinkDown)).then(|| format!("it was refused when it came last ({code}); {events}"))
}

/// Since when it has been behind, milliseconds since 1970, if that is for long.
pub(super) fn behind_long_since(seen: &Seen, now_ms: u64) -> Option<u64> {
    let (since, bound) = match seen.live() {
        Some((_, view)) => (view.behind_since_ms?, ONLINE_BEHIND),
        None if seen.behind > 0 && seen.row.last_seen_ms > 0 => (seen.row.last_seen_ms, AWAY_BEHIND),
        None => return None,
    };
    (now_ms.saturating_sub(since) > millis(bound)).then_some(since)
}

fn behind(seen: &Seen, now_ms: u64) -> Option<String> {
    let since = Time(behind_long_since(seen, now_ms)?);
    Some(match seen.live() {
        Some(_) => format!("it is online and has been behind since {since}"),
        None => format!("it was last heard of {since} and is behind by {} records", seen.behind),
    })
}

fn skew(seen: &Seen) -> Option<String> {
    let skew = seen.live()?.1.skew_ms;
    let way = if skew > 0 { "ahead of" } else { "behind" };
    let seconds = skew.unsigned_abs() / 1000;
    (skew.unsigned_abs() > CLOCK_AHEAD_MS).then(|| format!("its system clock was {seconds} s {way} the hub's when it connected"))
}

fn certificate(seen: &Seen, now_ms: u64) -> Option<String> {
    let ends = Some(seen.row.not_after_ms).filter(|ends| *ends > 0)?;
    if ends <= now_ms {
        return Some(format!("its certificate ended {}; it renews it when it comes back", Time(ends)));
    }
    let short = ends - now_ms < millis(CERTIFICATE_SHORT) && seen.presence.is_online();
    short.then(|| format!("its certificate ends {} and was not renewed; can it reach the API port (10002)?", Time(ends)))
}

#[cfg(test)]
#[path = "warnings_tests.rs"]
mod tests;
