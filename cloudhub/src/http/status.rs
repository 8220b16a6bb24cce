//! What the hub is doing: the status and the metrics.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use api::metrics::{self as m, MetricsWriter};
use api::problem::Problem;
use api::shapes::{CloudStatus, DatabaseStatus, DiskStatus, HubCertificates, LinkBytes, NodeCounts, OpenConflicts, Time};
use proto::names::NodeName;
use proto::op::Verdict;
use proto::traffic::Traffic;
use transport::identity::CertificateFacts;

use super::CloudHub;
use super::fleet::Fleet;
use super::nodes::Seen;
use super::warnings::warnings;
use crate::clock::{millis, since_1970};
use crate::disk::Space;
use crate::limits::{CA_SHORT, CERTIFICATE_SHORT, METRICS_BEHIND, PAGE_ROWS};
use crate::peers::{Passed, Registry};
use crate::store::{Figures, StoreError, StoreRead};

impl CloudHub {
    pub(super) async fn present_status(&self) -> Result<CloudStatus, Problem> {
        let registry = Arc::clone(&self.registry);
        let (figures, records, nodes) = self
            .read(move |store| {
                let nodes = all_nodes(store, &registry)?;
                let records = store.collections()?.iter().map(|collection| collection.records).sum();
                Ok((store.figures()?, records, nodes))
            })
            .await?;
        let space = Space::of(&self.data);
        let certificates = self.certificates();
        let fleet = Fleet::of(nodes.iter().map(|(seen, _)| seen), self.clock.wall_ms());
        let day = self.registry.day(self.clock.wall_ms());
        let sum =
            |of: &dyn Fn(&Passed) -> Traffic| nodes.iter().fold(Traffic::default(), |sum, (seen, _)| sum.plus(&of(&seen.presence.passed)));
        let mut warnings = Vec::new();
        if space.is_some_and(Space::refuses_writes) {
            warnings.push(format!("the disk of {} is nearly full: writes are refused until there is room", self.data.display()));
        }
        warnings.extend(self.short_certificates(&certificates));
        warnings.extend(fleet.warnings);
        Ok(CloudStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            data: self.data.display().to_string(),
            epoch: figures.epoch.to_string(),
            head: figures.head.0,
            started_at: Time(self.started_ms),
            collections: figures.collections,
            records,
            nodes: self.counts(&figures),
            conflicts: OpenConflicts { open: figures.conflicts_open },
            bytes: LinkBytes::new(Time(self.started_ms), sum(&|passed| passed.traffic), Some(day), sum(&Passed::today), None),
            listen: self.listen.clone(),
            now: Time(self.clock.wall_ms()),
            disk: DiskStatus { free_bytes: space.map(|space| space.free) },
            database: DatabaseStatus { bytes: figures.database_bytes, log_bytes: log_bytes(&self.data) },
            certificates,
            fleet: fleet.status,
            warnings,
        })
    }

    fn certificates(&self) -> HubCertificates {
        let ends = |facts: CertificateFacts| Time(since_1970(facts.not_after));
        HubCertificates {
            ca_not_after: CertificateFacts::read(&self.pki.ca()).ok().map(ends),
            hub_not_after: self.pki.hub_facts().ok().map(ends),
        }
    }

    fn short_certificates(&self, certificates: &HubCertificates) -> Vec<String> {
        let now_ms = self.clock.wall_ms();
        let short = |ends: Option<Time>, bound| ends.filter(|ends| ends.0 < now_ms.saturating_add(millis(bound)));
        let ca = short(certificates.ca_not_after, CA_SHORT).map(|ends| format!("the authority's certificate ends {ends}: plan a new one"));
        let hub = short(certificates.hub_not_after, CERTIFICATE_SHORT)
            .map(|ends| format!("the hub's certificate ends {ends} and was not renewed: restart cloudhub, and look at its log"));
        ca.into_iter().chain(hub).collect()
    }

    fn counts(&self, figures: &Figures) -> NodeCounts {
        // A node that connects while this is put together must not make the sum wrong.
        let online = self.registry.online().min(figures.nodes);
        NodeCounts { total: figures.nodes + figures.revoked, online, offline: figures.nodes - online, revoked: figures.revoked }
    }

    pub(super) async fn figures(&self, out: &mut MetricsWriter) -> Result<(), Problem> {
        let registry = Arc::clone(&self.registry);
        let (figures, collections, nodes) = self
            .read(move |store| {
                let nodes = all_nodes(store, &registry)?;
                Ok((store.figures()?, store.collections()?, nodes))
            })
            .await?;
        #[allow(clippy::cast_precision_loss)] // figures for graphs
        let mut figure = |metric, labels: &[&str], value: u64| out.sample(metric, labels, value as f64);
        let tally = self.engine.tally();
        figure(&m::COMMITS, &[], tally.commits.load(Ordering::Relaxed));
        figure(&m::COMMIT_FAILURES, &[], tally.failures.load(Ordering::Relaxed));
        for (verdict, count) in Verdict::ALL.iter().zip(&tally.verdicts) {
            figure(&m::WRITES, &[verdict.as_str()], count.load(Ordering::Relaxed));
        }
        figure(&m::HEAD, &[], figures.head.0);
        figure(&m::CONFLICTS_OPEN, &[], figures.conflicts_open);
        figure(&m::DATABASE_BYTES, &[], figures.database_bytes + log_bytes(&self.data));
        if let Some(space) = Space::of(&self.data) {
            figure(&m::DISK_FREE, &[], space.free);
        }
        for collection in &collections {
            figure(&m::RECORDS, &[collection.name.as_str()], collection.records);
        }
        let counts = self.counts(&figures);
        for (state, count) in [("online", counts.online), ("offline", counts.offline), ("revoked", counts.revoked)] {
            figure(&m::NODES, &[state], count);
        }
        let now_ms = self.clock.wall_ms();
        let fleet = Fleet::of(nodes.iter().map(|(seen, _)| seen), now_ms).status;
        let by_sync = [
            ("in-sync", fleet.in_sync),
            ("behind", fleet.behind),
            ("paused", fleet.paused),
            ("refused", fleet.refused),
            ("away", fleet.away),
        ];
        for (state, count) in by_sync {
            figure(&m::NODES_SYNC, &[state], count);
        }
        figure(&m::NODES_UNSELECTED, &[], fleet.unselected.count);
        let certificates = self.certificates();
        for (name, ends) in [("ca", certificates.ca_not_after), ("hub", certificates.hub_not_after)] {
            if let Some(ends) = ends {
                figure(&m::CERTIFICATE_END, &[name], ends.0 / 1000);
            }
        }
        figure(&m::CERTIFICATES_ISSUED, &[], self.pki.issued());
        let checks = self.registry.checks();
        figure(&m::VERIFICATIONS, &["agreed"], checks.agreed);
        figure(&m::VERIFICATIONS, &["differed"], checks.differed);
        figure(&m::REPAIRED_RECORDS, &[], checks.records);
        let gate = self.gate.counts(self.clock.now().mono_ms);
        figure(&m::SESSIONS_WAITING, &[], gate.turns.waiting);
        figure(&m::SESSIONS_ADMITTED, &[], gate.turns.admitted);
        figure(&m::SESSIONS_DEFERRED, &["yes"], gate.turns.tickets);
        figure(&m::SESSIONS_DEFERRED, &["no"], gate.turns.sent_away);
        figure(&m::SNAPSHOTS, &["reading"], gate.filling);
        figure(&m::SNAPSHOTS, &["waiting"], gate.waiting_to_fill);
        for (seen, is_counted) in &nodes {
            let name = &[seen.row.name.as_str()];
            let last_seen_ms = seen.last_seen_ms(now_ms);
            if last_seen_ms > 0 {
                figure(&m::NODE_LAST_SEEN, name, last_seen_ms / 1000);
            }
            figure(&m::NODE_WARNINGS, name, warnings(seen, now_ms).len() as u64);
            figure(&m::NODE_ONLINE, name, seen.presence.is_online().into());
            if *is_counted {
                figure(&m::NODE_BEHIND, name, seen.behind);
            }
            figure(&m::NODE_OUTBOX, name, seen.report().outbox_writes);
            if let Some(said) = seen.said_of_devices() {
                figure(&m::NODE_MQTT_UP, name, said.broker.into());
                figure(&m::NODE_TWIN_VALUES, &[name[0], "kept"], said.kept);
                figure(&m::NODE_TWIN_VALUES, &[name[0], "coalesced"], said.coalesced);
                figure(&m::NODE_MQTT_REFUSED, name, said.refused);
                figure(&m::NODE_DEVICES_UNKNOWN, name, said.unknown);
            }
            figure(&m::NODE_CONFLICTS, name, seen.row.conflicts_open);
            figure(&m::NODE_SENT, name, seen.presence.passed.sent);
            figure(&m::NODE_RECEIVED, name, seen.presence.passed.received);
        }
        for (seen, _) in &nodes {
            out.traffic(&m::NODE_BYTES, &[seen.row.name.as_str()], &seen.presence.passed.traffic);
        }
        Ok(())
    }
}

