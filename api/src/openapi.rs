//! The API's description, OpenAPI 3.1, generated from the handlers and the shapes.
//!
//! What a handler alone knows stands beside it: its path, its own parameters, its body, its good answers. What follows from
//! rules that hold for many paths is added here, once: `parameters` the bounds of what paths and queries name and the headers,
//! `bodies` those of what is sent, `refusals` the problems by status, `shapes` what the derived schemas cannot say.
//!
//! A hub serves the text that was generated and committed (`CLOUD`, `EDGE`): the code that generates it is ten times as long
//! and would be shipped for this one answer. A test compares the two.

mod bodies;
mod parameters;
mod refusals;
mod shapes;

use serde_json::{Value, json};
use utoipa::OpenApi;

use crate::http::devices::{declared, models, twins};
use crate::http::{access, bulk, cloud as cloud_paths, collections, conflicts, edge as edge_paths, observe, records, watch, writes};
use crate::shapes::{CloudStatus, EdgeStatus};

/// What cloudhub serves, but for its version.
pub(crate) const CLOUD: &str = include_str!("openapi/cloud.json");

/// What edgehub serves, but for its version.
pub(crate) const EDGE: &str = include_str!("openapi/edge.json");

/// The place of the version in a text that is kept.
const VERSION: &str = r#""version":"""#;

/// A kept description, of a hub of this version.
pub(crate) fn of_version(kept: &str, version: &str) -> String {
    kept.replacen(VERSION, &format!(r#""version":"{version}""#), 1)
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Tombolo", description = "Records on the cloud and at the edge: the same paths on both."),
    paths(
        access::list, access::create, access::revoke, collections::list, collections::show, records::list, records::create, records::read, records::replace,
        records::merge, records::remove, records::increment, bulk::import, bulk::export, writes::commit, writes::list,
        writes::show, writes::resend, writes::discard, conflicts::list, conflicts::show, conflicts::resolve, models::list, models::show, models::put, models::remove,
        declared::list, declared::show, declared::put, declared::remove, twins::show, twins::desire, watch::watch, observe::status,
        observe::healthz, observe::readyz,
        observe::metrics, observe::description,
    ),
    components(schemas(crate::problem::ProblemBody<'static>)),
)]
struct Both;

#[derive(OpenApi)]
#[openapi(
    paths(
        cloud_paths::put_collection,
        cloud_paths::delete_collection,
        cloud_paths::nodes,
        cloud_paths::node,
        cloud_paths::label_node,
        cloud_paths::node_events,
        cloud_paths::revoke_node,
        cloud_paths::verify_node,
        cloud_paths::resync_node,
        cloud_paths::accept_database,
        cloud_paths::delete_node,
        cloud_paths::join_tokens,
        cloud_paths::create_join_token,
        cloud_paths::revoke_join_token,
        cloud_paths::join,
        cloud_paths::renew,
    ),
    components(schemas(CloudStatus))
)]
struct Cloud;

#[derive(OpenApi)]
#[openapi(paths(edge_paths::outbox, edge_paths::verify, edge_paths::query), components(schemas(EdgeStatus)))]
struct Edge;

/// Which hub is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Cloud,
    Edge,
}

/// Generates what cloudhub serves.
pub fn cloud() -> Value {
    complete(Both::openapi().merge_from(Cloud::openapi()), Side::Cloud)
}

/// Generates what edgehub serves.
pub fn edge() -> Value {
    complete(Both::openapi().merge_from(Edge::openapi()), Side::Edge)
}

fn complete(document: utoipa::openapi::OpenApi, side: Side) -> Value {
    // A description of texts, lists and maps always serialises; an empty one would fail every test of it.
    let mut document = serde_json::to_value(document).unwrap_or_default();
    document["info"]["version"] = "".into();
    let status = if side == Side::Cloud { "CloudStatus" } else { "EdgeStatus" };
    document["paths"]["/v1/status"]["get"]["responses"]["200"]["content"]["application/json"]["schema"] = reference(status);
    shapes::complete(&mut document);
    refusals::declare(&mut document);
    secure(&mut document, side);
    for (path, item) in members(&mut document["paths"]) {
        for (method, operation) in members(item) {
            let called = Called { side, path, method, open: crate::http::is_open(path) };
            parameters::complete(operation, called);
            bodies::describe(operation);
            refusals::add(operation, called);
            shapes::describe(operation);
        }
    }
    document
}

/// One operation's place.
#[derive(Debug, Clone, Copy)]
struct Called<'a> {
    side: Side,
    path: &'a str,
    method: &'a str,
    /// Nobody has to prove who asks.
    open: bool,
}

impl Called<'_> {
    /// It changes records, through a write of their own.
    fn mutates(self) -> bool {
        self.method != "get"
            && (self.path.starts_with("/v1/collections/{c}/")
                || ["/v1/writes", "/v1/conflicts"].iter().any(|start| self.path.starts_with(start)))
    }
}

/// Who asks proves it by a bearer token: always on the cloud, at the edge where `[api] tokens` asks for it.
fn secure(document: &mut Value, side: Side) {
    let text =
        "A token of `access create`; the cloud's administrator's is in admin.token. At the edge only where [api] tokens = \"required\".";
    document["components"]["securitySchemes"] = json!({"token": {"type": "http", "scheme": "bearer", "description": text}});
    document["security"] = if side == Side::Cloud { json!([{"token": []}]) } else { json!([{}, {"token": []}]) };
    for (path, item) in members(&mut document["paths"]) {
        if crate::http::is_open(path) {
            members(item).for_each(|(_, operation)| operation["security"] = json!([]));
        }
    }
}

/// The members of an object; none where it is something else.
fn members(value: &mut Value) -> impl Iterator<Item = (&str, &mut Value)> {
    value.as_object_mut().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;

    /// One operation and one schema a line, so that a change of one is a difference of one line.
    fn lines(value: &Value, deep: usize) -> String {
        match value.as_object().filter(|_| deep < 3) {
            Some(members) => {
                let members: Vec<_> =
                    members.iter().map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), lines(value, deep + 1))).collect();
                format!("{{\n{}\n}}", members.join(",\n"))
            }
            None => value.to_string(),
        }
    }

    #[test]
    fn the_kept_descriptions_are_what_the_code_generates() {
        for (name, fresh) in [("cloud.json", cloud()), ("edge.json", edge())] {
            let fresh = lines(&fresh, 0) + "\n";
            let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/openapi").join(name);
            if std::env::var_os("TOMBOLO_BLESS").is_some() {
                std::fs::write(&committed, &fresh).unwrap();
            }
            let kept = std::fs::read_to_string(&committed).unwrap();
            assert!(kept == fresh, "src/openapi/{name} is stale; write it anew: TOMBOLO_BLESS=1 cargo test -p api --lib openapi");
            assert_eq!(kept.matches(VERSION).count(), 1, "one place for the version in {name}");
        }
    }
}
