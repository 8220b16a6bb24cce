//! Several ops at once, and what became of writes.

use proto::ids::Revision;

use super::*;
use crate::hub::{Condition, OpAction};

#[tokio::test]
async fn a_sale_is_one_write() {
    let api = Api::edge();
    api.put("/v1/collections/products/records/1", r#"{"UnitsInStock":20}"#).answer().await.ok(201);
    let sale = r#"{"ops":[
        {"op":"put","collection":"notes","key":"A/1","value":{"n":1.0},"if":"absent"},
        {"op":"put","collection":"notes","value":{"made":true}},
        {"op":"merge","collection":"notes","key":"m","value":{"x":1}},
        {"op":"increment","collection":"products","key":"1","by":{"UnitsInStock":-3}},
        {"op":"check","collection":"products","key":"1","fields":{"Name":null}},
        {"op":"merge","collection":"products","key":"1","value":{"a":1},"if":1},
        {"op":"delete","collection":"products","key":"1","force":true}]}"#;
    let done = api.post("/v1/writes", sale).answer().await;
    let body = done.ok(201);
    assert_eq!(done.header("location"), "/v1/writes/cloud:2");
    assert_eq!(body["records"].as_array().unwrap().len(), 6);
    assert_eq!(body["records"][3]["value"]["UnitsInStock"], 17);
    assert_eq!(body["records"][5], serde_json::json!({"collection":"products","key":"1","deleted":true}));
    let ops = api.hub.last().ops;
    assert_eq!((ops[0].key.as_str(), &ops[0].condition), ("A/1", &Condition::Absent));
    assert!(matches!(ops[1].action, OpAction::Create(_)));
    assert!(matches!(&ops[3].action, OpAction::Increment(by) if by["UnitsInStock"] == -3));
    assert!(matches!(&ops[4].action, OpAction::Check(fields) if fields.get("Name").is_some()));
    assert_eq!(ops[5].condition, Condition::Revision(Revision(1)));
}

