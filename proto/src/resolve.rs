//! What resolving a conflict makes of the record that it is about (design §4): from a row of `_conflicts`, a person's
//! choice and the record as it is now to one ordinary request, by the same code on both sides.
//!
//! A row shows what the cloud had, what the losing write said, and what stood afterwards. Choosing the side that stands
//! changes nothing; choosing the other puts its values in place, field by field. Counters are moved by the difference, so
//! that what was sold since stays sold. Where the record is gone and the row has its content, it is created anew.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::build::Action;
use crate::definition::Definition;
use crate::json::{Raw, Value};
use crate::names::{CollectionName, Key};
use crate::op::{Body, Op, To};

/// Which values a person wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// What the cloud had.
    Cloud,
    /// What the losing write said.
    Edge,
    /// These: a merge patch on the record as it is, or a new record where there is none.
    Value(Value),
}

/// A request to resolve one conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    /// Which values.
    pub choice: Choice,
    /// Who asks, where the request was proved to be somebody's: the name of an access token.
    pub by: Option<String>,
}

/// Why a conflict cannot be resolved so. Nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// 404 `not_found`.
    #[error("there is no conflict {0:?} here")]
    Unknown(String),
    /// 409 `not_open`.
    #[error("conflict {0} is resolved already")]
    NotOpen(String),
    /// 400 `bad_request`, about `use`.
    #[error("conflict {id} keeps nothing of that side that could be put in place: {why}")]
    NothingKept {
        /// The row.
        id: String,
        /// Why, and what to do instead.
        why: String,
    },
    /// 400 `bad_request`: the guard on the record would be about another state than the one that was looked at.
    #[error("a write that resolves a conflict holds nothing else")]
    NotAlone,
    /// 500: the row was written by a newer program, or is damaged.
    #[error("conflict {id} cannot be read: {detail}")]
    Unreadable {
        /// The row.
        id: String,
        /// Why.
        detail: String,
    },
}

/// What becomes of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is as the choice wants it.
    Keep,
    /// It takes this value, counters by the difference.
    Put(Value),
    /// It is created from what the row kept of it, read-only fields too.
    Restore(Value),
    /// A merge patch is applied, or makes the record.
    Merge(Value),
    /// It is deleted.
    Delete,
}

impl Step {
    /// The request on the record. Each guards it: `Keep` is a check of nothing.
    pub fn into_action(self) -> Action {
        match self {
            Self::Keep => Action::Check(Vec::new()),
            Self::Put(value) => Action::Put { value, create: false },
            Self::Restore(value) => Action::Restore(value),
            Self::Merge(patch) => Action::Merge(patch),
            Self::Delete => Action::Delete { force: true },
        }
    }
}

/// The members of a row that a resolution needs.
#[derive(Debug, Clone, Deserialize)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// The collection of the record.
    pub collection: String,
    /// The record.
    pub key: String,
    kind: String,
    /// What the losing op was; rows of older hubs do not say.
    #[serde(default)]
    op: Option<String>,
    outcome: String,
    state: String,
    /// The revision of the newest event that it shows.
    pub revision: u64,
    fields: Vec<Field>,
}

#[derive(Debug, Clone, Deserialize)]
struct Field {
    name: String,
    #[serde(default, deserialize_with = "raw")]
    base: Option<Raw>,
    #[serde(default, deserialize_with = "raw")]
    cloud: Option<Raw>,
    #[serde(default, deserialize_with = "raw")]
    edge: Option<Raw>,
    #[serde(default, deserialize_with = "raw")]
    result: Option<Raw>,
    #[serde(default)]
    delta: Option<i64>,
    #[serde(default)]
    sum: Option<i64>,
}

/// `null` is a value; only an absent member is none.
fn raw<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Raw>, D::Error> {
    let text = Box::<RawValue>::deserialize(deserializer)?;
    Raw::parse(text.get()).map(Some).map_err(serde::de::Error::custom)
}

impl Field {
    /// What all events of the row were to add.
    fn added(&self) -> Option<i64> {
        self.sum.or(self.delta)
    }

    /// The losing write said something about it; else it is only what the record was.
    fn is_claimed(&self) -> bool {
        self.base.is_some() || self.edge.is_some() || self.delta.is_some()
    }

