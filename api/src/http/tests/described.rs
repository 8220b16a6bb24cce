//! The description names what exists, all of it, and as it is.

use std::collections::BTreeSet;

use proto::ids::Revision;

use super::super::{Routes, cloud_routes, edge_routes};
use super::*;
use crate::shapes::{RawJson, Record, RecordSync, Time, Write, WriteOp, WriteOpKind, WriteState};

async fn document(api: &Api) -> Value {
    api.get("/openapi.json").answer().await.ok(200)
}

fn paths(document: &Value) -> BTreeSet<String> {
    document["paths"].as_object().unwrap().keys().cloned().collect()
}

fn listed<H>(routes: &Routes<H>) -> BTreeSet<String> {
    routes.listed.iter().map(|path| (*path).to_owned()).collect()
}

#[tokio::test]
async fn every_route_is_described_and_nothing_else() {
    let edge = document(&Api::edge()).await;
    let cloud = document(&Api::cloud()).await;
    assert_eq!(paths(&edge), listed(&edge_routes::<FakeHub>()));
    assert_eq!(paths(&cloud), listed(&cloud_routes::<FakeHub>()));
    assert!(edge["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(edge["info"]["version"], "0.0.0-test");
}

/// Asks every method of every path: described ones are handled, others are 405.
#[tokio::test]
async fn methods_are_those_that_are_described() {
    for api in [Api::edge(), Api::cloud()] {
        let described = document(&api).await;
        for (path, item) in described["paths"].as_object().unwrap() {
            let concrete = path.replace("{c}", "notes").replace("{key}", "1").replace("{id}", "x").replace("{n}", "lyon");
            // An answer that ends.
            let concrete = concrete.replace("/v1/watch", "/v1/watch?collection=nowhere");
            for method in ["GET", "PUT", "POST", "PATCH", "DELETE"] {
                let asked = api.ask(method.parse().unwrap(), &concrete).token("admin").answer().await;
                let exists = item.get(method.to_lowercase()).is_some();
                assert_eq!(asked.status != StatusCode::METHOD_NOT_ALLOWED, exists, "{method} {path}: {}", asked.body);
                if exists {
                    let answer = &item[method.to_lowercase()]["responses"][asked.status.as_str()];
                    assert!(!answer.is_null(), "{method} {path} answers {}, which is not described", asked.status);
                    let refused = asked.status.is_client_error() || asked.status.is_server_error();
                    assert_eq!(answer["$ref"] == format!("#/components/responses/{}", asked.status.as_str()), refused, "{method} {path}");
                }
            }
        }
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    for api in [Api::edge(), Api::cloud()] {
        let described = document(&api).await;
        let text = described.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let place = reference.split('"').next().unwrap();
            assert!(described.pointer(place).is_some(), "{place}");
        }
        assert!(described["components"]["schemas"].get("Record").is_some());
    }
}

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// R and W are written by hand: their members are those of the structs that describe them.
#[tokio::test]
async fn what_is_written_by_hand_is_what_is_described() {
    let schemas = document(&Api::edge()).await["components"]["schemas"].clone();
    let op = WriteOp {
        value: Some(RawJson::trusted("{}".into())),
        removed: vec!["a".into()],
        by: [("n".to_owned(), 1)].into(),
        fields: Some(RawJson::trusted("{}".into())),
        ..WriteOp::new(WriteOpKind::Delete, "notes", "a")
    };
    let write = Write {
        id: "lyon:7f3a9c:42".parse().unwrap(),
        state: WriteState::Pending,
        at: Time(0),
        actor: Some("a \"b\"".into()),
        revision: None,
        code: Some("bound".into()),
        detail: None,
        conflicts: vec!["c1".into()],
        resent_as: None,
        ops: vec![op],
    };
    let record = Record {
        collection: "notes".into(),
        key: "a\"b".into(),
        value: RawJson::trusted("{\"n\": 1.0}".into()),
        revision: Revision(7),
        updated_at: Time(0),
        writer: "cloud".into(),
        actor: None,
        sync: RecordSync { pending: vec![write.id.clone()], conflicts: vec!["c1".into()] },
    };
    let mut out = Vec::new();
    record.write_json(&mut out, Some(&write));
    let mut written: Value = serde_json::from_slice(&out).unwrap();
    let own = written.as_object_mut().unwrap().remove("write").unwrap();
    assert_eq!(members(&written), members(&schemas["Record"]["properties"]));
    assert_eq!(members(&written["sync"]), members(&schemas["RecordSync"]["properties"]));
    assert_eq!(members(&own), members(&schemas["Write"]["properties"]));
    assert_eq!(members(&own["ops"][0]), members(&schemas["WriteOp"]["properties"]));
    assert_eq!((&own["final"], &own["accepted"], &own["actor"]), (&false.into(), &Value::Null, &"a \"b\"".into()));
    let parts = schemas["ChangedRecord"]["allOf"].as_array().unwrap();
    assert_eq!(parts[0]["$ref"], "#/components/schemas/Record");
    assert!(members(&parts[1]["properties"]).contains("write"));
}

/// An answer's members are always there, but those that are left out where they say nothing.
#[tokio::test]
async fn members_of_answers_are_required() {
    let schemas = document(&Api::edge()).await["components"]["schemas"].clone();
    let required = |name: &str| schemas[name]["required"].as_array().unwrap().len();
    for name in ["Record", "Write", "RecordSync", "EdgeStatus", "RecordList", "Problem"] {
        assert_eq!(required(name), members(&schemas[name]["properties"]).len(), "{name}");
    }
    assert_eq!(schemas["WriteOp"]["required"], serde_json::json!(["collection", "key", "op"]));
    // A request may leave out what it does not mean.
    assert!(schemas["VerifyRequest"]["required"].is_null());
}

#[tokio::test]
async fn who_asks_is_described() {
    for (api, everywhere) in [(Api::edge(), false), (Api::cloud(), true)] {
        let described = document(&api).await;
        assert_eq!(described["components"]["securitySchemes"]["token"]["scheme"], "bearer");
        assert_eq!(described["security"].as_array().unwrap().len() == 1, everywhere);
        assert_eq!(described["paths"]["/healthz"]["get"]["security"], serde_json::json!([]));
        assert!(described["paths"]["/v1/collections"]["get"]["security"].is_null());
    }
}

/// Which mutation takes which header.
#[tokio::test]
async fn headers_are_described() {
    let described = document(&Api::cloud()).await;
    let headers = |path: &str, method: &str| {
        let all = described["paths"][path][method]["parameters"].as_array().unwrap().clone();
        let own =
            all.iter().filter(|parameter| parameter["in"] == "header").map(|parameter| parameter["name"].as_str().unwrap().to_owned());
        own.collect::<BTreeSet<_>>()
    };
    let record = "/v1/collections/{c}/records/{key}";
    for name in ["Request-Id", "Tombolo-Actor", "Prefer", "If-Match", "If-None-Match"] {
        assert!(headers(record, "put").contains(name), "{name}");
    }
    assert!(!headers("/v1/writes", "post").contains("If-Match"));
    for (path, method) in [(record, "delete"), ("/v1/writes", "post"), ("/v1/writes/{id}/resend", "post")] {
        assert!(headers(path, method).contains("Idempotency-Key"), "{path}");
    }
    for path in ["/v1/collections/{c}/import", "/v1/writes/{id}/discard", "/v1/join-tokens"] {
        assert!(!headers(path, "post").contains("Idempotency-Key"), "{path}");
    }
    assert_eq!(headers(record, "get"), ["If-None-Match".to_owned(), "Request-Id".to_owned()].into());
    assert_eq!(headers("/v1/nodes/{n}", "patch"), ["Request-Id".to_owned()].into());
}
