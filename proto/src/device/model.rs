//! What kinds of device there are: their properties, and what a value of one may be.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};

use serde::{Deserialize, Serialize};

use super::{DeviceError, NAME_BYTES, PROPERTIES, PROPERTY_BYTES};
use crate::json::{JsonError, Raw, Value};

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataType {
    /// A whole number of 64 bits.
    Int,
    /// A number.
    Float,
    /// A number.
    Double,
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// Bytes, as base64 text.
    Bytes,
}

impl DataType {
    /// As models and payloads spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Float => "float",
            Self::Double => "double",
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Bytes => "bytes",
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Double)
    }
}

/// Who may set a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// The device alone: it has no desired value.
    #[default]
    ReadOnly,
    /// Applications desire a value, the device reports what it has.
    ReadWrite,
}

impl Access {
    /// As models spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::ReadWrite => "read-write",
        }
    }
}

/// One property of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Property {
    /// What its values are.
    #[serde(rename = "type")]
    pub kind: DataType,
    /// Who may set it.
    #[serde(default)]
    pub access: Access,
    /// The unit, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The least that a number may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// The most that a number may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
    /// What is desired of a new device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<serde_json::Value>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// Why a value is none of a property's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Not of the type.
    #[error("{found} is no {wanted}")]
    Type {
        /// What came, cut.
        found: String,
        /// The type's name.
        wanted: &'static str,
    },
    /// A number outside its bounds.
    #[error("{found} is {side} {bound}, the {word} of this property")]
    Range {
        /// What came, cut.
        found: String,
        /// `below` or `above`.
        side: &'static str,
        /// The bound.
        bound: String,
        /// `minimum` or `maximum`.
        word: &'static str,
    },
    /// More than [`PROPERTY_BYTES`].
    #[error("a value has at most {PROPERTY_BYTES} bytes; this one has {0}")]
    TooLarge(usize),
}

impl Property {
    /// Judges a value in JSON; the value as it is kept.
    ///
    /// # Errors
    /// Why it is none of this property's.
    pub fn judge(&self, value: &Raw) -> Result<Raw, Unfit> {
        let text = value.as_str();
        if text.len() > PROPERTY_BYTES {
            return Err(Unfit::TooLarge(text.len()));
        }
        let fits = match self.kind {
            DataType::Int => value.as_i64().is_some(),
            DataType::Float | DataType::Double => number(text).is_some(),
            DataType::Boolean => matches!(text, "true" | "false"),
            DataType::String => value.as_text().is_some(),
            DataType::Bytes => value.as_text().is_some_and(|text| is_base64(&text)),
        };
        if !fits {
            return Err(Unfit::Type { found: shown(text), wanted: self.kind.as_str() });
        }
        let kept = match (self.kind, value.as_i64()) {
            // 3.0 is a whole number, and is kept as one.
            (DataType::Int, Some(whole)) => Raw::integer(whole),
            _ => value.clone(),
        };
        self.range(&kept)?;
        Ok(kept)
    }

    /// Judges a value as MQTT payloads have it, text whatever the type.
    ///
    /// # Errors
    /// Why it is none of this property's.
    pub fn read(&self, text: &str) -> Result<Raw, Unfit> {
        if text.len() > PROPERTY_BYTES {
            return Err(Unfit::TooLarge(text.len()));
        }
        let unfit = || Unfit::Type { found: shown(text), wanted: self.kind.as_str() };
        let raw = match self.kind {
            DataType::String | DataType::Bytes => Raw::string(text),
            _ => match text.trim() {
                "true" | "True" | "TRUE" => Raw::parse("true"),
                "false" | "False" | "FALSE" => Raw::parse("false"),
                trimmed => Raw::parse(trimmed.strip_prefix('+').unwrap_or(trimmed)),
            }
            .map_err(|_| unfit())?,
        };
        self.judge(&raw).map_err(|error| match error {
            Unfit::Type { .. } => unfit(),
            other => other,
        })
    }

