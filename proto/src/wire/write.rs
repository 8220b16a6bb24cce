//! Writes to bytes and back: the bytes are what the outbox keeps, the link carries and the hash is taken over.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use prost::Message;

use super::{self as wire, change, op::Body as WireBody, weight};
use crate::clock::Hlc;
use crate::frame::{Malformed, some_text};
use crate::ids::Revision;
use crate::json::{Raw, Value};
use crate::limits::{
    ACTOR_BYTES, IDEMPOTENCY_KEY_BYTES, NUMBER_MAX, READ_BYTES, READ_UNWEIGHED, REQUEST_ID_BYTES, STANDS_ON, WRITE_BYTES, WRITE_OPS,
};
use crate::names::{CollectionName, Key};
use crate::op::{Body, Change, Idempotency, Op, To, Was, Write};

impl Write {
    /// The write's bytes.
    pub fn encode(&self) -> Vec<u8> {
        wire::Write {
            hlc: self.hlc.0,
            at_ms: self.at_ms,
            actor: self.actor.clone().unwrap_or_default(),
            request_id: self.request_id.clone().unwrap_or_default(),
            ops: self.ops.iter().map(encode_op).collect(),
            idempotency: self.idempotency.as_ref().map(encode_idempotency),
        }
        .encode_to_vec()
    }

    /// Reads a write from a peer or a store, and checks every name, value and bound in it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > READ_UNWEIGHED && weight::of_write(bytes) > READ_BYTES {
            return Err(Malformed::new("write", "of more ops and fields than a write may have"));
        }
        let write = wire::Write::decode(bytes).map_err(|_| Malformed::new("write", "not a protobuf message"))?;
        if write.ops.is_empty() || write.ops.len() > WRITE_OPS {
            return Err(Malformed::new("ops", "a write has 1 to 1,000 ops"));
        }
        if write.actor.len() > ACTOR_BYTES || write.request_id.len() > REQUEST_ID_BYTES {
            return Err(Malformed::new("actor", "at most 128 bytes"));
        }
        let ops = write.ops.into_iter().map(decode_op).collect::<Result<Vec<_>, _>>()?;
        let write = Self {
            hlc: Hlc(write.hlc),
            at_ms: write.at_ms,
            actor: some_text(write.actor),
            request_id: some_text(write.request_id),
            idempotency: write.idempotency.map(decode_idempotency).transpose()?,
            ops,
        };
        write.check_size()?;
        Ok(write)
    }

    /// The bounds of a write that are counted over all of its ops.
    pub fn check_size(&self) -> Result<(), Malformed> {
        if self.ops.len() > WRITE_OPS {
            return Err(Malformed::new("ops", "a write has at most 1,000 ops"));
        }
        if self.ops.iter().map(Op::size).sum::<usize>() > WRITE_BYTES {
            return Err(Malformed::new("ops", "a write has at most 2 MiB"));
        }
        Ok(())
    }
}

fn encode_idempotency(named: &Idempotency) -> wire::Idempotency {
    wire::Idempotency { key: named.key.clone(), request: named.request.to_vec() }
}

fn decode_idempotency(named: wire::Idempotency) -> Result<Idempotency, Malformed> {
    if !(1..=IDEMPOTENCY_KEY_BYTES).contains(&named.key.len()) {
        return Err(Malformed::new("idempotency", "a key has 1 to 255 bytes"));
    }
    let request = named.request.try_into().map_err(|_| Malformed::new("idempotency", "a hash has 16 bytes"))?;
    Ok(Idempotency { key: named.key, request })
}

fn encode_op(op: &Op) -> wire::Op {
    wire::Op {
        collection: op.collection.to_string(),
        key: op.key.to_string(),
        seen: op.seen.0,
        definition: op.definition.0,
        depends: op.depends,
        stands_on: op.stands_on.clone(),
        expect: op.expect.map(|revision| revision.0),
        body: Some(encode_body(&op.body)),
    }
}

