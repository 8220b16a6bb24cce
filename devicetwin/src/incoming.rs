//! What devices say. Members that are not named here are passed over: KubeEdge's clients send more than it reads.

use std::collections::BTreeMap;

use proto::json::Raw;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::limits::{EVENT_ID_BYTES, PAYLOAD_BYTES};

/// A payload that cannot be read: what an answer with code 400 says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPayload {
    /// Above [`PAYLOAD_BYTES`].
    #[error("the payload has {0} bytes; {PAYLOAD_BYTES} is the most")]
    TooLarge(usize),
    /// Not UTF-8.
    #[error("the payload is not UTF-8 text")]
    NotText,
    /// Not the JSON that this topic takes; the parser's words.
    #[error("the payload is not {wanted}: {why}")]
    Syntax {
        /// An example.
        wanted: &'static str,
        /// The parser's words.
        why: String,
    },
    /// Nothing to do.
    #[error("the payload names no property: {}", TwinUpdate::EXAMPLE)]
    Empty,
}

/// One half of a property, as a payload has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The value: text whatever the type, or JSON of the type.
    pub value: Raw,
    /// When it was measured, milliseconds since 1970, where that was said.
    pub timestamp: Option<u64>,
}

/// What `twin/update` says of one property.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PropertyUpdate {
    /// `actual`
    pub reported: Option<Said>,
    /// `expected`
    pub desired: Option<Said>,
    /// `null` in place of the property: what was reported of it does not hold any more.
    pub removed: bool,
}

/// The payload of `twin/update`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TwinUpdate {
    /// The sender's own, echoed.
    pub event_id: String,
    /// By property.
    pub properties: BTreeMap<String, PropertyUpdate>,
}

/// The payload of `state/update`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateUpdate {
    /// The sender's own, echoed.
    pub event_id: String,
    /// As it was said; which states there are is judged elsewhere.
    pub state: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Envelope<'a> {
    #[serde(borrow)]
    event_id: Option<&'a RawValue>,
    #[serde(borrow)]
    twin: Option<BTreeMap<String, Option<Property<'a>>>>,
    state: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Property<'a> {
    #[serde(borrow)]
    actual: Option<Half<'a>>,
    #[serde(borrow)]
    expected: Option<Half<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Half<'a> {
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata {
    timestamp: Option<u64>,
}

impl TwinUpdate {
    const EXAMPLE: &'static str = r#"{"twin":{"temp":{"actual":{"value":"21"}}}}"#;

    /// Reads a payload.
    ///
    /// # Errors
    /// What is wrong with it, in words for whoever sent it.
    pub fn read(payload: &[u8]) -> Result<Self, BadPayload> {
        let envelope = envelope(payload, Self::EXAMPLE)?;
        let twin = envelope.twin.unwrap_or_default();
        if twin.is_empty() {
            return Err(BadPayload::Empty);
        }
        let mut properties = BTreeMap::new();
        for (name, property) in twin {
            let removed = property.is_none();
            let property = property.unwrap_or_default();
            let half = |half: Option<Half<'_>>| half.map(said).transpose().map(Option::flatten);
            let update = PropertyUpdate { reported: half(property.actual)?, desired: half(property.expected)?, removed };
            properties.insert(name, update);
        }
        Ok(Self { event_id: event_id(envelope.event_id), properties })
    }
}

impl StateUpdate {
    const EXAMPLE: &'static str = r#"{"state":"online"}"#;

    /// Reads a payload.
    ///
    /// # Errors
    /// What is wrong with it, in words for whoever sent it.
    pub fn read(payload: &[u8]) -> Result<Self, BadPayload> {
        let envelope = envelope(payload, Self::EXAMPLE)?;
        let missing = || BadPayload::Syntax { wanted: Self::EXAMPLE, why: "there is no state".to_owned() };
        Ok(Self { event_id: event_id(envelope.event_id), state: envelope.state.ok_or_else(missing)? })
    }
}

