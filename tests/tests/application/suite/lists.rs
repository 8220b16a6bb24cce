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
    compared(app);
    sorted(app);
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

fn compared(app: &mut App<'_>) {
    assert_eq!(found(app, "prefix=l&CategoryID[lt]=2"), ["l1", "l2"]);
    assert_eq!(found(app, "CategoryID[gte]=2&CategoryID[lte]=3&sort=-key"), ["m1", "l4", "l3"]);
    assert_eq!(found(app, "prefix=l&Price[gt]=10"), ["l1", "l2", "l3"], "numbers as numbers, strings as strings");
    assert_eq!(found(app, "prefix=l&Price[ne]=18"), ["l3"], "what is null is neither equal nor different");
    assert_eq!(found(app, "CategoryID[in]=3,2"), ["l3", "l4", "m1"]);
    assert_eq!(found(app, "Name%5Bin%5D=%5B%22Chai%22%2C%22a%2Cb%22%5D&prefix=l"), ["l1"]);
    app.get("an operator that is none", &format!("{AT}?Price[like]=1")).expect(400);
}

fn sorted(app: &mut App<'_>) {
    assert_eq!(found(app, "sort=Price&CategoryID[gt]=0&prefix=l"), ["l4", "l3", "l1", "l2"], "null, numbers, strings");
    assert_eq!(found(app, "sort=-CategoryID&prefix=l"), ["l4", "l3", "l2", "l1"], "ties by key, downwards too");
    let mut path = format!("{AT}?sort=-Price&prefix=l&limit=1");
    let mut keys = Vec::new();
    while let Value::String(next) = &app.get("a page in an order", &path).ok(200)["next"] {
        path = format!("{AT}?sort=-Price&prefix=l&limit=1&after={next}");
        keys.extend(names(&app.get("the next page", &path).ok(200)));
    }
    assert_eq!(keys, ["l1", "l3", "l4"]);
    let next = app.get("a token", &format!("{AT}?sort=Price&limit=1")).ok(200)["next"].as_str().unwrap().to_owned();
    app.get("a token of another order", &format!("{AT}?sort=-Price&limit=1&after={next}")).expect(400);
    let problem = app.get("the line to add", &format!("{AT}?sort=CategoryID,-Price")).expect(400).json();
    let line = "indexes = [\"CategoryID\", \"Price\", \"CategoryID,-Price\"]";
    assert_eq!((&problem["code"], problem["detail"].as_str().unwrap().contains(line)), (&json!("no_index"), true), "{problem}");
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
