//! Nodes whose links are real and whose databases are a session number: they hold nothing, and acknowledge what they are sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use proto::frame::{Ack, Frame, Hello};
use proto::ids::{Cursor, DatabaseId};
use proto::op::Hash;
use proto::session::handshake::{FEATURE_TICKET, VERSIONS};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ClientConfig;
use serde_json::{Value, json};
use tests::shops::World;
use tests::until::until_shown;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;
use transport::address::HostPort;
use transport::any::{AnyLink, AnyRx, AnyTx};
use transport::dial::ConnectError;
use transport::link::{Link, LinkRx, LinkTx, Received};
use transport::tls::{Credentials, certificates, link_client_config};
use transport::token::JoinToken;

use super::story::{Event, Story};
use crate::Carrier;

/// Nodes on links of one kind.
pub(super) struct Fleet {
    /// Whether they are to be there.
    here: watch::Sender<bool>,
    story: Arc<Mutex<Arc<Story>>>,
    /// How many have no link.
    away: watch::Receiver<usize>,
    nodes: usize,
    _runtime: Runtime,
}

impl Fleet {
    /// So many machines with a certificate each; they are away.
    pub(super) fn join(world: &World, carrier: Carrier, at: SocketAddr, nodes: usize) -> Self {
        let mut api = world.cloud.client();
        let token = api.json("POST", "/v1/join-tokens", &json!({"uses": nodes})).unwrap().ok(201);
        let token: JoinToken = token["token"].as_str().unwrap().parse().unwrap();
        let secret = token.secret().to_text();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (here, coming) = watch::channel(false);
        let (counter, away) = watch::channel(nodes);
        let story = Arc::<Mutex<Arc<Story>>>::default();
        for number in 0..nodes {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
            let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
            let body = json!({"secret": secret, "node": format!("crowd-{number}"), "csr": csr, "version": "test"});
            let answer = api.json("POST", "/v1/join", &body).unwrap().ok(200);
            let at = HostPort { host: at.ip().to_string(), port: at.port() };
            let node = Node { number, carrier, at, tls: tls(&key, &answer), session: 0, cursor: None };
            runtime.spawn(node.lives(coming.clone(), Arc::clone(&story), counter.clone()));
        }
        Self { here, story, away, nodes, _runtime: runtime }
    }

    /// Another story begins.
    pub(super) fn comes(&self) -> Arc<Story> {
        let story = Arc::<Story>::default();
        *self.story.lock().unwrap() = Arc::clone(&story);
        story
    }

    /// All come at once.
    pub(super) fn go(&self) {
        self.here.send_replace(true);
    }

    /// Their path is cut: waits until none has a link.
    pub(super) fn is_away(&self) {
        self.here.send_replace(false);
        until_shown("all links broke", || {
            let away = *self.away.borrow();
            (away == self.nodes).then_some(()).ok_or_else(|| format!("{away} of {}", self.nodes))
        });
    }
}

fn tls(key: &KeyPair, answer: &Value) -> Arc<ClientConfig> {
    let text = |member: &str| answer[member].as_str().unwrap();
    let own = Credentials::from_pem(text("certificate"), &key.serialize_pem()).unwrap();
    link_client_config(&own, &certificates(text("ca")).unwrap(), Arc::new(SystemTime::now)).unwrap()
}

struct Node {
    number: usize,
    carrier: Carrier,
    at: HostPort,
    tls: Arc<ClientConfig>,
    /// What it keeps: the session number, and how far it is.
    session: u64,
    cursor: Option<Cursor>,
}

impl Node {
    /// It comes when it is to, and stays until its link breaks.
    async fn lives(mut self, mut here: watch::Receiver<bool>, story: Arc<Mutex<Arc<Story>>>, away: watch::Sender<usize>) {
        while here.wait_for(|here| *here).await.is_ok() {
            away.send_modify(|away| *away -= 1);
            let story = Arc::clone(&*story.lock().unwrap());
            let (tx, rx) = self.comes_in(&story).await;
            // Over UDP nobody is told that a path is cut: this node has noticed it all the same.
            tokio::select! {
                () = self.stays(tx, rx) => {}
                _ = here.wait_for(|here| !*here) => {}
            }
            away.send_modify(|away| *away += 1);
            if here.wait_for(|here| !*here).await.is_err() {
                return;
            }
        }
    }

