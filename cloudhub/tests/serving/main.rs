//! A whole hub in this process, on a scratch folder and free ports: joined through its API, and spoken to by nodes whose
//! sessions are driven by hand.
#![allow(clippy::unwrap_used)]

mod admission;
mod burst;
mod gate;
mod hub;
mod node;
mod refusals;
mod sync;

use std::future::Future;
use std::time::Duration;

/// A test that has not ended by now waits for something that does not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test's body on a hub's kind of runtime.
fn run(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, body).await.expect("something that was waited for did not come") });
}
