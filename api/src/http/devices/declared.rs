//! `/v1/devices`: what is declared of devices.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use http::StatusCode;
use proto::device::{Access, DEVICES, Device, DeviceId, Half, Model, TWINS, Twin};
use proto::json::{Raw, Value};
use proto::list::ListQuery;
use proto::names::Key;

use super::super::answer::{self, Answer};
use super::super::headers::Accepts;
use super::super::path::OfId;
use super::super::query::Query;
use super::super::{Shared, body, collections};
use super::{Asked, collection, desired, device_id, find, model_of, no_device, no_value, op, page, twin, unfit};
use crate::hub::{Condition, Hub, MutationAnswer, OpAction, OpRequest, OpResult, Origin, PageToken, Stranger};
use crate::problem::{Code, Problem};
use crate::shapes::{DeviceShown, Object, Record, Time, Write, quote};

/// One page of devices.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what `list` writes")]
pub(crate) struct DeviceList {
    /// In the order of their ids.
    devices: Vec<DeviceShown>,
    /// With `state=unknown`, on the first page (else null): devices that speak here and are not declared, at most 256, the newest.
    undeclared: Option<Vec<Undeclared>>,
    /// The next page's `after`, when there may be more.
    next: Option<String>,
}

/// A device that speaks and is not declared; `PUT /v1/devices/{id}` declares it.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what `list` writes")]
pub(crate) struct Undeclared {
    /// What it calls itself.
    id: String,
    /// When it spoke last.
    last_seen: Time,
    /// Where, at most eight.
    topics: Vec<String>,
    /// How often.
    messages: u64,
}

/// A device, and the write that made it what it is.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what a mutation answers")]
pub(crate) struct ChangedDevice {
    /// The device.
    #[serde(flatten)]
    device: DeviceShown,
    /// The write.
    write: Write,
}

/// What is declared of a device, and with it what is desired.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what `put` reads")]
pub(crate) struct DeclareRequest {
    /// The device.
    #[serde(flatten)]
    device: crate::shapes::DeviceBody,
    /// Values of read-write properties; those that are left out stay as they are.
    desired: Option<BTreeMap<String, serde_json::Value>>,
}

/// Devices, in the order of their ids.
#[utoipa::path(
    get, path = "/v1/devices", tag = "devices", operation_id = "list_devices",
    params(
        ("model" = Option<String>, Query, description = "Only of this model"),
        ("node" = Option<String>, Query, description = "Only those of this node"),
        ("state" = Option<String>, Query, description = "Only those that said this of themselves; a page may be shorter for it, or empty"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 100 where left out"),
    ),
    responses((status = 200, body = crate::http::devices::declared::DeviceList)),
)]
pub(crate) async fn list<H: Hub>(State(app): State<Shared<H>>, mut query: Query, origin: Origin) -> Answer {
    collections::may_see(&origin.caller, DEVICES)?;
    let mut list = ListQuery::all(collection(DEVICES)?, query.limit()?);
    list.after = query.after()?.map(|token| token.to_place(&list)).transpose()?;
    for field in ["model", "node"] {
        let wanted = query.take(field)?;
        list.conditions.extend(wanted.map(|text| proto::list::Condition::new(field, proto::list::Compare::Equal, vec![text])));
    }
    let state = query.take("state")?;
    query.finish("after, limit, model, node, state")?;
    let page = page(&app, &list).await?;
    let mut devices = Vec::with_capacity(page.records.len());
    for record in &page.records {
        let shown = shown(&app, record).await?;
        devices.extend(shown.filter(|device| state.is_none() || device.state == state));
    }
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    object.list("devices", &devices, |out, device| device.write_json(out, None));
    if state.as_deref() == Some("unknown") && list.after.is_none() {
        object.list("undeclared", app.hub.strangers(), undeclared);
    } else {
        object.raw("undeclared", "null");
    }
    let next = page.next.map(|place| PageToken::of_place(&list, &place).as_str().to_owned());
    object.text_or_null("next", next.as_deref());
    object.end();
    Ok(answer::json_bytes(StatusCode::OK, out))
}

fn undeclared(out: &mut Vec<u8>, stranger: Stranger) {
    let mut object = Object::new(out);
    object.text("id", &stranger.id);
    object.plain("last_seen", stranger.last_seen);
    object.list("topics", &stranger.topics, |out, topic| quote(out, topic));
    object.number("messages", stranger.messages);
    object.end();
}