    fn range(&self, value: &Raw) -> Result<(), Unfit> {
        let Some(number) = Some(value.as_str()).filter(|_| self.kind.is_number()).and_then(number) else { return Ok(()) };
        let out = |side, bound: f64, word| Err(Unfit::Range { found: shown(value.as_str()), side, bound: bound.to_string(), word });
        match (self.minimum, self.maximum) {
            (Some(minimum), _) if number < minimum => out("below", minimum, "minimum"),
            (_, Some(maximum)) if number > maximum => out("above", maximum, "maximum"),
            _ => Ok(()),
        }
    }

    fn check(&self, name: &str) -> Result<(), DeviceError> {
        let wrong = |member: &str, reason: String| Err(DeviceError::new(format!("properties.{name}.{member}"), reason));
        if !self.kind.is_number() && (self.minimum.is_some() || self.maximum.is_some()) {
            return wrong("minimum", format!("minimum and maximum are of numbers, this is a {}", self.kind.as_str()));
        }
        if let (Some(minimum), Some(maximum)) = (self.minimum, self.maximum)
            && minimum > maximum
        {
            return wrong("minimum", "it is above the maximum".to_owned());
        }
        if self.default.is_some() && self.access == Access::ReadOnly {
            return wrong("default", "what nobody can set has no default: access = \"read-write\"".to_owned());
        }
        match self.default_value().map(|default| default.map(|default| self.judge(&default))) {
            Ok(None | Some(Ok(_))) => Ok(()),
            Ok(Some(Err(unfit))) => wrong("default", unfit.to_string()),
            Err(error) => wrong("default", error.to_string()),
        }
    }

    /// What is desired of a new device.
    ///
    /// # Errors
    /// It is above the bounds of a value.
    pub fn default_value(&self) -> Result<Option<Raw>, JsonError> {
        self.default.as_ref().map(|default| Raw::parse(&default.to_string())).transpose()
    }
}

/// A record of `_device_models`, without its key.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// By name.
    pub properties: BTreeMap<String, Property>,
}

impl Model {
    /// Reads a record, or what was sent to become one.
    ///
    /// # Errors
    /// The member that is wrong, and what would be right.
    pub fn parse(text: &str) -> Result<Self, DeviceError> {
        let model: Self = serde_json::from_str(text).map_err(|error| DeviceError::new("model", error.to_string()))?;
        model.check()?;
        Ok(model)
    }

    /// The record's value.
    ///
    /// # Errors
    /// It is above the bounds of a record.
    pub fn to_value(&self) -> Result<Value, JsonError> {
        Value::parse(&serde_json::to_string(self).unwrap_or_default())
    }

    fn check(&self) -> Result<(), DeviceError> {
        if self.properties.len() > PROPERTIES {
            return Err(DeviceError::new(
                "properties",
                format!("a model has at most {PROPERTIES}; this one has {}", self.properties.len()),
            ));
        }
        self.properties.iter().try_for_each(|(name, property)| {
            if !is_property_name(name) {
                let reason = "a property's name has 1 to 128 letters, digits or any of -_.,:/@# (ASCII)";
                return Err(DeviceError::new(format!("properties.{}", name.chars().take(80).collect::<String>()), reason));
            }
            property.check(name)
        })
    }
}

/// KubeEdge's rule for names: `^[a-zA-Z0-9-_.,:/@#]{1,128}$`.
fn is_property_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.,:/@#".contains(&byte);
    !name.is_empty() && name.len() <= NAME_BYTES && name.bytes().all(allowed)
}

/// A JSON number that a double can hold.
fn number(text: &str) -> Option<f64> {
    let begins = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    begins.then(|| text.parse::<f64>().ok()).flatten().filter(|number| number.is_finite())
}

