//! What paths, queries and headers carry, with their bounds.

use proto::limits::{IDEMPOTENCY_KEY_BYTES, LIST_KEYS};
use serde_json::{Value, json};

use super::Called;
use crate::limits::{PAGE, PAGE_DEFAULT, WAIT};

/// A collection's name, the system's too.
pub(super) const COLLECTION: &str = "^_?[a-z][a-z0-9_-]{0,61}$";
pub(super) const NODE: &str = "^(?!cloud$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
/// No control characters, and neither `.` nor `..`.
pub(super) const KEY: &str = r"^(?!\.{1,2}$)[^\u0000-\u001f\u007f-\u009f]+$";
/// One or two levels of an MQTT topic.
const DEVICE: &str = r"^(?!\.{1,2}(/|$))[^\u0000-\u001f\u007f-\u009f/+#]{1,128}(/(?!\.{1,2}$)[^\u0000-\u001f\u007f-\u009f/+#]{1,128})?$";
/// Headers lose the blanks at their ends on the way.
const ACTOR: &str = "^[!-~]([ -~]{0,126}[!-~])?$";
/// An Idempotency-Key.
const NAME: &str = "^[!-~]([ -~]{0,253}[!-~])?$";
const TAGS: &str = r#"^(\*|"[^"]*"(, ?"[^"]*")*)$"#;

/// Adds bounds to an operation's own parameters, and the headers that it takes.
pub(super) fn complete(operation: &mut Value, called: Called<'_>) {
    let mut parameters = match operation["parameters"].take() {
        Value::Array(own) => own,
        _ => Vec::new(),
    };
    for parameter in &mut parameters {
        if let Some(schema) = schema(parameter["name"].as_str().unwrap_or_default(), called) {
            parameter["schema"] = schema;
        }
    }
    parameters.extend(headers(called));
    operation["parameters"] = parameters.into();
}

/// What a name means wherever it stands.
fn schema(name: &str, called: Called<'_>) -> Option<Value> {
    Some(match name {
        "c" if called.method == "put" => json!({"type": "string", "pattern": COLLECTION.replace("_?", "")}),
        "collection" if called.path == "/v1/watch" => {
            json!({"type": "array", "items": {"type": "string", "pattern": COLLECTION}, "maxItems": LIST_KEYS})
        }
        "c" | "collection" => json!({"type": "string", "pattern": COLLECTION}),
        "n" => json!({"type": "string", "pattern": NODE}),
        // The key of a path is a record's; that of a list is one of several, and that of an import names fields.
        "key" if called.path.ends_with("/records") => json!({"type": "array", "items": key(), "maxItems": LIST_KEYS}),
        "key" if called.path.ends_with("/import") => json!({"type": "string", "pattern": "^[^/]+(/[^/]+)*$"}),
        "key" => key(),
        "id" if called.path.starts_with("/v1/devices") => json!({"type": "string", "pattern": DEVICE}),
        "id" if called.path.starts_with("/v1/device-models") => key(),
        "id" => json!({"type": "string", "minLength": 1}),
        "limit" => json!({"type": "integer", "minimum": 1, "maximum": PAGE, "default": PAGE_DEFAULT}),
        // More is taken for as much as there is.
        "wait" => json!({"type": "integer", "minimum": 0, "maximum": u64::MAX, "description": format!("{} at most", WAIT.as_secs())}),
        "read" => json!({"type": "string", "enum": ["base"]}),
        "mode" => json!({"type": "string", "enum": ["create", "put", "merge"], "default": "put"}),
        "counters" => json!({"type": "string", "enum": ["set"]}),
        "state" if called.path == "/v1/conflicts" => {
            json!({"type": "string", "enum": ["open", "auto", "resolved", "all"], "default": "open"})
        }
        "state" if called.path == "/v1/devices" => json!({"type": "string"}),
        "node" => json!({"type": "string"}),
        "state" => json!({"type": "string", "enum": ["pending", "applied", "merged", "flagged", "rejected", "lost", "all"]}),
        _ => return None,
    })
}

pub(super) fn key() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": proto::limits::KEY_BYTES, "pattern": KEY})
}

fn headers(called: Called<'_>) -> Vec<Value> {
    let header = |name: &str, description: &str, schema: Value| json!({"name": name, "in": "header", "required": false, "description": description, "schema": schema});
    let text = || json!({"type": "string"});
    let mut taken = vec![header(
        "Request-Id",
        "Names the request in the logs of both hubs, and comes back. Up to 128 printable characters without blanks; another is replaced by one of the hub's",
        text(),
    )];
    if called.mutates() {
        taken.push(header("Tombolo-Actor", "Who does it, up to 128 bytes", json!({"type": "string", "pattern": ACTOR})));
    }
    if called.mutates() && !called.path.ends_with("/import") {
        let wait = format!("`wait=N`: answer when the outcome is known, after N seconds ({} at most) at the latest", WAIT.as_secs());
        taken.push(header("Prefer", &wait, text()));
    }
    if called.mutates() && (called.path.contains("/records/{key}") || called.path.starts_with("/v1/device")) {
        let tags = json!({"type": "string", "pattern": TAGS});
        taken.push(header("If-Match", "Only when the record is one of these versions, as `ETag` had them; `*`: when there is one", tags));
        let none = json!({"type": "string", "const": "*"});
        taken.push(header("If-None-Match", "Only when there is no such record. Not together with If-Match", none));
    }
    if called.mutates() && crate::http::keeps_key(called.path) {
        let key = json!({"type": "string", "pattern": NAME, "maxLength": IDEMPOTENCY_KEY_BYTES});
        taken.push(header("Idempotency-Key", "The application's own name of the request: the same request under it is done once", key));
    }
    if called.method == "get" && called.path.ends_with("/records/{key}") {
        // What is no tag is no version.
        let held = "Versions that the reader holds, as `ETag` had them, or `*`: 304 where it is still one of them";
        taken.push(header("If-None-Match", held, text()));
    }
    taken
}
