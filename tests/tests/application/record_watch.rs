//! `record watch` as a process: it goes on whatever becomes of the hub, and ends when it is told to.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};

use serde_json::{Value, json};
use tests::shops::World;
use tests::until::PATIENCE;

const DEFINITIONS: &str = r#"
[[collection]]
name = "stock"
[collection.fields]
n = { type = "counter", min = 0, on_violation = "reject" }
"#;

fn shop() -> World {
    let world = World::new(&[("lyon", &[])]);
    world.cloud.define(DEFINITIONS);
    world.cloud.cli(&["record", "put", "stock", "1", r#"{"n":5}"#]).done();
    world.settle();
    world
}

/// A running watch, read line by line.
struct Watching {
    child: Child,
    lines: Receiver<String>,
}

impl Watching {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (lines_in, lines) = sync_channel(1_024);
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| lines_in.send(line)));
        Self { child, lines }
    }

    #[track_caller]
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("no line in {PATIENCE:?}: {error}"))
    }

    /// Waits for lines with these beginnings and ends, in any order: a record comes where its newest version is, and the outcome of
    /// a write makes a newer one.
    #[track_caller]
    fn all(&self, wanted: [(&str, &str); 2]) {
        let mut missing = wanted.to_vec();
        while !missing.is_empty() {
            let line = self.line();
            assert_ne!(line, "reset");
            missing.retain(|(start, end)| !(line.starts_with(start) && line.ends_with(end)));
        }
    }

    /// The first event that `wanted` takes; each line is one.
    #[track_caller]
    fn event(&self, wanted: impl Fn(&str, &Value) -> bool) -> Value {
        loop {
            let event: Value = serde_json::from_str(&self.line()).unwrap();
            if wanted(event["event"].as_str().unwrap(), &event["data"]) {
                return event;
            }
        }
    }

    /// How it ends after a signal, and what it has said beside the events.
    fn end(mut self, signal: &str) -> (ExitStatus, String) {
        let sent = Command::new("kill").args([format!("-{signal}"), self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        let mut notes = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut notes).unwrap();
        (self.child.wait().unwrap(), notes)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn put(world: &World, key: &str, value: &Value) {
    let path = format!("/v1/collections/stock/records/{key}");
    let answer = world.edges[0].client().json("PUT", &path, value).unwrap();
    assert!(answer.status < 300, "{answer}");
}

#[test]
fn an_edge_is_watched_through_its_restarts() {
    let mut world = shop();
    let watch = Watching::start(world.edges[0].command(&["record", "watch", "stock"]));
    assert_eq!(watch.line(), "ready");
    put(&world, "a", &json!({"a": 1}));
    watch.all([("record  stock/a  ", "  {\"a\":1}"), ("outcome  lyon:", "  applied")]);
    for (kill, key) in [(false, "stopped"), (true, "killed")] {
        put(&world, key, &json!({}));
        if kill {
            world.edges[0].kill()
        } else {
            world.edges[0].stop()
        }
        world.cloud.cli(&["record", "put", "stock", &format!("while-{key}"), "{}"]).done();
        world.edges[0].start();
        watch.all([(&format!("record  stock/{key}  "), ""), (&format!("record  stock/while-{key}  "), "")]);
    }
    world.cloud.cli(&["record", "delete", "stock", "a"]).done();
    while watch.line() != "record  stock/a  deleted" {}
    let (status, notes) = watch.end("TERM");
    assert_eq!(status.code(), Some(0), "{notes}");
    assert_eq!(notes.lines().filter(|note| note.contains("was cut off")).count(), 2, "{notes}");
}

#[test]
fn the_cloud_is_watched_with_a_token() {
    let mut world = shop();
    let watch = Watching::start(world.cloud.command(&["record", "watch", "stock", "--since", "0", "-o", "json"]));
    let first = watch.event(|name, _| name == "record");
    let seen = world.cloud.client().get("/v1/collections/stock/records/1").unwrap().ok(200);
    assert_eq!(first["data"], seen, "what the API says of it");
    watch.event(|name, _| name == "ready");
    world.edges[0].client().json("POST", "/v1/collections/stock/records/1/increment", &json!({"n": -3})).unwrap().ok(200);
    let sold = watch.event(|name, data| name == "record" && data["value"]["n"] == 2);
    put(&world, "before", &json!({}));
    watch.event(|name, data| name == "record" && data["key"] == "before");
    world.cloud.kill();
    world.cloud.start();
    put(&world, "after", &json!({}));
    watch.event(|name, data| {
        assert_ne!(name, "reset");
        name == "record" && data["key"] == "after"
    });
    let (status, notes) = watch.end("INT");
    assert_eq!((status.code(), notes.lines().count()), (Some(0), 1), "{notes}");
    // An id is a place to begin at.
    let id = sold["id"].as_str().unwrap();
    let again = Watching::start(world.cloud.command(&["record", "watch", "stock", "--since", id, "-o", "json"]));
    again.event(|name, data| {
        assert_ne!((name, &data["key"]), ("record", &json!("1")));
        name == "record" && data["key"] == "before"
    });
}

#[test]
fn a_watch_ends_with_its_reader_and_where_it_may_not_be() {
    let world = shop();
    let mut head = world.edges[0].command(&["record", "watch", "stock"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(head.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    drop(output);
    put(&world, "unread", &json!({}));
    assert_eq!(head.wait().unwrap().code(), Some(0));
    // One that does not read is no reason not to end: a pipe holds 64 KiB.
    let mut deaf = world.edges[0].command(&["record", "watch", "stock"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(deaf.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    put(&world, "huge", &json!({"text": "x".repeat(500_000)}));
    output.read_exact(&mut [0]).unwrap();
    assert!(Command::new("kill").arg(deaf.id().to_string()).status().unwrap().success());
    assert_eq!(deaf.wait().unwrap().code(), Some(0));
    for ended in [world.edges[0].cli(&["record", "watch", "nothing"]), world.cloud.cli(&["record", "watch", "stock", "nothing"])] {
        let told = ended.failed(1);
        assert!(told.contains("nothing") && told.contains("(not_found)"), "{told}");
    }
    world.edges[0].cli(&["record", "watch"]).failed(2);
}
