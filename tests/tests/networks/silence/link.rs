//! A real link over a path, with a session's ends on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use proto::names::NodeName;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::{ClientConfig, ServerConfig};
use tests::cut::{Cut, Weather};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use transport::address::HostPort;
use transport::any::{AnyLink, AnyListener};
use transport::identity::node_uri;
use transport::pump::pump;
use transport::quic::{QuicListener, ResetKey};
use transport::swap::Swap;
use transport::tls::{Credentials, link_client_config, link_server_config};
use transport::ws::WsListener;

use super::Clock;
use super::ends::{CloudEnd, EdgeEnd, Seen};
use crate::Carrier;

/// Both ends at work.
pub(super) struct Pumps {
    pub(super) edge: Arc<Seen>,
    pub(super) cloud: Arc<Seen>,
    _runtime: Runtime,
}

/// A path, and a session over it.
pub(super) fn linked(carrier: Carrier, clock: &Arc<Clock>) -> (Cut, Pumps) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (server, client) = certificates();
    let mut listener = runtime.block_on(async {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (tls, admit) = (Arc::new(Swap::new(server)), Arc::new(|_: &_| Ok(())));
        match carrier {
            Carrier::WebSocket => AnyListener::Ws(WsListener::bind(any, tls, admit).unwrap()),
            Carrier::Quic => AnyListener::Quic(QuicListener::bind(any, tls, admit, ResetKey([7; 32])).unwrap()),
        }
    });
    let path = carrier.path(listener.local_addr(), Weather::default());
    let at = HostPort { host: "127.0.0.1".to_owned(), port: path.address().port() };
    let (up, down) = runtime.block_on(async { tokio::join!(connect(carrier, &at, client), listener.accept()) });
    let (edge, cloud) = (Arc::<Seen>::default(), Arc::<Seen>::default());
    let (ours, theirs) = (EdgeEnd::new(clock.now(), Arc::clone(&edge)), CloudEnd::new(clock.now(), Arc::clone(&cloud)));
    runtime.spawn(run(up, ours, Arc::clone(&edge), Arc::clone(clock)));
    runtime.spawn(run(down.unwrap(), theirs, Arc::clone(&cloud), Arc::clone(clock)));
    // The hub's socket is the listener's over QUIC: it goes on as long as the runtime.
    runtime.spawn(async move {
        loop {
            let _ = listener.accept().await;
        }
    });
    (path, Pumps { edge, cloud, _runtime: runtime })
}

async fn connect(carrier: Carrier, at: &HostPort, tls: Arc<ClientConfig>) -> AnyLink {
    match carrier {
        Carrier::WebSocket => transport::ws::connect(at, tls).await.unwrap().into(),
        Carrier::Quic => transport::quic::connect(at, tls).await.unwrap().into(),
    }
}

async fn run<D: transport::pump::Driver<Event = ()>>(link: AnyLink, mut driver: D, seen: Arc<Seen>, clock: Arc<Clock>) {
    let (_answers, mut events) = mpsc::channel(1);
    let now = move || clock.now();
    let stopped = pump(link, &mut driver, &mut events, &seen.notify, &now).await;
    seen.ended(format!("{stopped:?}"), now());
}

fn certificates() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca = params.self_signed(&key).unwrap().der().clone();
    let issuer = Issuer::new(params, key);
    let issue = |mut params: CertificateParams, usage| {
        let key = KeyPair::generate().unwrap();
        params.extended_key_usages = vec![usage];
        let leaf = params.signed_by(&key, &issuer).unwrap();
        Credentials { chain: vec![leaf.der().clone(), ca.clone()], key: key.serialize_der().try_into().unwrap() }
    };
    let hub = issue(CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap(), ExtendedKeyUsagePurpose::ServerAuth);
    let mut node = CertificateParams::new(vec![]).unwrap();
    node.subject_alt_names = vec![SanType::URI(node_uri(&NodeName::parse("lyon").unwrap()).as_str().try_into().unwrap())];
    let node = issue(node, ExtendedKeyUsagePurpose::ClientAuth);
    let cas = [ca];
    let server = link_server_config(&hub, &cas, Arc::new(SystemTime::now)).unwrap();
    (server, link_client_config(&node, &cas, Arc::new(SystemTime::now)).unwrap())
}
