//! What the node is doing: the status and the metrics.

use std::sync::atomic::Ordering;

use api::metrics::{self as m, MetricsWriter};
use api::problem::Problem;
use api::shapes::{
    ClockSource, ClockStatus, CollectionStatus, DiskStatus, EdgeStatus, EdgeSync, InternalBroker, LinkBytes, LinkState, LinkStatus,
    MqttState, MqttStatus, OpenConflicts, OutboxStatus, SyncState, Time, unselected,
};
use metamanager::{Disk, Reader, Status, SystemDisk};
use proto::device::DEVICES;
use proto::op::Verdict;

use super::{LocalHub, shape};
use crate::config::MqttMode;
use crate::link::LinkView;

impl LocalHub {
    pub(super) fn present_status(&self) -> Result<EdgeStatus, Problem> {
        let status = self.store.read(Reader::status).map_err(shape::read_problem)?;
        let link = self.board.view();
        let passed = self.volume.passed(self.clock.now());
        let used_up = self.volume.used_up();
        let (state, reason) = sync_state(&status, &link, used_up.is_some());
        Ok(EdgeStatus {
            node: self.node.get().map(ToString::to_string),
            database_id: status.database.to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            labels: status.labels.clone().unwrap_or_default(),
            sync: EdgeSync {
                state,
                reason,
                epoch: status.cursor.as_ref().map(|cursor| cursor.epoch.to_string()),
                cursor: cursor(&status),
                head: link.head.max(cursor(&status)),
                lag_records: (state == SyncState::InSync).then_some(0),
                verified_at: status.verified_ms.map(Time),
                collections: status.collections.iter().filter(|held| !held.name.is_system()).map(collection).collect(),
            },
            outbox: OutboxStatus { writes: status.outbox_writes, bytes: status.outbox_bytes, oldest_at: status.outbox_oldest_ms.map(Time) },
            conflicts: OpenConflicts { open: status.conflicts_open },
            clock: self.clock_status(&link),
            disk: DiskStatus { free_bytes: SystemDisk.space(&self.data).map(|space| space.free) },
            mqtt: self.mqtt(status.collections.iter().find(|held| held.name.as_str() == DEVICES).map_or(0, |held| held.view)),
            warnings: self.warnings(&status, used_up),
            link: LinkStatus {
                state: link.state,
                transport: link.transport.map(|kind| kind.to_string()),
                since: Some(Time(link.since_ms)),
                rtt_ms: link.rtt_ms,
                last_error: link.last_error,
                bytes: LinkBytes::new(Time(passed.since_ms), passed.all, passed.day, passed.today, passed.limit),
            },
        })
    }

    /// Whether every broker is there that shall be.
    fn brokers(&self) -> MqttState {
        let (view, mode) = (self.bus.0.view(), self.bus.1.mode);
        let all = (!mode.is_external() || view.external.up) && (!mode.is_internal() || view.internal.broker.up);
        match mode {
            MqttMode::Off => MqttState::Off,
            _ if all => MqttState::Online,
            _ => MqttState::Connecting,
        }
    }

    fn mqtt(&self, devices: u64) -> MqttStatus {
        let (board, config) = &self.bus;
        let view = board.view();
        let waiting = self.store.read(|reader| reader.reported_waiting()).unwrap_or(0);
        let figures = board.meter.figures(waiting, self.clock.now().wall_ms);
        let of = |up| if up { MqttState::Online } else { MqttState::Connecting };
        let (external, internal) = (&view.external, &view.internal.broker);
        let (mode, wanted) = (config.mode, [config.mode.is_external(), config.mode.is_internal()]);
        // Of two, the one that something can be said about.
        let shown = if wanted[0] && (!external.up || !wanted[1] || internal.up) { external } else { internal };
        let time = |ms: u64| (ms > 0).then_some(Time(ms));
        MqttStatus {
            mode: mode.as_str().to_owned(),
            state: self.brokers(),
            broker: if wanted[0] || !wanted[1] { config.broker.clone() } else { config.internal_url() },
            since: time(shown.since_ms),
            last_error: shown.last_error.clone(),
            session_kept: external.session_kept,
            connections: external.connections,
            internal: wanted[1].then(|| InternalBroker {
                state: of(internal.up),
                address: config.internal_url(),
                since: time(internal.since_ms),
                last_error: internal.last_error.clone(),
                on_disk: "nothing: sessions, retained messages and messages for devices that are away end with edgehub".to_owned(),
                clients: view.internal.clients,
                sessions: view.internal.sessions,
                dropped: view.internal.dropped,
                turned_away: view.internal.turned_away,
                failed: view.internal.failed,
            }),
            folded: view.folded,
            received: view.received,
            refused: view.refused,
            published: view.published,
            dropped: view.dropped,
            reported: figures.kept,
            sent: figures.sent,
            coalesced: figures.coalesced,
            waiting,
            updates_per_minute: figures.last_minute,
            devices,
            unknown_devices: board.strangers().len() as u64,
        }
    }

