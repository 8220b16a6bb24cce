//! `/v1/devices/{id}/twin`: what is desired of a device, and what it reported.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use http::StatusCode;
use proto::device::{DEVICES, Device, TWINS, Twin};
use proto::json::{Raw, Value};

use super::super::answer::{self, Answer};
use super::super::headers::Accepts;
use super::super::path::OfId;
use super::super::query::Query;
use super::super::{Shared, body, collections};
use super::declared::want;
use super::{Asked, device_id, find, model_of, no_device, op, twin};
use crate::hub::{Hub, OpAction, OpResult, Origin};
use crate::problem::{Code, Problem};
use crate::shapes::{Record, TwinShown, Write};

/// A twin, and the write that made it what it is.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what a mutation answers")]
pub(crate) struct ChangedTwin {
    /// The twin.
    #[serde(flatten)]
    twin: TwinShown,
    /// The write.
    write: Write,
}

/// What is desired of a device.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what `desire` reads")]
pub(crate) struct DesireRequest {
    /// Values of read-write properties; null: nothing is desired any more.
    desired: BTreeMap<String, serde_json::Value>,
}

/// A device's twin.
#[utoipa::path(
    get, path = "/v1/devices/{id}/twin", tag = "devices", operation_id = "show_twin",
    params(("id" = String, Path, description = "The device: one segment, `/` percent-encoded")),
    responses((status = 200, body = TwinShown)),
)]
pub(crate) async fn show<H: Hub>(State(app): State<Shared<H>>, OfId(id): OfId, query: Query, origin: Origin) -> Answer {
    collections::may_see(&origin.caller, TWINS)?;
    query.finish("")?;
    let (id, key) = device_id(&id)?;
    let device = find(&app, DEVICES, &key).await?.ok_or_else(|| no_device(&id))?;
    let (record, twin) = twin(&app, &key).await?;
    let record = record.ok_or_else(|| no_device(&id))?;
    let mut out = Vec::new();
    shown(&app, &device, &record, twin).await?.write_json(&mut out, None);
    Ok(answer::with_tag(answer::json_bytes(StatusCode::OK, out), &record.etag()))
}

async fn shown<H: Hub>(app: &Shared<H>, device: &Record, record: &Record, twin: Twin) -> Result<TwinShown, Problem> {
    let model = Device::parse(device.value.as_str()).map(|device| device.model).unwrap_or_default();
    let declared = model_of(app, &model).await?.unwrap_or_default();
    Ok(TwinShown { device: record.key.clone(), model, twin, declared, revision: record.revision, sync: record.sync.clone() })
}

/// Sets what is desired of a device. What it reports is its own: nobody else sets that.
#[utoipa::path(
    patch, path = "/v1/devices/{id}/twin", tag = "devices", operation_id = "desire",
    params(("id" = String, Path, description = "The device: one segment, `/` percent-encoded")),
    request_body(content = crate::http::devices::twins::DesireRequest, content_type = "application/merge-patch+json"),
    responses((status = 200, body = crate::http::devices::twins::ChangedTwin)),
)]
pub(crate) async fn desire<H: Hub>(State(app): State<Shared<H>>, OfId(id): OfId, query: Query, origin: Origin, request: Request) -> Answer {
    collections::may_change(&origin.caller, TWINS)?;
    query.finish("")?;
    let (id, key) = device_id(&id)?;
    let asked = Asked::read(request, Accepts::Json).await?;
    let wanted = wanted(&body::value(body::text(&asked.text)?)?)?;
    let device = find(&app, DEVICES, &key).await?.ok_or_else(|| no_device(&id))?;
    let declared = Device::parse(device.value.as_str()).map_err(super::unfit)?;
    let model = model_of(&app, &declared.model).await?.unwrap_or_default();
    let (record, standing) = twin(&app, &key).await?;
    record.ok_or_else(|| no_device(&id))?;
    let mut fields = Value::default();
    for (name, raw) in wanted.fields() {
        let (field, raw) = want(&app, &model, &standing, name, raw)?;
        fields.set(&field, raw);
    }
    let merge = op(TWINS, &key, OpAction::Merge(fields), asked.condition.clone())?;
    let done = asked.commit(&app, vec![merge], origin).await?;
    let Some(OpResult::Created(record) | OpResult::Changed(record)) = done.results.first() else { return Err(no_device(&id)) };
    let now = app.hub.twin(&key).await?.map_or_else(|| super::twin_of(record), Ok)?;
    let mut out = Vec::new();
    shown(&app, &device, record, now).await?.write_json(&mut out, Some(&done.write));
    Ok(answer::with_tag(answer::json_bytes(StatusCode::OK, out), &record.etag()))
}

/// `{"desired":{…}}` and nothing else: what was reported is the device's.
fn wanted(value: &Value) -> Result<Value, Problem> {
    let bad = |detail: &str, field: &str| Err(Problem::new(Code::Schema, detail).field(field));
    if let Some((name, _)) = value.fields().find(|(name, _)| *name != "desired") {
        let name: String = name.chars().take(80).collect();
        return bad("the body is {\"desired\":{\"temp\":20}}; what a device reports is set by the device alone", &name);
    }
    let Some(Ok(wanted)) = value.get("desired").map(Raw::as_str).map(Value::parse) else {
        return bad("the body is {\"desired\":{\"temp\":20}}", "desired");
    };
    Ok(wanted)
}
