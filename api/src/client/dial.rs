//! From the name of a hub to an open byte stream.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::ClientError;
use super::limits;
use crate::config::HostPort;
use crate::stream::Stream;

/// Where a hub is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// The socket in an edge's data folder.
    Socket { data: PathBuf, socket: PathBuf },
    /// HTTPS, with the CA file that is trusted and what to do when nobody answers.
    Https { server: HostPort, tls: Arc<ClientConfig>, ca: String, advice: String },
}

/// The port of the cloud's API where none is named.
pub const API_PORT: u16 = 10002;

impl Place {
    /// The hub as messages name it.
    pub(super) fn name(&self) -> String {
        match self {
            Place::Socket { data, .. } => format!("edgehub on {}", data.display()),
            Place::Https { server, .. } => format!("cloudhub at https://{}", server.authority(API_PORT)),
        }
    }

    /// The Host header.
    pub(super) fn host(&self) -> String {
        match self {
            Place::Socket { .. } => "localhost".to_owned(),
            Place::Https { server, .. } => server.authority(API_PORT),
        }
    }

    /// Connects, within [`limits::CONNECT`].
    pub(super) async fn dial(&self) -> Result<Box<dyn Stream>, ClientError> {
        match tokio::time::timeout(limits::CONNECT, self.dial_for_ever()).await {
            Ok(stream) => stream,
            Err(_) => Err(self.unreachable(&format!("no answer within {} s", limits::CONNECT.as_secs()))),
        }
    }

    async fn dial_for_ever(&self) -> Result<Box<dyn Stream>, ClientError> {
        match self {
            Place::Socket { data, socket } => {
                let stream = UnixStream::connect(socket).await.map_err(|error| no_socket(data, socket, &error))?;
                Ok(Box::new(stream))
            }
            Place::Https { server, tls, ca, .. } => {
                let tcp = self.tcp(&server.authority(API_PORT)).await?;
                let refused = |reason: String| ClientError::Tls { hub: self.name(), ca: ca.clone(), reason };
                let name = ServerName::try_from(server.host.clone()).map_err(|error| refused(error.to_string()))?;
                let stream = TlsConnector::from(tls.clone()).connect(name, tcp).await;
                Ok(Box::new(stream.map_err(|error| refused(error.to_string()))?))
            }
        }
    }

    async fn tcp(&self, authority: &str) -> Result<TcpStream, ClientError> {
        let stream = TcpStream::connect(authority).await.map_err(|error| self.unreachable(&reason(&error)))?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    fn unreachable(&self, reason: &str) -> ClientError {
        let advice = match self {
            Place::Https { advice, .. } => advice.clone(),
            Place::Socket { data, .. } => format!("is edgehub running on {}?", data.display()),
        };
        ClientError::Connect { hub: self.name(), reason: reason.to_owned(), advice }
    }
}

fn no_socket(data: &Path, socket: &Path, error: &std::io::Error) -> ClientError {
    let advice = match error.kind() {
        ErrorKind::NotFound => return ClientError::NotRunning { data: data.to_owned(), socket: socket.to_owned() },
        ErrorKind::ConnectionRefused => format!("it has stopped; start it: edgehub run --data {}", data.display()),
        ErrorKind::PermissionDenied => "run this as root or as a member of the socket's group".to_owned(),
        _ => format!("is edgehub running on {}?", data.display()),
    };
    ClientError::Socket { socket: socket.to_owned(), reason: reason(error), advice }
}

/// The system's words, without `(os error 111)`.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