/// A record as a device; none where a newer version wrote what this one cannot read.
async fn shown<H: Hub>(app: &Shared<H>, record: &Record) -> Result<Option<DeviceShown>, Problem> {
    let (Ok(device), Ok(key)) = (Device::parse(record.value.as_str()), Key::parse(&record.key)) else { return Ok(None) };
    let (_, twin) = twin(app, &key).await?;
    let reported = twin.properties.values().filter_map(|reading| reading.reported.as_ref());
    let last_seen = reported.chain(&twin.state).map(|field| field.timestamp).max();
    let delta = twin.properties.iter().filter(|(_, reading)| reading.delta().is_some());
    Ok(Some(DeviceShown {
        id: record.key.clone(),
        device,
        state: twin.state.as_ref().and_then(|state| state.value.as_text()).map(|state| state.into_owned()),
        last_seen: last_seen.map(Time),
        delta: delta.map(|(name, _)| name.clone()).collect(),
        revision: record.revision,
        updated_at: record.updated_at,
        sync: record.sync.clone(),
    }))
}

/// One device.
#[utoipa::path(
    get, path = "/v1/devices/{id}", tag = "devices", operation_id = "show_device",
    params(("id" = String, Path, description = "The device: one segment, `/` percent-encoded")),
    responses((status = 200, body = DeviceShown)),
)]
pub(crate) async fn show<H: Hub>(State(app): State<Shared<H>>, OfId(id): OfId, query: Query, origin: Origin) -> Answer {
    collections::may_see(&origin.caller, DEVICES)?;
    query.finish("")?;
    let (id, key) = device_id(&id)?;
    let record = find(&app, DEVICES, &key).await?.ok_or_else(|| no_device(&id))?;
    let device = shown(&app, &record).await?.ok_or_else(|| no_device(&id))?;
    let mut out = Vec::new();
    device.write_json(&mut out, None);
    Ok(answer::with_tag(answer::json_bytes(StatusCode::OK, out), &record.etag()))
}

/// Declares a device, or declares it otherwise: another node moves it there with its twin.
#[utoipa::path(
    put, path = "/v1/devices/{id}", tag = "devices", operation_id = "put_device",
    params(("id" = String, Path, description = "The device: one segment, `/` percent-encoded")),
    request_body(content = crate::http::devices::declared::DeclareRequest, content_type = "application/json"),
    responses(
        (status = 200, body = crate::http::devices::declared::ChangedDevice),
        (status = 201, body = crate::http::devices::declared::ChangedDevice),
    ),
)]
pub(crate) async fn put<H: Hub>(State(app): State<Shared<H>>, OfId(id): OfId, query: Query, origin: Origin, request: Request) -> Answer {
    collections::may_change(&origin.caller, DEVICES)?;
    query.finish("")?;
    let (id, key) = device_id(&id)?;
    let asked = Asked::read(request, Accepts::Json).await?;
    let mut value = body::value(body::text(&asked.text)?)?;
    let wanted = value.remove("desired").map(|raw| object(&raw)).transpose()?;
    if let (None, Some(node)) = (value.get("node"), app.hub.own_node()) {
        value.set("node", Raw::string(node.as_str()));
    }
    let device = Device::parse(&value.to_text()).map_err(unfit)?;
    let model = model_of(&app, &device.model).await?.ok_or_else(|| {
        let detail = format!("there is no device model {:?}; apply the model first", device.model);
        Problem::new(Code::Schema, detail).field("model")
    })?;
    let ops = Declaration { key: &key, device: &device, model: &model }.ops(&app, wanted, asked.condition.clone()).await?;
    let done = asked.commit(&app, ops, origin).await?;
    answered(&app, &id, &done).await
}

fn object(raw: &Raw) -> Result<Value, Problem> {
    Value::parse(raw.as_str()).map_err(|_| Problem::new(Code::Schema, "desired takes an object: {\"temp\":20}").field("desired"))
}

/// What somebody declares, with what it means.
struct Declaration<'a> {
    key: &'a Key,
    device: &'a Device,
    model: &'a Model,
}

