//! The request bodies that no struct describes, or not closely enough.

use proto::limits::{VALUE_FIELDS, WRITE_OPS};
use serde_json::{Value, json};

use super::parameters::{COLLECTION, NODE, key};
use super::{members, reference};

/// A label's name: 1 to 63 bytes.
const LABEL: &str = r"^[^\u0000-\u0020\u007f-\u00a0=,\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+$";
/// Text that a person reads, on one line.
const LINE: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// A token's name, which begins and ends with more than a blank.
const NAME: &str = "^[!-~]([ -~]{0,126}[!-~])?$";

/// Narrows the schemas that requests are made of.
pub(super) fn complete(schemas: &mut Value) {
    schemas["Op"] = op();
    schemas["ResolveRequest"] = resolution();
    schemas["WriteRequest"]["properties"]["ops"]["minItems"] = 1.into();
    schemas["WriteRequest"]["properties"]["ops"]["maxItems"] = WRITE_OPS.into();
    narrow(schemas, "LabelRequest", "labels", labels(json!(["string", "null"])));
    narrow(schemas, "AcceptRequest", "database", json!({"type": "string", "pattern": "^[0-9a-fA-F]{32}$"}));
    narrow(schemas, "JoinTokenRequest", "labels", labels(json!("string")));
    narrow(schemas, "JoinTokenRequest", "node", json!({"type": ["string", "null"], "pattern": NODE}));
    narrow(schemas, "JoinTokenRequest", "uses", json!({"type": ["integer", "null"], "minimum": 1, "maximum": 100_000, "default": 1}));
    if let Some(request) = schemas.get_mut("JoinTokenRequest") {
        request["if"] = json!({"properties": {"replace": {"const": true}}, "required": ["replace"]});
        request["then"] = json!({"properties": {"node": {"type": "string"}}, "required": ["node"]});
    }
    let year = 366 * 86_400;
    narrow(
        schemas,
        "JoinTokenRequest",
        "ttl_seconds",
        json!({"type": ["integer", "null"], "minimum": 1, "maximum": year, "default": 86_400}),
    );
    narrow(schemas, "AccessTokenRequest", "name", json!({"type": "string", "pattern": NAME}));
    narrow(schemas, "AccessTokenRequest", "collections", json!({"type": "array", "items": {"type": "string", "pattern": COLLECTION}}));
    narrow(schemas, "AccessTokenRequest", "ttl_seconds", json!({"type": ["integer", "null"], "minimum": 1, "maximum": i64::MAX}));
    let scalar = json!({"type": ["null", "boolean", "number", "string"]});
    let by_place = json!({"type": "array", "items": scalar, "maxItems": 256});
    let by_name = json!({"type": "object", "additionalProperties": scalar, "maxProperties": 256});
    narrow(schemas, "QueryBody", "params", json!({"anyOf": [{"type": "null"}, by_place, by_name]}));
    narrow(schemas, "QueryBody", "limit", json!({"type": ["integer", "null"], "minimum": 1, "maximum": 100_000, "default": 10_000}));
    narrow(schemas, "QueryBody", "timeout", json!({"type": ["integer", "null"], "minimum": 1, "maximum": 30, "default": 5}));
    narrow(
        schemas,
        "QueryResult",
        "rows",
        json!({"type": "array", "items": {"type": "array", "items": {"type": ["null", "number", "string"]}}}),
    );
    narrow(schemas, "QueryBody", "limit", json!({"type": ["integer", "null"], "minimum": 1, "maximum": 100_000, "default": 10_000}));
    narrow(schemas, "QueryBody", "timeout", json!({"type": ["integer", "null"], "minimum": 1, "maximum": 30, "default": 5}));
    let param = json!({"type": ["null", "boolean", "number", "string"], "minimum": i64::MIN, "maximum": i64::MAX});
    narrow(
        schemas,
        "QueryBody",
        "params",
        json!({"anyOf": [{"type": "array", "items": param}, {"type": "object", "additionalProperties": param}, {"type": "null"}]}),
    );
    narrow(schemas, "VerifyRequest", "collection", json!({"type": ["string", "null"], "pattern": COLLECTION}));
}

/// Gives a member of a schema the bounds of `to`, where the hub has it; its description stays.
fn narrow(schemas: &mut Value, schema: &str, member: &str, to: Value) {
    let Some(own) = schemas.pointer_mut(&format!("/{schema}/properties/{member}")) else { return };
    let description = own["description"].take();
    *own = to;
    own["description"] = description;
}

fn labels(values: Value) -> Value {
    json!({"type": "object", "propertyNames": {"pattern": LABEL, "maxLength": 63},
        "additionalProperties": {"type": values, "maxLength": 4_096, "pattern": LINE}})
}

