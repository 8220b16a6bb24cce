//! The edge database opened by an application itself, without a hub.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use metamanager::{LocalRequest, LocalWrite, Metamanager, Options, Precondition, Store};
use proto::build::{Action, Request};
use proto::clock::Now;
use proto::json::Value;
use proto::names::{CollectionName, Key};
use proto::op::Idempotency;

use super::stage::{COLLECTION, key, product};

/// The collection's name, parsed.
pub(super) fn collection() -> CollectionName {
    CollectionName::parse(COLLECTION).expect("a good name")
}

/// The key of product number `n`, parsed.
pub(super) fn parsed_key(n: usize) -> Key {
    Key::parse(&key(n)).expect("a good key")
}

/// The clocks of this process.
#[allow(clippy::disallowed_methods)] // the shell of a program
pub(super) fn now(begun: Instant) -> Now {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Now { wall_ms: ms(wall), mono_ms: ms(begun.elapsed()) }
}

/// The database with its threads.
pub(super) fn open(database: &Path) -> Metamanager {
    let begun = Instant::now();
    Metamanager::open(database, Options::default(), Arc::new(move || now(begun))).expect("an edge database")
}

/// The database alone, for what decides itself what one commit holds.
pub(super) fn store(database: &Path) -> Store {
    Store::open(database, Options::default(), now(Instant::now())).expect("an edge database")
}

/// A write of one op.
fn write(n: usize, action: Action) -> LocalWrite {
    let request = Request { collection: collection(), key: parsed_key(n), action, expect: None };
    LocalWrite {
        requests: vec![LocalRequest { request, precondition: Precondition::None, own_key: false }],
        actor: None,
        request_id: None,
        idempotency: None,
        resends: None,
    }
}

/// Creates product number `n`, 400 bytes.
pub(super) fn create(n: usize) -> LocalWrite {
    write(n, Action::Put { value: Value::parse(&product(n)).expect("JSON"), create: false })
}

/// The same write with an Idempotency-Key.
pub(super) fn named(write: LocalWrite, key: &str) -> LocalWrite {
    LocalWrite { idempotency: Some(Idempotency { key: key.to_owned(), request: [0; 16] }), ..write }
}

/// Changes the price of product number `n`.
pub(super) fn reprice(n: usize, price: usize) -> LocalWrite {
    write(n, Action::Merge(Value::parse(&format!("{{\"Price\":{price}.5}}")).expect("JSON")))
}

/// Sells one of product number `n`.
pub(super) fn sell(n: usize) -> LocalWrite {
    write(n, Action::Increment(vec![("Stock".into(), -1)]))
}
