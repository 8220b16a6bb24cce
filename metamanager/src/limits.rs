//! Every bound of the edge database, with its reason. Those of the data model are in [`proto::limits`].

use std::time::Duration;

/// Bytes of writes that wait for an outcome, and of rejected ones that are kept, unless configured: days of sales, and
/// no card is filled by it.
pub const OUTBOX_BYTES: u64 = 512 * 1024 * 1024;
/// How long a delivered write stays readable: a restored cloud asks for those that it lost.
pub const DELIVERED_KEPT: Duration = Duration::from_hours(7 * 24);
/// Bytes of delivered writes that are kept, whatever their age.
pub const DELIVERED_BYTES: u64 = 64 * 1024 * 1024;
/// How long a rejected write stays readable, inside the outbox bound.
pub const REJECTED_KEPT: Duration = Duration::from_hours(90 * 24);
/// Devices whose reported values go into one write, and about how many bytes of them: a sale behind it waits for little.
pub const REPORT_DEVICES: usize = 256;
/// See [`REPORT_DEVICES`].
pub const REPORT_BYTES: usize = 128 * 1024;
/// Requests with an `Idempotency-Key` that are kept: the newest, whatever the clock says. Weeks of a busy till; 60 MB.
pub const REQUESTS_KEPT: i64 = 1_000_000;
/// Requests between two removals of old ones, so that most commits remove nothing.
pub const REQUESTS_STEP: i64 = 256;
/// Ranges of lost numbers that stay listed; each restore of the cloud makes few.
pub const LOST_RANGES: usize = 1_000;
/// Old writes that a commit of local writes looks at: trimming never makes an answer slow.
pub const TRIM_STEP: usize = 32;
/// Old writes that a commit of what the cloud sent looks at: more, because nobody waits for it, and a node that writes
/// no more gets rid of what it kept within days.
pub const TRIM_STEP_APPLIED: usize = 256;
/// Downstream pauses below this much free disk, bytes, or below a tenth of it, whichever is less.
pub const PAUSE_FREE_BYTES: u64 = 512 * 1024 * 1024;
/// With less free disk than this, bytes, the reserve is given back: a batch of outcomes with its log fits.
pub const TIGHT_FREE_BYTES: u64 = 4 * 1024 * 1024;
/// Local writes are refused below this much free disk, bytes, or below a twentieth of it, whichever is less.
pub const REFUSE_FREE_BYTES: u64 = 256 * 1024 * 1024;
/// The newest laid writes that a record names, to readers and in ops that count: a hot record's list stays short.
pub const LAID_LISTED: usize = proto::limits::STANDS_ON;
/// Writes that one group commit takes: what arrived while the last commit ran, and no commit grows without end.
pub const GROUP_WRITES: usize = 512;
/// Commands that wait for the writer. A full queue is an answer (429), never growth.
pub const QUEUE: usize = 4_096;
/// Read connections of one process; more would only share the same two cores.
pub const READERS: usize = 2;
/// Records on one page of a list.
pub const LIST_LIMIT: usize = 1_000;
/// Bytes of values on one page, at least one record: a thousand large records do not fill the memory of a Pi.
pub const LIST_BYTES: usize = 4 * 1024 * 1024;
/// Blocked records that the status lists; the rest is a number.
pub const BLOCKED_LISTED: usize = 100;
/// Decoded writes that one transaction keeps at hand while it lays ops again, bytes of their encoded form.
pub const DECODED_BYTES: usize = 2 * 1024 * 1024;
/// Grants whose sums by range one comparison sends up: 256 KiB in a frame. What else differs is found by the next one.
pub const COMPARE_GRANTS: usize = 64;
/// Rows after which a check of the whole database looks whether it should stop, and which one commit mends: a local write
/// never waits long behind it.
pub const CHECK_STEP: usize = 1_000;
/// Damaged rows that one check takes down; a file with more of them is read again after these were mended.
pub const CHECK_DAMAGED: usize = 100_000;
/// How long the kept digests are trusted without reading the rows.
pub const CHECK_EVERY: Duration = Duration::from_hours(7 * 24);
/// Page cache of a check, KiB: it reads every page once.
pub const CHECK_CACHE_KIB: i32 = 256;
/// Kept writes that are looked at together when a right is lost.
pub const WITHDRAW_STEP: usize = 64;
/// How often declared indexes are built again while a process runs, because one says something else than the rows. After that it
/// is not they that are damaged, and the file is put aside.
pub const REINDEXED: u32 = 8;
/// Pages of the file that one step of wiping reads, 16 MiB: a file of usual size is clean before the loss of a right is
/// acknowledged, and in a large one local writes do not wait long.
pub const WIPE_PAGES: u64 = 4_096;
/// How long the writer waits for work before it goes on wiping.
pub const WIPE_PAUSE: Duration = Duration::from_millis(200);
/// Bytes of a query's statement.
pub const QUERY_SQL_BYTES: usize = 16 * 1024;
/// Collections that one statement names: SQLite joins 64 tables at most, and each of ours is two.
pub const QUERY_TABLES: usize = 32;
/// Rows of an answer, unless asked for otherwise.
pub const QUERY_ROWS: usize = 10_000;
/// Rows of an answer, at most.
pub const QUERY_ROWS_MOST: usize = 100_000;
/// Bytes of an answer's rows, as JSON: as much as a page of records.
pub const QUERY_BYTES: usize = 4 * 1024 * 1024;
/// How long a query runs, unless asked for otherwise.
pub const QUERY_TIME: Duration = Duration::from_secs(5);
/// How long a query runs, at most: the log of the database cannot be cut while one reads.
pub const QUERY_TIME_MOST: Duration = Duration::from_secs(30);
/// Queries that run at once: as many as there are cores on the smallest machines, less those that sell.
pub const QUERIES: usize = 2;
/// Queries that wait for their turn; more are answered 429.
pub const QUERIES_WAITING: usize = 32;
/// How long one waits for its turn.
pub const QUERY_TURN: Duration = Duration::from_secs(2);
/// What all queries that run together may take, bytes: a sort of some hundred thousand rows, and a Pi of 512 MiB lives.
pub const QUERY_MEMORY_BYTES: u64 = 64 * 1024 * 1024;
/// How often their memory is looked at: a row of a megabyte is copied in less.
pub const QUERY_LOOK: Duration = Duration::from_millis(1);
/// Steps of SQLite's machine between two looks at the clock: few, because each may copy a megabyte.
pub const QUERY_STEPS: i32 = 100;
/// Bytes of one value inside a query: a record of the largest size, and what surrounds it.
pub const QUERY_VALUE_BYTES: i32 = 2 * proto::limits::VALUE_BYTES as i32;
/// Columns of a result.
pub const QUERY_COLUMNS: i32 = 200;
/// Depth of an expression.
pub const QUERY_DEPTH: i32 = 100;
/// Parts of a UNION.
pub const QUERY_COMPOUND: i32 = 50;
/// Length of a prepared statement, in SQLite's steps.
pub const QUERY_OPS: i32 = 100_000;
/// Arguments of a function.
pub const QUERY_FUNCTION_ARGUMENTS: i32 = 32;
/// Bytes of a LIKE or GLOB pattern: its work is this times the length of the text, and cannot be interrupted.
pub const QUERY_PATTERN_BYTES: i32 = 256;
/// Parameters of a statement.
pub const QUERY_PARAMETERS: i32 = 256;
/// Entries of the log of changes that are kept: an application that was away for a day of a busy shop goes on where it
/// was. 2 MiB of short keys; one that was away for longer lists again.
pub const CHANGES_KEPT: u64 = 131_072;
/// Entries beyond those before the oldest are removed, together: no commit pays for one.
pub const CHANGES_STEP: u64 = 4_096;
/// Bytes of entries in one row, before the last: with a key of usual length it fits a page.
pub const CHANGES_ROW_BYTES: usize = 3_500;
/// Entries that one step of following looks at; what it does not want costs next to nothing.
pub const FOLLOW_ENTRIES: usize = 2_048;
/// Records that one step brings: a reader is not held for long.
pub const FOLLOW_RECORDS: usize = 256;
/// Bytes of values that one step brings, at least one record: two hundred that follow do not fill the memory of a Pi.
pub const FOLLOW_BYTES: usize = 64 * 1024;
/// Access tokens that exist at one time: of the tills and tablets of one shop.
pub const TOKENS: u64 = 1_000;
/// Pages in the log before SQLite moves them into the file: 16 MB, so that a page that changes often is moved once.
pub const CHECKPOINT_PAGES: u32 = 4_000;
/// The log file is cut back to this size, bytes.
pub const LOG_BYTES: u32 = 64 * 1024 * 1024;
/// Page cache of the writer, KiB.
pub const WRITER_CACHE_KIB: i32 = 4_096;
/// Page cache of each reader, KiB.
pub const READER_CACHE_KIB: i32 = 1_024;
/// Prepared statements that a connection keeps: all that this crate has.
pub const STATEMENTS: usize = 118;
/// How long a connection waits for another's lock: only the checkpoint at shutdown meets one, a reader's, and a
/// shutdown has five seconds.
pub const LOCK_WAIT: Duration = Duration::from_secs(2);
/// Steps of SQLite's machine between two looks at the clock while a file is inspected: well below a millisecond.
pub const INSPECT_STEPS: i32 = 10_000;
/// How long a file is examined after an unclean stop, before the first upload, at most: a gigabyte on a slow card. What is not done
/// by then the digests and every later read look at.
pub const EXAMINE: Duration = Duration::from_secs(60);
/// After this long without a command or a read the connections give their page caches back: 6 MiB that a node at rest does
/// not need. Shorter, and a till between two sales would read from the file again; longer gains nothing.
pub const CALM: Duration = Duration::from_secs(1);
