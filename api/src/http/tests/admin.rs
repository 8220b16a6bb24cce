//! What only the cloud serves.

use super::*;

#[tokio::test]
async fn definitions() {
    let api = Api::cloud();
    let put = async |query: &str, body: &str| api.put(&format!("/v1/collections/products{query}"), body).token("admin").answer().await;
    let made = put("", r#"{"name":"products","key":"ProductID"}"#).await.ok(201);
    let wanted = serde_json::json!({"name":"products","created":true,"changed":false,"selects":2,"nodes":3});
    assert_eq!(made, wanted);
    assert!(!api.hub.was_dry());
    assert_eq!(put("?dry_run=true", r#"{"key":"ProductID"}"#).await.ok(200)["created"], true);
    assert!(api.hub.was_dry());
    assert_eq!(put("", "{}").await.ok(200)["created"], false);
    assert_eq!(put("", r#"{"name":"orders"}"#).await.refused(400, "bad_request")["field"], "name");
    put("", "[]").await.refused(422, "not_object");
    put("?dry_run=perhaps", "{}").await.refused(400, "bad_request");
    api.put("/v1/collections/Products", "{}").token("admin").answer().await.refused(400, "bad_request");
    api.put("/v1/collections/products", "{}").token("viewer").answer().await.refused(403, "not_entitled");
    let shown = api.get("/v1/collections/products").token("viewer").answer().await.ok(200);
    assert_eq!((&shown["name"], &shown["revision"], &shown["records"]), (&"products".into(), &3.into(), &5.into()));
    assert_eq!(shown["definition"]["key"], "ProductID");
    let gone = api.delete("/v1/collections/products").token("admin").answer().await.ok(200);
    assert_eq!(gone, serde_json::json!({"name":"products","deleted":true}));
    api.delete("/v1/collections/nope").token("admin").answer().await.refused(404, "not_found");
}

#[tokio::test]
async fn nodes() {
    let api = Api::cloud();
    let all = api.get("/v1/nodes").token("viewer").answer().await.ok(200);
    let node = &all["nodes"][0];
    for member in [
        "name",
        "labels",
        "state",
        "reason",
        "last_seen",
        "address",
        "transport",
        "version",
        "database",
        "certificate",
        "sync",
        "outbox",
        "warnings",
    ] {
        assert!(node.get(member).is_some(), "{member}");
    }
    assert_eq!((&node["state"], &node["reason"]), (&"online".into(), &"catching-up".into()));
    assert_eq!(node["sync"]["state"], "in-sync");
    assert!(all["next"].is_string());
    let labels = r#"{"labels":{"site":"lyon","old":null}}"#;
    let changed = api.patch("/v1/nodes/lyon", labels).token("admin").answer().await.ok(200);
    assert_eq!(changed["labels"], serde_json::json!({"site":"lyon"}));
    api.patch("/v1/nodes/lyon", labels).token("viewer").answer().await.refused(403, "not_entitled");
    api.patch("/v1/nodes/lyon", r#"{"lables":{}}"#).token("admin").answer().await.refused(400, "bad_request");
    let id = "00112233445566778899aabbccddeeff";
    let accepted = api.post("/v1/nodes/lyon/accept", format!(r#"{{"database":"{id}"}}"#)).token("admin").answer().await.ok(200);
    assert_eq!(accepted["database"], id);
    api.post("/v1/nodes/lyon/accept", r#"{"database":"0011"}"#).token("admin").answer().await.refused(400, "bad_request");
    api.post("/v1/nodes/lyon/accept", r#"{"database":"0011"}"#).token("viewer").answer().await.refused(403, "not_entitled");
    let revoked = api.post("/v1/nodes/lyon/revoke", "").token("admin").answer().await.ok(200);
    assert_eq!(revoked["state"], "revoked");
    api.post("/v1/nodes/lyon/revoke", "").token("viewer").answer().await.refused(403, "not_entitled");
    let verified = api.post("/v1/nodes/lyon/verify?collection=products", "").token("admin").answer().await.ok(200);
    assert_eq!(
        (&verified["agreed"], &verified["collection"], &verified["repaired"][0]["ranges"]),
        (&true.into(), &"products".into(), &3.into())
    );
    api.post("/v1/nodes/lyon/verify?collection=No", "").token("admin").answer().await.refused(400, "bad_request");
    api.post("/v1/nodes/lyon/verify", "").token("viewer").answer().await.refused(403, "not_entitled");
    let again = api.post("/v1/nodes/lyon/resync", "").token("admin").answer().await.ok(200);
    assert_eq!((&again["collection"], &again["partitions"]), (&serde_json::Value::Null, &2.into()));
    api.post("/v1/nodes/lyon/resync?what=1", "").token("admin").answer().await.refused(400, "bad_request");
    let gone = api.delete("/v1/nodes/lyon").token("admin").answer().await.ok(200);
    assert_eq!(gone, serde_json::json!({"name":"lyon","deleted":true}));
    api.delete("/v1/nodes/oslo").token("admin").answer().await.refused(404, "not_found");
    let events = api.get("/v1/nodes/lyon/events").token("viewer").answer().await.ok(200);
    assert_eq!(events["events"][0]["kind"], "joined");
    api.get("/v1/nodes/oslo").token("viewer").answer().await.refused(404, "not_found");
    api.get("/v1/nodes/No!").token("viewer").answer().await.refused(404, "not_found");
}

#[tokio::test]
async fn tokens() {
    let api = Api::cloud();
    let made = api.post("/v1/join-tokens", r#"{"labels":{"site":"lyon"},"ttl_seconds":60}"#).token("admin").answer().await;
    assert_eq!(made.header("cache-control"), "no-store");
    let body = made.ok(201);
    assert_eq!((&body["token"], &body["id"], &body["labels"]["site"]), (&"secret".into(), &"j1".into(), &"lyon".into()));
    let listed = api.get("/v1/join-tokens").token("admin").answer().await.ok(200);
    assert!(listed["tokens"][0].get("token").is_none());
    api.post("/v1/join-tokens", r#"{"replace":true}"#).token("admin").answer().await.refused(400, "bad_request");
    api.post("/v1/join-tokens", r#"{"ttl":"1h"}"#).token("admin").answer().await.refused(400, "bad_request");
    api.delete("/v1/join-tokens/j1").token("admin").answer().await.ok(200);
    api.delete("/v1/join-tokens/j2").token("admin").answer().await.refused(404, "not_found");

    let body = r#"{"name":"till","role":"editor","collections":["orders"]}"#;
    let made = api.post("/v1/access-tokens", body).token("admin").answer().await.ok(201);
    assert_eq!((&made["name"], &made["role"]), (&"till".into(), &"editor".into()));
    let wrong = api.post("/v1/access-tokens", r#"{"name":"till","role":"king"}"#).token("admin").answer().await;
    assert!(wrong.refused(400, "bad_request")["detail"].as_str().unwrap().contains("viewer"));
    assert_eq!(api.get("/v1/access-tokens").token("admin").answer().await.ok(200)["tokens"][0]["id"], "a1");
    api.delete("/v1/access-tokens/a1").token("admin").answer().await.ok(200);
    api.delete("/v1/access-tokens/a2").token("admin").answer().await.refused(404, "not_found");
    api.get("/v1/access-tokens").token("viewer").answer().await.refused(403, "not_entitled");
}

#[tokio::test]
async fn joining_needs_no_bearer_token() {
    let api = Api::cloud();
    let join = |token: &str| format!(r#"{{"secret":"{token}","node":"lyon","csr":"pem","version":"1"}}"#);
    let joined = api.post("/v1/join", join("good")).answer().await.ok(200);
    assert_eq!((&joined["node"], &joined["servers"]["websocket"][0]), (&"lyon".into(), &"hub:10000".into()));
    api.post("/v1/join", join("bad")).answer().await.refused(401, "unauthorized");
    api.post("/v1/join", "{}").answer().await.refused(400, "bad_request");
    let renew = r#"{"certificate":"pem","csr":"pem"}"#;
    assert_eq!(api.post("/v1/renew", renew).answer().await.ok(200)["certificate"], "pem");
}
