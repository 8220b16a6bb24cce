//! W: one write, and what an import did.

use std::collections::BTreeMap;
use std::str::FromStr;

use proto::ids::{Revision, WriteId};
use serde::{Deserialize, Serialize};

use super::json_text::quote;
use super::{Object, RawJson, Time};

/// Where a write stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WriteState {
    /// No outcome yet.
    Pending,
    /// Applied as it was.
    Applied,
    /// Applied; some fields lost to newer ones.
    Merged,
    /// Applied, and a person should look.
    Flagged,
    /// Not applied; its content is kept.
    Rejected,
    /// The cloud can no longer tell; its content is kept, and it is never applied.
    Lost,
}

impl WriteState {
    /// The state as answers hold it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Applied => "applied",
            Self::Merged => "merged",
            Self::Flagged => "flagged",
            Self::Rejected => "rejected",
            Self::Lost => "lost",
        }
    }
}

/// Not one of the states.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not one of {allowed}")]
pub struct UnknownState {
    pub(super) given: String,
    pub(super) allowed: &'static str,
}

impl FromStr for WriteState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Ok(match text {
            "pending" => Self::Pending,
            "applied" => Self::Applied,
            "merged" => Self::Merged,
            "flagged" => Self::Flagged,
            "rejected" => Self::Rejected,
            "lost" => Self::Lost,
            _ => {
                let allowed = "pending, applied, merged, flagged, rejected, lost";
                return Err(UnknownState { given: text.chars().take(40).collect(), allowed });
            }
        })
    }
}

/// One or more ops that were committed together. In JSON with `final` and `accepted`, which follow from `state`.
#[derive(Debug, Clone, PartialEq, Eq, utoipa::ToSchema)]
pub struct Write {
    /// `lyon:7f3a9c:42`, on the cloud `cloud:1041`.
    #[schema(value_type = String)]
    pub id: WriteId,
    /// Where it stands.
    pub state: WriteState,
    /// When it was committed.
    pub at: Time,
    /// `Tombolo-Actor` of the request.
    pub actor: Option<String>,
    /// The revision that it was decided at.
    #[schema(value_type = Option<u64>)]
    pub revision: Option<Revision>,
    /// Why it was flagged or rejected: `key_taken`, `bound`, `count`, `guard`, `gone`, `depends`, `schema`,
    /// `not_entitled`, `malformed`, `too_large`.
    pub code: Option<String>,
    /// The same for people.
    pub detail: Option<String>,
    /// The conflicts that it opened.
    pub conflicts: Vec<String>,
    /// The write that sent this one once more.
    #[schema(value_type = Option<String>)]
    pub resent_as: Option<WriteId>,
    /// What it did.
    pub ops: Vec<WriteOp>,
}

impl Write {
    /// Whether its outcome is known.
    pub fn is_final(&self) -> bool {
        self.state != WriteState::Pending
    }

    /// Whether the cloud's state holds it; `None` while no outcome is known.
    pub fn accepted(&self) -> Option<bool> {
        match self.state {
            WriteState::Pending => None,
            WriteState::Applied | WriteState::Merged | WriteState::Flagged => Some(true),
            WriteState::Rejected | WriteState::Lost => Some(false),
        }
    }

    /// Writes W.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut object = Object::new(out);
        object.plain("id", &self.id);
        object.plain("state", self.state.as_str());
        object.flag("final", self.is_final());
        object.number_or_null("accepted", self.accepted());
        object.plain("at", self.at);
        object.text_or_null("actor", self.actor.as_deref());
        object.number_or_null("revision", self.revision);
        object.text_or_null("code", self.code.as_deref());
        object.text_or_null("detail", self.detail.as_deref());
        object.list("conflicts", &self.conflicts, |out, id| quote(out, id));
        match &self.resent_as {
            Some(newer) => object.plain("resent_as", newer),
            None => object.raw("resent_as", "null"),
        }
        object.list("ops", &self.ops, |out, op| op.write_json(out));
        object.end();
    }
}

/// What an op of a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WriteOpKind {
    /// Creates the record.
    Put,
    /// Sets and removes fields.
    Merge,
    /// Adds to counters.
    Increment,
    /// Deletes the record.
    Delete,
    /// Only looks.
    Check,
}

/// One op of a write, as it travels: a PUT of a record that was there is a `merge` of what it changed.
#[derive(Debug, Clone, PartialEq, Eq, utoipa::ToSchema)]
pub struct WriteOp {
    /// What it does.
    pub op: WriteOpKind,
    /// In which collection.
    pub collection: String,
    /// To which record.
    pub key: String,
    /// `put`: the value; `merge`: the fields that are set. Left out elsewhere.
    #[schema(value_type = Option<Object>)]
    pub value: Option<RawJson>,
    /// `merge`: the fields that are removed. Left out where there are none.
    pub removed: Vec<String>,
    /// What is added to each counter. Left out where there is none.
    pub by: BTreeMap<String, i64>,
    /// `check`: the values that must stand. Left out elsewhere.
    #[schema(value_type = Option<Object>)]
    pub fields: Option<RawJson>,
    /// `delete`: whether it was forced. Left out elsewhere.
    pub force: bool,
}

impl WriteOp {
    /// An op that says nothing yet but what it is about.
    pub fn new(op: WriteOpKind, collection: impl Into<String>, key: impl Into<String>) -> Self {
        let (collection, key) = (collection.into(), key.into());
        Self { op, collection, key, value: None, removed: Vec::new(), by: BTreeMap::new(), fields: None, force: false }
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        let mut object = Object::new(out);
        let op = match self.op {
            WriteOpKind::Put => "put",
            WriteOpKind::Merge => "merge",
            WriteOpKind::Increment => "increment",
            WriteOpKind::Delete => "delete",
            WriteOpKind::Check => "check",
        };
        object.plain("op", op);
        object.text("collection", &self.collection);
        object.text("key", &self.key);
        if let Some(value) = &self.value {
            object.raw("value", value.as_str());
        }
        if !self.removed.is_empty() {
            object.list("removed", &self.removed, |out, name| quote(out, name));
        }
        if !self.by.is_empty() {
            let _ = serde_json::to_writer(object.member("by"), &self.by);
        }
        if let Some(fields) = &self.fields {
            object.raw("fields", fields.as_str());
        }
        if self.op == WriteOpKind::Delete {
            object.flag("force", self.force);
        }
        object.end();
    }
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ImportSummary {
    /// Lines that held a value.
    pub read: u64,
    /// Records that did not exist before.
    pub created: u64,
    /// Records that were changed.
    pub changed: u64,
    /// Lines that said what was there already.
    pub unchanged: u64,
    /// The revision of the last commit; null where nothing changed, and at the edge.
    pub revision: Option<u64>,
}
