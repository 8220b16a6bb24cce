//! The HTTP surface and the command line that both hubs share.
//!
//! "The same record paths on the cloud and at the edge" is one code: [`http`] stands in front of whatever implements
//! [`hub::Hub`], answers in the [`shapes`] of the public interfaces, and refuses with a [`problem::Problem`].

pub mod access;
pub mod cli;
pub mod client;
pub mod config;
pub mod http;
pub mod hub;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod openapi;
mod page_token;
pub mod problem;
mod refusals;
pub mod reserve;
pub mod shapes;
mod stream;
pub mod watch;
