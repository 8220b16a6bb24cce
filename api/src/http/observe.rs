//! What watches the hub: status, probes, metrics, the API's own description.

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::Shared;
use super::answer::{self, Answer};
use super::query::Query;
use crate::hub::{Hub, Origin};
use crate::metrics::{BUILD_INFO, HTTP_REQUESTS, MetricsWriter, WATCHES, WATCHES_CUT};
use crate::openapi;

/// What the hub is doing.
#[utoipa::path(
    get, path = "/v1/status", tag = "status", operation_id = "show_status",
    responses((status = 200, body = Object, description = "The hub's status")),
)]
pub(crate) async fn status<H: Hub>(State(app): State<Shared<H>>, query: Query, _origin: Origin) -> Answer {
    query.finish("")?;
    answer::json(StatusCode::OK, &app.hub.status().await?)
}

/// 200 while the process lives.
#[utoipa::path(
    get, path = "/healthz", tag = "status", operation_id = "healthz",
    responses((status = 200, body = String, content_type = "text/plain", description = "The process lives")),
)]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// 200 when requests can be served.
#[utoipa::path(
    get, path = "/readyz", tag = "status", operation_id = "readyz",
    responses((status = 200, body = String, content_type = "text/plain", description = "Requests can be served")),
)]
pub(crate) async fn readyz<H: Hub>(State(app): State<Shared<H>>) -> Answer {
    app.hub.ready().await?;
    Ok("ready\n".into_response())
}

/// The hub's figures in Prometheus' text format.
#[utoipa::path(
    get, path = "/metrics", tag = "status", operation_id = "metrics",
    responses((status = 200, body = String, content_type = "text/plain", description = "Prometheus text")),
)]
pub(crate) async fn metrics<H: Hub>(State(app): State<Shared<H>>, _origin: Origin) -> Answer {
    let mut out = MetricsWriter::default();
    out.sample(&BUILD_INFO, &[app.options.version], 1.0);
    for (class, answered) in ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(&app.answered) {
        out.sample(&HTTP_REQUESTS, &[class], answered.load(Ordering::Relaxed) as f64);
    }
    out.sample(&WATCHES, &[], app.watches.open() as f64);
    out.sample(&WATCHES_CUT, &[], app.watches.cut() as f64);
    app.hub.metrics(&mut out).await?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], out.finish()).into_response())
}

/// This description.
#[utoipa::path(
    get, path = "/openapi.json", tag = "status", operation_id = "openapi",
    responses((status = 200, body = Object, description = "OpenAPI 3.1")),
)]
pub(crate) async fn description<H: Hub>(State(app): State<Shared<H>>) -> Response {
    answer::json_bytes(StatusCode::OK, openapi::of_version(app.description, app.options.version).into())
}
