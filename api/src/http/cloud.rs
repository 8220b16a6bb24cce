//! What only the cloud serves: definitions, nodes, tokens, joining.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use proto::ids::DatabaseId;
use proto::names::CollectionName;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use transport::join::{JoinRequest, RenewRequest};

use super::answer::{self, Answer};
use super::collections::may_administer;
use super::headers::{self, Accepts};
use super::path::{InCollection, OfId, OfNode};
use super::query::Query;
use super::{ServerOptions, Shared, body, cloud_routes};
use crate::hub::{CloudAdmin, Origin};
use crate::limits::ADMIN_BODY_BYTES;
use crate::problem::Problem;
use crate::shapes::{AppliedCollection, JoinToken, JoinTokenRequest, NewJoinToken, Node, NodeEvent, Resync, Verification};

/// The cloud's whole API.
pub fn router<H: CloudAdmin>(hub: Arc<H>, options: ServerOptions) -> Router {
    cloud_routes::<H>().finish(hub, options, crate::openapi::CLOUD)
}

pub(super) async fn whole(request: Request) -> Result<(HeaderMap, Vec<u8>), Problem> {
    headers::content_type(request.headers(), Accepts::Json)?;
    let (parts, stream) = request.into_parts();
    let whole = body::read(&parts.headers, stream, ADMIN_BODY_BYTES).await?;
    Ok((parts.headers, whole))
}

pub(super) async fn parsed<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    body::request(&whole(request).await?.1)
}

/// Creates or changes a definition.
#[utoipa::path(
    put, path = "/v1/collections/{c}", tag = "collections", operation_id = "put_collection",
    params(
        ("c" = String, Path, description = "The collection"),
        ("dry_run" = Option<bool>, Query, description = "Only say what it would do"),
    ),
    request_body(content = Object, content_type = "application/json", description = "The JSON form of a `[[collection]]` table"),
    responses((status = 200, body = AppliedCollection), (status = 201, body = AppliedCollection)),
)]
pub(crate) async fn put_collection<H: CloudAdmin>(
    State(app): State<Shared<H>>,
    InCollection(collection): InCollection,
    mut query: Query,
    origin: Origin,
    request: Request,
) -> Answer {
    may_administer(&origin.caller)?;
    let dry_run = query.flag("dry_run")?;
    query.finish("dry_run")?;
    let (_, whole) = whole(request).await?;
    let mut definition = body::value(body::text(&whole)?)?;
    let named = definition.remove("name");
    if named.is_some_and(|name| name.as_text().as_deref() != Some(collection.as_str())) {
        let detail = format!("the definition's name is not the path's, {collection}; leave it out or make them agree");
        return Err(Problem::bad_request(detail).field("name"));
    }
    let applied = app.hub.put_collection(&collection, definition, dry_run, origin).await?;
    let created = applied.created && !dry_run;
    answer::json(if created { StatusCode::CREATED } else { StatusCode::OK }, &applied)
}

/// Deletes a definition and its records.
#[utoipa::path(
    delete, path = "/v1/collections/{c}", tag = "collections", operation_id = "delete_collection",
    params(("c" = String, Path, description = "The collection")),
    responses((status = 200, body = super::cloud::Removed)),
)]
pub(crate) async fn delete_collection<H: CloudAdmin>(
    State(app): State<Shared<H>>,
    InCollection(collection): InCollection,
    query: Query,
    origin: Origin,
) -> Answer {
    may_administer(&origin.caller)?;
    query.finish("")?;
    app.hub.delete_collection(&collection, origin).await?;
    removed(collection.as_str())
}

/// What was removed.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Removed<'a> {
    /// Its name or id.
    name: &'a str,
    /// Always true.
    deleted: bool,
}

pub(super) fn removed(name: &str) -> Answer {
    answer::json(StatusCode::OK, &Removed { name, deleted: true })
}

/// One page of nodes.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct NodeList {
    /// The nodes, in name order.
    nodes: Vec<Node>,
    /// The next page's `after`, when there is more.
    next: Option<String>,
}

/// Nodes, in name order.
#[utoipa::path(
    get, path = "/v1/nodes", tag = "nodes", operation_id = "list_nodes",
    params(
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 100 where left out"),
    ),
    responses((status = 200, body = super::cloud::NodeList)),
)]
pub(crate) async fn nodes<H: CloudAdmin>(State(app): State<Shared<H>>, mut query: Query, _origin: Origin) -> Answer {
    let (after, limit) = (query.after()?, query.limit()?);
    query.finish("after, limit")?;
    let (nodes, next) = app.hub.nodes(after, limit).await?;
    answer::json(StatusCode::OK, &NodeList { nodes, next: next.map(|token| token.as_str().to_owned()) })
}

