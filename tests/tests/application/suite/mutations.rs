//! Changing one record: what is answered, what is refused, and what a precondition guards.

use serde_json::{Value, json};

use crate::both::App;

const AT: &str = "/v1/collections/products/records";

pub(crate) fn chapter(app: &mut App<'_>) {
    create(app);
    change(app);
    preconditions(app);
    counters(app);
    delete(app);
    refusals(app);
    rules(app);
}

fn create(app: &mut App<'_>) {
    app.must("post with a key in the value", "POST", AT, &json!({"ProductID": 21, "Name": "Chai"}), 201);
    app.must("post again", "POST", AT, &json!({"ProductID": 21, "Name": "Chai"}), 409);
    let made = app.must("post makes a key", "POST", "/v1/collections/notes/records", &json!({"n": 1}), 201);
    let place = made.header("location").unwrap().to_owned();
    assert!(place.ends_with(made.json()["key"].as_str().unwrap()), "{place}");
    app.must("put creates", "PUT", &format!("{AT}/22"), &json!({"Name": "Chang"}), 201);
    app.must("merge creates", "PATCH", &format!("{AT}/23"), &json!({"Name": "Syrup", "gone": null}), 200);
    app.settle();
    assert_eq!(app.get("created by merge", &format!("{AT}/23")).ok(200)["value"], json!({"Name": "Syrup", "ProductID": 23}));
}

fn change(app: &mut App<'_>) {
    app.must("put replaces", "PUT", &format!("{AT}/22"), &json!({"Name": "Chang", "Price": 19, "Note": null}), 200);
    app.must("put the same", "PUT", &format!("{AT}/22"), &json!({"Name": "Chang", "Price": 19.0, "Note": null}), 200);
    app.must("merge", "PATCH", &format!("{AT}/22"), &json!({"Note": "x", "Price": null, "Deep": {"a": 1, "b": {"c": null}}}), 200);
    app.must("merge deeper", "PATCH", &format!("{AT}/22"), &json!({"Deep": {"a": null, "d": 2}}), 200);
    app.must("merge nothing", "PATCH", &format!("{AT}/22"), &json!({}), 200);
    app.settle();
    let read = app.get("after changes", &format!("{AT}/22")).ok(200);
    assert_eq!(read["value"], json!({"Name": "Chang", "Note": "x", "Deep": {"b": {}, "d": 2}, "ProductID": 22}));
}

fn preconditions(app: &mut App<'_>) {
    let record = format!("{AT}/24");
    let put = |app: &mut App<'_>, step: &str, header: (&str, &str), n: i64, status: u16| {
        let body = json!({"n": n}).to_string();
        app.ask(step, "PUT", &record, &[header], Some(&body)).expect(status)
    };
    put(app, "only if it is there, and it is not", ("if-match", "*"), 1, 412);
    let first = put(app, "only if it is not there", ("if-none-match", "*"), 2, 201);
    put(app, "only if it is not there, and it is", ("if-none-match", "*"), 3, 412);
    let tag = first.header("etag").unwrap().to_owned();
    let second = put(app, "only if it is the version that was answered", ("if-match", &tag), 4, 200);
    put(app, "a version that is no more", ("if-match", &tag), 5, 412);
    app.settle();
    let own = second.header("etag").unwrap().to_owned();
    put(app, "the version of one's own last write, judged since", ("if-match", &own), 6, 200);
    put(app, "a foreign version", ("if-match", "\"abc\""), 7, 412);
    put(app, "one of several versions", ("if-match", "\"abc\", *"), 8, 400);
    put(app, "not a version", ("if-match", "7"), 8, 400);
    put(app, "if-none-match with a version", ("if-none-match", "\"7\""), 8, 400);
    app.ask("patch what is not that version", "PATCH", &record, &[("if-match", "\"1\"")], Some("{}")).expect(412);
    app.ask("delete what is not that version", "DELETE", &record, &[("if-match", "\"1\"")], None).expect(412);
    app.ask("increment what is not that version", "POST", &format!("{AT}/21/increment"), &[("if-match", "\"1\"")], Some("{\"Stock\":1}"))
        .expect(412);
    app.ask("patch if it is there", "PATCH", &record, &[("if-match", "*")], Some("{\"n\":9}")).expect(200);
    app.settle();
    assert_eq!(app.get("after preconditions", &record).ok(200)["value"]["n"], 9);
}

