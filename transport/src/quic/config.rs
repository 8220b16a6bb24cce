//! How QUIC is set up on both sides.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, IdleTimeout, ServerConfig, TransportConfig};

use super::ALPN;
use crate::limits::{
    QUIC_CONTROL_ROOM, QUIC_EDGE_WINDOW, QUIC_HUB_WINDOW, QUIC_IDLE, QUIC_SEND_WINDOWS, QUIC_STREAMS, QUIC_WAITING, QUIC_WAITING_BYTES,
    QUIC_WAITING_BYTES_ALL,
};

/// No pings of its own: the session's keep a way through a NAT open, and decide when the link is dead. The congestion control is
/// quinn's CUBIC, which goes as fast over a lossy path as TCP may; its BBR would go faster, and is called experimental, unmaintained
/// and unfair to others by those who wrote it (quinn issue 2156).
fn transport(requests: u32, own: u32, peers: u32) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(requests.into())
        .max_concurrent_uni_streams(QUIC_STREAMS.into())
        .stream_receive_window(own.into())
        .receive_window((own + QUIC_CONTROL_ROOM).into())
        .send_window(QUIC_SEND_WINDOWS * u64::from(peers))
        .max_idle_timeout(IdleTimeout::try_from(QUIC_IDLE).ok())
        .keep_alive_interval(None)
        .datagram_receive_buffer_size(None);
    Arc::new(transport)
}

/// The edge's, from what [`crate::tls::link_client_config`] made.
pub(super) fn client(tls: &rustls::ClientConfig) -> Result<ClientConfig, String> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| error.to_string())?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    // The hub opens no bidirectional stream yet.
    config.transport_config(transport(0, QUIC_EDGE_WINDOW, QUIC_HUB_WINDOW));
    Ok(config)
}

/// The hub's, from what [`crate::tls::link_server_config`] made.
pub(super) fn server(tls: &rustls::ServerConfig) -> Result<ServerConfig, String> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| error.to_string())?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(transport(QUIC_STREAMS, QUIC_HUB_WINDOW, QUIC_EDGE_WINDOW))
        .migration(true)
        .max_incoming(QUIC_WAITING)
        .incoming_buffer_size(QUIC_WAITING_BYTES)
        .incoming_buffer_size_total(QUIC_WAITING_BYTES_ALL);
    // Addresses are validated by Retry where that is needed; a token for the next time would be bytes for rare handshakes.
    config.validation_token.sent(0);
    Ok(config)
}
