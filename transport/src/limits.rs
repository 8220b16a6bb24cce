//! Every bound of the links, with its reason.

use std::time::Duration;

/// Largest frame, bytes. More is refused by the sender; a peer that sends more loses its connection.
pub const MAX_FRAME: usize = proto::limits::FRAME_BYTES;

/// Frames travel in WebSocket fragments of at most this many bytes. The buffers of a WebSocket never shrink
/// again, so the largest piece that went through them is what each idle connection holds for ever; with the
/// longest fragment header this is 1 KiB. Costs 8 bytes a fragment, and no system call: see [`GATHER`].
pub const FRAGMENT: usize = 1024 - 8;

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

/// Handshakes in progress on one listener; further connections wait in the kernel's backlog. A silent peer holds
/// its place for [`HANDSHAKE`] at most.
pub const HANDSHAKES: usize = 512;

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
