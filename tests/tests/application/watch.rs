//! Applications that follow what changes: nothing is missed, whatever ends the stream or the hub.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::events::{Event, Events};
use tests::shops::{Edge, World, escape};
use tests::until::until;

const DEFINITIONS: &str = r#"
[[collection]]
name = "stock"
[collection.fields]
n = { type = "counter", min = 0, on_violation = "reject" }

[[collection]]
name = "notes"
partition = { field = "site", label = "site" }
"#;

fn shop() -> World {
    let world = World::new(&[("lyon", &["site=lyon"])]);
    world.cloud.define(DEFINITIONS);
    world.cloud.cli(&["record", "put", "stock", "1", r#"{"n":5}"#]).done();
    world.settle();
    world
}

fn path(since: &str) -> String {
    format!("/v1/watch?collection=stock&since={}", escape(since))
}

fn watch(edge: &Edge, since: &str) -> Events {
    edge.client().events(&path(since), &[]).unwrap()
}

fn put(edge: &Edge, key: &str, value: &Value) {
    let answer = edge.client().json("PUT", &format!("/v1/collections/stock/records/{key}"), value).unwrap();
    assert!(answer.status < 300, "{answer}");
}

/// What an application has made of a list and the events since.
type Held = BTreeMap<String, Value>;

fn take(held: &mut Held, event: &Event) {
    if event.name != "record" {
        return;
    }
    let key = event.data["key"].as_str().unwrap().to_owned();
    match event.data["deleted"] == true {
        true => drop(held.remove(&key)),
        false => drop(held.insert(key, event.data["value"].clone())),
    }
}

/// Everything, page by page, and where a watch goes on.
fn list(edge: &Edge, limit: usize) -> (Held, String) {
    let mut api = edge.client();
    let (mut held, mut after, mut since) = (Held::new(), String::new(), None);
    loop {
        let page = api.get(&format!("/v1/collections/stock/records?limit={limit}{after}")).unwrap().ok(200);
        for record in page["records"].as_array().unwrap() {
            held.insert(record["key"].as_str().unwrap().into(), record["value"].clone());
        }
        let here = page["since"].as_str().unwrap().to_owned();
        assert_eq!(*since.get_or_insert(here.clone()), here, "every page says where the first one was");
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", escape(next)),
            None => return (held, here),
        }
    }
}

#[test]
fn list_then_watch_misses_nothing_while_others_write() {
    let world = shop();
    let edge = &world.edges[0];
    for id in 0..40 {
        put(edge, &format!("k{id}"), &json!({"a": 0}));
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..40 {
                put(edge, &format!("k{}", round % 40), &json!({"a": round}));
                put(edge, &format!("new{round}"), &json!({"a": round}));
                if round % 3 == 0 {
                    edge.client().send("DELETE", &format!("/v1/collections/stock/records/new{round}"), &[], None).unwrap().expect(200);
                }
            }
            put(edge, "last", &json!({}));
            done.store(true, Ordering::Release);
        });
        let (mut held, since) = list(edge, 7);
        let mut events = watch(edge, &since);
        events.until(|event| {
            take(&mut held, event);
            event.data["key"] == "last"
        });
        assert_eq!(held, list(edge, 1_000).0);
    });
    assert!(done.load(Ordering::Acquire));
}

#[test]
fn a_restart_and_a_kill_are_no_gap_at_the_edge() {
    let mut world = shop();
    let mut events = watch(&world.edges[0], "");
    assert_eq!(events.event().name, "ready");
    for (round, kill) in [(1, false), (2, true)] {
        put(&world.edges[0], "seen", &json!({"a": round}));
        assert_eq!(events.until(|event| event.name == "record").pop().unwrap().data["value"]["a"], round);
        let last = events.last.clone();
        // While nobody watches.
        put(&world.edges[0], "missed", &json!({"a": round}));
        if kill {
            world.edges[0].kill()
        } else {
            world.edges[0].stop()
        }
        while events.next_event().is_some() {}
        world.edges[0].start();
        events = world.edges[0].client().events("/v1/watch?since=0", &[("last-event-id", &last)]).unwrap();
        let all = events.until(|event| event.name == "ready");
        assert!(all.iter().all(|event| event.name != "reset"), "{all:?}");
        let missed = all.iter().find(|event| event.data["key"] == "missed").unwrap_or_else(|| panic!("{all:?}"));
        assert_eq!(missed.data["value"]["a"], round);
    }
}

