//! The edge database from outside: schedules, a model, opening, reading, bounds.
#![allow(clippy::unwrap_used)]

mod digests;
mod filling;
mod following;
mod keeping;
mod kit;
mod local;
mod model;
mod opening;
mod querying;
mod reading;
mod reported;
mod requests;
mod resolving;
mod salvage;
mod schedules;
mod withdrawing;
