//! The problems that an operation answers with, by status.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Called, Side, reference};
use crate::problem::Code;

const STATUSES: [u16; 15] = [400, 401, 403, 404, 409, 412, 413, 415, 421, 422, 428, 429, 500, 503, 507];

/// One answer for each status, with the codes that it may carry.
pub(super) fn declare(document: &mut Value) {
    for status in STATUSES {
        let codes: Vec<&str> = of(status).map(Code::as_str).collect();
        let meanings: Vec<String> = of(status).map(|code| format!("`{}`: {}", code.as_str(), code.meaning())).collect();
        let narrowed = json!({"type": "object", "properties": {"status": {"const": status}, "code": {"enum": codes}}});
        let schema = json!({"allOf": [reference("Problem"), narrowed]});
        let mut headers = json!({});
        if [429, 503].contains(&status) {
            headers["Retry-After"] = json!({"description": "Seconds", "schema": {"type": "integer", "minimum": 1}});
        }
        if status == 401 {
            headers["WWW-Authenticate"] = json!({"schema": {"type": "string"}});
        }
        document["components"]["responses"][status.to_string()] = json!({
            "description": meanings.join(" "), "headers": headers, "content": {"application/problem+json": {"schema": schema}},
        });
    }
    let all: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] = all.into();
}

fn of(status: u16) -> impl Iterator<Item = Code> {
    Code::ALL.iter().copied().filter(move |code| code.status() == status)
}

/// Names those that an operation may answer with.
pub(super) fn add(operation: &mut Value, called: Called<'_>) {
    let has_body = operation.get("requestBody").is_some();
    for status in statuses(called, has_body) {
        operation["responses"][status.to_string()] = json!({"$ref": format!("#/components/responses/{status}")});
    }
}

fn statuses(called: Called<'_>, has_body: bool) -> BTreeSet<u16> {
    // A web page of another origin is turned away everywhere, and so is who names another machine at the edge.
    let mut may = BTreeSet::from([403, 500]);
    if called.side == Side::Edge {
        may.insert(421);
    }
    if called.path.starts_with("/v1/") {
        may.extend([400, 429, 503]);
    }
    if called.path == "/readyz" {
        may.insert(503);
    }
    if !called.open || called.path == "/v1/join" || called.path == "/v1/renew" {
        may.insert(401);
    }
    if called.path.contains('{') || ["/v1/writes", "/v1/verify", "/v1/watch"].contains(&called.path) {
        may.insert(404);
    }
    if called.method == "post" || has_body {
        may.extend([413, 415]);
    }
    if called.method != "get" && called.path.starts_with("/v1/") {
        may.extend([409, 422, 507]);
    }
    if called.mutates() {
        may.extend([412, 413, 428]);
    }
    may
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 405 is the answer where an operation is not.
    #[test]
    fn every_code_is_described_somewhere() {
        for code in Code::ALL.iter().filter(|code| **code != Code::MethodNotAllowed) {
            assert!(STATUSES.contains(&code.status().as_u16()), "{}", code.as_str());
        }
        assert!(STATUSES.iter().all(|status| of(*status).next().is_some()));
    }
}
