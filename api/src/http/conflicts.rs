//! Conflicts: listed, shown, and resolved.

use axum::extract::{Request, State};
use http::StatusCode;
use proto::names::{CollectionName, Key};
use proto::resolve::{Choice, Resolve};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::{self, Answer};
use super::headers::{self, Accepts};
use super::path::OfId;
use super::query::Query;
use super::{Shared, body, collections};
use crate::hub::{Condition, ConflictFilter, Hub, MutationRequest, OpAction, OpRequest, Origin, PageToken};
use crate::limits::VALUE_BODY_BYTES;
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

/// How a conflict is resolved.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResolveRequest<'a> {
    /// `cloud`, `edge` or `value`.
    #[serde(rename = "use")]
    side: Side,
    /// With `value` alone: a merge patch on the record as it is, or the new record where there is none.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Object>)]
    value: Option<&'a RawValue>,
}

/// Which values a person wants.
#[derive(Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    /// What the cloud had.
    Cloud,
    /// What the losing write said.
    Edge,
    /// Those of `value`.
    Value,
}

/// A resolved conflict, and the write that resolved it: pending at the edge, final on the cloud.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what `resolve` writes around the row's text")]
pub(crate) struct Resolved {
    /// The row.
    conflict: Conflict,
    /// The write.
    write: crate::shapes::Write,
}

/// Resolves an open conflict, or brings back what an `auto` row keeps.
#[utoipa::path(
    post, path = "/v1/conflicts/{id}/resolve", tag = "conflicts", operation_id = "resolve_conflict",
    params(("id" = String, Path, description = "The row's id")),
    request_body(content = super::conflicts::ResolveRequest, content_type = "application/json"),
    responses((status = 200, body = super::conflicts::Resolved)),
)]
pub(crate) async fn resolve<H: Hub>(
    State(app): State<Shared<H>>,
    OfId(id): OfId,
    query: Query,
    origin: Origin,
    request: Request,
) -> Answer {
    query.finish("")?;
    headers::content_type(request.headers(), Accepts::Json)?;
    let (parts, stream) = request.into_parts();
    let whole = body::read(&parts.headers, stream, VALUE_BODY_BYTES).await?;
    let choice = choice(body::text(&whole)?)?;
    let (wait, idempotency) = (headers::prefer_wait(&parts.headers), headers::idempotency(&parts, "", &whole)?);
    let row = app.hub.conflict(&id).await?;
    collections::may_see(&origin.caller, &row.collection)?;
    collections::may_change(&origin.caller, &row.collection)?;
    let key = Key::parse(&id).map_err(|_| Problem::not_found(format!("there is no conflict {id:?} here")))?;
    // Whoever the application says it is: the same name on both sides, of which one has no tokens.
    let by = origin.actor.clone().or_else(|| origin.caller.name.as_deref().map(str::to_owned));
    let action = OpAction::Resolve(Resolve { choice, by });
    let op = OpRequest { collection: CollectionName::conflicts(), key, action, condition: Condition::None };
    let done = app.hub.mutate(MutationRequest { ops: vec![op], origin, wait, idempotency }).await?;
    let row = app.hub.conflict(&id).await?;
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    object.member("conflict").extend_from_slice(row.row.as_str().as_bytes());
    done.write.write_json(object.member("write"));
    object.end();
    Ok(answer::json_bytes(StatusCode::OK, out))
}

fn choice(text: &str) -> Result<Choice, Problem> {
    let asked: ResolveRequest<'_> = serde_json::from_str(text)
        .map_err(|error| Problem::bad_request(format!("the body is not {{\"use\":\"cloud|edge|value\"}}: {error}")))?;
    match (asked.side, asked.value) {
        (Side::Cloud, None) => Ok(Choice::Cloud),
        (Side::Edge, None) => Ok(Choice::Edge),
        (Side::Value, Some(value)) => Ok(Choice::Value(body::value(value.get()).map_err(|problem| problem.field("value"))?)),
        (Side::Value, None) => Err(Problem::bad_request("\"use\":\"value\" needs \"value\": the fields as they shall be").field("value")),
        (_, Some(_)) => Err(Problem::bad_request("a value goes with \"use\":\"value\" alone").field("value")),
    }
}
