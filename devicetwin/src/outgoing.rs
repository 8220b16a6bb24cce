//! What devices are answered and told. Values are text whatever their type, times are milliseconds since 1970, as KubeEdge has them.

use std::collections::BTreeMap;

use proto::device::{Device, DeviceId, Model, Reading, Twin, TwinField};
use proto::json::Raw;
use serde::Serialize;

use crate::topic::{self, Ask};

/// A message for the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it goes.
    pub topic: String,
    /// JSON.
    pub payload: String,
}

/// Codes of answers, KubeEdge's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The payload, or a part of it, is wrong.
    BadRequest,
    /// No such device on this node.
    NotFound,
    /// Too much at once: say it again later.
    TooMany,
    /// It could not be kept.
    Internal,
}

impl Code {
    /// Its number.
    pub fn number(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::NotFound => 404,
            Self::TooMany => 429,
            Self::Internal => 500,
        }
    }
}

/// What all messages have.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// The question's own id; empty where nobody asked.
    pub id: &'a str,
    /// Milliseconds since 1970.
    pub now_ms: u64,
}

#[derive(Serialize)]
struct Body<'a, T: Serialize> {
    event_id: &'a str,
    timestamp: u64,
    #[serde(flatten)]
    rest: T,
}

#[derive(Serialize)]
struct HalfShown<'a> {
    value: std::borrow::Cow<'a, str>,
    metadata: Stamp,
}

#[derive(Serialize)]
struct Stamp {
    timestamp: u64,
}

#[derive(Serialize)]
struct Typed {
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<HalfShown<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actual: Option<HalfShown<'a>>,
    optional: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Typed>,
}

/// A value as payloads have it.
pub fn text(value: &Raw) -> std::borrow::Cow<'_, str> {
    value.as_text().unwrap_or_else(|| value.as_str().into())
}

/// None: what was reported was taken back.
fn half(field: &TwinField) -> Option<HalfShown<'_>> {
    let known = field.value != Raw::null();
    known.then(|| HalfShown { value: text(&field.value), metadata: Stamp { timestamp: field.timestamp } })
}

fn shown<'a>(reading: &'a Reading, property: &str, model: &Model) -> Shown<'a> {
    Shown {
        expected: reading.desired.as_ref().and_then(half),
        actual: reading.reported.as_ref().and_then(half),
        optional: true,
        metadata: model.properties.get(property).map(|property| Typed { kind: property.kind.as_str() }),
    }
}

fn message(topic: String, event: Event<'_>, rest: impl Serialize) -> Message {
    // Maps with string keys always serialise.
    let payload = serde_json::to_string(&Body { event_id: event.id, timestamp: event.now_ms, rest }).unwrap_or_default();
    Message { topic, payload }
}

/// An answer that says what was wrong. `id` as the topic had it.
pub fn refusal(id: &str, ask: Ask, event: Event<'_>, code: Code, reason: &str) -> Message {
    #[derive(Serialize)]
    struct Rest<'a> {
        code: u16,
        reason: &'a str,
    }
    message(topic::result(id, ask), event, Rest { code: code.number(), reason })
}

/// A device with what is known of its kind.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Which.
    pub id: &'a DeviceId,
    /// What it is.
    pub model: &'a Model,
}

