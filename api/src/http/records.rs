//! Records: list, read, create, replace, merge, increment, delete.

use std::time::Duration;

use axum::extract::{Request, State};
use http::{HeaderMap, StatusCode};
use proto::json::Value;
use proto::names::Key;
use proto::op::Idempotency;

use super::answer::{self, Answer};
use super::headers::{self, Accepts};
use super::path::{InCollection, OfRecord};
use super::query::Query;
use super::{Shared, body, collections, ops};
use crate::hub::{Condition, Hub, ListQuery, MutationRequest, OpAction, OpRequest, Origin, PageToken};
use crate::limits::VALUE_BODY_BYTES;
use crate::problem::Problem;
use crate::shapes::{Object, Record};

/// One page of a collection, in byte order of the keys or sorted by declared indexes.
#[utoipa::path(
    get, path = "/v1/collections/{c}/records", tag = "records", operation_id = "list_records",
    params(
        ("c" = String, Path, description = "The collection"),
        ("prefix" = Option<String>, Query, description = "Only keys that start with this"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 100 where left out"),
        ("key" = Option<Vec<String>>, Query, description = "Only these keys, at most 100"),
        ("sort" = Option<String>, Query, description = "`FIELD,-FIELD`: by fields that an index is declared for, `-` downwards; ties by key. `key` where left out"),
        ("FIELD" = Option<String>, Query, description = "Only records whose top-level field matches: the string, or the JSON number, true, false or null that the text spells; `value.FIELD` for a field named like a parameter; `FIELD[lt]`, `[lte]`, `[gt]`, `[gte]`, `[ne]` and `[in]` (values joined by commas, or a JSON array) compare"),
    ),
    responses((status = 200, body = super::records::RecordList)),
)]
pub(crate) async fn list<H: Hub>(
    State(app): State<Shared<H>>,
    InCollection(collection): InCollection,
    mut query: Query,
    origin: Origin,
) -> Answer {
    collections::may_see(&origin.caller, collection.as_str())?;
    let (begun, after) = begun(query.after()?);
    let mut list = ListQuery {
        prefix: query.take("prefix")?,
        keys: query.keys()?,
        order: query.order()?,
        after: None,
        limit: query.limit()?,
        conditions: query.conditions()?,
        collection,
    };
    list.after = after.map(|token| token.to_place(&list)).transpose()?;
    let page = app.hub.list(list.clone()).await?;
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    object.list("records", &page.records, |out, record| record.write_json(out, None));
    let since = begun.unwrap_or(page.since);
    let next = page.next.map(|place| format!("{since}~{}", PageToken::of_place(&list, &place).as_str()));
    object.text_or_null("next", next.as_deref());
    object.text("since", &since);
    object.end();
    Ok(answer::json_bytes(StatusCode::OK, out))
}

/// Where a watch goes on after the first page, which every page says again: on a later one it would miss what changed
/// meanwhile on those before.
fn begun(after: Option<PageToken>) -> (Option<String>, Option<PageToken>) {
    match after {
        Some(token) => match token.as_str().split_once('~') {
            Some((since, place)) => (Some(since.to_owned()), Some(PageToken(place.to_owned()))),
            None => (None, Some(token)),
        },
        None => (None, None),
    }
}

/// One page of records.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what `list` writes around the records' texts")]
pub(crate) struct RecordList {
    /// The records.
    records: Vec<Record>,
    /// The next page's `after`, when there may be more.
    next: Option<String>,
    /// Where a watch can go on.
    since: String,
}