impl Declaration<'_> {
    /// The ops that make it so: on the device's record, and on its twin.
    async fn ops<H: Hub>(&self, app: &Shared<H>, wanted: Option<Value>, condition: Condition) -> Result<Vec<OpRequest>, Problem> {
        let declared = self.device.to_value().map_err(|error| Problem::new(Code::TooLarge, error.to_string()))?;
        let (before, standing) = twin(app, self.key).await?;
        let mut fields = Value::default();
        match &self.device.node {
            Some(node) => fields.set("node", Raw::string(node)),
            None => fields.set("node", Raw::null()),
        }
        if before.is_none() {
            for (name, property) in &self.model.properties {
                if let Some(default) = property.default_value().map_err(Problem::internal)? {
                    fields.set(&Half::Desired.field(name), desired(app, None, default));
                }
            }
        }
        for (name, raw) in wanted.iter().flat_map(Value::fields) {
            let (field, raw) = want(app, self.model, &standing, name, raw)?;
            fields.set(&field, raw);
        }
        let twins = match before {
            Some(_) => op(TWINS, self.key, OpAction::Merge(fields), Condition::None)?,
            None => {
                if self.device.node.is_none() {
                    fields.remove("node");
                }
                op(TWINS, self.key, OpAction::Put(fields), Condition::None)?
            }
        };
        let condition = if condition == Condition::None && find(app, DEVICES, self.key).await?.is_none() {
            // Two who declare the same device at once: the second hears so.
            Condition::Absent
        } else {
            condition
        };
        Ok(vec![op(DEVICES, self.key, OpAction::Put(declared), condition)?, twins])
    }
}

/// A desired value as a field of a twin; null: none any more.
pub(super) fn want<H: Hub>(app: &Shared<H>, model: &Model, twin: &Twin, name: &str, raw: &Raw) -> Result<(String, Raw), Problem> {
    let field = Half::Desired.field(name);
    if raw.as_str() == "null" {
        return Ok((field, Raw::null()));
    }
    let refuse = |why: &str| Problem::new(Code::Schema, format!("{name}: {why}")).field(format!("desired.{name}"));
    let property = model.properties.get(name).ok_or_else(|| refuse("the model has no such property"))?;
    if property.access == Access::ReadOnly {
        return Err(refuse("it is read-only: the device alone has a say"));
    }
    let value = property.judge(raw).map_err(|why| no_value(name, &why))?;
    let before = twin.properties.get(name).and_then(|reading| reading.desired.as_ref());
    Ok((field, desired(app, before, value)))
}

async fn answered<H: Hub>(app: &Shared<H>, id: &DeviceId, done: &MutationAnswer) -> Answer {
    let (status, record) = match done.results.first() {
        Some(OpResult::Created(record)) => (StatusCode::CREATED, record),
        Some(OpResult::Changed(record)) => (StatusCode::OK, record),
        _ => return Err(no_device(id)),
    };
    let device = shown(app, record).await?.ok_or_else(|| Problem::internal("a device that was just declared cannot be read"))?;
    let mut out = Vec::new();
    device.write_json(&mut out, Some(&done.write));
    Ok(answer::with_tag(answer::json_bytes(status, out), &record.etag()))
}

/// Deletes a device with its twin.
#[utoipa::path(
    delete, path = "/v1/devices/{id}", tag = "devices", operation_id = "delete_device",
    params(("id" = String, Path, description = "The device: one segment, `/` percent-encoded")),
    responses((status = 200, body = crate::http::records::DeletedRecord)),
)]
pub(crate) async fn remove<H: Hub>(State(app): State<Shared<H>>, OfId(id): OfId, query: Query, origin: Origin, request: Request) -> Answer {
    collections::may_change(&origin.caller, DEVICES)?;
    query.finish("")?;
    let (id, key) = device_id(&id)?;
    let asked = Asked::bare(request)?;
    if !asked.may_repeat() {
        find(&app, DEVICES, &key).await?.ok_or_else(|| no_device(&id))?;
    }
    let mut ops = vec![op(DEVICES, &key, OpAction::Delete { force: false }, asked.condition.clone())?];
    if asked.may_repeat() || find(&app, TWINS, &key).await?.is_some() {
        ops.push(op(TWINS, &key, OpAction::Delete { force: false }, Condition::None)?);
    }
    let done = asked.commit(&app, ops, origin).await?;
    let first = done.results.first().ok_or_else(|| Problem::internal("a delete answered nothing"))?;
    Ok(answer::changed(first, &done.write, false))
}
