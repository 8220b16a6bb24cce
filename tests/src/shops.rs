//! A central server and its shops, in a scratch folder, on free ports.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use crate::http::Client;
use crate::process::{Process, command};
use crate::small_disk::SmallDisk;
use crate::until::until_shown;

/// A port that was free a moment ago: below the range that the kernel gives to outgoing connections, or one of those
/// could take it before a server does; and never the same one twice in a process.
pub fn free_port() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 11_000;
    const COUNT: u32 = 20_000;
    // Test processes run side by side: each begins elsewhere.
    let begin = std::process::id().wrapping_mul(7_919);
    for _ in 0..COUNT {
        let step = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + step % COUNT).expect("below 31,000");
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr().expect("its address");
        }
    }
    panic!("no port is free");
}

/// The same for UDP.
fn free_udp_port() -> SocketAddr {
    loop {
        let port = free_port();
        if UdpSocket::bind(port).is_ok() {
            return port;
        }
    }
}

/// What links run over where a test does not say it: `TOMBOLO_TRANSPORT`, by which the same tests run over another one. Never `auto`:
/// a run is to say of which transport it speaks.
pub fn transport() -> String {
    let named = std::env::var("TOMBOLO_TRANSPORT").unwrap_or_else(|_| "websocket".into());
    assert!(["websocket", "quic"].contains(&named.as_str()), "TOMBOLO_TRANSPORT is {named}: name websocket or quic");
    named
}

/// What most shops hold: a counter, records that are only added, and records that are changed.
pub const SHOP: &str = r#"
[[collection]]
name = "stock"
[collection.fields]
n = { type = "counter" }

[[collection]]
name = "sales"
policy = "append"

[[collection]]
name = "products"
"#;

/// Every record of these collections, as one side has it.
pub fn records(client: &mut Client, collections: &[&str]) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for collection in collections {
        let export = client.get(&format!("/v1/collections/{collection}/export")).expect("an answer").expect(200);
        for line in String::from_utf8(export.body).expect("UTF-8").lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            found.insert(format!("{collection}/{}", line["key"].as_str().expect("a key")), line["value"].clone());
        }
    }
    found
}

/// One cloudhub, running or not, on one data folder and fixed ports.
pub struct Cloud {
    /// Its data folder.
    pub data: PathBuf,
    /// The HTTPS API.
    pub api: SocketAddr,
    /// The WebSocket link.
    pub ws: SocketAddr,
    /// The QUIC link; none: it is off.
    pub quic: Option<SocketAddr>,
    process: Option<Process>,
    extra: Vec<String>,
}

/// One edgehub, running or not.
pub struct Edge {
    /// Its node name.
    pub name: String,
    /// Its data folder.
    pub data: PathBuf,
    /// The local HTTP API.
    pub api: SocketAddr,
    /// What its link runs over, from its next start on.
    pub transport: String,
    /// Where it finds the hub, over TCP and over UDP, from its next start on; none: where the join said.
    pub hub: Option<SocketAddr>,
    /// The broker that its devices speak at, `mqtt://…`, from its next start on.
    pub broker: Option<String>,
    process: Option<Process>,
    /// The folder whose files it serves beside its API.
    pages: Option<PathBuf>,
    extra: Vec<String>,
}

/// A scratch folder with a cloud and shops in it.
pub struct World {
    /// The cloud.
    pub cloud: Cloud,
    /// The shops, in the order they joined.
    pub edges: Vec<Edge>,
    /// Small disks under data folders, in the order they were asked for.
    pub disks: Vec<SmallDisk>,
    folder: TempDir,
}

impl World {
    /// A running cloud, and a joined and running node for each (name, labels).
    pub fn new(nodes: &[(&str, &[&str])]) -> Self {
        Self::on_small_disks(nodes, &[])
    }

    /// The same, where these data folders (`cloud`, or a node's name) are disks of so many MiB.
    pub fn on_small_disks(nodes: &[(&str, &[&str])], disks: &[(&str, u32)]) -> Self {
        let folder = tempfile::Builder::new().prefix("tombolo-").tempdir().expect("a scratch folder");
        let disks = disks.iter().map(|(name, mib)| SmallDisk::mount(&folder.path().join(name), *mib)).collect();
        let mut cloud = Cloud::new(folder.path());
        cloud.start();
        let mut world = Self { cloud, edges: Vec::new(), disks, folder };
        for (name, labels) in nodes {
            let mut edge = world.join(name, labels);
            edge.start();
            world.edges.push(edge);
        }
        world
    }

    /// The same, where every shop serves the till of `docs/examples/till` beside its API.
    pub fn with_tills(nodes: &[(&str, &[&str])]) -> Self {
        let mut world = Self::new(&[]);
        for (name, labels) in nodes {
            let mut edge = world.join(name, labels);
            edge.pages = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/till"));
            edge.start();
            world.edges.push(edge);
        }
        world
    }

