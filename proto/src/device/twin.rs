//! A device's twin: what is desired of it and what it reported, one field of a record for each half of each property, so that
//! design §4 reconciles them like any other fields.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{DeviceError, STATE};
use crate::json::{Raw, Value};

/// Which half of a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Half {
    /// What applications want; set in the cloud or at the edge.
    Desired,
    /// What the device says it has; set at its node alone.
    Reported,
}

impl Half {
    /// As fields and APIs spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Desired => "desired",
            Self::Reported => "reported",
        }
    }

    /// The field of a twin that holds this half of a property.
    pub fn field(self, property: &str) -> String {
        format!("{}.{property}", self.as_str())
    }

    /// The half and the property that a field of a twin holds.
    pub fn of_field(field: &str) -> Option<(Self, &str)> {
        let (half, property) = field.split_once('.')?;
        match half {
            "desired" => Some((Self::Desired, property)),
            "reported" => Some((Self::Reported, property)),
            _ => None,
        }
    }
}

/// One half of a property, or a device's state: `{"value","version","timestamp","writer"}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwinField {
    /// The value.
    pub value: Raw,
    /// How often it was set: one more than what its writer saw. For people and mappers; which of two values stands is decided by
    /// the clocks of design §4.
    pub version: u64,
    /// When it was set, milliseconds since 1970.
    pub timestamp: u64,
    /// The node, or `cloud`.
    pub writer: String,
}

#[derive(Serialize, Deserialize)]
struct FieldText<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    version: u64,
    timestamp: u64,
    writer: String,
}

impl TwinField {
    /// What follows a field, or its absence, when it is set.
    pub fn after(before: Option<&Self>, value: Raw, now_ms: u64, writer: &str) -> Self {
        Self { value, version: before.map_or(0, |before| before.version).saturating_add(1), timestamp: now_ms, writer: writer.to_owned() }
    }

    /// Reads a field of a record.
    ///
    /// # Errors
    /// It is no field of a twin.
    pub fn parse(raw: &Raw) -> Result<Self, DeviceError> {
        let wrong = |reason: String| DeviceError::new("twin", reason);
        let text: FieldText<'_> = serde_json::from_str(raw.as_str()).map_err(|error| wrong(error.to_string()))?;
        let value = Raw::parse(text.value.get()).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { value, version: text.version, timestamp: text.timestamp, writer: text.writer })
    }

    /// The field of a record.
    pub fn to_raw(&self) -> Raw {
        let writer = Raw::string(&self.writer);
        let text = format!(r#"{{"value":{},"version":{},"timestamp":{},"writer":{writer}}}"#, self.value, self.version, self.timestamp);
        // What is made of checked parts is JSON.
        Raw::parse(&text).unwrap_or_else(|_| Raw::null())
    }
}

/// Both halves of one property.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// What is wanted.
    pub desired: Option<TwinField>,
    /// What is.
    pub reported: Option<TwinField>,
}

impl Reading {
    /// What is wanted, where it is not what is.
    pub fn delta(&self) -> Option<&Raw> {
        let wanted = &self.desired.as_ref()?.value;
        let same = self.reported.as_ref().is_some_and(|reported| reported.value.same(wanted));
        (!same).then_some(wanted)
    }

    /// One half.
    pub fn half(&self, half: Half) -> Option<&TwinField> {
        match half {
            Half::Desired => self.desired.as_ref(),
            Half::Reported => self.reported.as_ref(),
        }
    }

    /// Sets one half.
    pub fn set(&mut self, half: Half, field: TwinField) {
        match half {
            Half::Desired => self.desired = Some(field),
            Half::Reported => self.reported = Some(field),
        }
    }
}

/// A whole twin: the record of `_twins` with what is newer laid over it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Twin {
    /// The node that has the device.
    pub node: Option<String>,
    /// What the device, or its mapper, said of itself: `online`, `offline`, …
    pub state: Option<TwinField>,
    /// By name. Also properties that the model does not declare any more.
    pub properties: BTreeMap<String, Reading>,
}

