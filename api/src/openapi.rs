//! The API's description, OpenAPI 3.1, generated from the handlers and the shapes.

use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use crate::http::{bulk, cloud as cloud_paths, collections, conflicts, edge as edge_paths, observe, records, writes};
use crate::shapes::{CloudStatus, EdgeStatus};

#[derive(OpenApi)]
#[openapi(
    info(title = "Tombolo", description = "Records on the cloud and at the edge: the same paths on both."),
    paths(
        collections::list, collections::show, records::list, records::create, records::read, records::replace,
        records::merge, records::remove, records::increment, bulk::import, bulk::export, writes::commit, writes::list,
        writes::show, conflicts::list, conflicts::show, observe::status, observe::healthz, observe::readyz,
        observe::metrics, observe::openapi,
    ),
    components(schemas(crate::problem::ProblemBody<'static>)),
    modifiers(&Derived, &Refusals),
)]
struct Both;

#[derive(OpenApi)]
#[openapi(
    paths(
        cloud_paths::put_collection, cloud_paths::delete_collection, cloud_paths::nodes, cloud_paths::node,
        cloud_paths::label_node, cloud_paths::node_events,
        cloud_paths::revoke_node, cloud_paths::verify_node, cloud_paths::resync_node, cloud_paths::accept_database,
        cloud_paths::delete_node, cloud_paths::join_tokens, cloud_paths::create_join_token,
        cloud_paths::revoke_join_token, cloud_paths::access_tokens, cloud_paths::create_access_token,
        cloud_paths::revoke_access_token, cloud_paths::join, cloud_paths::renew,
    ),
    components(schemas(CloudStatus)),
    modifiers(&Refusals),
)]
struct Cloud;

#[derive(OpenApi)]
#[openapi(paths(edge_paths::outbox, edge_paths::verify), components(schemas(EdgeStatus)), modifiers(&Refusals))]
struct Edge;

/// What cloudhub serves.
pub fn cloud() -> Document {
    let mut document = Both::openapi().merge_from(Cloud::openapi());
    answer_with(&mut document, "/v1/status", "CloudStatus");
    document
}

/// What edgehub serves.
pub fn edge() -> Document {
    let mut document = Both::openapi().merge_from(Edge::openapi());
    answer_with(&mut document, "/v1/status", "EdgeStatus");
    document
}

/// Names the schema of a path whose answer the two hubs have each their own of.
fn answer_with(document: &mut Document, path: &str, schema: &str) {
    let operation = document.paths.paths.get_mut(path).and_then(|item| item.get.as_mut());
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    let answer = ResponseBuilder::new().description("The hub's status").content("application/json", body);
    if let Some(operation) = operation {
        operation.responses.responses.insert("200".to_owned(), answer.build().into());
    }
}

/// Members that are written beside a struct's own because they follow from them.
struct Derived;

impl Modify for Derived {
    fn modify(&self, document: &mut Document) {
        let Some(components) = document.components.as_mut() else { return };
        for (schema, member, kinds) in [
            ("RecordSync", "state", vec![Type::String]),
            ("Write", "final", vec![Type::Boolean]),
            ("Write", "accepted", vec![Type::Boolean, Type::Null]),
        ] {
            if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(schema) {
                let kind = ObjectBuilder::new().schema_type(SchemaType::from_iter(kinds)).build();
                object.properties.insert(member.to_owned(), kind.into());
                object.required.push(member.to_owned());
            }
        }
    }
}

/// Every path may refuse, always in the same form.
struct Refusals;

impl Modify for Refusals {
    fn modify(&self, document: &mut Document) {
        for item in document.paths.paths.values_mut() {
            let methods = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
            methods.into_iter().flatten().for_each(refuses);
        }
    }
}

fn refuses(operation: &mut Operation) {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let refusal = ResponseBuilder::new().description("Refused").content("application/problem+json", body).build();
    operation.responses.responses.insert("default".to_owned(), refusal.into());
}
