//! Conflicts: listed and shown.

use axum::extract::State;
use http::StatusCode;

use super::answer::{self, Answer};
use super::path::OfId;
use super::query::Query;
use super::{Shared, collections};
use crate::hub::{ConflictFilter, Hub, Origin, PageToken};
use crate::problem::Problem;
use crate::shapes::{Conflict, ConflictState, Object};

/// Conflict rows, oldest first; the open ones where no state is named.
#[utoipa::path(
    get, path = "/v1/conflicts", tag = "conflicts", operation_id = "list_conflicts",
    params(
        ("state" = Option<String>, Query, description = "`open` (default), `auto`, `resolved` or `all`"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 100 where left out"),
    ),
    responses((status = 200, body = super::conflicts::ConflictList)),
)]
pub(crate) async fn list<H: Hub>(State(app): State<Shared<H>>, mut query: Query, origin: Origin) -> Answer {
    let state = match query.take("state")?.as_deref() {
        Some("all") => None,
        None => Some(ConflictState::Open),
        Some(state) => {
            Some(state.parse().map_err(|error: crate::shapes::UnknownState| Problem::bad_request(error.to_string()).field("state"))?)
        }
    };
    let (after, limit) = (query.after()?, query.limit()?);
    query.finish("state, after, limit")?;
    let page = app.hub.conflicts(ConflictFilter { state, after, limit, collections: origin.caller.collections }).await?;
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    object.list("conflicts", &page.conflicts, |out, conflict| out.extend_from_slice(conflict.row.as_str().as_bytes()));
    object.text_or_null("next", page.next.as_ref().map(PageToken::as_str));
    object.end();
    Ok(answer::json_bytes(StatusCode::OK, out))
}

/// One page of conflicts.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what `list` writes around the rows' texts")]
pub(crate) struct ConflictList {
    /// The rows.
    conflicts: Vec<Conflict>,
    /// The next page's `after`, when there is more.
    next: Option<String>,
}

/// One conflict row.
#[utoipa::path(
    get, path = "/v1/conflicts/{id}", tag = "conflicts", operation_id = "show_conflict",
    params(("id" = String, Path, description = "The row's id")),
    responses((status = 200, body = Conflict)),
)]
pub(crate) async fn show<H: Hub>(State(app): State<Shared<H>>, OfId(id): OfId, query: Query, origin: Origin) -> Answer {
    query.finish("")?;
    let conflict = app.hub.conflict(&id).await?;
    collections::may_see(&origin.caller, &conflict.collection)?;
    Ok(answer::json_bytes(StatusCode::OK, conflict.row.as_str().as_bytes().to_vec()))
}