/// Describes an operation's body where its annotation only says that there is an object, or nothing.
pub(super) fn describe(operation: &mut Value) {
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    let body = match id.as_str() {
        "increment_record" => increments(),
        "put_collection" => definition(),
        "join" => pem(
            json!({"secret": {"type": "string"}, "csr": {"type": "string"}, "version": {"type": "string"},
            "node": {"type": ["string", "null"], "pattern": NODE}}),
            &["secret", "csr", "version"],
        ),
        "renew" => pem(json!({"certificate": {"type": "string"}, "csr": {"type": "string"}}), &["certificate", "csr"]),
        "revoke_node" | "verify_node" | "resync_node" => {
            let unread = "Not read; its content type shows that no web form sent it.";
            operation["requestBody"] = json!({"description": unread, "required": true, "content": {"application/json": {"schema": {}}}});
            return;
        }
        _ => json!({"type": "object", "maxProperties": VALUE_FIELDS}),
    };
    for (_, content) in operation.get_mut("requestBody").into_iter().flat_map(|body| members(&mut body["content"])) {
        if content["schema"] == json!({"type": "object"}) || id == "increment_record" {
            content["schema"] = body.clone();
        }
    }
    if id == "join" || id == "renew" {
        operation["responses"]["200"]["content"]["application/json"]["schema"] = joined();
    }
}

fn pem(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

fn joined() -> Value {
    let addresses = json!({"type": "array", "items": {"type": "string"}});
    json!({"type": "object", "required": ["node", "certificate", "ca", "servers", "time"], "properties": {
        "node": {"type": "string", "pattern": NODE}, "certificate": {"type": "string"}, "ca": {"type": "string"},
        "servers": {"type": "object", "properties": {"websocket": addresses, "quic": addresses, "api": addresses}},
        "time": reference("Time"),
    }})
}

/// A definition, as a `[[collection]]` table has it.
fn definition() -> Value {
    let text = json!({"type": "string"});
    let texts = json!({"type": "array", "items": text});
    let edge = json!({"type": "string", "enum": ["read-write", "read-only"]});
    let integer = json!({"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX});
    let days = json!({"type": "string", "pattern": "^[0-9]{1,6}[smhd]$"});
    let field = json!({"type": "object", "additionalProperties": false, "properties": {
        "type": {"const": "counter"}, "min": integer, "max": integer, "on_violation": {"enum": ["flag", "reject"]}, "edge": edge,
        "guard": {"type": "boolean"}, "initial": texts, "transitions": {"type": "object", "additionalProperties": texts},
    }});
    json!({"type": "object", "additionalProperties": false, "properties": {
        "name": {"type": "string", "pattern": COLLECTION, "description": "The path's, or left out"},
        "key": text, "nodes": {"type": "object", "additionalProperties": text},
        "partition": {"type": "object", "required": ["field", "label"], "additionalProperties": false, "properties": {"field": text, "label": text}},
        "edge": edge, "policy": {"enum": ["merge", "append", "guarded"]}, "indexes": texts,
        "groups": {"type": "array", "items": texts}, "schema": {"description": "JSON Schema 2020-12", "type": ["object", "boolean"]},
        "tombstone_retention": days, "edge_keep": days, "fields": {"type": "object", "additionalProperties": field},
    }})
}

/// One op: each kind takes members of its own.
fn op() -> Value {
    let collection = json!({"type": "string", "pattern": COLLECTION});
    let record = json!({"type": "object", "maxProperties": VALUE_FIELDS});
    let condition = json!({"oneOf": [{"const": "absent"}, {"type": "integer", "minimum": 0, "maximum": i64::MAX}]});
    let kind = |name: &str, own: Value, required: &[&str]| {
        let mut properties = json!({"op": {"const": name}, "collection": collection, "key": key()});
        for (member, schema) in own.as_object().into_iter().flatten() {
            properties[member] = schema.clone();
        }
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    };
    json!({
        "description": "One op. A `put` without a key creates a record and makes its key.",
        "oneOf": [
            kind("put", json!({"value": record, "if": condition}), &["op", "collection", "value"]),
            kind("merge", json!({"value": record, "if": condition}), &["op", "collection", "key", "value"]),
            kind("increment", json!({"by": increments()}), &["op", "collection", "key", "by"]),
            kind("delete", json!({"force": {"type": "boolean"}}), &["op", "collection", "key"]),
            kind("check", json!({"fields": record}), &["op", "collection", "key", "fields"]),
        ],
    })
}

fn resolution() -> Value {
    let value = json!({"type": "object", "maxProperties": VALUE_FIELDS,
        "description": "A merge patch on the record as it is, or the new record where there is none"});
    let kind = |side: Value, own: Value, required: &[&str]| {
        let mut properties = own;
        properties["use"] = side;
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    };
    json!({
        "description": "Which values a person wants: what the cloud had, what the losing write said, or others.",
        "oneOf": [
            kind(json!({"enum": ["cloud", "edge"]}), json!({}), &["use"]),
            kind(json!({"const": "value"}), json!({"value": value}), &["use", "value"]),
        ],
    })
}

fn increments() -> Value {
    json!({"type": "object", "minProperties": 1, "maxProperties": VALUE_FIELDS,
        "additionalProperties": {"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX}})
}
