//! Admission: whether a node's database may have a session, and where its stream begins (design §5, copies and restores).

use proto::frame::{Hello, Reason};
use proto::ids::{Cursor, DatabaseId, Epoch, EpochStart, Position, Revision, WriteId};
use proto::limits::{DATABASES_PER_NODE, EPOCHS_KEPT};
use proto::names::NodeName;
use proto::session::handshake::Numbers;
use rusqlite::{Connection, OptionalExtension};

use super::error::{StoreError, counted, limit, stored};
use super::grants;
use super::job::{AdmitJob, Admitted, Peer};
use super::lost;
use super::nodes;
use super::status::outcomes_above;
use super::work::{JobError, Work};

/// A node's row, as far as admission cares.
struct Node {
    id: i64,
    current: u32,
    serials: (String, Option<String>),
    revoked: bool,
}

/// A database's row.
struct Database {
    id: u32,
    taken: u64,
    numbers: Numbers,
}

/// Admits a Hello, or says why not. The offered session number is durable before Welcome leaves.
pub(super) fn admit(work: &mut Work<'_>, job: &AdmitJob) -> Result<Result<Box<Admitted>, Reason>, JobError> {
    let Some(node) = node(work.conn, &job.node)? else {
        return Ok(refuse("unknown_node", format!("{} is not known here; join it with: edgehub join", job.node)));
    };
    if node.revoked {
        return Ok(refuse("revoked", format!("{} was revoked; join it again with a new token", job.node)));
    }
    if let Some(reason) = check_serial(work, &node, job)? {
        return Ok(Err(reason));
    }
    let hello = &job.hello;
    let fork = is_fork(work, hello)?;
    let known = database(work.conn, node.id, &hello.database)?;
    let accepted = nodes::is_accepted(work.conn, node.id, &hello.database)?;
    if let Some(live) = job.live.filter(|live| *live != hello.database && !accepted) {
        return in_use(work, job, &node, &live);
    }
    let mut database = match known {
        // An operator's word stands for the session number, but no number of a write is given twice.
        Some(known) => match rightful(&known, hello, fork || (accepted && hello.newest_write >= known.taken)) {
            Some(numbers) => Database { numbers, ..known },
            None => return copied(work, job, &node, &known),
        },
        None if databases(work.conn, node.id)? >= DATABASES_PER_NODE as u64 => {
            let text = format!("{} has had {DATABASES_PER_NODE} databases; delete the node on the cloud and join it again", job.node);
            return Ok(refuse("too_many_databases", text));
        }
        None => new_database(work, &node, hello)?,
    };
    if accepted {
        nodes::came(work, node.id)?;
    }
    database.taken = lost::declare(work, node.id, database.id, database.taken, job)?;
    replaced(work, job, &node, database.id)?;
    if fork {
        restored(work, &node, &database, hello)?;
    }
    save(work, job, &node, &database)?;
    Ok(Ok(Box::new(welcome(work, &node, &database, hello, fork)?)))
}

fn refuse(code: &str, detail: String) -> Result<Box<Admitted>, Reason> {
    Err(Reason { code: code.to_owned(), detail })
}

fn node(conn: &Connection, name: &NodeName) -> Result<Option<Node>, StoreError> {
    Ok(conn
        .prepare_cached("SELECT id, current, serial, old_serial, revoked FROM nodes WHERE name = ?1")?
        .query_row([name.as_str()], |row| {
            Ok(Node { id: row.get(0)?, current: row.get(1)?, serials: (row.get(2)?, row.get(3)?), revoked: row.get(4)? })
        })
        .optional()?)
}

/// A machine that was replaced still has a certificate of this name; it is not this node any more. The first use of a
/// renewed one ends the one before.
fn check_serial(work: &Work<'_>, node: &Node, job: &AdmitJob) -> Result<Option<Reason>, StoreError> {
    let Some(serial) = &job.serial else { return Ok(None) };
    if *serial == node.serials.0 {
        if node.serials.1.is_some() {
            work.conn.prepare_cached("UPDATE nodes SET old_serial = NULL WHERE id = ?1")?.execute([node.id])?;
        }
        return Ok(None);
    }
    if node.serials.1.as_ref() == Some(serial) {
        return Ok(None);
    }
    nodes::event_once(work, node.id, "old_certificate", &format!("a machine with certificate {serial} from {} was refused", job.address))?;
    let detail = format!("{} was joined anew on another machine; this one's certificate is no longer good", job.node);
    Ok(Some(Reason { code: "unknown_certificate".to_owned(), detail }))
}