    fn clock_status(&self, link: &LinkView) -> ClockStatus {
        let now = self.clock.now();
        let stored = self.store.run(|store, now| store.time_ms(now)).unwrap_or(now.wall_ms);
        let source = match link.offset_ms {
            Some(_) => ClockSource::Cloud,
            None if stored > now.wall_ms => ClockSource::Stored,
            None => ClockSource::System,
        };
        ClockStatus { now: Time(stored.max(now.wall_ms)), offset_ms: link.offset_ms, source }
    }

    fn warnings(&self, status: &Status, used_up: Option<String>) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.node.get().is_none() {
            warnings.push("this node has not joined a cloud".to_owned());
        }
        if status.cursor.is_some() && !status.is_selected() {
            warnings.push(unselected(&status.labels.clone().unwrap_or_default()));
        }
        warnings.extend(used_up.map(|text| {
            format!("the daily limit of the link is reached: {text}, writes and their outcomes go on; see [link] daily_limit")
        }));
        if let Some(first) = status.blocked.first() {
            let metamanager::Blocked { collection, key, revision, why, .. } = first;
            let count = status.blocked_count;
            warnings.push(format!(
                "records that cannot be stored by this version: {count}, the first is {collection}/{key} at revision {revision} ({why}); \
                 it is stored when a newer version of it comes"
            ));
        }
        for (name, why) in self.store.run(|store, _| store.unreadable()).unwrap_or_default().into_iter().take(10) {
            warnings
                .push(format!("the definition of {name} is not of this version ({why}): local writes to it are refused; upgrade edgehub"));
        }
        if status.rejected > 0 {
            warnings.push(format!("{} writes were rejected; see `edgehub write list --state rejected`", status.rejected));
        }
        warnings
    }

    pub(super) fn figures(&self, out: &mut MetricsWriter) -> Result<(), Problem> {
        let status = self.store.read(Reader::status).map_err(shape::read_problem)?;
        let link = self.board.view();
        let up = link.state == LinkState::Online;
        #[allow(clippy::cast_precision_loss)] // figures for graphs
        let mut gauge = |metric, labels: &[&str], value: u64| out.sample(metric, labels, value as f64);
        gauge(&m::LINK_UP, &[], up.into());
        let bus = self.bus.0.view();
        gauge(&m::MQTT_UP, &[], (self.brokers() == MqttState::Online).into());
        gauge(&m::MQTT_CONNECTIONS, &[], bus.external.connections);
        if self.bus.1.mode.is_internal() {
            gauge(&m::MQTT_INTERNAL_CLIENTS, &[], bus.internal.clients);
            gauge(&m::MQTT_INTERNAL_DROPPED, &[], bus.internal.dropped);
        }
        let messages = [
            ("received", bus.received),
            ("refused", bus.refused),
            ("folded", bus.folded),
            ("published", bus.published),
            ("dropped", bus.dropped),
        ];
        for (kind, count) in messages {
            gauge(&m::MQTT_MESSAGES, &[kind], count);
        }
        let waiting = self.store.read(|reader| reader.reported_waiting()).unwrap_or(0);
        let figures = self.bus.0.meter.figures(waiting, self.clock.now().wall_ms);
        for (kind, count) in [("kept", figures.kept), ("sent", figures.sent), ("coalesced", figures.coalesced)] {
            gauge(&m::TWIN_VALUES, &[kind], count);
        }
        gauge(&m::TWIN_WAITING, &[], waiting);
        gauge(&m::DEVICES_UNKNOWN, &[], self.bus.0.strangers().len() as u64);
        gauge(&m::OUTBOX_WRITES, &[], status.outbox_writes);
        gauge(&m::OUTBOX_BYTES, &[], status.outbox_bytes);
        gauge(&m::CONFLICTS_OPEN, &[], status.conflicts_open);
        gauge(&m::CURSOR, &[], cursor(&status).unwrap_or(0));
        if sync_state(&status, &link, self.volume.used_up().is_some()).0 == SyncState::InSync {
            gauge(&m::LAG, &[], 0);
        }
        for collection in &status.collections {
            gauge(&m::RECORDS, &[collection.name.as_str()], collection.view);
        }
        gauge(&m::WRITES, &["pending"], self.tally.committed.load(Ordering::Relaxed));
        for (verdict, count) in Verdict::ALL.iter().zip(&self.tally.verdicts) {
            gauge(&m::WRITES, &[verdict.as_str()], count.load(Ordering::Relaxed));
        }
        if let Some(space) = SystemDisk.space(&self.data) {
            gauge(&m::DISK_FREE, &[], space.free);
        }
        let passed = self.volume.passed(self.clock.now());
        gauge(&m::LINK_SENT, &[], passed.all.sent.total());
        gauge(&m::LINK_RECEIVED, &[], passed.all.received.total());
        gauge(&m::LINK_DAY_BYTES, &[], passed.today.total());
        if let Some(limit) = passed.limit {
            gauge(&m::LINK_DAY_LIMIT, &[], limit);
        }
        out.traffic(&m::LINK_BYTES, &[], &passed.all);
        #[allow(clippy::cast_precision_loss)]
        if let Some(rtt) = link.rtt_ms {
            out.sample(&m::LINK_RTT, &[], rtt as f64 / 1000.0);
        }
        #[allow(clippy::cast_precision_loss)]
        if let Some(offset) = link.offset_ms {
            out.sample(&m::CLOCK_OFFSET, &[], offset as f64 / 1000.0);
        }
        Ok(())
    }
}

