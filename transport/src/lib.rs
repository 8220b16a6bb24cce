//! Links between cloudhub and edgehub, and the certificates that they stand on.
//!
//! A link carries opaque frames in order, both ways, between two proven identities; what the frames mean is
//! the session's affair (crate `proto`). Read it in this order:
//!
//! - [`link`]: the traits that a session's driver is written against, and [`counters`], by which it sees bytes
//!   arrive before a frame is whole;
//! - [`ws`]: WebSocket over TLS 1.3, the edge's [`ws::connect`] and the cloud's [`ws::WsListener`];
//! - [`quic`]: QUIC over UDP, the edge's [`quic::connect`] and the cloud's [`quic::QuicListener`];
//! - [`any`]: either of them, for code that does not care;
//! - `handshakes` and `places`: who may be in a handshake at a time, and who gives way;
//! - [`admission`] and [`dial`]: why a connection did not become a link, seen from the hub and from the edge;
//! - [`proxy`]: the way to a TCP port, straight or through an HTTP proxy;
//! - [`memory`]: the same traits without a network, for tests;
//! - [`tls`]: every TLS configuration of the project, and what a TLS failure means to a person;
//! - [`identity`]: who a certificate says its holder is;
//! - [`token`] and [`join`]: how a new machine gets its certificate;
//! - [`address`], [`private_file`], [`swap`]: small things that both hubs need for the above;
//! - [`limits`]: every bound, with its reason.

pub mod address;
pub mod admission;
pub mod any;
mod certificate;
pub mod counters;
pub mod dial;
mod handshakes;
pub mod identity;
pub mod join;
pub mod limits;
pub mod link;
pub mod memory;
mod places;
pub mod private_file;
pub mod proxy;
pub mod pump;
pub mod quic;
pub mod swap;
pub mod tls;
pub mod token;
pub mod ws;