/// One node.
#[utoipa::path(
    get, path = "/v1/nodes/{n}", tag = "nodes", operation_id = "show_node",
    params(("n" = String, Path, description = "The node")),
    responses((status = 200, body = Node)),
)]
pub(crate) async fn node<H: CloudAdmin>(State(app): State<Shared<H>>, OfNode(name): OfNode, query: Query, _origin: Origin) -> Answer {
    query.finish("")?;
    answer::json(StatusCode::OK, &app.hub.node(&name).await?)
}

/// Labels to set, and with null to remove.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LabelRequest {
    /// The others stay.
    labels: BTreeMap<String, Option<String>>,
}

/// Sets and removes labels.
#[utoipa::path(
    patch, path = "/v1/nodes/{n}", tag = "nodes", operation_id = "label_node",
    params(("n" = String, Path, description = "The node")),
    request_body(content = super::cloud::LabelRequest, content_type = "application/merge-patch+json"),
    responses((status = 200, body = Node)),
)]
pub(crate) async fn label_node<H: CloudAdmin>(
    State(app): State<Shared<H>>,
    OfNode(name): OfNode,
    query: Query,
    origin: Origin,
    request: Request,
) -> Answer {
    may_administer(&origin.caller)?;
    query.finish("")?;
    let LabelRequest { labels } = parsed(request).await?;
    answer::json(StatusCode::OK, &app.hub.label_node(&name, labels, origin).await?)
}

/// Refuses a node from now on.
#[utoipa::path(
    post, path = "/v1/nodes/{n}/revoke", tag = "nodes", operation_id = "revoke_node",
    params(("n" = String, Path, description = "The node")),
    responses((status = 200, body = Node)),
)]
pub(crate) async fn revoke_node<H: CloudAdmin>(
    State(app): State<Shared<H>>,
    OfNode(name): OfNode,
    query: Query,
    origin: Origin,
    headers: HeaderMap,
) -> Answer {
    may_administer(&origin.caller)?;
    headers::content_type(&headers, Accepts::Json)?;
    query.finish("")?;
    answer::json(StatusCode::OK, &app.hub.revoke_node(&name, origin).await?)
}

/// The database that is to be the node's.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AcceptRequest {
    /// Its id, 32 hex digits, as the node's events name it.
    database: String,
}

/// Makes a database that was refused the rightful one.
#[utoipa::path(
    post, path = "/v1/nodes/{n}/accept", tag = "nodes", operation_id = "accept_database",
    params(("n" = String, Path, description = "The node")),
    request_body(content = super::cloud::AcceptRequest), responses((status = 200, body = Node)),
)]
pub(crate) async fn accept_database<H: CloudAdmin>(
    State(app): State<Shared<H>>,
    OfNode(name): OfNode,
    query: Query,
    origin: Origin,
    request: Request,
) -> Answer {
    may_administer(&origin.caller)?;
    query.finish("")?;
    let AcceptRequest { database } = parsed(request).await?;
    let unknown = |()| {
        Problem::bad_request("a database id has 32 hex digits; `cloudhub node events` names the one that was refused").field("database")
    };
    let database = database.parse::<DatabaseId>().map_err(unknown)?;
    answer::json(StatusCode::OK, &app.hub.accept_database(&name, database, origin).await?)
}

/// Compares what a node holds with what the cloud has, and sends again what differs.
#[utoipa::path(
    post, path = "/v1/nodes/{n}/verify", tag = "nodes", operation_id = "verify_node",
    params(
        ("n" = String, Path, description = "The node, which must be online"),
        ("collection" = Option<String>, Query, description = "Only say what holds of this collection"),
    ),
    responses((status = 200, body = Verification)),
)]
pub(crate) async fn verify_node<H: CloudAdmin>(
    State(app): State<Shared<H>>,
    OfNode(name): OfNode,
    query: Query,
    origin: Origin,
    headers: HeaderMap,
) -> Answer {
    may_administer(&origin.caller)?;
    headers::content_type(&headers, Accepts::Json)?;
    let collection = of_collection(query)?;
    answer::json(StatusCode::OK, &app.hub.verify_node(&name, collection, origin).await?)
}

/// Has a node drop and fill again what it holds.
#[utoipa::path(
    post, path = "/v1/nodes/{n}/resync", tag = "nodes", operation_id = "resync_node",
    params(
        ("n" = String, Path, description = "The node, online or not"),
        ("collection" = Option<String>, Query, description = "Only this collection"),
    ),
    responses((status = 200, body = Resync)),
)]
pub(crate) async fn resync_node<H: CloudAdmin>(
    State(app): State<Shared<H>>,
    OfNode(name): OfNode,
    query: Query,
    origin: Origin,
    headers: HeaderMap,
) -> Answer {
    may_administer(&origin.caller)?;
    headers::content_type(&headers, Accepts::Json)?;
    let collection = of_collection(query)?;
    answer::json(StatusCode::OK, &app.hub.resync_node(&name, collection, origin).await?)
}

