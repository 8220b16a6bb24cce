//! Reconciliation: the cloud's judgement of one write (docs/design.md §4), in pure code.
//!
//! [`judge`] reads the world through [`World`] inside the transaction that will commit, and answers with a
//! [`Decision`]: the outcome, the records that change, the conflict rows that open. It has no clock, no file and no
//! random hasher, so the same write in the same world always gets the same answer.
//!
//! Read it in this order: `world` (what comes in), `decision` (what goes out), `judge` (one write, op by op),
//! `entitlement` (what the writer may touch), then one file a rule: `create`, `append`, `fields`, `guard`,
//! `counters`, `delete`, `resolve`; `clocks` says what is concurrent, `conflict` how a loser is kept.

mod append;
mod claims;
mod clocks;
mod conflict;
mod counters;
mod create;
mod decision;
mod delete;
mod entitlement;
mod fields;
mod guard;
mod judge;
mod resolve;
mod world;

#[cfg(test)]
pub(crate) mod tests;

pub use clocks::{ClockError, Clocks, Stamp};
pub use conflict::{ConflictKind, Loser, Row, RowField, RowKey, RowState};
pub use decision::{ConflictChange, Decision, RecordChange};
pub use judge::judge;
pub use resolve::Held;
pub use world::{Author, Content, Decided, Judged, Place, SchemaError, Stored, World};