    /// The scratch folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps the folder for a person to look at.
    pub fn keep(&mut self) {
        self.folder.disable_cleanup(true);
    }

    /// Joins one more node; it does not run yet.
    pub fn join(&self, name: &str, labels: &[&str]) -> Edge {
        let edge = Edge::new(self.folder.path(), name);
        let token = self.cloud.token(name, labels);
        let server = self.cloud.api.to_string();
        edge.cli(&["join", "--server", &server, "--token", &token, "--node", name]).done();
        edge
    }

    /// Another machine, with a data folder of its own, that joins under the name of one that is there. It does not run yet.
    pub fn replace(&self, name: &str, token: &str) -> Edge {
        let mut edge = Edge::new(self.folder.path(), &format!("{name}-new"));
        edge.name = name.into();
        self.join_with(&edge, token).done();
        edge
    }

    /// `edgehub join` of a machine, with whatever comes of it.
    pub fn join_with(&self, edge: &Edge, token: &str) -> Ended {
        edge.cli(&["join", "--server", &self.cloud.api.to_string(), "--token", token])
    }

    /// Waits until every running node has acknowledged all that it is entitled to, and has no write without an outcome; over the
    /// transport that it was told to use.
    #[track_caller]
    pub fn settle(&self) {
        for edge in self.edges.iter().filter(|edge| edge.process.is_some()) {
            let mut api = edge.client();
            let mut cloud = self.cloud.client();
            until_shown(&format!("{} in sync", edge.name), || {
                let before = status(&mut api, "/v1/status")?;
                let node = status(&mut cloud, &format!("/v1/nodes/{}", edge.name))?;
                let here = status(&mut api, "/v1/status")?;
                let seen = node["state"] == "online" && node["sync"]["state"] == "in-sync" && node["sync"]["lag_records"] == 0;
                let carried =
                    edge.transport == "auto" || [&node["transport"], &here["link"]["transport"]].iter().all(|own| **own == edge.transport);
                let settled = before["outbox"]["writes"] == 0 && seen && carried && here["sync"]["state"] == "in-sync";
                settled.then_some(()).ok_or_else(|| format!("{here}\n{node}"))
            });
        }
    }
}

impl Cloud {
    fn new(folder: &Path) -> Self {
        Self {
            data: folder.join("cloud"),
            api: free_port(),
            ws: free_port(),
            quic: Some(free_udp_port()),
            process: None,
            extra: Vec::new(),
        }
    }

    /// One more argument of `cloudhub serve`, from the next start on.
    pub fn argument(&mut self, text: &str) {
        self.extra.push(text.into());
    }

    /// The command that serves, not started yet.
    pub fn server(&self) -> Command {
        let [api, ws] = [self.api, self.ws].map(|address| address.to_string());
        let quic = self.quic.map_or_else(|| "off".to_owned(), |quic| quic.to_string());
        let data = self.data.display().to_string();
        let mut args = vec!["serve", "--data", &data, "--listen-api", &api, "--listen-ws", &ws];
        args.extend(["--listen-quic", &quic, "--advertise", &api]);
        args.extend(self.extra.iter().map(String::as_str));
        command("cloudhub", &args)
    }

    /// Starts it, and waits until it serves.
    pub fn start(&mut self) {
        let mut process = Process::start("cloudhub", self.server());
        process.line_with("serving");
        self.process = Some(process);
    }

    /// SIGTERM; panics unless it ends with 0.
    pub fn stop(&mut self) {
        let status = self.process().terminate();
        assert!(status.success(), "cloudhub ended with {status}\n{}", self.process().log());
        self.process = None;
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// The running process.
    #[track_caller]
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("cloudhub runs")
    }

    /// An administrator's client.
    pub fn client(&self) -> Client {
        let token = std::fs::read_to_string(self.data.join("admin.token")).expect("the admin token");
        Client::tls(self.api, &self.data.join("pki/ca.crt"), token.trim())
    }

    /// A client verb of `cloudhub`, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = command("cloudhub", args);
        command.arg("--server").arg(format!("https://{}", self.api)).arg("--data").arg(&self.data);
        command
    }

    /// Runs a client verb of `cloudhub`.
    pub fn cli(&self, args: &[&str]) -> Ended {
        Ended::new("cloudhub", args, self.command(args).output().expect("cloudhub starts"))
    }

    /// A join token for one node.
    pub fn token(&self, node: &str, labels: &[&str]) -> String {
        let mut args = vec!["token", "create", "--node", node];
        labels.iter().for_each(|label| args.extend(["--label", label]));
        self.cli(&args).done().trim().to_owned()
    }

    /// Applies a TOML file of definitions.
    pub fn define(&self, toml: &str) -> String {
        let file = self.data.with_extension("collections.toml");
        std::fs::write(&file, toml).expect("a scratch file");
        self.cli(&["collection", "apply", "-f", &file.display().to_string()]).done()
    }

    /// One record as the cloud has it; none: 404.
    pub fn record(&self, collection: &str, key: &str) -> Option<Value> {
        record(&mut self.client(), collection, key)
    }
}

