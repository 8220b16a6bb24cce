//! Import and export: one JSON value a line.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use proto::names::{CollectionName, Key};

use super::answer::{self, Answer};
use super::headers::{self, Accepts};
use super::import::ImportLines;
use super::path::InCollection;
use super::query::Query;
use super::{Shared, body, collections};
use crate::hub::{ExportPage, Hub, ImportMode, ImportRequest, Origin};
use crate::limits::EXPORT_CHUNK_BYTES;
use crate::problem::Problem;
use crate::shapes::{ImportSummary, Object};

/// Checks the whole input, then commits it 1,000 lines at a time.
#[utoipa::path(
    post, path = "/v1/collections/{c}/import", tag = "bulk", operation_id = "import_records",
    params(
        ("c" = String, Path, description = "The collection"),
        ("mode" = Option<String>, Query, description = "`create`, `put` (default) or `merge`"),
        ("counters" = Option<String>, Query, description = "`set`: also set counters of records that exist"),
        ("key" = Option<String>, Query, description = "The field that holds the key, or several joined by `/`"),
    ),
    request_body(content = String, content_type = "application/x-ndjson", description = "One value a line, or `{\"key\",\"value\"}` where no key field is named"),
    responses((status = 200, body = ImportSummary)),
)]
pub(crate) async fn import<H: Hub>(
    State(app): State<Shared<H>>,
    InCollection(collection): InCollection,
    mut query: Query,
    origin: Origin,
    request: Request,
) -> Answer {
    headers::content_type(request.headers(), Accepts::Lines)?;
    collections::may_write(&origin.caller, collection.as_str())?;
    let mode = mode(query.take("mode")?.as_deref())?;
    let set_counters = set_counters(query.take("counters")?.as_deref())?;
    let key_fields = key_fields(query.take("key")?)?;
    query.finish("mode, counters, key")?;
    let (parts, stream) = request.into_parts();
    let mut lines = ImportLines::new(Box::pin(stream.into_data_stream()), &app.options.spool);
    let name = collection.to_string();
    let request = ImportRequest { collection, mode, set_counters, key_fields, origin };
    match app.hub.import(request, &mut lines).await {
        Ok(summary) => answer::json(StatusCode::OK, &summary),
        Err(problem) => {
            body::drain(&parts.headers, &mut lines.into_rest()).await;
            Err(problem.collection(name))
        }
    }
}

fn mode(text: Option<&str>) -> Result<ImportMode, Problem> {
    match text {
        None | Some("put") => Ok(ImportMode::Put),
        Some("create") => Ok(ImportMode::Create),
        Some("merge") => Ok(ImportMode::Merge),
        Some(_) => Err(Problem::bad_request("mode takes create, put or merge").field("mode")),
    }
}

fn set_counters(text: Option<&str>) -> Result<bool, Problem> {
    match text {
        None => Ok(false),
        Some("set") => Ok(true),
        Some(_) => Err(Problem::bad_request("counters takes set, or is left out").field("counters")),
    }
}

fn key_fields(text: Option<String>) -> Result<Option<Vec<String>>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let fields: Vec<_> = text.split('/').map(str::to_owned).collect();
    if fields.iter().any(String::is_empty) {
        return Err(Problem::bad_request("key takes a field, or several joined by '/'").field("key"));
    }
    Ok(Some(fields))
}

/// Every record of a collection, one a line, in key order.
#[utoipa::path(
    get, path = "/v1/collections/{c}/export", tag = "bulk", operation_id = "export_records",
    params(("c" = String, Path, description = "The collection")),
    responses((status = 200, body = String, content_type = "application/x-ndjson", description = "One value a line, or `{\"key\",\"value\"}` where the definition names no key field")),
)]
pub(crate) async fn export<H: Hub>(
    State(app): State<Shared<H>>,
    InCollection(collection): InCollection,
    query: Query,
    origin: Origin,
) -> Answer {
    collections::may_see(&origin.caller, collection.as_str())?;
    query.finish("")?;
    // The first page is read before anything is answered, so that a refusal still is one.
    let first = app.hub.export(&collection, None).await?;
    let pages = futures_util::stream::try_unfold(Some(Pages { app, collection, page: first }), next_chunk);
    let mut response = Response::new(Body::from_stream(pages));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

struct Pages<H> {
    app: Shared<H>,
    collection: CollectionName,
    page: ExportPage,
}

/// One chunk, and what comes after it. An error ends the answer in the middle of its chunks, which a client sees.
async fn next_chunk<H: Hub>(pages: Option<Pages<H>>) -> Result<Option<(Bytes, Option<Pages<H>>)>, Problem> {
    let Some(mut pages) = pages else { return Ok(None) };
    let mut chunk = Vec::with_capacity(EXPORT_CHUNK_BYTES);
    for (key, value) in &pages.page.records {
        write_line(&mut chunk, key, value.as_str(), pages.page.key_in_value);
    }
    let rest = match pages.page.next.take() {
        None => None,
        Some(last) => {
            pages.page = pages.app.hub.export(&pages.collection, Some(last)).await?;
            Some(pages)
        }
    };
    Ok(Some((chunk.into(), rest)))
}

fn write_line(out: &mut Vec<u8>, key: &Key, value: &str, key_in_value: bool) {
    let start = out.len();
    if key_in_value {
        out.extend_from_slice(value.as_bytes());
    } else {
        let mut object = Object::new(out);
        object.text("key", key.as_str());
        object.raw("value", value);
        object.end();
    }
    // Outside of strings a line break is white space, and inside of them it is always escaped.
    out[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    out.push(b'\n');
}
