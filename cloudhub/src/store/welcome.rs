//! What Welcome says: where the stream begins, and what is to be cleared up before it does.

use proto::frame::{Held, Hello};
use proto::ids::{Cursor, Epoch, EpochStart, Position, Revision};
use proto::limits::{EPOCHS_KEPT, UNACKED_WRITES};
use proto::session::handshake::{FEATURE_PARTS, FEATURE_REPAIR};
use rusqlite::Connection;

use super::admit::Database;
use super::error::{StoreError, counted, limit, stored};
use super::forks::Fork;
use super::grants;
use super::job::{Admitted, Peer};
use super::kin::{self, Kin};
use super::lost;
use super::nodes;
use super::parts;
use super::status::outcomes_above;
use super::work::Work;

/// Says it of a database that was admitted.
pub(super) fn welcome(
    work: &mut Work<'_>,
    peer: Peer,
    database: &Database,
    hello: &Hello,
    fork: Option<Fork>,
    kin: &Kin,
) -> Result<Admitted, StoreError> {
    let epochs = epochs(work.conn)?;
    let head = Revision(work.head);
    // An edge that cannot ask for single records reads everything again.
    let asks = hello.features.iter().any(|feature| feature == FEATURE_REPAIR);
    let reset = !asks && fork.is_some_and(|fork| fork.passed);
    let fork = fork.filter(|_| asks);
    let position = position(hello, head, reset, fork);
    renew(work, peer, &position)?;
    let head = Revision(work.head);
    let answer_first = answer_first(database, hello, kin).max(passed(work.conn, database, hello, &position)?);
    let shares = grants::load(work.conn, work.shared, peer.node, work.committed)?;
    let grants = shares.to_wire(work.conn, head.0)?;
    let told = grants.revision;
    let current = epochs.last().map_or(Epoch(0), |start| start.epoch);
    let new = reset || hello.cursor.is_none() || grants.hash() != hello.grants_hash;
    work.conn.prepare_cached("UPDATE nodes SET cursor = ?2 WHERE id = ?1")?.execute((peer.node, stored(position.revision.0)?))?;
    Ok(Admitted {
        peer,
        session: database.numbers.offered,
        epochs,
        head,
        unacknowledged: outcomes_above(work.conn, peer, position.revision)?,
        cursor: Cursor { epoch: current, position },
        reset,
        fork: fork.map(|fork| fork.end),
        answer_first,
        labels: grants.labels.clone(),
        hashes: kin::hashes(work.conn, database.id, hello.outbox_first, database.taken.min(hello.newest_write), UNACKED_WRITES)?,
        held: held(work.conn, database, hello)?,
        taken: database.taken,
        grants: new.then_some(grants),
        told,
    })
}

/// What is held of the next write, for an edge that can go on with it.
fn held(conn: &Connection, database: &Database, hello: &Hello) -> Result<Option<Held>, StoreError> {
    if !hello.features.iter().any(|feature| feature == FEATURE_PARTS) {
        return Ok(None);
    }
    let next = lost::next(&lost::above(conn, database.id, database.taken)?, database.taken);
    parts::held(conn, database.id, next)
}

/// After a long time away: what the stream cannot serve any more is given anew.
fn renew(work: &mut Work<'_>, peer: Peer, position: &Position) -> Result<(), StoreError> {
    let renewed = grants::renew(work, peer.node, position.revision.0)?;
    if renewed.is_empty() {
        return Ok(());
    }
    let (at, all) = (position.revision, renewed.join(", "));
    let text = format!("it has come up to revision {at}, and what was deleted or moved since is forgotten in part: it reads anew {all}");
    nodes::event(work, peer.node, "below_floor", &text)
}

fn position(hello: &Hello, head: Revision, reset: bool, fork: Option<Fork>) -> Position {
    let Some(cursor) = hello.cursor.as_ref().filter(|_| !reset) else { return Position::at(head) };
    let own = cursor.position.clone();
    fork.map_or(own.clone(), |fork| own.min(Position::at(fork.end)))
}

/// Up to which number outcomes go before all else: of writes that another database may have brought, so that what they did
/// does not arrive before their outcomes.
fn answer_first(database: &Database, hello: &Hello, kin: &Kin) -> u64 {
    let pending = match hello.outbox_first {
        0 => database.taken + 1,
        first => first.min(database.taken + 1),
    };
    let newest = kin.newest().min(hello.newest_write);
    if pending <= newest { newest } else { 0 }
}

/// The newest write that the node waits for although its cursor has passed the outcome; 0: none, as it should be. What spoilt the
/// outcome is gone: it goes once more.
fn passed(conn: &Connection, database: &Database, hello: &Hello, position: &Position) -> Result<u64, StoreError> {
    if hello.outbox_first == 0 || hello.outbox_first > database.taken {
        return Ok(0);
    }
    let newest: Option<i64> = conn
        .prepare_cached("SELECT max(number) FROM writes WHERE database = ?1 AND number BETWEEN ?2 AND ?3 AND revision <= ?4")?
        .query_row((database.id, stored(hello.outbox_first)?, stored(database.taken)?, stored(position.revision.0)?), |row| row.get(0))?;
    newest.map_or(Ok(0), counted)
}

/// The newest epochs, oldest first.
fn epochs(conn: &Connection) -> Result<Vec<EpochStart>, StoreError> {
    let mut starts = conn
        .prepare_cached("SELECT epoch, first FROM epochs ORDER BY seq DESC LIMIT ?1")?
        .query_map([limit(EPOCHS_KEPT)], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?
        .map(|row| {
            let (epoch, first) = row?;
            Ok(EpochStart { epoch: Epoch(epoch.cast_unsigned()), first: Revision(counted(first)?) })
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    starts.reverse();
    Ok(starts)
}
