//! The cloud hub: one ordered stream of changes for a fleet of edge nodes, and the API that people and systems ask.
//!
//! [`serve`] puts a hub together and takes it apart. [`store`] holds the records and decides writes by [`reconcile`], on
//! the threads of [`engine`]; [`peers`] carries each node's session; [`http`] answers the API out of the same store;
//! [`pki`] is who may be a node, [`backup`] copies and restores. [`cli`] and [`config`] are how people tell it what to do, [`limits`] is every bound.

pub mod backup;
pub mod cli;
pub mod clock;
pub mod config;
mod disk;
pub mod engine;
pub mod http;
pub mod limits;
pub mod peers;
pub mod pki;
pub mod reconcile;
pub mod serve;
pub mod store;