fn cursor(status: &Status) -> Option<u64> {
    status.cursor.as_ref().map(|cursor| cursor.position.revision.0)
}

fn collection(row: &metamanager::CollectionStatus) -> CollectionStatus {
    let digest = row.digest.map(|digest| format!("{:032x}", digest.sum));
    CollectionStatus { name: row.name.to_string(), records: row.view, digest }
}

/// The words that the cloud uses of a node, where it has one.
fn refused(code: Option<&str>) -> String {
    match code {
        None => "link-down".into(),
        Some("copied_database") => "refused-copied-database".into(),
        Some("version") => "refused-version".into(),
        Some("revoked") => "revoked".into(),
        Some(crate::link::BUSY) => "waiting for its turn".into(),
        Some(other) => format!("refused: {other}"),
    }
}

fn sync_state(status: &Status, link: &LinkView, used_up: bool) -> (SyncState, Option<String>) {
    if link.state != LinkState::Online {
        return (SyncState::Offline, Some(refused(link.refused.as_deref())));
    }
    if link.paused {
        return (SyncState::Blocked, Some("paused-disk-full".into()));
    }
    if used_up {
        return (SyncState::Blocked, Some("paused-daily-limit".into()));
    }
    if status.blocked_count > 0 {
        return (SyncState::Blocked, Some(format!("{} records cannot be stored", status.blocked_count)));
    }
    if status.grants.iter().any(|grant| !grant.done) {
        return (SyncState::Syncing, Some("snapshot".into()));
    }
    if link.at_head { (SyncState::InSync, None) } else { (SyncState::Syncing, Some("catching-up".into())) }
}
