//! The tables. A later version adds its steps to [`MIGRATIONS`]; those of a released one never change.

use rusqlite::Connection;

use super::digests;
use super::error::StoreError;
use super::indexes;

/// Marks the file as ours: "TBLC".
pub(super) const APPLICATION_ID: i64 = 0x5442_4c43;

/// The format of this program: how many migrations it knows.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// A part of a migration.
pub(super) enum Step {
    /// Statements.
    Sql(&'static str),
    /// What statements cannot say.
    Code(fn(&Connection) -> Result<(), StoreError>),
}

impl Step {
    /// Carries it out, in the transaction of all that are missing.
    pub(super) fn run(&self, conn: &Connection) -> Result<(), StoreError> {
        match self {
            Self::Sql(statements) => Ok(conn.execute_batch(statements)?),
            Self::Code(code) => code(conn),
        }
    }
}

/// Each brings a database from its index to the next format.
pub(super) const MIGRATIONS: &[&[Step]] = &[
    &[Step::Sql(FIRST)],
    &[Step::Sql(SECOND), Step::Code(digests::fill_in), Step::Sql(SECOND_INDEXES)],
    &[Step::Sql(THIRD), Step::Code(indexes::make_all)],
];

/// Notes:
/// - `records` is a rowid table although it has a key: rows come in the order they were first stored, so a catch-up
///   scan walks the file forwards, and large values stay out of the inner pages.
/// - `share` is NULL for a record that goes to no node, `''` for the one partition of a collection that is not cut, and
///   `=VALUE` for a partition.
/// - `writes` has the revision as its row id: within one database numbers and revisions rise together, so the index by
///   database alone is the order of its outcomes. Database 0 is the cloud's own API.
/// - Rows of a deleted collection stay until housekeeping removes them; its id is never used again.
const FIRST: &str = r#"
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    head INTEGER NOT NULL,
    hlc INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE epochs (
    seq INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    first INTEGER NOT NULL,
    opened_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE collections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    revision INTEGER NOT NULL,
    definition TEXT NOT NULL
) STRICT;
INSERT INTO collections (name, revision, definition) VALUES ('_conflicts', 0, '{"key":"id","edge":"read-only"}');

CREATE TABLE doomed (collection INTEGER PRIMARY KEY) STRICT;

CREATE TABLE floors (collection INTEGER PRIMARY KEY, revision INTEGER NOT NULL) STRICT;

CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL,
    key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    born INTEGER NOT NULL,
    share TEXT,
    deleted INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    writer TEXT NOT NULL,
    actor TEXT,
    clocks BLOB NOT NULL,
    value TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX records_key ON records (collection, key);
CREATE INDEX records_stream ON records (collection, share, revision, key);

CREATE TABLE exits (
    collection INTEGER NOT NULL,
    share TEXT NOT NULL,
    key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    left_ms INTEGER NOT NULL,
    PRIMARY KEY (collection, share, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX exits_stream ON exits (collection, share, revision, key);

CREATE TABLE conflicts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    collection INTEGER NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    field TEXT NOT NULL,
    hidden INTEGER NOT NULL,
    state TEXT NOT NULL,
    node INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX conflicts_open ON conflicts (collection, key, kind, field, hidden) WHERE state = 'open';
CREATE INDEX conflicts_record ON conflicts (collection, key, state, seq);
CREATE INDEX conflicts_state ON conflicts (state, seq);
CREATE INDEX conflicts_node ON conflicts (node, state);
CREATE INDEX conflicts_age ON conflicts (changed_ms) WHERE state <> 'open';

CREATE TABLE nodes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    labels TEXT NOT NULL,
    revoked INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL DEFAULT 0,
    address TEXT NOT NULL DEFAULT '',
    transport TEXT NOT NULL DEFAULT '',
    version TEXT NOT NULL DEFAULT '',
    serial TEXT NOT NULL,
    old_serial TEXT,
    not_after_ms INTEGER NOT NULL,
    current INTEGER NOT NULL DEFAULT 0,
    cursor INTEGER NOT NULL DEFAULT 0,
    outbox_writes INTEGER NOT NULL DEFAULT 0,
    outbox_oldest_ms INTEGER NOT NULL DEFAULT 0,
    warnings TEXT NOT NULL DEFAULT '[]',
    grants INTEGER NOT NULL
) STRICT;

CREATE TABLE node_grants (
    node INTEGER NOT NULL,
    collection INTEGER NOT NULL,
    share TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (node, collection, share)
) STRICT, WITHOUT ROWID;
CREATE INDEX node_grants_collection ON node_grants (collection, node);

CREATE TABLE node_events (
    node INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (node, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE databases (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    node INTEGER NOT NULL,
    database BLOB NOT NULL,
    taken INTEGER NOT NULL,
    confirmed INTEGER NOT NULL,
    offered INTEGER NOT NULL,
    acked INTEGER NOT NULL DEFAULT 0,
    last_used_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX databases_node ON databases (node, database);

CREATE TABLE writes (
    revision INTEGER PRIMARY KEY,
    database INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hash BLOB NOT NULL,
    verdict INTEGER NOT NULL,
    code TEXT,
    detail TEXT,
    conflicts TEXT,
    actor TEXT,
    at_ms INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX writes_number ON writes (database, number);
CREATE INDEX writes_database ON writes (database);

CREATE TABLE join_tokens (
    id TEXT PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    node TEXT,
    replaces INTEGER NOT NULL,
    labels TEXT NOT NULL,
    uses INTEGER NOT NULL,
    used INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE access_tokens (
    id TEXT PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    collections TEXT,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER
) STRICT;
"#;

/// Not released yet: what this version adds goes here. Notes:
/// - `lost`: numbers, from the first to the last, that the node has declared and that never come.
/// - `accepted`: the database that an operator wants to be a node's, until it has come.
/// - `hash` of a record is NULL where it is not live, see [`digests`]; it stands before the value, which may be large.
/// - A partition that holds nothing has no row in `digests`; `sum` is 16 bytes, little-endian.
/// - `verified_ms`: when the digests of the node's current database last agreed.
/// - `previous` is the database that this one took the place of, with its numbers; `start` is the number that it began above, and
///   what both may have committed ends at `upto`.
/// - `effect` is the revision at which another database of the node had handed over the same write; none: this row's own.
/// - What `other` changed up to `revision` of `shared_history` was changed by writes that are this database's too.
/// - `node_grants.rows_since`: since when the node has the conflict rows about this share, where that is above `since`.
/// - `marks`: which revision was the newest at the end of a day, so that the age of a field clock is known.
const SECOND: &str = r#"
ALTER TABLE databases ADD COLUMN previous INTEGER NOT NULL DEFAULT 0;
ALTER TABLE databases ADD COLUMN start INTEGER NOT NULL DEFAULT 0;
ALTER TABLE databases ADD COLUMN upto INTEGER NOT NULL DEFAULT 0;
ALTER TABLE writes ADD COLUMN effect INTEGER;
CREATE TABLE shared_history (
    database INTEGER NOT NULL,
    other INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (database, other)
) STRICT, WITHOUT ROWID;
CREATE TABLE lost (
    database INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (database, first)
) STRICT, WITHOUT ROWID;

CREATE TABLE accepted (node INTEGER PRIMARY KEY, database BLOB NOT NULL) STRICT;

ALTER TABLE node_grants ADD COLUMN rows_since INTEGER NOT NULL DEFAULT 0;
CREATE INDEX floors_revision ON floors (revision);
CREATE INDEX exits_age ON exits (collection, left_ms);
CREATE TABLE marks (at_ms INTEGER PRIMARY KEY, head INTEGER NOT NULL) STRICT;

ALTER TABLE nodes ADD COLUMN verified_ms INTEGER;

CREATE TABLE digests (
    collection INTEGER NOT NULL,
    share TEXT NOT NULL,
    count INTEGER NOT NULL,
    sum BLOB NOT NULL,
    PRIMARY KEY (collection, share)
) STRICT, WITHOUT ROWID;

DROP INDEX records_key;
DROP INDEX records_stream;
ALTER TABLE records RENAME TO records_first;
CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL,
    key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    born INTEGER NOT NULL,
    share TEXT,
    deleted INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    writer TEXT NOT NULL,
    actor TEXT,
    clocks BLOB NOT NULL,
    hash BLOB,
    value TEXT NOT NULL
) STRICT;
"#;

/// After the rows have moved.
const SECOND_INDEXES: &str = r#"
DROP TABLE records_first;
CREATE UNIQUE INDEX records_key ON records (collection, key);
CREATE INDEX records_stream ON records (collection, share, revision, key);
CREATE INDEX records_tombstones ON records (collection, updated_ms) WHERE deleted = 1;
"#;

/// What the API keeps beside the records. Notes:
/// - `requests`: those that had an Idempotency-Key, in the order in which they were decided; node 0 is the hub's own API, whose keys
///   are hashed with the caller's name. `write` answers the request, `revision` is where it was decided, `told` what became of its
///   records.
/// - `partial_writes`: of a database the write that comes in parts, with the hash and the length of the whole and how much of it is in
///   `parts`, from the beginning and without a hole.
const THIRD: &str = r#"
CREATE TABLE requests (
    node INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    key BLOB NOT NULL,
    request BLOB NOT NULL,
    write TEXT NOT NULL,
    revision INTEGER NOT NULL,
    verdict INTEGER NOT NULL,
    code TEXT,
    at_ms INTEGER NOT NULL,
    told BLOB NOT NULL,
    PRIMARY KEY (node, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX requests_key ON requests (node, key);
CREATE TABLE partial_writes (
    database INTEGER PRIMARY KEY,
    number INTEGER NOT NULL,
    hash BLOB NOT NULL,
    total INTEGER NOT NULL,
    held INTEGER NOT NULL,
    touched_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE parts (
    database INTEGER NOT NULL,
    at INTEGER NOT NULL,
    bytes BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX parts_place ON parts (database, at);
CREATE INDEX writes_notable ON writes (verdict, revision) WHERE verdict > 1;
CREATE INDEX records_changes ON records (revision, collection, key);
"#;
