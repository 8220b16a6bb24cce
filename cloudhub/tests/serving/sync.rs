//! Records down, writes up.

use http::Method;
use proto::ids::Revision;
use proto::names::{CollectionName, Key};
use proto::op::{Body, Op, Verdict};
use serde_json::json;

use crate::hub::Hub;
use crate::node::{Machine, Memory, Session};
use crate::run;

pub(crate) fn sale(key: &str, pieces: i64) -> Op {
    Op {
        collection: CollectionName::parse("products").unwrap(),
        key: Key::parse(key).unwrap(),
        seen: Revision(0),
        definition: Revision(0),
        depends: None,
        stands_on: Vec::new(),
        expect: None,
        body: Body::Increment(vec![("stock".into(), -pieces)]),
    }
}

pub(crate) fn products(count: usize) -> String {
    (1..=count).map(|id| format!("{{\"id\":\"p{id}\",\"name\":\"Chai {id}\",\"stock\":20}}\n")).collect()
}

#[test]
fn records_come_down_writes_go_up_and_a_restart_changes_nothing() {
    run(async {
        let hub = Hub::start().await;
        hub.define("products").await;
        let summary = hub.import("products", products(1_500)).await.unwrap();
        assert_eq!((&summary["read"], &summary["created"]), (&json!(1_500), &json!(1_500)));
        let machine = Machine::join(&hub, "lyon").await;

        let mut node = Session::open(&hub, &machine, Memory::new(1)).await;
        node.until(|node| node.is_open() && node.memory.records.len() == 1_500 && node.memory.fills.is_empty()).await;
        let shown = hub.get(&["v1", "nodes", "lyon"]).await.unwrap();
        assert_eq!((&shown["state"], &shown["transport"]), (&json!("online"), &json!("websocket")));

        hub.send(Method::PATCH, &["v1", "collections", "products", "records", "p7"], json!({"name": "Chai, large"})).await.unwrap();
        node.until(|node| node.memory.field("products", "p7", "name") == Some(json!("Chai, large"))).await;

        node.wrote(sale("p7", 3));
        node.until(|node| node.memory.field("products", "p7", "stock") == Some(json!(17))).await;
        assert_eq!(node.memory.outcomes[&1].verdict, Verdict::Applied, "the outcome came with or before the record");
        let record = hub.get(&["v1", "collections", "products", "records", "p7"]).await.unwrap();
        assert_eq!((&record["value"]["stock"], &record["writer"], &record["actor"]), (&json!(17), &json!("lyon"), &json!("till")));
        let write = hub.get(&["v1", "writes", &format!("lyon:{}:1", node.memory.database.short())]).await.unwrap();
        assert_eq!((&write["state"], &write["final"]), (&json!("applied"), &json!(true)));

        let memory = node.memory.clone();
        let data = hub.stop().await;
        assert_eq!(node.ended().await.as_deref(), Some("shutdown"));
        let hub = Hub::on(data).await;
        hub.post(&["v1", "collections", "products", "records", "p7", "increment"], json!({"stock": 5})).await.unwrap();
        let mut node = Session::open(&hub, &machine, memory).await;
        node.wrote(sale("p7", 2));
        node.until(|node| node.memory.field("products", "p7", "stock") == Some(json!(20))).await;
        assert!(node.is_open() && node.memory.fills.is_empty(), "nothing was read anew");
        assert!(hub.events("lyon").await.contains(&"joined".to_owned()));
        drop(node);
        hub.stop().await;
    });
}

#[test]
fn a_change_of_labels_reaches_a_live_node() {
    run(async {
        let hub = Hub::start().await;
        let definition = json!({"policy": "merge", "key": "id", "nodes": {"role": "till"}});
        hub.send(Method::PUT, &["v1", "collections", "prices"], definition).await.unwrap();
        hub.import("prices", "{\"id\":\"p1\",\"price\":3}\n".into()).await.unwrap();
        let machine = Machine::join(&hub, "lyon").await;
        let mut node = Session::open(&hub, &machine, Memory::new(1)).await;
        node.in_sync().await;
        assert!(node.memory.records.is_empty());
        hub.send(Method::PATCH, &["v1", "nodes", "lyon"], json!({"labels": {"role": "till"}})).await.unwrap();
        node.until(|node| node.memory.field("prices", "p1", "price") == Some(json!(3))).await;
        // The registry knows the new right: a change wakes the session.
        hub.send(Method::PATCH, &["v1", "collections", "prices", "records", "p1"], json!({"price": 4})).await.unwrap();
        node.until(|node| node.memory.field("prices", "p1", "price") == Some(json!(4))).await;
        drop(node);
        hub.stop().await;
    });
}

#[test]
fn many_nodes_get_one_change_each() {
    run(async {
        let hub = Hub::start().await;
        let definition = json!({"policy": "merge", "key": "id", "partition": {"field": "shop", "label": "shop"}});
        hub.send(Method::PUT, &["v1", "collections", "stock"], definition).await.unwrap();
        let mut nodes = Vec::new();
        for at in 0..20_u8 {
            let name = format!("shop-{at}");
            let machine = Machine::join(&hub, &name).await;
            hub.send(Method::PATCH, &["v1", "nodes", &name], json!({"labels": {"shop": name}})).await.unwrap();
            let mut node = Session::open(&hub, &machine, Memory::new(at)).await;
            node.in_sync().await;
            nodes.push((name, node));
        }
        let lines: String = nodes.iter().map(|(name, _)| format!("{{\"id\":\"of-{name}\",\"shop\":\"{name}\"}}\n")).collect();
        hub.import("stock", lines).await.unwrap();
        for (name, node) in &mut nodes {
            let key = ("stock".to_owned(), format!("of-{name}"));
            node.until(|node| node.memory.records.contains_key(&key)).await;
            assert_eq!(node.memory.records.len(), 1, "and nothing of the others");
        }
        drop(nodes);
        hub.stop().await;
    });
}