/// The size of the database's log; 0 where there is none.
fn log_bytes(data: &Path) -> u64 {
    std::fs::metadata(data.join("cloudhub.db-wal")).map_or(0, |log| log.len())
}

/// Every node, and whether its distance to the head was counted: a scrape counts for [`METRICS_BEHIND`] nodes at most.
fn all_nodes(store: &mut dyn StoreRead, registry: &Registry) -> Result<Vec<(Seen, bool)>, StoreError> {
    let mut all = Vec::new();
    let mut left = METRICS_BEHIND;
    let mut after: Option<NodeName> = None;
    loop {
        let rows = store.nodes(after.as_ref(), PAGE_ROWS)?;
        let is_last = rows.len() < PAGE_ROWS;
        after = rows.last().map(|row| row.name.clone());
        for row in rows {
            let presence = registry.presence(&row.name);
            let in_sync = presence.live.as_ref().is_some_and(|(_, view)| view.open && view.in_sync);
            let is_counted = in_sync || left > 0;
            let seen = if is_counted { Seen::of(row, registry, store)? } else { Seen { row, presence, behind: 0, devices: None } };
            left -= usize::from(!in_sync && is_counted);
            all.push((seen, is_counted));
        }
        if is_last {
            return Ok(all);
        }
    }
}
