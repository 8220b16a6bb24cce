//! Devices: what they report at a node, kept and sent as edgehub does it, and what must never be lost of it.

use std::collections::BTreeMap;

use devicetwin::pace::Pace;
use metamanager::{DeviceReport, Refusal, Reported};
use proto::device::{DEVICES, Half, TWINS, Twin, TwinField};
use proto::json::{Raw, Value};
use proto::names::Key;
use proto::session::edge::EdgeSession;

use super::Lab;
use super::guarantees::{self, Found};
use super::words::{key, merge, put};

/// At most one value of a field goes up in so long.
pub const INTERVAL_MS: u64 = 1_000;
/// How often a node looks where nothing else says when.
const LOOK_MS: u64 = 1_000;
/// A node looks again no sooner.
const SOON_MS: u64 = 5;

/// What the devices of one node report.
pub(super) struct Reports {
    pace: Pace,
    /// The device that the last write ended at.
    round: Option<Key>,
    waiting: bool,
    look_ms: u64,
    /// A piece of work of the store is under way.
    pub(super) asked: bool,
    /// The newest value of each field that was answered with `Ok`. It outlives the process.
    pub(super) kept: BTreeMap<(Key, String), TwinField>,
}

impl Default for Reports {
    fn default() -> Self {
        Self { pace: Pace::new(INTERVAL_MS), round: None, waiting: true, look_ms: 0, asked: false, kept: BTreeMap::new() }
    }
}

impl Reports {
    /// A process knows nothing of what the one before it sent.
    pub(super) fn restart(&mut self, now_ms: u64) {
        *self = Self { look_ms: now_ms, kept: std::mem::take(&mut self.kept), ..Self::default() };
    }

    /// Which is the first write that waits for its outcome.
    pub(super) fn answered(&mut self, first: Option<u64>) {
        self.pace.answered(first);
    }
}

impl Lab {
    /// What every hub does at its start: from now on devices can be declared.
    pub fn define_devices(&mut self) {
        let touched = self.cloud.define_devices(self.now_ms);
        self.wake(&touched);
    }

