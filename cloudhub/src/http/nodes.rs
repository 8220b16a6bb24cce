//! Nodes as operators see them: what is saved of each, and what its session shows now.

use std::sync::Arc;

use api::hub::{Origin, PageToken};
use api::problem::Problem;
use api::shapes::{
    BrokerState, Certificate, LinkBytes, Node, NodeDevices, NodeEvent, NodeOutbox, NodeReason, NodeState, NodeSync, OpenConflicts,
    SyncState, Time,
};
use proto::frame::{Devices, Report};
use proto::ids::{DatabaseId, Position, Revision};
use proto::names::NodeName;
use proto::session::Mode;
use proto::session::handshake::DAILY_LIMIT;
use transport::identity::Serial;

use super::warnings::warnings;
use super::{CloudHub, by};
use crate::clock::millis;
use crate::peers::{Live, Presence, Registry, View};
use crate::store::{DeviceCounts, Job, NodeRow, StoreError, StoreRead};

/// A node's row with its session, as far as it has one, and what it has yet to get.
pub(super) struct Seen {
    pub(super) row: NodeRow,
    pub(super) presence: Presence,
    pub(super) behind: u64,
    /// Its devices, where they were counted.
    pub(super) devices: Option<DeviceCounts>,
}

impl Seen {
    /// Looks a row's session up, and counts what lies between where the node stands and the head.
    pub(super) fn of(row: NodeRow, registry: &Registry, store: &mut dyn StoreRead) -> Result<Self, StoreError> {
        let presence = registry.presence(&row.name);
        let behind = match open(&presence) {
            Some((_, view)) if view.in_sync => 0,
            Some((_, view)) => store.behind(&row.name, &view.acked, &view.fills)?,
            None if row.revoked => 0,
            None => store.behind(&row.name, &row.position(), &[])?,
        };
        Ok(Self { row, presence, behind, devices: None })
    }

    /// What it says of its outbox.
    pub(super) fn report(&self) -> &Report {
        let live = self.presence.live.as_ref().and_then(|(_, view)| view.report.as_deref());
        live.unwrap_or(&self.row.report)
    }

    /// What it says of its devices, while it is online.
    pub(super) fn said_of_devices(&self) -> Option<&Devices> {
        open(&self.presence)?.1.report.as_deref()?.devices.as_ref()
    }

    fn devices(&self) -> Option<NodeDevices> {
        let counted = self.devices.filter(|counts| counts.declared > 0);
        let said = self.said_of_devices();
        if counted.is_none() && said.is_none() {
            return None;
        }
        let broker = |up| if up { BrokerState::Online } else { BrokerState::Connecting };
        Some(NodeDevices {
            declared: self.devices.map(|counts| counts.declared),
            online: self.devices.map(|counts| counts.online),
            unknown: said.map(|said| said.unknown),
            broker: said.map(|said| broker(said.broker)),
            broker_since: said.map(|said| Time(said.broker_since_ms)),
            updates_per_minute: said.map(|said| said.updates),
            kept: said.map(|said| said.kept),
            coalesced: said.map(|said| said.coalesced),
            waiting: said.map(|said| said.waiting),
            refused: said.map(|said| said.refused),
        })
    }

    pub(super) fn state(&self) -> (NodeState, Option<NodeReason>, SyncState) {
        if self.row.revoked {
            return (NodeState::Revoked, Some(NodeReason::Revoked), SyncState::Offline);
        }
        let Some((_, view)) = open(&self.presence) else {
            let reason = match self.presence.refused.as_deref() {
                Some("copied_database") => NodeReason::RefusedCopiedDatabase,
                Some("version") => NodeReason::RefusedVersion,
                _ => NodeReason::LinkDown,
            };
            return (NodeState::Offline, Some(reason), SyncState::Offline);
        };
        let (reason, sync) = match view {
            View { paused: Some(code), .. } if code == DAILY_LIMIT => (Some(NodeReason::PausedDailyLimit), SyncState::Blocked),
            View { mode: Mode::Paused, .. } | View { paused: Some(_), .. } => (Some(NodeReason::PausedDiskFull), SyncState::Blocked),
            View { in_sync: true, .. } => (None, SyncState::InSync),
            View { fills, .. } if !fills.is_empty() => (Some(NodeReason::Snapshot), SyncState::Syncing),
            _ => (Some(NodeReason::CatchingUp), SyncState::Syncing),
        };
        (NodeState::Online, reason, sync)
    }

