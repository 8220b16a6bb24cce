//! Access tokens: who may use the API, as what.

use axum::extract::{Request, State};
use http::StatusCode;
use serde::Serialize;

use super::Shared;
use super::answer::{self, Answer};
use super::cloud::{parsed, removed, unstored};
use super::collections::may_administer;
use super::path::OfId;
use super::query::Query;
use crate::hub::{Hub, Origin};
use crate::shapes::{AccessToken, AccessTokenRequest, NewAccessToken};

/// Access tokens.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct AccessTokenList {
    /// All of them, without their secrets.
    tokens: Vec<AccessToken>,
}

/// Access tokens, without their secrets.
#[utoipa::path(
    get, path = "/v1/access-tokens", tag = "tokens", operation_id = "list_access_tokens",
    responses((status = 200, body = super::access::AccessTokenList)),
)]
pub(crate) async fn list<H: Hub>(State(app): State<Shared<H>>, query: Query, origin: Origin) -> Answer {
    may_administer(&origin.caller)?;
    query.finish("")?;
    answer::json(StatusCode::OK, &AccessTokenList { tokens: app.hub.access_tokens().await? })
}

/// Makes an access token.
#[utoipa::path(
    post, path = "/v1/access-tokens", tag = "tokens", operation_id = "create_access_token",
    request_body(content = AccessTokenRequest), responses((status = 201, body = NewAccessToken)),
)]
pub(crate) async fn create<H: Hub>(State(app): State<Shared<H>>, query: Query, origin: Origin, request: Request) -> Answer {
    may_administer(&origin.caller)?;
    query.finish("")?;
    let wish: AccessTokenRequest = parsed(request).await?;
    answer::json(StatusCode::CREATED, &app.hub.create_access_token(wish, origin).await?).map(unstored)
}

/// Revokes an access token.
#[utoipa::path(
    delete, path = "/v1/access-tokens/{id}", tag = "tokens", operation_id = "revoke_access_token",
    params(("id" = String, Path, description = "The token's id")),
    responses((status = 200, body = super::cloud::Removed)),
)]
pub(crate) async fn revoke<H: Hub>(State(app): State<Shared<H>>, OfId(id): OfId, query: Query, origin: Origin) -> Answer {
    may_administer(&origin.caller)?;
    query.finish("")?;
    app.hub.revoke_access_token(&id, origin).await?;
    removed(&id)
}
