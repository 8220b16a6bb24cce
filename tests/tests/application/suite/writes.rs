//! Several ops together, and what becomes of writes.

use serde_json::{Value, json};

use crate::both::App;

pub(crate) fn chapter(app: &mut App<'_>) {
    commit(app);
    outcomes(app);
    again(app);
    refusals(app);
}

/// Requests that are made again, and answered writes.
fn again(app: &mut App<'_>) {
    let path = "/v1/collections/products/records/i1/increment";
    app.must("put", "PUT", "/v1/collections/products/records/i1", &json!({"Stock": 5}), 201);
    app.settle();
    let name = format!("sale-{:?}", app.side);
    let key = [("idempotency-key", name.as_str())];
    let first = app.ask("under a key", "POST", path, &key, Some("{\"Stock\":-1}")).ok(200);
    let second = app.ask("again under it", "POST", path, &key, Some("{\"Stock\":-1}")).ok(200);
    assert_eq!(first["write"]["id"], second["write"]["id"]);
    app.ask("another body under it", "POST", path, &key, Some("{\"Stock\":-2}")).expect(422);
    app.ask("an empty key", "POST", path, &[("idempotency-key", "")], Some("{\"Stock\":-1}")).expect(400);
    app.settle();
    let once = app.get("done once", "/v1/collections/products/records/i1").expect(200);
    assert_eq!(once.json()["value"]["Stock"], 4);
    let tag = once.header("etag").unwrap().to_owned();
    app.ask("not changed", "GET", "/v1/collections/products/records/i1", &[("if-none-match", &tag)], None).expect(304);
    app.ask("changed", "GET", "/v1/collections/products/records/i1", &[("if-none-match", "\"1\"")], None).expect(200);
    for verb in ["resend", "discard"] {
        app.must(&format!("{verb} what there is not"), "POST", &format!("/v1/writes/nobody:000000:1/{verb}"), &json!({}), 404);
        app.must(&format!("{verb} no write"), "POST", &format!("/v1/writes/nonsense/{verb}"), &json!({}), 404);
    }
}

fn put(key: &str, value: Value) -> Value {
    json!({"op": "put", "collection": "products", "key": key, "value": value})
}

fn commit(app: &mut App<'_>) {
    let sale = json!({"ops": [
        put("w1", json!({"Name": "Chai", "Stock": 10})),
        {"op": "increment", "collection": "products", "key": "w1", "by": {"Stock": -3}},
        {"op": "put", "collection": "notes", "value": {"sold": 3}},
        {"op": "merge", "collection": "notes", "key": "w2", "value": {"a": 1}},
        {"op": "check", "collection": "products", "key": "w1", "fields": {"Name": "Chai"}},
        put("w3", json!({})),
        {"op": "delete", "collection": "products", "key": "w3"},
    ]});
    let done = app.must("several ops", "POST", "/v1/writes", &sale, 201);
    let records = done.json()["records"].clone();
    assert_eq!((records.as_array().unwrap().len(), &records[0]["value"]["Stock"]), (4, &json!(7)), "{records}");
    assert_eq!(records[3]["deleted"], true, "{records}");
    app.settle();
    let place = done.header("location").unwrap().to_owned();
    let write = app.get("the write", &place).ok(200);
    assert_eq!((&write["state"], &write["accepted"], &write["final"]), (&json!("applied"), &json!(true), &json!(true)), "{write}");
    app.must(
        "absent, and it is not",
        "POST",
        "/v1/writes",
        &json!({"ops": [{"op": "put", "collection": "products", "key": "w1", "value": {}, "if": "absent"}]}),
        412,
    );
    app.must(
        "absent, and it is",
        "POST",
        "/v1/writes",
        &json!({"ops": [{"op": "merge", "collection": "products", "key": "w4", "value": {"Name": "x"}, "if": "absent"}]}),
        201,
    );
    app.must(
        "another revision",
        "POST",
        "/v1/writes",
        &json!({"ops": [{"op": "merge", "collection": "products", "key": "w1", "value": {"Name": "x"}, "if": 1}]}),
        412,
    );
    app.settle();
    let revision = app.get("read for its revision", "/v1/collections/products/records/w1").ok(200)["revision"].clone();
    app.must(
        "this revision",
        "POST",
        "/v1/writes",
        &json!({"ops": [{"op": "merge", "collection": "products", "key": "w1", "value": {"Name": "Tea"}, "if": revision}]}),
        201,
    );
    let check = json!({"ops": [{"op": "check", "collection": "products", "key": "w1", "fields": {"Name": "Chai"}}, put("w5", json!({}))]});
    app.refused("a check that fails", "POST", "/v1/writes", &check, "guard");
    app.get("and nothing of it stays", "/v1/collections/products/records/w5").expect(404);
}

