//! R: one record.

use proto::ids::{Revision, WriteId};

use super::json_text::quote_plain;
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

impl Record {
    /// The version that this is: the revision, and the newest pending write.
    pub fn etag(&self) -> Etag {
        Etag { revision: self.revision, write: self.sync.pending.last().cloned() }
    }

    /// Writes R; with `write`, the answer to a mutation.
    pub fn write_json(&self, out: &mut Vec<u8>, write: Option<&Write>) {
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
        if let Some(write) = write {
            write.write_json(object.member("write"));
        }
        object.end();
    }
}

impl RecordSync {
    fn write_json(&self, out: &mut Vec<u8>) {
        let mut object = Object::new(out);
        object.raw("state", if self.pending.is_empty() { "\"clean\"" } else { "\"pending\"" });
        object.list("pending", &self.pending, quote_plain);
        object.list("conflicts", &self.conflicts, |out, id| super::json_text::quote(out, id));
        object.end();
    }
}
