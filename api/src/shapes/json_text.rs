//! JSON text that is carried as it is, and a writer for the answers that hold it.

use std::fmt::{Display, Write as _};
use std::io::Write as _;

/// The text of one JSON value that was checked when it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawJson(String);

impl RawJson {
    /// Takes a text that is known to be one JSON value: it was parsed before it was stored, or serialised.
    pub fn trusted(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<proto::json::Raw> for RawJson {
    fn from(raw: proto::json::Raw) -> Self {
        Self(raw.as_str().to_owned())
    }
}

impl From<&proto::json::Value> for RawJson {
    fn from(value: &proto::json::Value) -> Self {
        Self(value.to_text())
    }
}

/// Writes one JSON object, member by member, into a buffer.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Writes a member's name; the caller writes its value into the buffer. Names are plain ASCII literals.
    pub(crate) fn member(&mut self, name: &'static str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(crate) fn text(&mut self, name: &'static str, text: &str) {
        quote(self.member(name), text);
    }

    pub(crate) fn text_or_null(&mut self, name: &'static str, text: Option<&str>) {
        match text {
            Some(text) => self.text(name, text),
            None => self.raw(name, "null"),
        }
    }

    /// A text that needs no escapes: a number, a time, a write id with its own quotes.
    pub(crate) fn raw(&mut self, name: &'static str, json: &str) {
        self.member(name).extend_from_slice(json.as_bytes());
    }

    pub(crate) fn number(&mut self, name: &'static str, number: impl Display) {
        // Writing into a Vec cannot fail.
        let _ = write!(self.member(name), "{number}");
    }

    pub(crate) fn number_or_null(&mut self, name: &'static str, number: Option<impl Display>) {
        match number {
            Some(number) => self.number(name, number),
            None => self.raw(name, "null"),
        }
    }

    pub(crate) fn flag(&mut self, name: &'static str, flag: bool) {
        self.raw(name, if flag { "true" } else { "false" });
    }

    /// Something whose text needs no escapes, in quotes.
    pub(crate) fn plain(&mut self, name: &'static str, shown: impl Display) {
        let _ = write!(self.member(name), "\"{shown}\"");
    }

    /// A list, each entry written by `one`.
    pub(crate) fn list<T>(&mut self, name: &'static str, entries: impl IntoIterator<Item = T>, mut one: impl FnMut(&mut Vec<u8>, T)) {
        let out = self.member(name);
        out.push(b'[');
        for (place, entry) in entries.into_iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            one(out, entry);
        }
        out.push(b']');
    }

    pub(crate) fn end(self) {
        self.out.push(b'}');
    }
}

/// Writes a JSON string.
pub(crate) fn quote(out: &mut Vec<u8>, text: &str) {
    // A string always serialises, and a Vec takes everything.
    let _ = serde_json::to_writer(out, text);
}

/// Writes what needs no escapes as a JSON string.
pub(crate) fn quote_plain(out: &mut Vec<u8>, shown: impl Display) {
    let mut text = String::with_capacity(48);
    let _ = write!(text, "\"{shown}\"");
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_valid_json() {
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        object.text("a", "qu\"ote\n");
        object.number("b", 3);
        object.number_or_null("c", None::<u64>);
        object.flag("d", true);
        object.list("e", ["x", "y"], quote);
        object.raw("f", r#"{"n":1.50}"#);
        object.end();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, r#"{"a":"qu\"ote\n","b":3,"c":null,"d":true,"e":["x","y"],"f":{"n":1.50}}"#);
    }
}
