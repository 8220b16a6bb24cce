//! What only the edge serves.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use http::StatusCode;
use proto::names::CollectionName;

use super::answer::{self, Answer};
use super::headers::{self, Accepts};
use super::query::Query;
use super::{ServerOptions, Shared, body, edge_routes};
use crate::hub::{EdgeAdmin, Origin, WritePage};
use crate::limits::ADMIN_BODY_BYTES;
use crate::problem::Problem;
use crate::shapes::{Verified, VerifyRequest};

/// The edge's whole API.
pub fn router<H: EdgeAdmin>(hub: Arc<H>, options: ServerOptions) -> Router {
    edge_routes::<H>().finish(hub, options, crate::openapi::edge)
}

/// Writes that have no outcome yet, in order.
#[utoipa::path(
    get, path = "/v1/outbox", tag = "writes", operation_id = "list_outbox",
    params(
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 100 where left out"),
    ),
    responses((status = 200, body = super::writes::WriteList)),
)]
pub(crate) async fn outbox<H: EdgeAdmin>(State(app): State<Shared<H>>, mut query: Query, origin: Origin) -> Answer {
    let (after, limit) = (query.after()?, query.limit()?);
    query.finish("after, limit")?;
    let WritePage { mut writes, next } = app.hub.outbox(after, limit).await?;
    writes.retain(|write| write.ops.iter().all(|op| origin.caller.sees(&op.collection)));
    Ok(answer::writes(&writes, next.as_ref()))
}

/// Reads every record again, compares with the cloud, and waits for what has to be repaired, up to 50 seconds.
#[utoipa::path(
    post, path = "/v1/verify", tag = "status", operation_id = "verify",
    request_body(content = VerifyRequest, content_type = "application/json"),
    responses((status = 200, body = Verified)),
)]
pub(crate) async fn verify<H: EdgeAdmin>(State(app): State<Shared<H>>, query: Query, request: Request) -> Answer {
    query.finish("")?;
    let (parts, content) = request.into_parts();
    headers::content_type(&parts.headers, Accepts::Json)?;
    let content = body::read(&parts.headers, content, ADMIN_BODY_BYTES).await?;
    let wish: VerifyRequest = if content.is_empty() { VerifyRequest::default() } else { body::request(&content)? };
    let name = |name: String| CollectionName::parse(&name).map_err(|_| Problem::no_collection(&name));
    let collection = wish.collection.map(name).transpose()?;
    answer::json(StatusCode::OK, &app.hub.verify(collection).await?)
}