    /// The edge's value stands now, or there never was another.
    fn stands(&self, side: Option<&Raw>) -> bool {
        match (side, &self.result) {
            (Some(side), Some(result)) => side.same(result),
            (None, None) => true,
            _ => false,
        }
    }
}

fn whole(raw: Option<&Raw>) -> Option<i64> {
    match raw {
        None => Some(0),
        Some(raw) if raw.as_str() == "null" => Some(0),
        Some(raw) => raw.as_i64(),
    }
}

/// A value that a row shows by its hash alone.
fn is_stub(raw: &Raw) -> bool {
    raw.as_str().starts_with("{\"$hash\":")
}

impl Row {
    /// Reads a row of `_conflicts`.
    pub fn read(id: &str, text: &str) -> Result<Self, ResolveError> {
        serde_json::from_str(text).map_err(|error| ResolveError::Unreadable { id: id.to_owned(), detail: error.to_string() })
    }

    /// Its record.
    pub fn record(&self) -> Result<(CollectionName, Key), ResolveError> {
        let unreadable = |detail: String| ResolveError::Unreadable { id: self.id.clone(), detail };
        let collection = CollectionName::parse(&self.collection).map_err(|error| unreadable(error.to_string()))?;
        Ok((collection, Key::parse(&self.key).map_err(|error| unreadable(error.to_string()))?))
    }

    /// What a choice makes of the record, which is `view` now.
    pub fn step(&self, choice: &Choice, view: Option<&Value>, definition: &Definition) -> Result<Step, ResolveError> {
        if self.state == "resolved" {
            return Err(ResolveError::NotOpen(self.id.clone()));
        }
        match (choice, view) {
            (Choice::Value(patch), _) => Ok(Step::Merge(patch.clone())),
            (Choice::Cloud, view) => self.cloud(view, definition),
            (Choice::Edge, None) => self.edge_of_nothing(definition),
            (Choice::Edge, Some(view)) => self.edge(view, definition),
        }
    }

    fn is_delete(&self) -> bool {
        match &self.op {
            Some(op) => op == "delete",
            // A delete speaks of all that is there, and says nothing of any of it.
            None => {
                !self.fields.is_empty() && self.fields.iter().all(|field| !field.is_claimed()) && ["gone", "guard"].contains(&&*self.kind)
            }
        }
    }

    fn is_rejected(&self) -> bool {
        self.outcome == "rejected"
    }

    fn nothing<T>(&self, why: &str) -> Result<T, ResolveError> {
        Err(ResolveError::NothingKept { id: self.id.clone(), why: why.to_owned() })
    }

    /// The record as a row about its end keeps it.
    fn content(&self) -> Result<Value, ResolveError> {
        let mut value = Value::default();
        for field in &self.fields {
            if let Some(raw) = &field.cloud {
                value.set(&field.name, self.shown(raw)?);
            }
        }
        Ok(value)
    }

    fn shown(&self, raw: &Raw) -> Result<Raw, ResolveError> {
        if is_stub(raw) {
            return self.nothing("a value is shown by its hash alone; use \"value\" with the fields as they shall be");
        }
        Ok(raw.clone())
    }

    fn cloud(&self, view: Option<&Value>, definition: &Definition) -> Result<Step, ResolveError> {
        if self.kind == "gone" {
            // The cloud had deleted it, or an edge did, and what the cloud had is what that took away.
            return match (self.is_delete(), view) {
                (false, _) => Ok(Step::Keep),
                (true, None) => Ok(Step::Restore(self.content()?)),
                (true, Some(view)) => {
                    let mut value = view.clone();
                    self.content()?.fields().for_each(|(field, raw)| value.set(field, raw.clone()));
                    Ok(Step::Put(value))
                }
            };
        }
        let Some(view) = view.filter(|_| !self.is_rejected()) else { return Ok(Step::Keep) };
        let mut value = view.clone();
        for field in &self.fields {
            if definition.is_counter(&field.name) {
                let back = field.added().map(i64::saturating_neg);
                let differ = || whole(field.cloud.as_ref())?.checked_sub(whole(field.result.as_ref())?);
                add(&mut value, &field.name, back.or_else(differ).unwrap_or(0));
            } else if !field.stands(field.cloud.as_ref()) {
                self.set(&mut value, &field.name, field.cloud.as_ref())?;
            }
        }
        Ok(changed(view, value))
    }

