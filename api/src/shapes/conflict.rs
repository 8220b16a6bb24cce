//! C: one conflict row.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Time;
use super::write::UnknownState;

/// Whether a person is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConflictState {
    /// A person decides.
    Open,
    /// The rules decided; the row keeps the loser.
    Auto,
    /// A person decided.
    Resolved,
}

impl FromStr for ConflictState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        match text {
            "open" => Ok(Self::Open),
            "auto" => Ok(Self::Auto),
            "resolved" => Ok(Self::Resolved),
            _ => {
                let allowed = "open, auto, resolved, all";
                Err(UnknownState { given: text.chars().take(40).collect(), allowed })
            }
        }
    }
}

/// What a conflict is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// Two values for one field.
    Field,
    /// A counter passed its bound.
    Bound,
    /// A count met changes that it had not seen.
    Count,
    /// A guarded change came second.
    Guard,
    /// A change to a deleted record.
    Gone,
    /// Two records with one key.
    KeyTaken,
    /// The newest schema does not hold.
    Schema,
    /// A write that it stood on was rejected.
    Depends,
    /// Outside the node's grants.
    NotEntitled,
}

/// A stored row that shows a value which lost, or a bound that was passed.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Conflict {
    /// Its id.
    pub id: String,
    /// The collection of the record that it is about.
    pub collection: String,
    /// The key of that record.
    pub key: String,
    /// The write that lost, or passed the bound.
    pub write: String,
    /// The node that wrote it, or `cloud`.
    pub node: String,
    /// `Tombolo-Actor` of that write.
    pub actor: Option<String>,
    /// What it is about.
    pub kind: ConflictKind,
    /// What the losing op was: `put`, `merge`, `increment`, `delete` or `check`; rows of older hubs do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
    /// The values.
    pub fields: Vec<ConflictField>,
    /// The write's outcome.
    pub outcome: String,
    /// The revision that it was decided at.
    pub revision: u64,
    /// When.
    pub opened_at: Time,
    /// Whether a person is needed.
    pub state: ConflictState,
    /// Who resolved it.
    pub resolved_by: Option<String>,
    /// When it was resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Time>,
    /// The write that resolved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_in: Option<String>,
    /// How many losers this row stands for.
    pub count: u64,
    /// The events before the newest, newest first; at most 99.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losers: Vec<ConflictLoser>,
}

/// An earlier event of a row that gathers several.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ConflictLoser {
    /// The write.
    pub write: String,
    /// The node that wrote it, or `cloud`.
    pub node: String,
    /// `Tombolo-Actor` of that write.
    pub actor: Option<String>,
    /// The revision that it was decided at.
    pub revision: u64,
    /// What it said.
    pub fields: Vec<ConflictField>,
}

/// One field of a conflict; a value that is absent is left out.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ConflictField {
    /// The field.
    pub name: String,
    /// What the writer saw.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "even_null")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub base: Option<Box<RawValue>>,
    /// What the cloud had.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "even_null")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub cloud: Option<Box<RawValue>>,
    /// What the edge wrote.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "even_null")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub edge: Option<Box<RawValue>>,
    /// What stands now.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "even_null")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub result: Option<Box<RawValue>>,
    /// What the event was to add to a counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<i64>,
    /// What all events of the row together were to add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<i64>,
}

/// A member that is there is a value, JSON null too; only an absent one is none.
fn even_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}
