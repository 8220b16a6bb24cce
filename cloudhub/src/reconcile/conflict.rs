//! How a loser is kept: the rows of `_conflicts`.
//!
//! An `auto` row stands for one event. An `open` row gathers what happens to one record, kind and field until a person
//! resolves it: the newest event stands in `fields`, those before it in `losers`, and deltas are summed.

use api::shapes::Time;
use proto::json::{Raw, Value};
use proto::names::{CollectionName, Key};
use proto::op::{Was, hash};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::world::{Author, Judged, Place};
use crate::limits::{CONFLICT_LOSERS, CONFLICT_ROW_BYTES, CONFLICT_VALUE_BYTES};

/// What a conflict is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// Two values for one field.
    Field,
    /// A counter passed its bound.
    Bound,
    /// A count met changes that it had not seen.
    Count,
    /// A condition did not hold: a guard, a check, a transition, a right.
    Guard,
    /// A change met a deleted record, or a delete a changed one.
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

impl ConflictKind {
    /// The word in every interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Field => "field",
            Self::Bound => "bound",
            Self::Count => "count",
            Self::Guard => "guard",
            Self::Gone => "gone",
            Self::KeyTaken => "key_taken",
            Self::Schema => "schema",
            Self::Depends => "depends",
            Self::NotEntitled => "not_entitled",
        }
    }
}

/// Whether a person is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowState {
    /// A person decides.
    Open,
    /// The rules decided; the row keeps the loser.
    Auto,
    /// A person decided.
    Resolved,
}

impl RowState {
    /// The word in every interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Auto => "auto",
            Self::Resolved => "resolved",
        }
    }
}

/// Under what an open row is found: there is one at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey {
    /// The collection of the record.
    pub collection: CollectionName,
    /// The record.
    pub key: Key,
    /// What the row is about.
    pub kind: ConflictKind,
    /// The field; empty: the record as a whole.
    pub field: String,
    /// It stays in the cloud, because no node may learn of it.
    pub hidden: bool,
}

/// A conflict row as JSON has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// Its id, the key in `_conflicts`.
    pub id: String,
    /// The collection of the record.
    pub collection: String,
    /// The record.
    pub key: String,
    /// The write that lost, or passed the bound: the newest.
    pub write: String,
    /// The node that wrote it, or `cloud`.
    pub node: String,
    /// The actor of that write.
    pub actor: Option<String>,
    /// What it is about.
    pub kind: ConflictKind,
    /// What the losing op was; rows of older hubs do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
    /// The values of the newest event.
    pub fields: Vec<RowField>,
    /// The outcome of that write.
    pub outcome: String,
    /// The revision that it was decided at.
    pub revision: u64,
    /// When the first event was decided, RFC 3339.
    pub opened_at: String,
    /// Whether a person is needed.
    pub state: RowState,
    /// Who resolved it.
    pub resolved_by: Option<String>,
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<String>,
    /// By which write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_in: Option<String>,
    /// How many events it stands for.
    pub count: u64,
    /// The events before, the newest first; at most 99 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losers: Vec<Loser>,
}

/// One field of a conflict; what is absent is left out, and `null` is a value. What did not lose stands as
/// `{"$hash","$bytes"}` where it is large.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RowField {
    /// The field.
    pub name: String,
    /// What the writer saw.
    #[serde(default, deserialize_with = "even_null", skip_serializing_if = "Option::is_none")]
    pub base: Option<Box<RawValue>>,
    /// What the cloud had.
    #[serde(default, deserialize_with = "even_null", skip_serializing_if = "Option::is_none")]
    pub cloud: Option<Box<RawValue>>,
    /// What the write said.
    #[serde(default, deserialize_with = "even_null", skip_serializing_if = "Option::is_none")]
    pub edge: Option<Box<RawValue>>,
    /// What stands now.
    #[serde(default, deserialize_with = "even_null", skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<RawValue>>,
    /// What this event was to add to a counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<i64>,
    /// What all events of the row together were to add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<i64>,
}

/// An earlier event of an open row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Loser {
    /// The write.
    pub write: String,
    /// The node that wrote it, or `cloud`.
    pub node: String,
    /// The actor.
    pub actor: Option<String>,
    /// The revision that it was decided at.
    pub revision: u64,
    /// What it said.
    pub fields: Vec<RowField>,
}

/// serde takes `null` for `None`; here it is a value that lost.
fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// Which value of a field lost, and is therefore kept whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    Cloud,
    Edge,
    /// A change and the record that it was made on.
    Both,
}

/// A field of a conflict before it is cut to size.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    pub(super) name: String,
    pub(super) base: Option<Was>,
    pub(super) cloud: Option<Raw>,
    pub(super) edge: Option<Raw>,
    pub(super) result: Option<Raw>,
    pub(super) delta: Option<i64>,
}

/// One event that a row must show.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) key: RowKey,
    pub(super) state: RowState,
    pub(super) lost: Lost,
    /// What the op was; none: the write as a whole.
    pub(super) op: Option<&'static str>,
    /// Where the row goes when the cloud holds no such record.
    pub(super) place: Place,
    pub(super) fields: Vec<Figures>,
}

impl RowField {
    /// It says something about the event, and not only what the record was.
    fn is_figure(&self) -> bool {
        self.base.is_some() || self.edge.is_some() || self.delta.is_some() || self.result.is_some()
    }
}

