//! The HTTP surface of both hubs, from the request's first line to the store and back: every parameter, header, token, cursor, body and
//! statement that is read there. An input is a request as text, `METHOD PATH`, headers a line each, a blank line, the body; more
//! requests follow after a line with `~`.
//!
//! Whatever comes, no answer is a 500, each refusal is a problem with its code, what says that it is JSON is, and the records can be
//! read afterwards. The hubs are real but for their sockets; their files are put back as they were every few hundred inputs.

use std::cell::RefCell;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use api::http::{Hosts, ServerOptions};
use axum::Router;
use axum::body::Body;
use cloudhub::engine::{Engine, Setup, Threads};
use cloudhub::http::{Access, CloudHub, JoinAnswers};
use cloudhub::peers::{Gate, Registry};
use cloudhub::pki::Pki;
use cloudhub::store::{OpenOptions, SqliteStore};
use edgehub::link::{Board, Verification, Volume};
use edgehub::local::LocalHub;
use http::{Request, Response};
use http_body_util::BodyExt;
use metamanager::{Metamanager, Options};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};
use tower::ServiceExt;

use super::Memory;
use crate::lab::words::{add, merge, node, put};
use crate::lab::{Lab, Side};

/// Inputs on one pair of files.
const ROUND: u32 = 400;
/// How long an answer may take that waits for something that does not happen: a watch, `wait=30`.
const PATIENCE: Duration = Duration::from_millis(40);
/// What one request may hold: the largest body as bytes, text and JSON, and a page of an answer.
const HELD: usize = 48 * 1024 * 1024;

const PRODUCTS: &str = r#"{"key":"id","indexes":["name","price,-n"],"fields":{"n":{"type":"counter","min":0},"price":{"edge":"read-only"}},
    "schema":{"type":"object","properties":{"name":{"type":"string","maxLength":40},"price":{"type":"number"}}}}"#;
const TALLY: &str = r#"{"fields":{"n":{"type":"counter"}}}"#;
const LOG: &str = r#"{"policy":"append","key":"a/b"}"#;
const ORDERS: &str =
    r#"{"policy":"guarded","fields":{"status":{"guard":true,"initial":["new"],"transitions":{"new":["paid"],"paid":["sent"]}}}}"#;

/// A hub without its sockets.
struct Hub {
    router: Router,
    runtime: Runtime,
    /// What a request without `Authorization` gets.
    token: Option<String>,
    threads: Option<Threads>,
    /// Inputs so far.
    asked: u32,
    _folder: TempDir,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.router = Router::new();
        self.threads.take().into_iter().for_each(Threads::stop);
    }
}

thread_local! {
    static EDGE: RefCell<Option<Hub>> = const { RefCell::new(None) };
    static CLOUD: RefCell<Option<Hub>> = const { RefCell::new(None) };
}

/// The local API of a node.
pub(super) fn edge(bytes: &[u8], memory: &Memory) {
    EDGE.with_borrow_mut(|hub| on(hub, open_edge, bytes, memory));
}

/// The cloud's API, asked by an administrator, unless the request says otherwise.
pub(super) fn cloud(bytes: &[u8], memory: &Memory) {
    CLOUD.with_borrow_mut(|hub| on(hub, open_cloud, bytes, memory));
}

fn on(place: &mut Option<Hub>, open: fn() -> Hub, bytes: &[u8], memory: &Memory) {
    let hub = match place.take().filter(|hub| hub.asked < ROUND) {
        Some(hub) => place.insert(hub),
        None => place.insert(open()),
    };
    hub.asked += 1;
    let text = String::from_utf8_lossy(bytes);
    let requests: Vec<_> = text.split("\n~\n").take(8).filter_map(|text| request(text, hub.token.as_deref())).collect();
    let mut undefined = false;
    for request in requests {
        undefined |= request.method() != http::Method::GET && request.uri().path().matches('/').count() == 3;
        let said = format!("{} {}", request.method(), request.uri());
        memory.within(HELD, || hub.runtime.block_on(ask(&hub.router, &said, request)));
    }
    if hub.asked.is_multiple_of(50) && !undefined {
        let list = request("GET /v1/status", hub.token.as_deref()).expect("a request");
        hub.runtime.block_on(ask(&hub.router, "GET /v1/status", list));
    }
    if undefined {
        // Definitions may be others now, or tokens gone: the next input finds what it expects.
        *place = None;
    }
}

/// None: no HTTP library would let it through.
fn request(text: &str, token: Option<&str>) -> Option<Request<Body>> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let (method, path) = lines.next()?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(path);
    let mut proved = false;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        proved |= name.eq_ignore_ascii_case("authorization");
        request = request.header(name, value.trim());
    }
    if let Some(token) = token.filter(|_| !proved) {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Body::from(body.to_owned())).ok()
}

async fn ask(router: &Router, said: &str, request: Request<Body>) {
    let Ok(answer) = tokio::time::timeout(PATIENCE, router.clone().oneshot(request)).await else { return };
    judge(said, answer.unwrap()).await;
}

