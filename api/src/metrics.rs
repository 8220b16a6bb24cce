//! Every metric, declared once: what `/metrics` shows and what the documentation lists come from one table.

use std::fmt::Write as _;

use proto::traffic::{Cause, Traffic};

/// Which hub shows a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Both.
    Both,
    /// cloudhub.
    Cloud,
    /// edgehub.
    Edge,
}

/// What a metric's number does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name in `/metrics`.
    pub name: &'static str,
    /// Which hub shows it.
    pub shown: Shown,
    /// What its number does.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it counts, in which unit.
    pub help: &'static str,
    place: usize,
}

/// Declares the metrics, their constants and their table.
macro_rules! metrics {
    ($($constant:ident $name:literal $shown:ident $kind:ident [$($label:literal)*] $help:literal;)*) => {
        /// The places of the metrics in the table.
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Place { $($constant,)* }

        $(#[doc = $help]
        pub const $constant: Metric = Metric {
            name: $name, shown: Shown::$shown, kind: Kind::$kind, labels: &[$($label),*], help: $help,
            place: Place::$constant as usize,
        };)*

        /// The table.
        pub const METRICS: &[Metric] = &[$($constant,)*];
    };
}

metrics! {
    BUILD_INFO "tombolo_build_info" Both Gauge ["version"] "Always 1; the label is the software's version.";
    HTTP_REQUESTS "tombolo_http_requests_total" Both Counter ["class"] "Requests answered, by class of status.";
    WATCHES "tombolo_watches" Both Gauge [] "Watches that are open.";
    WATCHES_CUT "tombolo_watches_cut_total" Both Counter [] "Watches cut off since the start because their client read nothing for 30 s.";
    RECORDS "tombolo_records" Both Gauge ["collection"] "Live records of a collection.";
    CONFLICTS_OPEN "tombolo_conflicts_open" Both Gauge [] "Conflicts that wait for a person.";
    WRITES "tombolo_writes_total" Both Counter ["state"] "Writes decided since the start, by outcome; at the edge also those taken (pending).";
    COMMITS "tombolo_commits_total" Both Counter [] "Transactions committed durably since the start.";
    COMMIT_FAILURES "tombolo_commit_failures_total" Both Counter [] "Transactions that could not be committed since the start.";
    DATABASE_BYTES "tombolo_database_bytes" Both Gauge [] "Size of the database file and its log, bytes.";
    DISK_FREE "tombolo_disk_free_bytes" Both Gauge [] "Free bytes on the disk of the data folder.";
    HEAD "tombolo_revision" Cloud Gauge [] "The newest revision.";
    NODES "tombolo_nodes" Cloud Gauge ["state"] "Nodes, by state.";
    NODES_SYNC "tombolo_nodes_sync" Cloud Gauge ["state"] "Nodes that are not revoked, by how far they are: in-sync, behind, paused, refused, away.";
    NODES_UNSELECTED "tombolo_nodes_unselected" Cloud Gauge [] "Nodes that no collection selects.";
    CERTIFICATE_END "tombolo_certificate_end_seconds" Cloud Gauge ["certificate"] "When a certificate of the hub ends (ca, hub), seconds since 1970.";
    CERTIFICATES_ISSUED "tombolo_certificates_issued_total" Cloud Counter [] "Certificates that the hub signed for nodes since it started, by a join or a renewal.";
    VERIFICATIONS "tombolo_verifications_total" Cloud Counter ["result"] "Comparisons of nodes' digests since the hub started, by result: agreed, differed.";
    REPAIRED_RECORDS "tombolo_repaired_records_total" Cloud Counter [] "Records sent again since the hub started because digests differed.";
    SESSIONS_WAITING "tombolo_sessions_waiting" Cloud Gauge [] "Nodes that were told when their turn to connect is, and whose turn has not come.";
    SESSIONS_ADMITTED "tombolo_sessions_admitted_total" Cloud Counter [] "Sessions that were let in since the hub started.";
    SESSIONS_DEFERRED "tombolo_sessions_deferred_total" Cloud Counter ["ticket"] "How often since the hub started a node was told to connect later, by whether it got a ticket that keeps its place: yes, no.";
    SNAPSHOTS "tombolo_snapshots" Cloud Gauge ["state"] "Nodes that have whole partitions to read, by state: reading, waiting.";
    NODE_ONLINE "tombolo_node_online" Cloud Gauge ["node"] "1 while the node has a session.";
    NODE_LAST_SEEN "tombolo_node_last_seen_seconds" Cloud Gauge ["node"] "When the node was last heard of, seconds since 1970.";
    NODE_WARNINGS "tombolo_node_warnings" Cloud Gauge ["node"] "What an operator should know of the node: how many warnings it has.";
    NODE_BEHIND "tombolo_node_behind_records" Cloud Gauge ["node"] "Records between the node's cursor and the head, for its grants.";
    NODE_OUTBOX "tombolo_node_outbox_writes" Cloud Gauge ["node"] "Writes in the node's outbox, as it said last.";
    NODE_CONFLICTS "tombolo_node_conflicts_open" Cloud Gauge ["node"] "Open conflicts from the node's writes.";
    NODE_SENT "tombolo_node_sent_bytes_total" Cloud Counter ["node"] "Bytes sent to the node since the hub started.";
    NODE_RECEIVED "tombolo_node_received_bytes_total" Cloud Counter ["node"] "Bytes received from the node since the hub started.";
    NODE_BYTES "tombolo_node_bytes_total" Cloud Counter ["node" "cause" "direction"] "Bytes between the hub and the node since the hub started, by what they were spent on and direction (sent, received).";
    NODE_MQTT_UP "tombolo_node_mqtt_up" Cloud Gauge ["node"] "1 while the node is online and has an MQTT broker; left out where it tries none.";
    NODE_TWIN_VALUES "tombolo_node_twin_values_total" Cloud Counter ["node" "kind"] "Reported values since the node's start, as it said last: kept; of these coalesced, that is overtaken by newer ones before they went up.";
    NODE_MQTT_REFUSED "tombolo_node_mqtt_refused_total" Cloud Counter ["node"] "MQTT messages that were refused, or of which a part was, since the node's start, as it said last.";
    NODE_DEVICES_UNKNOWN "tombolo_node_devices_unknown" Cloud Gauge ["node"] "Devices that speak at the node and are not declared, as it said last.";
    LINK_UP "tombolo_link_up" Edge Gauge [] "1 while there is a session with the cloud.";
    MQTT_UP "tombolo_mqtt_up" Edge Gauge [] "1 while the MQTT broker is there; with two of them, while both are.";
    MQTT_CONNECTIONS "tombolo_mqtt_connections_total" Edge Counter [] "Connections to the MQTT broker beside edgehub since the start.";
    MQTT_MESSAGES "tombolo_mqtt_messages_total" Edge Counter ["kind"] "MQTT messages since the start: received, refused, folded (beyond their device's bound), published, dropped.";
    MQTT_INTERNAL_CLIENTS "tombolo_mqtt_internal_clients" Edge Gauge [] "Clients of the MQTT broker inside edgehub.";
    MQTT_INTERNAL_DROPPED "tombolo_mqtt_internal_dropped_total" Edge Counter [] "Messages for which the MQTT broker inside edgehub had no room, since the start.";
    TWIN_VALUES "tombolo_twin_values_total" Edge Counter ["kind"] "Reported values since the start: kept; of these sent in a write, and coalesced, that is overtaken by newer ones before.";
    TWIN_WAITING "tombolo_twin_values_waiting" Edge Gauge [] "Reported values that have yet to go up.";
    DEVICES_UNKNOWN "tombolo_devices_unknown" Edge Gauge [] "Devices that speak and are not declared, the newest 256.";
    LINK_RTT "tombolo_link_rtt_seconds" Edge Gauge [] "The last round trip on the link.";
    LINK_SENT "tombolo_link_sent_bytes_total" Edge Counter [] "Bytes sent on the link since the start.";
    LINK_RECEIVED "tombolo_link_received_bytes_total" Edge Counter [] "Bytes received on the link since the start.";
    LINK_BYTES "tombolo_link_bytes_total" Edge Counter ["cause" "direction"] "Bytes on the link since the start, by what they were spent on and direction (sent, received).";
    LINK_DAY_BYTES "tombolo_link_day_bytes" Edge Gauge [] "Bytes on the link on the present day (UTC, the cloud's time), both directions.";
    LINK_DAY_LIMIT "tombolo_link_day_limit_bytes" Edge Gauge [] "Bytes a day after which only control and writes pass; left out where there is no limit.";
    CURSOR "tombolo_sync_cursor" Edge Gauge [] "The revision that this node has reached.";
    LAG "tombolo_sync_lag_records" Edge Gauge [] "Records between the cursor and the head, as far as known.";
    OUTBOX_WRITES "tombolo_outbox_writes" Edge Gauge [] "Writes without an outcome.";
    OUTBOX_BYTES "tombolo_outbox_bytes" Edge Gauge [] "Bytes of the writes without an outcome.";
    CLOCK_OFFSET "tombolo_clock_offset_seconds" Edge Gauge [] "The cloud's time less the system's.";
}

