//! Models, devices and twins, the same on both hubs: three records that belong together, read and written through what every hub can
//! do with records (decision 0011).

pub(crate) mod declared;
pub(crate) mod models;
pub(crate) mod twins;

use axum::extract::Request;
use proto::device::{DEVICES, DeviceError, DeviceId, MODELS, Model, TWINS, Twin, TwinField, Unfit};
use proto::json::{Raw, Value};
use proto::list::ListQuery;
use proto::names::{CollectionName, Key};

use super::headers::{self, Accepts};
use super::{Shared, body};
use crate::hub::{Condition, Hub, MutationAnswer, MutationRequest, OpAction, OpRequest, Origin, Page};
use crate::limits::VALUE_BODY_BYTES;
use crate::problem::{Code, Problem};
use crate::shapes::Record;

/// One of the three collections.
fn collection(name: &'static str) -> Result<CollectionName, Problem> {
    CollectionName::parse(name).map_err(Problem::internal)
}

/// A device of a path.
fn device_id(text: &str) -> Result<(DeviceId, Key), Problem> {
    let id = DeviceId::parse(text).map_err(|error| Problem::new(Code::BadKey, error.reason).key(short(text)))?;
    let key = super::path::key(id.as_str())?;
    Ok((id, key))
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// 422: what was sent breaks a rule of models or devices.
fn unfit(error: DeviceError) -> Problem {
    Problem::new(Code::Schema, error.to_string()).field(error.field)
}

/// 422: a value that is none of a property's.
fn no_value(property: &str, why: &Unfit) -> Problem {
    Problem::new(Code::Schema, format!("{property}: {why}")).field(format!("desired.{property}"))
}

/// A record, or that there is none.
async fn find<H: Hub>(app: &Shared<H>, name: &'static str, key: &Key) -> Result<Option<Record>, Problem> {
    match app.hub.get(&collection(name)?, key, false).await {
        Ok(record) => Ok(Some(record)),
        Err(problem) if problem.code() == Code::NotFound => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// One page of records; none where the cloud is older than devices, and so there is no such collection.
async fn page<H: Hub>(app: &Shared<H>, list: &ListQuery) -> Result<Page, Problem> {
    match app.hub.list(list.clone()).await {
        Err(problem) if problem.code() == Code::NotFound => Ok(Page { records: Vec::new(), next: None, since: String::new() }),
        page => page,
    }
}

/// The model that a device names, as far as it is here: what is gone declares nothing.
async fn model_of<H: Hub>(app: &Shared<H>, name: &str) -> Result<Option<Model>, Problem> {
    let Ok(key) = Key::parse(name) else { return Ok(None) };
    let found = find(app, MODELS, &key).await?;
    Ok(found.and_then(|record| Model::parse(record.value.as_str()).ok()))
}

fn value_of(record: &Record) -> Result<Value, Problem> {
    Value::read(record.value.as_str()).map_err(Problem::internal)
}

fn twin_of(record: &Record) -> Result<Twin, Problem> {
    Ok(Twin::of(&value_of(record)?))
}

/// Who sets a desired value here.
fn writer<H: Hub>(app: &Shared<H>) -> String {
    app.hub.own_node().map_or_else(|| "cloud".to_owned(), |node| node.to_string())
}

/// What a desired value becomes in a twin.
fn desired<H: Hub>(app: &Shared<H>, before: Option<&TwinField>, value: Raw) -> Raw {
    TwinField::after(before, value, app.hub.now_ms(), &writer(app)).to_raw()
}

fn op(name: &'static str, key: &Key, action: OpAction, condition: Condition) -> Result<OpRequest, Problem> {
    Ok(OpRequest { collection: collection(name)?, key: key.clone(), action, condition })
}

/// What a request that changes something says beside its path.
struct Asked {
    text: Vec<u8>,
    condition: Condition,
    wait: Option<std::time::Duration>,
    idempotency: Option<proto::op::Idempotency>,
}

impl Asked {
    async fn read(request: Request, accepts: Accepts) -> Result<Self, Problem> {
        headers::content_type(request.headers(), accepts)?;
        let (parts, stream) = request.into_parts();
        let text = body::read(&parts.headers, stream, VALUE_BODY_BYTES).await?;
        let idempotency = headers::idempotency(&parts, "", &text)?;
        Ok(Self { condition: headers::condition(&parts.headers)?, wait: headers::prefer_wait(&parts.headers), idempotency, text })
    }

    /// Of a request without a body.
    fn bare(request: Request) -> Result<Self, Problem> {
        let (parts, _) = request.into_parts();
        let idempotency = headers::idempotency(&parts, "", &[])?;
        Ok(Self {
            text: Vec::new(),
            condition: headers::condition(&parts.headers)?,
            wait: headers::prefer_wait(&parts.headers),
            idempotency,
        })
    }

    /// Whether it may have been done before, so that what it is about may be gone.
    fn may_repeat(&self) -> bool {
        self.idempotency.is_some()
    }

    async fn commit<H: Hub>(self, app: &Shared<H>, ops: Vec<OpRequest>, origin: Origin) -> Result<MutationAnswer, Problem> {
        let Self { wait, idempotency, .. } = self;
        app.hub.mutate(MutationRequest { ops, origin, wait, idempotency }).await
    }
}

/// 404 for a device.
fn no_device(id: &DeviceId) -> Problem {
    Problem::not_found(format!("there is no device {id} here; GET /v1/devices lists them")).collection(DEVICES).key(id.as_str())
}

/// What is read of a twin: the record, and what readers here see of it.
async fn twin<H: Hub>(app: &Shared<H>, key: &Key) -> Result<(Option<Record>, Twin), Problem> {
    let record = find(app, TWINS, key).await?;
    let twin = match &record {
        Some(record) => match app.hub.twin(key).await? {
            Some(twin) => twin,
            None => twin_of(record)?,
        },
        None => Twin::default(),
    };
    Ok((record, twin))
}