impl Subject<'_> {
    /// `twin/get/result`: all of the twin; declared properties without a value too.
    pub fn whole(self, event: Event<'_>, twin: &Twin) -> Message {
        let none = Reading::default();
        let declared = self.model.properties.keys().map(|name| (name, twin.properties.get(name).unwrap_or(&none)));
        let mut all: BTreeMap<&String, &Reading> = twin.properties.iter().collect();
        all.extend(declared);
        let twin: BTreeMap<_, _> = all.into_iter().map(|(name, reading)| (name, shown(reading, name, self.model))).collect();
        message(topic::result(self.id.as_str(), Ask::Get), event, BTreeMap::from([("twin", twin)]))
    }

    /// `twin/update/result`: the properties that were set, as they are now. Where others were refused, with code and reason.
    pub fn updated<'n>(self, event: Event<'_>, twin: &Twin, names: impl Iterator<Item = &'n String>, refused: Option<&str>) -> Message {
        #[derive(Serialize)]
        struct Rest<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            code: Option<u16>,
            #[serde(skip_serializing_if = "Option::is_none")]
            reason: Option<&'a str>,
            twin: BTreeMap<&'a String, Shown<'a>>,
        }
        let twin =
            names.filter_map(|name| twin.properties.get_key_value(name)).map(|(name, reading)| (name, shown(reading, name, self.model)));
        let code = refused.map(|_| Code::BadRequest.number());
        message(topic::result(self.id.as_str(), Ask::Update), event, Rest { code, reason: refused, twin: twin.collect() })
    }

    /// `twin/update/delta`: what the device should still do; none: nothing.
    pub fn delta(self, event: Event<'_>, twin: &Twin) -> Option<Message> {
        #[derive(Serialize)]
        struct Rest<'a> {
            twin: BTreeMap<&'a String, Shown<'a>>,
            delta: BTreeMap<&'a String, std::borrow::Cow<'a, str>>,
        }
        let open = || twin.properties.iter().filter_map(|(name, reading)| Some((name, reading, reading.delta()?)));
        let delta: BTreeMap<_, _> = open().map(|(name, _, wanted)| (name, text(wanted))).collect();
        if delta.is_empty() {
            return None;
        }
        let twin = open().map(|(name, reading, _)| (name, shown(reading, name, self.model))).collect();
        Some(message(topic::delta(self.id), event, Rest { twin, delta }))
    }

    /// `twin/update/document`: the properties that changed, before and after; none: nothing did.
    pub fn document(self, event: Event<'_>, before: &Twin, after: &Twin) -> Option<Message> {
        #[derive(Serialize)]
        struct Change<'a> {
            last: Option<Shown<'a>>,
            current: Shown<'a>,
        }
        let changed = after.properties.iter().filter(|(name, reading)| before.properties.get(*name) != Some(reading));
        let twin: BTreeMap<_, _> = changed
            .map(|(name, reading)| {
                let last = before.properties.get(name).map(|reading| shown(reading, name, self.model));
                (name, Change { last, current: shown(reading, name, self.model) })
            })
            .collect();
        (!twin.is_empty()).then(|| message(topic::document(self.id), event, BTreeMap::from([("twin", twin)])))
    }
}

/// `state/update/result`
pub fn state(id: &DeviceId, event: Event<'_>, state: &str) -> Message {
    message(topic::result(id.as_str(), Ask::State), event, BTreeMap::from([("state", state)]))
}

/// One device of a node, as membership messages have it.
#[derive(Debug, Clone, Serialize)]
pub struct Member {
    id: String,
    name: String,
    description: String,
    model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_online: Option<u64>,
}

impl Member {
    /// From what was declared, and what the device said of itself.
    pub fn of(id: &DeviceId, device: &Device, twin: &Twin) -> Self {
        let name = id.as_str().rsplit('/').next().unwrap_or_default();
        Self {
            id: id.to_string(),
            name: name.to_owned(),
            description: device.description.clone(),
            model: device.model.clone(),
            state: twin.state.as_ref().map(|state| text(&state.value).into_owned()),
            last_online: twin.state.as_ref().map(|state| state.timestamp),
        }
    }
}

/// `updated`: a device was declared otherwise than before.
pub fn attributes(id: &DeviceId, event: Event<'_>, member: &Member) -> Message {
    message(topic::updated(id), event, BTreeMap::from([("attributes", member)]))
}

/// `membership/get/result`
pub fn members(node: &str, event: Event<'_>, devices: &[Member]) -> Message {
    message(topic::membership(node, "get/result"), event, BTreeMap::from([("devices", devices)]))
}

/// `membership/detail`: all devices, when the broker is reached and nobody knows what was missed.
pub fn detail(node: &str, event: Event<'_>, devices: &[Member]) -> Message {
    message(topic::membership(node, "detail"), event, BTreeMap::from([("devices", devices)]))
}