#[test]
fn everything_first_is_cut_anywhere_and_goes_on() {
    let world = shop();
    let edge = &world.edges[0];
    let lines: String = (0..2_500).map(|id| format!("{{\"key\":\"k{id:04}\",\"value\":{{\"a\":{id}}}}}\n")).collect();
    let ndjson = [("content-type", "application/x-ndjson")];
    edge.client().send("POST", "/v1/collections/stock/import", &ndjson, Some(lines.as_bytes())).unwrap().expect(200);
    let (mut held, mut since, mut ready) = (Held::new(), "0".to_owned(), false);
    while !ready {
        let mut events = watch(edge, &since);
        for _ in 0..700 {
            let event = events.event();
            take(&mut held, &event);
            ready |= event.name == "ready";
            assert_ne!(event.name, "reset");
            if ready {
                // Nothing more may come.
                break;
            }
        }
        since = events.last.clone();
        if !ready {
            put(edge, "k0000", &json!({"a": "changed meanwhile"}));
        }
        if held.len() > 2_400 {
            break;
        }
    }
    let mut events = watch(edge, &since);
    events.until(|event| {
        take(&mut held, event);
        event.name == "ready"
    });
    assert_eq!(held, list(edge, 1_000).0);
}

#[test]
fn outcomes_conflicts_and_lost_rights_are_told() {
    let world = shop();
    let edge = &world.edges[0];
    let mut events = edge.client().events("/v1/watch", &[]).unwrap();
    assert_eq!(events.event().name, "ready");
    let sold = edge.client().json("POST", "/v1/collections/stock/records/1/increment", &json!({"n": -3})).unwrap().ok(200);
    let all = events.until(|event| event.name == "outcome");
    assert_eq!(all[0].data["sync"]["state"], "pending");
    let outcome = &all.last().unwrap().data;
    assert_eq!((&outcome["id"], &outcome["state"]), (&sold["write"]["id"], &json!("applied")));
    // More than there is: the cloud rejects it, and the view goes back.
    edge.client().json("POST", "/v1/collections/stock/records/1/increment", &json!({"n": -30})).unwrap().ok(200);
    let all = events.until(|event| event.name == "record" && event.data["value"]["n"] == 2 && event.data["sync"]["state"] == "clean");
    until_told(&mut events, all, "outcome", |data| data["state"] == "rejected");
    // A record that head office changed too.
    world.cloud.cli(&["record", "put", "notes", "a", r#"{"site":"lyon","text":"x"}"#]).done();
    world.settle();
    let mut api = edge.client();
    api.json("PATCH", "/v1/collections/notes/records/a", &json!({"text": "y"})).unwrap().ok(200);
    events.until(|event| event.name == "outcome");
    world.cloud.cli(&["record", "delete", "notes", "a"]).done();
    events.until(|event| event.data["key"] == "a" && event.data["deleted"] == true);
    // The node loses the site's records: everything is to be listed again.
    world.cloud.cli(&["node", "label", "lyon", "site=paris"]).done();
    events.until(|event| event.name == "reset");
    put(edge, "after", &json!({}));
    events.until(|event| event.data["key"] == "after");
    for foreign in ["e1.7", "0123456789abcdef.1"] {
        assert_eq!(watch(edge, foreign).event().name, "reset", "{foreign}");
    }
}

/// Where it was not told before, it comes.
fn until_told(events: &mut Events, before: Vec<Event>, name: &str, wanted: impl Fn(&Value) -> bool) {
    if !before.iter().any(|event| event.name == name && wanted(&event.data)) {
        events.until(|event| event.name == name && wanted(&event.data));
    }
}

#[test]
fn two_hundred_watch_one_edge_and_a_deaf_one_harms_nobody() {
    let world = shop();
    let edge = &world.edges[0];
    // One that asks for more than the buffers of both sides hold, and never reads.
    let huge = "x".repeat(500_000);
    for id in 0..60 {
        put(edge, &format!("huge{id}"), &json!({"text": huge}));
    }
    let mut deaf = TcpStream::connect(edge.api).unwrap();
    deaf.write_all(format!("GET /v1/watch?since=0 HTTP/1.1\r\nhost: {}\r\n\r\n", edge.api).as_bytes()).unwrap();
    let mut all: Vec<Events> = (0..200).map(|_| watch(edge, "")).collect();
    all.iter_mut().for_each(|events| assert_eq!(events.event().name, "ready"));
    let begun = Instant::now();
    for id in 0..400 {
        put(edge, &format!("k{}", id % 20), &json!({"a": id}));
    }
    put(edge, "last", &json!({}));
    assert!(begun.elapsed() < Duration::from_secs(60), "nobody waits for the deaf");
    std::thread::scope(|scope| {
        for events in &mut all {
            scope.spawn(|| events.until(|event| event.data["key"] == "last"));
        }
    });
    let shown = edge.client().get("/metrics").unwrap().body;
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.lines().any(|line| line == "tombolo_watches 201" || line == "tombolo_watches 200"), "{shown}");
    // It is cut off after half a minute; what it was sent till then is in the buffers between.
    until("the deaf one is cut off", || {
        let shown = edge.client().get("/metrics").ok()?.body;
        String::from_utf8(shown).ok()?.lines().any(|line| line == "tombolo_watches_cut_total 1").then_some(())
    });
    // It goes on from the last whole event that it has.
    let mut rest = Vec::new();
    let _ = deaf.read_to_end(&mut rest);
    let rest = String::from_utf8_lossy(&rest).into_owned();
    let whole = &rest[..rest.rfind("\n\n").unwrap()];
    let last = whole.rsplit("\nid: ").next().unwrap().lines().next().unwrap();
    let mut again = watch(edge, last);
    let all = again.until(|event| event.data["key"] == "last" || event.name == "reset");
    assert_ne!(all.last().unwrap().name, "reset");
}

#[test]
fn the_cloud_is_watched_the_same_way() {
    let mut world = shop();
    let client = world.cloud.client();
    let put = |world: &World, key: &str, value: &Value| {
        let answer = world.cloud.client().json("PUT", &format!("/v1/collections/stock/records/{key}"), value).unwrap();
        assert!(answer.status < 300, "{answer}");
    };
    let since = world.cloud.client().get("/v1/collections/stock/records").unwrap().ok(200)["since"].as_str().unwrap().to_owned();
    put(&world, "between", &json!({"a": 1}));
    let mut events = client.events(&path(&since), &[]).unwrap();
    let all = events.until(|event| event.name == "ready");
    assert!(all.iter().any(|event| event.name == "record" && event.data["key"] == "between"), "{all:?}");
    // A node's write: its record and its outcome, also those that are rejected.
    let sold = world.edges[0].client().json("POST", "/v1/collections/stock/records/1/increment", &json!({"n": -3})).unwrap().ok(200);
    let mut told = Vec::new();
    events.until(|event| {
        told.push((event.name.clone(), event.data.clone()));
        told.iter().any(|(name, data)| name == "outcome" && data["id"] == sold["write"]["id"] && data["state"] == "applied")
            && told.iter().any(|(name, data)| name == "record" && data["value"]["n"] == 2)
    });
    world.edges[0].client().json("POST", "/v1/collections/stock/records/1/increment", &json!({"n": -30})).unwrap().ok(200);
    events.until(|event| event.name == "outcome" && event.data["state"] == "rejected");
    world.cloud.cli(&["record", "delete", "stock", "between"]).done();
    events.until(|event| event.data["key"] == "between" && event.data["deleted"] == true);
    // A restart is no gap either.
    let last = events.last.clone();
    put(&world, "missed", &json!({"a": 1}));
    world.cloud.kill();
    while events.next_event().is_some() {}
    world.cloud.start();
    let mut events = world.cloud.client().events("/v1/watch?since=0", &[("last-event-id", &last)]).unwrap();
    let all = events.until(|event| event.name == "ready");
    assert!(all.iter().any(|event| event.data["key"] == "missed") && all.iter().all(|event| event.name != "reset"), "{all:?}");
    // Everything, cut and resumed; a token in the query; others' tokens.
    let lines: String = (0..700).map(|id| format!("{{\"key\":\"k{id:04}\",\"value\":{{\"a\":{id}}}}}\n")).collect();
    let ndjson = [("content-type", "application/x-ndjson")];
    world.cloud.client().send("POST", "/v1/collections/stock/import", &ndjson, Some(lines.as_bytes())).unwrap().expect(200);
    let mut events =
        events.until(|event| event.data["key"] == "k0699").pop().map(|_| world.cloud.client().events(&path("0"), &[]).unwrap()).unwrap();
    let mut held = Held::new();
    (0..300).for_each(|_| take(&mut held, &events.event()));
    let mut events = world.cloud.client().events(&path(&events.last), &[]).unwrap();
    events.until(|event| {
        take(&mut held, event);
        event.name == "ready"
    });
    assert_eq!(held.len(), 702);
    let mut foreign = world.cloud.client().events(&path("0123456789abcdef.1"), &[]).unwrap();
    assert_eq!(foreign.event().name, "reset");
    let begun = Instant::now();
    world.cloud.stop();
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_stop_does_not_wait_for_watches() {
    let mut world = shop();
    let mut events = watch(&world.edges[0], "");
    events.event();
    let begun = Instant::now();
    world.edges[0].stop();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(events.next_event(), None);
}
