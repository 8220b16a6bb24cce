//! A record's value: one JSON object, kept as its text was first accepted, field by field.
//!
//! [`Value::parse`] is the only way in, on both sides, so that a value that exists is inside every bound of
//! design §3. Top-level fields keep their order and their text (insignificant white space apart); comparing is
//! by parsed value, numbers by decimal value.

use alloc::borrow::Cow;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::limits::{VALUE_BYTES, VALUE_DEPTH, VALUE_FIELDS};
use crate::number::Decimal;

/// Why a text was refused as a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON; the parser's words, with line and column.
    #[error("not valid JSON: {0}")]
    Syntax(String),
    /// JSON, but no object.
    #[error("a record's value must be a JSON object")]
    NotObject,
    /// A member stands twice in one object.
    #[error("member {0:?} stands twice in one object")]
    Duplicate(String),
    /// Over the bounds of design §3.
    #[error("too large: {0}")]
    TooLarge(&'static str),
    /// A number whose exponent is absurd.
    #[error("number {0} is out of bounds: its exponent is above one million")]
    Number(String),
}

/// The compact text of one JSON value that was checked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Raw(String);

impl Raw {
    /// Checks and compacts one JSON value of any kind.
    pub fn parse(text: &str) -> Result<Self, JsonError> {
        if text.len() > VALUE_BYTES {
            return Err(JsonError::TooLarge("a value has at most 1 MiB"));
        }
        check_depth(text, VALUE_DEPTH - 1)?;
        let raw: &RawValue = serde_json::from_str(text).map_err(syntax)?;
        check(raw.get())?;
        Ok(Self(compact(raw.get())))
    }

    /// The JSON `null`.
    pub fn null() -> Self {
        Self("null".to_string())
    }

    /// A whole number.
    pub fn integer(value: i64) -> Self {
        Self(value.to_string())
    }

    /// A JSON string of this text.
    pub fn string(text: &str) -> Self {
        Self(quote(text))
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The content, when it is a string.
    pub fn as_text(&self) -> Option<Cow<'_, str>> {
        if self.0.starts_with('"') { text_of(&self.0).ok() } else { None }
    }

    /// The number, when it is a whole 64-bit one.
    pub fn as_i64(&self) -> Option<i64> {
        match self.0.as_bytes().first() {
            Some(b'-' | b'0'..=b'9') => Decimal::parse(&self.0)?.to_i64(),
            _ => None,
        }
    }

    /// Equality of parsed values: white space, member order, escapes and the spelling of numbers do not count.
    pub fn same(&self, other: &Self) -> bool {
        self.0 == other.0 || same(&self.0, &other.0)
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A JSON object inside the bounds of a record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Value {
    fields: Vec<(String, Raw)>,
}

impl Value {
    /// Parses a value from outside: syntax, object, duplicate members at any depth, size, fields, depth.
    pub fn parse(text: &str) -> Result<Self, JsonError> {
        let text = text.trim_matches([' ', '\t', '\r', '\n']);
        check_depth(text, VALUE_DEPTH)?;
        if !text.starts_with('{') {
            serde_json::from_str::<&RawValue>(text).map_err(syntax)?;
            return Err(JsonError::NotObject);
        }
        let members = members(text)?;
        let mut fields = Vec::with_capacity(members.len());
        for (name, raw) in members {
            check(raw.get())?;
            fields.push((name.into_owned(), Raw(compact(raw.get()))));
        }
        let value = Self { fields };
        value.check_bounds()?;
        Ok(value)
    }

    /// Reads a value that this code wrote; cheaper than [`Value::parse`]. An error means a damaged store or peer.
    pub fn read(text: &str) -> Result<Self, JsonError> {
        let fields = members(text)?.into_iter().map(|(name, raw)| (name.into_owned(), Raw(raw.get().to_string())));
        Ok(Self { fields: fields.collect() })
    }

    /// The bounds on a value, after a merge too: bytes and fields.
    pub fn check_bounds(&self) -> Result<(), JsonError> {
        if self.fields.len() > VALUE_FIELDS {
            return Err(JsonError::TooLarge("a value has at most 1,000 top-level fields"));
        }
        if self.text_len() > VALUE_BYTES {
            return Err(JsonError::TooLarge("a value has at most 1 MiB"));
        }
        Ok(())
    }

    /// The value's JSON text, compact.
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(self.text_len());
        text.push('{');
        for (name, raw) in &self.fields {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&quote(name));
            text.push(':');
            text.push_str(raw.as_str());
        }
        text.push('}');
        text
    }