/// Collects figures and writes them in Prometheus' text format.
#[derive(Debug)]
pub struct MetricsWriter {
    samples: Vec<String>,
}

impl Default for MetricsWriter {
    fn default() -> Self {
        Self { samples: vec![String::new(); METRICS.len()] }
    }
}

impl MetricsWriter {
    /// Adds one figure. `labels` are the values for [`Metric::labels`], in their order.
    pub fn sample(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        debug_assert_eq!(labels.len(), metric.labels.len(), "{}", metric.name);
        let text = &mut self.samples[metric.place];
        text.push_str(metric.name);
        for (place, (label, value)) in metric.labels.iter().zip(labels).enumerate() {
            text.push_str(if place == 0 { "{" } else { "," });
            text.push_str(label);
            text.push_str("=\"");
            escape(text, value);
            text.push('"');
        }
        if !metric.labels.is_empty() {
            text.push('}');
        }
        // Writing into a String cannot fail.
        let _ = writeln!(text, " {value}");
    }

    /// Adds a figure for each cause and direction; `labels` go before them.
    pub fn traffic(&mut self, metric: &Metric, labels: &[&str], traffic: &Traffic) {
        for (direction, causes) in [("sent", &traffic.sent), ("received", &traffic.received)] {
            for cause in Cause::ALL {
                let labels: Vec<_> = labels.iter().copied().chain([cause.as_str(), direction]).collect();
                #[allow(clippy::cast_precision_loss)] // figures for graphs
                self.sample(metric, &labels, causes.get(cause) as f64);
            }
        }
    }