/// The one collection that a request is about, if it names one.
fn of_collection(mut query: Query) -> Result<Option<CollectionName>, Problem> {
    let named = query.take("collection")?;
    query.finish("collection")?;
    named.map(|name| CollectionName::parse(&name).map_err(|error| Problem::bad_request(error.to_string()).field("collection"))).transpose()
}

/// Forgets a node.
#[utoipa::path(
    delete, path = "/v1/nodes/{n}", tag = "nodes", operation_id = "delete_node",
    params(("n" = String, Path, description = "The node")),
    responses((status = 200, body = super::cloud::Removed)),
)]
pub(crate) async fn delete_node<H: CloudAdmin>(State(app): State<Shared<H>>, OfNode(name): OfNode, query: Query, origin: Origin) -> Answer {
    may_administer(&origin.caller)?;
    query.finish("")?;
    app.hub.delete_node(&name, origin).await?;
    removed(name.as_str())
}

/// A node's events.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct EventList {
    /// The newest, oldest of them first.
    events: Vec<NodeEvent>,
}

/// What happened to a node.
#[utoipa::path(
    get, path = "/v1/nodes/{n}/events", tag = "nodes", operation_id = "list_node_events",
    params(("n" = String, Path, description = "The node")),
    responses((status = 200, body = super::cloud::EventList)),
)]
pub(crate) async fn node_events<H: CloudAdmin>(
    State(app): State<Shared<H>>,
    OfNode(name): OfNode,
    query: Query,
    _origin: Origin,
) -> Answer {
    query.finish("")?;
    answer::json(StatusCode::OK, &EventList { events: app.hub.node_events(&name).await? })
}

/// Join tokens.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct JoinTokenList {
    /// Those that can still be used.
    tokens: Vec<JoinToken>,
}

/// Join tokens that can still be used.
#[utoipa::path(
    get, path = "/v1/join-tokens", tag = "tokens", operation_id = "list_join_tokens",
    responses((status = 200, body = super::cloud::JoinTokenList)),
)]
pub(crate) async fn join_tokens<H: CloudAdmin>(State(app): State<Shared<H>>, query: Query, origin: Origin) -> Answer {
    may_administer(&origin.caller)?;
    query.finish("")?;
    answer::json(StatusCode::OK, &JoinTokenList { tokens: app.hub.join_tokens().await? })
}

/// Makes a join token.
#[utoipa::path(
    post, path = "/v1/join-tokens", tag = "tokens", operation_id = "create_join_token",
    request_body(content = JoinTokenRequest), responses((status = 201, body = NewJoinToken)),
)]
pub(crate) async fn create_join_token<H: CloudAdmin>(
    State(app): State<Shared<H>>,
    query: Query,
    origin: Origin,
    request: Request,
) -> Answer {
    may_administer(&origin.caller)?;
    query.finish("")?;
    let wish: JoinTokenRequest = parsed(request).await?;
    if wish.replace && wish.node.is_none() {
        return Err(Problem::bad_request("replace needs the name of the node to replace").field("node"));
    }
    answer::json(StatusCode::CREATED, &app.hub.create_join_token(wish, origin).await?).map(unstored)
}

/// Revokes a join token.
#[utoipa::path(
    delete, path = "/v1/join-tokens/{id}", tag = "tokens", operation_id = "revoke_join_token",
    params(("id" = String, Path, description = "The token's id")),
    responses((status = 200, body = super::cloud::Removed)),
)]
pub(crate) async fn revoke_join_token<H: CloudAdmin>(State(app): State<Shared<H>>, OfId(id): OfId, query: Query, origin: Origin) -> Answer {
    may_administer(&origin.caller)?;
    query.finish("")?;
    app.hub.revoke_join_token(&id, origin).await?;
    removed(&id)
}

/// Takes a node in.
#[utoipa::path(
    post, path = "/v1/join", tag = "joining", operation_id = "join",
    request_body(content = Object, content_type = "application/json", description = "The token's secret, the wished name, a certificate request (PEM), the software's version"),
    responses((status = 200, body = Object, description = "The node's name, its certificate and the CA's (PEM), the hub's addresses and time")),
)]
pub(crate) async fn join<H: CloudAdmin>(State(app): State<Shared<H>>, request: Request) -> Answer {
    let request: JoinRequest = parsed(request).await?;
    answer::json(StatusCode::OK, &app.hub.join(request).await?)
}

/// Renews a node's certificate.
#[utoipa::path(
    post, path = "/v1/renew", tag = "joining", operation_id = "renew",
    request_body(content = Object, content_type = "application/json", description = "The present certificate and a request signed with its key, PEM"),
    responses((status = 200, body = Object, description = "As for joining")),
)]
pub(crate) async fn renew<H: CloudAdmin>(State(app): State<Shared<H>>, request: Request) -> Answer {
    let request: RenewRequest = parsed(request).await?;
    answer::json(StatusCode::OK, &app.hub.renew(request).await?)
}

/// An answer with a secret stays in no cache.
pub(super) fn unstored(mut response: Response) -> Response {
    response.headers_mut().insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}
