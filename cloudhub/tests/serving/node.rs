//! A node whose session is driven by hand: no database, only what the test looks at.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use proto::clock::Hlc;
use proto::frame::{Batch, Content, Entry, Fill, Grants, Held, Hello, NumberedWrite, Piece, Welcome};
use proto::ids::{Cursor, DatabaseId, EpochStart, Position};
use proto::op::{Op, Outcome, Write};
use proto::session::End;
use proto::session::edge::{Durable, EdgeSession, Effect};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ClientConfig;
use serde_json::{Value, json};
use transport::address::HostPort;
use transport::any::{AnyLink, AnyRx, AnyTx};
use transport::dial::ConnectError;
use transport::link::{Link, LinkRx, LinkTx, Received, TransportKind};
use transport::tls::{Credentials, certificates, link_client_config};
use transport::token::JoinToken;
use transport::ws::{WsLink, connect};

use crate::hub::Hub;

/// A machine that has joined.
pub(crate) struct Machine {
    pub(crate) key: KeyPair,
    pub(crate) answer: Value,
    pub(crate) tls: Arc<ClientConfig>,
}

pub(crate) fn new_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

pub(crate) fn csr(key: &KeyPair) -> String {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

/// What a node with this key shows.
pub(crate) fn tls_of(key: &KeyPair, certificate: &str, ca: &str) -> Arc<ClientConfig> {
    let own = Credentials::from_pem(certificate, &key.serialize_pem()).unwrap();
    link_client_config(&own, &certificates(ca).unwrap(), Arc::new(SystemTime::now)).unwrap()
}

/// The body of a join with a token.
pub(crate) fn join_body(token: &str, key: &KeyPair, node: Option<&str>) -> Value {
    let token: JoinToken = token.parse().unwrap();
    json!({"secret": token.secret().to_text(), "node": node, "csr": csr(key), "version": "test"})
}

impl Machine {
    /// Makes a token for the node and joins with it.
    pub(crate) async fn join(hub: &Hub, node: &str) -> Self {
        let token = hub.post(&["v1", "join-tokens"], json!({"node": node})).await.unwrap();
        let key = new_key();
        let body = join_body(token["token"].as_str().unwrap(), &key, None);
        let answer = hub.post(&["v1", "join"], body).await.unwrap();
        Self::of(key, answer)
    }

    pub(crate) fn of(key: KeyPair, answer: Value) -> Self {
        let tls = tls_of(&key, answer["certificate"].as_str().unwrap(), answer["ca"].as_str().unwrap());
        Self { key, answer, tls }
    }

    pub(crate) async fn link(&self, hub: &Hub) -> Result<WsLink, ConnectError> {
        connect(&server(hub), Arc::clone(&self.tls)).await
    }

    /// A link over each transport.
    pub(crate) async fn link_over(&self, hub: &Hub, transport: TransportKind) -> AnyLink {
        self.link_at((hub.running.websocket, hub.running.quic), transport).await
    }

    /// The same, where a hub listens.
    pub(crate) async fn link_at(&self, listens: Listens, transport: TransportKind) -> AnyLink {
        self.try_link(listens, transport).await.unwrap()
    }

    /// The same, where it may fail.
    pub(crate) async fn try_link(&self, listens: Listens, transport: TransportKind) -> Result<AnyLink, ConnectError> {
        let tls = Arc::clone(&self.tls);
        let at = |address: SocketAddr| HostPort { host: address.ip().to_string(), port: address.port() };
        match transport {
            TransportKind::Quic => transport::quic::connect(&at(listens.1.unwrap()), tls).await.map(AnyLink::from),
            _ => connect(&at(listens.0), tls).await.map(AnyLink::from),
        }
    }
}

/// Where a hub listens for WebSocket and for QUIC.
pub(crate) type Listens = (SocketAddr, Option<SocketAddr>);

/// The hub's link.
pub(crate) fn server(hub: &Hub) -> HostPort {
    HostPort { host: "127.0.0.1".into(), port: hub.running.websocket.port() }
}

/// What a node keeps between sessions.
#[derive(Clone)]
pub(crate) struct Memory {
    pub(crate) database: DatabaseId,
    pub(crate) session: u64,
    pub(crate) epochs: Vec<EpochStart>,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) grants: Grants,
    pub(crate) fills: Vec<Fill>,
    pub(crate) records: BTreeMap<(String, String), String>,
    pub(crate) outbox: Vec<NumberedWrite>,
    pub(crate) outcomes: BTreeMap<u64, Outcome>,
    pub(crate) ticket: Vec<u8>,
}

