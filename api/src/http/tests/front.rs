//! Where requests come from, who asks, and what every answer has.

use super::*;

#[tokio::test]
async fn a_foreign_host_is_misdirected() {
    let api = Api::edge();
    let ask = async |host: &str| api.get("/healthz").without("host").header("host", host).answer().await;
    for good in ["127.0.0.1:10550", "localhost:10550", "[::1]:10550", "shop.lan:10550"] {
        assert_eq!(ask(good).await.status, 200, "{good}");
    }
    for bad in ["evil.example", "evil.example:10550", "127.0.0.1:80", "localhost.evil.example"] {
        ask(bad).await.refused(421, "host");
    }
    api.get("/healthz").without("host").answer().await.refused(421, "host");
    let mut unix = api.get("/healthz").without("host").header("host", "anything");
    unix.request.extensions_mut().unwrap().insert(Peer::Unix);
    assert_eq!(unix.answer().await.status, 200);
}

#[tokio::test]
async fn web_pages_need_to_be_listed() {
    let api = Api::edge();
    let ask = async |origin: &str| api.get("/v1/status").header("origin", origin).answer().await;
    let listed = ask("https://till.example").await;
    listed.ok(200);
    assert_eq!(listed.header("access-control-allow-origin"), "https://till.example");
    assert_eq!(listed.header("vary"), "origin");
    let own = ask("http://127.0.0.1:10550").await;
    own.ok(200);
    assert!(own.headers.get("access-control-allow-origin").is_none());
    for foreign in ["https://evil.example", "null", "http://127.0.0.1:8080", "http://localhost:10550"] {
        let answer = ask(foreign).await;
        answer.refused(403, "origin");
        assert!(answer.headers.get("access-control-allow-origin").is_none());
    }
    let question =
        api.ask(Method::OPTIONS, "/v1/writes").header("origin", "https://till.example").header("access-control-request-method", "POST");
    let answer = question.answer().await;
    assert_eq!(answer.status, 204);
    assert!(answer.header("access-control-allow-headers").contains("tombolo-actor"));
    assert_eq!(answer.header("access-control-allow-origin"), "https://till.example");
}

#[tokio::test]
async fn tokens_are_asked_for_and_roles_hold() {
    let api = Api::cloud();
    let nobody = api.get("/v1/collections").answer().await;
    nobody.refused(401, "unauthorized");
    assert!(nobody.header("www-authenticate").starts_with("Bearer"));
    api.get("/v1/nowhere").answer().await.refused(401, "unauthorized");
    api.get("/metrics").answer().await.refused(401, "unauthorized");
    for open in ["/healthz", "/openapi.json"] {
        assert_eq!(api.get(open).answer().await.status, 200, "{open}");
    }
    let note = "/v1/collections/notes/records/1";
    api.put(note, "{}").token("viewer").answer().await.refused(403, "not_entitled");
    api.put(note, "{}").token("notes-editor").answer().await.ok(201);
    api.get(note).token("viewer").answer().await.ok(200);
    let other = "/v1/collections/products/records/1";
    api.get(other).token("notes-editor").answer().await.refused(403, "not_entitled");
    let write = r#"{"ops":[{"op":"delete","collection":"products","key":"1"}]}"#;
    api.post("/v1/writes", write).token("notes-editor").answer().await.refused(403, "not_entitled");
    let seen = api.get("/v1/collections").token("notes-editor").answer().await.ok(200);
    assert_eq!(seen["collections"].as_array().unwrap().len(), 1);
    let conflicts = api.get("/v1/conflicts").token("notes-editor").answer().await.ok(200);
    assert!(conflicts["conflicts"].as_array().unwrap().is_empty());
    api.get("/v1/conflicts/c1").token("notes-editor").answer().await.refused(403, "not_entitled");
    api.put(other, "{}").token("admin").answer().await.ok(201);
    api.get("/v1/writes/cloud:2").token("notes-editor").answer().await.refused(403, "not_entitled");
    api.get("/v1/join-tokens").token("notes-editor").answer().await.refused(403, "not_entitled");
    api.get("/v1/collections").header("authorization", "Basic YWRtaW4=").answer().await.refused(401, "unauthorized");
}

#[tokio::test]
async fn request_ids_are_kept_or_made() {
    let api = Api::edge();
    let kept = api.get("/healthz").header("request-id", "shop-7").answer().await;
    assert_eq!(kept.header("request-id"), "shop-7");
    for bad in ["with space", &"x".repeat(129)] {
        let made = api.get("/healthz").header("request-id", bad).answer().await;
        assert_ne!(made.header("request-id"), bad);
        assert!(!made.header("request-id").is_empty());
    }
}

#[tokio::test]
async fn what_is_not_there_and_what_breaks_are_problems_too() {
    let api = Api::edge();
    api.get("/nowhere").answer().await.refused(404, "not_found");
    api.get("/v1/nodes").answer().await.refused(404, "not_found");
    for later in ["/v1/commands"] {
        let problem = api.post(later, "{}").answer().await.refused(404, "not_found");
        assert!(problem["detail"].as_str().unwrap().contains("not in this version"), "{problem}");
    }
    api.delete("/v1/writes").answer().await.refused(405, "method_not_allowed");
    api.put("/v1/collections/products", "{}").answer().await.refused(405, "method_not_allowed");
    let broken = api.get("/v1/collections/notes/records/panic").answer().await;
    broken.refused(500, "internal");
    assert!(!broken.body.contains("secret"));
    let unready = api.get("/readyz").answer().await;
    unready.refused(503, "not_synced");
    assert_eq!(unready.header("retry-after"), "5");
    api.put("/v1/collections/notes/records/1", "{}").answer().await.ok(201);
    assert_eq!(api.get("/readyz").answer().await.status, 200);
    api.get("/v1/collections?x=1").answer().await.refused(400, "bad_request");
}

#[tokio::test]
async fn metrics_count_answers() {
    let api = Api::edge();
    api.get("/nowhere").answer().await;
    api.get("/v1/status").answer().await.ok(200);
    let metrics = api.get("/metrics").answer().await;
    assert!(metrics.header("content-type").starts_with("text/plain"));
    assert!(metrics.body.contains("tombolo_build_info{version=\"0.0.0-test\"} 1\n"), "{}", metrics.body);
    assert!(metrics.body.contains("tombolo_http_requests_total{class=\"2xx\"} 1\n"));
    assert!(metrics.body.contains("tombolo_http_requests_total{class=\"4xx\"} 1\n"));
    assert!(metrics.body.contains("# TYPE tombolo_records gauge\ntombolo_records{collection=\"products\"} 0\n"));
}
