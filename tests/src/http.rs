//! HTTP/1.1 as a stranger would speak it: blocking, one kept connection, answers as they came.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::events::Events;
use crate::until::PATIENCE;

/// Both ways of a connection.
pub(crate) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// Where a client's requests go.
#[derive(Clone)]
enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Tls(SocketAddr, ServerName<'static>, Arc<ClientConfig>),
}

/// Speaks to one server.
pub struct Client {
    target: Target,
    headers: Vec<(String, String)>,
    connection: Option<BufReader<Box<dyn Stream>>>,
}

/// An answer of any status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; panics with the answer where it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self}"))
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The answer itself, when its status is this one; panics with all of it otherwise.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// The body as JSON, when the status is this one.
    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        self.expect(status).json()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, String::from_utf8_lossy(&self.body))
    }
}

impl Client {
    /// Plain HTTP.
    pub fn tcp(address: SocketAddr) -> Self {
        Self::new(Target::Tcp(address))
    }

    /// Over a Unix socket.
    pub fn unix(path: &Path) -> Self {
        Self::new(Target::Unix(path.to_owned()))
    }

    /// HTTPS to `address`, trusting the CA in a PEM file, with a bearer token.
    pub fn tls(address: SocketAddr, ca: &Path, token: &str) -> Self {
        Self::tls_named(address, ServerName::from(address.ip()), ca).with("authorization", &format!("Bearer {token}"))
    }

    /// HTTPS to `address` under a name that its certificate has to be valid for.
    pub fn tls_as(address: SocketAddr, name: &str, ca: &Path) -> Self {
        let host = format!("{name}:{}", address.port());
        Self::tls_named(address, ServerName::try_from(name.to_owned()).expect("a DNS name"), ca).with("host", &host)
    }

    fn tls_named(address: SocketAddr, name: ServerName<'static>, ca: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).expect("the CA's file") {
            roots.add(certificate.expect("a certificate")).expect("a CA");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self::new(Target::Tls(address, name, Arc::new(config)))
    }

    fn new(target: Target) -> Self {
        Self { target, headers: Vec::new(), connection: None }
    }

    /// The same client with one more header in every request.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut headers = self.headers.clone();
        headers.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
        headers.push((name.into(), value.into()));
        Self { target: self.target.clone(), headers, connection: None }
    }

    /// GET.
    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send("GET", path, &[], None)
    }

    /// A request with a JSON body.
    pub fn json(&mut self, method: &str, path: &str, body: &Value) -> io::Result<Answer> {
        self.send(method, path, &[("content-type", "application/json")], Some(body.to_string().as_bytes()))
    }

    /// Any request. A kept connection that turns out closed is opened anew once, before anything was answered.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> io::Result<Answer> {
        let kept = self.connection.is_some();
        match self.exchange(method, path, headers, body) {
            Err(error) if kept && method == "GET" && error.kind() != io::ErrorKind::WouldBlock => {
                self.exchange(method, path, headers, body)
            }
            answer => answer,
        }
    }

    /// A stream of events, on a connection of its own; an answer that is none is an error.
    pub fn events(&self, path: &str, headers: &[(&str, &str)]) -> io::Result<Events> {
        let mut connection = BufReader::new(self.dial()?);
        connection.get_mut().write_all(&self.request("GET", path, headers, None))?;
        connection.get_mut().flush()?;
        let answer = read_head(&mut connection)?;
        if answer.status != 200 || answer.header("content-type") != Some("text/event-stream") {
            return Err(io::Error::other(format!("no stream of events: {answer}")));
        }
        Ok(Events::new(connection))
    }

    fn exchange(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> io::Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => BufReader::new(self.dial()?),
        };
        connection.get_mut().write_all(&self.request(method, path, headers, body))?;
        connection.get_mut().flush()?;
        let answer = read_answer(&mut connection)?;
        if answer.header("connection") != Some("close") {
            self.connection = Some(connection);
        }
        Ok(answer)
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Vec<u8> {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        let own = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut has_host = false;
        for (name, value) in own.chain(headers.iter().copied()) {
            has_host |= name.eq_ignore_ascii_case("host");
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !has_host {
            head.push_str(&format!("host: {}\r\n", self.host()));
        }
        if let Some(body) = body {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut request = head.into_bytes();
        request.extend_from_slice(body.unwrap_or_default());
        request
    }

    fn host(&self) -> String {
        match &self.target {
            Target::Tcp(address) | Target::Tls(address, ..) => address.to_string(),
            Target::Unix(_) => "localhost".into(),
        }
    }

    fn dial(&self) -> io::Result<Box<dyn Stream>> {
        let tcp = |address: &SocketAddr| {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok::<_, io::Error>(stream)
        };
        Ok(match &self.target {
            Target::Tcp(address) => Box::new(tcp(address)?),
            Target::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
            Target::Tls(address, name, config) => {
                let connection = ClientConnection::new(Arc::clone(config), name.clone()).map_err(io::Error::other)?;
                Box::new(StreamOwned::new(connection, tcp(address)?))
            }
        })
    }
}

fn read_head(stream: &mut BufReader<Box<dyn Stream>>) -> io::Result<Answer> {
    let status_line = read_line(stream)?;
    let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| bad("status line"))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?;
        match line.split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None if line.is_empty() => break,
            None => return Err(bad("header")),
        }
    }
    Ok(Answer { status, headers, body: Vec::new() })
}

fn read_answer(stream: &mut BufReader<Box<dyn Stream>>) -> io::Result<Answer> {
    let mut answer = read_head(stream)?;
    if answer.header("transfer-encoding") == Some("chunked") {
        loop {
            let size = read_line(stream)?;
            let size = usize::from_str_radix(size.split(';').next().unwrap_or_default(), 16).map_err(|_| bad("chunk"))?;
            let start = answer.body.len();
            answer.body.resize(start + size, 0);
            stream.read_exact(&mut answer.body[start..])?;
            read_line(stream)?;
            if size == 0 {
                return Ok(answer);
            }
        }
    }
    let length = answer.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    answer.body.resize(length, 0);
    stream.read_exact(&mut answer.body)?;
    Ok(answer)
}

fn read_line(stream: &mut BufReader<Box<dyn Stream>>) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {what}"))
}
