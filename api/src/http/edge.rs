//! What only the edge serves.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;

use super::answer::{self, Answer};
use super::query::Query;
use super::{ServerOptions, Shared, edge_routes};
use crate::hub::{EdgeAdmin, Origin, WritePage};

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
