//! The verbs of applications, the same for both sides.

use metamanager::{LocalRequest, Precondition};
use proto::build::{Action, Request};
use proto::json::{Raw, Value};
use proto::names::{CollectionName, Key, NodeName};
use proto::resolve::{Choice, Resolve};

/// A collection's name.
pub fn collection(text: &str) -> CollectionName {
    CollectionName::parse(text).unwrap()
}

/// A key.
pub fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

/// A node's name.
pub fn node(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

/// An object.
pub fn value(json: &str) -> Value {
    Value::parse(json).unwrap()
}

/// A whole number in an object; none where there is none.
pub fn number(json: &str, field: &str) -> Option<i64> {
    Value::read(json).unwrap().get(field).and_then(Raw::as_i64)
}

fn ask(name: &str, id: &str, action: Action) -> LocalRequest {
    let request = Request { collection: collection(name), key: key(id), action, expect: None };
    LocalRequest { request, precondition: Precondition::None, own_key: false }
}

/// The whole value.
pub fn put(name: &str, id: &str, json: &str) -> LocalRequest {
    ask(name, id, Action::Put { value: value(json), create: false })
}

/// The whole value, where there is none.
pub fn create(name: &str, id: &str, json: &str) -> LocalRequest {
    ask(name, id, Action::Put { value: value(json), create: true })
}

/// A merge patch.
pub fn merge(name: &str, id: &str, json: &str) -> LocalRequest {
    ask(name, id, Action::Merge(value(json)))
}

/// Adds to a counter.
pub fn add(name: &str, id: &str, field: &str, delta: i64) -> LocalRequest {
    ask(name, id, Action::Increment(vec![(field.to_owned(), delta)]))
}

/// Removal; `force` also with a non-zero counter.
pub fn delete(name: &str, id: &str, force: bool) -> LocalRequest {
    ask(name, id, Action::Delete { force })
}

/// The write applies only when this field still has this value.
pub fn check(name: &str, id: &str, field: &str, json: &str) -> LocalRequest {
    ask(name, id, Action::Check(vec![(field.to_owned(), Raw::parse(json).unwrap())]))
}

/// Somebody resolves a conflict.
pub fn resolve(id: &str, choice: Choice) -> LocalRequest {
    ask("_conflicts", id, Action::Resolve(Resolve { choice, by: None }))
}

/// The same under a precondition.
pub fn when(request: LocalRequest, precondition: Precondition) -> LocalRequest {
    LocalRequest { precondition, ..request }
}
