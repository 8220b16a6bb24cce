//! What only the edge serves.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use http::StatusCode;
use proto::names::CollectionName;
use serde_json::Value;

use super::answer::{self, Answer};
use super::collections::may_administer;
use super::headers::{self, Accepts};
use super::query::Query;
use super::{ServerOptions, Shared, body, edge_routes};
use crate::hub::{EdgeAdmin, Origin, QueryParam, QueryParams, QueryRequest, WritePage};
use crate::limits::{ADMIN_BODY_BYTES, QUERY_BODY_BYTES};
use crate::problem::Problem;
use crate::shapes::{Object, QueryBody, Verified, VerifyRequest, quote};

/// The edge's whole API.
pub fn router<H: EdgeAdmin>(hub: Arc<H>, options: ServerOptions) -> Router {
    edge_routes::<H>().finish(hub, options, crate::openapi::EDGE)
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
pub(crate) async fn verify<H: EdgeAdmin>(State(app): State<Shared<H>>, query: Query, origin: Origin, request: Request) -> Answer {
    may_administer(&origin.caller)?;
    query.finish("")?;
    let (parts, content) = request.into_parts();
    headers::content_type(&parts.headers, Accepts::Json)?;
    let content = body::read(&parts.headers, content, ADMIN_BODY_BYTES).await?;
    let wish: VerifyRequest = if content.is_empty() { VerifyRequest::default() } else { body::request(&content)? };
    let name = |name: String| CollectionName::parse(&name).map_err(|_| Problem::no_collection(&name));
    let collection = wish.collection.map(name).transpose()?;
    answer::json(StatusCode::OK, &app.hub.verify(collection).await?)
}

/// Answers a SELECT over the records as local readers see them: one table a collection, with the columns `_key`, `_value`,
/// `_revision`, `_pending` and one for each field that an index names.
#[utoipa::path(
    post, path = "/v1/query", tag = "records", operation_id = "query",
    request_body(content = QueryBody, content_type = "application/json"),
    responses((status = 200, body = crate::shapes::QueryResult)),
)]
pub(crate) async fn query<H: EdgeAdmin>(State(app): State<Shared<H>>, query: Query, origin: Origin, request: Request) -> Answer {
    query.finish("")?;
    let (parts, content) = request.into_parts();
    headers::content_type(&parts.headers, Accepts::Json)?;
    let asked: QueryBody = body::request(&body::read(&parts.headers, content, QUERY_BODY_BYTES).await?)?;
    let between = |name: &str, most: u64| Problem::bad_request(format!("{name} takes 1 to {most}")).field(name);
    if asked.limit.is_some_and(|limit| !(1..=100_000).contains(&limit)) {
        return Err(between("limit", 100_000));
    }
    if asked.timeout.is_some_and(|timeout| !(1..=30).contains(&timeout)) {
        return Err(between("timeout", 30));
    }
    let request = QueryRequest {
        sql: asked.sql,
        params: asked.params.map_or_else(|| Ok(QueryParams::Positional(Vec::new())), params)?,
        limit: asked.limit.and_then(|limit| usize::try_from(limit).ok()),
        timeout: asked.timeout.map(Duration::from_secs),
        caller: origin.caller,
    };
    let answer = app.hub.query(request).await?;
    let mut out = Vec::with_capacity(answer.rows.as_str().len() + 256);
    let mut object = Object::new(&mut out);
    object.list("columns", &answer.columns, |out, column| quote(out, column));
    object.raw("rows", answer.rows.as_str());
    object.flag("truncated", answer.truncated);
    object.end();
    Ok(answer::json_bytes(StatusCode::OK, out))
}

fn params(given: Value) -> Result<QueryParams, Problem> {
    match given {
        Value::Null => Ok(QueryParams::Positional(Vec::new())),
        Value::Array(values) => {
            let values = values.into_iter().enumerate().map(|(place, value)| param(&format!("params[{place}]"), value));
            Ok(QueryParams::Positional(values.collect::<Result<_, _>>()?))
        }
        Value::Object(members) => {
            let named = members.into_iter().map(|(name, value)| {
                let value = param(&format!("params.{name}"), value)?;
                Ok((name, value))
            });
            Ok(QueryParams::Named(named.collect::<Result<_, Problem>>()?))
        }
        _ => Err(Problem::bad_request("params takes a list for `?`, or an object for `:name`").field("params")),
    }
}

fn param(place: &str, value: Value) -> Result<QueryParam, Problem> {
    match value {
        Value::Null => Ok(QueryParam::Null),
        Value::Bool(flag) => Ok(QueryParam::Integer(flag.into())),
        Value::String(text) => Ok(QueryParam::Text(text)),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Ok(QueryParam::Integer(whole)),
            (None, Some(real)) if !number.is_u64() => Ok(QueryParam::Real(real)),
            _ => Err(Problem::bad_request(format!("{place} is above 64 bits with a sign; send it as a text")).field(place)),
        },
        Value::Array(_) | Value::Object(_) => {
            Err(Problem::bad_request(format!("{place} takes null, true, false, a number or a text; send JSON as a text")).field(place))
        }
    }
}