impl Edge {
    /// A machine that has not joined.
    pub fn new(folder: &Path, name: &str) -> Self {
        Self {
            name: name.into(),
            data: folder.join(name),
            api: free_port(),
            process: None,
            pages: None,
            extra: Vec::new(),
            transport: transport(),
            hub: None,
            broker: None,
        }
    }

    /// One more argument of `edgehub run`, from the next start on.
    pub fn argument(&mut self, text: &str) {
        self.extra.push(text.into());
    }

    /// Adds to the configuration in its data folder, from the next start on.
    pub fn configure(&self, toml: &str) {
        let file = self.data.join("edgehub.toml");
        let text = std::fs::read_to_string(&file).expect("a machine that has joined");
        std::fs::write(&file, format!("{text}\n{toml}\n")).expect("its configuration");
    }

    /// The command that serves, not started yet.
    pub fn server(&self) -> Command {
        let (data, api) = (self.data.display().to_string(), self.api.to_string());
        let mut command = command("edgehub", &["run", "--data", &data, "--listen", &api]);
        command.args(&self.extra);
        command.env("EDGEHUB_LINK_TRANSPORT", &self.transport);
        if let Some(hub) = self.hub {
            command.env("EDGEHUB_LINK_SERVERS", hub.to_string()).env("EDGEHUB_LINK_QUIC_PORT", hub.port().to_string());
        }
        command.envs(self.pages.iter().map(|folder| ("EDGEHUB_API_STATIC", folder)));
        // Whatever broker this machine has is none of the tests'.
        match &self.broker {
            Some(broker) => command.env("EDGEHUB_MQTT_BROKER", broker),
            None => command.env("EDGEHUB_MQTT_MODE", "off"),
        };
        command
    }

    /// Starts it, and waits until it serves.
    pub fn start(&mut self) {
        let mut process = Process::start(&self.name, self.server());
        process.line_with("serving");
        self.process = Some(process);
    }

    /// SIGTERM; panics unless it ends with 0.
    pub fn stop(&mut self) {
        let status = self.process().terminate();
        assert!(status.success(), "edgehub ended with {status}\n{}", self.process().log());
        self.process = None;
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// The running process.
    #[track_caller]
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("edgehub runs")
    }

    /// An application's client.
    pub fn client(&self) -> Client {
        Client::tcp(self.api)
    }

    /// A verb of `edgehub` on this data folder, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = command("edgehub", args);
        command.arg("--data").arg(&self.data);
        command
    }

    /// Runs a verb of `edgehub` on this data folder.
    pub fn cli(&self, args: &[&str]) -> Ended {
        Ended::new("edgehub", args, self.command(args).output().expect("edgehub starts"))
    }

    /// One record as a local reader sees it; none: 404.
    pub fn record(&self, collection: &str, key: &str) -> Option<Value> {
        record(&mut self.client(), collection, key)
    }
}

/// A command that has ended.
pub struct Ended {
    line: String,
    /// What it printed, and how it ended.
    pub output: Output,
}

impl Ended {
    fn new(name: &str, args: &[&str], output: Output) -> Self {
        Self { line: format!("{name} {}", args.join(" ")), output }
    }

    /// Its standard output; panics unless it ended with 0.
    #[track_caller]
    pub fn done(self) -> String {
        assert!(self.output.status.success(), "{}: {}\n{}", self.line, self.output.status, self.stderr());
        String::from_utf8(self.output.stdout).expect("UTF-8")
    }

    /// Its standard error; panics unless it ended with `code`.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.output.status.code(), Some(code), "{}: {}", self.line, self.stderr());
        self.stderr()
    }

    /// Its standard error.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }
}

fn status(client: &mut Client, path: &str) -> Result<Value, String> {
    let answer = client.get(path).map_err(|error| format!("{path}: {error}"))?;
    if answer.status == 200 { Ok(answer.json()) } else { Err(answer.to_string()) }
}

fn record(client: &mut Client, collection: &str, key: &str) -> Option<Value> {
    let answer = client.get(&format!("/v1/collections/{collection}/records/{}", escape(key))).expect("an answer");
    if answer.status == 404 { None } else { Some(answer.ok(200)["value"].clone()) }
}

/// Percent-encodes one path segment.
pub fn escape(segment: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    segment.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
