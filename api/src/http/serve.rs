//! Serving a router over TCP, TLS and a Unix socket: connections are counted, bounded, and drained when the hub stops.

use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::Service;

use super::stall::Stalling;
use crate::hub::Peer;
use crate::limits::{CONNECTIONS, DRAIN_TIME, HANDSHAKE_TIME, HEADER_BYTES, HEADER_TIME, WATCH_END};
use crate::stream::Stream;

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

/// What a request that may take for ever has to know of its connection.
#[derive(Clone)]
pub(crate) struct Stopping {
    /// Says true when the hub stops.
    pub(crate) stop: watch::Receiver<bool>,
    watched: Arc<AtomicBool>,
}

impl Stopping {
    /// The connection serves a watch: when the hub stops, it is not waited for.
    pub(crate) fn is_watched(&self) {
        self.watched.store(true, Ordering::Relaxed);
    }
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
    let tcp = async |listener: &TcpListener, tls| {
        let (stream, remote) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        io::Result::Ok((stream, Peer::Tcp { local, remote, tls }))
    };
    let (socket, peer) = match listening {
        Listening::Tcp(listener) => {
            let (stream, peer) = tcp(listener, false).await?;
            (Socket::Tcp(stream), peer)
        }
        Listening::Tls(listener, acceptor) => {
            let (stream, peer) = tcp(listener, true).await?;
            (Socket::Tls(stream, acceptor.clone()), peer)
        }
        Listening::Unix(socket) => (Socket::Unix(socket.listener.accept().await?.0), Peer::Unix),
    };
    Ok(Connection { socket, peer, _room: room })
}

impl Connection {
    async fn run(self, router: Router, stop: watch::Receiver<bool>) {
        match self.socket {
            Socket::Tcp(stream) => http(Box::new(stream), self.peer, router, stop).await,
            Socket::Unix(stream) => http(Box::new(stream), self.peer, router, stop).await,
            Socket::Tls(stream, acceptor) => match tokio::time::timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => http(Box::new(stream), self.peer, router, stop).await,
                Ok(Err(error)) => tracing::debug!(peer = ?self.peer, "TLS handshake failed: {error}"),
                Err(_) => tracing::debug!(peer = ?self.peer, "TLS handshake took too long"),
            },
        }
    }
}

pub(super) async fn http(stream: Box<dyn Stream>, peer: Peer, router: Router, mut stop: watch::Receiver<bool>) {
    let stopping = Stopping { stop: stop.clone(), watched: Arc::default() };
    let watched = stopping.watched.clone();
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(stopping.clone());
        // A router is always ready.
        router.clone().call(request.map(Body::new))
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    builder.max_buf_size(HEADER_BYTES).max_header_size(HEADER_BYTES);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(Stalling::new(stream)), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            if watched.load(Ordering::Relaxed) {
                // Its stream has ended; a client that does not read that far is not waited for.
                tokio::time::timeout(WATCH_END, connection).await.unwrap_or(Ok(()))
            } else {
                connection.await
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(?peer, "a connection ended: {error}");
    }
}
