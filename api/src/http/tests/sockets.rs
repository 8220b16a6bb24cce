//! Over real sockets: keep-alive, bounds, percent-encoding on the wire, and a clean stop.

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::super::serve::{Listening, UnixSocket, serve};
use super::*;

struct Served {
    api: Api,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

fn start(listening: Listening) -> Served {
    let api = Api::edge();
    let (stop, stopping) = watch::channel(false);
    let task = tokio::spawn(serve(listening, api.router.clone(), stopping));
    Served { api, stop, task }
}

async fn tcp() -> (Served, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (start(Listening::Tcp(listener)), address)
}

/// Sends one request and reads its answer, which has a length.
async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_lowercase()
                .split("content-length: ")
                .nth(1)
                .map(|rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.unwrap();
        assert_ne!(read, 0, "closed after {text:?}");
        answer.extend_from_slice(&piece[..read]);
    }
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let (served, address) = tcp().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let put = format!(
        "PUT /v1/collections/notes/records/10248%2F11 HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: 7\r\n\r\n{{\"n\":1}}"
    );
    assert!(exchange(&mut stream, &put).await.starts_with("HTTP/1.1 201"));
    for _ in 0..3 {
        let get = format!("GET /v1/collections/notes/records/10248%2F11 HTTP/1.1\r\nhost: {address}\r\n\r\n");
        let answer = exchange(&mut stream, &get).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"key\":\"10248/11\""), "{answer}");
    }
    let foreign = exchange(&mut stream, "GET /healthz HTTP/1.1\r\nhost: evil.example\r\n\r\n").await;
    assert!(foreign.starts_with("HTTP/1.1 421"), "{foreign}");
    served.stop.send(true).unwrap();
    served.task.await.unwrap();
}

/// Answered and closed while its client still sends, a connection is reset, and over TLS the client sees an end without an answer.
#[tokio::test]
async fn a_refusal_before_the_body_is_read_reaches_its_client() {
    let (served, address) = tcp().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = format!("{{\"x\":\"{}\"}}", "y".repeat(900_000));
    for (more, status) in [("if-match: *\r\nif-none-match: *", "400"), ("host: evil.example", "421"), ("tombolo-actor:", "400")] {
        let host = if more.starts_with("host") { String::new() } else { format!("host: {address}\r\n") };
        let put = format!(
            "PUT /v1/collections/notes/records/a HTTP/1.1\r\n{host}{more}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        // The same connection each time: it was read to the end, so it need not be closed.
        let answer = exchange(&mut stream, &put).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{more}: {answer}");
    }
    served.stop.send(true).unwrap();
    served.task.await.unwrap();
}

#[tokio::test]
async fn oversized_headers_and_bodies_cost_one_answer() {
    let (served, address) = tcp().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let headers = format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\nx: {}\r\n\r\n", "x".repeat(70_000));
    assert!(exchange(&mut stream, &headers).await.starts_with("HTTP/1.1 431"));

    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = "x".repeat(3 * 1024 * 1024);
    let put = format!(
        "PUT /v1/collections/notes/records/a HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(&mut stream, &put).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("too_large"), "{answer}");
    let again = exchange(&mut stream, &format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\n\r\n")).await;
    assert!(again.starts_with("HTTP/1.1 200"), "{again}");
    drop(served.stop);
    served.task.await.unwrap();
}

#[tokio::test]
async fn the_unix_socket_is_private_replaces_a_stale_one_and_goes() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edgehub.sock");
    // What a killed process leaves behind: a file that no one listens on.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let served = start(Listening::Unix(UnixSocket::bind(&path).unwrap()));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let error = UnixSocket::bind(&path).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let answer = exchange(&mut stream, "GET /v1/status HTTP/1.1\r\nhost: any\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    served.stop.send(true).unwrap();
    served.task.await.unwrap();
    assert!(!path.exists());

    std::fs::write(&path, "not a socket").unwrap();
    assert_eq!(UnixSocket::bind(&path).err().unwrap().kind(), std::io::ErrorKind::AlreadyExists);
    assert!(path.exists());
}

#[tokio::test]
async fn a_stop_closes_idle_connections_and_refuses_new_ones() {
    let (served, address) = tcp().await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    exchange(&mut idle, &format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\n\r\n")).await;
    served.stop.send(true).unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    served.task.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
    assert_eq!(served.api.get("/healthz").answer().await.status, 200);
}

#[tokio::test]
async fn a_request_that_runs_is_finished_before_the_stop() {
    let (served, address) = tcp().await;
    served.api.put("/v1/collections/notes/records/held", "{}").answer().await.ok(201);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /v1/collections/notes/records/held HTTP/1.1\r\nhost: {address}\r\n\r\n");
    let asked = tokio::spawn(async move { exchange(&mut stream, &request).await });
    served.api.hub.arrived.notified().await;
    served.stop.send(true).unwrap();
    served.api.hub.released.notify_one();
    let answer = asked.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    served.task.await.unwrap();
}

#[tokio::test]
async fn the_same_router_over_tls() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
    let server = server.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = start(Listening::Tls(listener, TlsAcceptor::from(Arc::new(server))));

    // One that speaks no TLS costs nobody but itself.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").await.unwrap();
    let mut refused = Vec::new();
    let _ = plain.read_to_end(&mut refused).await;
    assert!(!refused.starts_with(b"HTTP"));

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
    let client = TlsConnector::from(Arc::new(client.with_root_certificates(roots).with_no_client_auth()));
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = client.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nhost: localhost:{}\r\n\r\n", address.port());
    assert!(exchange(&mut stream, &request).await.starts_with("HTTP/1.1 200"));
    served.stop.send(true).unwrap();
    served.task.await.unwrap();
}