/// RFC 4648, section 4, with padding.
fn is_base64(text: &str) -> bool {
    let (body, padding) = match text.trim_end_matches('=') {
        body if text.len() - body.len() <= 2 => (body, text.len() - body.len()),
        _ => return false,
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    body.bytes().all(allowed) && (body.len() + padding).is_multiple_of(4)
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// As it was written: not one bit off, whatever the number.
    #[test]
    fn bounds_and_defaults_are_read_exactly() {
        let text = r#"{"type":"double","minimum":-4.5e+300,"maximum":1.7976931348623157e+308,"default":5e-324}"#;
        let read = property(text);
        assert_eq!((read.minimum, read.maximum), ("-4.5e300".parse().ok(), Some(f64::MAX)));
        assert_eq!(read.default.as_ref().and_then(serde_json::Value::as_f64), Some(5e-324));
        assert_eq!(property(&serde_json::to_string(&read).unwrap()), read);
    }

    fn property(json: &str) -> Property {
        serde_json::from_str(json).unwrap()
    }

    fn raw(text: &str) -> Raw {
        Raw::parse(text).unwrap()
    }

    #[test]
    fn each_type_takes_its_own() {
        for (kind, good, bad) in [
            ("int", &["7", "-3", "3.0"][..], &["7.5", "\"7\"", "true", "9223372036854775808"][..]),
            ("float", &["7", "-3.25", "1e3"], &["\"1\"", "null", "1e999"]),
            ("double", &["0", "1.5e-7"], &["{}", "[1]"]),
            ("boolean", &["true", "false"], &["1", "\"true\"", "null"]),
            ("string", &["\"\"", "\"ü\""], &["1", "null", "{}"]),
            (
                "bytes",
                &["\"\"", "\"AA==\"", "\"AAE=\"", "\"AAEC\"", "\"+a/Z\""],
                &["\"A\"", "\"A===\"", "\"====\"", "\"ü\"", "\"AA\"", "\"A?EC\"", "\"A-_C\"", "7"],
            ),
        ] {
            let property = property(&format!(r#"{{"type":"{kind}"}}"#));
            good.iter().for_each(|text| assert!(property.judge(&raw(text)).is_ok(), "{kind} {text}"));
            bad.iter().for_each(|text| assert!(property.judge(&raw(text)).is_err(), "{kind} {text}"));
        }
    }

    #[test]
    fn texts_of_payloads_become_values_of_the_type() {
        let read = |kind: &str, text: &str| property(&format!(r#"{{"type":"{kind}"}}"#)).read(text).map(|raw| raw.as_str().to_owned());
        for (kind, text, kept) in [
            ("int", " 21 ", "21"),
            ("int", "+5", "5"),
            ("int", "3.0", "3"),
            ("float", "21.50", "21.50"),
            ("boolean", "true", "true"),
            ("boolean", "True", "true"),
            ("boolean", " TRUE ", "true"),
            ("boolean", "false", "false"),
            ("boolean", "False", "false"),
            ("boolean", "FALSE", "false"),
            ("string", "true", "\"true\""),
            ("string", " a\"b", "\" a\\\"b\""),
            ("bytes", "AAE=", "\"AAE=\""),
        ] {
            assert_eq!(read(kind, text).unwrap(), kept, "{kind} {text}");
        }
        for (kind, text) in [
            ("int", ""),
            ("int", "NaN"),
            ("float", "inf"),
            ("int", "1 2"),
            ("boolean", "on"),
            ("float", "\"1\""),
            ("bytes", "?"),
            ("int", "True"),
            ("float", "false"),
            ("boolean", "1"),
        ] {
            assert!(matches!(read(kind, text), Err(Unfit::Type { found, .. }) if found == text), "{kind} {text:?}");
        }
    }

    #[test]
    fn numbers_stay_inside_their_bounds() {
        let temp = property(r#"{"type":"float","minimum":-10,"maximum":30.5}"#);
        assert!(temp.read("-10").is_ok() && temp.read("30.5").is_ok());
        assert_eq!(temp.read("30.6").unwrap_err().to_string(), "30.6 is above 30.5, the maximum of this property");
        assert_eq!(temp.read("-11").unwrap_err().to_string(), "-11 is below -10, the minimum of this property");
    }

    /// What is bounded is the value in JSON: of a text with its quotes.
    #[test]
    fn values_have_a_largest_size() {
        let text = property(r#"{"type":"string"}"#);
        for (bytes, fits) in [(PROPERTY_BYTES - 1, true), (PROPERTY_BYTES, true), (PROPERTY_BYTES + 1, false), (PROPERTY_BYTES + 2, false)]
        {
            let content = "x".repeat(bytes - 2);
            let json = raw(&format!("\"{content}\""));
            let wanted = if fits { Ok(json.clone()) } else { Err(Unfit::TooLarge(bytes)) };
            assert_eq!(text.judge(&json), wanted, "{bytes}");
            assert_eq!(text.read(&content), wanted, "{bytes}");
            let number = format!("{:>bytes$}", 7);
            let wanted = if fits { Ok(raw("7")) } else { Err(Unfit::TooLarge(bytes)) };
            assert_eq!(property(r#"{"type":"int"}"#).read(&number), wanted, "{bytes}");
        }
    }

    #[test]
    fn words_are_those_of_models() {
        for kind in [DataType::Int, DataType::Float, DataType::Double, DataType::Boolean, DataType::String, DataType::Bytes] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        for access in [Access::ReadOnly, Access::ReadWrite] {
            assert_eq!(serde_json::to_value(access).unwrap(), access.as_str());
        }
        let refused = property(r#"{"type":"int"}"#).read("warm").unwrap_err().to_string();
        assert_eq!(refused, "warm is no int");
    }

    #[test]
    fn a_model_at_its_bounds_is_taken() {
        let declares = |names: &[String], property: &str| {
            let members: Vec<_> = names.iter().map(|name| format!("\"{name}\":{property}")).collect();
            Model::parse(&format!(r#"{{"properties":{{{}}}}}"#, members.join(",")))
        };
        let names: Vec<_> = (0..PROPERTIES).map(|n| format!("p{n}")).collect();
        assert_eq!(declares(&names, r#"{"type":"int"}"#).unwrap().properties.len(), PROPERTIES);
        let one_value = r#"{"type":"int","access":"read-write","minimum":3,"maximum":3,"default":3}"#;
        assert!(declares(&names[..1], one_value).is_ok(), "a least that is the most leaves one value");
        for (name, good) in [
            (String::new(), false),
            ("x".into(), true),
            ("aZ09-_.,:/@#".into(), true),
            ("x".repeat(NAME_BYTES), true),
            ("x".repeat(NAME_BYTES + 1), false),
            ("ü".into(), false),
        ] {
            assert_eq!(declares(core::slice::from_ref(&name), r#"{"type":"int"}"#).is_ok(), good, "{name:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_model_is_named() {
        let model = |property: &str| format!(r#"{{"properties":{{"temp":{property}}}}}"#);
        for (property, field) in [
            (r#"{"type":"string","minimum":1}"#, "properties.temp.minimum"),
            (r#"{"type":"int","minimum":2,"maximum":1}"#, "properties.temp.minimum"),
            (r#"{"type":"int","default":1}"#, "properties.temp.default"),
            (r#"{"type":"int","access":"read-write","maximum":1,"default":2}"#, "properties.temp.default"),
            (r#"{"type":"colour"}"#, "model"),
            (r#"{"type":"int","colour":1}"#, "model"),
        ] {
            assert_eq!(Model::parse(&model(property)).unwrap_err().field, field, "{property}");
        }
        assert!(Model::parse(r#"{"properties":{"a b":{"type":"int"}}}"#).unwrap_err().field.ends_with("a b"));
        let many: String = (0..=PROPERTIES).map(|n| format!(r#""p{n}":{{"type":"int"}},"#)).collect();
        let many = format!(r#"{{"properties":{{{}}}}}"#, many.trim_end_matches(','));
        assert_eq!(Model::parse(&many).unwrap_err().field, "properties");
        let good = Model::parse(&model(r#"{"type":"int","unit":"°C","access":"read-write","default":20}"#)).unwrap();
        assert_eq!(Model::parse(&good.to_value().unwrap().to_text()).unwrap(), good);
        assert_eq!(good.properties["temp"].default_value().unwrap().unwrap(), raw("20"));
    }
}
