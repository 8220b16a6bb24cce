//! What an operator declares about a collection (design §3), parsed and checked in one place.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::ids::Revision;
use crate::json::{Raw, Value};
use crate::names::{CollectionName, Key, NameError};

/// Labels of a node; a label may list several values, separated by commas.
pub type Labels = BTreeMap<String, String>;

/// How concurrent writes to a collection are reconciled (design §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Field by field; the later clock wins, the loser is kept.
    #[default]
    Merge,
    /// Insert only.
    Append,
    /// Only when nothing that the write touches changed.
    Guarded,
}

/// Who may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeMode {
    /// Both sides.
    #[default]
    ReadWrite,
    /// The cloud alone; refused at the edge with 403.
    ReadOnly,
}

/// What happens when a counter passes its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnViolation {
    /// It applies, and an open conflict says so.
    #[default]
    Flag,
    /// The write is rejected.
    Reject,
}

/// The kinds of field that are more than a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// A 64-bit whole number that increments add to.
    Counter,
}

/// Which field's value names the partition, and which label of a node lists the values it gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// A top-level field with a string.
    pub field: String,
    /// A node's label: `site=lyon` or `site=lyon,paris`.
    pub label: String,
}

/// What is declared about one field.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FieldRule {
    /// `counter`, or nothing.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<FieldType>,
    /// The least that a counter should hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    /// The most that a counter should hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
    /// What passing a bound does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_violation: Option<OnViolation>,
    /// `read-only`: the cloud alone writes this field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<EdgeMode>,
    /// The change applies only to the value that the op saw, along `transitions`.
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    pub guard: bool,
    /// Values that a new record may have; empty: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub initial: Vec<String>,
    /// From a stored value to the values that may follow it; empty: any.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub transitions: BTreeMap<String, Vec<String>>,
}

/// A collection's definition, as TOML or JSON has it, without its name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Definition {
    /// The field that holds the key, or `A/B` for two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Labels that a node must have to get the collection; absent: every node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Labels>,
    /// How the collection is cut; absent: one partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
    /// Who may write.
    pub edge: EdgeMode,
    /// How concurrent writes are reconciled.
    pub policy: Policy,
    /// Fields that are indexed on both sides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<String>,
    /// Fields that win or lose together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Vec<String>>,
    /// JSON Schema 2020-12.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<serde_json::Value>,
    /// How long tombstones and exit markers are kept, as `30d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tombstone_retention: Option<String>,
    /// How long an append collection's records stay at the edge, as `90d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge_keep: Option<String>,
    /// Rules of single fields.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, FieldRule>,
}

/// A definition with its name and the revision that it came with.
#[derive(Debug, Clone, PartialEq)]
pub struct Defined {
    /// The collection.
    pub name: CollectionName,
    /// The cloud transaction that made this definition.
    pub revision: Revision,
    /// What it says.
    pub definition: Definition,
}

/// Why a definition was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// Not JSON, an unknown field, a wrong type; the parser's words.
    #[error("{0}")]
    Syntax(String),
    /// It parses and makes no sense.
    #[error("{field}: {reason}")]
    Invalid {
        /// The member that is wrong.
        field: String,
        /// Why, and what to write instead.
        reason: String,
    },
}

