//! What is around the records: definitions, probes, names of requests, paths and methods that there are not.

use serde_json::json;

use crate::both::App;

pub(crate) fn chapter(app: &mut App<'_>) {
    let shown = app.get("a collection", "/v1/collections/products").ok(200);
    assert_eq!(shown["definition"]["key"], "ProductID", "{shown}");
    app.get("no collection", "/v1/collections/nowhere").expect(404);
    app.get("a collection with a parameter", "/v1/collections/products?x=1").expect(400);
    let list = app.get("collections", "/v1/collections").ok(200);
    assert_eq!(list["collections"].as_array().unwrap().len(), 8, "{list}");
    app.seen.pop();
    for path in ["/healthz", "/readyz", "/metrics"] {
        app.get(path, path).expect(200);
    }
    app.get("description", "/openapi.json").expect(200);
    app.seen.pop();
    let named = app.ask("a named request", "GET", "/v1/collections/products", &[("request-id", "mine-4711")], None);
    assert_eq!(named.header("request-id"), Some("mine-4711"));
    app.ask("a name that is none", "GET", "/v1/collections/products", &[("request-id", "with blanks")], None).expect(200);
    app.get("no such path", "/v1/nothing").expect(404);
    app.get("no such path either", "/").expect(404);
    app.ask("no such method", "DELETE", "/v1/writes", &[], None).expect(405);
    app.ask("no such method for a record", "POST", "/v1/collections/products/records/1", &[], Some("{}")).expect(405);
    app.must("a refusal has a type", "PUT", "/v1/collections/products/records/%2E", &json!({}), 400);
    app.ask("a page of another origin", "GET", "/v1/collections/products", &[("origin", "https://evil.example")], None).expect(403);
}
