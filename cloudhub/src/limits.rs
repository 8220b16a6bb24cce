//! Every bound of cloudhub, with its reason. What both sides must agree on is in [`proto::limits`].

use std::time::Duration;

/// Decided writes that are kept of each edge database after their outcome was acknowledged: a repeated number is
/// recognised by its hash this far back; further back it is answered `lost`.
pub const WRITES_PER_DATABASE: u64 = 4_096;
/// Writes through the cloud's API that stay readable by their id. Older ones took effect all the same.
pub const CLOUD_WRITES: u64 = 10_000;
/// Writes that come in parts and of which some are kept: one a node, and 2 GiB of them all at the most.
pub const PARTIAL_WRITES: usize = 512;
/// With so many of them, one that nobody went on with for so long gives way to a new one, milliseconds: a link that is up now and then
/// is up more often.
pub const PARTIAL_IDLE_MS: u64 = 600_000;
/// How long one is kept that nobody goes on with, milliseconds: as long as an edge keeps what it delivered.
pub const PARTIAL_KEPT_MS: u64 = 7 * 86_400_000;
/// Requests with an `Idempotency-Key` that are kept of each node, and of this hub's own API: weeks of a busy till.
pub const REQUESTS_PER_NODE: u64 = 65_536;
/// Events kept of one node: a year of daily ones, and a flapping node pushes out only its own.
pub const EVENTS_PER_NODE: u64 = 1_000;
/// Longest text of an event, bytes.
pub const EVENT_BYTES: usize = 1_000;
/// Ranges of numbers that a database declared lost and that are kept after they were passed.
pub const LOST_RANGES: usize = 1_000;
/// Starts of this store that are remembered to recognise the store that a node knew.
pub const EPOCHS: usize = 10_000;
/// Nodes of one hub.
pub const NODES: u64 = 100_000;
/// Connections of one node at a time: two ways that it tries at once, and what is left of sessions before, over a network that
/// cuts it off again and again. Above it the oldest without a session gives way, so that no node takes all the hub's descriptors.
pub const CONNECTIONS_PER_NODE: usize = 8;
/// Labels of one node; with [`LABEL_BYTES`] a node's row stays a few pages.
pub const LABELS: usize = 64;
/// Longest name or value of a label, bytes. A value may list several partitions.
pub const LABEL_BYTES: usize = 4_096;
/// Grants of one node: they all travel in one frame.
pub const GRANTS_PER_NODE: usize = 10_000;
/// Join tokens, and access tokens, that exist at one time.
pub const TOKENS: u64 = 10_000;
/// Largest definition, bytes of JSON, its schema included: all those of a node travel in one frame.
pub const DEFINITION_BYTES: usize = 64 * 1024;
/// Conflict rows of one record that are no longer open; the oldest go first.
pub const CLOSED_CONFLICTS_PER_RECORD: u64 = 100;
/// How long conflict rows that are no longer open are kept, milliseconds.
pub const CLOSED_CONFLICT_MS: u64 = 90 * 86_400_000;
/// Jobs of one group commit: a bound on how long the first of them waits for its answer.
pub const GROUP_JOBS: usize = 1_024;
/// Bytes of values in one group commit: a bound on the WAL between two checkpoints.
pub const GROUP_BYTES: usize = 16 * 1024 * 1024;
/// Lines of one import transaction (design §3).
pub const IMPORT_LINES: usize = 1_000;
/// Records between a cursor and the head are counted up to here, for display.
pub const BEHIND: u64 = 100_000;
/// Declared indexes of all collections together: they are of one table, and every write looks at each.
pub const INDEXES: usize = 64;
/// Bytes of values in one page of a list or an export.
pub const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// Most rows of one page.
pub const PAGE_ROWS: usize = 1_000;
/// Rows that one step of housekeeping touches: it runs between group commits.
pub const TIDY_ROWS: usize = 1_000;
/// What was deleted or moved away is remembered at least this long, whatever a definition says: the cursor of a connected
/// node moves at the latest hourly, and may not fall behind what is forgotten.
pub const RETENTION_MIN_MS: u64 = 2 * 3_600_000;
/// How far apart the revisions are whose time is remembered, milliseconds.
pub const MARK_EVERY_MS: u64 = 86_400_000;
/// Revisions whose time is remembered: longer than any retention that makes sense.
pub const MARKS: u64 = 4_096;
/// Removed fields of one record whose clocks are kept; the oldest go first, and who has not seen their removal reads the
/// collection anew.
pub const REMOVED_CLOCKS: usize = 2_000;
/// Partitions whose newest revision is held in memory; when there are more, the table starts over.
pub const SHARE_HEADS: usize = 65_536;
/// Nodes whose grants are held in memory between scans.
pub const GRANT_CACHE: usize = 32_768;
/// Rows of one back-fill part that are looked at when most of them are tombstones.
pub const FILL_LOOKS: usize = 4_096;
/// The same for a repair, which passes over most rows by their keys, in the index: a node whose large partition differs a
/// little should not wait for hundreds of empty batches.
pub const REPAIR_LOOKS: usize = 65_536;
/// Largest conflict row, bytes of JSON: one losing value of 1 MiB, what it lost against, and those before it.
pub const CONFLICT_ROW_BYTES: usize = 2 * 1024 * 1024;
/// A value in a conflict row that did not lose is shown by its hash and length above this, bytes.
pub const CONFLICT_VALUE_BYTES: usize = 4 * 1024;
/// Losers that one open conflict row lists, the newest; `count` goes on.
pub const CONFLICT_LOSERS: usize = 100;
/// Records that one write may make the judge load, bytes of their values: 1,000 ops on records of 1 MiB would take a GiB.
pub const JUDGED_BYTES: usize = 256 * 1024 * 1024;
/// Open conflict rows of one node; at that many its writes wait (design §4).
pub const OPEN_CONFLICTS_PER_NODE: u64 = 10_000;
/// All definitions of a hub together, bytes of JSON: those of a node's grants travel in one frame of 4 MiB.
pub const DEFINITIONS_BYTES: u64 = 2 * 1024 * 1024;
/// Rows that one scan looks at: exit markers of records that the node still gets are passed over, and end a batch too.
pub const SCAN_LOOKS: usize = 4_096;
/// Jobs that wait for the writer; every API connection has at most one, every session two. When there are more, callers
/// are told to come back: a queue that grows only makes everybody late.
pub const WRITER_QUEUE_JOBS: usize = 8_192;
/// Bytes of values in the jobs that wait for the writer: four groups. One job is always taken.
pub const WRITER_QUEUE_BYTES: usize = 4 * GROUP_BYTES;
/// Threads that answer reads of the API; each has a connection of its own.
pub const LOOKUP_THREADS: usize = 2;
/// Threads that read batches for nodes, apart from the API's so that a reconnecting fleet does not slow people down.
pub const SCAN_THREADS: usize = 2;
/// Reads of the API that wait for a thread: as many as its connections may ask at once, and then some.
pub const LOOKUP_QUEUE: usize = 2_048;
/// Batches that wait to be read. Each session wants one at a time, so this is a bound on sessions.
pub const SCAN_QUEUE: usize = 65_536;
/// How long after housekeeping came to its end it begins anew.
pub const TIDY_PAUSE: Duration = Duration::from_secs(600);
/// How long a busy writer puts housekeeping off at most.
pub const TIDY_LATEST: Duration = Duration::from_secs(3_600);
/// The shortest and the longest pause between two tries to open a store that failed.
pub const REOPEN_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How often what is learned about nodes is saved: one transaction for the whole fleet.
pub const SAVE_PAUSE: Duration = Duration::from_secs(3);
/// How often the hub looks whether another day has begun, for what it shows of bytes.
pub const DAY_LOOK: Duration = Duration::from_secs(10);
/// Events of nodes that wait to be saved; the newest are dropped above it, and the log has them all.
pub const EVENTS_WAITING: usize = 4_096;
/// Nodes in one job that saves what was learned: keeps the transaction short.
pub const SEEN_PER_JOB: usize = 1_000;
/// How long a node whose Hello finds the writer's queue full stays away, milliseconds (design §5: 5 s at most).
pub const BUSY_RETRY_MS: u64 = 2_000;
/// Sessions that begin a second, where nothing else is configured: 20,000 nodes are back after 100 s, and connected ones go on.
pub const ADMIT_RATE: u32 = 200;
/// Sessions that begin at once after a quiet time, where nothing else is configured: a small fleet comes back without waiting.
pub const ADMIT_BURST: u32 = 200;
/// Nodes that read back-fills at once, where nothing else is configured: with full windows they hold 300 MiB.
pub const SNAPSHOTS: u32 = 256;
/// How long a node that fills keeps its place while others wait, milliseconds: some megabytes, or some batches of a slow link.
pub const FILL_SLICE_MS: u64 = 10_000;
/// A node whose turn comes within this time waits for it on the open link, milliseconds: less than the 5 s in which an edge wants
/// an answer, and cheaper than another handshake.
pub const TURN_SOON_MS: u64 = 1_000;
/// How long after its turn a ticket is good, milliseconds: a slow handshake, over another way than the first one.
pub const TURN_LATE_MS: u64 = 10_000;
/// The longest time for which a node with a ticket is sent away, milliseconds: it learns of a restarted hub by coming back.
pub const TURN_RETRY_MS: u64 = 60_000;
/// The same without a ticket (design §5).
pub const TURN_RETRY_BLIND_MS: u64 = 5_000;
/// How far ahead turns are given out, milliseconds. Whoever comes later is sent away without a place.
pub const TURNS_AHEAD_MS: u64 = 600_000;
/// Turns that one node may take in a row, and how often one more, milliseconds: a node that flaps takes a fiftieth of them.
pub const TURN_OWN_BURST: u32 = 50;
/// See [`TURN_OWN_BURST`].
pub const TURN_OWN_EVERY_MS: u64 = 250;
/// Sessions are told of the hub's end within this time; whoever reads more slowly learns it from the link.
pub const SESSIONS_END: Duration = Duration::from_secs(2);
/// Everything must have ended this long after SIGTERM; systemd and operators rely on five seconds in all.
pub const DRAIN: Duration = Duration::from_secs(4);
/// Answers to joins that are remembered, so that a machine whose answer was lost gets it again.
pub const JOIN_ANSWERS: usize = 1_024;
/// How long a join token is good where the request does not say.
pub const JOIN_TOKEN_TTL: Duration = Duration::from_secs(86_400);
/// How long a join token may be good.
pub const JOIN_TOKEN_TTL_MAX: Duration = Duration::from_secs(366 * 86_400);
/// How often one join token can be used at most: a fleet's worth.
pub const JOIN_TOKEN_USES: u32 = 100_000;
/// Nodes whose distance to the head is counted for one scrape of the metrics; in sync costs nothing and is not counted.
pub const METRICS_BEHIND: usize = 1_000;
/// Nodes that a list in the status names; the rest is a number.
pub const NODES_NAMED: usize = 20;
/// A node that is online and behind for longer than this is worth a warning: at 20,000 records a second it had the time.
pub const ONLINE_BEHIND: Duration = Duration::from_secs(600);
/// A node that is behind and was not heard of for longer than this is worth a warning: a shop is closed on a Sunday.
pub const AWAY_BEHIND: Duration = Duration::from_secs(2 * 86_400);
/// Certificates of hubs and nodes are renewed with 30 days left; one with less than this left was not.
pub const CERTIFICATE_SHORT: Duration = Duration::from_secs(20 * 86_400);
/// With less than this left of the authority's certificate it is time to plan a new one: every node must get it.
pub const CA_SHORT: Duration = Duration::from_secs(365 * 86_400);
/// Below so much free disk, or a twentieth of it, writes are refused, so that what is left serves what must be stored.
pub const REFUSE_FREE_BYTES: u64 = 256 * 1024 * 1024;
/// With less free disk than this, bytes, the reserve is given back: a commit with its log fits.
pub const TIGHT_FREE_BYTES: u64 = 4 * 1024 * 1024;
/// How often the hub's certificate is looked at.
pub const CERTIFICATE_CHECK: Duration = Duration::from_secs(86_400);
/// Pages that one step of a backup copies: between two steps the log is looked at.
pub const BACKUP_STEP_PAGES: i32 = 1_024;
/// How much the log may grow while a backup reads, bytes: a reader keeps it from being shortened, and a hub that writes
/// faster than its database can be copied must not fill the disk with it.
pub const BACKUP_LOG_BYTES: u64 = 1024 * 1024 * 1024;
/// Largest member of a backup beside the database, bytes: keys and tokens are small, and a hundred thousand revoked
/// certificates are not more.
pub const BACKUP_SMALL_BYTES: u64 = 16 * 1024 * 1024;
/// Largest manifest of a backup, bytes.
pub const BACKUP_MANIFEST_BYTES: u64 = 64 * 1024;
/// Members of a backup: the database, the token, and what `pki/` holds.
pub const BACKUP_MEMBERS: usize = 64;
/// Largest file of revoked serial numbers, bytes: more lines than a hub of this size issues certificates in years.
pub const REVOKED_BYTES: u64 = BACKUP_SMALL_BYTES;
/// How long somebody who asks for a verification waits for it: what is behind by little, or differs in a few ranges, is
/// mended in this time.
pub const VERIFY_WAIT: Duration = Duration::from_secs(30);
/// When the node is asked once more meanwhile.
pub const VERIFY_AGAIN: Duration = Duration::from_secs(5);
/// Rows of records and of writes that one step of a watch looks at.
pub const WATCH_LOOKS: usize = 2_048;
/// Events that one step of a watch brings: a reader is not held for long.
pub const WATCH_EVENTS: usize = 256;
/// Bytes of values that one step of a watch brings, at least one record.
pub const WATCH_BYTES: usize = 64 * 1024;