fn counters(app: &mut App<'_>) {
    let record = format!("{AT}/25");
    app.must("a counter begins", "PUT", &record, &json!({"Stock": 5, "Seats": 1}), 201);
    let answer = app.must("increment", "POST", &format!("{record}/increment"), &json!({"Stock": -3}), 200);
    assert_eq!(answer.json()["value"]["Stock"], 2);
    app.must("increment what is no counter", "POST", &format!("{record}/increment"), &json!({"Name": 1}), 422);
    app.must("increment by a fraction", "POST", &format!("{record}/increment"), &json!({"Stock": 1.5}), 422);
    app.must("increment by nothing", "POST", &format!("{record}/increment"), &json!({}), 400);
    app.must("increment what is not there", "POST", &format!("{AT}/none/increment"), &json!({"Stock": 1}), 404);
    app.must("a counter that is a text", "PATCH", &record, &json!({"Stock": "many"}), 422);
    app.must("a count without a version", "PUT", &record, &json!({"Stock": 9, "Seats": 1}), 428);
    app.must("a put that leaves the counter", "PUT", &record, &json!({"Stock": 2, "Seats": 1, "Name": "x"}), 200);
    app.settle();
    let tag = app.get("before a count", &record).expect(200).header("etag").unwrap().to_owned();
    app.ask("a count", "PUT", &record, &[("if-match", &tag)], Some("{\"Stock\":9,\"Seats\":1}")).expect(200);
    app.refused("a bound that rejects", "POST", &format!("{record}/increment"), &json!({"Seats": -5}), "bound");
    app.settle();
    assert_eq!(app.get("after counts", &record).ok(200)["value"], json!({"Stock": 9, "Seats": 1, "ProductID": 25}));
}

fn delete(app: &mut App<'_>) {
    app.must("put to delete", "PUT", "/v1/collections/notes/records/d1", &json!({"n": 1}), 201);
    app.ask("delete", "DELETE", "/v1/collections/notes/records/d1", &[], None).expect(200);
    app.get("deleted", "/v1/collections/notes/records/d1").expect(404);
    app.ask("delete again", "DELETE", "/v1/collections/notes/records/d1", &[], None).expect(404);
    app.ask("force that is neither", "DELETE", "/v1/collections/notes/records/d1?force=1", &[], None).expect(400);
    app.must("put again", "PUT", "/v1/collections/notes/records/d1", &json!({"n": 2}), 201);
    app.settle();
    app.get("created again", "/v1/collections/notes/records/d1").expect(200);
}

fn refusals(app: &mut App<'_>) {
    let deep: Value = serde_json::from_str(&format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100))).unwrap();
    let record = format!("{AT}/29");
    for (step, body, status) in [
        ("a list", json!([1]), 422),
        ("a text", json!("x"), 422),
        ("another key in the value", json!({"ProductID": 30}), 422),
        ("a value of 1 MiB and more", json!({"x": "y".repeat(1024 * 1024)}), 413),
        ("65 levels", deep, 413),
    ] {
        app.must(step, "PUT", &record, &body, status);
    }
    for (step, body) in [("no JSON", "{"), ("a member twice", "{\"a\":1,\"a\":2}"), ("nothing", ""), ("two values", "{} {}")] {
        app.ask(step, "PUT", &record, &[], Some(body)).expect(400);
    }
    app.ask("not UTF-8 for JSON", "PUT", &record, &[("content-type", "text/plain")], Some("{}")).expect(415);
    app.ask("a form", "POST", AT, &[("content-type", "application/x-www-form-urlencoded")], Some("a=1")).expect(415);
    app.ask("no content type", "PUT", &record, &[("content-type", "")], Some("{}")).expect(415);
    app.must("a parameter that is none", "PUT", &format!("{record}?force=true"), &json!({}), 400);
    app.must("nowhere", "PUT", "/v1/collections/nowhere/records/1", &json!({}), 404);
    app.must("a bad key", "PUT", &format!("{AT}/%2E"), &json!({}), 400);
    app.must("a long key", "PUT", &format!("{AT}/{}", "k".repeat(513)), &json!({}), 400);
    app.ask("nobody's name", "PUT", &record, &[("tombolo-actor", "")], Some("{}")).expect(400);
    app.get("nothing was changed", &record).expect(404);
}

/// Policies and guards.
fn rules(app: &mut App<'_>) {
    let sale = json!({"Total": 12.5});
    app.must("append", "PUT", "/v1/collections/sales/records/s1", &sale, 201);
    app.must("append the same again", "PUT", "/v1/collections/sales/records/s1", &sale, 200);
    app.must("append another under the key", "PUT", "/v1/collections/sales/records/s1", &json!({"Total": 1}), 409);
    app.must("change what is appended", "PATCH", "/v1/collections/sales/records/s1", &json!({"Total": 1}), 403);
    app.ask("delete what is appended", "DELETE", "/v1/collections/sales/records/s1", &[], None).expect(403);
    app.refused("begins in no state", "PUT", "/v1/collections/orders/records/o1", &json!({"Status": "shipped"}), "guard");
    app.must("a draft", "PUT", "/v1/collections/orders/records/o2", &json!({"Status": "draft"}), 201);
    app.must("confirmed", "PATCH", "/v1/collections/orders/records/o2", &json!({"Status": "confirmed"}), 200);
    app.refused("a way that there is not", "PATCH", "/v1/collections/orders/records/o2", &json!({"Status": "draft"}), "guard");
    app.settle();
    assert_eq!(app.get("after guards", "/v1/collections/orders/records/o2").ok(200)["value"]["Status"], "confirmed");
}
