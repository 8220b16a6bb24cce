//! Serving a router over TCP, TLS and a Unix socket: connections are counted, bounded, and drained when the hub stops.

use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::Service;

use crate::hub::Peer;
use crate::limits::{CONNECTIONS, DRAIN_TIME, HANDSHAKE_TIME, HEADER_BYTES, HEADER_TIME};

/// Where a router is served.
pub enum Listening {
    /// Plain HTTP; for loopback.
    Tcp(TcpListener),
    /// HTTPS.
    Tls(TcpListener, TlsAcceptor),
    /// A Unix socket, see [`UnixSocket::bind`].
    Unix(UnixSocket),
}

/// A socket file that goes when it is no longer served.
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl UnixSocket {
    /// Binds `path`, mode 0660. A socket that a process left behind is replaced; one that is served is an
    /// [`ErrorKind::AddrInUse`] error, and what is no socket is left alone. The folder's mode has to keep strangers
    /// out. Needs a runtime.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if let Ok(found) = std::fs::symlink_metadata(path) {
            let shown = path.display();
            if !found.file_type().is_socket() {
                return Err(io::Error::new(ErrorKind::AlreadyExists, format!("{shown} is in the way: it is no socket; move it")));
            }
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(ErrorKind::AddrInUse, format!("another process serves {shown}; stop it first")));
            }
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // When the folder is gone already, so is the file.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves until `stop` says true or its sender is gone; then takes no more connections, lets running requests end,
/// and returns at the latest after [`DRAIN_TIME`].
pub async fn serve(listening: Listening, router: Router, mut stop: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = accept(&listening, &room) => accepted,
        };
        match accepted {
            Ok(connection) => {
                connections.spawn(connection.run(router.clone(), stop.clone()));
            }
            Err(error) => {
                // Out of descriptors, most likely: the connections that are open may end meanwhile.
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listening);
    let drained = tokio::time::timeout(DRAIN_TIME, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(open = connections.len(), "requests were still running when the time to stop was over");
    }
}

/// Ends when the hub stops.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means that its hub is.
    let _ = stop.wait_for(|stopping| *stopping).await;
}

struct Connection {
    socket: Socket,
    peer: Peer,
    _room: OwnedSemaphorePermit,
}

enum Socket {
    Tcp(tokio::net::TcpStream),
    Tls(tokio::net::TcpStream, TlsAcceptor),
    Unix(tokio::net::UnixStream),
}

/// One connection, once there is room for it.
async fn accept(listening: &Listening, room: &Arc<Semaphore>) -> io::Result<Connection> {
    let room = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let tcp = async |listener: &TcpListener| {
        let (stream, remote) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        io::Result::Ok((stream, Peer::Tcp { local, remote }))
    };
    let (socket, peer) = match listening {
        Listening::Tcp(listener) => {
            let (stream, peer) = tcp(listener).await?;
            (Socket::Tcp(stream), peer)
        }
        Listening::Tls(listener, acceptor) => {
            let (stream, peer) = tcp(listener).await?;
            (Socket::Tls(stream, acceptor.clone()), peer)
        }
        Listening::Unix(socket) => (Socket::Unix(socket.listener.accept().await?.0), Peer::Unix),
    };
    Ok(Connection { socket, peer, _room: room })
}

impl Connection {
    async fn run(self, router: Router, stop: watch::Receiver<bool>) {
        match self.socket {
            Socket::Tcp(stream) => http(stream, self.peer, router, stop).await,
            Socket::Unix(stream) => http(stream, self.peer, router, stop).await,
            Socket::Tls(stream, acceptor) => match tokio::time::timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => http(stream, self.peer, router, stop).await,
                Ok(Err(error)) => tracing::debug!(peer = ?self.peer, "TLS handshake failed: {error}"),
                Err(_) => tracing::debug!(peer = ?self.peer, "TLS handshake took too long"),
            },
        }
    }
}

async fn http<S>(stream: S, peer: Peer, router: Router, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        // A router is always ready.
        router.clone().call(request.map(Body::new))
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    builder.max_buf_size(HEADER_BYTES).max_header_size(HEADER_BYTES);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(?peer, "a connection ended: {error}");
    }
}