/// Why a value and its key do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The value's key fields say something else than the key.
    #[error("field {field:?} says {found}, the key says {wanted}")]
    Mismatch {
        /// The key field.
        field: String,
        /// The value's part.
        found: String,
        /// The key's part.
        wanted: String,
    },
    /// A key field holds what cannot be part of a key.
    #[error("field {0:?} is part of the key: a string or a whole number, please")]
    Part(String),
    /// The key has more or fewer parts than the definition.
    #[error("the key has {found} parts, the definition names {wanted} key fields")]
    Parts {
        /// Parts in the key.
        found: usize,
        /// Fields in the definition.
        wanted: usize,
    },
    /// The parts make no valid key.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Definition {
    /// Parses and checks a definition's JSON.
    pub fn parse(json: &str) -> Result<Self, DefinitionError> {
        let definition: Self = serde_json::from_str(json).map_err(|error| DefinitionError::Syntax(error.to_string()))?;
        definition.check()?;
        Ok(definition)
    }

    /// The definition as JSON.
    pub fn to_json(&self) -> String {
        // Maps with string keys always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Checks what the grammar cannot.
    pub fn check(&self) -> Result<(), DefinitionError> {
        let invalid = |field: &str, reason: &str| Err(DefinitionError::Invalid { field: field.to_owned(), reason: reason.to_owned() });
        if self.key_fields().any(str::is_empty) {
            return invalid("key", "a field name, or several joined by '/', as \"OrderID/ProductID\"");
        }
        for field in self.key_fields() {
            if self.fields.get(field).is_some_and(|rule| rule.kind.is_some() || rule.guard) {
                return invalid(&format!("fields.{field}"), "a key field never changes, so it can be neither a counter nor guarded");
            }
        }
        for (name, text) in [("tombstone_retention", &self.tombstone_retention), ("edge_keep", &self.edge_keep)] {
            if text.as_deref().is_some_and(|text| duration_ms(text).is_none()) {
                return invalid(name, "a duration such as \"30d\", \"12h\" or \"90s\"");
            }
        }
        if self.edge_keep.is_some() && self.policy != Policy::Append {
            return invalid("edge_keep", "only collections with policy = \"append\" leave the edge by age");
        }
        if self.groups.iter().any(|group| group.iter().any(|field| self.is_counter(field))) {
            return invalid("groups", "a counter cannot be in a group: its increments never lose");
        }
        self.fields.iter().try_for_each(|(name, rule)| rule.check(name))
    }

    /// The fields that hold the key, in order; none when the key is free.
    pub fn key_fields(&self) -> impl Iterator<Item = &str> {
        self.key.iter().flat_map(|key| key.split('/'))
    }

    /// The rule of a field; the default where none is declared.
    pub fn rule(&self, field: &str) -> Option<&FieldRule> {
        self.fields.get(field)
    }

    /// Whether a field is a counter.
    pub fn is_counter(&self, field: &str) -> bool {
        self.rule(field).is_some_and(|rule| rule.kind == Some(FieldType::Counter))
    }

    /// Whether the edge may not write a field (or anything here).
    pub fn is_read_only(&self, field: &str) -> bool {
        self.edge == EdgeMode::ReadOnly || self.rule(field).is_some_and(|rule| rule.edge == Some(EdgeMode::ReadOnly))
    }

    /// Whether a field is judged against the value that the op saw.
    pub fn is_guarded(&self, field: &str) -> bool {
        self.rule(field).is_some_and(|rule| rule.guard)
    }

    /// The group that a field is in: the fields that win or lose with it, itself included.
    pub fn group_of(&self, field: &str) -> Option<&[String]> {
        self.groups.iter().find(|group| group.iter().any(|own| own == field)).map(Vec::as_slice)
    }

    /// How long tombstones are kept, milliseconds; 30 days unless declared.
    pub fn tombstone_retention_ms(&self) -> u64 {
        self.tombstone_retention.as_deref().and_then(duration_ms).unwrap_or(30 * 86_400_000)
    }

    /// Whether a node with these labels gets (parts of) the collection.
    pub fn selects(&self, labels: &Labels) -> bool {
        let wanted = self.nodes.iter().flatten();
        let matches = |(name, value): (&String, &String)| labels.get(name).is_some_and(|own| own.split(',').any(|own| own == value));
        wanted.into_iter().all(matches)
    }

    /// The partitions that a node with these labels gets: `None` is the one partition of a collection that is not cut.
    pub fn partitions(&self, labels: &Labels) -> Vec<Option<String>> {
        if !self.selects(labels) {
            return Vec::new();
        }
        match &self.partition {
            None => alloc::vec![None],
            Some(partition) => {
                let values = labels.get(&partition.label).map(String::as_str).unwrap_or_default();
                let mut values: Vec<_> = values.split(',').filter(|value| !value.is_empty()).map(|value| Some(value.to_owned())).collect();
                values.sort();
                values.dedup();
                values
            }
        }
    }

    /// Which partition a value is in: `None` when its field is absent or no string, so that it goes to no node.
    pub fn partition_of(&self, value: &Value) -> Option<Option<String>> {
        match &self.partition {
            None => Some(None),
            Some(partition) => value.get(&partition.field)?.as_text().map(|text| Some(text.into_owned())),
        }
    }

    /// The key that a value's key fields spell: `None` when the definition names none or a field is missing.
    pub fn key_of(&self, value: &Value) -> Result<Option<Key>, KeyError> {
        let mut parts = Vec::new();
        for field in self.key_fields() {
            match value.get(field) {
                Some(raw) => parts.push(part_of(field, raw)?),
                None => return Ok(None),
            }
        }
        match parts.as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(Key::parse(only)?)),
            _ => Ok(Some(Key::parse(&parts.iter().map(|part| escape_part(part)).collect::<Vec<_>>().join("/"))?)),
        }
    }

    /// Makes value and key agree: a missing key field is filled in from the key.
    pub fn fill_key(&self, key: &Key, value: &mut Value) -> Result<(), KeyError> {
        let fields: Vec<_> = self.key_fields().collect();
        if fields.is_empty() {
            return Ok(());
        }
        let parts: Vec<_> = match fields.len() {
            1 => alloc::vec![key.as_str().to_owned()],
            _ => key.as_str().split('/').map(unescape_part).collect(),
        };
        if parts.len() != fields.len() {
            return Err(KeyError::Parts { found: parts.len(), wanted: fields.len() });
        }
        for (field, wanted) in fields.iter().zip(parts) {
            let found = value.get(field).map(|raw| part_of(field, raw)).transpose()?;
            match found {
                Some(found) if found == wanted => {}
                Some(found) => return Err(KeyError::Mismatch { field: (*field).to_owned(), found, wanted }),
                None => value.set(field, spell_part(&wanted)),
            }
        }
        Ok(())
    }
}

