//! Conflicts: listed and shown.

use serde_json::{Value, json};

use crate::both::App;

pub(crate) fn chapter(app: &mut App<'_>) {
    let record = "/v1/collections/products/records/c1";
    app.must("put", "PUT", record, &json!({"Stock": 2}), 201);
    let below = app.json("below its bound", "POST", &format!("{record}/increment"), &json!({"Stock": -5}));
    let outcome = app.outcome(&below);
    assert_eq!(outcome["state"], "flagged", "{outcome}");
    app.settle();
    let id = outcome["conflicts"][0].as_str().unwrap().to_owned();
    let row = app.get("a conflict", &format!("/v1/conflicts/{id}")).ok(200);
    assert_eq!((&row["kind"], &row["state"], &row["key"]), (&json!("bound"), &json!("open"), &json!("c1")), "{row}");
    let shown = app.get("the record shows it", record).ok(200);
    assert_eq!(shown["sync"]["conflicts"], json!([id]), "{shown}");
    for state in ["", "?state=open", "?state=all"] {
        let list = app.get("conflicts", &format!("/v1/conflicts{state}")).ok(200);
        // The list holds what both sides have written.
        app.seen.pop();
        assert!(list["conflicts"].as_array().unwrap().iter().any(|row: &Value| row["id"] == id), "{list}");
        assert!(list["next"].is_null(), "{list}");
    }
    app.get("auto", "/v1/conflicts?state=auto").expect(200);
    app.get("no such state", "/v1/conflicts?state=closed").expect(400);
    app.get("no such conflict", "/v1/conflicts/none").expect(404);
    resolve(app, &id, record);
}

fn resolve(app: &mut App<'_>, id: &str, record: &str) {
    let path = format!("/v1/conflicts/{id}/resolve");
    for (step, body) in [
        ("a choice that is none", json!({"use": "both"})),
        ("a value without its choice", json!({"use": "cloud", "value": {}})),
        ("a choice without its value", json!({"use": "value"})),
        ("no choice", json!({})),
    ] {
        app.must(step, "POST", &path, &body, 400);
    }
    app.must("resolve what is not there", "POST", "/v1/conflicts/none/resolve", &json!({"use": "cloud"}), 404);
    app.ask("resolve by a form", "POST", &path, &[("content-type", "text/plain")], Some("{\"use\":\"cloud\"}")).expect(415);
    let done = app.ask("resolve", "POST", &path, &[("tombolo-actor", "boss")], Some("{\"use\":\"value\",\"value\":{\"Stock\":0}}"));
    let write = app.outcome(&done);
    assert_eq!(write["accepted"], true, "{write}");
    app.settle();
    let row = app.get("resolved", &format!("/v1/conflicts/{id}")).ok(200);
    assert_eq!(row["state"], "resolved", "{row}");
    let shown = app.get("and the record", record).ok(200);
    assert_eq!((&shown["value"]["Stock"], &shown["sync"]["conflicts"]), (&json!(0), &json!([])), "{shown}");
    app.must("resolve again", "POST", &path, &json!({"use": "cloud"}), 409);
}
