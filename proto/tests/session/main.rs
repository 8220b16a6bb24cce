//! Both machines against each other in virtual time: named schedules of `docs/design.md` §12, and properties over
//! random ones. A failure prints its seed; `TOMBOLO_SEED=N` runs that one alone.
#![allow(clippy::unwrap_used)]

mod cloud_model;
mod compression;
mod dice;
mod edge_model;
#[path = "../notation/mod.rs"]
mod notation;
mod pipe;
mod properties;
mod schedules;
mod world;
