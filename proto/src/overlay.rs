//! Pending ops laid over base: what a local reader sees (design §1, view).

use crate::json::{Raw, Value};
use crate::op::{Body, Change, Op, To};

/// The view after one more op. The edge only lays ops; whether they take effect is the cloud's to judge.
pub fn lay(view: Option<Value>, op: &Op) -> Option<Value> {
    match &op.body {
        Body::Put(value) => Some(value.clone()),
        Body::Delete { .. } => None,
        Body::Check(_) => view,
        Body::Increment(by) => view.map(|mut view| {
            by.iter().for_each(|(field, delta)| add(&mut view, field, *delta));
            view
        }),
        Body::Merge(changes) => match view {
            Some(view) => Some(merge(view, changes)),
            None if op.creates() => Some(merge(Value::default(), changes)),
            None => None,
        },
    }
}

/// Lays ops in their order.
pub fn lay_all<'a>(base: Option<Value>, ops: impl IntoIterator<Item = &'a Op>) -> Option<Value> {
    ops.into_iter().fold(base, lay)
}

fn merge(mut view: Value, changes: &[Change]) -> Value {
    for change in changes {
        match &change.to {
            To::Set(raw) => view.set(&change.field, raw.clone()),
            To::Remove => drop(view.remove(&change.field)),
            To::Count { delta, .. } => add(&mut view, &change.field, *delta),
        }
    }
    view
}

/// Adds to a counter; an absent or null one counts as 0, and what is no whole number stays as it is.
fn add(view: &mut Value, field: &str, delta: i64) {
    let old = match view.get(field) {
        None => Some(0),
        Some(raw) if raw.as_str() == "null" => Some(0),
        Some(raw) => raw.as_i64(),
    };
    if let Some(old) = old {
        view.set(field, Raw::integer(old.saturating_add(delta)));
    }
}
