//! Writes from outside: requests that are made again, checks, waiting, tags, and what is taken up again.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpStream;

use serde_json::{Value, json};
use tests::http::{Answer, Client};
use tests::shops::World;
use tests::until::until;

const COLLECTIONS: &str = r#"
[[collection]]
name = "products"
key = "id"
[collection.fields]
n = { type = "counter" }

[[collection]]
name = "orders"
policy = "guarded"

[[collection]]
name = "notes"
"#;

const TEA: &str = "/v1/collections/products/records/tea";

fn shops(names: &[&str]) -> World {
    let nodes: Vec<(&str, &[&str])> = names.iter().map(|name| (*name, &["role=shop"][..])).collect();
    let world = World::new(&nodes);
    world.cloud.define(COLLECTIONS);
    world.cloud.cli(&["record", "put", "products", "tea", r#"{"n":1000,"name":"tea"}"#]).done();
    world.settle();
    world
}

fn send(client: &mut Client, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let headers = [&[("content-type", "application/json")], headers].concat();
    client.send(method, path, &headers, Some(body.to_string().as_bytes())).unwrap()
}

fn stock(world: &World, shop: usize) -> i64 {
    world.edges[shop].record("products", "tea").unwrap()["n"].as_i64().unwrap()
}

/// A till that retries from many threads at once sells once; so does one that asks the cloud.
#[test]
fn one_request_from_32_connections_is_one_write() {
    let world = shops(&["lyon"]);
    for mut api in [world.edges[0].client(), world.cloud.client()] {
        let before = api.get(TEA).unwrap().ok(200)["value"]["n"].as_i64().unwrap();
        let ids: BTreeSet<String> = std::thread::scope(|scope| {
            let ask = || {
                let mut own = api.with("idempotency-key", "till-4/sale-9");
                scope.spawn(move || {
                    let done = send(&mut own, "POST", &format!("{TEA}/increment"), &[], &json!({"n": -3})).ok(200);
                    done["write"]["id"].as_str().unwrap().to_owned()
                })
            };
            let asked: Vec<_> = (0..32).map(|_| ask()).collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        assert_eq!(ids.len(), 1, "{ids:?}");
        assert_eq!(api.get(TEA).unwrap().ok(200)["value"]["n"], before - 3);
        let other = send(&mut api, "POST", &format!("{TEA}/increment"), &[("idempotency-key", "till-4/sale-9")], &json!({"n": -4}));
        assert_eq!(other.ok(422)["code"], "idempotency_reuse");
        world.settle();
    }
    assert_eq!(stock(&world, 0), 1000 - 6);
}

/// The power fails while sales are on their way, again and again; each is repeated until it is answered, and sold once.
#[test]
fn a_repeat_after_kill_9_sells_once() {
    let mut world = shops(&["lyon"]);
    world.cloud.stop();
    const ROUNDS: usize = 4;
    const EACH: usize = 25;
    for round in 0..ROUNDS {
        // Sent and not waited for: some are durable when the process dies, some are not.
        let mut streams = Vec::new();
        for sale in 0..EACH {
            let mut stream = TcpStream::connect(world.edges[0].api).unwrap();
            let head = format!(
                "POST {TEA}/increment HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\nidempotency-key: {round}-{sale}\r\ncontent-length: 8\r\n\r\n{{\"n\":-1}}",
                world.edges[0].api
            );
            stream.write_all(head.as_bytes()).unwrap();
            streams.push(stream);
        }
        world.edges[0].kill();
        drop(streams);
        world.edges[0].start();
        let mut api = world.edges[0].client();
        for sale in 0..EACH {
            let key = format!("{round}-{sale}");
            for _ in 0..2 {
                send(&mut api, "POST", &format!("{TEA}/increment"), &[("idempotency-key", &key)], &json!({"n": -1})).ok(200);
            }
        }
        assert_eq!(stock(&world, 0), 1000 - ((round + 1) * EACH) as i64);
    }
    let outbox = world.edges[0].client().get("/v1/outbox?limit=1000").unwrap().ok(200);
    assert_eq!(outbox["writes"].as_array().unwrap().len(), ROUNDS * EACH);
    world.cloud.start();
    world.settle();
    assert_eq!(world.cloud.record("products", "tea").unwrap()["n"], 1000 - (ROUNDS * EACH) as i64);
}

/// Through everything that becomes of the write: pending, rejected, discarded. The 2xx stands, and names the same write.
#[test]
fn the_answer_stands_whatever_becomes_of_the_write() {
    let mut world = shops(&["lyon"]);
    world.cloud.stop();
    let mut api = world.edges[0].client();
    let ask = |api: &mut Client| {
        send(api, "PUT", "/v1/collections/orders/records/9", &[("idempotency-key", "o9")], &json!({"by": "lyon"})).ok(201)
    };
    let first = ask(&mut api);
    assert_eq!(first["write"]["state"], "pending");
    assert_eq!(ask(&mut api)["write"], first["write"]);
    let made = send(&mut api, "POST", "/v1/collections/notes/records", &[("idempotency-key", "made")], &json!({"t": 1}));
    let again = send(&mut api, "POST", "/v1/collections/notes/records", &[("idempotency-key", "made")], &json!({"t": 1}));
    assert_eq!((made.status, made.header("location")), (again.status, again.header("location")));
    world.edges[0].stop();
    world.cloud.start();
    world.cloud.cli(&["record", "put", "orders", "9", r#"{"by":"cloud"}"#]).done();
    world.edges[0].start();
    world.settle();
    let mut api = world.edges[0].client();
    let id = first["write"]["id"].as_str().unwrap();
    let after = ask(&mut api);
    assert_eq!(
        (&after["write"]["id"], &after["write"]["state"], &after["write"]["code"]),
        (&json!(id), &json!("rejected"), &json!("key_taken"))
    );
    assert_eq!(after["value"]["by"], "cloud", "the record as it is now");
    let edge = &world.edges[0];
    let listed: Value = serde_json::from_str(&edge.cli(&["write", "list", "--state", "rejected", "-o", "json"]).done()).unwrap();
    assert_eq!(listed["writes"][0]["id"], id);
    assert!(edge.cli(&["write", "resend", id]).failed(1).contains("holds"), "the key is still taken");
    edge.cli(&["write", "discard", id]).failed(2);
    edge.cli(&["write", "discard", id, "--yes"]).done();
    edge.cli(&["write", "show", id]).failed(1);
    let after = ask(&mut api);
    assert_eq!((&after["write"]["id"], &after["write"]["state"], &after["write"]["final"]), (&json!(id), &json!("rejected"), &json!(true)));
}

/// A check holds a write to what the till saw: here, and when the cloud decides. `null` stands for an absent field.
#[test]
fn checks_are_judged_in_the_cloud() {
    let mut world = shops(&["lyon"]);
    let sale = |name: Value| {
        json!({"ops": [
            {"op": "check", "collection": "products", "key": "tea", "fields": {"name": name, "gone": null}},
            {"op": "put", "collection": "orders", "key": "1", "value": {"total": 3}, "if": "absent"},
            {"op": "increment", "collection": "products", "key": "tea", "by": {"n": -1}}]})
    };
    let mut api = world.edges[0].client();
    let good = send(&mut api, "POST", "/v1/writes", &[("prefer", "wait=30")], &sale("tea".into())).ok(201);
    assert_eq!((&good["write"]["state"], &good["write"]["accepted"]), (&json!("applied"), &json!(true)));
    assert_eq!(good["write"]["ops"][0]["fields"], json!({"name": "tea", "gone": null}));
    let members: BTreeSet<_> = good["write"].as_object().unwrap().keys().map(String::as_str).collect();
    for member in ["id", "state", "final", "accepted", "at", "actor", "revision", "code", "detail", "conflicts", "ops"] {
        assert!(members.contains(member), "{member}");
    }
    world.cloud.stop();
    let mut later = sale("tea".into());
    later["ops"][1]["key"] = "2".into();
    let id = send(&mut api, "POST", "/v1/writes", &[], &later).ok(201)["write"]["id"].as_str().unwrap().to_owned();
    assert_eq!(stock(&world, 0), 998);
    world.edges[0].stop();
    world.cloud.start();
    world.cloud.cli(&["record", "merge", "products", "tea", r#"{"gone":1}"#]).done();
    world.edges[0].start();
    let mut api = world.edges[0].client();
    let outcome = api.get(&format!("/v1/writes/{id}?wait=30")).unwrap().ok(200);
    assert_eq!((&outcome["state"], &outcome["code"], &outcome["accepted"]), (&json!("rejected"), &json!("guard"), &json!(false)));
    world.settle();
    assert_eq!((stock(&world, 0), world.edges[0].record("orders", "2")), (999, None), "whole or not at all");
    // Checks are as they were, so it is rejected again until what they name is so again.
    world.cloud.cli(&["record", "merge", "products", "tea", r#"{"gone":null}"#]).done();
    until("the change", || world.edges[0].record("products", "tea")?.get("gone").is_none().then_some(()));
    let sent = send(&mut api, "POST", &format!("/v1/writes/{id}/resend"), &[("prefer", "wait=30")], &json!({})).ok(201);
    assert_eq!(sent["write"]["state"], "applied", "{sent}");
    assert_eq!(api.get(&format!("/v1/writes/{id}")).unwrap().ok(200)["resent_as"], sent["write"]["id"]);
    assert_eq!(send(&mut api, "POST", &format!("/v1/writes/{id}/resend"), &[], &json!({})).ok(409)["code"], "not_open");
    world.settle();
    assert_eq!((stock(&world, 0), world.edges[0].record("orders", "2").is_some()), (998, true));
    let mut cloud = world.cloud.client();
    assert_eq!(send(&mut cloud, "POST", &format!("/v1/writes/{id}/resend"), &[], &json!({})).ok(409)["code"], "not_open");
    world.cloud.cli(&["write", "show", &id]).done();
}

/// The tag of one's own pending write is good until somebody else changes the record, also when its outcome has come.
#[test]
fn a_pending_tag_lives_as_long_as_its_version() {
    let mut world = shops(&["lyon"]);
    world.cloud.stop();
    let mut api = world.edges[0].client();
    let tag_of = |answer: &Answer| answer.header("etag").unwrap().to_owned();
    let note = "/v1/collections/notes/records/a";
    let first = tag_of(&send(&mut api, "PUT", note, &[("if-none-match", "*")], &json!({"n": 1})).expect(201));
    assert!(first.contains('+'), "{first}");
    assert_eq!(send(&mut api, "PUT", note, &[("if-none-match", "*")], &json!({"n": 1})).ok(412)["code"], "precondition");
    assert_eq!(api.send("GET", note, &[("if-none-match", &first)], None).unwrap().expect(304).body, b"");
    let second = tag_of(&send(&mut api, "PUT", note, &[("if-match", &first)], &json!({"n": 2})).expect(200));
    send(&mut api, "PUT", note, &[("if-match", &first)], &json!({"n": 3})).expect(412);
    api.send("GET", note, &[("if-none-match", &first)], None).unwrap().ok(200);
    assert_eq!(api.send("GET", note, &[("if-none-match", &second)], None).unwrap().expect(304).header("etag"), Some(second.as_str()));
    world.cloud.start();
    world.settle();
    let now = api.get(note).unwrap().expect(200);
    assert_ne!(tag_of(&now), second, "the outcome moved the revision");
    let third = tag_of(&send(&mut api, "PUT", note, &[("if-match", &second)], &json!({"n": 4})).expect(200));
    world.settle();
    world.cloud.cli(&["record", "merge", "notes", "a", r#"{"by":"cloud"}"#]).done();
    until("the change", || world.edges[0].record("notes", "a")?.get("by").map(|_| ()));
    send(&mut api, "PUT", note, &[("if-match", &third)], &json!({"n": 5})).expect(412);
    let mut cloud = world.cloud.client();
    let there = tag_of(&cloud.get(note).unwrap());
    cloud.send("GET", note, &[("if-none-match", &there)], None).unwrap().expect(304);
    // A count needs the tag of what was counted; `rename-by-put` leaves the counter alone.
    let tea = api.get(TEA).unwrap();
    let mut renamed = tea.json()["value"].clone();
    renamed["name"] = "green tea".into();
    send(&mut api, "PUT", TEA, &[], &renamed).expect(200);
    renamed["n"] = 7.into();
    assert_eq!(send(&mut api, "PUT", TEA, &[], &renamed).ok(428)["code"], "count_needs_match");
    send(&mut api, "PUT", TEA, &[("if-match", &tag_of(&tea))], &renamed).expect(412);
}

/// `"if": REVISION` is judged where it is asked, and again by the cloud.
#[test]
fn a_revision_is_judged_twice() {
    let mut world = shops(&["lyon", "oslo"]);
    let mut api = world.edges[0].client();
    let revision = api.get(TEA).unwrap().ok(200)["revision"].as_u64().unwrap();
    let write = |revision: u64| json!({"ops": [{"op": "merge", "collection": "products", "key": "tea", "value": {"name": "lyon's"}, "if": revision}]});
    assert_eq!(send(&mut api, "POST", "/v1/writes", &[], &write(revision - 1)).ok(412)["code"], "precondition");
    world.cloud.stop();
    let id = send(&mut api, "POST", "/v1/writes", &[], &write(revision)).ok(201)["write"]["id"].as_str().unwrap().to_owned();
    world.edges[0].stop();
    world.cloud.start();
    let mut oslo = world.edges[1].client();
    send(&mut oslo, "PATCH", TEA, &[("prefer", "wait=30")], &json!({"name": "oslo's"})).ok(200);
    world.edges[0].start();
    let outcome = world.edges[0].client().get(&format!("/v1/writes/{id}?wait=30")).unwrap().ok(200);
    assert_eq!((&outcome["state"], &outcome["code"]), (&json!("rejected"), &json!("guard")));
}

/// Pages are exact while writes go on: what was there at the beginning comes once, in order.
#[test]
fn pages_of_writes_are_exact_while_writes_go_on() {
    let mut world = shops(&["lyon"]);
    world.cloud.stop();
    let mut api = world.edges[0].client();
    let mut put = |n: usize| send(&mut api, "PUT", &format!("/v1/collections/notes/records/{n}"), &[], &json!({"n": n})).ok(201);
    let made: Vec<Value> = (0..40).map(|n| put(n)["write"]["id"].clone()).collect();
    let pages = |api: &mut Client, state: &str, busy: &mut dyn FnMut(usize)| {
        let (mut all, mut after, mut round) = (Vec::new(), String::new(), 0);
        loop {
            let page = api.get(&format!("/v1/writes?limit=7{state}{after}")).unwrap().ok(200);
            all.extend(page["writes"].as_array().unwrap().iter().map(|write| write["id"].clone()));
            busy(round);
            round += 1;
            match page["next"].as_str() {
                Some(next) if round < 30 => after = format!("&after={next}"),
                _ => return all,
            }
        }
    };
    let mut reader = world.edges[0].client();
    for state in ["", "&state=pending"] {
        let listed = pages(&mut reader, state, &mut |round| drop(put(1_000 + round + 100 * state.len())));
        assert_eq!(listed[..made.len()], made[..], "{state}");
        assert_eq!(listed.iter().map(Value::to_string).collect::<BTreeSet<_>>().len(), listed.len(), "each once");
    }
    world.cloud.start();
    world.settle();
    let mut reader = world.edges[0].client();
    let applied = pages(&mut reader, "&state=applied", &mut |_| {});
    assert_eq!(applied[..made.len()], made[..]);
    assert!(pages(&mut reader, "&state=pending", &mut |_| {}).is_empty());
    let mut cloud = world.cloud.client();
    let there = pages(&mut cloud, "&state=applied", &mut |_| {});
    assert!(made.iter().all(|id| there.contains(id)));
    for state in ["pending", "merged", "flagged", "rejected", "lost"] {
        assert!(pages(&mut cloud, &format!("&state={state}"), &mut |_| {}).is_empty(), "{state}");
    }
}