#[tokio::test]
async fn a_wrong_op_is_named() {
    let api = Api::edge();
    let refused = async |op: &str, status: u16, code: &str| {
        let body = format!(r#"{{"ops":[{{"op":"delete","collection":"notes","key":"a"}},{op}]}}"#);
        api.post("/v1/writes", body).answer().await.refused(status, code)
    };
    let problem = refused(r#"{"op":"put","collection":"notes","key":"..","value":{}}"#, 400, "bad_key").await;
    assert_eq!((&problem["field"], &problem["key"]), (&"ops[1]".into(), &"..".into()));
    let problem = refused(r#"{"op":"put","collection":"notes","key":"a","value":[]}"#, 422, "not_object").await;
    assert!(problem["detail"].as_str().unwrap().starts_with("ops[1]: "));
    refused(r#"{"op":"put","collection":"notes","key":"a"}"#, 400, "bad_request").await;
    refused(r#"{"op":"merge","collection":"notes","value":{}}"#, 400, "bad_request").await;
    refused(r#"{"op":"swap","collection":"notes","key":"a"}"#, 400, "bad_request").await;
    refused(r#"{"op":"delete","collection":"notes","key":"a","value":{}}"#, 400, "bad_request").await;
    refused(r#"{"op":"put","collection":"notes","key":"a","value":{},"if":"present"}"#, 400, "bad_request").await;
    refused(r#"{"op":"put","collection":"notes","key":"a","vaule":{}}"#, 400, "bad_request").await;
    let problem = refused(r#"{"op":"increment","collection":"notes","key":"a","by":{"n":"x"}}"#, 422, "counter_not_integer").await;
    assert_eq!(problem["field"], "ops[1].n");
    refused(r#"{"op":"delete","collection":"Nope!","key":"a"}"#, 404, "not_found").await;
    assert!(api.get("/v1/writes").answer().await.ok(200)["writes"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn bounds_of_a_write() {
    let api = Api::edge();
    api.post("/v1/writes", r#"{"ops":[]}"#).answer().await.refused(400, "bad_request");
    api.post("/v1/writes", "[]").answer().await.refused(400, "bad_request");
    let many = vec![r#"{"op":"delete","collection":"notes","key":"a"}"#; 1_001].join(",");
    api.post("/v1/writes", format!("{{\"ops\":[{many}]}}")).answer().await.refused(413, "too_large");
    let large = format!("{{\"t\":\"{}\"}}", "x".repeat(800_000));
    let op = format!(r#"{{"op":"put","collection":"notes","key":"a","value":{large}}}"#);
    api.post("/v1/writes", format!("{{\"ops\":[{op},{op},{op}]}}")).answer().await.refused(413, "too_large");
    api.post("/v1/writes", format!("{{\"ops\":[{op},{op}]}}")).answer().await.ok(201);
    api.post("/v1/writes", " ".repeat(4 * 1024 * 1024)).answer().await.refused(413, "too_large");
}

#[tokio::test]
async fn writes_are_listed_and_shown() {
    let api = Api::edge();
    for key in ["a", "b", "c"] {
        api.put(&format!("/v1/collections/notes/records/{key}"), "{}").answer().await.ok(201);
    }
    let page = api.get("/v1/writes?limit=2").answer().await.ok(200);
    assert_eq!(page["writes"].as_array().unwrap().len(), 2);
    let next = page["next"].as_str().unwrap();
    let rest = api.get(&format!("/v1/writes?after={next}")).answer().await.ok(200);
    assert_eq!((&rest["writes"][0]["id"], &rest["next"]), (&"cloud:3".into(), &Value::Null));
    let none = api.get("/v1/writes?state=rejected").answer().await.ok(200);
    assert!(none["writes"].as_array().unwrap().is_empty());
    api.get("/v1/writes?state=lsot").answer().await.refused(400, "bad_request");

    let shown = api.get("/v1/writes/cloud:3?wait=300").answer().await.ok(200);
    assert_eq!(shown["ops"][0], serde_json::json!({"op":"merge","collection":"notes","key":"c"}));
    assert_eq!(api.hub.last_wait(), Some(crate::limits::WAIT));
    api.get("/v1/writes/cloud:9").answer().await.refused(404, "not_found");
    api.get("/v1/writes/nonsense").answer().await.refused(404, "not_found");
    api.get("/v1/writes/cloud:3?wait=soon").answer().await.refused(400, "bad_request");

    let outbox = api.get("/v1/outbox?limit=1").answer().await.ok(200);
    assert_eq!((outbox["writes"].as_array().unwrap().len(), &outbox["next"]), (1, &Value::Null));
}

#[tokio::test]
async fn an_edge_verifies_all_or_one_collection() {
    let api = Api::edge();
    let all = api.post("/v1/verify", "{}").answer().await.ok(200);
    assert_eq!((&all["agreed"], &all["revision"], &all["detail"]), (&Value::Bool(true), &Value::from(7), &Value::from("")));
    assert_eq!(api.post("/v1/verify", r#"{"collection":"products"}"#).answer().await.ok(200)["detail"], "products");
    api.post("/v1/verify", r#"{"collection":"No Name"}"#).answer().await.refused(404, "not_found");
    api.post("/v1/verify", r#"{"colection":"products"}"#).answer().await.refused(400, "bad_request");
    assert_eq!(api.ask(Method::POST, "/v1/verify").answer().await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn conflicts_are_listed_and_shown() {
    let api = Api::edge();
    for (query, count) in [("", 1), ("?state=open", 1), ("?state=all", 1), ("?state=auto", 0)] {
        let page = api.get(&format!("/v1/conflicts{query}")).answer().await.ok(200);
        assert_eq!(page["conflicts"].as_array().unwrap().len(), count, "{query}");
        assert_eq!(page["next"], Value::Null);
    }
    assert_eq!(api.get("/v1/conflicts/c1").answer().await.ok(200)["collection"], "products");
    api.get("/v1/conflicts/c2").answer().await.refused(404, "not_found");
    api.get("/v1/conflicts?state=closed").answer().await.refused(400, "bad_request");
}

#[tokio::test]
async fn a_query_arrives_as_it_was_meant() {
    let api = Api::edge();
    let ask = async |body: &str| api.post("/v1/query", body).answer().await;
    let answer = ask(r#"{"sql":"SELECT 1"}"#).await.ok(200);
    assert_eq!((answer["columns"][0].as_str(), &answer["truncated"]), (Some("SELECT 1"), &Value::Bool(false)));
    assert_eq!(answer["rows"][0][0], "Positional([]) None None");
    let list = ask(r#"{"sql":"x","params":[null,true,1,-9223372036854775808,1.5,1e3,"t"],"limit":7,"timeout":2}"#).await.ok(200);
    let shown =
        "Positional([Null, Integer(1), Integer(1), Integer(-9223372036854775808), Real(1.5), Real(1000.0), Text(\"t\")]) Some(7) Some(2s)";
    assert_eq!(list["rows"][0][0], shown);
    let named = ask(r#"{"sql":"x","params":{"a":"b"}}"#).await.ok(200);
    assert_eq!(named["rows"][0][0], "Named([(\"a\", Text(\"b\"))]) None None");
    for wrong in [
        "{}",
        "[]",
        r#"{"sql":1}"#,
        r#"{"sql":"x","parameters":[]}"#,
        r#"{"sql":"x","params":"y"}"#,
        r#"{"sql":"x","params":[[1]]}"#,
        r#"{"sql":"x","params":{"a":{}}}"#,
        r#"{"sql":"x","params":[9223372036854775808]}"#,
        r#"{"sql":"x","params":[1e999]}"#,
        r#"{"sql":"x","limit":0}"#,
        r#"{"sql":"x","limit":100001}"#,
        r#"{"sql":"x","timeout":31}"#,
        r#"{"sql":"x","timeout":-1}"#,
    ] {
        ask(wrong).await.refused(400, "bad_request");
    }
    ask(&format!(r#"{{"sql":"{}"}}"#, "x".repeat(300_000))).await.refused(413, "too_large");
    assert_eq!(api.ask(Method::POST, "/v1/query").answer().await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}
