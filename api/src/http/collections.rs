//! Collections: what is defined, and who may touch it.

use axum::extract::State;
use http::StatusCode;
use proto::device;

use super::Shared;
use super::answer::{self, Answer};
use super::path::InCollection;
use super::query::Query;
use crate::hub::{Caller, Collection, Hub, Origin, Role};
use crate::problem::{Code, Problem};
use crate::shapes::Object;

/// Every definition that the caller may see.
#[utoipa::path(
    get, path = "/v1/collections", tag = "collections", operation_id = "list_collections",
    responses((status = 200, body = super::collections::CollectionList)),
)]
pub(crate) async fn list<H: Hub>(State(app): State<Shared<H>>, query: Query, origin: Origin) -> Answer {
    query.finish("")?;
    let all = app.hub.collections().await?;
    let seen = all.iter().filter(|collection| origin.caller.sees(collection.name.as_str()));
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    object.list("collections", seen, write_definition);
    object.end();
    Ok(answer::json_bytes(StatusCode::OK, out))
}

/// The definitions.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes what `list` writes around the definitions' texts")]
pub(crate) struct CollectionList {
    /// In name order.
    collections: Vec<CollectionShown>,
}

/// One collection.
#[derive(utoipa::ToSchema)]
#[schema(as = Collection)]
#[allow(dead_code, reason = "only describes what `write_definition` writes around the definition's text")]
pub(crate) struct CollectionShown {
    /// Its name.
    name: String,
    /// The revision of its definition.
    revision: u64,
    /// Its live records.
    records: u64,
    /// The JSON form of its `[[collection]]` table, without the name.
    #[schema(value_type = Object)]
    definition: (),
}

/// One definition.
#[utoipa::path(
    get, path = "/v1/collections/{c}", tag = "collections", operation_id = "show_collection",
    params(("c" = String, Path, description = "The collection")),
    responses((status = 200, body = super::collections::CollectionShown)),
)]
pub(crate) async fn show<H: Hub>(
    State(app): State<Shared<H>>,
    InCollection(collection): InCollection,
    query: Query,
    origin: Origin,
) -> Answer {
    may_see(&origin.caller, collection.as_str())?;
    query.finish("")?;
    let found = app.hub.collection(&collection).await?;
    let mut out = Vec::new();
    write_definition(&mut out, &found);
    Ok(answer::json_bytes(StatusCode::OK, out))
}

/// Writes `{"name","revision","records","definition"}`.
fn write_definition(out: &mut Vec<u8>, collection: &Collection) {
    let mut object = Object::new(out);
    object.text("name", collection.name.as_str());
    object.number("revision", collection.revision);
    object.number("records", collection.records);
    object.raw("definition", collection.definition.as_str());
    object.end();
}

/// 403 unless the caller may read the collection.
pub(crate) fn may_see(caller: &Caller, collection: &str) -> Result<(), Problem> {
    if caller.sees(collection) {
        return Ok(());
    }
    Err(not_entitled(caller, &format!("read {collection}")).collection(collection))
}

/// 403 unless the caller may change the collection's records, one by one: those of devices go together.
pub(crate) fn may_write(caller: &Caller, collection: &str) -> Result<(), Problem> {
    if device::COLLECTIONS.contains(&collection) {
        let detail = format!("the records of {collection} belong together: write them through /v1/device-models and /v1/devices");
        return Err(Problem::new(Code::ReadOnly, detail).collection(collection));
    }
    may_change(caller, collection)
}

/// 403 unless the caller may change what the collection holds.
pub(crate) fn may_change(caller: &Caller, collection: &str) -> Result<(), Problem> {
    if caller.may_write(collection) {
        return Ok(());
    }
    Err(not_entitled(caller, &format!("change {collection}")).collection(collection))
}

/// 403 unless the caller administers the hub.
pub(crate) fn may_administer(caller: &Caller) -> Result<(), Problem> {
    if caller.role == Role::Admin { Ok(()) } else { Err(not_entitled(caller, "administer this hub")) }
}

/// 403 `not_entitled`.
pub(crate) fn not_entitled(caller: &Caller, what: &str) -> Problem {
    let name = caller.name.as_deref().unwrap_or("this caller");
    Problem::new(Code::NotEntitled, format!("the token {name:?} does not allow to {what}; ask for one that does"))
}
