//! The body of `POST /v1/writes`: one or more ops that go together.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proto::ids::Revision;
use proto::json::{Raw, Value};
use proto::limits::{WRITE_BYTES, WRITE_OPS};
use proto::names::Key;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{body, path};
use crate::hub::{Condition, OpAction, OpRequest};
use crate::problem::{Code, Problem};

/// `{"ops":[…]}`
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WriteRequest)]
pub(crate) struct WriteBody<'a> {
    /// At most 1,000.
    #[serde(borrow)]
    pub(crate) ops: Vec<OpBody<'a>>,
}

/// One op.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Op)]
pub(crate) struct OpBody<'a> {
    /// `put`, `merge`, `increment`, `delete` or `check`.
    #[serde(borrow)]
    #[schema(value_type = String)]
    op: Cow<'a, str>,
    /// The collection.
    #[serde(borrow)]
    #[schema(value_type = String)]
    collection: Cow<'a, str>,
    /// The key; a `put` without one creates a record and makes its key.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>)]
    key: Option<Cow<'a, str>>,
    /// `put`: the value; `merge`: the merge patch.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Object>)]
    value: Option<&'a RawValue>,
    /// `increment`: what is added to each counter.
    #[serde(borrow, default)]
    #[schema(value_type = Option<std::collections::BTreeMap<String, i64>>)]
    by: Option<&'a RawValue>,
    /// `check`: the values that must stand.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Object>)]
    fields: Option<&'a RawValue>,
    /// `delete`: also a record with a non-zero counter.
    #[serde(default)]
    force: Option<bool>,
    /// `"absent"`, or the revision that base must have.
    #[serde(borrow, default, rename = "if")]
    #[schema(value_type = Option<serde_json::Value>)]
    condition: Option<&'a RawValue>,
}

/// Parses the ops; `new_key` makes a key for a put that has none.
pub(crate) fn parse(text: &str, mut new_key: impl FnMut() -> Result<Key, Problem>) -> Result<Vec<OpRequest>, Problem> {
    let write: WriteBody<'_> =
        serde_json::from_str(text).map_err(|error| Problem::bad_request(format!("the body is not {{\"ops\":[…]}}: {error}")))?;
    if write.ops.is_empty() {
        return Err(Problem::bad_request("ops is empty: a write has at least one op").field("ops"));
    }
    if write.ops.len() > WRITE_OPS {
        let detail = format!("the write has {} ops; at most {WRITE_OPS} fit", write.ops.len());
        return Err(Problem::new(Code::TooLarge, detail).field("ops"));
    }
    let carried: usize = write.ops.iter().map(OpBody::carried).sum();
    if carried > WRITE_BYTES {
        return Err(Problem::new(Code::TooLarge, "the write's values have more than 2 MiB together").field("ops"));
    }
    let ops = write.ops.iter().enumerate();
    ops.map(|(place, op)| op.parse(&mut new_key).map_err(|problem| about(problem, place, op))).collect()
}

/// Says which op it was.
fn about(problem: Problem, place: usize, op: &OpBody<'_>) -> Problem {
    let problem = problem.in_op(place).collection(op.collection.as_ref());
    match &op.key {
        Some(key) => problem.key(key.as_ref()),
        None => problem,
    }
}

impl OpBody<'_> {
    fn carried(&self) -> usize {
        [self.value, self.by, self.fields].into_iter().flatten().map(|raw| raw.get().len()).sum()
    }

    fn parse(&self, new_key: &mut impl FnMut() -> Result<Key, Problem>) -> Result<OpRequest, Problem> {
        let collection = path::collection(&self.collection)?;
        let makes_key = self.op == "put" && self.key.is_none();
        let action = self.action(makes_key)?;
        let key = match &self.key {
            Some(key) => path::key(key)?,
            None if makes_key => new_key()?,
            None => return Err(self.missing("key")),
        };
        Ok(OpRequest { collection, key, action, condition: self.condition()? })
    }

    fn action(&self, makes_key: bool) -> Result<OpAction, Problem> {
        let takes = match self.op.as_ref() {
            "put" | "merge" => ["value", "if"].as_slice(),
            "increment" => &["by"],
            "delete" => &["force"],
            "check" => &["fields"],
            other => {
                let other: String = other.chars().take(40).collect();
                let detail = format!("op {other:?} is not put, merge, increment, delete or check");
                return Err(Problem::bad_request(detail).field("op"));
            }
        };
        let given = [
            ("value", self.value.is_some()),
            ("by", self.by.is_some()),
            ("fields", self.fields.is_some()),
            ("force", self.force.is_some()),
            ("if", self.condition.is_some()),
        ];
        if let Some((name, _)) = given.iter().find(|(name, given)| *given && !takes.contains(name)) {
            return Err(Problem::bad_request(format!("op {} takes no {name:?}", self.op)).field(*name));
        }
        let value = |member: Option<&RawValue>, name| body::value(member.ok_or_else(|| self.missing(name))?.get());
        Ok(match self.op.as_ref() {
            "put" if makes_key => OpAction::Create(value(self.value, "value")?),
            "put" => OpAction::Put(value(self.value, "value")?),
            "merge" => OpAction::Merge(value(self.value, "value")?),
            "increment" => OpAction::Increment(increments(value(self.by, "by")?)?),
            "delete" => OpAction::Delete { force: self.force.unwrap_or_default() },
            _ => OpAction::Check(value(self.fields, "fields")?),
        })
    }

    fn condition(&self) -> Result<Condition, Problem> {
        let Some(raw) = self.condition else { return Ok(Condition::None) };
        match raw.get() {
            "\"absent\"" => Ok(Condition::Absent),
            // A number is its decimal value, however it is spelled: 7.0 is revision 7.
            number => Raw::parse(number)
                .ok()
                .and_then(|number| u64::try_from(number.as_i64()?).ok())
                .map(|revision| Condition::Revision(Revision(revision)))
                .ok_or_else(|| Problem::bad_request("\"if\" takes \"absent\" or the revision that the record must have").field("if")),
        }
    }

    fn missing(&self, member: &str) -> Problem {
        Problem::bad_request(format!("op {} needs {member:?}", self.op)).field(member)
    }
}

/// The deltas of an increment: 64-bit integers, at least one.
pub(crate) fn increments(by: Value) -> Result<BTreeMap<String, i64>, Problem> {
    let mut deltas = BTreeMap::new();
    for (field, raw) in by.fields() {
        let delta = raw.as_i64().ok_or_else(|| {
            let shown: String = raw.as_str().chars().take(40).collect();
            let detail = format!("{field:?} is to be incremented by {shown}; a counter takes 64-bit integers");
            Problem::new(Code::CounterNotInteger, detail).field(field)
        })?;
        deltas.insert(field.to_owned(), delta);
    }
    if deltas.is_empty() {
        return Err(Problem::bad_request("an increment names at least one counter, as {\"UnitsInStock\":-3}"));
    }
    Ok(deltas)
}