    /// When it was last heard of, milliseconds since 1970; 0: never.
    pub(super) fn last_seen_ms(&self, now_ms: u64) -> u64 {
        let heard = |live: &Live| now_ms.saturating_sub(millis(live.counters.last_received().elapsed()));
        self.live().map_or(self.row.last_seen_ms, |(live, _)| heard(live))
    }

    /// Its session, once it is online.
    pub(super) fn live(&self) -> Option<(&Live, &View)> {
        open(&self.presence)
    }

    fn shape(self, head: Revision, now_ms: u64, since_ms: u64, day: u64) -> Node {
        let (state, reason, sync) = self.state();
        let warnings = warnings(&self, now_ms);
        let report = self.report().clone();
        let passed = self.presence.passed;
        let live = open(&self.presence);
        let verified_ms = live.and_then(|(_, view)| view.verified_ms).or(self.row.verified_ms);
        let cursor = live.map_or(self.row.cursor, |(_, view)| acked(view, self.row.cursor));
        let last_seen = self.last_seen_ms(now_ms);
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Node {
            name: self.row.name.to_string(),
            state,
            reason,
            last_seen: Some(Time(last_seen)).filter(|time| time.0 > 0),
            address: live.map(|(live, _)| live.address.clone()).or_else(|| some(&self.row.address)),
            transport: live.map(|(live, _)| live.transport.to_string()).or_else(|| some(&self.row.transport)),
            version: some(&self.row.version),
            database: self.row.database.map(|database| database.to_string()),
            certificate: Certificate { not_after: Some(Time(self.row.not_after_ms)).filter(|time| time.0 > 0) },
            sync: NodeSync {
                state: sync,
                cursor: Some(cursor.0),
                head: head.0,
                lag_records: self.behind,
                verified_at: verified_ms.map(Time),
            },
            outbox: NodeOutbox { writes: report.outbox_writes, oldest_at: Some(Time(report.outbox_oldest_ms)).filter(|time| time.0 > 0) },
            conflicts: OpenConflicts { open: self.row.conflicts_open },
            devices: self.devices(),
            bytes: LinkBytes::new(Time(since_ms), passed.traffic, Some(day), passed.today(), None),
            warnings,
            labels: self.row.labels,
        }
    }
}

/// The session, once its node is online.
fn open(presence: &Presence) -> Option<(&Live, &View)> {
    presence.live.as_ref().filter(|(_, view)| view.open).map(|(live, view)| (&**live, view))
}

/// What the session has acknowledged; before its first ACK, what was saved.
fn acked(view: &View, saved: Revision) -> Revision {
    if view.acked == Position::default() { saved } else { view.acked.revision }
}

impl CloudHub {
    pub(super) async fn list_nodes(&self, after: Option<PageToken>, limit: usize) -> Result<(Vec<Node>, Option<PageToken>), Problem> {
        let after = after.map(|token| token.to_text()).transpose()?;
        let after = after.map(|name| NodeName::parse(&name)).transpose();
        let after =
            after.map_err(|_| Problem::bad_request("after takes the next of the page before, from this same list").field("after"))?;
        let registry = Arc::clone(&self.registry);
        let read = move |store: &mut dyn StoreRead| {
            let mut rows = store.nodes(after.as_ref(), limit + 1)?;
            let more = rows.len() > limit;
            rows.truncate(limit);
            let seen = rows.into_iter().map(|row| Seen::of(row, &registry, store)).collect::<Result<Vec<_>, _>>()?;
            Ok((seen, more, store.head()?))
        };
        let (seen, more, head) = self.read(read).await?;
        let now_ms = self.clock.wall_ms();
        let day = self.registry.day(now_ms);
        let nodes: Vec<_> = seen.into_iter().map(|seen| seen.shape(head, now_ms, self.started_ms, day)).collect();
        let next = nodes.last().filter(|_| more).map(|node| PageToken::of_text(&node.name));
        Ok((nodes, next))
    }

