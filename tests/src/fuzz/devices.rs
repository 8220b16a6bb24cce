//! What devices say over MQTT, and what operators declare of them.

use devicetwin::incoming::{StateUpdate, TwinUpdate, event_id_of};
use devicetwin::outgoing::{Code, Event, Message, Subject, refusal};
use devicetwin::topic::{self, Ask, Asked};
use devicetwin::update::Judged;
use proto::device::{Device, DeviceId, Half, Model, Twin, TwinField};
use proto::json::{Raw, Value};

use super::Memory;

/// Three lines, a model, a topic and a twin's record, and the payload of the topic behind them.
pub(super) fn device(bytes: &[u8], memory: &Memory) {
    let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (model, topic, record, payload) = (part(), part(), part(), part());
    let text = String::from_utf8_lossy(model);
    let model = memory.within(64 * text.len(), || Model::parse(&text)).unwrap_or_default();
    if let Ok(value) = model.to_value() {
        assert_eq!(Model::parse(&value.to_text()).as_ref(), Ok(&model), "as it was written");
    }
    if let Ok(device) = Device::parse(&text) {
        let value = device.to_value().expect("what was sent in so few bytes is inside a record's bounds");
        assert_eq!(Device::parse(&value.to_text()).as_ref(), Ok(&device), "as it was written");
    }
    let mut twin = twin(&String::from_utf8_lossy(record));
    let update = memory.within(64 * payload.len(), || TwinUpdate::read(payload));
    let event_id = event_id_of(payload);
    assert!(event_id.len() <= devicetwin::limits::EVENT_ID_BYTES);
    let topic = String::from_utf8_lossy(topic);
    let (id, ask) = match topic::parse(&topic) {
        Some(Asked::Device(id, ask)) => (id.to_owned(), ask),
        _ => ("boiler".to_owned(), Ask::Update),
    };
    let event = Event { id: &event_id, now_ms: 7 };
    let said = |message: &Message| {
        let json: serde_json::Value = serde_json::from_str(&message.payload).expect("an answer is JSON");
        assert_eq!(json["event_id"], event_id);
        assert_eq!(topic::parse(&message.topic).filter(|asked| matches!(asked, Asked::Device(id, _) if DeviceId::parse(id).is_ok())), None);
    };
    said(&refusal(&id, ask, event, Code::BadRequest, "no"));
    let Ok(id) = DeviceId::parse(&id) else { return };
    assert_eq!(DeviceId::parse(id.as_str()).as_ref(), Ok(&id));
    let subject = Subject { id: &id, model: &model };
    if let Ok(update) = update {
        let judged = Judged::of(&update, &model);
        let before = twin.clone();
        for (half, fits) in [(Half::Reported, &judged.reported), (Half::Desired, &judged.desired)] {
            for (name, fit) in fits {
                let kept = model.properties[name].judge(&fit.value);
                assert_eq!(kept.as_ref(), Ok(&fit.value), "what was taken is taken again");
                let reading = twin.properties.entry(name.clone()).or_default();
                reading.set(half, TwinField::after(reading.half(half), fit.value.clone(), 7, "lyon"));
            }
        }
        said(&subject.updated(event, &twin, judged.reported.keys(), judged.reason().as_deref()));
        subject.document(event, &before, &twin).iter().for_each(said);
    }
    said(&subject.whole(event, &twin));
    subject.delta(event, &twin).iter().for_each(said);
    if let Ok(state) = StateUpdate::read(payload) {
        said(&devicetwin::outgoing::state(&id, event, &state.state));
    }
}

fn twin(record: &str) -> Twin {
    if let Ok(raw) = Raw::parse(record)
        && let Ok(field) = TwinField::parse(&raw)
        && TwinField::parse(&field.to_raw()).as_ref() != Ok(&field)
    {
        assert_eq!(field.to_raw(), Raw::null(), "only what is above the bounds of a value is not written");
    }
    Value::parse(record).map(|value| Twin::of(&value)).unwrap_or_default()
}
