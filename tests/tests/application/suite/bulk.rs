//! Imports and exports.

use crate::both::App;

const LINES: (&str, &str) = ("content-type", "application/x-ndjson");

pub(crate) fn chapter(app: &mut App<'_>) {
    let mut import = |step: &str, path: &str, lines: &str, status: u16| {
        let answer = app.ask(step, "POST", &format!("/v1/collections/{path}"), &[LINES], Some(lines));
        app.settle();
        answer.expect(status).json()
    };
    let first =
        import("import: two", "products/import", "{\"ProductID\":\"b1\",\"Name\":\"Chai\",\"Stock\":4}\n{\"ProductID\":\"b2\"}\n\n", 200);
    assert_eq!((first["read"].as_u64(), first["created"].as_u64()), (Some(2), Some(2)), "{first}");
    let again =
        import("import: again", "products/import", "{\"ProductID\":\"b1\",\"Name\":\"Tea\",\"Stock\":9}\n{\"ProductID\":\"b2\"}\n", 200);
    assert_eq!((again["changed"].as_u64(), again["unchanged"].as_u64()), (Some(1), Some(1)), "{again}");
    import("import: counters", "products/import?counters=set", "{\"ProductID\":\"b1\",\"Name\":\"Tea\",\"Stock\":9}\n", 200);
    import("import: merge", "products/import?mode=merge", "{\"ProductID\":\"b1\",\"Price\":3}\n", 200);
    import("import: create", "products/import?mode=create", "{\"ProductID\":\"b3\"}\n", 200);
    import("import: keys and values", "notes/import", "{\"key\":\"b1\",\"value\":{\"n\":1}}\n", 200);
    import("import: by a field", "notes/import?key=A/B", "{\"A\":1,\"B\":\"x/y\",\"n\":1}\n", 200);
    import("import: nothing", "notes/import", "", 200);
    let bad = import("a bad line", "products/import", "{\"ProductID\":\"b4\"}\n{\"ProductID\":}\n", 400);
    assert_eq!((bad["code"].as_str(), bad["line"].as_u64()), (Some("bad_line"), Some(2)), "{bad}");
    import("a line that is there already", "products/import?mode=create", "{\"ProductID\":\"b5\"}\n{\"ProductID\":\"b1\"}\n", 400);
    import("a line without a key", "notes/import", "{\"value\":{}}\n", 400);
    import("a line that is no object", "notes/import", "7\n", 400);
    import("no such mode", "products/import?mode=replace", "{}\n", 400);
    import("no such counters", "products/import?counters=keep", "{}\n", 400);
    import("no such parameter", "products/import?dry=1", "{}\n", 400);
    import("nowhere", "nowhere/import", "{}\n", 404);
    app.ask("a type that is none", "POST", "/v1/collections/notes/import", &[("content-type", "text/plain")], Some("{}")).expect(415);
    app.get("after a count by import", "/v1/collections/products/records/b1").expect(200);
    app.get("export values", "/v1/collections/orders/export").expect(200);
    app.get("export of nowhere", "/v1/collections/nowhere/export").expect(404);
    app.get("export with a parameter", "/v1/collections/notes/export?x=1").expect(400);
}
