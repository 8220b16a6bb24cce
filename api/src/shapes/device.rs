//! M, D and T: a model, a device and its twin, written around the texts of their records.

use std::collections::BTreeMap;

use proto::device::{Device, Model, Property, Reading, Twin, TwinField};
use proto::ids::Revision;

use super::json_text::quote;
use super::{Object, RecordSync, Time, Write};

/// A kind of device.
#[derive(Debug, Clone, utoipa::ToSchema)]
#[schema(as = DeviceModel)]
pub struct DeviceModel {
    /// Its name.
    pub name: String,
    /// What it declares.
    #[schema(inline, value_type = ModelBody)]
    #[serde(flatten)]
    pub model: Model,
    /// The revision that last changed it; 0 where no cloud has seen it yet.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// When it was last changed.
    pub updated_at: Time,
    /// What is still on its way.
    pub sync: RecordSync,
}

/// What a model declares: the body of its PUT.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what proto::device::Model reads and writes")]
pub(crate) struct ModelBody {
    /// For people.
    description: Option<String>,
    /// By name.
    properties: BTreeMap<String, PropertyBody>,
}

/// One property of a model.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what proto::device::Property reads and writes")]
pub(crate) struct PropertyBody {
    /// `int`, `float`, `double`, `boolean`, `string`, or `bytes` (base64).
    #[serde(rename = "type")]
    kind: String,
    /// `read-only` (the device alone has a say; where left out) or `read-write`.
    access: Option<String>,
    /// For people.
    unit: Option<String>,
    /// The least that a number may be.
    minimum: Option<f64>,
    /// The most that a number may be.
    maximum: Option<f64>,
    /// What is desired of a new device.
    default: Option<serde_json::Value>,
    /// For people.
    description: Option<String>,
}

/// A device, and in short how it stands.
#[derive(Debug, Clone, utoipa::ToSchema)]
#[schema(as = Device)]
pub struct DeviceShown {
    /// `NAME` or `NAMESPACE/NAME`.
    pub id: String,
    /// What was declared.
    #[schema(inline, value_type = DeviceBody)]
    #[serde(flatten)]
    pub device: Device,
    /// What it said of itself last: `online`, `offline`, `ok`, `unhealthy`, `unknown`; null where it never did.
    pub state: Option<String>,
    /// When it said or reported anything last.
    pub last_seen: Option<Time>,
    /// Properties that are desired otherwise than they are.
    pub delta: Vec<String>,
    /// The revision that last changed what was declared; 0 where no cloud has seen it yet.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// When that was last changed.
    pub updated_at: Time,
    /// What of it is still on its way.
    pub sync: RecordSync,
}

