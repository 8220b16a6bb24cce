//! Reading one record.

use serde_json::json;

use crate::both::App;

pub(crate) fn chapter(app: &mut App<'_>) {
    let at = "/v1/collections/products/records";
    app.must("put", "PUT", &format!("{at}/11"), &json!({"Name": "Chai", "Price": 18, "Stock": 3, "Tags": null}), 201);
    let value = r#"{"n": 1.50, "ü": "ß", "deep": {"a": [1, {"b": null}]}}"#;
    app.ask("put a key with a slash", "PUT", "/v1/collections/notes/records/10248%2F11", &[], Some(value)).expect(201);
    app.settle();

    let read = app.get("read", &format!("{at}/11")).expect(200);
    assert_eq!(read.json()["value"], json!({"Name": "Chai", "Price": 18, "Stock": 3, "Tags": null, "ProductID": 11}));
    let escaped = app.get("a key is one segment", "/v1/collections/notes/records/10248%2F11").expect(200);
    assert_eq!(escaped.json()["key"], "10248/11");
    let text = String::from_utf8(escaped.body).unwrap();
    assert!(text.contains("1.50"), "a value comes back as it was accepted: {text}");
    app.get("read base", &format!("{at}/11?read=base")).expect(200);
    app.get("who set its fields", &format!("{at}/11?fields=true")).expect(200);
    app.get("who set its fields in base", &format!("{at}/11?read=base&fields=true")).expect(200);
    app.must("merge", "PATCH", &format!("{at}/11"), &json!({"Price": 19}), 200);
    app.settle();
    let fields = app.get("who set its fields since", &format!("{at}/11?fields=true")).expect(200).json()["fields"].clone();
    assert_eq!(fields.as_object().unwrap().len(), 5, "{fields}");
    app.get("not a yes or no", &format!("{at}/11?fields=Name")).expect(400);
    app.get("fields of nothing", &format!("{at}/none?fields=true")).expect(404);
    app.get("no such way to read", &format!("{at}/11?read=view")).expect(400);
    app.get("no such record", &format!("{at}/none")).expect(404);
    app.get("no such record in base", &format!("{at}/none?read=base")).expect(404);
    app.get("no such collection", "/v1/collections/nowhere/records/1").expect(404);
    app.get("not a collection's name", "/v1/collections/No%20Where/records/1").expect(404);
    app.get("not a key", &format!("{at}/a%0Ab")).expect(400);
    app.get("an empty key", &format!("{at}/")).expect(400);
    app.get("two dots", &format!("{at}/%2E%2E")).expect(400);
    app.get("not UTF-8", &format!("{at}/%ff")).expect(400);
    app.get("unknown parameter", &format!("{at}/11?reed=base")).expect(400);
    app.get("two keys are two segments", &format!("{at}/10248/11")).expect(404);
}
