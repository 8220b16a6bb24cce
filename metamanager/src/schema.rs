//! The tables, and how older files become newer ones.
//!
//! What is written most is kept leanest: a local write appends one row to `writes` and touches one of `overlay`.
//! `base` and `overlay` are rowid tables with a small index on the key, so that a record's text lies in the order in
//! which it came and a random key costs a page of the index only.

use rusqlite::Connection;

use crate::digests;
use crate::error::Done;
use crate::indexes;

/// `Tmbl`: tells our files from others.
pub(crate) const APPLICATION_ID: i32 = 0x546d_626c;

/// What leads from format N to N + 1: statements, then what SQL alone cannot do.
struct Migration {
    statements: &'static str,
    code: fn(&Connection) -> Done<()>,
}

const MIGRATIONS: &[Migration] = &[
    Migration { statements: FORMAT_1, code: |_| Ok(()) },
    Migration { statements: FORMAT_2, code: digests::compute_all },
    Migration { statements: FORMAT_3, code: indexes::make_all },
    Migration { statements: FORMAT_4, code: |_| Ok(()) },
];

/// The newest format that this version knows.
pub(crate) const FORMAT: i32 = MIGRATIONS.len() as i32;

/// Numbers are unsigned in memory and stored bit for bit as SQLite's signed ones.
const FORMAT_1: &str = "
-- One row: everything that is known of the whole database. `opens` changes at every start, so that the first commit of
-- a process has something to sync.
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    database BLOB NOT NULL,
    opens INTEGER NOT NULL DEFAULT 0,
    session INTEGER NOT NULL DEFAULT 0,
    clock INTEGER NOT NULL DEFAULT 0,
    newest INTEGER NOT NULL DEFAULT 0,
    answered INTEGER NOT NULL DEFAULT 0,
    declared INTEGER NOT NULL DEFAULT 0,
    outbox_writes INTEGER NOT NULL DEFAULT 0,
    outbox_bytes INTEGER NOT NULL DEFAULT 0,
    delivered_bytes INTEGER NOT NULL DEFAULT 0,
    rejected_writes INTEGER NOT NULL DEFAULT 0,
    rejected_bytes INTEGER NOT NULL DEFAULT 0,
    trimmed INTEGER NOT NULL DEFAULT 0,
    overlays INTEGER NOT NULL DEFAULT 0,
    epoch INTEGER,
    cursor_revision INTEGER,
    cursor_collection TEXT,
    cursor_key TEXT,
    reached INTEGER NOT NULL DEFAULT 0,
    grants_revision INTEGER,
    generation INTEGER NOT NULL DEFAULT 0,
    conflicts_open INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE epochs (place INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, first INTEGER NOT NULL) STRICT;
