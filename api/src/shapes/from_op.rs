//! Ops as they travel, in the form that answers show.

use proto::json::{Raw, Value};
use proto::op::{Body, Change, Op, To};

use super::{RawJson, WriteOp, WriteOpKind};

impl From<&Op> for WriteOp {
    fn from(op: &Op) -> Self {
        let new = |kind| Self::new(kind, op.collection.as_str(), op.key.as_str());
        match &op.body {
            Body::Put(value) => Self { value: Some(object(value)), ..new(WriteOpKind::Put) },
            Body::Merge(changes) => merge(new(WriteOpKind::Merge), changes),
            Body::Increment(by) => Self { by: by.iter().cloned().collect(), ..new(WriteOpKind::Increment) },
            Body::Delete { force } => Self { force: *force, ..new(WriteOpKind::Delete) },
            Body::Check(fields) => {
                let mut wanted = Value::default();
                fields.iter().for_each(|(field, raw)| wanted.set(field, raw.clone().unwrap_or_else(Raw::null)));
                Self { fields: Some(object(&wanted)), ..new(WriteOpKind::Check) }
            }
        }
    }
}

/// A count shows what was observed, among the fields that are set, and what it adds.
fn merge(mut op: WriteOp, changes: &[Change]) -> WriteOp {
    let mut set = Value::default();
    for Change { field, to, .. } in changes {
        match to {
            To::Set(raw) => set.set(field, raw.clone()),
            To::Remove => op.removed.push(field.clone()),
            To::Count { observed, delta } => {
                set.set(field, Raw::integer(*observed));
                op.by.insert(field.clone(), *delta);
            }
        }
    }
    op.value = Some(object(&set));
    op
}

fn object(value: &Value) -> RawJson {
    RawJson::trusted(value.to_text())
}
