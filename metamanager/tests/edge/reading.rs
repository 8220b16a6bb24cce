//! Lists, counts, and the threads around the store.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use metamanager::{Event, ListQuery, LocalWrite, Metamanager, Options, ReadError};
use proto::frame::Entry;
use proto::list::{Compare, Condition, Position};
use proto::op::Verdict;

use crate::kit::{Edge, answered, at, batch, create, delete, grants, is, key, merge, name, now, sell, welcome};

fn query() -> ListQuery {
    ListQuery::all(name("stock"), 100)
}

/// a1, a2, b1, b2 in base; a2 deleted here, b1 changed here, a3 made here.
fn shelf() -> Edge {
    let mut edge = Edge::new();
    let row = |id: &str, rest: &str| is("stock", id, 11, &format!(r#"{{"id":"{id}","n":1{rest}}}"#));
    let rows = vec![row("a1", r#","c":"18""#), row("a2", ""), row("b1", r#","c":18.0,"ok":true"#), row("b2", r#","c":null,"ok":"true""#)];
    edge.apply(vec![batch(10, 11, true, rows)]);
    edge.write(vec![delete("stock", "a2")]);
    edge.write(vec![sell("b1", 1)]);
    edge.write(vec![create("stock", "a3", r#"{"id":"a3","c":1.8e1}"#)]);
    edge
}

fn keys(edge: &mut Edge, query: &ListQuery) -> (Vec<String>, Option<String>) {
    let page = edge.reader().list(query).unwrap();
    (page.records.iter().map(|row| row.key.to_string()).collect(), page.next.map(|place| place.key))
}

#[test]
fn lists_are_the_view_in_key_order() {
    let mut edge = shelf();
    assert_eq!(keys(&mut edge, &query()), (vec!["a1".into(), "a3".into(), "b1".into(), "b2".into()], None));
    assert_eq!(edge.reader().count(&name("stock")).unwrap(), 4);
    let first = keys(&mut edge, &ListQuery { limit: 2, ..query() });
    assert_eq!(first, (vec!["a1".into(), "a3".into()], Some("a3".into())));
    let rest = keys(&mut edge, &ListQuery { limit: 2, after: first.1.as_deref().map(Position::of_key), ..query() });
    assert_eq!(rest, (vec!["b1".into(), "b2".into()], None));
    assert_eq!(keys(&mut edge, &ListQuery { prefix: Some("a".into()), ..query() }).0, ["a1", "a3"]);
    assert_eq!(keys(&mut edge, &ListQuery { keys: vec![key("b2"), key("a2"), key("a1")], ..query() }).0, ["a1", "b2"]);
    let page = edge.reader().list(&query()).unwrap();
    assert_eq!(page.records[2].pending, [2]);
    assert_eq!((page.records[1].writer.as_deref(), page.records[0].writer.as_deref()), (None, Some("cloud:11")));
}

#[test]
fn filters_match_the_string_or_what_it_spells() {
    let mut edge = shelf();
    let mut by = |field: &str, text: &str| {
        let conditions = vec![Condition::new(field, Compare::Equal, vec![text.into()])];
        keys(&mut edge, &ListQuery { conditions, ..query() }).0
    };
    assert_eq!(by("c", "18"), ["a1", "a3", "b1"], "numbers by decimal value");
    assert_eq!(by("c", "18.00"), ["a3", "b1"]);
    assert_eq!(by("ok", "true"), ["b1", "b2"]);
    assert_eq!(by("c", "null"), ["b2"]);
    assert_eq!(by("c", ""), Vec::<String>::new());
    assert_eq!(by("none", "null"), Vec::<String>::new());
    assert_eq!(by("n", "{}"), Vec::<String>::new());
}

#[test]
fn unknown_collections_are_named() {
    let mut edge = shelf();
    let nowhere = ListQuery { collection: name("nowhere"), ..query() };
    assert_eq!(edge.reader().list(&nowhere), Err(ReadError::UnknownCollection("nowhere".to_owned())));
    assert_eq!(edge.reader().definitions().unwrap().len(), 4);
    assert!(edge.reader().definition(&name("stock")).unwrap().is_some());
    assert_eq!(edge.reader().definition(&name("_conflicts")).unwrap(), None);
}

#[test]
fn base_is_what_the_cloud_said_last() {
    let mut edge = shelf();
    let mut reader = edge.reader();
    let base = reader.get_base(&name("stock"), &key("b1")).unwrap().unwrap();
    assert_eq!((base.value.contains(r#""n":1,"#), base.pending.len()), (true, 0));
    assert!(reader.get_base(&name("stock"), &key("a2")).unwrap().is_some());
    assert_eq!(reader.get_base(&name("stock"), &key("a3")).unwrap(), None);
}

fn writes(requests: Vec<metamanager::LocalRequest>) -> LocalWrite {
    LocalWrite { requests, actor: None, request_id: None, idempotency: None, resends: None }
}

#[test]
fn many_threads_share_one_database() {
    let edge = Edge::unjoined();
    let path = edge.path();
    let folder = edge.folder;
    drop(edge.store);
    let told = Arc::new(Mutex::new((0, Vec::new())));
    let hear = told.clone();
    let observer: metamanager::Observer = Arc::new(move |event| match event {
        Event::Committed { newest } => hear.lock().unwrap().0 = *newest,
        Event::Answered { outcomes } => hear.lock().unwrap().1.extend(outcomes.clone()),
        Event::Changed | Event::Noted => {}
        metamanager::Event::Damaged => panic!("the file is whole"),
    });
    let options = Options { observer: Some(observer), ..edge.options };
    let shared = Metamanager::open(&path, options.clone(), Arc::new(|| now(5))).unwrap();
    shared.run(|store, now| store.adopt(&welcome(1, 10, Some(grants(10))), now).map(drop)).unwrap().unwrap();
    let rows = vec![is("stock", "1", 11, r#"{"id":1,"n":1000}"#)];
    let (sender, answers) = sync_channel(1);
    shared.apply_then(vec![batch(10, 11, true, rows)], move |applied| sender.send(applied.unwrap().cursor).unwrap());
    assert_eq!(answers.recv().unwrap(), at(11));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let shared = shared.clone();
            scope.spawn(move || {
                for _ in 0..25 {
                    let row = shared.commit(writes(vec![sell("1", 1)])).unwrap().results.remove(0).view.unwrap();
                    let seen = shared.get(&name("stock"), &key("1")).unwrap().unwrap();
                    assert!(seen.pending.last() >= row.pending.last(), "read your writes");
                }
            });
        }
    });
    assert_eq!(shared.list(&query()).unwrap().records[0].value, r#"{"id":1,"n":800}"#);
    assert_eq!(told.lock().unwrap().0, 200);
    let entries: Vec<Entry> = (1..=200).map(|number| answered(number, 11 + number, Verdict::Applied)).collect();
    let (sender, answers) = sync_channel(1);
    shared.apply_then(vec![batch(11, 211, true, entries)], move |applied| sender.send(applied.unwrap().outcomes.len()).unwrap());
    assert_eq!(answers.recv().unwrap(), 200);
    assert_eq!(told.lock().unwrap().1.len(), 200);
    shared.close();
    assert_eq!(shared.commit(writes(vec![merge("stock", "1", "{}")])).unwrap_err().code(), "unavailable");
    assert!(shared.get(&name("stock"), &key("1")).unwrap().is_some(), "reads still work");
    assert_eq!(shared.run(|store, _| store.database()), None);
    let again = Metamanager::open(&path, options, Arc::new(|| now(5))).unwrap();
    assert!(again.get(&name("stock"), &key("1")).unwrap().is_some());
    drop(again);
    drop(folder);
}
