//! `Idempotency-Key`, conditional reads, and writes that are taken up again, as far as the surface goes.

use super::*;
use crate::hub::OpAction;

#[tokio::test]
async fn a_key_goes_with_a_hash_of_what_is_asked() {
    let api = Api::edge();
    let notes = "/v1/collections/notes/records/a";
    let hash_of = async |ask: Ask<'_>| {
        ask.header("idempotency-key", "k1").answer().await;
        let named = api.hub.last().idempotency.unwrap();
        assert_eq!(named.key, "k1");
        named.request
    };
    let first = hash_of(api.put(notes, r#"{"n":1}"#)).await;
    assert_eq!(first, hash_of(api.put(notes, r#"{"n":1}"#).header("prefer", "wait=1")).await, "how it is answered does not matter");
    let others = [
        hash_of(api.put(notes, r#"{"n":2}"#)).await,
        hash_of(api.patch(notes, r#"{"n":1}"#)).await,
        hash_of(api.put("/v1/collections/notes/records/b", r#"{"n":1}"#)).await,
        hash_of(api.post("/v1/collections/notes/records", r#"{"n":1}"#)).await,
        hash_of(api.post("/v1/collections/notes/records/a/increment", r#"{"n":1}"#)).await,
        hash_of(api.post("/v1/writes", r#"{"ops":[{"op":"put","collection":"notes","key":"a","value":{"n":1}}]}"#)).await,
        hash_of(api.delete(notes)).await,
        hash_of(api.delete(&format!("{notes}?force=true"))).await,
    ];
    let mut all: Vec<_> = others.iter().chain([&first]).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), others.len() + 1, "each asks for something else");
    api.put(notes, "{}").answer().await.ok(201);
    assert!(api.hub.last().idempotency.is_none());
    assert!(matches!(api.hub.last().ops[0].action, OpAction::Put(_)));
}

#[tokio::test]
async fn bad_keys_are_refused() {
    let api = Api::edge();
    let put = |key: &str| api.put("/v1/collections/notes/records/a", "{}").header("idempotency-key", key);
    for bad in ["", "tab\tin it", "ключ", &"k".repeat(256)] {
        assert_eq!(put(bad).answer().await.refused(400, "bad_request")["field"], "Idempotency-Key");
    }
    assert_eq!(put("k1").header("idempotency-key", "k2").answer().await.refused(400, "bad_request")["field"], "Idempotency-Key");
    put(&"k".repeat(255)).answer().await.ok(201);
    put("8e03978e-40d5-43dd-bc93-6894a57f9324").answer().await.ok(200);
}

/// A key that would not be kept is no promise; where nothing is changed it says nothing.
#[tokio::test]
async fn a_key_is_taken_where_it_is_kept() {
    let cloud = Api::cloud();
    async fn keyed(ask: Ask<'_>) -> Answered {
        ask.header("idempotency-key", "k1").token("admin").answer().await
    }
    keyed(cloud.get("/v1/collections")).await.ok(200);
    let import = cloud.ask(Method::POST, "/v1/collections/notes/import").body("application/x-ndjson", "{}");
    let problem = keyed(import).await.refused(400, "bad_request");
    assert!(problem["detail"].as_str().unwrap().contains("needs none"), "{problem}");
    keyed(cloud.put("/v1/collections/notes", "{}")).await.refused(400, "bad_request");
    keyed(cloud.post("/v1/join-tokens", "{}")).await.refused(400, "bad_request");
    keyed(cloud.post("/v1/writes/cloud:1/discard", "")).await.refused(400, "bad_request");
    keyed(cloud.post("/v1/writes/cloud:1/resend", "")).await.refused(404, "not_found");
}

#[tokio::test]
async fn a_reader_who_holds_the_version_hears_only_that() {
    let api = Api::edge();
    let notes = "/v1/collections/notes/records/a";
    api.put(notes, r#"{"n":1}"#).answer().await.ok(201);
    let tag = api.get(notes).answer().await.header("etag").to_owned();
    for same in [tag.clone(), format!("\"9\", W/{tag}"), "*".to_owned()] {
        let answer = api.get(notes).header("if-none-match", &same).answer().await;
        assert_eq!((answer.status, answer.body.as_str(), answer.header("etag")), (StatusCode::NOT_MODIFIED, "", tag.as_str()));
    }
    for other in ["\"9\"", "9", ""] {
        api.get(notes).header("if-none-match", other).answer().await.ok(200);
    }
    api.put(notes, r#"{"n":2}"#).answer().await.ok(200);
    api.get(notes).header("if-none-match", &tag).answer().await.ok(200);
    api.get("/v1/collections/notes/records/b").header("if-none-match", "*").answer().await.refused(404, "not_found");
}

#[tokio::test]
async fn writes_are_sent_again_and_discarded() {
    let api = Api::cloud();
    let put = async |collection: &str| {
        api.put(&format!("/v1/collections/{collection}/records/1"), "{}").token("admin").answer().await.ok(201);
    };
    put("notes").await;
    put("products").await;
    let sent = api.ask(Method::POST, "/v1/writes/cloud:1/resend").token("notes-editor").answer().await;
    assert_eq!(sent.ok(201)["records"], serde_json::json!([]));
    assert!(sent.header("location").starts_with("/v1/writes/"));
    let discarded = api.post("/v1/writes/cloud:1/discard", "").token("notes-editor").answer().await.ok(200);
    assert_eq!(discarded["id"], "cloud:1");
    api.post("/v1/writes/cloud:1/discard", "").token("notes-editor").answer().await.refused(404, "not_found");
    for verb in ["resend", "discard"] {
        let path = format!("/v1/writes/cloud:2/{verb}");
        api.post(&path, "").token("notes-editor").answer().await.refused(403, "not_entitled");
        api.post(&path, "").token("viewer").answer().await.refused(403, "not_entitled");
        api.ask(Method::POST, &path).token("admin").body("text/plain", "").answer().await.refused(415, "media_type");
        api.post(&format!("{path}?x=1"), "").token("admin").answer().await.refused(400, "bad_request");
        api.post(&format!("/v1/writes/nonsense/{verb}"), "").token("admin").answer().await.refused(404, "not_found");
    }
}