    pub(super) async fn one_node(&self, name: &NodeName) -> Result<Node, Problem> {
        let (registry, asked) = (Arc::clone(&self.registry), name.clone());
        let read = move |store: &mut dyn StoreRead| {
            let Some(row) = store.node(&asked)? else { return Ok(None) };
            let mut seen = Seen::of(row, &registry, store)?;
            seen.devices = Some(store.devices(&asked)?);
            Ok(Some((seen, store.head()?)))
        };
        let (seen, head) = self.read(read).await?.ok_or_else(|| no_node(name))?;
        let now_ms = self.clock.wall_ms();
        Ok(seen.shape(head, now_ms, self.started_ms, self.registry.day(now_ms)))
    }

    pub(super) async fn events(&self, name: &NodeName) -> Result<Vec<NodeEvent>, Problem> {
        let asked = name.clone();
        let events = self.read(move |store| store.events(&asked)).await?.ok_or_else(|| no_node(name))?;
        Ok(events.into_iter().map(|event| NodeEvent { at: Time(event.at_ms), kind: event.kind, detail: event.detail }).collect())
    }

    /// The certificates of a node that have not been revoked, as far as they are known; none where there is no such node.
    pub(super) async fn serials(&self, name: &NodeName) -> Result<Vec<Serial>, Problem> {
        let asked = name.clone();
        let row = self.read(move |store| store.node(&asked)).await?;
        Ok(row
            .iter()
            .flat_map(|row| std::iter::once(&row.serial).chain(&row.old_serial))
            .filter_map(|serial| serial.parse().ok())
            .collect())
    }

    /// Writes serials down in the file that a restore keeps.
    pub(super) async fn revoke_serials(&self, name: &NodeName, serials: Vec<Serial>) -> Result<(), Problem> {
        let (pki, node) = (Arc::clone(&self.pki), name.clone());
        let written = tokio::task::spawn_blocking(move || pki.revoke(&node, &serials)).await;
        written.map_err(Problem::internal)?.map_err(Problem::internal)
    }

    pub(super) async fn revoke(&self, name: &NodeName, origin: &Origin) -> Result<Node, Problem> {
        let serials = self.serials(name).await?;
        self.job(Job::Revoke { node: name.clone() }).await?;
        self.registry.end(name, "revoked", "the node was revoked; it must join again with a new token");
        self.revoke_serials(name, serials).await?;
        tracing::info!(node = %name, by = by(origin), "node revoked");
        self.one_node(name).await
    }

    pub(super) async fn accept(&self, name: &NodeName, database: DatabaseId, origin: &Origin) -> Result<Node, Problem> {
        self.job(Job::Accept { node: name.clone(), database }).await?;
        tracing::info!(node = %name, %database, by = by(origin), "database accepted");
        self.one_node(name).await
    }

    pub(super) async fn delete(&self, name: &NodeName, origin: &Origin) -> Result<(), Problem> {
        let serials = self.serials(name).await?;
        self.job(Job::DeleteNode { node: name.clone() }).await?;
        self.registry.end(name, "unknown_node", "the node was deleted; it must join again with a new token");
        self.registry.forget(name);
        // Another machine may get the name, and this one must not renew its certificate then.
        self.revoke_serials(name, serials).await?;
        tracing::info!(node = %name, by = by(origin), "node deleted");
        Ok(())
    }
}

pub(super) fn no_node(name: &NodeName) -> Problem {
    Problem::not_found(format!("there is no node {name}; cloudhub node list shows them"))
}