fn encode_body(body: &Body) -> WireBody {
    match body {
        Body::Put(value) => WireBody::Put(value.to_text()),
        Body::Merge(changes) => WireBody::Merge(wire::Merge { changes: changes.iter().map(encode_change).collect() }),
        Body::Increment(by) => {
            let by = by.iter().map(|(field, delta)| wire::Delta { field: field.clone(), delta: *delta }).collect();
            WireBody::Increment(wire::Increment { by })
        }
        Body::Delete { force } => WireBody::Delete(wire::Delete { force: *force }),
        Body::Check(fields) => {
            let field = |(field, value): &(String, Option<Raw>)| wire::CheckField {
                field: field.clone(),
                value: value.as_ref().map(Raw::to_string),
            };
            WireBody::Check(wire::Check { fields: fields.iter().map(field).collect() })
        }
    }
}

fn encode_change(change: &Change) -> wire::Change {
    let to = match &change.to {
        To::Set(raw) => change::To::Set(raw.to_string()),
        To::Remove => change::To::Remove(true),
        To::Count { observed, delta } => change::To::Count(wire::Count { observed: *observed, delta: *delta }),
    };
    let was = match &change.was {
        Was::Absent => None,
        Was::Value(raw) => Some(change::Was::Value(raw.to_string())),
        Was::Hash(hash) => Some(change::Was::Hash(hash.to_vec())),
    };
    wire::Change { field: change.field.clone(), to: Some(to), was }
}

fn decode_op(op: wire::Op) -> Result<Op, Malformed> {
    if op.stands_on.len() > STANDS_ON {
        return Err(Malformed::new("stands_on", "names at most 64 writes"));
    }
    let numbers = [op.seen, op.definition].into_iter().chain(op.depends).chain(op.expect).chain(op.stands_on.iter().copied());
    if numbers.max().is_some_and(|newest| newest > NUMBER_MAX) {
        return Err(Malformed::new("op", "a revision or a number of 2^63 or more"));
    }
    Ok(Op {
        collection: CollectionName::parse(&op.collection).map_err(|error| Malformed::new("collection", error))?,
        key: Key::parse(&op.key).map_err(|error| Malformed::new("key", error))?,
        seen: Revision(op.seen),
        definition: Revision(op.definition),
        depends: op.depends,
        stands_on: op.stands_on,
        expect: op.expect.map(Revision),
        body: decode_body(op.body.ok_or_else(|| Malformed::new("op", "no body that this version knows"))?)?,
    })
}

fn decode_body(body: WireBody) -> Result<Body, Malformed> {
    let raw = |text: &str| Raw::parse(text).map_err(|error| Malformed::new("value", error));
    Ok(match body {
        WireBody::Put(text) => Body::Put(Value::parse(&text).map_err(|error| Malformed::new("value", error))?),
        WireBody::Merge(merge) => Body::Merge(merge.changes.into_iter().map(decode_change).collect::<Result<_, _>>()?),
        WireBody::Increment(by) => Body::Increment(by.by.into_iter().map(|delta| (delta.field, delta.delta)).collect()),
        WireBody::Delete(delete) => Body::Delete { force: delete.force },
        WireBody::Check(check) => {
            let field = |field: wire::CheckField| Ok((field.field, field.value.as_deref().map(raw).transpose()?));
            Body::Check(check.fields.into_iter().map(field).collect::<Result<_, Malformed>>()?)
        }
    })
}

fn decode_change(change: wire::Change) -> Result<Change, Malformed> {
    let raw = |text: &str| Raw::parse(text).map_err(|error| Malformed::new("change", error));
    let to = match change.to {
        Some(change::To::Set(text)) => To::Set(raw(&text)?),
        Some(change::To::Remove(_)) => To::Remove,
        Some(change::To::Count(count)) => To::Count { observed: count.observed, delta: count.delta },
        None => return Err(Malformed::new("change", "no new value that this version knows")),
    };
    let was = match change.was {
        None => Was::Absent,
        Some(change::Was::Value(text)) => Was::Value(raw(&text)?),
        Some(change::Was::Hash(hash)) => Was::Hash(hash.try_into().map_err(|_| Malformed::new("was", "a hash has 16 bytes"))?),
    };
    Ok(Change { field: change.field, to, was })
}