    /// The whole text; metrics without a figure are left out.
    pub fn finish(self) -> String {
        let mut out = String::new();
        for (metric, samples) in METRICS.iter().zip(&self.samples) {
            if samples.is_empty() {
                continue;
            }
            let _ = writeln!(out, "# HELP {} {}", metric.name, metric.help);
            let _ = writeln!(out, "# TYPE {} {}", metric.name, metric.kind.as_str());
            out.push_str(samples);
        }
        out
    }
}

impl Kind {
    /// The word that Prometheus has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

fn escape(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ => out.push(letter),
        }
    }
}

/// The table as `docs/metrics.md` has it.
#[cfg(test)]
fn markdown() -> String {
    let mut out = String::from("| metric | hub | type | labels | what |\n|---|---|---|---|---|\n");
    for metric in METRICS {
        let hub = match metric.shown {
            Shown::Both => "both",
            Shown::Cloud => "cloud",
            Shown::Edge => "edge",
        };
        let labels = metric.labels.join(", ");
        let _ = writeln!(out, "| `{}` | {hub} | {} | {labels} | {} |", metric.name, metric.kind.as_str(), metric.help);
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_one_metric_stand_together() {
        let mut out = MetricsWriter::default();
        out.sample(&NODE_ONLINE, &["lyon"], 1.0);
        out.sample(&HEAD, &[], 41.0);
        out.sample(&NODE_ONLINE, &["o\"slo"], 0.0);
        let text = out.finish();
        let wanted = "# HELP tombolo_revision The newest revision.\n# TYPE tombolo_revision gauge\ntombolo_revision 41\n\
            # HELP tombolo_node_online 1 while the node has a session.\n# TYPE tombolo_node_online gauge\n\
            tombolo_node_online{node=\"lyon\"} 1\ntombolo_node_online{node=\"o\\\"slo\"} 0\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn names_follow_the_rules() {
        for (place, metric) in METRICS.iter().enumerate() {
            assert_eq!(metric.place, place);
            assert!(metric.name.starts_with("tombolo_"));
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
        }
    }

    /// The page is the table's; to write it again: `UPDATE_DOCS=1 cargo test -p api metrics`.
    #[test]
    fn the_documentation_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let page = format!(
            "# Metrics\n\nWhat `GET /metrics` shows on either hub, in Prometheus' text format. This page is generated from the table in\n\
             `api/src/metrics.rs`; a test compares the two.\n\n{}",
            markdown()
        );
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), page);
    }
}