impl Memory {
    pub(crate) fn new(database: u8) -> Self {
        Self {
            database: DatabaseId([database; 16]),
            session: 0,
            epochs: Vec::new(),
            cursor: None,
            grants: Grants::default(),
            fills: Vec::new(),
            records: BTreeMap::new(),
            outbox: Vec::new(),
            outcomes: BTreeMap::new(),
            ticket: Vec::new(),
        }
    }

    pub(crate) fn write(&mut self, op: Op) {
        let write =
            Write { hlc: Hlc::from_ms(1), at_ms: 1, actor: Some("till".into()), request_id: None, idempotency: None, ops: vec![op] };
        let number = self.outbox.len() as u64 + 1;
        self.outbox.push(NumberedWrite { number, bytes: write.encode(), rejected: false, hash: None, fork: None, part: None });
    }

    fn hello(&self) -> Hello {
        let pending = self.outbox.iter().map(|write| write.number).find(|number| !self.outcomes.contains_key(number));
        Hello {
            versions: (1, 1),
            features: Vec::new(),
            database: self.database,
            session: self.session,
            epochs: self.epochs.clone(),
            cursor: self.cursor.clone(),
            grants_hash: self.grants.hash(),
            fills: self.fills.clone(),
            newest_write: self.outbox.len() as u64,
            outbox_first: pending.unwrap_or(0),
            gaps: Vec::new(),
            now_ms: 0,
            software: "test".into(),
            metered: false,
            report: Default::default(),
            previous: None,
            ticket: self.ticket.clone(),
            paused: None,
            held: None,
        }
    }

    fn adopt(&mut self, welcome: Welcome) {
        self.session = welcome.session;
        self.epochs = welcome.epochs;
        self.cursor = Some(welcome.cursor);
        if let Some(grants) = welcome.grants {
            self.fills = grants.grants.iter().map(|grant| Fill { grant: grant.clone(), at: Position::default(), ranges: None }).collect();
            self.grants = grants;
        }
    }

    fn apply(&mut self, batch: Batch) {
        if let Some(grants) = batch.grants {
            let new = grants.grants.iter().filter(|grant| self.grants.grants.iter().all(|old| old.share != grant.share));
            self.fills.extend(new.map(|grant| Fill { grant: grant.clone(), at: Position::default(), ranges: None }));
            self.grants = grants;
        }
        for entry in batch.entries {
            match entry {
                Entry::Record(record) => self.lay(record),
                Entry::Outcome { number, outcome, .. } => drop(self.outcomes.insert(number, outcome)),
            }
        }
        if let Some(part) = batch.fill {
            part.records.into_iter().for_each(|record| self.lay(record));
            let share = part.fill.grant.share.clone();
            self.fills.retain(|fill| fill.grant.share != share);
            if !part.done {
                self.fills.insert(0, part.fill);
            }
        }
        if let Some(cursor) = &mut self.cursor {
            cursor.position = cursor.position.clone().max(batch.through);
        }
    }

    fn lay(&mut self, record: proto::frame::Record) {
        let place = (record.collection.to_string(), record.key.to_string());
        match record.content {
            Content::Value(value) => drop(self.records.insert(place, value)),
            Content::Deleted | Content::Left => drop(self.records.remove(&place)),
        }
    }

