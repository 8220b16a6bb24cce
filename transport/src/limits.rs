//! Every bound of the links, with its reason.

use std::time::Duration;

/// Largest frame, bytes. More is refused by the sender; a peer that sends more loses its connection.
pub const MAX_FRAME: usize = proto::limits::FRAME_BYTES;

/// Frames travel in WebSocket fragments of at most this many bytes. The buffers of a WebSocket never shrink
/// again, so the largest piece that went through them is what each idle connection holds for ever; with the
/// longest fragment header this is 1 KiB. Costs 8 bytes a fragment, and no system call: see [`GATHER`].
pub const FRAGMENT: usize = 1024 - 8;

/// Bulk travels over a WebSocket in messages of at most this many bytes, so that a control frame waits behind one of them and what
/// the kernel holds unsent: 48 KiB in all, and 64 KiB are the bound. With its first byte and headers it is a TLS record.
pub const PIECE: usize = GATHER - 256;

/// What a WebSocket reads at a time, bytes, allocated once per connection.
pub const READ_BUFFER: usize = 1024;

/// What may wait for the stream below a WebSocket, bytes: one fragment, and room for a pong or a close.
pub const WRITE_BUFFER: usize = 8 * 1024;

/// Fragments are gathered up to this many bytes, a whole TLS record, before they are encrypted and sent.
pub const GATHER: usize = 16 * 1024;

/// What TLS may hold encrypted and unsent, bytes. Small, so that a frame which follows waits behind little.
pub const TLS_BUFFER: usize = 16 * 1024;

/// What the kernel may hold that was not sent yet, bytes (`TCP_NOTSENT_LOWAT`).
pub const NOT_SENT: u32 = 32 * 1024;

/// Connect, TLS and WebSocket handshake together, on either side. A peer that is slower is let go.
pub const HANDSHAKE: Duration = Duration::from_secs(5);

/// Handshakes in progress on one listener; above it some give way to others, and the rest waits in the kernel's backlog. A
/// silent peer holds its place for [`HANDSHAKE`] at most.
pub const HANDSHAKES: usize = 512;

/// Handshakes of one address, or of one IPv6 network of 64 bits, that are left alone while all [`HANDSHAKES`] are in progress: half of
/// them. Above it the oldest gives way to who comes from elsewhere, and who comes from there is sent away: a fleet behind one
/// address comes back, as a flood from one address does, and neither keeps others out.
pub const HANDSHAKES_SHARE: usize = HANDSHAKES / 2;

/// How long a handshake is left alone while all [`HANDSHAKES`] are in progress: three round trips of 600 ms. Less than
/// [`HANDSHAKE`], in which an edge that waits for a place gives up.
pub const HANDSHAKE_PATIENT: Duration = Duration::from_secs(2);

/// Connections that the kernel keeps while [`HANDSHAKES`] are in progress.
pub const BACKLOG: u32 = 4096;

/// Pause after the system refused to accept (no descriptors left), so that the loop does not spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a goodbye may take to leave, and how long a refused peer is listened to so that it can read why: a
/// socket that is closed with unread input takes its last words with it.
pub const GOODBYE: Duration = Duration::from_secs(1);

/// How much of a refused peer's input is thrown away while it is told why, bytes: the rest of the largest frame
/// that somebody could reasonably have begun.
pub const GOODBYE_BYTES: usize = 2 * MAX_FRAME;

/// Longest reason in a WebSocket close frame, bytes (RFC 6455 allows 125 with the code).
pub const CLOSE_TEXT: usize = 123;

/// Largest answer text of a refused WebSocket handshake that is shown, bytes.
pub const REFUSAL_TEXT: usize = 500;

/// Largest key, certificate or join file that is read, bytes.
pub const PEM_FILE: u64 = 256 * 1024;

/// Largest certificate signing request, bytes of PEM; an ECDSA one has about 500.
pub const CSR: usize = 16 * 1024;

/// Largest piece that a frame's buffer grows by while its bytes come over QUIC: a peer that announces the largest frame and sends
/// nothing gets no memory for it.
pub const GROWTH: usize = 64 * 1024;

/// What a node's stream may bring the hub before it was read, bytes: a hub has many nodes. At 300 ms there and back this lets
/// 1.7 MB/s up.
pub const QUIC_HUB_WINDOW: u32 = 512 * 1024;

/// The same at the edge, which has one hub: the session's whole window and the batch that opens it, so that the session alone
/// says how much is on its way. Half a MiB was half of what a session allows at 300 ms, and a third of the rate at 50 ms.
pub const QUIC_EDGE_WINDOW: u32 = (proto::limits::WINDOW_BYTES_MAX + proto::limits::BATCH_BYTES) as u32;

/// Room of a connection that bulk cannot take from control, bytes.
pub const QUIC_CONTROL_ROOM: u32 = 128 * 1024;

/// What a sender keeps until it is acknowledged, bytes: as much again as the peer's window of bulk, for what is acknowledged
/// late, and control.
pub const QUIC_SEND_WINDOWS: u64 = 2;

/// Streams of each kind that a peer may have open at once: the one that it needs. More is a breach that ends its connection.
pub const QUIC_STREAMS: u32 = 1;

/// Without a packet for so long QUIC itself gives up. Above the session's longest silence (300 s, `metered`), so that the session
/// is the one that decides.
pub const QUIC_IDLE: Duration = Duration::from_secs(360);

/// With so many handshakes in progress, a newcomer over QUIC has to show first that its address is its own (Retry).
pub const QUIC_RETRY_ABOVE: usize = HANDSHAKES / 8;

/// Connections over QUIC that one listener has at a time; more are refused. TCP has a bound in the process's descriptors, a UDP
/// socket has none: with 24 KiB each this is about 1 GiB.
pub const QUIC_CONNECTIONS: usize = 40_000;

/// Connections over QUIC that wait while [`HANDSHAKES`] are in progress. More are refused.
pub const QUIC_WAITING: usize = 4096;

/// What is kept of each that waits, bytes: its first flight has two packets.
pub const QUIC_WAITING_BYTES: u64 = 8 * 1024;

/// What is kept of all that wait, bytes.
pub const QUIC_WAITING_BYTES_ALL: u64 = 8 * 1024 * 1024;

/// What the hub's one UDP socket may hold in either direction, bytes: a burst of many nodes at once. The system may allow less.
pub const UDP_BUFFER: usize = 4 * 1024 * 1024;

/// How much later each further address of a name is tried over QUIC, beside those before it: UDP does not say that nobody is there.
pub const QUIC_STAGGER: Duration = Duration::from_millis(250);

/// Largest head of a proxy's answer, bytes.
pub const PROXY_ANSWER: usize = 8 * 1024;