impl Figures {
    /// Values up to `bound` bytes whole, others by hash and length; what lost has a bound of its own.
    fn cut(&self, lost: Lost, bounds: Bounds) -> RowField {
        let bound = |side| if side == lost || lost == Lost::Both { bounds.losing } else { bounds.others };
        let base = match &self.base {
            None | Some(Was::Absent) => None,
            Some(Was::Value(raw)) => Some(shown(raw, bounds.others)),
            Some(Was::Hash(hash)) => Some(stub(hash, None)),
        };
        RowField {
            name: self.name.clone(),
            base,
            cloud: self.cloud.as_ref().map(|raw| shown(raw, bound(Lost::Cloud))),
            edge: self.edge.as_ref().map(|raw| shown(raw, bound(Lost::Edge))),
            result: self.result.as_ref().map(|raw| shown(raw, bounds.others)),
            delta: self.delta,
            sum: self.delta,
        }
    }
}

#[derive(Clone, Copy)]
struct Bounds {
    losing: usize,
    others: usize,
}

/// What is tried until a row fits: first as it should be; then with thousands of small values by their hashes; last, for
/// a value that no honest edge sends, the loser too.
const BOUNDS: [Bounds; 3] = [
    Bounds { losing: usize::MAX, others: CONFLICT_VALUE_BYTES },
    Bounds { losing: usize::MAX, others: 64 },
    Bounds { losing: 64, others: 64 },
];

fn shown(raw: &Raw, bound: usize) -> Box<RawValue> {
    match raw.as_str() {
        text if text.len() <= bound => raw_value(text.to_owned()),
        text => stub(&hash(text.as_bytes()), Some(text.len())),
    }
}

fn stub(hash: &[u8], bytes: Option<usize>) -> Box<RawValue> {
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let bytes = bytes.map(|bytes| format!(",\"$bytes\":{bytes}")).unwrap_or_default();
    raw_value(format!("{{\"$hash\":\"{hex}\"{bytes}}}"))
}

fn raw_value(text: String) -> Box<RawValue> {
    RawValue::from_string(text).expect("a Raw holds JSON")
}

impl Row {
    /// Reads a stored row.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The first event of a row.
    pub(super) fn open(id: String, finding: &Finding, write: &Judged<'_>, outcome: &str) -> Self {
        let mut row = Self {
            id,
            collection: finding.key.collection.to_string(),
            key: finding.key.key.to_string(),
            write: write.id.to_string(),
            node: author(write),
            actor: write.write.actor.clone(),
            kind: finding.key.kind,
            op: finding.op.map(str::to_owned),
            fields: Vec::new(),
            outcome: outcome.to_owned(),
            revision: write.revision.0,
            opened_at: rfc3339(write.now_ms),
            state: finding.state,
            resolved_by: None,
            resolved_at: None,
            resolved_in: None,
            count: 1,
            losers: Vec::new(),
        };
        row.fit(finding);
        row
    }

    /// One more event: what stood in front becomes the newest of the losers.
    pub(super) fn add(&mut self, finding: &Finding, write: &Judged<'_>, outcome: &str) {
        let mut fields = std::mem::take(&mut self.fields);
        let sums: Vec<_> = fields.iter_mut().filter_map(|field| Some((field.name.clone(), field.sum.take()?))).collect();
        // The record's content stands once, with the newest event.
        fields.retain(RowField::is_figure);
        let loser = Loser {
            write: std::mem::replace(&mut self.write, write.id.to_string()),
            node: std::mem::replace(&mut self.node, author(write)),
            actor: std::mem::replace(&mut self.actor, write.write.actor.clone()),
            revision: std::mem::replace(&mut self.revision, write.revision.0),
            fields,
        };
        self.losers.insert(0, loser);
        self.losers.truncate(CONFLICT_LOSERS - 1);
        self.outcome = outcome.to_owned();
        self.op = finding.op.map(str::to_owned);
        self.count = self.count.saturating_add(1);
        self.fit(finding);
        for (name, before) in sums {
            if let Some(sum) = self.fields.iter_mut().find(|field| field.name == name).and_then(|field| field.sum.as_mut()) {
                *sum = sum.saturating_add(before);
            }
        }
    }

    /// Shows an event within the bound of a row: the oldest losers go first.
    fn fit(&mut self, finding: &Finding) {
        for bounds in BOUNDS {
            self.fields = finding.fields.iter().map(|figures| figures.cut(finding.lost, bounds)).collect();
            let mut excess = text_of(self).len().saturating_sub(CONFLICT_ROW_BYTES);
            while excess > 0
                && let Some(oldest) = self.losers.pop()
            {
                excess = excess.saturating_sub(text_of(&oldest).len());
            }
            if excess == 0 {
                return;
            }
        }
    }

    /// The row as a record's value. It may be larger and deeper than an application's: read it with [`Value::read`].
    pub(super) fn to_value(&self) -> Value {
        Value::read(&text_of(self)).expect("a row serialises to a JSON object")
    }
}

fn text_of(part: &impl Serialize) -> String {
    serde_json::to_string(part).expect("rows have string keys and JSON values")
}

fn author(write: &Judged<'_>) -> String {
    match &write.author {
        Author::Edge { node, .. } => node.to_string(),
        Author::Cloud { .. } => "cloud".to_owned(),
    }
}

/// UTC with milliseconds, as in every interface.
pub(super) fn rfc3339(ms: u64) -> String {
    Time(ms).to_string()
}
