//! What an op says, apart from what becomes of it.

use std::collections::BTreeSet;

use proto::definition::Defined;
use proto::json::{Raw, Value};
use proto::limits::{VALUE_BYTES, VALUE_FIELDS};
use proto::op::{Body, Change, Op, To, Was};

use super::conflict::Figures;
use super::judge::{Rejection, Site};
use super::world::Place;

/// All of an op as a conflict row shows it, beside the record's value.
pub(super) fn content(op: &Op, value: Option<&Value>) -> Vec<Figures> {
    let stored = |field: &str| value.and_then(|value| value.get(field)).cloned();
    let figures = |field: &str| Figures { name: field.to_owned(), cloud: stored(field), result: stored(field), ..Figures::default() };
    match &op.body {
        Body::Put(put) => put.fields().map(|(field, raw)| Figures { edge: Some(raw.clone()), ..figures(field) }).collect(),
        Body::Merge(changes) => changes.iter().map(|change| change_figures(change, value)).collect(),
        Body::Increment(by) => by.iter().map(|(field, delta)| Figures { delta: Some(*delta), ..figures(field) }).collect(),
        // It speaks of all that is there.
        Body::Delete { .. } => value.into_iter().flat_map(Value::fields).map(|(field, _)| figures(field)).collect(),
        Body::Check(expected) => {
            let base = |expected: &Option<Raw>| Some(Was::of(expected.as_ref()));
            expected.iter().map(|(field, expected)| Figures { base: base(expected), ..figures(field) }).collect()
        }
    }
}

/// One claim beside the record's value, as if it lost.
pub(super) fn change_figures(change: &Change, value: Option<&Value>) -> Figures {
    let cloud = value.and_then(|value| value.get(&change.field)).cloned();
    let (edge, delta) = match &change.to {
        To::Set(raw) => (Some(raw.clone()), None),
        To::Remove => (None, None),
        To::Count { observed, delta } => (Some(Raw::integer(*observed)), Some(*delta)),
    };
    Figures { name: change.field.clone(), base: Some(change.was.clone()), result: cloud.clone(), cloud, edge, delta }
}

/// The value that an op makes where there is none: what it sets, counters from zero.
pub(super) fn created(op: &Op) -> Value {
    match &op.body {
        Body::Put(value) => value.clone(),
        Body::Merge(changes) => {
            let mut value = Value::default();
            for change in changes {
                match &change.to {
                    To::Set(raw) => value.set(&change.field, raw.clone()),
                    To::Count { delta, .. } => value.set(&change.field, Raw::integer(*delta)),
                    To::Remove => drop(value.remove(&change.field)),
                }
            }
            value
        }
        Body::Increment(_) | Body::Delete { .. } | Body::Check(_) => Value::default(),
    }
}

/// Where a record goes that the cloud does not hold, as far as the op tells.
pub(super) fn place_of(op: &Op, defined: &Defined) -> Place {
    defined.definition.partition_of(&created(op))
}

/// No edge that keeps the bounds of a value makes a larger op, or claims a field twice.
pub(super) fn bounded(site: &Site<'_>) -> Result<(), Box<Rejection>> {
    let too_large = |what| Err(Rejection::new("too_large", format!("{}: {what}", site.name()), None));
    let Body::Merge(changes) = &site.op.body else { return Ok(()) };
    // It can at most remove every field of one value and set every field of another.
    if changes.len() > 2 * VALUE_FIELDS {
        return too_large("one op sets more fields than a value has");
    }
    let sizes = changes.iter().map(|change| if let To::Set(raw) = &change.to { raw.as_str().len() } else { 0 });
    if sizes.sum::<usize>() > VALUE_BYTES {
        return too_large("one op sets more than 1 MiB");
    }
    let mut claimed = BTreeSet::new();
    match changes.iter().find(|change| !claimed.insert(&change.field)) {
        Some(change) => Err(site.malformed(&format!("field {:?} is claimed twice", change.field))),
        None => Ok(()),
    }
}