    fn edge(&self, view: &Value, definition: &Definition) -> Result<Step, ResolveError> {
        if self.is_delete() {
            // A record that was made anew is another one.
            return Ok(if self.kind == "gone" { Step::Keep } else { Step::Delete });
        }
        let mut value = view.clone();
        for field in self.claims()? {
            if definition.is_counter(&field.name) {
                add(&mut value, &field.name, self.edge_delta(field));
            } else if !field.stands(field.edge.as_ref()) || self.kind == "gone" {
                self.set(&mut value, &field.name, field.edge.as_ref())?;
            }
        }
        Ok(changed(view, value))
    }

    /// What is to be added so that the edge's figure holds, with all that happened since.
    fn edge_delta(&self, field: &Field) -> i64 {
        if self.is_rejected() || self.kind == "gone" {
            return field.added().unwrap_or(0);
        }
        let figures = whole(field.edge.as_ref()).zip(whole(field.result.as_ref()));
        field.edge.as_ref().and(figures).and_then(|(edge, result)| edge.checked_sub(result)).unwrap_or(0)
    }

    fn edge_of_nothing(&self, definition: &Definition) -> Result<Step, ResolveError> {
        if self.is_delete() {
            return Ok(Step::Keep);
        }
        let claims: Vec<_> = self.claims()?.collect();
        // Of a record whose content is forgotten, a gone row still restores the fields that lost.
        let gone = self.kind == "gone";
        let kept = |field: &Field| field.cloud.is_some() || (field.edge.is_some() && field.delta.is_none());
        let enough = self.op.as_deref() == Some("put") || (gone && self.fields.iter().any(kept));
        if !enough {
            return self.nothing("the record was deleted, and the row does not hold all of it; use \"value\" with the whole record");
        }
        let mut value = if gone { self.content()? } else { Value::default() };
        for field in claims {
            if definition.is_counter(&field.name) && field.added().is_some() {
                add(&mut value, &field.name, field.added().unwrap_or(0));
            } else {
                self.set(&mut value, &field.name, field.edge.as_ref())?;
            }
        }
        Ok(Step::Restore(value))
    }

    /// The fields that the losing write spoke of.
    fn claims(&self) -> Result<impl Iterator<Item = &Field>, ResolveError> {
        let check = match self.op.as_deref() {
            Some(op) => op == "check",
            // A removal and a check look alike in rows of older hubs.
            None => self.kind == "guard" && self.fields.iter().all(|field| field.edge.is_none() && field.delta.is_none()),
        };
        if check {
            return self.nothing("the write was a condition that did not hold; use \"cloud\", or send the rejected write again");
        }
        Ok(self.fields.iter().filter(|field| field.is_claimed()))
    }

    fn set(&self, value: &mut Value, field: &str, to: Option<&Raw>) -> Result<(), ResolveError> {
        match to {
            Some(raw) => value.set(field, self.shown(raw)?),
            None => drop(value.remove(field)),
        }
        Ok(())
    }
}

fn changed(view: &Value, value: Value) -> Step {
    if view.same(&value) { Step::Keep } else { Step::Put(value) }
}

fn add(value: &mut Value, field: &str, delta: i64) {
    if let Some(old) = whole(value.get(field)).filter(|_| delta != 0) {
        value.set(field, Raw::integer(old.saturating_add(delta)));
    }
}

/// Whom an op on a row names as having resolved it; `None`: the op is not one that resolves a row, and nothing else may
/// be written there.
pub fn resolver(op: &Op) -> Option<String> {
    let Body::Merge(changes) = &op.body else { return None };
    let [state, by] = changes.as_slice() else { return None };
    let text = |to: &To| if let To::Set(raw) = to { raw.as_text().map(|text| text.into_owned()) } else { None };
    let shape = op.collection == CollectionName::conflicts() && state.field == "state" && by.field == "resolved_by";
    if shape && text(&state.to).as_deref() == Some("resolved") { text(&by.to) } else { None }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