/// One record.
#[utoipa::path(
    get, path = "/v1/collections/{c}/records/{key}", tag = "records", operation_id = "read_record",
    params(
        ("c" = String, Path, description = "The collection"),
        ("key" = String, Path, description = "The key, percent-encoded"),
        ("read" = Option<String>, Query, description = "`base`: what the cloud last said it is"),
        ("fields" = Option<bool>, Query, description = "Also who set which field, and when. Then always 200: a field can be set again to what it is"),
    ),
    responses(
        (status = 200, body = super::records::ReadRecord, headers(("ETag" = String))),
        (status = 304, description = "The version that If-None-Match names is still the one", headers(("ETag" = String))),
    ),
)]
pub(crate) async fn read<H: Hub>(
    State(app): State<Shared<H>>,
    OfRecord { collection, key }: OfRecord,
    mut query: Query,
    origin: Origin,
    headers: HeaderMap,
) -> Answer {
    collections::may_see(&origin.caller, collection.as_str())?;
    let base = match query.take("read")?.as_deref() {
        None => false,
        Some("base") => true,
        Some(_) => return Err(Problem::bad_request("read takes base, or is left out").field("read")),
    };
    let fields = query.flag("fields")?;
    query.finish("read, fields")?;
    if fields {
        return Ok(answer::with_fields(&app.hub.get_with_fields(&collection, &key, base).await?));
    }
    let record = app.hub.get(&collection, &key, base).await?;
    if headers::holds(&headers, &record.etag()) && record.sync.conflicts.is_empty() && app.hub.is_same(&record).await? {
        return Ok(answer::not_modified(&record));
    }
    Ok(answer::record(StatusCode::OK, &record, None))
}

/// A record as it is read.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what a read answers")]
pub(crate) struct ReadRecord {
    /// The record.
    #[serde(flatten)]
    record: Record,
    /// With `fields=true`: every field of the value, and what is known of its newest change.
    fields: Option<std::collections::BTreeMap<String, crate::shapes::FieldChange>>,
}

/// Creates a record; the key is the value's own, or made.
#[utoipa::path(
    post, path = "/v1/collections/{c}/records", tag = "records", operation_id = "create_record",
    params(("c" = String, Path, description = "The collection")),
    request_body(content = Object, content_type = "application/json"),
    responses((status = 201, body = super::records::ChangedRecord, headers(("ETag" = String), ("Location" = String)))),
)]
pub(crate) async fn create<H: Hub>(
    State(app): State<Shared<H>>,
    InCollection(collection): InCollection,
    query: Query,
    origin: Origin,
    request: Request,
) -> Answer {
    collections::may_write(&origin.caller, collection.as_str())?;
    query.finish("")?;
    let asked = asked(request).await?;
    let op = OpRequest { collection, key: new_key()?, action: OpAction::Create(asked.value), condition: Condition::None };
    commit(&app, op, origin, asked.how, true).await
}

/// A fresh UUIDv7 as a key.
pub(crate) fn new_key() -> Result<Key, Problem> {
    Key::parse(&uuid::Uuid::now_v7().to_string()).map_err(Problem::internal)
}

/// A record, and the write that made it what it is.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what a mutation answers")]
pub(crate) struct ChangedRecord {
    /// The record.
    #[serde(flatten)]
    record: Record,
    /// The write.
    write: crate::shapes::Write,
}

/// What is left of a deleted record.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what a delete answers")]
pub(crate) struct DeletedRecord {
    /// Its collection.
    collection: String,
    /// Its key.
    key: String,
    /// Always true.
    deleted: bool,
    /// The write.
    write: crate::shapes::Write,
}

/// Replaces a record, or creates it.
#[utoipa::path(
    put, path = "/v1/collections/{c}/records/{key}", tag = "records", operation_id = "replace_record",
    params(("c" = String, Path, description = "The collection"), ("key" = String, Path, description = "The key, percent-encoded")),
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, body = super::records::ChangedRecord, headers(("ETag" = String))), (status = 201, body = super::records::ChangedRecord, headers(("ETag" = String), ("Location" = String)))),
)]
pub(crate) async fn replace<H: Hub>(State(app): State<Shared<H>>, at: OfRecord, query: Query, origin: Origin, request: Request) -> Answer {
    with_body(&app, at, query, origin, request, true, |value| Ok(OpAction::Put(value))).await
}

/// Merges a patch (RFC 7396) into a record: null removes a field.
#[utoipa::path(
    patch, path = "/v1/collections/{c}/records/{key}", tag = "records", operation_id = "merge_record",
    params(("c" = String, Path, description = "The collection"), ("key" = String, Path, description = "The key, percent-encoded")),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    responses((status = 200, body = super::records::ChangedRecord, headers(("ETag" = String)))),
)]
pub(crate) async fn merge<H: Hub>(State(app): State<Shared<H>>, at: OfRecord, query: Query, origin: Origin, request: Request) -> Answer {
    with_body(&app, at, query, origin, request, false, |value| Ok(OpAction::Merge(value))).await
}