fn database(conn: &Connection, node: i64, id: &DatabaseId) -> Result<Option<Database>, StoreError> {
    let found: Option<(u32, i64, i64, i64)> = conn
        .prepare_cached("SELECT id, taken, confirmed, offered FROM databases WHERE node = ?1 AND database = ?2")?
        .query_row((node, id.0), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    found
        .map(|(id, taken, confirmed, offered)| {
            let numbers = Numbers { confirmed: counted(confirmed)?, offered: counted(offered)? };
            Ok(Database { id, taken: counted(taken)?, numbers })
        })
        .transpose()
}

fn databases(conn: &Connection, node: i64) -> Result<u64, StoreError> {
    counted(conn.prepare_cached("SELECT count(*) FROM databases WHERE node = ?1")?.query_row([node], |row| row.get(0))?)
}

/// The session numbers after this Hello, if it is not a copy's. A store that was restored cannot tell a copy by numbers.
fn rightful(known: &Database, hello: &Hello, fork: bool) -> Option<Numbers> {
    if fork {
        let newest = known.numbers.offered.max(hello.session).max(known.numbers.confirmed);
        return Some(Numbers { confirmed: hello.session, offered: newest.saturating_add(1) });
    }
    if hello.newest_write < known.taken {
        return None;
    }
    known.numbers.offer(hello.session)
}

fn copied(work: &mut Work<'_>, job: &AdmitJob, node: &Node, known: &Database) -> Result<Result<Box<Admitted>, Reason>, JobError> {
    let hello = &job.hello;
    let (session, newest) = (hello.session, hello.newest_write);
    let detail = format!(
        "database {} from {} says session {session} and newest write {newest}; the cloud knows session {} and write {}: a copied card or an old image",
        hello.database, job.address, known.numbers.offered, known.taken
    );
    nodes::event_once(work, node.id, "copied_database", &detail)?;
    Ok(refuse("copied_database", detail))
}

fn in_use(work: &mut Work<'_>, job: &AdmitJob, node: &Node, live: &DatabaseId) -> Result<Result<Box<Admitted>, Reason>, JobError> {
    let detail =
        format!("{} is connected with database {}; another one ({}, from {}) was refused", job.node, live, job.hello.database, job.address);
    nodes::event_once(work, node.id, "in_use", &detail)?;
    Ok(refuse("in_use", detail))
}

/// A database that this store never saw. What it no longer has pending was decided elsewhere: numbers go on above it.
fn new_database(work: &Work<'_>, node: &Node, hello: &Hello) -> Result<Database, StoreError> {
    let taken = if hello.outbox_first == 0 { hello.newest_write } else { hello.outbox_first - 1 };
    work.conn
        .prepare_cached("INSERT INTO databases (node, database, taken, confirmed, offered, last_used_ms) VALUES (?1, ?2, ?3, ?4, ?4, ?5)")?
        .execute((node.id, hello.database.0, stored(taken)?, stored(hello.session)?, stored(work.now_ms)?))?;
    let id = u32::try_from(work.conn.last_insert_rowid()).map_err(|_| StoreError::Damaged("too many databases".to_owned()))?;
    Ok(Database { id, taken, numbers: Numbers { confirmed: hello.session, offered: hello.session.saturating_add(1) } })
}

/// Another database than last time is accepted where no session lives, and reported.
fn replaced(work: &mut Work<'_>, job: &AdmitJob, node: &Node, database: u32) -> Result<(), StoreError> {
    if node.current == 0 || node.current == database {
        return Ok(());
    }
    let (old, taken): ([u8; 16], i64) = work
        .conn
        .prepare_cached("SELECT database, taken FROM databases WHERE id = ?1")?
        .query_row([node.current], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let last = WriteId::edge(&job.node, &DatabaseId(old), counted(taken)?);
    let detail =
        format!("database {} takes the place of {}; the last write taken of that one is {last}", job.hello.database, DatabaseId(old));
    nodes::event(work, node.id, "database_replaced", &detail)
}

/// The node knows more than this store: an older copy of it was put back.
fn restored(work: &Work<'_>, node: &Node, database: &Database, hello: &Hello) -> Result<(), StoreError> {
    let known = hello.cursor.as_ref().map_or(0, |cursor| cursor.position.revision.0);
    let again = hello.newest_write.saturating_sub(database.taken);
    let detail = format!(
        "an older copy of the cloud's store was put back: the node knows revision {known} of another history, the store is at {}; \
         it reads again, and hands over {again} writes above {}",
        work.committed, database.taken
    );
    nodes::event(work, node.id, "store_restored", &detail)
}

fn save(work: &mut Work<'_>, job: &AdmitJob, node: &Node, database: &Database) -> Result<(), StoreError> {
    let now = stored(work.now_ms)?;
    work.conn.prepare_cached("UPDATE databases SET confirmed = ?2, offered = ?3, last_used_ms = ?4 WHERE id = ?1")?.execute((
        database.id,
        stored(database.numbers.confirmed)?,
        stored(database.numbers.offered)?,
        now,
    ))?;
    // What was found out about another database says nothing of this one.
    work.conn.prepare_cached("UPDATE nodes SET verified_ms = NULL WHERE id = ?1 AND current <> ?2")?.execute((node.id, database.id))?;
    work.conn
        .prepare_cached("UPDATE nodes SET current = ?2, last_seen_ms = ?3, address = ?4, transport = ?5, version = ?6 WHERE id = ?1")?
        .execute((node.id, database.id, now, &job.address, job.transport, &job.hello.software))?;
    nodes::save_report(work.conn, node.id, &job.hello.report)
}

fn welcome(work: &mut Work<'_>, node: &Node, database: &Database, hello: &Hello, fork: bool) -> Result<Admitted, StoreError> {
    let epochs = epochs(work.conn)?;
    let head = Revision(work.head);
    let kept = hello.cursor.as_ref().filter(|_| !fork).map(|cursor| cursor.position.clone());
    let position = kept.unwrap_or_else(|| Position::at(head));
    let shares = grants::load(work.conn, work.shared, node.id, work.committed)?;
    let grants = shares.to_wire(work.conn, head.0)?;
    let told = grants.revision;
    let current = epochs.last().map_or(Epoch(0), |start| start.epoch);
    let peer = Peer { node: node.id, database: database.id };
    let new = fork || hello.cursor.is_none() || grants.hash() != hello.grants_hash;
    work.conn.prepare_cached("UPDATE nodes SET cursor = ?2 WHERE id = ?1")?.execute((node.id, stored(position.revision.0)?))?;
    Ok(Admitted {
        peer,
        session: database.numbers.offered,
        epochs,
        head,
        unacknowledged: outcomes_above(work.conn, peer, position.revision)?,
        cursor: Cursor { epoch: current, position },
        reset: fork,
        fork: None,
        answer_first: 0,
        labels: grants.labels.clone(),
        taken: database.taken,
        grants: new.then_some(grants),
        told,
    })
}

/// The newest epochs, oldest first.
pub(super) fn epochs(conn: &Connection) -> Result<Vec<EpochStart>, StoreError> {
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

/// Whether the cursor speaks of what this store never had: an epoch that it does not know, or a place beyond that epoch's
/// end as this store has it.
fn is_fork(work: &Work<'_>, hello: &Hello) -> Result<bool, StoreError> {
    let Some(cursor) = &hello.cursor else { return Ok(false) };
    let seq: Option<i64> = work
        .conn
        .prepare_cached("SELECT seq FROM epochs WHERE epoch = ?1 ORDER BY seq DESC LIMIT 1")?
        .query_row([cursor.epoch.0.cast_signed()], |row| row.get(0))
        .optional()?;
    let Some(seq) = seq else { return Ok(true) };
    let next: Option<i64> = work
        .conn
        .prepare_cached("SELECT first FROM epochs WHERE seq > ?1 ORDER BY seq LIMIT 1")?
        .query_row([seq], |row| row.get(0))
        .optional()?;
    let end = next.map(counted).transpose()?.map_or(work.head, |first| first - 1);
    let reached = cursor.position.revision.0.saturating_add(u64::from(cursor.position.inside.is_some()));
    Ok(reached > end)
}

/// The edge has committed a session number.
pub(super) fn confirm(work: &Work<'_>, peer: Peer, session: u64) -> Result<(), JobError> {
    work.conn
        .prepare_cached("UPDATE databases SET confirmed = ?2 WHERE id = ?1 AND offered = ?2")?
        .execute((peer.database, stored(session)?))?;
    Ok(())
}