    /// A field of a record.
    pub(crate) fn field(&self, collection: &str, key: &str, field: &str) -> Option<Value> {
        let value = self.records.get(&(collection.to_owned(), key.to_owned()))?;
        serde_json::from_str::<Value>(value).unwrap().get(field).cloned()
    }
}

/// A session of a node.
pub(crate) struct Session {
    pub(crate) memory: Memory,
    pub(crate) end: Option<End>,
    session: EdgeSession,
    tx: AnyTx,
    rx: AnyRx,
    begun: Instant,
    /// The link broke or was closed.
    over: bool,
}

impl Session {
    pub(crate) fn over(link: impl Into<AnyLink>, memory: Memory) -> Self {
        let (tx, rx) = link.into().split();
        let session = EdgeSession::new(0, memory.hello());
        Self { memory, end: None, session, tx, rx, begun: Instant::now(), over: false }
    }

    pub(crate) async fn open(hub: &Hub, machine: &Machine, memory: Memory) -> Self {
        Self::over(machine.link(hub).await.unwrap(), memory)
    }

    fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// Goes on until the test has seen enough, or the session has ended.
    pub(crate) async fn until(&mut self, enough: impl Fn(&Self) -> bool) {
        while !enough(self) && !self.over {
            self.work();
            let now = self.now();
            if let Some(frame) = self.session.poll_send(now) {
                // A hub that closed meanwhile takes nothing; what it said last is still to be read.
                if self.tx.send(frame.encode().into()).await.is_ok() {
                    continue;
                }
            }
            self.work();
            if enough(self) || self.end.is_some() {
                return;
            }
            match self.rx.recv().await {
                Ok(Received::Frame(frame)) => {
                    self.session.receive(now, &frame);
                }
                Ok(Received::Closed(_)) | Err(_) => self.over = true,
            }
        }
    }

    /// Until everything that the node may have is there.
    pub(crate) async fn in_sync(&mut self) {
        self.until(|node| node.session.is_open() && node.memory.fills.is_empty()).await;
    }

    /// Until the hub ends the session, or the link; the code it said.
    pub(crate) async fn ended(&mut self) -> Option<String> {
        self.until(|_| false).await;
        self.end.as_ref().map(|end| end.reason.code.clone())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.session.is_open()
    }

    pub(crate) fn wrote(&mut self, op: Op) {
        self.memory.write(op);
        self.session.outbox_changed();
    }

    fn work(&mut self) {
        let now = self.now();
        while let Some(effect) = self.session.poll_effect() {
            match effect {
                Effect::Adopt(welcome) => {
                    self.memory.adopt(*welcome);
                    let (at, fills) = self.reached();
                    self.session.adopted(now, Durable { cursor: at, fills, ..Durable::default() });
                }
                Effect::Apply(batches) => {
                    batches.into_iter().for_each(|batch| self.memory.apply(batch));
                    let (at, fills) = self.reached();
                    self.session.applied(now, Durable { cursor: at, fills, ..Durable::default() });
                }
                Effect::Keep(pieces) => {
                    let held = |piece: &Piece| Held { number: 0, hash: piece.part.hash, bytes: piece.part.at + piece.bytes.len() };
                    pieces.last().map(held).into_iter().for_each(|held| self.session.kept(now, held));
                }
                Effect::ReadOutbox { after, .. } => {
                    let pending = self.memory.outbox.iter().filter(|write| write.number > after);
                    self.session.outbox(pending.cloned().collect(), false);
                }
                Effect::Clock { .. } => {}
                Effect::Closed(end) => self.end = Some(end),
            }
        }
    }

    fn reached(&self) -> (Position, Vec<Fill>) {
        let at = self.memory.cursor.as_ref().map(|cursor| cursor.position.clone()).unwrap_or_default();
        (at, self.memory.fills.clone())
    }
}