    /// A device is declared in the cloud, or moved to another node with its twin.
    pub fn declare(&mut self, device: &str, node: &str) {
        let known = self.cloud.record(TWINS, device).is_some();
        let twin = format!(r#"{{"node":"{node}"}}"#);
        let declared = put(DEVICES, device, &format!(r#"{{"model":"thermostat","node":"{node}"}}"#));
        self.in_cloud(vec![declared, if known { merge(TWINS, device, &twin) } else { put(TWINS, device, &twin) }]);
    }

    /// A device says something at a node; what is answered with `Ok` may not be lost any more.
    pub fn try_report(&mut self, node: usize, device: &str, values: &[(&str, &str)]) -> Result<Reported, Refusal> {
        let values = values.iter().map(|(field, json)| ((*field).to_owned(), Raw::parse(json).unwrap(), None)).collect();
        let report = DeviceReport { device: key(device), values };
        let fields: Vec<String> = report.values.iter().map(|(field, ..)| field.clone()).collect();
        let now_ms = self.now_ms;
        let edge = &mut self.edges[node];
        let now = edge.now(now_ms);
        let kept = edge.store().keep_reported(now, vec![report]).pop().unwrap();
        if let Ok(reported) = &kept {
            for field in fields {
                let value = reported.after.field(&field).unwrap().clone();
                edge.reports.kept.insert((key(device), field), value);
            }
            (edge.reports.waiting, edge.reports.look_ms) = (true, now_ms);
        }
        self.note(&format!("edge {node} hears {device}: {}", kept.as_ref().map_or_else(ToString::to_string, |_| "kept".to_owned())));
        guarantees::every_step(self, node);
        kept
    }

    /// The same where nothing can be refused.
    pub fn report(&mut self, node: usize, device: &str, values: &[(&str, &str)]) {
        self.try_report(node, device, values).unwrap();
    }

    /// When a node sends what was reported; none: nothing waits, the link is down, or enough is under way.
    pub(super) fn report_ms(&self, node: usize) -> Option<u64> {
        let reports = &self.edges[node].reports;
        let open =
            || self.wires.iter().any(|wire| wire.node == node && !wire.by_hand && wire.edge.as_ref().is_some_and(EdgeSession::is_open));
        (reports.waiting && !reports.asked && reports.pace.has_room() && open()).then_some(reports.look_ms)
    }

    pub(super) fn send_reported(&mut self, node: usize) {
        let now_ms = self.now_ms;
        let edge = &mut self.edges[node];
        let now = edge.now(now_ms);
        let (pace, after) = (edge.reports.pace.clone(), edge.reports.round.take());
        let sent = edge.store().send_reported(now, after.as_ref(), &|device, field| pace.is_due(device, field, now_ms)).unwrap();
        let waits = edge.reader().reported_waiting().unwrap() > 0;
        let reports = &mut edge.reports;
        let whole = after.is_none() && sent.next.is_none();
        (reports.asked, reports.round, reports.look_ms) = (false, sent.next, now_ms);
        match sent.number {
            Some(number) => {
                reports.pace.sent(number, &sent.fields, now_ms);
                self.note(&format!("edge {node} reports in write {number}: {} fields", sent.fields.len()));
                let own = self.wires.iter_mut().filter(|wire| wire.node == node).filter_map(|wire| wire.edge.as_mut());
                own.for_each(EdgeSession::outbox_changed);
            }
            None if whole => {
                reports.waiting = waits;
                reports.look_ms = reports.pace.next_ms().unwrap_or(now_ms + LOOK_MS).max(now_ms + SOON_MS);
            }
            None => {}
        }
    }

    /// Nothing of what was reported waits at a node.
    pub(super) fn has_reported(&mut self, node: usize) -> bool {
        self.edges[node].reader().reported_waiting().unwrap() == 0
    }

    /// A device's twin at a node, with what waits.
    pub fn twin_at(&mut self, node: usize, device: &str) -> Option<Twin> {
        self.edges[node].reader().twin(&key(device)).unwrap_or_default()
    }

    /// A device's twin in the cloud.
    pub fn twin_in_cloud(&mut self, device: &str) -> Option<Twin> {
        Some(Twin::of(&Value::read(&self.cloud.value(TWINS, device)?).unwrap()))
    }

    /// The values of one field, in the cloud and at a node.
    pub fn both(&mut self, node: usize, device: &str, field: &str) -> [Option<String>; 2] {
        let value = |twin: Option<Twin>| Some(twin?.field(field)?.value.as_str().to_owned());
        [value(self.twin_in_cloud(device)), value(self.twin_at(node, device))]
    }

    /// At every moment readers of the node see the newest value of what was kept, until the device is another node's.
    pub(super) fn check_reports(&mut self, node: usize) -> Found {
        let kept = self.edges[node].reports.kept.clone();
        let name = self.edges[node].name.to_string();
        let mut twins: BTreeMap<Key, Option<Twin>> = BTreeMap::new();
        for ((device, field), value) in kept {
            let twin = twins.entry(device.clone()).or_insert_with(|| self.edges[node].reader().twin(&device).unwrap_or_default());
            let shown = twin.as_ref().and_then(|twin| twin.field(&field)).cloned();
            let elsewhere = shown.as_ref().is_some_and(|shown| shown.writer != name);
            if twin.is_none() || elsewhere {
                self.edges[node].reports.kept.remove(&(device, field));
                continue;
            }
            if shown.as_ref() != Some(&value) && self.was_not_entitled(node, &device) {
                // It moved while the node was away for longer than a move is remembered, and the write's outcome says so.
                self.edges[node].reports.kept.remove(&(device, field));
                continue;
            }
            if shown.as_ref() != Some(&value) {
                return Err(format!("{device} {field} is {shown:?}; {value:?} was reported"));
            }
        }
        Ok(())
    }

    fn was_not_entitled(&mut self, node: usize, device: &Key) -> bool {
        let newest = self.edges[node].newest_write();
        let rows: Vec<_> = (1..=newest).filter_map(|number| self.edges[node].reader().write(number).unwrap()).collect();
        rows.into_iter().any(|row| {
            let refused = row.outcome.is_some_and(|outcome| outcome.code.as_deref() == Some("not_entitled"));
            refused && row.write.ops.iter().any(|op| op.collection.as_str() == TWINS && op.key == *device)
        })
    }

    /// And when everyone is done, the cloud has it.
    pub(super) fn check_reports_in_cloud(&mut self, node: usize) -> Found {
        for ((device, field), value) in self.edges[node].reports.kept.clone() {
            let there = self.twin_in_cloud(device.as_str()).and_then(|twin| twin.field(&field).cloned());
            if there.as_ref() != Some(&value) {
                return Err(format!("{device} {field} is {there:?} in the cloud; {value:?} was reported"));
            }
        }
        Ok(())
    }
}

/// A desired value as a twin's record has it.
pub fn desired(property: &str, json: &str, writer: &str) -> String {
    let field = TwinField { value: Raw::parse(json).unwrap(), version: 1, timestamp: 1, writer: writer.to_owned() };
    format!(r#"{{"{}":{}}}"#, Half::Desired.field(property), field.to_raw())
}