impl Twin {
    /// Reads a record. Fields that are none of a twin's are passed over: a newer version may have put them there.
    pub fn of(value: &Value) -> Self {
        let mut twin = Self::default();
        for (name, raw) in value.fields() {
            twin.lay(name, raw);
        }
        twin
    }

    /// One field of the record, by its name there.
    pub fn field(&self, name: &str) -> Option<&TwinField> {
        match Half::of_field(name) {
            _ if name == STATE => self.state.as_ref(),
            Some((half, property)) => self.properties.get(property)?.half(half),
            None => None,
        }
    }

    /// Lays one field of a record over this twin.
    pub fn lay(&mut self, name: &str, raw: &Raw) {
        match (name, Half::of_field(name)) {
            ("node", _) => self.node = raw.as_text().map(|node| node.to_string()),
            (STATE, _) => self.state = TwinField::parse(raw).ok(),
            (_, Some((half, property))) => {
                if let Ok(field) = TwinField::parse(raw) {
                    self.properties.entry(property.to_owned()).or_default().set(half, field);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn field(value: &str, version: u64) -> TwinField {
        TwinField { value: Raw::parse(value).unwrap(), version, timestamp: 1_700_000_000_000, writer: "lyon".to_owned() }
    }

    #[test]
    fn a_field_comes_back_from_its_record() {
        for value in ["21", "\"a\\\"b\"", "true", "1.50"] {
            let field = field(value, 7);
            assert_eq!(TwinField::parse(&field.to_raw()).unwrap(), field);
        }
        assert!(TwinField::parse(&Raw::parse("7").unwrap()).is_err());
        assert!(TwinField::parse(&Raw::parse(r#"{"value":1}"#).unwrap()).is_err());
    }

    #[test]
    fn names_of_fields_are_unambiguous() {
        for property in ["temp", "a.b", ".", "desired.temp", "x/y#z"] {
            for half in [Half::Desired, Half::Reported] {
                assert_eq!(Half::of_field(&half.field(property)), Some((half, property)));
            }
        }
        assert_eq!(Half::of_field("node"), None);
    }

    #[test]
    fn a_twin_gives_a_field_by_its_name_in_the_record() {
        let names = ["state", "desired.temp", "reported.temp", "desired.a.b"];
        let mut value = Value::parse(r#"{"node":"lyon"}"#).unwrap();
        names.into_iter().zip(1..).for_each(|(name, version)| value.set(name, field("20", version).to_raw()));
        let twin = Twin::of(&value);
        let versions = names.map(|name| twin.field(name).unwrap().version);
        assert_eq!(versions, [1, 2, 3, 4]);
        for absent in ["node", "temp", "", "reported.a.b", "desired.fan", "desired.state"] {
            assert_eq!(twin.field(absent), None, "{absent}");
        }
        let temp = &twin.properties["temp"];
        assert_eq!([Half::Desired, Half::Reported].map(|half| temp.half(half).unwrap().version), [2, 3]);
        assert_eq!(twin.properties["a.b"].half(Half::Reported), None);
    }

    #[test]
    fn a_twin_is_its_record_and_shows_what_is_still_wanted() {
        let mut value = Value::parse(r#"{"node":"lyon","later":{"x":1}}"#).unwrap();
        value.set("state", field("\"online\"", 1).to_raw());
        value.set("desired.temp", field("20", 3).to_raw());
        value.set("reported.temp", field("20.0", 9).to_raw());
        value.set("desired.fan", field("true", 1).to_raw());
        let mut twin = Twin::of(&value);
        assert_eq!((twin.node.as_deref(), twin.state.as_ref().unwrap().version), (Some("lyon"), 1));
        assert_eq!(twin.properties["temp"].delta(), None, "20.0 is 20");
        assert_eq!(twin.properties["fan"].delta().unwrap().as_str(), "true");
        let newer = TwinField::after(twin.properties["temp"].reported.as_ref(), Raw::integer(18), 5, "lyon");
        assert_eq!(newer.version, 10);
        twin.lay("reported.temp", &newer.to_raw());
        assert_eq!(twin.properties["temp"].delta().unwrap().as_str(), "20");
    }
}