/// The event id of a payload that says nothing else, as those of `get`; of one that cannot be read, none.
pub fn event_id_of(payload: &[u8]) -> String {
    envelope(payload, "{}").map(|envelope| event_id(envelope.event_id)).unwrap_or_default()
}

fn envelope<'a>(payload: &'a [u8], wanted: &'static str) -> Result<Envelope<'a>, BadPayload> {
    if payload.len() > PAYLOAD_BYTES {
        return Err(BadPayload::TooLarge(payload.len()));
    }
    let text = std::str::from_utf8(payload).map_err(|_| BadPayload::NotText)?;
    if !text.trim_start().starts_with('{') {
        return Err(BadPayload::Syntax { wanted, why: "it is no JSON object".to_owned() });
    }
    serde_json::from_str(text).map_err(|error| BadPayload::Syntax { wanted, why: error.to_string() })
}

/// A half without a value says nothing: KubeEdge's clients send `"expected":{}` beside an actual value.
fn said(half: Half<'_>) -> Result<Option<Said>, BadPayload> {
    let Some(value) = half.value.filter(|value| value.get() != "null") else { return Ok(None) };
    let value = Raw::parse(value.get()).map_err(|error| BadPayload::Syntax { wanted: TwinUpdate::EXAMPLE, why: error.to_string() })?;
    Ok(Some(Said { value, timestamp: half.metadata.and_then(|metadata| metadata.timestamp) }))
}

/// A string, or a number spelled out.
fn event_id(raw: Option<&RawValue>) -> String {
    let raw = raw.map(RawValue::get).filter(|raw| *raw != "null").unwrap_or_default();
    let mut text = serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned());
    text.truncate(text.floor_char_boundary(EVENT_ID_BYTES));
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn kubeedges_payload_is_read() {
        let payload = br#"{"event_id":"e1","timestamp":1550049403598,"twin":{
            "temp":{"actual":{"value":"21","metadata":{"timestamp":1550049403000}},"expected":{"value":"20"},"optional":true,
                    "metadata":{"type":"int"},"expected_version":{"cloud":1,"edge":2}},
            "fan":{"expected":{},"actual":{"value":true}},
            "old":null}}"#;
        let update = TwinUpdate::read(payload).unwrap();
        assert_eq!(update.event_id, "e1");
        let temp = &update.properties["temp"];
        assert_eq!(temp.reported, Some(Said { value: Raw::string("21"), timestamp: Some(1_550_049_403_000) }));
        assert_eq!(temp.desired, Some(Said { value: Raw::string("20"), timestamp: None }));
        let fan = &update.properties["fan"];
        assert_eq!((fan.reported.as_ref().unwrap().value.as_str(), &fan.desired), ("true", &None));
        assert!(update.properties["old"].removed);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let large = vec![b' '; PAYLOAD_BYTES + 1];
        for (payload, words) in [
            (&b""[..], "not {"),
            (b"[]", "not {"),
            (b"\xff", "UTF-8"),
            (b"{}", "names no property"),
            (br#"{"twin":{}}"#, "names no property"),
            (br#"{"twin":[1]}"#, "not {"),
            (br#"{"twin":{"temp":7}}"#, "not {"),
            (&large, "the most"),
        ] {
            let error = TwinUpdate::read(payload).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(StateUpdate::read(br#"{"event_id":"1"}"#).unwrap_err().to_string().contains("no state"));
        assert_eq!(StateUpdate::read(br#"{"event_id":7,"state":"online"}"#).unwrap().event_id, "7");
    }

    #[test]
    fn an_event_id_is_cut_not_refused() {
        let long = format!(r#"{{"event_id":"{}"}}"#, "ü".repeat(EVENT_ID_BYTES));
        assert_eq!(event_id_of(long.as_bytes()).len(), EVENT_ID_BYTES);
        assert_eq!(event_id_of(b"nonsense"), "");
        assert_eq!(event_id_of(br#"{"event_id":null}"#), "");
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(payload: Vec<u8>) {
            let _ = (TwinUpdate::read(&payload), StateUpdate::read(&payload), event_id_of(&payload));
        }
    }
}
