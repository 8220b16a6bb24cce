//! `/v1/device-models`: kinds of device.

use axum::extract::{Request, State};
use http::StatusCode;
use proto::device::{DEVICES, MODELS, Model};
use proto::list::{Compare, Condition as Where, ListQuery};

use super::super::answer::{self, Answer};
use super::super::headers::Accepts;
use super::super::path::{self, OfId};
use super::super::query::Query;
use super::super::{Shared, collections};
use super::{Asked, collection, find, op, page, unfit};
use crate::hub::{Hub, OpAction, OpResult, Origin, PageToken};
use crate::problem::{Code, Problem};
use crate::shapes::{DeviceModel, Object, Record, Write};

/// One page of models.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what `list` writes")]
pub(crate) struct ModelList {
    /// In the order of their names.
    models: Vec<DeviceModel>,
    /// The next page's `after`, when there may be more.
    next: Option<String>,
}

/// A model, and the write that made it what it is.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what a mutation answers")]
pub(crate) struct ChangedModel {
    /// The model.
    #[serde(flatten)]
    model: DeviceModel,
    /// The write.
    write: Write,
}

/// Models, in the order of their names.
#[utoipa::path(
    get, path = "/v1/device-models", tag = "devices", operation_id = "list_device_models",
    params(
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 100 where left out"),
    ),
    responses((status = 200, body = crate::http::devices::models::ModelList)),
)]
pub(crate) async fn list<H: Hub>(State(app): State<Shared<H>>, mut query: Query, origin: Origin) -> Answer {
    collections::may_see(&origin.caller, MODELS)?;
    let mut list = ListQuery::all(collection(MODELS)?, query.limit()?);
    list.after = query.after()?.map(|token| token.to_place(&list)).transpose()?;
    query.finish("after, limit")?;
    let page = page(&app, &list).await?;
    let models: Vec<DeviceModel> = page.records.iter().filter_map(shown).collect();
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    object.list("models", &models, |out, model| model.write_json(out, None));
    let next = page.next.map(|place| PageToken::of_place(&list, &place).as_str().to_owned());
    object.text_or_null("next", next.as_deref());
    object.end();
    Ok(answer::json_bytes(StatusCode::OK, out))
}

/// A record as a model; none where a newer version wrote what this one cannot read.
fn shown(record: &Record) -> Option<DeviceModel> {
    let model = Model::parse(record.value.as_str()).ok()?;
    Some(DeviceModel {
        name: record.key.clone(),
        model,
        revision: record.revision,
        updated_at: record.updated_at,
        sync: record.sync.clone(),
    })
}

fn no_model(name: &str) -> Problem {
    Problem::not_found(format!("there is no device model {name:?} here; GET /v1/device-models lists them")).collection(MODELS).key(name)
}

/// One model.
#[utoipa::path(
    get, path = "/v1/device-models/{id}", tag = "devices", operation_id = "show_device_model",
    params(("id" = String, Path, description = "The model's name")),
    responses((status = 200, body = DeviceModel)),
)]
pub(crate) async fn show<H: Hub>(State(app): State<Shared<H>>, OfId(name): OfId, query: Query, origin: Origin) -> Answer {
    collections::may_see(&origin.caller, MODELS)?;
    query.finish("")?;
    let record = find(&app, MODELS, &path::key(&name)?).await?.ok_or_else(|| no_model(&name))?;
    let model = shown(&record).ok_or_else(|| no_model(&name))?;
    let mut out = Vec::new();
    model.write_json(&mut out, None);
    Ok(answer::with_tag(answer::json_bytes(StatusCode::OK, out), &record.etag()))
}

/// Creates a model, or replaces what it declares. Values that devices have keep standing, also of properties that go.
#[utoipa::path(
    put, path = "/v1/device-models/{id}", tag = "devices", operation_id = "put_device_model",
    params(("id" = String, Path, description = "The model's name")),
    request_body(content = crate::shapes::ModelBody, content_type = "application/json"),
    responses(
        (status = 200, body = crate::http::devices::models::ChangedModel),
        (status = 201, body = crate::http::devices::models::ChangedModel),
    ),
)]
pub(crate) async fn put<H: Hub>(State(app): State<Shared<H>>, OfId(name): OfId, query: Query, origin: Origin, request: Request) -> Answer {
    collections::may_change(&origin.caller, MODELS)?;
    query.finish("")?;
    let key = path::key(&name)?;
    let asked = Asked::read(request, Accepts::Json).await?;
    let model = Model::parse(super::super::body::text(&asked.text)?).map_err(unfit)?;
    let value = model.to_value().map_err(|error| Problem::new(Code::TooLarge, error.to_string()))?;
    let put = op(MODELS, &key, OpAction::Put(value), asked.condition.clone())?;
    let done = asked.commit(&app, vec![put], origin).await?;
    let (status, record) = match done.results.first() {
        Some(OpResult::Created(record)) => (StatusCode::CREATED, record),
        Some(OpResult::Changed(record)) => (StatusCode::OK, record),
        _ => return Err(no_model(&name)),
    };
    let model = shown(record).ok_or_else(|| Problem::internal("a model that was just written cannot be read"))?;
    let mut out = Vec::new();
    model.write_json(&mut out, Some(&done.write));
    Ok(answer::with_tag(answer::json_bytes(status, out), &record.etag()))
}

/// Deletes a model that no device has.
#[utoipa::path(
    delete, path = "/v1/device-models/{id}", tag = "devices", operation_id = "delete_device_model",
    params(("id" = String, Path, description = "The model's name")),
    responses((status = 200, body = crate::http::records::DeletedRecord)),
)]
pub(crate) async fn remove<H: Hub>(
    State(app): State<Shared<H>>,
    OfId(name): OfId,
    query: Query,
    origin: Origin,
    request: Request,
) -> Answer {
    collections::may_change(&origin.caller, MODELS)?;
    query.finish("")?;
    let key = path::key(&name)?;
    let asked = Asked::bare(request)?;
    if !asked.may_repeat() && find(&app, MODELS, &key).await?.is_none() {
        return Err(no_model(&name));
    }
    if let Some(device) = device_of(&app, &name).await? {
        let detail = format!("device {device} is of model {name:?}; delete the devices first, or give them another model");
        return Err(Problem::new(Code::InUse, detail).collection(MODELS).key(name));
    }
    let delete = op(MODELS, &key, OpAction::Delete { force: false }, asked.condition.clone())?;
    let done = asked.commit(&app, vec![delete], origin).await?;
    let first = done.results.first().ok_or_else(|| Problem::internal("a delete answered nothing"))?;
    Ok(answer::changed(first, &done.write, false))
}

/// Some device of a model.
async fn device_of<H: Hub>(app: &Shared<H>, model: &str) -> Result<Option<String>, Problem> {
    let mut list = ListQuery::all(collection(DEVICES)?, 1);
    list.conditions = vec![Where::new("model", Compare::Equal, vec![model.to_owned()])];
    loop {
        let page = page(app, &list).await?;
        if let Some(found) = page.records.first() {
            return Ok(Some(found.key.clone()));
        }
        match page.next {
            Some(next) => list.after = Some(next),
            None => return Ok(None),
        }
    }
}
