//! Every bound of the wire and of the data model, with its reason. Both sides judge with this code.

/// Largest frame on the link, bytes: a write of [`WRITE_BYTES`] with its old values fits, and a peer that
/// announces more is cut off before anything is allocated.
pub const FRAME_BYTES: usize = 4 * 1024 * 1024;
/// Frames above this may be compressed, bytes: below it there is little to win, and every ACK would pay for the try.
pub const COMPRESS_ABOVE: usize = 1024;
/// What compressing has to save to be sent, as a part of the frame: an eighth. What saves less costs the receiver more.
pub const COMPRESS_SAVES: usize = 8;
/// Largest window of a compressed frame, bytes: whoever unpacks it piece by piece needs no more than for the frame itself.
pub const COMPRESS_WINDOW: u64 = FRAME_BYTES as u64;
/// What a frame's lists, and those of a write, may take in memory, bytes: the longest lists that there are take less. Above it a frame
/// is refused before it is read.
pub const READ_BYTES: usize = 8 * 1024 * 1024;
/// Frames and writes of at most so many bytes cannot take more than [`READ_BYTES`], whatever is in them: 2 bytes are one entry.
pub const READ_UNWEIGHED: usize = 32 * 1024;
/// Largest revision, write number and session number: what SQLite stores.
pub const NUMBER_MAX: u64 = u64::MAX >> 1;
/// Longest code that a peer gives as a reason, characters: longer than any.
pub const REASON_CODE: usize = 64;
/// Longest text of a reason that is taken from a peer, characters: people read it, and it is logged.
pub const REASON_DETAIL: usize = 1_000;
/// Longest key, bytes of UTF-8.
pub const KEY_BYTES: usize = 512;
/// Longest collection name, bytes: one letter and 62 more.
pub const COLLECTION_NAME_BYTES: usize = 63;
/// Longest node name, bytes: a DNS label, because it is also a certificate's common name.
pub const NODE_NAME_BYTES: usize = 63;
/// Largest value, bytes of compact JSON. Pictures are links.
pub const VALUE_BYTES: usize = 1024 * 1024;
/// Largest row of `_conflicts`, bytes: two values beside each other. Only the cloud makes them.
pub const CONFLICT_BYTES: usize = 2 * VALUE_BYTES;
/// Most top-level fields of a value: each may carry a clock.
pub const VALUE_FIELDS: usize = 1_000;
/// Deepest nesting of a value, the value itself counted: keeps recursive code off the stack's end.
pub const VALUE_DEPTH: usize = 64;
/// Largest exponent of a JSON number, either sign: comparing by decimal value stays cheap.
pub const NUMBER_EXPONENT: i64 = 1_000_000;
/// Deepest nesting of a JSON Schema, and of its references.
pub const SCHEMA_DEPTH: usize = 64;
/// Most parts of a JSON Schema.
pub const SCHEMA_NODES: usize = 4_096;
/// Largest compiled pattern of a JSON Schema, bytes: patterns are the operator's, their cost is bounded all the same.
pub const SCHEMA_PATTERN_BYTES: usize = 256 * 1024;
/// Deepest that a judgement goes: a schema may refer to itself, and a value is [`VALUE_DEPTH`] deep.
pub const SCHEMA_NESTED: usize = 256;
/// Steps after which a judgement ends and the value is refused: tens of milliseconds, not more.
pub const SCHEMA_STEPS: u64 = 4_000_000;
/// Most ops in one write, and in one cloud transaction.
pub const WRITE_OPS: usize = 1_000;
/// Largest write, bytes of the values and fields that it carries; also the bound of a cloud transaction.
pub const WRITE_BYTES: usize = 2 * 1024 * 1024;
/// Most collections on a hub.
pub const COLLECTIONS: usize = 10_000;
/// Most declared indexes of one collection: every one is kept up with every write.
pub const INDEXES: usize = 16;
/// Most fields of one index.
pub const INDEX_FIELDS: usize = 4;
/// Entries that one page of a list looks at: a page costs the same wherever it is, and says where to go on.
pub const LIST_LOOKS: usize = 10_000;
/// Entries of an index that a page in key order gathers before it reads the collection in key order instead.
pub const LIST_GATHERED: usize = 10_000;
/// Places of an index that one page reads side by side: those of `in` with as many values.
pub const LIST_RUNS: usize = 128;
/// Keys that one list may name.
pub const LIST_KEYS: usize = 100;
/// Conditions of one list, and the values of one `in`.
pub const LIST_CONDITIONS: usize = 100;
/// Bytes of one value of an order that a list's `next` carries; of a longer one it carries the beginning and a hash.
pub const LIST_PLACE_BYTES: usize = 512;
/// A value that an op saw is sent whole up to this size, bytes, as a hash above it.
pub const WAS_BYTES: usize = 1024;
/// Longest actor name, bytes.
pub const ACTOR_BYTES: usize = 128;
/// Longest request id that is kept, bytes.
pub const REQUEST_ID_BYTES: usize = 128;
/// `Idempotency-Key`, bytes.
pub const IDEMPOTENCY_KEY_BYTES: usize = 255;
/// Most records in one batch.
pub const BATCH_RECORDS: usize = 256;
/// Most bytes in one batch, except that a single larger record is a batch of its own.
pub const BATCH_BYTES: usize = 256 * 1024;
/// Unacknowledged batches of one node, at most.
pub const WINDOW_BATCHES: usize = 32;
/// Unacknowledged bytes of one node, at most.
pub const WINDOW_BYTES_MAX: usize = 1024 * 1024;
/// Unacknowledged bytes that are always allowed.
pub const WINDOW_BYTES_MIN: usize = 64 * 1024;
/// Writes of one database that the cloud takes before their outcomes are acknowledged.
pub const UNACKED_WRITES: u64 = 4_096;
/// Bytes of writes that an edge sends ahead of `taken`.
pub const UP_WINDOW_BYTES: usize = 1024 * 1024;
/// Databases that the cloud remembers for one node.
pub const DATABASES_PER_NODE: usize = 64;
/// Epochs that an edge remembers and sends in Hello.
pub const EPOCHS_KEPT: usize = 64;
/// Declared gaps and open grants that one Hello can carry.
pub const HELLO_LIST: usize = 20_000;
/// Longest ticket of a node that waits for its turn, bytes.
pub const TICKET_BYTES: usize = 64;
/// Records that one Ask names, and one batch answers.
pub const ASK_RECORDS: usize = BATCH_RECORDS;
/// A counter, a bound of a counter and a delta are 64-bit; this many pending writes are named one by one.
pub const STANDS_ON: usize = 64;
/// How far an edge's clock may run ahead before the cloud clamps it, milliseconds.
pub const CLOCK_AHEAD_MS: u64 = 60_000;
/// Largest Writes frame, bytes, except that a single larger write is a frame of its own: small, so that an answer
/// never waits long behind bulk.
pub const UP_FRAME_BYTES: usize = 64 * 1024;
/// Writes whose bytes are more than this go up in parts, where both sides know how: what passes in one period of a link that is up
/// now and then is kept, and what is below goes again at no great cost.
pub const PART_ABOVE: usize = 2 * UP_FRAME_BYTES;
/// Bytes of one part: a frame, small for the same reason.
pub const PART_BYTES: usize = UP_FRAME_BYTES;
/// Fewest bytes of a part that does not end its write: a write is a bounded number of them.
pub const PART_BYTES_MIN: usize = 16 * 1024;
/// Values whose bytes are more than this come down in pieces of [`PART_BYTES`], where both sides know how: what is smaller shares
/// its batch with others.
pub const PIECES_ABOVE: usize = BATCH_BYTES;
/// What a scan is asked for at least, bytes: below it the session waits for an ACK instead, or batches would shrink
/// with the window until each held one record.
pub const SCAN_BYTES_MIN: usize = 16 * 1024;
/// Batches that wait at an edge, at most. The cloud's window is smaller; what a re-scan finds still in the pipe
/// may come on top of it.
pub const QUEUE_BATCHES: usize = 4 * WINDOW_BATCHES;
/// Bytes of batches that wait at an edge, at most, except that one batch is always taken.
pub const QUEUE_BYTES: usize = 2 * WINDOW_BYTES_MAX;
/// How long either side waits in the handshake without a byte, milliseconds.
pub const HANDSHAKE_MS: u64 = 5_000;
/// How often an edge pings, milliseconds.
pub const PING_MS: u32 = 15_000;
/// How often a metered edge pings, milliseconds.
pub const PING_METERED_MS: u32 = 120_000;
/// The shortest ping interval that an edge lets a hub ask for, milliseconds.
pub const PING_MS_MIN: u32 = 1_000;
/// How long without a byte until either side closes, milliseconds.
pub const SILENCE_MS: u32 = 45_000;
/// The same on a metered link.
pub const SILENCE_METERED_MS: u32 = 300_000;
/// How often a busy edge says `received`, milliseconds.
pub const RECEIVED_MS: u64 = 2_000;
/// Without progress for so long, milliseconds, or 4 times the usual when that is longer, the cloud scans again.
pub const STALL_MS: u64 = 10_000;
/// Scans in a row without progress until the cloud closes the session.
pub const STALLS: u32 = 5;
/// The latest that an edge comes back after a refusal, milliseconds, whatever the hub says.
pub const RETRY_MS_MAX: u64 = 300_000;
/// How often the cloud asks a paused edge whether it can store again, milliseconds.
pub const ASK_MS: u64 = 30_000;
/// How long a cursor may stay behind a head that brings the node nothing, milliseconds.
pub const IDLE_HEAD_MS: u64 = 3_600_000;
/// How often what an edge holds is compared with what the cloud has, milliseconds (design §5).
pub const VERIFY_MS: u64 = 900_000;
/// How long after a failed scan or commit the cloud tries again, milliseconds.
pub const RETRY_MS: u64 = 1_000;