    /// Again and again, as it is told.
    async fn comes_in(&mut self, story: &Story) -> (AnyTx, AnyRx) {
        let mut ticket = Vec::new();
        loop {
            match self.asks(&ticket, story).await {
                Some(Answer::In(link)) => return link,
                Some(Answer::Told { ticket: given, retry_ms }) => {
                    story.note(Event::Told { node: self.number, ticket: given.clone(), retry_ms });
                    ticket = given;
                    tokio::time::sleep(Duration::from_millis(retry_ms)).await;
                }
                None => {}
            }
        }
    }

    async fn asks(&mut self, ticket: &[u8], story: &Story) -> Option<Answer> {
        let (mut tx, mut rx) = self.dial().await.map_err(|error| self.fails(story, error.to_string())).ok()?.split();
        story.note(Event::Hello { new: ticket.is_empty() });
        say(&mut tx, Frame::Hello(self.hello(ticket))).await?;
        match hear(&mut rx).await? {
            Frame::Welcome(welcome) => {
                story.note(Event::In { node: self.number });
                (self.session, self.cursor) = (welcome.session, Some(welcome.cursor.clone()));
                say(&mut tx, Frame::Started { session: welcome.session }).await?;
                say(&mut tx, ack(&welcome.cursor)).await?;
                Some(Answer::In((tx, rx)))
            }
            Frame::Refuse(refuse) => {
                assert_eq!(refuse.reason.code, "busy", "{}", refuse.reason.detail);
                Some(Answer::Told { ticket: refuse.ticket, retry_ms: refuse.retry_ms })
            }
            Frame::Close(reason) => {
                self.fails(story, format!("{}: {}", reason.code, reason.detail));
                None
            }
            other => panic!("{} for a Hello", other.name()),
        }
    }

    fn fails(&self, story: &Story, why: String) {
        story.note(Event::Failed { node: self.number, why });
    }

    async fn dial(&self) -> Result<AnyLink, ConnectError> {
        let tls = Arc::clone(&self.tls);
        match self.carrier {
            Carrier::WebSocket => transport::ws::connect(&self.at, tls).await.map(AnyLink::from),
            Carrier::Quic => transport::quic::connect(&self.at, tls).await.map(AnyLink::from),
        }
    }

    fn hello(&self, ticket: &[u8]) -> Hello {
        Hello {
            versions: VERSIONS,
            features: vec![FEATURE_TICKET.to_owned()],
            database: DatabaseId([7; 16]),
            session: self.session,
            epochs: Vec::new(),
            cursor: self.cursor.clone(),
            grants_hash: Hash::default(),
            fills: Vec::new(),
            newest_write: 0,
            outbox_first: 0,
            gaps: Vec::new(),
            now_ms: 0,
            software: "test".to_owned(),
            metered: false,
            report: Default::default(),
            previous: None,
            ticket: ticket.to_vec(),
            paused: None,
            held: None,
        }
    }

    /// Acknowledges what comes, and speaks up when nothing does, until the link breaks.
    async fn stays(&mut self, mut tx: AnyTx, mut rx: AnyRx) {
        let every = Duration::from_millis(proto::limits::PING_MS.into());
        loop {
            let answer = match timeout(every, hear(&mut rx)).await {
                Ok(None) => return,
                Ok(Some(Frame::Batch(batch))) => {
                    let Some(cursor) = &mut self.cursor else { return };
                    cursor.position = batch.through;
                    ack(cursor)
                }
                Ok(Some(Frame::Close(reason))) => panic!("{}: {}", reason.code, reason.detail),
                Ok(Some(_)) => continue,
                Err(_) => Frame::Ping { sent_ms: 0, report: None },
            };
            if say(&mut tx, answer).await.is_none() {
                return;
            }
        }
    }
}

enum Answer {
    In((AnyTx, AnyRx)),
    Told { ticket: Vec<u8>, retry_ms: u64 },
}

fn ack(cursor: &Cursor) -> Frame {
    Frame::Ack(Ack { cursor: cursor.position.clone(), fills: Vec::new(), answered: 0 })
}

async fn say(tx: &mut AnyTx, frame: Frame) -> Option<()> {
    tx.send(frame.encode().into()).await.ok()
}

async fn hear(rx: &mut AnyRx) -> Option<Frame> {
    match rx.recv().await {
        Ok(Received::Frame(bytes)) => Some(Frame::decode(&bytes).unwrap()),
        Ok(Received::Closed(_)) | Err(_) => None,
    }
}
