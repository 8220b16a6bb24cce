//! What an application sees, of the cloud's API and of the edge's.
#![allow(clippy::unwrap_used)]

#[path = "application/access.rs"]
mod access;
#[path = "application/both.rs"]
mod both;
#[path = "application/conflicts.rs"]
mod conflicts;
#[path = "application/contract.rs"]
mod contract;
#[path = "application/described.rs"]
mod described;
#[path = "application/devices.rs"]
mod devices;
#[path = "application/fields.rs"]
mod fields;
#[path = "application/lists.rs"]
mod lists;
#[path = "application/query.rs"]
mod query;
#[path = "application/record_watch.rs"]
mod record_watch;
#[path = "application/schemas.rs"]
mod schemas;
#[path = "application/suite/mod.rs"]
mod suite;
#[path = "application/till.rs"]
mod till;
#[path = "application/watch.rs"]
mod watch;
#[path = "application/writes.rs"]
mod writes;
