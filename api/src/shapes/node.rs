//! N: one node, as the cloud shows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{LinkBytes, OpenConflicts, SyncState, Time};

/// Whether a node is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// It has a session.
    Online,
    /// It has none.
    Offline,
    /// Its certificate was revoked.
    Revoked,
}

/// Why a node is not online and in sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodeReason {
    /// No connection.
    LinkDown,
    /// Changes are on their way.
    CatchingUp,
    /// It re-reads partitions.
    Snapshot,
    /// Its disk is nearly full.
    PausedDiskFull,
    /// Its daily volume is used up.
    PausedDailyLimit,
    /// A copy of a database that is in use.
    RefusedCopiedDatabase,
    /// No common protocol version.
    RefusedVersion,
    /// Its certificate was revoked.
    Revoked,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Node {
    /// Its name, as its certificate has it.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it is there.
    pub state: NodeState,
    /// Why it is not, or not in sync.
    pub reason: Option<NodeReason>,
    /// When it was last heard.
    pub last_seen: Option<Time>,
    /// From which address.
    pub address: Option<String>,
    /// `websocket` or `quic`.
    pub transport: Option<String>,
    /// Its software.
    pub version: Option<String>,
    /// Its database id.
    pub database: Option<String>,
    /// Its certificate.
    pub certificate: Certificate,
    /// How far it is.
    pub sync: NodeSync,
    /// What it has not sent yet, as it said last.
    pub outbox: NodeOutbox,
    /// Its open conflicts.
    pub conflicts: OpenConflicts,
    /// Its devices; null where it has none and says nothing of a broker. A list leaves the first two figures null.
    pub devices: Option<NodeDevices>,
    /// What passed between the hub and it.
    pub bytes: LinkBytes,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// The warning about a node that gets nothing, in the same words on both sides.
pub fn unselected(labels: &BTreeMap<String, String>) -> String {
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("no collection selects this node; labels: {}", if labels.is_empty() { "none".to_owned() } else { labels.join(",") })
}

/// A node's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Certificate {
    /// When it ends.
    pub not_after: Option<Time>,
}

/// How far a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = NodeSync)]
pub struct NodeSync {
    /// Whether it has everything.
    pub state: SyncState,
    /// Up to which revision it has durably applied what it is entitled to.
    pub cursor: Option<u64>,
    /// The cloud's newest revision.
    pub head: u64,
    /// Records between the two for this node's grants.
    pub lag_records: u64,
    /// When digests last agreed.
    pub verified_at: Option<Time>,
}

/// What a node has not sent yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeOutbox {
    /// How many writes.
    pub writes: u64,
    /// When the oldest was committed.
    pub oldest_at: Option<Time>,
}

/// The devices of a node: what is known here, and what the node said last in its session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeDevices {
    /// How many are declared.
    pub declared: Option<u64>,
    /// How many of them said last that they are online or ok.
    pub online: Option<u64>,
    /// How many speak there and are not declared; null while the node is offline, as all that follows.
    pub unknown: Option<u64>,
    /// Whether the node has an MQTT broker.
    pub broker: Option<BrokerState>,
    /// Since when that holds.
    pub broker_since: Option<Time>,
    /// Reported values that it kept in the last minute.
    pub updates_per_minute: Option<u64>,
    /// Reported values that it kept since its start.
    pub kept: Option<u64>,
    /// Of these, those that newer ones overtook before they went up.
    pub coalesced: Option<u64>,
    /// Of these, those that have yet to go up.
    pub waiting: Option<u64>,
    /// Messages that it refused, whole or in part, since its start.
    pub refused: Option<u64>,
}

/// Whether a node has a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BrokerState {
    /// It has.
    Online,
    /// It tries to reach one.
    Connecting,
}

/// Something that happened to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeEvent {
    /// When.
    pub at: Time,
    /// What, as a stable word: `joined`, `labelled`, `clock_skew`, `database_replaced`, …
    pub kind: String,
    /// What, for people.
    pub detail: String,
}

/// What came of comparing what a node holds with what the cloud has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Verification {
    /// The node.
    pub node: String,
    /// Only this collection, where the request named one.
    pub collection: Option<String>,
    /// Whether all records agree, perhaps after some were sent again.
    pub agreed: bool,
    /// The revision that was compared.
    pub revision: u64,
    /// How many partitions the node gets.
    pub partitions: u64,
    /// When digests last agreed.
    pub verified_at: Option<Time>,
    /// Where the node held other records; only what differed was sent again.
    pub repaired: Vec<RepairedPartition>,
}

/// A partition of which a node held other records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RepairedPartition {
    /// Its collection.
    pub collection: String,
    /// Its value; null where the collection is not cut.
    pub partition: Option<String>,
    /// How many of `of` ranges of its keys differed.
    pub ranges: u64,
    /// How many there are.
    pub of: u64,
}

/// What a node fills again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Resync {
    /// The node.
    pub node: String,
    /// Only this collection, where the request named one.
    pub collection: Option<String>,
    /// How many partitions.
    pub partitions: u64,
    /// They are given anew since this revision.
    pub revision: u64,
}