    /// How many bytes [`Value::to_text`] has, and one for a comma behind the last member. Both sides bound values and writes by it, so
    /// names count with their escapes.
    pub fn text_len(&self) -> usize {
        2 + self.fields.iter().map(|(name, raw)| quoted_len(name) + raw.0.len() + 2).sum::<usize>()
    }

    /// A field's value.
    pub fn get(&self, name: &str) -> Option<&Raw> {
        self.fields.iter().find(|(own, _)| own == name).map(|(_, raw)| raw)
    }

    /// Sets a field, where it stands or at the end.
    pub fn set(&mut self, name: &str, raw: Raw) {
        match self.fields.iter_mut().find(|(own, _)| own == name) {
            Some((_, slot)) => *slot = raw,
            None => self.fields.push((name.to_string(), raw)),
        }
    }

    /// Removes a field; tells what it was.
    pub fn remove(&mut self, name: &str) -> Option<Raw> {
        let place = self.fields.iter().position(|(own, _)| own == name)?;
        Some(self.fields.remove(place).1)
    }

    /// Fields in the order that they were accepted in.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Raw)> {
        self.fields.iter().map(|(name, raw)| (name.as_str(), raw))
    }

    /// Equality of parsed values.
    pub fn same(&self, other: &Self) -> bool {
        self.fields.len() == other.fields.len() && self.fields().all(|(name, raw)| other.get(name).is_some_and(|theirs| raw.same(theirs)))
    }
}

/// RFC 7386 on one field: an object patch goes into an object, anything else replaces. `None`: the patch has no
/// null to remove at this level, so the result is the field's whole new value.
pub fn merge_patch(target: Option<&Raw>, patch: &Raw) -> Result<Raw, JsonError> {
    if !patch.0.starts_with('{') {
        return Ok(patch.clone());
    }
    let mut merged = match target {
        Some(target) if target.0.starts_with('{') => Value::read(&target.0)?,
        _ => Value::default(),
    };
    for (name, raw) in Value::read(&patch.0)?.fields() {
        if raw.as_str() == "null" {
            merged.remove(name);
        } else {
            let new = merge_patch(merged.get(name), raw)?;
            merged.set(name, new);
        }
    }
    Ok(Raw(merged.to_text()))
}

fn syntax(error: serde_json::Error) -> JsonError {
    JsonError::Syntax(error.to_string())
}

/// How many bytes [`quote`] makes of a text.
fn quoted_len(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    2 + text.bytes().map(escaped).sum::<usize>()
}

fn quote(text: &str) -> String {
    // A string always serialises.
    serde_json::to_string(text).unwrap_or_default()
}

fn text_of(json: &str) -> Result<Cow<'_, str>, JsonError> {
    struct Text<'a>(Cow<'a, str>);
    impl<'de> Deserialize<'de> for Text<'de> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct V;
            impl<'de> Visitor<'de> for V {
                type Value = Text<'de>;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a string")
                }
                fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                    Ok(Text(Cow::Borrowed(text)))
                }
                fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                    Ok(Text(Cow::Owned(text.to_string())))
                }
            }
            deserializer.deserialize_str(V)
        }
    }
    serde_json::from_str::<Text<'_>>(json).map(|text| text.0).map_err(syntax)
}

struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_string())))
            }
        }
        deserializer.deserialize_str(V)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((name, raw)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push((name.0, raw));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(V)
    }
}

fn members(text: &str) -> Result<Vec<(Cow<'_, str>, &RawValue)>, JsonError> {
    let members = serde_json::from_str::<Members<'_>>(text).map_err(syntax)?.0;
    let mut seen = BTreeSet::new();
    for (name, _) in &members {
        if !seen.insert(name.as_ref()) {
            return Err(JsonError::Duplicate(name.to_string()));
        }
    }
    Ok(members)
}

/// Nested containers: duplicates, well-formed strings, sane numbers. Depth was bounded before.
fn check(text: &str) -> Result<(), JsonError> {
    match text.as_bytes().first() {
        Some(b'{') => members(text)?.into_iter().try_for_each(|(_, raw)| check(raw.get())),
        Some(b'[') => elements(text)?.into_iter().try_for_each(|raw| check(raw.get())),
        Some(b'"') => text_of(text).map(drop),
        Some(b'-' | b'0'..=b'9') if Decimal::parse(text).is_none() => {
            Err(JsonError::Number(format!("{}…", text.chars().take(40).collect::<String>())))
        }
        _ => Ok(()),
    }
}

