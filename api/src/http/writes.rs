//! Writes: several ops at once, and what became of earlier ones.

use axum::extract::{Request, State};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use proto::ids::WriteId;

use super::answer::{self, Answer};
use super::headers::{self, Accepts};
use super::path::OfId;
use super::query::Query;
use super::records::new_key;
use super::{Shared, body, collections, ops};
use crate::hub::{Hub, MutationRequest, OpAction, Origin, ResendRequest, WriteFilter};
use crate::limits::WRITE_BODY_BYTES;
use crate::problem::Problem;
use crate::shapes::{Record, Write, WriteState};

/// Commits several ops together, or none of them.
#[utoipa::path(
    post, path = "/v1/writes", tag = "writes", operation_id = "commit_write",
    request_body(content = ops::WriteBody, content_type = "application/json"),
    responses((status = 201, body = super::writes::CommittedWrite, headers(("Location" = String)))),
)]
pub(crate) async fn commit<H: Hub>(State(app): State<Shared<H>>, query: Query, origin: Origin, request: Request) -> Answer {
    query.finish("")?;
    headers::content_type(request.headers(), Accepts::Json)?;
    let (parts, stream) = request.into_parts();
    let whole = body::read(&parts.headers, stream, WRITE_BODY_BYTES).await?;
    let ops = ops::parse(body::text(&whole)?, new_key)?;
    let idempotency = headers::idempotency(&parts, "", &whole)?;
    drop(whole);
    for op in &ops {
        match op.action {
            // Never made from a body.
            OpAction::Resolve(_) => {}
            OpAction::Check(_) => collections::may_see(&origin.caller, op.collection.as_str())?,
            _ => collections::may_write(&origin.caller, op.collection.as_str())?,
        }
    }
    let wait = headers::prefer_wait(&parts.headers);
    Ok(answer::committed(&app.hub.mutate(MutationRequest { ops, origin, wait, idempotency }).await?))
}

/// A write that was committed, and the records that it changed.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what `commit` writes around the records' texts")]
pub(crate) struct CommittedWrite {
    /// The write.
    write: Write,
    /// Each record that the ops touch, once, in the order in which they first do (a check touches none), as the whole write
    /// left it; of a deleted one `{"collection","key","deleted":true}`.
    records: Vec<Record>,
}

/// One page of writes.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what `answer::writes` writes")]
pub(crate) struct WriteList {
    /// The writes, newest last.
    writes: Vec<Write>,
    /// The next page's `after`, when there is more.
    next: Option<String>,
}

/// Writes, newest last.
#[utoipa::path(
    get, path = "/v1/writes", tag = "writes", operation_id = "list_writes",
    params(
        ("state" = Option<WriteState>, Query, description = "Only this state"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 100 where left out"),
    ),
    responses((status = 200, body = super::writes::WriteList)),
)]
pub(crate) async fn list<H: Hub>(State(app): State<Shared<H>>, mut query: Query, origin: Origin) -> Answer {
    let state = query.take("state")?.filter(|state| state != "all").map(|state| state.parse()).transpose();
    let state: Option<WriteState> =
        state.map_err(|error: crate::shapes::UnknownState| Problem::bad_request(error.to_string()).field("state"))?;
    let (after, limit) = (query.after()?, query.limit()?);
    query.finish("state, after, limit")?;
    let page = app.hub.writes(WriteFilter { state, after, limit, collections: origin.caller.collections }).await?;
    Ok(answer::writes(&page.writes, page.next.as_ref()))
}

/// One write; with `wait` as soon as its outcome is known.
#[utoipa::path(
    get, path = "/v1/writes/{id}", tag = "writes", operation_id = "show_write",
    params(
        ("id" = String, Path, description = "`lyon:7f3a9c:42` or `cloud:1041`"),
        ("wait" = Option<u32>, Query, description = "Seconds, at most 30"),
    ),
    responses((status = 200, body = Write)),
)]
pub(crate) async fn show<H: Hub>(State(app): State<Shared<H>>, OfId(id): OfId, mut query: Query, origin: Origin) -> Answer {
    let wait = query.wait()?;
    query.finish("wait")?;
    let id: WriteId = id.parse().map_err(|error: proto::ids::BadWriteId| Problem::not_found(error.to_string()))?;
    let write = app.hub.write(&id, wait).await?;
    if !write.ops.iter().all(|op| origin.caller.sees(&op.collection)) {
        return Err(collections::not_entitled(&origin.caller, "see this write"));
    }
    let mut out = Vec::new();
    write.write_json(&mut out);
    Ok(answer::json_bytes(StatusCode::OK, out))
}

/// Sends an answered write that had no effect (`rejected`, `lost`) once more: a new write, on what the records are now. A write
/// that took effect is refused with 409 `not_open`, and so is one that was sent again already: the newer one is named.
#[utoipa::path(
    post, path = "/v1/writes/{id}/resend", tag = "writes", operation_id = "resend_write",
    params(("id" = String, Path, description = "`lyon:7f3a9c:42`")),
    responses((status = 201, body = super::writes::CommittedWrite, headers(("Location" = String)))),
)]
pub(crate) async fn resend<H: Hub>(State(app): State<Shared<H>>, OfId(id): OfId, query: Query, origin: Origin, request: Request) -> Answer {
    query.finish("")?;
    let (parts, _) = request.into_parts();
    no_form(&parts.headers)?;
    let (id, _) = of_caller(&app, &id, &origin).await?;
    let (wait, idempotency) = (headers::prefer_wait(&parts.headers), headers::idempotency(&parts, "", &[])?);
    Ok(answer::committed(&app.hub.resend(&id, ResendRequest { origin, wait, idempotency }).await?))
}

/// Drops what is kept of an answered write; answers with the write as it was. From then on its id is not known.
#[utoipa::path(
    post, path = "/v1/writes/{id}/discard", tag = "writes", operation_id = "discard_write",
    params(("id" = String, Path, description = "`lyon:7f3a9c:42` or `cloud:1041`")),
    responses((status = 200, body = Write)),
)]
pub(crate) async fn discard<H: Hub>(
    State(app): State<Shared<H>>,
    OfId(id): OfId,
    query: Query,
    origin: Origin,
    request: Request,
) -> Answer {
    query.finish("")?;
    no_form(request.headers())?;
    let (id, write) = of_caller(&app, &id, &origin).await?;
    app.hub.discard(&id, origin).await?;
    let mut out = Vec::new();
    write.write_json(&mut out);
    Ok(answer::json_bytes(StatusCode::OK, out))
}

/// There is no body to have a type; a type that a web form can send is refused all the same.
fn no_form(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(CONTENT_TYPE) { headers::content_type(headers, Accepts::Json) } else { Ok(()) }
}

/// A write that the caller may take up again: one that is in collections that it may change.
async fn of_caller<H: Hub>(app: &Shared<H>, id: &str, origin: &Origin) -> Result<(WriteId, Write), Problem> {
    let id: WriteId = id.parse().map_err(|error: proto::ids::BadWriteId| Problem::not_found(error.to_string()))?;
    let write = app.hub.write(&id, None).await?;
    write.ops.iter().try_for_each(|op| collections::may_change(&origin.caller, &op.collection))?;
    if write.ops.is_empty() && !origin.caller.may_write_all() {
        return Err(collections::not_entitled(&origin.caller, "change this write"));
    }
    Ok((id, write))
}