/// Adds to counters.
#[utoipa::path(
    post, path = "/v1/collections/{c}/records/{key}/increment", tag = "records", operation_id = "increment_record",
    params(("c" = String, Path, description = "The collection"), ("key" = String, Path, description = "The key, percent-encoded")),
    request_body(content = std::collections::BTreeMap<String, i64>, content_type = "application/json"),
    responses((status = 200, body = super::records::ChangedRecord, headers(("ETag" = String)))),
)]
pub(crate) async fn increment<H: Hub>(
    State(app): State<Shared<H>>,
    at: OfRecord,
    query: Query,
    origin: Origin,
    request: Request,
) -> Answer {
    with_body(&app, at, query, origin, request, false, |value| ops::increments(value).map(OpAction::Increment)).await
}

/// Deletes a record.
#[utoipa::path(
    delete, path = "/v1/collections/{c}/records/{key}", tag = "records", operation_id = "delete_record",
    params(
        ("c" = String, Path, description = "The collection"),
        ("key" = String, Path, description = "The key, percent-encoded"),
        ("force" = Option<bool>, Query, description = "Also a record with a non-zero counter"),
    ),
    responses((status = 200, body = super::records::DeletedRecord)),
)]
pub(crate) async fn remove<H: Hub>(
    State(app): State<Shared<H>>,
    OfRecord { collection, key }: OfRecord,
    mut query: Query,
    origin: Origin,
    request: Request,
) -> Answer {
    collections::may_write(&origin.caller, collection.as_str())?;
    let force = query.flag("force")?;
    query.finish("force")?;
    let (parts, _) = request.into_parts();
    let condition = headers::condition(&parts.headers)?;
    let how = How {
        wait: headers::prefer_wait(&parts.headers),
        idempotency: headers::idempotency(&parts, if force { "force" } else { "" }, &[])?,
    };
    let op = OpRequest { collection, key, action: OpAction::Delete { force }, condition };
    commit(&app, op, origin, how, false).await
}

async fn with_body<H: Hub>(
    app: &Shared<H>,
    OfRecord { collection, key }: OfRecord,
    query: Query,
    origin: Origin,
    request: Request,
    created_is_201: bool,
    action: impl FnOnce(Value) -> Result<OpAction, Problem>,
) -> Answer {
    collections::may_write(&origin.caller, collection.as_str())?;
    query.finish("")?;
    let condition = headers::condition(request.headers())?;
    let about = |problem: Problem| problem.collection(collection.as_str()).key(key.as_str());
    let Asked { value, how } = asked(request).await.map_err(about)?;
    let action = action(value).map_err(about)?;
    commit(app, OpRequest { collection, key, action, condition }, origin, how, created_is_201).await
}

/// What a body asks for, and how.
struct Asked {
    value: Value,
    how: How,
}

/// How an answer is wanted.
struct How {
    wait: Option<Duration>,
    idempotency: Option<Idempotency>,
}

async fn asked(request: Request) -> Result<Asked, Problem> {
    headers::content_type(request.headers(), Accepts::Json)?;
    let (parts, stream) = request.into_parts();
    let whole = body::read(&parts.headers, stream, VALUE_BODY_BYTES).await?;
    let how = How { wait: headers::prefer_wait(&parts.headers), idempotency: headers::idempotency(&parts, "", &whole)? };
    Ok(Asked { value: body::value(body::text(&whole)?)?, how })
}

async fn commit<H: Hub>(app: &Shared<H>, op: OpRequest, origin: Origin, how: How, created_is_201: bool) -> Answer {
    let How { wait, idempotency } = how;
    // A key that was only made is nobody's; where the value names one, the refusal does.
    let (collection, key) = (op.collection.clone(), (!matches!(op.action, OpAction::Create(_))).then(|| op.key.clone()));
    let about = |problem: Problem| match key {
        _ if problem.body().collection.is_some() => problem,
        Some(key) => problem.collection(collection.as_str()).key(key.as_str()),
        None => problem.collection(collection.as_str()),
    };
    let request = MutationRequest { ops: vec![op], origin, wait, idempotency };
    let done = app.hub.mutate(request).await.map_err(about)?;
    match done.results.first() {
        Some(result) => Ok(answer::changed(result, &done.write, created_is_201)),
        None => Err(Problem::internal("a mutation of one record answered none")),
    }
}