-- While a process runs an id means the same name; without a definition the node does not get it (any more), and a start
-- removes the row when nothing mentions it.
CREATE TABLE collections (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    revision INTEGER,
    definition TEXT,
    records INTEGER NOT NULL DEFAULT 0,
    view INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE grants (
    id INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL,
    share TEXT,
    since INTEGER NOT NULL,
    filled_from INTEGER NOT NULL,
    at_revision INTEGER NOT NULL DEFAULT 0,
    at_collection TEXT,
    at_key TEXT,
    done INTEGER NOT NULL DEFAULT 0,
    sweep INTEGER NOT NULL,
    generation INTEGER NOT NULL
) STRICT;
-- What the cloud last said. `fill` is the generation of the back-fill that saw the row last.
CREATE TABLE base (
    id INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL,
    key TEXT NOT NULL,
    granted INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    born INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    fill INTEGER NOT NULL,
    writer TEXT NOT NULL,
    actor TEXT,
    value TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX base_key ON base (collection, key);
-- What readers see where it is not base: one row a record that has ops laid over it. `value` is null where they delete
-- it. The laid writes are a chain: `newest`, then what `writes.prev` names, down to `oldest`.
CREATE TABLE overlay (
    id INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL,
    key TEXT NOT NULL,
    newest INTEGER NOT NULL,
    oldest INTEGER NOT NULL,
    floor INTEGER NOT NULL,
    included INTEGER NOT NULL,
    creator INTEGER,
    at_ms INTEGER NOT NULL,
    actor TEXT,
    laid BLOB NOT NULL,
    value TEXT
) STRICT;
CREATE UNIQUE INDEX overlay_key ON overlay (collection, key);
-- Records with ops that have their outcome and wait for the record or for the head.
CREATE TABLE held (
    collection INTEGER NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (collection, key)
) WITHOUT ROWID, STRICT;
-- Every write of this database that is still kept: the outbox, delivered, rejected. A row never changes; `prev` names,
-- op by op, the write that lay over the same record before.
CREATE TABLE writes (number INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, prev BLOB NOT NULL, bytes BLOB NOT NULL) STRICT;
CREATE TABLE outcomes (
    number INTEGER PRIMARY KEY,
    verdict INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    declared INTEGER NOT NULL DEFAULT 0,
    code TEXT,
    detail TEXT,
    conflicts TEXT
) STRICT;
CREATE INDEX outcomes_notable ON outcomes (verdict, number) WHERE verdict > 0;
-- Parts of one cloud transaction that is not complete yet. `kind`: 0 a value, 1 deleted, 2 left.
CREATE TABLE staging (
    collection TEXT NOT NULL,
    key TEXT NOT NULL,
    share TEXT,
    revision INTEGER NOT NULL,
    born INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    writer TEXT NOT NULL,
    actor TEXT,
    kind INTEGER NOT NULL,
    value TEXT,
    PRIMARY KEY (collection, key)
) WITHOUT ROWID, STRICT;
-- Records that could not be stored.
CREATE TABLE blocked (
    collection TEXT NOT NULL,
    key TEXT NOT NULL,
    share TEXT,
    revision INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    why TEXT NOT NULL,
    PRIMARY KEY (collection, key)
) WITHOUT ROWID, STRICT;
-- Which conflict rows are about which record. `state`: 0 open, 1 auto, 2 resolved.
CREATE TABLE conflicts (
    id TEXT PRIMARY KEY,
    collection TEXT NOT NULL,
    key TEXT NOT NULL,
    state INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX conflicts_open ON conflicts (collection, key, id) WHERE state = 0;
CREATE INDEX conflicts_state ON conflicts (state, id);
";

/// Labels, and digests (design §5): what a row of base or a blocked record contributes to its grant's digest, and those digests.
/// - `writes.sum`: of number and bytes as they are stored, by which a write is known to be whole in a damaged file; null: not
///   known.
/// - `meta.previous`: the database that this one took the place of. `meta.top`: the newest revision that anything was stored of.
/// - `aliases`: ids that this database had, with the newest number given under each.
/// - `forks`: writes up to a number were made before it was known that the cloud's history forks at a revision.
/// - A row of base with revision 0 is of a lost history and asked for by its key.
/// - `collections.arriving`: nothing is read from it before its back-fill is done, because a damaged file was replaced.
/// - `writes.hash`: of the bytes as they were committed, where old values were cut out of them; null: that of `bytes`.
/// - `meta.wipe`: the file and its log may still hold what came through a right that is gone; one more than the pages that are
///   clean, 0: nothing is to be done.
const FORMAT_2: &str = "
-- The node's own, as a JSON object; null until the cloud told them.
ALTER TABLE meta ADD COLUMN labels TEXT;
-- Numbers, from the first to the last, that a restored cloud lost and that are not kept here any more.
CREATE TABLE lost (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, at_ms INTEGER NOT NULL) STRICT;
-- Null: the row does not count, because the newest version of the record is blocked, or is not known.
ALTER TABLE base ADD COLUMN hash BLOB;
-- Of what the cloud sent; null where no grant of this node holds it, or one that is filled again has not brought it yet.
ALTER TABLE blocked ADD COLUMN hash BLOB;
ALTER TABLE grants ADD COLUMN digest_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE grants ADD COLUMN digest_sum BLOB NOT NULL DEFAULT x'00000000000000000000000000000000';
-- The back-fill that is open is a repair of these ranges of keys only.
ALTER TABLE grants ADD COLUMN ranges BLOB;
-- When digests last agreed.
ALTER TABLE meta ADD COLUMN verified_ms INTEGER;
ALTER TABLE writes ADD COLUMN sum BLOB;
ALTER TABLE meta ADD COLUMN previous BLOB;
ALTER TABLE meta ADD COLUMN top INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN saved INTEGER NOT NULL DEFAULT 0;
ALTER TABLE collections ADD COLUMN arriving INTEGER NOT NULL DEFAULT 0;
CREATE TABLE aliases (database BLOB PRIMARY KEY, upto INTEGER NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE forks (number INTEGER PRIMARY KEY, revision INTEGER NOT NULL) STRICT;
CREATE INDEX base_unsure ON base (collection, key) WHERE revision = 0;
UPDATE meta SET top = max(coalesce(cursor_revision, 0), reached, coalesce(grants_revision, 0),
    coalesce((SELECT max(revision) FROM base), 0), coalesce((SELECT max(revision) FROM outcomes), 0));
ALTER TABLE writes ADD COLUMN hash BLOB;
ALTER TABLE meta ADD COLUMN wipe INTEGER NOT NULL DEFAULT 0;
";

/// What the local API keeps beside the records.
/// - `changes`: what may have changed for readers (`changes` writes it, `follow` reads it): `seq` is the number of the row's first
///   entry. `meta.log`: the log's random id (0: none yet); `meta.changes`: the number of the next entry.
const FORMAT_3: &str = "
CREATE TABLE changes (seq INTEGER PRIMARY KEY, entries BLOB NOT NULL) STRICT;
ALTER TABLE meta ADD COLUMN log INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN changes INTEGER NOT NULL DEFAULT 1;
-- Requests that had an Idempotency-Key, in their order: hashes of the key and of what was asked, and the write that answers it,
-- by number or, where it is another database's, by id. `told`: what became of its records, see proto::repeat; `verdict`: of the
-- write, once it is no longer kept.
CREATE TABLE requests (
    seq INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    request BLOB NOT NULL,
    number INTEGER,
    writer TEXT,
    at_ms INTEGER NOT NULL,
    told BLOB NOT NULL,
    verdict INTEGER
) STRICT;
CREATE UNIQUE INDEX requests_key ON requests (key);
CREATE INDEX requests_number ON requests (number) WHERE number IS NOT NULL;
-- The write that sent this one once more.
ALTER TABLE outcomes ADD COLUMN resent INTEGER;
-- Tokens of the local API; `hash`: SHA-256 of the token.
CREATE TABLE access_tokens (
    id TEXT PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    collections TEXT,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER
) WITHOUT ROWID, STRICT;
";

/// - `reported`: what devices reported and no write carries yet: fields of their twins, the newest value of each.
/// - `writes.system`: it is about the system's collections alone. `meta.system_bytes`: such writes' part of `outbox_bytes`.
/// - `pieces`: of one large value what has come of it, in order of `at` and without a hole; `hash`: of the whole.
const FORMAT_4: &str = "
CREATE TABLE pieces (at INTEGER PRIMARY KEY, hash BLOB NOT NULL, bytes BLOB NOT NULL) STRICT;
CREATE TABLE reported (
    device TEXT NOT NULL,
    field TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (device, field)
) WITHOUT ROWID, STRICT;
ALTER TABLE writes ADD COLUMN system INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN system_bytes INTEGER NOT NULL DEFAULT 0;
";

/// Brings a file of format `from` to [`FORMAT`], all or nothing.
pub(crate) fn migrate(conn: &mut Connection, from: i32) -> Done<()> {
    let tx = conn.transaction()?;
    for migration in MIGRATIONS.iter().skip(usize::try_from(from).unwrap_or(0)) {
        tx.execute_batch(migration.statements)?;
        (migration.code)(&tx)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", FORMAT)?;
    Ok(tx.commit()?)
}
