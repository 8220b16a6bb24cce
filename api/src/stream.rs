//! Any byte stream, behind a pointer: HTTP's machinery is then in the program once, not once for each kind of socket.

use tokio::io::{AsyncRead, AsyncWrite};

/// A TCP connection, TLS over one, a Unix socket.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
