//! The client against a small server over a Unix socket and over TLS.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::io::Cursor;

use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::*;

/// Says back what it got: method, target, some headers, body.
async fn echo(request: http::Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let header = |name: &str| head.headers.get(name).map_or("-", |value| value.to_str().unwrap()).to_owned();
    let text = format!(
        "{} {} host={} type={} auth={} body={}",
        head.method,
        head.uri,
        header("host"),
        header("content-type"),
        header("authorization"),
        String::from_utf8_lossy(&body)
    );
    let (status, text) = match head.uri.path() {
        "/refused" => (
            StatusCode::CONFLICT,
            r#"{"type":"about:blank","title":"Taken","status":409,"detail":"11 exists","code":"key_taken","line":17}"#.to_owned(),
        ),
        "/proxy" => (StatusCode::BAD_GATEWAY, "<html>".to_owned()),
        "/length" => (StatusCode::OK, body.len().to_string()),
        _ => (StatusCode::OK, text),
    };
    Ok(Response::builder().status(status).body(Full::new(text.into())).unwrap())
}

async fn serve<S: Stream + 'static>(stream: S) {
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(echo)).await;
}

/// A hub on a socket in a folder of its own, which must be kept.
fn socket_server() -> (Client, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(data.path().join("edgehub.sock")).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    (Client::socket(data.path()), data)
}

/// A hub behind TLS: its address and its certificate, PEM.
async fn tls_server() -> (HostPort, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string().parse().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(serve(stream));
            }
        }
    });
    (address, made.cert.pem())
}

fn https(server: HostPort, ca: &str) -> Client {
    let token = Secret::new("t0ken").unwrap();
    Client::https(server, trusting(ca.as_bytes()).unwrap(), "ca.crt".into(), token, "start it".into())
}

async fn text(client: &Client, request: Request) -> String {
    let bytes = client.send(request).await.unwrap().bytes().await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn requests_over_a_unix_socket() {
    let (client, _data) = socket_server();
    let said = text(&client, Request::new(Method::PUT, &["v1", "a/b"]).query("x", "1").json(&b"{}"[..])).await;
    assert_eq!(said, "PUT /v1/a%2Fb?x=1 host=localhost type=application/json auth=- body={}");
}

#[tokio::test]
async fn requests_over_tls_carry_the_token() {
    let (server, ca) = tls_server().await;
    let said = text(&https(server.clone(), &ca), Request::get(&["v1", "status"])).await;
    assert_eq!(said, format!("GET /v1/status host={server} type=- auth=Bearer t0ken body="));
}

#[tokio::test]
async fn a_hub_of_another_ca_gets_no_token() {
    let (server, _) = tls_server().await;
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap().cert.pem();
    let error = https(server, &other).send(Request::get(&["x"])).await.unwrap_err();
    assert!(matches!(error, ClientError::Tls { .. }), "{error}");
    assert!(error.to_string().contains("is not the hub that ca.crt vouches for"), "{error}");
}

#[tokio::test]
async fn an_upload_is_streamed_and_counted() {
    let (client, _data) = socket_server();
    let source = Cursor::new(vec![b'x'; 3 << 20]);
    let upload = Upload::new(source);
    let progress = upload.progress();
    assert_eq!(text(&client, Request::new(Method::POST, &["length"]).upload(upload)).await, (3 << 20).to_string());
    assert_eq!(progress.load(Ordering::Relaxed), 3 << 20);
}

#[tokio::test]
async fn a_source_that_fails_is_named_as_the_reason() {
    struct Bad;
    impl std::io::Read for Bad {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("bad sector"))
        }
    }
    let (client, _data) = socket_server();
    let error = client.send(Request::new(Method::POST, &["x"]).upload(Upload::new(Bad))).await.unwrap_err().to_string();
    assert_eq!(error, "cannot read the input: bad sector; nothing was changed");
}

#[tokio::test]
async fn refusals_carry_the_problem() {
    let (client, _data) = socket_server();
    let error = client.send(Request::get(&["refused"])).await.unwrap_err();
    assert_eq!(error.to_string(), "11 exists (key_taken)");
    let ClientError::Refused(refusal) = error else { panic!("{error}") };
    assert_eq!((refusal.status, refusal.line), (409, Some(17)));
    let error = client.send(Request::get(&["proxy"])).await.unwrap_err().to_string();
    assert_eq!(error, "Bad Gateway (status 502)");
}

#[tokio::test]
async fn nobody_there_is_said_with_what_to_do() {
    let data = tempfile::tempdir().unwrap();
    let shown = data.path().display().to_string();
    let client = Client::socket(data.path());
    let error = client.send(Request::get(&["x"])).await.unwrap_err().to_string();
    assert_eq!(error, format!("no edgehub runs on {shown} (there is no {shown}/edgehub.sock); start it: edgehub run --data {shown}"));

    drop(UnixListener::bind(data.path().join("edgehub.sock")).unwrap());
    let error = client.send(Request::get(&["x"])).await.unwrap_err().to_string();
    assert!(error.contains("connection refused; it has stopped; start it: edgehub run --data"), "{error}");

    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let ca = rcgen::generate_simple_self_signed([]).unwrap().cert.pem();
    let error = https(free.to_string().parse().unwrap(), &ca).send(Request::get(&["x"])).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot reach cloudhub at https://{free}: connection refused; start it"));
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_an_error() {
    let data = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(data.path().join("edgehub.sock")).unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await.unwrap();
    });
    let answer = Client::socket(data.path()).send(Request::get(&["x"])).await.unwrap();
    let error = answer.bytes().await.unwrap_err();
    assert!(matches!(error, ClientError::Broken { .. }), "{error}");
    server.await.unwrap();
}

#[tokio::test]
async fn a_hub_that_does_not_answer_is_given_up() {
    let nothing_moves = AtomicU64::new(0);
    let silent = std::future::pending::<()>();
    let error = while_it_moves(std::time::Duration::ZERO, "hub", &nothing_moves, silent).await.unwrap_err().to_string();
    assert_eq!(error, "hub did not answer within 0 s; the request may still have been done");
}
