//! Lists: pages, keys, prefixes, fields.

use serde_json::{Value, json};

use crate::both::App;

const AT: &str = "/v1/collections/products/records";

pub(crate) fn chapter(app: &mut App<'_>) {
    for (key, name, category, price) in [
        ("l1", "Chai", 1, json!(18)),
        ("l2", "Chang", 1, json!("18")),
        ("l3", "Syrup", 2, json!(10.5)),
        ("l4", "Tofu", 2, json!(null)),
        ("m1", "Pavlova", 3, json!(true)),
    ] {
        let value = json!({"Name": name, "CategoryID": category, "Price": price, "limit": category});
        app.must("put", "PUT", &format!("{AT}/{key}"), &value, 201);
    }
    app.settle();
    pages(app);
    filters(app);
    app.get("limit 0", &format!("{AT}?limit=0")).expect(400);
    app.get("limit 1001", &format!("{AT}?limit=1001")).expect(400);
    app.get("limit that is none", &format!("{AT}?limit=many")).expect(400);
    app.get("a foreign token", &format!("{AT}?after=zzz")).expect(400);
    app.get("limit twice", &format!("{AT}?limit=1&limit=2")).expect(400);
    let keys: Vec<_> = (0..101).map(|n| format!("key={n}")).collect();
    app.get("101 keys", &format!("{AT}?{}", keys.join("&"))).expect(400);
    app.get("a bad key", &format!("{AT}?key=")).expect(400);
    app.get("nowhere", "/v1/collections/nowhere/records").expect(404);
    app.get("sort by what has no index", &format!("{AT}?sort=Name")).expect(400);
}

fn pages(app: &mut App<'_>) {
    let mut path = format!("{AT}?prefix=l&limit=3");
    let mut keys = Vec::new();
    loop {
        let page = app.get("a page", &path).ok(200);
        assert!(page["since"].is_string(), "{page}");
        keys.extend(names(&page));
        match page["next"].as_str() {
            Some(next) => path = format!("{AT}?prefix=l&limit=3&after={next}"),
            None => break,
        }
    }
    assert_eq!(keys, ["l1", "l2", "l3", "l4"]);
    assert_eq!(found(app, "key=m1&key=l2&key=none&key=l2"), ["l2", "m1"]);
}

fn filters(app: &mut App<'_>) {
    assert_eq!(found(app, "Name=Chai&prefix=l"), ["l1"]);
    assert_eq!(found(app, "prefix=l&CategoryID=2"), ["l3", "l4"]);
    assert_eq!(found(app, "Price=18&prefix=l"), ["l1", "l2"], "the number and the string that it spells");
    assert_eq!(found(app, "Price=18.0&prefix=l"), ["l1"]);
    assert_eq!(found(app, "Price=null"), ["l4"]);
    assert_eq!(found(app, "Price=true"), ["m1"]);
    assert_eq!(found(app, "value.limit=3"), ["m1"], "a field that is named like a parameter");
    assert_eq!(found(app, "Name=Chai&CategoryID=2"), [""; 0]);
    assert_eq!(found(app, "Nothing=1"), [""; 0]);
}

/// The keys that a list with these parameters holds.
#[track_caller]
fn found(app: &mut App<'_>, query: &str) -> Vec<String> {
    let page = app.get(query, &format!("{AT}?{query}")).ok(200);
    names(&page)
}

fn names(page: &Value) -> Vec<String> {
    page["records"].as_array().unwrap().iter().map(|record| record["key"].as_str().unwrap().to_owned()).collect()
}