/// `membership/updated`
pub fn membership_updated(node: &str, event: Event<'_>, added: &[Member], removed: &[Member]) -> Message {
    message(topic::membership(node, "updated"), event, BTreeMap::from([("added_devices", added), ("removed_devices", removed)]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proto::device::Half;
    use serde_json::{Value, json};

    use super::*;

    fn field(value: &str) -> TwinField {
        TwinField { value: Raw::parse(value).unwrap(), version: 2, timestamp: 5, writer: "lyon".to_owned() }
    }

    fn twin(fields: &[(Half, &str, &str)]) -> Twin {
        let mut twin = Twin::default();
        for (half, property, value) in fields {
            twin.properties.entry((*property).to_owned()).or_default().set(*half, field(value));
        }
        twin
    }

    fn body(message: &Message) -> Value {
        serde_json::from_str(&message.payload).unwrap()
    }

    const EVENT: Event<'_> = Event { id: "e1", now_ms: 7 };

    fn with<T>(ask: impl FnOnce(Subject<'_>) -> T) -> T {
        let model = Model::parse(r#"{"properties":{"temp":{"type":"int","access":"read-write"},"rpm":{"type":"int"}}}"#).unwrap();
        let id = DeviceId::parse("default/boiler").unwrap();
        ask(Subject { id: &id, model: &model })
    }

    #[test]
    fn get_shows_everything_as_text_without_versions() {
        let message = with(|subject| subject.whole(EVENT, &twin(&[(Half::Desired, "temp", "20"), (Half::Reported, "temp", "21")])));
        assert_eq!(message.topic, "$hw/events/device/default/boiler/twin/get/result");
        let half = |value: &str| json!({"value": value, "metadata": {"timestamp": 5}});
        let temp = json!({"expected": half("20"), "actual": half("21"), "optional": true, "metadata": {"type": "int"}});
        let rpm = json!({"optional": true, "metadata": {"type": "int"}});
        assert_eq!(body(&message), json!({"event_id": "e1", "timestamp": 7, "twin": {"temp": temp, "rpm": rpm}}));
    }

    #[test]
    fn what_was_taken_back_is_not_there_and_still_to_be_done() {
        let twin = twin(&[(Half::Desired, "temp", "20"), (Half::Reported, "temp", "null")]);
        let message = body(&with(|subject| subject.whole(EVENT, &twin)));
        assert_eq!((message["twin"]["temp"].get("actual"), &message["twin"]["temp"]["expected"]["value"]), (None, &json!("20")));
        assert_eq!(body(&with(|subject| subject.delta(EVENT, &twin)).unwrap())["delta"], json!({"temp": "20"}));
    }

    #[test]
    fn a_delta_is_told_while_something_is_to_be_done() {
        let wanted = twin(&[(Half::Desired, "temp", "20"), (Half::Reported, "temp", "21"), (Half::Reported, "rpm", "900")]);
        let message = with(|subject| subject.delta(EVENT, &wanted)).unwrap();
        assert_eq!(message.topic, "$hw/events/device/default/boiler/twin/update/delta");
        assert_eq!(body(&message)["delta"], json!({"temp": "20"}));
        assert!(body(&message)["twin"].get("rpm").is_none());
        let done = twin(&[(Half::Desired, "temp", "20"), (Half::Reported, "temp", "20")]);
        assert_eq!(with(|subject| subject.delta(EVENT, &done)), None);
    }

    #[test]
    fn a_document_tells_before_and_after() {
        let (before, after) =
            (twin(&[(Half::Reported, "temp", "20")]), twin(&[(Half::Reported, "temp", "21"), (Half::Reported, "rpm", "1")]));
        let message = body(&with(|subject| subject.document(EVENT, &before, &after)).unwrap());
        assert_eq!(message["twin"]["temp"]["last"]["actual"]["value"], "20");
        assert_eq!(message["twin"]["temp"]["current"]["actual"]["value"], "21");
        assert_eq!(message["twin"]["rpm"]["last"], Value::Null);
        assert_eq!(with(|subject| subject.document(EVENT, &after, &after)), None);
    }

    #[test]
    fn what_was_refused_stands_beside_what_was_taken() {
        let names = ["temp".to_owned()];
        let after = twin(&[(Half::Reported, "temp", "20")]);
        let message = body(&with(|subject| subject.updated(EVENT, &after, names.iter(), Some("rpm: \"x\" is no int"))));
        assert_eq!((&message["code"], &message["reason"]), (&json!(400), &json!("rpm: \"x\" is no int")));
        assert_eq!(message["twin"]["temp"]["actual"]["value"], "20");
        let good = body(&with(|subject| subject.updated(EVENT, &after, names.iter(), None)));
        assert!(good.get("code").is_none());
        let bad = refusal("a/b/c", Ask::Update, EVENT, Code::NotFound, "no such device");
        assert_eq!(bad.topic, "$hw/events/device/a/b/c/twin/update/result");
        assert_eq!(body(&bad), json!({"event_id": "e1", "timestamp": 7, "code": 404, "reason": "no such device"}));
    }

    #[test]
    fn members_are_told_with_their_state() {
        let id = DeviceId::parse("default/boiler").unwrap();
        let device = Device::parse(r#"{"model":"thermostat","node":"lyon","description":"cellar"}"#).unwrap();
        let said = Twin { state: Some(field("\"online\"")), ..Twin::default() };
        let member = Member::of(&id, &device, &said);
        let shown = json!({"id": "default/boiler", "name": "boiler", "description": "cellar", "model": "thermostat", "state": "online", "last_online": 5});
        let message = members("lyon", EVENT, std::slice::from_ref(&member));
        assert_eq!((message.topic.as_str(), &body(&message)["devices"]), ("$hw/events/node/lyon/membership/get/result", &json!([shown])));
        let message = membership_updated("lyon", EVENT, &[member], &[]);
        assert_eq!(body(&message)["removed_devices"], json!([]));
        assert_eq!(state(&id, EVENT, "online").topic, "$hw/events/device/default/boiler/state/update/result");
    }
}