fn elements(text: &str) -> Result<Vec<&RawValue>, JsonError> {
    serde_json::from_str(text).map_err(syntax)
}

/// Counts brackets outside strings, so that no recursive code ever sees a text deeper than the bound.
fn check_depth(text: &str, bound: usize) -> Result<(), JsonError> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            // Outside strings there is none in JSON: the parser stops there.
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > bound {
                    return Err(JsonError::TooLarge("a value is nested at most 64 deep"));
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// The text, which is known to be JSON, without white space outside strings.
fn compact(text: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let significant = |c: &char| {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_string = !in_string,
            ' ' | '\t' | '\r' | '\n' if !in_string => return false,
            _ => {}
        }
        true
    };
    text.chars().filter(significant).collect()
}

fn same(a: &str, b: &str) -> bool {
    match (a.as_bytes().first(), b.as_bytes().first()) {
        (Some(b'{'), Some(b'{')) => match (Value::read(a), Value::read(b)) {
            (Ok(a), Ok(b)) => a.same(&b),
            _ => false,
        },
        (Some(b'['), Some(b'[')) => match (elements(a), elements(b)) {
            (Ok(a), Ok(b)) => a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| same(a.get(), b.get())),
            _ => false,
        },
        (Some(b'"'), Some(b'"')) => matches!((text_of(a), text_of(b)), (Ok(a), Ok(b)) if a == b),
        (Some(b'-' | b'0'..=b'9'), Some(b'-' | b'0'..=b'9')) => {
            matches!((Decimal::parse(a), Decimal::parse(b)), (Some(a), Some(b)) if a == b)
        }
        _ => a == b,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(text: &str) -> Raw {
        Raw::parse(text).unwrap()
    }

    #[test]
    fn keeps_text_order_and_numbers() {
        let text = r#"{"b": 18.0, "a":[1, {"x": null}], "ü":"a \" b"}"#;
        assert_eq!(Value::parse(text).unwrap().to_text(), r#"{"b":18.0,"a":[1,{"x":null}],"ü":"a \" b"}"#);
        assert_eq!(Value::parse("{}").unwrap().to_text(), "{}");
    }

    #[test]
    fn refuses_what_is_no_value() {
        assert_eq!(Value::parse("[1]"), Err(JsonError::NotObject));
        assert_eq!(Value::parse("null"), Err(JsonError::NotObject));
        assert!(matches!(Value::parse("{"), Err(JsonError::Syntax(_))));
        assert!(matches!(Value::parse(""), Err(JsonError::Syntax(_))));
        assert!(matches!(Value::parse("{} x"), Err(JsonError::Syntax(_))));
        assert!(matches!(Value::parse(r#"{"a":"\ud800"}"#), Err(JsonError::Syntax(_))));
        assert_eq!(Value::parse(r#"{"a":1,"\u0061":2}"#), Err(JsonError::Duplicate("a".into())));
        assert_eq!(Value::parse(r#"{"a":[{"b":1,"b":1}]}"#), Err(JsonError::Duplicate("b".into())));
        assert!(matches!(Value::parse(r#"{"a":1e99999999}"#), Err(JsonError::Number(_))));
    }

    #[test]
    fn bounds() {
        let deep = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(Value::parse(&deep(63)).is_ok());
        assert!(matches!(Value::parse(&deep(64)), Err(JsonError::TooLarge(_))));
        assert!(matches!(Value::parse(&deep(200_000)), Err(JsonError::TooLarge(_))));
        let wide = |n: usize| format!("{{{}}}", (0..n).map(|i| format!("\"f{i}\":1")).collect::<Vec<_>>().join(","));
        assert!(Value::parse(&wide(1000)).is_ok());
        assert!(matches!(Value::parse(&wide(1001)), Err(JsonError::TooLarge(_))));
        let long = |n: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(n));
        assert!(Value::parse(&long(1024 * 1024 - 100)).is_ok());
        assert!(matches!(Value::parse(&long(1024 * 1024)), Err(JsonError::TooLarge(_))));
    }

    /// Also of a member alone, which a check or a change names; and of what a merge made, which nothing parsed as a whole.
    #[test]
    fn bounds_to_the_byte() {
        let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
        for (bytes, good) in [(VALUE_BYTES - 1, true), (VALUE_BYTES, true), (VALUE_BYTES + 1, false), (VALUE_BYTES + 2, false)] {
            assert_eq!(Raw::parse(&text(bytes)).is_ok(), good, "a member of {bytes} bytes");
            let mut value = Value::default();
            value.set("a", Raw::string(""));
            value.set("a", Raw(text(bytes + 2 - value.text_len())));
            assert_eq!((value.text_len(), value.check_bounds().is_ok()), (bytes, good), "a value of {bytes} bytes");
        }
        let deep = |n: usize| Raw::parse(&format!("{}{}", "[".repeat(n), "]".repeat(n)));
        assert!(deep(VALUE_DEPTH - 1).is_ok());
        assert!(matches!(deep(VALUE_DEPTH), Err(JsonError::TooLarge(_))));
    }

    /// Brackets in texts open and close nothing, however they are quoted; and what was closed is deep no longer.
    #[test]
    fn depth_is_that_of_brackets_outside_texts() {
        let (open, close) = ("[{".repeat(50), "]}".repeat(50));
        for shallow in [
            format!("\"{open}\""),
            format!(r#"["\"{open}"]"#),
            format!(r#"["\\","{open}"]"#),
            format!(r#"{{"\"{open}":"\\\"{open}"}}"#),
            format!("[{}1]", "[],{},".repeat(200)),
            format!("[{}1]", r#"["["],"#.repeat(200)),
        ] {
            assert!(Raw::parse(&shallow).is_ok(), "{shallow}");
            assert!(Value::parse(&format!("{{\"a\":{shallow}}}")).is_ok(), "{shallow}");
        }
        for inner in [r#"["]","#, r#"["\"]","#, r#"{"}":"#, r#"{"a\\":"#] {
            let deep = format!("{}1", inner.repeat(70));
            assert!(matches!(Raw::parse(&deep), Err(JsonError::TooLarge(_))), "{inner} {close}");
        }
    }

    /// One byte of a name may be six of the text: a value of "700 KB" was one of almost 4 MiB, all that a frame holds.
    #[test]
    fn escapes_in_names_count() {
        let named = |n: usize| format!("{{\"{}\":1}}", "\\u0001".repeat(n));
        assert!(matches!(Value::parse(&named(200_000)), Err(JsonError::TooLarge(_))));
        for text in ["{}", r#"{"a\"\\\n\r\t\b\f\u0000\u001f\u007f\u00e9/":1,"":null}"#] {
            let value = Value::parse(text).unwrap();
            assert_eq!(value.text_len(), value.to_text().len() + usize::from(!value.fields.is_empty()), "{text}");
        }
    }

    #[test]
    fn sameness() {
        for (a, b) in [("18", "18.0"), (r#"{"a":1,"b":[2.0]}"#, r#"{"b":[2],"a":1e0}"#), (r#""é""#, r#""\u00e9""#), ("null", "null")] {
            assert!(raw(a).same(&raw(b)), "{a} {b}");
        }
        for (a, b) in [("18", "\"18\""), ("null", "false"), ("[1]", "[1,1]"), (r#"{"a":1}"#, r#"{"a":1,"b":null}"#), ("0", "null")] {
            assert!(!raw(a).same(&raw(b)), "{a} {b}");
        }
    }

    #[test]
    fn patches() {
        let target = raw(r#"{"a":{"x":1,"y":2},"b":3}"#);
        let patch = raw(r#"{"a":{"x":null,"z":[null]},"b":null,"c":{"d":null}}"#);
        assert_eq!(merge_patch(Some(&target), &patch).unwrap().as_str(), r#"{"a":{"y":2,"z":[null]},"c":{}}"#);
        assert_eq!(merge_patch(None, &raw("5")).unwrap().as_str(), "5");
        for target in ["5", "null", "[1]", "\"{}\"", "true"] {
            let into = merge_patch(Some(&raw(target)), &raw(r#"{"x":null,"y":1}"#)).unwrap();
            assert_eq!(into.as_str(), r#"{"y":1}"#, "an object goes over {target}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,60}|[\\[\\]{}\",:0-9eE+.\\\\ -]{0,60}") {
            let _ = Value::parse(&text);
            let _ = Raw::parse(&text);
        }

        #[test]
        fn reading_back_what_was_written(names in prop::collection::btree_set("\\PC{0,6}", 0..8), number: f64) {
            let mut value = Value::default();
            for name in &names {
                value.set(name, Raw::string(name));
            }
            if number.is_finite() {
                value.set("n", raw(&serde_json::to_string(&number).unwrap()));
            }
            let again = Value::parse(&value.to_text()).unwrap();
            prop_assert_eq!(&again, &value);
            prop_assert_eq!(Value::read(&value.to_text()).unwrap(), value);
        }
    }
}
