//! R: one record.

use proto::ids::{Revision, WriteId};

use super::json_text::{quote, quote_plain};
use super::{Object, RawJson, Time, Write};
use crate::hub::Etag;

/// One record as readers see it.
#[derive(Debug, Clone, PartialEq, Eq, utoipa::ToSchema)]
pub struct Record {
    /// Its collection.
    pub collection: String,
    /// Its key.
    pub key: String,
    /// Its value, as it was accepted.
    #[schema(value_type = Object)]
    pub value: RawJson,
    /// The revision that last changed it; 0 where no cloud has seen it yet.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// When it was last changed.
    pub updated_at: Time,
    /// Which node changed it last, or `cloud`.
    pub writer: String,
    /// `Tombolo-Actor` of that change.
    pub actor: Option<String>,
    /// What is still on its way.
    pub sync: RecordSync,
}

/// What of a record the cloud has not decided, or people have not. In JSON with `state`: `pending` while a write is
/// laid over it, else `clean` (on the cloud always).
#[derive(Debug, Clone, Default, PartialEq, Eq, utoipa::ToSchema)]
pub struct RecordSync {
    /// The writes that are laid over it, oldest first.
    #[schema(value_type = Vec<String>)]
    pub pending: Vec<WriteId>,
    /// Its open conflicts.
    pub conflicts: Vec<String>,
}

/// The newest change of one field, as far as it is known where it is asked: what is not is null. At the edge that is a change which
/// waits there, and all of a record that stands as it was created; the cloud keeps the history of single fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, utoipa::ToSchema)]
pub struct FieldChange {
    /// The revision of the write that set it; null for a write that is pending.
    #[schema(value_type = Option<u64>)]
    pub revision: Option<Revision>,
    /// When, by the writer's clock; at the edge, of what came from the cloud, when the cloud took it in.
    pub at: Option<Time>,
    /// Which node, or `cloud`.
    pub writer: Option<String>,
    /// `Tombolo-Actor` of that write; also null where the write is no longer kept.
    pub actor: Option<String>,
}

/// A record, and who set which of its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFields {
    /// The record.
    pub record: Record,
    /// Every field of its value, in the value's order.
    pub fields: Vec<(String, FieldChange)>,
}

impl RecordFields {
    /// Writes R with `fields`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut object = self.record.begin_json(out);
        let out = object.member("fields");
        out.push(b'{');
        for (place, (name, change)) in self.fields.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            quote(out, name);
            out.push(b':');
            change.write_json(out);
        }
        out.push(b'}');
        object.end();
    }
}

impl FieldChange {
    fn write_json(&self, out: &mut Vec<u8>) {
        let mut object = Object::new(out);
        object.number_or_null("revision", self.revision);
        match self.at {
            Some(at) => object.plain("at", at),
            None => object.raw("at", "null"),
        }
        object.text_or_null("writer", self.writer.as_deref());
        object.text_or_null("actor", self.actor.as_deref());
        object.end();
    }
}

impl Record {
    /// The version that this is: the revision, and the newest pending write.
    pub fn etag(&self) -> Etag {
        Etag { revision: self.revision, write: self.sync.pending.last().cloned() }
    }

    /// Writes R; with `write`, the answer to a mutation.
    pub fn write_json(&self, out: &mut Vec<u8>, write: Option<&Write>) {
        let mut object = self.begin_json(out);
        if let Some(write) = write {
            write.write_json(object.member("write"));
        }
        object.end();
    }

    /// R's own members; the caller adds to them and ends it.
    fn begin_json<'a>(&self, out: &'a mut Vec<u8>) -> Object<'a> {
        out.reserve(self.value.as_str().len() + 256);
        let mut object = Object::new(out);
        object.text("collection", &self.collection);
        object.text("key", &self.key);
        object.raw("value", self.value.as_str());
        object.number("revision", self.revision);
        object.plain("updated_at", self.updated_at);
        object.text("writer", &self.writer);
        object.text_or_null("actor", self.actor.as_deref());
        self.sync.write_json(object.member("sync"));
        object
    }
}

impl RecordSync {
    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        let mut object = Object::new(out);
        object.raw("state", if self.pending.is_empty() { "\"clean\"" } else { "\"pending\"" });
        object.list("pending", &self.pending, quote_plain);
        object.list("conflicts", &self.conflicts, |out, id| super::json_text::quote(out, id));
        object.end();
    }
}
