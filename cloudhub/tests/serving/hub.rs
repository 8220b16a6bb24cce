//! The hub under test, and its API's client.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use api::client::{Client, ClientError, Request, Secret, trusting};
use api::config::HostPort;
use cloudhub::config::{LinkConfig, Listen, QuicListen, ServeConfig};
use cloudhub::serve::Running;
use http::Method;
use proto::names::NodeName;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) struct Hub {
    pub(crate) running: Running,
    pub(crate) client: Client,
    pub(crate) data: Arc<TempDir>,
}

/// A configuration for free ports on this machine.
pub(crate) fn config(data: &TempDir) -> ServeConfig {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let data = data.path().join("data");
    ServeConfig { data, listen: Listen { ws: free, quic: QuicListen::At(free), api: free }, ..ServeConfig::default() }
}

impl Hub {
    pub(crate) async fn start() -> Self {
        Self::on(Arc::new(tempfile::tempdir().unwrap())).await
    }

    /// Starts with another pace of sessions, and so many snapshots at once.
    pub(crate) async fn paced(rate: u32, burst: u32, snapshots: u32) -> Self {
        let number = |value| NonZeroU32::new(value).unwrap();
        let link = LinkConfig { admit_rate: number(rate), admit_burst: number(burst), snapshots: number(snapshots) };
        Self::with(Arc::new(tempfile::tempdir().unwrap()), link).await
    }

    /// Starts on a folder that may have been used before.
    pub(crate) async fn on(data: Arc<TempDir>) -> Self {
        Self::with(data, LinkConfig::default()).await
    }

    async fn with(data: Arc<TempDir>, link: LinkConfig) -> Self {
        let running = Running::start(ServeConfig { link, ..config(&data) }).await.unwrap();
        let folder = config(&data).data;
        let token = std::fs::read_to_string(folder.join("admin.token")).unwrap();
        let client = client(&folder, running.api.port(), token.trim());
        Self { running, client, data }
    }

    pub(crate) async fn stop(self) -> Arc<TempDir> {
        self.running.stop().await.unwrap();
        self.data
    }

    pub(crate) async fn get(&self, segments: &[&str]) -> Result<Value, ClientError> {
        self.client.send(Request::get(segments)).await?.json().await
    }

    pub(crate) async fn send(&self, method: Method, segments: &[&str], body: Value) -> Result<Value, ClientError> {
        self.client.send(Request::new(method, segments).json(body.to_string())).await?.json().await
    }

    pub(crate) async fn post(&self, segments: &[&str], body: Value) -> Result<Value, ClientError> {
        self.send(Method::POST, segments, body).await
    }

    /// A merge collection with a counter, selected by everybody.
    pub(crate) async fn define(&self, name: &str) {
        let definition = json!({"policy": "merge", "edge": "read-write", "key": "id", "fields": {"stock": {"type": "counter"}}});
        self.send(Method::PUT, &["v1", "collections", name], definition).await.unwrap();
    }

    pub(crate) async fn import(&self, collection: &str, lines: String) -> Result<Value, ClientError> {
        let source = std::io::Cursor::new(lines.into_bytes());
        let request = Request::new(Method::POST, &["v1", "collections", collection, "import"]).upload(api::client::Upload::new(source));
        self.client.send(request).await?.json().await
    }

    /// A figure of the hub's metrics, as it is written there.
    pub(crate) async fn figure(&self, name: &str) -> u64 {
        let answer = self.client.send(Request::get(&["metrics"])).await.unwrap().bytes().await.unwrap();
        let text = String::from_utf8(answer.to_vec()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }

    pub(crate) async fn events(&self, node: &str) -> Vec<String> {
        let events = self.get(&["v1", "nodes", node, "events"]).await.unwrap();
        events["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
    }
}

/// A client with this token.
pub(crate) fn client(folder: &std::path::Path, port: u16, token: &str) -> Client {
    let ca = std::fs::read(folder.join("pki/ca.crt")).unwrap();
    let server = HostPort { host: "127.0.0.1".into(), port: Some(port) };
    Client::https(server, trusting(&ca).unwrap(), "ca.crt".into(), Secret::new(token).unwrap(), "start it".into())
}

/// The refusal in an error: its code, and its text.
pub(crate) fn refusal(result: Result<Value, ClientError>) -> (String, String) {
    match result.unwrap_err() {
        ClientError::Refused(refusal) => (refusal.code.clone(), refusal.detail.clone()),
        other => panic!("{other}"),
    }
}

pub(crate) fn node_name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}