fn outcomes(app: &mut App<'_>) {
    let waited = app.ask(
        "prefer to wait",
        "PUT",
        "/v1/collections/products/records/w6",
        &[("prefer", "wait=30"), ("tombolo-actor", "cashier-4")],
        Some("{\"Name\":\"x\"}"),
    );
    let waited = waited.ok(201);
    assert_eq!((&waited["write"]["final"], &waited["write"]["actor"]), (&json!(true), &json!("cashier-4")), "{waited}");
    app.settle();
    let record = app.get("who did it", "/v1/collections/products/records/w6").ok(200);
    assert_eq!(record["actor"], "cashier-4");
    let id = waited["write"]["id"].as_str().unwrap().to_owned();
    app.get("a write by its id", &format!("/v1/writes/{id}")).expect(200);
    app.get("a write, waiting", &format!("/v1/writes/{id}?wait=1")).expect(200);
    app.get("waiting for what is no time", &format!("/v1/writes/{id}?wait=x")).expect(400);
    app.get("no write's id", "/v1/writes/nonsense").expect(404);
    app.get("a write that there is not", "/v1/writes/nobody:000000:1").expect(404);
    let flagged = app.json("below a bound that flags", "POST", "/v1/collections/products/records/w1/increment", &json!({"Stock": -100}));
    let flagged = app.outcome(&flagged);
    assert_eq!(
        (&flagged["state"], &flagged["code"], &flagged["accepted"]),
        (&json!("flagged"), &json!("bound"), &json!(true)),
        "{flagged}"
    );
    for (step, path) in [
        ("writes of no state", "/v1/writes?state=lots"),
        ("unknown parameter", "/v1/writes?status=pending"),
        ("limit", "/v1/writes?limit=0"),
    ] {
        app.get(step, path).expect(400);
    }
}

fn refusals(app: &mut App<'_>) {
    for (step, body, status) in [
        ("no ops", json!({"ops": []}), 400),
        ("no list", json!({"op": []}), 400),
        ("an op that is none", json!({"ops": [{"op": "patch", "collection": "products", "key": "w1"}]}), 400),
        ("a member too many", json!({"ops": [{"op": "delete", "collection": "products", "key": "w1", "value": {}}]}), 400),
        ("no key", json!({"ops": [{"op": "merge", "collection": "products", "value": {}}]}), 400),
        ("no value", json!({"ops": [put("w7", json!({})), {"op": "put", "collection": "products", "key": "w8"}]}), 400),
        ("a bad key", json!({"ops": [put("..", json!({}))]}), 400),
        ("nowhere", json!({"ops": [{"op": "put", "collection": "nowhere", "key": "1", "value": {}}]}), 404),
        ("a value that is none", json!({"ops": [{"op": "put", "collection": "products", "key": "w7", "value": [1]}]}), 422),
        ("another key", json!({"ops": [put("w7", json!({"ProductID": "w8"}))]}), 422),
        (
            "a condition that is none",
            json!({"ops": [{"op": "put", "collection": "products", "key": "w7", "value": {}, "if": "there"}]}),
            400,
        ),
        (
            "increment what is not there",
            json!({"ops": [{"op": "increment", "collection": "products", "key": "none", "by": {"Stock": 1}}]}),
            404,
        ),
        ("a counter in quotes", json!({"ops": [{"op": "increment", "collection": "products", "key": "w1", "by": {"Stock": "1"}}]}), 422),
        ("1,001 ops", json!({"ops": vec![put("w7", json!({})); 1_001]}), 413),
    ] {
        let answer = app.must(step, "POST", "/v1/writes", &body, status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{step}: {answer}");
    }
}
