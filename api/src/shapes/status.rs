//! What `GET /v1/status` shows on either side.

use serde::{Deserialize, Serialize};

use super::{LinkBytes, Time};

/// Whether everything has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SyncState {
    /// Everything is here.
    InSync,
    /// Changes are on their way.
    Syncing,
    /// No link.
    Offline,
    /// A record or a write cannot be stored.
    Blocked,
}

/// Whether the link is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// A session.
    Online,
    /// On the way to one.
    Connecting,
    /// Waiting before the next try.
    Offline,
}

/// Where the edge's time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClockSource {
    /// The cloud told its offset in this process's life.
    Cloud,
    /// The stored clock is ahead of the system's.
    Stored,
    /// The system clock alone.
    System,
}

/// The edge's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EdgeStatus {
    /// The node's name; null before it has joined.
    pub node: Option<String>,
    /// The random id of its database file.
    pub database_id: String,
    /// The software.
    pub version: String,
    /// The node's labels, as the cloud told them last.
    pub labels: std::collections::BTreeMap<String, String>,
    /// The link.
    pub link: LinkStatus,
    /// What came down.
    pub sync: EdgeSync,
    /// What has not gone up.
    pub outbox: OutboxStatus,
    /// What people should decide.
    pub conflicts: OpenConflicts,
    /// The time.
    pub clock: ClockStatus,
    /// The disk.
    pub disk: DiskStatus,
    /// Devices over MQTT.
    pub mqtt: MqttStatus,
    /// What an installer should know.
    pub warnings: Vec<String>,
}

/// Whether devices can speak, and how much they do; counts are since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MqttStatus {
    /// Where devices speak: `external`, `internal`, `both` or `off`.
    pub mode: String,
    /// Whether the broker is there; with two of them, whether both are.
    pub state: MqttState,
    /// The broker; with two of them, the one beside edgehub.
    pub broker: String,
    /// Since when that state holds; null before the first try.
    pub since: Option<Time>,
    /// Why the broker is not there, or was not, and what to do.
    pub last_error: Option<String>,
    /// Whether the broker beside edgehub still knew this node when it connected last: what devices said meanwhile came then. Null before.
    pub session_kept: Option<bool>,
    /// Connections to the broker beside edgehub.
    pub connections: u64,
    /// The broker inside edgehub; null where there is none.
    pub internal: Option<InternalBroker>,
    /// Messages that came from devices.
    pub received: u64,
    /// Messages that were refused, or of which a part was.
    pub refused: u64,
    /// Messages that were beyond their device's bound: only the newest of their values count, and not each was answered.
    pub folded: u64,
    /// Messages for devices.
    pub published: u64,
    /// Messages for devices that the broker was not there for; what they said is said again when it is.
    pub dropped: u64,
    /// Reported values that were kept.
    pub reported: u64,
    /// Reported values that went up.
    pub sent: u64,
    /// Reported values that newer ones overtook before they went up.
    pub coalesced: u64,
    /// Reported values that have yet to go up.
    pub waiting: u64,
    /// Reported values that were kept in the last minute.
    pub updates_per_minute: u64,
    /// Devices that are declared at this node.
    pub devices: u64,
    /// Devices that speak and are not declared.
    pub unknown_devices: u64,
}

/// The broker inside edgehub; counts are since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct InternalBroker {
    /// Whether it listens.
    pub state: MqttState,
    /// Where.
    pub address: String,
    /// Since when that state holds; null before the first try.
    pub since: Option<Time>,
    /// Why it does not, or did not, and what to do.
    pub last_error: Option<String>,
    /// What it keeps on disk: nothing. Sessions and messages for devices that are away end with edgehub.
    pub on_disk: String,
    /// Clients that are there.
    pub clients: u64,
    /// Sessions that are kept for others.
    pub sessions: u64,
    /// Messages for which there was no room.
    pub dropped: u64,
    /// Connections that were not taken because there were too many.
    pub turned_away: u64,
    /// Connections that ended by a fault of the broker.
    pub failed: u64,
}

/// Whether a broker is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MqttState {
    /// There shall be none.
    Off,
    /// It is not there, and is tried again.
    Connecting,
    /// It is there.
    Online,
}

/// The link as the edge sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LinkStatus {
    /// Whether it is up.
    pub state: LinkState,
    /// `websocket` or `quic`, while it is up.
    pub transport: Option<String>,
    /// Since when it is in this state.
    pub since: Option<Time>,
    /// The last round trip, milliseconds.
    pub rtt_ms: Option<u64>,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// What passed on it.
    pub bytes: LinkBytes,
}

