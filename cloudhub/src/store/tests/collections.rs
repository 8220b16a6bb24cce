//! Definitions, and whom they reach.

use std::collections::BTreeSet;

use proto::definition::Definition;

use super::bench::{Bench, Fixture, name, node, put_op};
use super::edge::{Edge, put};
use super::shops;
use crate::store::{Answer, CollectionApplied, ImportMode, Job, Refused, Store, StoreRead};

fn applied(answer: Result<Answer, Refused>) -> CollectionApplied {
    match answer.unwrap() {
        Answer::Applied(applied) => applied,
        other => panic!("{other:?}"),
    }
}

pub(super) fn definitions_select_nodes<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.join("till", &[("role", "till")]);
    let json = r#"{"nodes":{"role":"shop"}}"#;
    let would = bench.reader().try_definition(&name("prices"), &Definition::parse(json).unwrap()).unwrap().unwrap();
    let head = bench.head();
    let created = applied(bench.try_define("prices", json));
    assert_eq!(created, CollectionApplied { created: true, changed: false, selects: 2, nodes: 3 });
    assert_eq!(would, created);
    assert_eq!(bench.head(), head + 1);
    let same = applied(bench.try_define("prices", json));
    assert_eq!((same.created, same.changed, bench.head()), (false, false, head + 1), "nothing changed, nothing is decided");
    let wider = applied(bench.try_define("prices", "{}"));
    assert_eq!((wider.created, wider.changed, wider.selects), (false, true, 3));
    assert_eq!(bench.touched.nodes, BTreeSet::from(["lyon", "oslo", "till"].map(node)));
    let row = bench.reader().collection(&name("prices")).unwrap().unwrap();
    assert_eq!((row.definition, row.records), (Definition::default(), 0));
    let names: Vec<_> = bench.reader().collections().unwrap().into_iter().map(|row| row.name.to_string()).collect();
    assert_eq!(names, ["prices", "products", "stock"]);
    assert!(matches!(bench.try_define("_conflicts", "{}"), Err(Refused::System(_))));
}

pub(super) fn grants_recompute<F: Fixture>() {
    let mut bench = shops::<F>();
    for (key, site) in [("a", "lyon"), ("b", "oslo"), ("c", "paris")] {
        bench.put("stock", key, &format!(r#"{{"W":"{site}"}}"#));
    }
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    for (labels, held) in [
        (vec![("site", Some("oslo,paris"))], vec!["b", "c"]),
        (vec![("site", Some("paris,oslo"))], vec!["b", "c"]),
        (vec![("site", None)], vec![]),
        (vec![("site", Some("lyon"))], vec!["a"]),
    ] {
        bench.label("lyon", &labels);
        lyon.sync(&mut bench);
        let holds: Vec<_> = ["a", "b", "c"].into_iter().filter(|key| lyon.value("stock", key).is_some()).collect();
        assert_eq!(holds, held, "{labels:?}");
        lyon.same_as_cloud(&mut bench);
    }
    // A narrower definition takes the grant away, and a wider one gives another.
    bench.define("stock", r#"{"nodes":{"role":"depot"},"partition":{"field":"W","label":"site"}}"#);
    lyon.sync(&mut bench);
    assert_eq!(lyon.holds("stock"), 0);
    bench.define("stock", r#"{"partition":{"field":"W","label":"warehouse"}}"#);
    bench.label("lyon", &[("warehouse", Some("paris"))]);
    lyon.sync(&mut bench);
    assert_eq!((lyon.holds("stock"), lyon.value("stock", "c").is_some()), (1, true));
    assert!(matches!(
        bench.job(Job::Label { node: node("lyon"), labels: [("a=b".to_owned(), Some(String::new()))].into() }),
        Err(Refused::Label { .. })
    ));
    assert!(matches!(bench.job(Job::Label { node: node("rome"), labels: [].into() }), Err(Refused::NoNode(_))));
}

pub(super) fn what_records_depend_on_cannot_change<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.put("stock", "a", r#"{"W":"lyon","n":1}"#);
    for (json, field) in [
        (r#"{"partition":{"field":"W","label":"site"},"fields":{"n":{"type":"counter"}}}"#, "fields.n.type"),
        (r#"{"partition":{"field":"Z","label":"site"}}"#, "partition.field"),
        ("{}", "partition.field"),
        (r#"{"key":"K","partition":{"field":"W","label":"site"}}"#, "key"),
    ] {
        let refused = bench.try_define("stock", json).unwrap_err();
        assert_eq!((refused.code(), refused.status(), refused.field()), ("cannot_change", 409, Some(field)));
    }
    bench.delete("stock", "a");
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.sync(&mut bench);
    bench.define("stock", r#"{"key":"K"}"#);
    bench.put("stock", "b", r#"{"K":"b"}"#);
    lyon.sync(&mut bench);
    assert!(lyon.value("stock", "b").is_some());
}

pub(super) fn a_deleted_collection_does_not_come_back<F: Fixture>() {
    let mut bench = shops::<F>();
    bench.put("products", "1", r#"{"ProductID":1}"#);
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    lyon.commit(put("products", "1", r#"{"ProductID":1,"ProductName":"other"}"#));
    lyon.upload(&mut bench).unwrap();
    lyon.sync(&mut bench);
    assert_eq!(lyon.holds("_conflicts"), 1);
    bench.done(Job::DeleteCollection { name: name("products") });
    assert!(bench.touched.nodes.contains(&node("lyon")));
    assert!(matches!(bench.write(vec![put_op("products", "1", "{}")]), Err(Refused::NoCollection(_))));
    lyon.sync(&mut bench);
    assert_eq!((lyon.holds("products"), lyon.holds("_conflicts")), (0, 0));
    bench.define("products", "{}");
    lyon.sync(&mut bench);
    assert_eq!((lyon.holds("products"), lyon.holds("_conflicts")), (0, 0));
    bench.put("products", "2", "{}");
    let now_ms = bench.now_ms;
    while bench.store().tidy(now_ms).unwrap().1 {}
    lyon.sync(&mut bench);
    assert_eq!(lyon.holds("products"), 1);
    assert!(matches!(bench.job(Job::DeleteCollection { name: name("nothing") }), Err(Refused::NoCollection(_))));
}

pub(super) fn schemas_are_judged<F: Fixture>() {
    let mut bench = Bench::<F>::new();
    let schema = r#"{"schema":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}}"#;
    bench.define("notes", schema);
    let refused = bench.write(vec![put_op("notes", "a", r#"{"n":"x"}"#)]).unwrap_err();
    assert_eq!((refused.code(), refused.status()), ("schema", 422));
    bench.put("notes", "a", r#"{"n":1}"#);
    let refused = bench.import("notes", ImportMode::Put, false, &[("b", r#"{"n":2}"#), ("c", "{}")]).unwrap_err();
    assert!(matches!(&refused, Refused::BadLine { line: 2, reason } if reason.code() == "schema"), "{refused}");
    for bad in [r#"{"schema":{"type":"nothing"}}"#, r#"{"schema":{"$ref":"https://example.com/schema.json"}}"#] {
        let refused = bench.try_define("other", bad).unwrap_err();
        assert_eq!((refused.status(), refused.field()), (400, Some("schema")), "{refused}");
    }
    // The newest definition judges, and the old one's compiled form is not used again.
    bench.define("notes", r#"{"schema":{"required":["m"]}}"#);
    bench.write(vec![put_op("notes", "d", r#"{"n":"x"}"#)]).unwrap_err();
    bench.put("notes", "d", r#"{"m":1}"#);
}
