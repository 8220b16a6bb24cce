//! Import and export.

use super::*;

const LINES: &str = "application/x-ndjson";
const IMPORT: &str = "/v1/collections/products/import";

#[tokio::test]
async fn import_counts_what_it_did() {
    let api = Api::edge();
    let lines = "{\"ProductID\":1,\"Name\":\"Chai\"}\n\n{\"ProductID\":2}\r\n{\"ProductID\":\"3\"}";
    let first = api.ask(Method::POST, IMPORT).body(LINES, lines).answer().await.ok(200);
    assert_eq!((&first["read"], &first["created"], &first["revision"]), (&3.into(), &3.into(), &Value::Null));
    let lines = "{\"ProductID\":1,\"Name\":\"Chai\"}\n{\"ProductID\":2,\"x\":1}\n";
    let second = api.ask(Method::POST, IMPORT).body(LINES, lines).answer().await.ok(200);
    assert_eq!((&second["changed"], &second["unchanged"]), (&1.into(), &1.into()));
    let keyed = api.ask(Method::POST, "/v1/collections/notes/import?key=A/B").body(LINES, "{\"A\":1,\"B\":\"x/y\"}");
    keyed.answer().await.ok(200);
    api.get("/v1/collections/notes/records/1%2Fx%252Fy").answer().await.ok(200);
}

#[tokio::test]
async fn a_bad_line_is_named_and_nothing_changes() {
    let api = Api::edge();
    let refused = async |path: &str, lines: &str, line: u64| {
        let problem = api.ask(Method::POST, path).body(LINES, lines.to_owned()).answer().await.refused(400, "bad_line");
        assert_eq!(problem["line"], line, "{problem}");
        assert_eq!(problem["collection"], path.split('/').nth(3).unwrap(), "{problem}");
    };
    let good = "{\"ProductID\":1}\n".repeat(16);
    refused(IMPORT, &format!("{good}{{\"ProductID\":17,}}\n{good}"), 17).await;
    refused(IMPORT, "{\"ProductID\":1}\n\n[]\n", 3).await;
    refused(IMPORT, "{\"Name\":\"no key\"}", 1).await;
    refused(IMPORT, "{\"ProductID\":1.5}", 1).await;
    refused("/v1/collections/notes/import", "{\"text\":\"not wrapped\"}", 1).await;
    refused("/v1/collections/notes/import", "{\"key\":\"..\",\"value\":{}}", 1).await;
    refused(IMPORT, &format!("{{\"ProductID\":1}}\n{}", "x".repeat(1_100_000)), 2).await;
    let bytes = api.ask(Method::POST, IMPORT).body(LINES, b"{}\xff\n".to_vec()).answer().await;
    assert_eq!(bytes.refused(400, "bad_line")["line"], 1);
    let left = api.get("/v1/collections/products/records").answer().await.ok(200);
    assert!(left["records"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn import_says_what_it_takes() {
    let api = Api::edge();
    let ask = async |query: &str| api.ask(Method::POST, &format!("{IMPORT}?{query}")).body(LINES, "").answer().await;
    for good in ["mode=create", "mode=put", "mode=merge&counters=set", "key=A/B"] {
        ask(good).await.ok(200);
    }
    for bad in ["mode=replace", "counters=all", "key=A//B", "modus=put"] {
        ask(bad).await.refused(400, "bad_request");
    }
    api.ask(Method::POST, IMPORT).body("text/csv", "").answer().await.refused(415, "media_type");
    let unknown = api.ask(Method::POST, "/v1/collections/nope/import").body(LINES, "").answer().await;
    unknown.refused(404, "not_found");
}

#[tokio::test]
async fn a_large_import_goes_through_a_file() {
    let api = Api::edge();
    // Pieces that end in the middle of lines, over the bound of what is kept in memory.
    let text: String = (0..5_000).map(|n| format!("{{\"ProductID\":{n},\"t\":\"{}ü\"}}\n", "x".repeat(200))).collect();
    assert!(text.len() > 3 * crate::limits::IMPORT_MEMORY_BYTES);
    let pieces: Vec<_> = text.as_bytes().chunks(1_003).map(|piece| std::io::Result::Ok(piece.to_vec())).collect();
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let done = api.ask(Method::POST, IMPORT).body(LINES, body).answer().await.ok(200);
    assert_eq!((&done["read"], &done["created"]), (&5_000.into(), &5_000.into()));
    api.get("/v1/collections/products/records/4999").answer().await.ok(200);
}

#[tokio::test]
async fn export_is_one_value_a_line() {
    let api = Api::edge();
    api.hub.fill(7);
    let lines = api.get("/v1/collections/products/export").answer().await;
    assert_eq!(lines.header("content-type"), LINES);
    let values: Vec<Value> = lines.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(values.len(), 7);
    assert_eq!(values[6]["n"], 6);

    api.put("/v1/collections/notes/records/a%2Fb", r#"{"t":1}"#).answer().await.ok(201);
    let lines = api.get("/v1/collections/notes/export").answer().await;
    assert_eq!(lines.body, "{\"key\":\"a/b\",\"value\":{\"t\":1}}\n");
    api.get("/v1/collections/nope/export").answer().await.refused(404, "not_found");
}
