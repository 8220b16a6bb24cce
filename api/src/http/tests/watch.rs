//! Server-sent events: what they look like, where they begin, how they end.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::serve::{Listening, serve};
use super::*;
use crate::limits::{STALL_TIME, WATCH_BEAT, WATCHES};

struct Served {
    api: Api,
    address: std::net::SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

async fn served() -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let api = Api::edge();
    let (stop, stopping) = watch::channel(false);
    let task = tokio::spawn(serve(Listening::Tcp(listener), api.router.clone(), stopping));
    Served { api, address, stop, task }
}

/// One open watch, read line by line.
struct Stream {
    reader: BufReader<TcpStream>,
    head: String,
}

#[derive(Debug, PartialEq)]
struct Event {
    id: String,
    name: String,
    data: Value,
}

impl Stream {
    async fn open(address: std::net::SocketAddr, query: &str, header: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /v1/watch{query} HTTP/1.1\r\nhost: {address}\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).await.unwrap(), 0, "{head}");
        }
        Self { reader, head }
    }

    /// The next line that is neither a chunk's size nor its end; none: the stream has ended.
    async fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).await.unwrap() == 0 || line == "0\r\n" {
                return None;
            }
            if !line.ends_with("\r\n") {
                return Some(line.trim_end().to_owned());
            }
        }
    }

    async fn event(&mut self) -> Event {
        let (mut id, mut name) = (String::new(), String::new());
        loop {
            let line = self.line().await.unwrap();
            match line.split_once(": ") {
                Some(("id", text)) => id = text.to_owned(),
                Some(("event", text)) => name = text.to_owned(),
                Some(("data", text)) => return Event { id, name, data: serde_json::from_str(text).unwrap() },
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn events_have_their_form_and_go_on_from_any_id() {
    let served = served().await;
    served.api.put("/v1/collections/notes/records/1", "{\"a\":\n1}").answer().await.ok(201);
    let mut all = Stream::open(served.address, "?since=0", "").await;
    assert!(all.head.starts_with("HTTP/1.1 200") && all.head.contains("content-type: text/event-stream\r\n"), "{}", all.head);
    assert!(all.head.contains("cache-control: no-store") && all.head.contains("request-id: "), "{}", all.head);
    assert_eq!(all.line().await.unwrap(), "retry: 2000");
    let first = all.event().await;
    assert_eq!((first.name.as_str(), &first.data["key"], &first.data["value"]), ("record", &"1".into(), &serde_json::json!({"a": 1})));
    let ready = all.event().await;
    assert_eq!((ready.name.as_str(), ready.data), ("ready", serde_json::json!({})));
    let mut now = Stream::open(served.address, "?collection=notes", "").await;
    assert_eq!(now.event().await.name, "ready");
    served.api.put("/v1/collections/notes/records/2", "{}").answer().await.ok(201);
    served.api.put("/v1/collections/products/records/3", "{}").answer().await.ok(201);
    served.api.delete("/v1/collections/notes/records/2").answer().await.ok(200);
    let mut names = Vec::new();
    let mut last = String::new();
    for _ in 0..6 {
        let event = all.event().await;
        names.push(format!("{} {}", event.name, event.data["key"].as_str().or(event.data["id"].as_str()).unwrap()));
        last = event.id;
    }
    assert_eq!(names, ["record 2", "outcome cloud:2", "record 3", "outcome cloud:3", "record 2", "outcome cloud:4"]);
    assert_eq!(now.event().await.data["deleted"], true, "record 2 as it is now");
    // The header goes before the query, and both go on from where they say.
    let mut on = Stream::open(served.address, "?since=0", &format!("Last-Event-ID: {last}\r\n")).await;
    assert_eq!(on.event().await.name, "ready");
    let mut foreign = Stream::open(served.address, "?since=e9.99", "").await;
    let reset = foreign.event().await;
    assert_eq!((reset.name.as_str(), reset.data, reset.id), ("reset", serde_json::json!({}), last.clone()));
    served.api.put("/v1/collections/notes/records/4", "{}").answer().await.ok(201);
    assert_eq!(foreign.event().await.data["key"], "4", "it goes on by itself, without a word of being ready");
    served.stop.send(true).unwrap();
    served.task.await.unwrap();
}

#[tokio::test]
async fn a_stop_ends_watches_at_once() {
    let served = served().await;
    let mut open = Stream::open(served.address, "", "").await;
    assert_eq!(open.event().await.name, "ready");
    // One that reads nothing any more, with more to come than any buffer takes.
    let mut stuck = Stream::open(served.address, "?since=0", "").await;
    assert_eq!(stuck.event().await.name, "ready");
    served.stop.send(true).unwrap();
    while open.line().await.is_some() {}
    served.task.await.unwrap();
}

#[tokio::test]
async fn refusals_come_before_the_stream() {
    let api = Api::guarded();
    for (path, status, code) in [
        ("/v1/watch?collection=nowhere", 404, "not_found"),
        ("/v1/watch?collection=No", 404, "not_found"),
        ("/v1/watch?collections=notes", 400, "bad_request"),
        ("/v1/watch?since=1&since=2", 400, "bad_request"),
    ] {
        api.get(path).token("viewer").answer().await.refused(status, code);
    }
    api.get("/v1/watch").answer().await.refused(401, "unauthorized");
    api.get("/v1/watch?access_token=wrong").answer().await.refused(401, "unauthorized");
    api.get("/v1/watch?collection=products").token("notes-editor").answer().await.refused(403, "not_entitled");
    // The query's token is taken here, and nowhere else.
    let open = api.open("/v1/watch?access_token=viewer").await;
    assert_eq!(open.status(), 200);
    api.get("/v1/collections?access_token=viewer").answer().await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_full_house_answers_429_and_a_place_is_given_back() {
    let api = Api::edge();
    let mut open = Vec::new();
    for _ in 0..WATCHES {
        open.push(api.open("/v1/watch").await);
    }
    assert!(open.iter().all(|answer| answer.status() == 200));
    api.get("/v1/watch").answer().await.refused(429, "rate");
    let shown = api.get("/metrics").answer().await.body;
    assert!(shown.contains(&format!("tombolo_watches {WATCHES}\n")), "{shown}");
    open.pop();
    assert_eq!(api.open("/v1/watch").await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_comment_comes_every_15_seconds_and_says_how_far_it_is() {
    let api = Api::edge();
    let mut body = api.open("/v1/watch?collection=notes").await.into_body();
    let mut chunk = async || String::from_utf8(body.frame().await.unwrap().unwrap().into_data().unwrap().to_vec()).unwrap();
    assert!(chunk().await.ends_with("id: f0\nevent: ready\ndata: {}\n\n"));
    let begun = tokio::time::Instant::now();
    assert_eq!(chunk().await, ":\n\n");
    assert_eq!(begun.elapsed(), WATCH_BEAT);
    api.put("/v1/collections/products/records/1", "{}").answer().await.ok(201);
    assert_eq!(chunk().await, ":\n\nid: f1\n\n", "nothing for this watch, and yet it need not look at that again");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_revoked_ends_its_watch() {
    let api = Api::guarded();
    let mut body = api.open("/v1/watch?access_token=viewer").await.into_body();
    assert!(body.frame().await.is_some());
    api.hub.revoke_all();
    assert!(body.frame().await.is_none());
}

/// The socket takes nothing more and nobody reads: the connection goes, its place is free, and what did it is counted.
#[tokio::test(start_paused = true)]
async fn who_reads_nothing_is_cut_off() {
    let (near, mut far) = tokio::io::duplex(4_096);
    let api = Api::edge();
    api.hub.fill(20_000);
    let (stop, stopping) = watch::channel(false);
    let router = api.router.clone();
    let task = tokio::spawn(super::super::serve::http(Box::new(near), Peer::Unix, router, stopping));
    far.write_all(b"GET /v1/watch?since=0 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut start = [0; 1_000];
    far.read_exact(&mut start).await.unwrap();
    let begun = tokio::time::Instant::now();
    task.await.unwrap();
    assert!(begun.elapsed() >= STALL_TIME && begun.elapsed() < 2 * STALL_TIME, "{:?}", begun.elapsed());
    let shown = api.get("/metrics").answer().await.body;
    assert!(shown.contains("tombolo_watches 0\n") && shown.contains("tombolo_watches_cut_total 1\n"), "{shown}");
    drop(stop);
}
