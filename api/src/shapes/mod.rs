//! The JSON that both hubs answer with: R, W, C, N, the two statuses, and what the cloud's tokens carry.
//!
//! A record's value is never parsed and written again: [`RawJson`] carries its text, and [`Record`] and [`Write`]
//! are written by hand around it.

mod admin;
mod conflict;
mod device;
mod from_op;
mod json_text;
mod node;
mod query;
mod record;
mod status;
mod time;
mod traffic;
mod verify;
mod write;

pub use admin::{AccessToken, AccessTokenRequest, AppliedCollection, JoinToken, JoinTokenRequest, NewAccessToken, NewJoinToken};
pub use conflict::{Conflict, ConflictField, ConflictKind, ConflictLoser, ConflictState};
pub(crate) use device::{DeviceBody, ModelBody};
pub use device::{DeviceModel, DeviceShown, TwinShown};
pub use json_text::RawJson;
pub(crate) use json_text::{Object, quote};
pub use node::{
    BrokerState, Certificate, Node, NodeDevices, NodeEvent, NodeOutbox, NodeReason, NodeState, NodeSync, RepairedPartition, Resync,
    Verification, unselected,
};
pub(crate) use query::{QueryBody, QueryResult};
pub use record::{FieldChange, Record, RecordFields, RecordSync};
pub use status::{
    ClockSource, ClockStatus, CloudStatus, CollectionStatus, DatabaseStatus, DiskStatus, EdgeStatus, EdgeSync, FleetStatus,
    HubCertificates, InternalBroker, LastSeen, LinkState, LinkStatus, MqttState, MqttStatus, NamedNodes, NodeCounts, OpenConflicts,
    OutboxStatus, SyncState,
};
pub use time::Time;
pub use traffic::{CauseBytes, DAY_MS, DayBytes, LinkBytes};
pub use verify::{Repaired, Verified, VerifyRequest};
pub use write::{ImportSummary, UnknownState, Write, WriteOp, WriteOpKind, WriteState};