/// What came down, as the edge sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EdgeSync {
    /// Whether everything is here.
    pub state: SyncState,
    /// Why not, for people.
    pub reason: Option<String>,
    /// The epoch that the cursor counts in.
    pub epoch: Option<String>,
    /// Up to which revision it is.
    pub cursor: Option<u64>,
    /// The cloud's newest revision, as far as known.
    pub head: Option<u64>,
    /// Records between the two.
    pub lag_records: Option<u64>,
    /// When digests last agreed.
    pub verified_at: Option<Time>,
    /// What is here.
    pub collections: Vec<CollectionStatus>,
}

/// One collection at the edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CollectionStatus {
    /// Its name.
    pub name: String,
    /// How many records of it are here.
    pub records: u64,
    /// Their digest, in hex; null until it was computed.
    pub digest: Option<String>,
}

/// The outbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OutboxStatus {
    /// Writes without an outcome.
    pub writes: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest was committed.
    pub oldest_at: Option<Time>,
}

/// How many conflicts wait for a person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OpenConflicts {
    /// Open ones.
    pub open: u64,
}

/// The hub's time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ClockStatus {
    /// Now, as the hub counts it.
    pub now: Time,
    /// The cloud's time less the system's, milliseconds.
    pub offset_ms: Option<i64>,
    /// Where it comes from.
    pub source: ClockSource,
}

/// The disk that holds the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DiskStatus {
    /// Free bytes; null where they cannot be told.
    pub free_bytes: Option<u64>,
}

/// The cloud's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CloudStatus {
    /// The software.
    pub version: String,
    /// The data folder.
    pub data: String,
    /// The epoch of this start.
    pub epoch: String,
    /// The newest revision.
    pub head: u64,
    /// When it was started.
    pub started_at: Time,
    /// Collections that are defined, the system's left out.
    pub collections: u64,
    /// Live records.
    pub records: u64,
    /// The nodes.
    pub nodes: NodeCounts,
    /// What people should decide.
    pub conflicts: OpenConflicts,
    /// What passed between the hub and all nodes.
    pub bytes: LinkBytes,
    /// Where it listens, by what: `api`, `websocket`.
    pub listen: std::collections::BTreeMap<String, String>,
    /// The hub's time.
    pub now: Time,
    /// The disk.
    pub disk: DiskStatus,
    /// The database.
    pub database: DatabaseStatus,
    /// When the hub's certificates end.
    pub certificates: HubCertificates,
    /// The nodes at a glance.
    pub fleet: FleetStatus,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// The size of a database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DatabaseStatus {
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of the log beside it.
    pub log_bytes: u64,
}

/// When the hub's certificates end; null where they cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HubCertificates {
    /// The authority's: before it ends every node must have a new one.
    pub ca_not_after: Option<Time>,
    /// The hub's own, which it renews by itself.
    pub hub_not_after: Option<Time>,
}

/// The nodes at a glance. Each node that is not revoked counts in one of the first five.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FleetStatus {
    /// Online, and everything acknowledged.
    pub in_sync: u64,
    /// Records are missing there, online or not.
    pub behind: u64,
    /// Online and taking no records: the disk there is full, or its daily limit is reached.
    pub paused: u64,
    /// Not let in when they came last.
    pub refused: u64,
    /// Offline, and nothing has changed for them since, or it was not counted.
    pub away: u64,
    /// What all of them have not sent yet, as they said last.
    pub outbox: super::NodeOutbox,
    /// The node that was not heard of for the longest time.
    pub oldest_last_seen: Option<LastSeen>,
    /// Nodes that no collection selects: they get nothing.
    pub unselected: NamedNodes,
    /// Nodes that have been behind for long.
    pub behind_long: NamedNodes,
    /// Nodes with warnings; `GET /v1/nodes/{n}` shows them.
    pub warned: NamedNodes,
}

/// How many nodes, and the first of them by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NamedNodes {
    /// All of them.
    pub count: u64,
    /// The first.
    pub nodes: Vec<String>,
}

/// When a node was heard of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LastSeen {
    /// The node.
    pub node: String,
    /// When.
    pub at: Time,
}

/// How many nodes there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeCounts {
    /// Joined and not deleted.
    pub total: u64,
    /// With a session.
    pub online: u64,
    /// Without one.
    pub offline: u64,
    /// Revoked.
    pub revoked: u64,
}