async fn judge(said: &str, answer: Response<Body>) {
    let (head, mut body) = answer.into_parts();
    let kind = head.headers.get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
    let mut bytes = Vec::new();
    // A watch has no end.
    let patience = if kind == "text/event-stream" { PATIENCE / 20 } else { PATIENCE };
    let whole = tokio::time::timeout(patience, async {
        while let Some(frame) = body.frame().await {
            bytes.extend_from_slice(&frame.ok().and_then(|frame| frame.into_data().ok()).unwrap_or_default());
        }
    });
    let whole = whole.await.is_ok();
    let text = String::from_utf8(bytes).unwrap_or_else(|_| panic!("{said}: not UTF-8"));
    let status = head.status.as_u16();
    assert!(status != 500, "{said}: {text}");
    assert!(head.headers.contains_key("request-id"), "{said}: no Request-Id");
    if !whole || text.is_empty() {
        return;
    }
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap_or_else(|error| panic!("{said}: {error}: {text}"));
    match kind.as_str() {
        "application/problem+json" => {
            let problem = json(&text);
            assert!(status >= 400 && problem["status"] == status && problem["code"].is_string(), "{said}: {problem}");
        }
        "application/json" => assert!(status < 400 && !json(&text).is_null(), "{said}: {status} {text}"),
        "application/x-ndjson" => text.lines().for_each(|line| drop(json(line))),
        _ => assert!(status < 400, "{said}: {status} {kind} {text}"),
    }
}

/// The database files of both, as one fleet made them.
fn images() -> &'static [Vec<u8>; 2] {
    static IMAGES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let mut lab = Lab::with(&[("products", PRODUCTS), ("tally", TALLY), ("log", LOG), ("orders", ORDERS)], &["lyon"]);
        lab.define_devices();
        for id in 0..12 {
            lab.in_cloud(vec![put("products", &id.to_string(), &format!(r#"{{"id":{id},"name":"tea {id}","price":{id}.5,"n":20}}"#))]);
        }
        lab.in_cloud(vec![put("tally", "1", r#"{"n":20}"#), put("orders", "1", r#"{"status":"new"}"#)]);
        lab.in_cloud(vec![put("_device_models", "boiler", r#"{"properties":{"temp":{"type":"int","access":"read-write","minimum":0}}}"#)]);
        lab.converge(60_000);
        // A conflict, and a write that waits.
        lab.online(0, false);
        lab.cut(0);
        lab.write(0, vec![merge("products", "1", r#"{"name":"mine"}"#)]);
        lab.in_cloud(vec![merge("products", "1", r#"{"name":"yours"}"#)]);
        lab.online(0, true);
        lab.converge(60_000);
        lab.online(0, false);
        lab.cut(0);
        lab.write(0, vec![add("tally", "1", "n", -3)]);
        [lab.image(Side::Edge(0)), lab.image(Side::Cloud)]
    })
}

fn scratch(name: &str, image: &[u8]) -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    std::fs::write(folder.path().join(name), image).unwrap();
    folder
}

pub(super) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn options(folder: &Path) -> ServerOptions {
    ServerOptions { hosts: Hosts::Any, origins: Vec::new(), spool: folder.to_owned(), files: None, version: env!("CARGO_PKG_VERSION") }
}

/// A node's database with its threads.
pub(super) fn open_node() -> (TempDir, Metamanager) {
    let folder = scratch("edge.db", &images()[0]);
    let clock = edgehub::clock::SystemClock::new();
    let own = Options { node: Some(node("lyon")), ..Options::default() };
    let store = Metamanager::open(&folder.path().join("edge.db"), own, Arc::new(move || clock.now())).unwrap();
    (folder, store)
}

fn open_edge() -> Hub {
    let (folder, store) = open_node();
    let clock = edgehub::clock::SystemClock::new();
    let data = folder.path().to_owned();
    let hub = LocalHub {
        store,
        node: Arc::new(OnceLock::from(node("lyon"))),
        board: Arc::new(Board::new(clock.now().wall_ms)),
        verification: Arc::new(Verification::new(Arc::new(Notify::new()))),
        volume: Arc::new(Volume::open(&data, None, clock.now())),
        answered: watch::channel(()).1,
        changes: watch::channel(()).1,
        clock,
        data: data.clone(),
        tally: Arc::default(),
        access: edgehub::local::Access::new(false),
        queries: edgehub::local::Turns::default(),
        bus: (Arc::default(), edgehub::config::MqttConfig::default()),
    };
    let router = api::http::edge::router(Arc::new(hub), options(&data));
    Hub { router, runtime: runtime(), token: None, threads: None, asked: 0, _folder: folder }
}

fn open_cloud() -> Hub {
    let folder = scratch("cloudhub.db", &images()[1]);
    let clock = cloudhub::clock::SystemClock::new();
    let data = folder.path().to_owned();
    let registry = Arc::new(Registry::default());
    let store = OpenOptions { data: data.clone() };
    let setup = Setup {
        open: Box::new(move || SqliteStore::open(&store, clock.wall_ms(), &mut || 7)),
        clock,
        witness: Arc::clone(&registry) as Arc<_>,
        has_room: Box::new(|| true),
        reopen_pause: (Duration::from_millis(1), Duration::from_millis(1)),
    };
    let (engine, threads) = Engine::start(setup).unwrap();
    let hub = CloudHub {
        engine,
        registry,
        gate: Arc::new(Gate::new(cloudhub::config::LinkConfig::default().gate(), &[7; 32])),
        pki: Arc::new(Pki::open(&data, &["localhost".to_owned()], clock.system()).unwrap()),
        access: Access::open(&data).unwrap(),
        joins: JoinAnswers::default(),
        servers: transport::join::Servers::default(),
        listen: Default::default(),
        clock,
        started_ms: clock.wall_ms(),
        data: data.clone(),
    };
    let token = std::fs::read_to_string(data.join("admin.token")).unwrap().trim().to_owned();
    let router = api::http::cloud::router(Arc::new(hub), options(&data));
    Hub { router, runtime: runtime(), token: Some(token), threads: Some(threads), asked: 0, _folder: folder }
}
