//! The edge node: a local API over the edge database, and one link to the cloud.
//!
//! [`run`] puts a node together; `serving` opens its doors; [`local`] answers applications out of the database, link up or down; [`link`] keeps
//! the one outbound connection and drives its sessions; [`identity`], [`join`] and `renew` are who this machine is;
//! [`doctor`] looks for what is wrong with it from outside; [`cli`], [`config`] and [`config_file`] are how people tell it what to do.

mod call;
pub mod cli;
pub mod clock;
pub mod config;
pub mod config_file;
pub mod doctor;
pub mod eventbus;
pub mod identity;
pub mod join;
pub mod link;
pub mod local;
mod mqtt_config;
mod renew;
mod reserve;
pub mod run;
mod serving;
