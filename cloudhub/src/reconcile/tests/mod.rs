//! A store in memory, two shops with bases and outboxes of their own, and conversations between them as text.
#![allow(clippy::unwrap_used)]

mod algebra;
mod clocks;
pub(crate) mod hub;
mod properties;
mod raw;
mod rows;
mod script;
mod scripts;
pub(crate) mod shop;
mod tables;