impl FieldRule {
    fn check(&self, name: &str) -> Result<(), DefinitionError> {
        let invalid = |member: &str, reason: &str| {
            Err(DefinitionError::Invalid { field: format!("fields.{name}.{member}"), reason: reason.to_owned() })
        };
        let counter = self.kind == Some(FieldType::Counter);
        if !counter && (self.min.is_some() || self.max.is_some() || self.on_violation.is_some()) {
            return invalid("min", "min, max and on_violation need type = \"counter\"");
        }
        if let (Some(min), Some(max)) = (self.min, self.max)
            && min > max
        {
            return invalid("min", "min is above max");
        }
        if counter && self.guard {
            return invalid("guard", "a counter cannot be guarded: use min and max with on_violation = \"reject\"");
        }
        if !self.guard && (!self.initial.is_empty() || !self.transitions.is_empty()) {
            return invalid("transitions", "initial and transitions need guard = true");
        }
        Ok(())
    }
}

/// A duration as definitions and flags have it: a whole number and `s`, `m`, `h` or `d`; milliseconds.
pub fn duration_ms(text: &str) -> Option<u64> {
    let unit = match text.chars().last()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    text[..text.len() - 1].parse::<u64>().ok()?.checked_mul(unit)
}

fn part_of(field: &str, raw: &Raw) -> Result<String, KeyError> {
    match (raw.as_text(), raw.as_i64()) {
        (Some(text), _) => Ok(text.into_owned()),
        (None, Some(number)) => Ok(number.to_string()),
        (None, None) => Err(KeyError::Part(field.to_owned())),
    }
}

/// A whole number in its one decimal spelling is filled in as a number, anything else as a string.
fn spell_part(part: &str) -> Raw {
    match part.parse::<i64>() {
        Ok(number) if number.to_string() == part => Raw::integer(number),
        _ => Raw::string(part),
    }
}

fn escape_part(part: &str) -> String {
    part.replace('%', "%25").replace('/', "%2F")
}