/// What is declared of a device: the body of its PUT.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what proto::device::Device reads and writes")]
pub(crate) struct DeviceBody {
    /// The name of its model.
    model: String,
    /// The node that it is connected to; at the edge this node where left out.
    node: Option<String>,
    /// For people.
    description: Option<String>,
    /// For selecting.
    labels: Option<BTreeMap<String, String>>,
    /// How a mapper reaches it.
    protocol: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A device's twin.
#[derive(Debug, Clone, utoipa::ToSchema)]
#[schema(as = Twin)]
pub struct TwinShown {
    /// The device.
    pub device: String,
    /// Its model's name.
    pub model: String,
    /// What is desired and what was reported.
    #[schema(inline, value_type = TwinBody)]
    #[serde(flatten)]
    pub twin: Twin,
    /// What the model declares.
    #[schema(ignore)]
    pub declared: Model,
    /// The revision that last changed it; 0 where no cloud has seen it yet.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// What of it is still on its way; reports that wait for their turn are not counted.
    pub sync: RecordSync,
}

/// What a twin holds.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what TwinShown writes")]
pub(crate) struct TwinBody {
    /// The node that has the device.
    node: Option<String>,
    /// What the device said of itself.
    state: Option<HalfBody>,
    /// By name; those that the model declares, and those that it declared once and that have a value still.
    properties: BTreeMap<String, ReadingBody>,
}

/// One property of a twin.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what TwinShown writes")]
pub(crate) struct ReadingBody {
    /// Its type; null where the model does not declare it any more.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Its unit.
    unit: Option<String>,
    /// `read-only` or `read-write`.
    access: Option<String>,
    /// What is wanted.
    desired: Option<HalfBody>,
    /// What is.
    reported: Option<HalfBody>,
    /// Whether nothing else is wanted than what is.
    in_sync: bool,
}

/// A value of a twin, and where it comes from.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what TwinShown writes")]
pub(crate) struct HalfBody {
    /// Of the property's type.
    value: serde_json::Value,
    /// How often it was set.
    version: u64,
    /// When.
    at: Time,
    /// By which node, or `cloud`.
    writer: String,
}

impl DeviceModel {
    /// Writes M; with `write`, the answer to a mutation.
    pub fn write_json(&self, out: &mut Vec<u8>, write: Option<&Write>) {
        let mut object = Object::new(out);
        object.text("name", &self.name);
        object.text("description", &self.model.description);
        let properties = serde_json::to_string(&self.model.properties).unwrap_or_default();
        object.raw("properties", &properties);
        ended(object, self.revision, Some(self.updated_at), &self.sync, write);
    }
}

impl DeviceShown {
    /// Writes D; with `write`, the answer to a mutation.
    pub fn write_json(&self, out: &mut Vec<u8>, write: Option<&Write>) {
        let mut object = Object::new(out);
        object.text("id", &self.id);
        object.text("model", &self.device.model);
        object.text_or_null("node", self.device.node.as_deref());
        object.text("description", &self.device.description);
        object.raw("labels", &serde_json::to_string(&self.device.labels).unwrap_or_default());
        object.raw("protocol", &self.device.protocol.as_ref().map_or_else(|| "null".to_owned(), ToString::to_string));
        object.text_or_null("state", self.state.as_deref());
        match self.last_seen {
            Some(at) => object.plain("last_seen", at),
            None => object.raw("last_seen", "null"),
        }
        object.list("delta", &self.delta, |out, name| quote(out, name));
        ended(object, self.revision, Some(self.updated_at), &self.sync, write);
    }
}

impl TwinShown {
    /// Writes T; with `write`, the answer to a mutation.
    pub fn write_json(&self, out: &mut Vec<u8>, write: Option<&Write>) {
        let mut object = Object::new(out);
        object.text("device", &self.device);
        object.text("model", &self.model);
        object.text_or_null("node", self.twin.node.as_deref());
        half(object.member("state"), self.twin.state.as_ref());
        let none = Reading::default();
        let mut all: BTreeMap<&String, &Reading> = self.twin.properties.iter().collect();
        for name in self.declared.properties.keys() {
            all.entry(name).or_insert(&none);
        }
        let out = object.member("properties");
        out.push(b'{');
        for (place, (name, reading)) in all.into_iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            quote(out, name);
            out.push(b':');
            property(out, reading, self.declared.properties.get(name));
        }
        out.push(b'}');
        ended(object, self.revision, None, &self.sync, write);
    }
}

fn ended(mut object: Object<'_>, revision: Revision, updated_at: Option<Time>, sync: &RecordSync, write: Option<&Write>) {
    object.number("revision", revision);
    if let Some(at) = updated_at {
        object.plain("updated_at", at);
    }
    sync.write_json(object.member("sync"));
    if let Some(write) = write {
        write.write_json(object.member("write"));
    }
    object.end();
}

fn property(out: &mut Vec<u8>, reading: &Reading, declared: Option<&Property>) {
    let mut object = Object::new(out);
    object.text_or_null("type", declared.map(|property| property.kind.as_str()));
    object.text_or_null("unit", declared.and_then(|property| property.unit.as_deref()));
    object.text_or_null("access", declared.map(|property| property.access.as_str()));
    half(object.member("desired"), reading.desired.as_ref());
    half(object.member("reported"), reading.reported.as_ref());
    object.flag("in_sync", reading.delta().is_none());
    object.end();
}

fn half(out: &mut Vec<u8>, field: Option<&TwinField>) {
    let Some(field) = field else { return out.extend_from_slice(b"null") };
    let mut object = Object::new(out);
    object.raw("value", field.value.as_str());
    object.number("version", field.version);
    object.plain("at", Time(field.timestamp));
    object.text("writer", &field.writer);
    object.end();
}
