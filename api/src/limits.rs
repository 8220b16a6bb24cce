//! Every bound of the HTTP surface, with its reason. What bounds records and writes is in [`proto::limits`].

use std::time::Duration;

/// Most bytes of a request's line and headers together (design §7).
pub const HEADER_BYTES: usize = 64 * 1024;
/// How long a client may take to send its headers; also how long an idle connection is kept between requests.
pub const HEADER_TIME: Duration = Duration::from_secs(30);
/// How long a body that is read whole may take: 2 MiB at 1 Mbit/s are 17 s.
pub const BODY_TIME: Duration = Duration::from_secs(60);
/// Largest body that is one value: the value and some white space around it.
pub const VALUE_BODY_BYTES: usize = proto::limits::VALUE_BYTES + 64 * 1024;
/// Largest body of `POST /v1/writes`: the largest write, and a name, a key and the members of each of its ops.
pub const WRITE_BODY_BYTES: usize = proto::limits::WRITE_BYTES + proto::limits::WRITE_OPS * 1_024;
/// Largest body of an administrator's request; the longest is a definition with a schema.
pub const ADMIN_BODY_BYTES: usize = proto::limits::VALUE_BYTES;
/// Largest body of a query: a statement, and its parameters.
pub const QUERY_BODY_BYTES: usize = 256 * 1024;
/// Longest line of an import: a value, its key with every byte escaped, and the two member names.
pub const LINE_BYTES: usize = proto::limits::VALUE_BYTES + 8 * 1024;
/// Largest import: what a card can be expected to hold twice.
pub const IMPORT_BYTES: u64 = 1024 * 1024 * 1024;
/// How much of an import is kept in memory before it goes to a file: small ones never touch the disk.
pub const IMPORT_MEMORY_BYTES: usize = 256 * 1024;
/// How long an import may send nothing.
pub const IMPORT_PAUSE: Duration = Duration::from_secs(60);
/// Records on one page of a list, at most.
pub const PAGE: usize = 1_000;
/// Entries on one page of a list that names no limit.
pub const PAGE_DEFAULT: usize = 100;
/// `key=` parameters in one list, and collections of one watch: 100 keys of 512 bytes, percent-encoded, still fit the request line.
pub use proto::limits::LIST_KEYS;
/// Parameters in one query string.
pub const PARAMETERS: usize = 200;
/// Longest `Prefer: wait` and `?wait=`: a proxy in between gives up later than this.
pub const WAIT: Duration = Duration::from_secs(30);
/// Tags in one `If-Match`.
pub const ETAGS: usize = 32;
/// Connections of one listener that are served at once; more wait in the kernel's queue.
pub const CONNECTIONS: usize = 512;
/// How long a TLS handshake may take.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// How long running requests may take once the hub stops: one second less than the five that a stop may take.
pub const DRAIN_TIME: Duration = Duration::from_secs(4);
/// Access tokens whose rights are remembered between requests.
pub const TOKEN_CACHE: usize = 1_024;
/// How long the rights of an access token are remembered; revoking one through this hub forgets them at once.
pub const TOKEN_CACHE_TIME: Duration = Duration::from_secs(5);
/// Longest name of an access token, bytes.
pub const TOKEN_NAME_BYTES: usize = 128;
/// Bytes of one chunk of an export.
pub const EXPORT_CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of a served file that are held at once.
pub const FILE_CHUNK_BYTES: usize = 64 * 1024;
/// Folders that a served file may lie in: what a page needs, and no walk of a thousand steps.
pub const FILE_DEPTH: usize = 16;
/// What is read and thrown away of a body that was refused, so that the client sees the answer before the end of the
/// connection.
pub const DRAIN_BYTES: u64 = 16 * 1024 * 1024;
/// How long such a client may pause: one that sends the head of a request alone is answered then.
pub const DRAIN_PAUSE: Duration = Duration::from_secs(2);
/// Watches that one hub serves at once: half of a listener's connections, so that whoever asks something is never shut out.
pub const WATCHES: usize = 256;
/// How long a client whose connection breaks waits before it comes again, milliseconds; it is told so.
pub const WATCH_RETRY_MS: u64 = 2_000;
/// How often an open watch is sent something although nothing happens: proxies close what is silent for a minute. Also how
/// often it is looked up whether the caller still may.
pub const WATCH_BEAT: Duration = Duration::from_secs(15);
/// How long a watch rests between two looks, for each that is open: one is told at once, two hundred leave time for the
/// rest of the hub.
pub const WATCH_REST: Duration = Duration::from_micros(100);
/// How long a client may read nothing of an answer while there is something to read: longer than a phone's tunnel, short
/// enough that who is gone takes nobody's place.
pub const STALL_TIME: Duration = Duration::from_secs(30);
/// How long a watch may take to end once the hub stops.
pub const WATCH_END: Duration = Duration::from_millis(500);
/// The largest file of devices that a command reads, bytes: some hundred thousand.
pub const DEVICE_FILE_BYTES: u64 = 64 << 20;
/// Values in the YAML files of one command: tens of thousands of devices, and no bomb of aliases.
pub const YAML_NODES: usize = 1_000_000;
/// How deep lists and maps may lie in each other there: KubeEdge's own need nine.
pub const YAML_DEPTH: usize = 32;