fn unescape_part(part: &str) -> String {
    part.replace("%2F", "/").replace("%2f", "/").replace("%25", "%")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn definition(json: &str) -> Definition {
        Definition::parse(json).unwrap()
    }

    #[test]
    fn unknown_members_are_refused() {
        assert!(matches!(Definition::parse(r#"{"polcy":"merge"}"#), Err(DefinitionError::Syntax(text)) if text.contains("polcy")));
        assert!(Definition::parse(r#"{"fields":{"a":{"mni":1}}}"#).is_err());
        for bad in [
            r#"{"fields":{"a":{"min":1}}}"#,
            r#"{"fields":{"a":{"type":"counter","guard":true}}}"#,
            r#"{"key":"A/"}"#,
            r#"{"fields":{"a":{"type":"counter","min":2,"max":1}}}"#,
            r#"{"edge_keep":"90d"}"#,
            r#"{"tombstone_retention":"soon"}"#,
            r#"{"key":"A","fields":{"A":{"type":"counter"}}}"#,
            r#"{"fields":{"a":{"initial":["x"]}}}"#,
            r#"{"groups":[["a"]],"fields":{"a":{"type":"counter"}}}"#,
        ] {
            assert!(matches!(Definition::parse(bad), Err(DefinitionError::Invalid { .. })), "{bad}");
        }
    }

    #[test]
    fn json_round_trip() {
        let full = definition(
            r#"{"key":"A/B","nodes":{"role":"shop"},"partition":{"field":"W","label":"site"},"edge":"read-only","policy":"guarded",
            "indexes":["C"],"groups":[["s","z"]],"schema":{"type":"object"},"tombstone_retention":"30d",
            "fields":{"n":{"type":"counter","min":0,"on_violation":"flag"},"s":{"guard":true,"initial":["a"],"transitions":{"a":["b"]}}}}"#,
        );
        assert_eq!(definition(&full.to_json()), full);
    }

    #[test]
    fn composite_key_slash() {
        let definition = definition(r#"{"key":"OrderID/ProductID"}"#);
        let value = Value::parse(r#"{"OrderID":10248,"ProductID":"a/b%"}"#).unwrap();
        let key = definition.key_of(&value).unwrap().unwrap();
        assert_eq!(key.as_str(), "10248/a%2Fb%25");
        let mut empty = Value::default();
        definition.fill_key(&key, &mut empty).unwrap();
        assert!(empty.same(&value), "{}", empty.to_text());
        let mut other = Value::parse(r#"{"OrderID":1}"#).unwrap();
        assert!(matches!(definition.fill_key(&key, &mut other), Err(KeyError::Mismatch { .. })));
        assert!(matches!(definition.fill_key(&Key::parse("1").unwrap(), &mut other), Err(KeyError::Parts { .. })));
    }

    #[test]
    fn numbers_and_strings_in_keys() {
        let definition = definition(r#"{"key":"ProductID"}"#);
        let key = |text| Key::parse(text).unwrap();
        let mut value = Value::parse(r#"{"ProductID":11.0}"#).unwrap();
        definition.fill_key(&key("11"), &mut value).unwrap();
        let mut text = Value::parse(r#"{"ProductID":"007"}"#).unwrap();
        definition.fill_key(&key("007"), &mut text).unwrap();
        assert!(matches!(definition.fill_key(&key("7"), &mut text), Err(KeyError::Mismatch { .. })));
        assert_eq!(definition.key_of(&Value::parse(r#"{"ProductID":[]}"#).unwrap()), Err(KeyError::Part("ProductID".into())));
    }

    /// A key of one field is that field's text as it is; of several, each is escaped. What a key lacks in a value is filled in,
    /// as a number only where that spells the same key again.
    #[test]
    fn keys_and_values_say_each_other() {
        for (fields, key, value) in [
            ("A", "a/b%25", r#"{"A":"a/b%25"}"#),
            ("A", "7", r#"{"A":7}"#),
            ("A", "-7", r#"{"A":-7}"#),
            ("A", "9223372036854775807", r#"{"A":9223372036854775807}"#),
            ("A", "9223372036854775808", r#"{"A":"9223372036854775808"}"#),
            ("A", "007", r#"{"A":"007"}"#),
            ("A", "+7", r#"{"A":"+7"}"#),
            ("A", "-0", r#"{"A":"-0"}"#),
            ("A", "7.0", r#"{"A":"7.0"}"#),
            ("A/B", "1/x", r#"{"A":1,"B":"x"}"#),
            ("A/B", "01/a%2Fb", r#"{"A":"01","B":"a/b"}"#),
        ] {
            let (definition, key) = (definition(&format!(r#"{{"key":"{fields}"}}"#)), Key::parse(key).unwrap());
            let mut filled = Value::default();
            definition.fill_key(&key, &mut filled).unwrap();
            assert_eq!(filled.to_text(), value);
            assert_eq!(definition.key_of(&filled), Ok(Some(key)));
        }
        let (plain, keyed) = (definition("{}"), definition(r#"{"key":"A/B"}"#));
        assert_eq!(plain.key_of(&Value::parse(r#"{"A":1}"#).unwrap()), Ok(None), "no field is the key");
        assert_eq!(keyed.key_of(&Value::parse(r#"{"A":1}"#).unwrap()), Ok(None), "one of them is missing");
    }

    #[test]
    fn rules_are_those_of_the_named_field() {
        let definition = definition(
            r#"{"policy":"guarded","groups":[["street","zip"],["lat","lon","height"]],"fields":{"state":{"guard":true},
            "n":{"type":"counter","min":2,"max":2},"price":{"edge":"read-only"}}}"#,
        );
        let all = ["state", "n", "price", "street", "lon", "height", "other"];
        assert_eq!(all.map(|field| definition.is_guarded(field)), [true, false, false, false, false, false, false]);
        assert_eq!(all.map(|field| definition.is_counter(field)), [false, true, false, false, false, false, false]);
        assert_eq!(all.map(|field| definition.is_read_only(field)), [false, false, true, false, false, false, false]);
        let groups = all.map(|field| definition.group_of(field).map(|group| group.join("+")));
        let (address, place) = (Some("street+zip".to_owned()), Some("lat+lon+height".to_owned()));
        assert_eq!(groups, [None, None, None, address, place.clone(), place, None]);
    }

    #[test]
    fn durations_have_a_unit() {
        for (text, ms) in [
            ("0s", Some(0)),
            ("7s", Some(7_000)),
            ("5m", Some(300_000)),
            ("2h", Some(7_200_000)),
            ("3d", Some(259_200_000)),
            ("213503982334d", Some(18_446_744_073_657_600_000)),
            ("213503982335d", None),
            ("", None),
            ("s", None),
            ("7", None),
            ("-1s", None),
            ("1.5h", None),
            ("7 s", None),
            ("7w", None),
            ("7ü", None),
        ] {
            assert_eq!(duration_ms(text), ms, "{text:?}");
        }
        let kept = |json: &str| definition(json).tombstone_retention_ms();
        assert_eq!(kept("{}"), 2_592_000_000, "thirty days");
        assert_eq!([r#"{"tombstone_retention":"45s"}"#, r#"{"tombstone_retention":"90d"}"#].map(kept), [45_000, 7_776_000_000]);
    }

    #[test]
    fn selection_and_partitions() {
        let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<Labels>();
        let cut = definition(r#"{"nodes":{"role":"shop"},"partition":{"field":"W","label":"site"}}"#);
        assert_eq!(cut.partitions(&labels(&[("role", "shop"), ("site", "paris,lyon,lyon")])), [Some("lyon".into()), Some("paris".into())]);
        assert!(cut.partitions(&labels(&[("role", "till"), ("site", "lyon")])).is_empty());
        assert!(cut.partitions(&labels(&[("role", "shop")])).is_empty());
        assert_eq!(Definition::default().partitions(&labels(&[])), [None]);
        assert_eq!(cut.partition_of(&Value::parse(r#"{"W":"lyon"}"#).unwrap()), Some(Some("lyon".into())));
        assert_eq!(cut.partition_of(&Value::parse(r#"{"W":3}"#).unwrap()), None);
        assert_eq!(Definition::default().partition_of(&Value::default()), Some(None));
    }
}
