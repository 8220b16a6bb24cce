//! All nodes at a glance.

use api::shapes::{FleetStatus, LastSeen, NamedNodes, NodeReason, NodeState, SyncState, Time};

use super::nodes::Seen;
use super::warnings::{behind_long_since, warnings};
use crate::limits::NODES_NAMED;

/// The figures, and what an operator should look at.
pub(super) struct Fleet {
    pub(super) status: FleetStatus,
    pub(super) warnings: Vec<String>,
}

impl Fleet {
    /// Of all nodes, in name order.
    pub(super) fn of<'a>(nodes: impl Iterator<Item = &'a Seen>, now_ms: u64) -> Self {
        let mut status = FleetStatus::default();
        let [mut refused, mut paused, mut limited] = [const { NamedNodes { count: 0, nodes: Vec::new() } }; 3];
        for seen in nodes.filter(|seen| !seen.row.revoked) {
            let (state, reason, sync) = seen.state();
            match (reason, sync) {
                (Some(NodeReason::RefusedCopiedDatabase | NodeReason::RefusedVersion), _) => name(&mut refused, seen),
                (_, SyncState::InSync) => status.in_sync += 1,
                (Some(NodeReason::PausedDailyLimit), _) => name(&mut limited, seen),
                (_, SyncState::Blocked) => name(&mut paused, seen),
                _ if state == NodeState::Online || seen.behind > 0 => status.behind += 1,
                _ if seen.presence.refused.is_some() => name(&mut refused, seen),
                _ => status.away += 1,
            }
            count(&mut status, seen, now_ms);
        }
        (status.refused, status.paused) = (refused.count, paused.count + limited.count);
        let mut warnings = Vec::new();
        let mut say = |nodes: &NamedNodes, text: &dyn Fn(String) -> String| {
            if nodes.count > 0 {
                warnings.push(text(listed(nodes)));
            }
        };
        say(&status.unselected, &|names| format!("no collection selects {names}: cloudhub node label, or the collection's nodes"));
        say(&refused, &|names| format!("refused when they came last: {names}; cloudhub node events NAME tells why"));
        say(&paused, &|names| format!("nothing more is taken by {names}: no room on the disk there"));
        say(&limited, &|names| format!("no more records are taken today by {names}: the daily limit there is reached"));
        say(&status.behind_long, &|names| format!("behind for long: {names}; cloudhub node show NAME says why"));
        say(&status.warned, &|names| format!("warnings about {names}: cloudhub node show NAME"));
        Self { status, warnings }
    }
}

fn count(status: &mut FleetStatus, seen: &Seen, now_ms: u64) {
    let report = seen.report();
    status.outbox.writes += report.outbox_writes;
    let oldest = Some(Time(report.outbox_oldest_ms)).filter(|at| at.0 > 0 && report.outbox_writes > 0);
    status.outbox.oldest_at = [status.outbox.oldest_at, oldest].into_iter().flatten().min();
    let at = Time(seen.last_seen_ms(now_ms));
    if at.0 > 0 && status.oldest_last_seen.as_ref().is_none_or(|oldest| at < oldest.at) {
        status.oldest_last_seen = Some(LastSeen { node: seen.row.name.to_string(), at });
    }
    if !seen.row.selected {
        name(&mut status.unselected, seen);
    }
    if behind_long_since(seen, now_ms).is_some() {
        name(&mut status.behind_long, seen);
    }
    if !warnings(seen, now_ms).is_empty() {
        name(&mut status.warned, seen);
    }
}

fn name(nodes: &mut NamedNodes, seen: &Seen) {
    nodes.count += 1;
    if nodes.nodes.len() < NODES_NAMED {
        nodes.nodes.push(seen.row.name.to_string());
    }
}

/// `lyon, oslo and 3 more`.
fn listed(nodes: &NamedNodes) -> String {
    let more = nodes.count - nodes.nodes.len() as u64;
    let names = nodes.nodes.join(", ");
    if more == 0 { names } else { format!("{names} and {more} more") }
}
