//! What system tests, the demo and the benchmarks share: real processes in scratch folders, and a plain HTTP client
//! that knows nothing of the project, so that everything is seen from outside.

pub mod bench;
pub mod browser;
pub mod chaos;
pub mod cut;
pub mod events;
pub mod fuzz;
pub mod http;
pub mod kept;
pub mod lab;
pub mod mirror;
pub mod mosquitto;
pub mod mutants;
pub mod northwind;
pub mod pages;
pub mod process;
pub mod shops;
pub mod small_disk;
pub mod till;
pub mod until;
