//! Admission: whether a node's database may have a session, and where its stream begins (design §5, copies and restores).

use proto::frame::{Hello, Reason};
use proto::ids::{DatabaseId, WriteId};
use proto::limits::DATABASES_PER_NODE;
use proto::names::NodeName;
use proto::session::handshake::Numbers;
use rusqlite::{Connection, OptionalExtension};

use super::error::{StoreError, counted, stored};
use super::forks::{self, Fork};
use super::job::{AdmitJob, Admitted, Denied, Peer};
use super::kin::{self, Kin};
use super::work::{JobError, Work};
use super::{lost, nodes, welcome};

/// A node's row, as far as admission cares.
struct Node {
    id: i64,
    current: u32,
    serials: (String, Option<String>),
    revoked: bool,
}

/// A database's row.
pub(super) struct Database {
    pub(super) id: u32,
    pub(super) taken: u64,
    pub(super) numbers: Numbers,
}

type Admission = Result<Box<Admitted>, Denied>;

/// Admits a Hello, or says why not. The offered session number is durable before Welcome leaves.
pub(super) fn admit(work: &mut Work<'_>, job: &AdmitJob) -> Result<Admission, JobError> {
    let Some(node) = node(work.conn, &job.node)? else {
        return Ok(refuse("unknown_node", format!("{} is not known here; join it with: edgehub join", job.node)));
    };
    if node.revoked {
        return Ok(refuse("revoked", format!("{} was revoked; join it again with a new token", job.node)));
    }
    if let Some(reason) = check_serial(work, &node, job)? {
        return Ok(Err(Denied { reason, renew: false }));
    }
    let hello = &job.hello;
    let fork = forks::of(work.conn, work.head, hello)?;
    let known = database(work.conn, node.id, &hello.database)?;
    let accepted = nodes::is_accepted(work.conn, node.id, &hello.database)?;
    if let Some(live) = job.live.filter(|live| *live != hello.database && !accepted) {
        return in_use(work, job, &node, &live);
    }
    let mut database = match known {
        // An operator's word stands for the session number, but no number of a write is given twice.
        Some(known) => match rightful(&known, hello, fork, accepted) {
            Some(numbers) => Database { numbers, ..known },
            None => return copied(work, job, &node, &known),
        },
        None if databases(work.conn, node.id)? >= DATABASES_PER_NODE as u64 => {
            let text = format!("{} has had {DATABASES_PER_NODE} databases; delete the node on the cloud and join it again", job.node);
            return Ok(refuse("too_many_databases", text));
        }
        None => new_database(work, job, &node, fork)?,
    };
    if accepted {
        nodes::came(work, node.id)?;
    }
    database.taken = lost::declare(work, node.id, database.id, database.taken, job)?;
    replaced(work, job, &node, database.id)?;
    if fork.is_some_and(|fork| fork.passed) {
        restored(work, &node, &database, hello)?;
    }
    let kin = Kin::load(work.conn, node.id, database.id)?;
    save(work, job, &node, &database)?;
    let peer = Peer { node: node.id, database: database.id };
    Ok(Ok(Box::new(welcome::welcome(work, peer, &database, hello, fork, &kin)?)))
}

fn refuse(code: &str, detail: String) -> Admission {
    Err(Denied { reason: Reason { code: code.to_owned(), detail }, renew: false })
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

/// The session numbers after this Hello, if it is not a copy's.
fn rightful(known: &Database, hello: &Hello, fork: Option<Fork>, accepted: bool) -> Option<Numbers> {
    if hello.newest_write < known.taken {
        return None;
    }
    if accepted {
        let newest = known.numbers.offered.max(hello.session).max(known.numbers.confirmed);
        return Some(Numbers { confirmed: hello.session, offered: newest.saturating_add(1) });
    }
    // A number that was never offered here: this store is an older copy of one that did. No copy of the edge has one.
    if fork.is_some() && hello.session > known.numbers.offered {
        return Some(Numbers { confirmed: hello.session, offered: hello.session.saturating_add(1) });
    }
    known.numbers.offer(hello.session)
}

/// A copy takes an id of its own, unless the one that it was copied from is connected: then a person is to look.
fn copied(work: &mut Work<'_>, job: &AdmitJob, node: &Node, known: &Database) -> Result<Admission, JobError> {
    let hello = &job.hello;
    let (session, newest) = (hello.session, hello.newest_write);
    let detail = format!(
        "database {} from {} says session {session} and newest write {newest}; the cloud knows session {} and write {}: a copied card or an old image",
        hello.database, job.address, known.numbers.offered, known.taken
    );
    nodes::event_once(work, node.id, "copied_database", &detail)?;
    Ok(Err(Denied { reason: Reason { code: "copied_database".to_owned(), detail }, renew: job.live.is_none() }))
}

fn in_use(work: &mut Work<'_>, job: &AdmitJob, node: &Node, live: &DatabaseId) -> Result<Admission, JobError> {
    let detail =
        format!("{} is connected with database {}; another one ({}, from {}) was refused", job.node, live, job.hello.database, job.address);
    nodes::event_once(work, node.id, "in_use", &detail)?;
    Ok(refuse("in_use", detail))
}

/// A database that this store never saw. Where it took another one's place, it goes on with that one's numbers. Else what it no
/// longer has pending was decided elsewhere, or in the history that a restored store lost: then it all comes again.
fn new_database(work: &Work<'_>, job: &AdmitJob, node: &Node, fork: Option<Fork>) -> Result<Database, StoreError> {
    let hello = &job.hello;
    let answered = if hello.outbox_first == 0 { hello.newest_write } else { hello.outbox_first - 1 };
    let previous = kin::previous(work.conn, node.id, node.current, hello)?;
    let taken = match previous {
        Some((_, taken)) => answered.min(taken),
        None if fork.is_some_and(|fork| fork.passed && fork.end.0 > 0) => 0,
        None => answered,
    };
    work.conn
        .prepare_cached(
            "INSERT INTO databases (node, database, taken, confirmed, offered, last_used_ms, previous, start, upto)
             VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?3, ?7)",
        )?
        .execute((
            node.id,
            hello.database.0,
            stored(taken)?,
            stored(hello.session)?,
            stored(work.now_ms)?,
            previous.map_or(0, |(id, _)| id),
            stored(hello.newest_write)?,
        ))?;
    let id = u32::try_from(work.conn.last_insert_rowid()).map_err(|_| StoreError::Damaged("too many databases".to_owned()))?;
    if let Some((previous, last)) = previous {
        kin::begin(work.conn, id, previous, taken)?;
        renewed(work, job, node, previous, last)?;
    }
    Ok(Database { id, taken, numbers: Numbers { confirmed: hello.session, offered: hello.session.saturating_add(1) } })
}

/// A copy, or what was saved from a damaged file, goes on under an id of its own.
fn renewed(work: &Work<'_>, job: &AdmitJob, node: &Node, previous: u32, taken: u64) -> Result<(), StoreError> {
    let old = work
        .conn
        .prepare_cached("SELECT database FROM databases WHERE id = ?1")?
        .query_row([previous], |row| Ok(DatabaseId(row.get(0)?)))?;
    let last = WriteId::edge(&job.node, &old, taken);
    let hello = &job.hello;
    let detail = format!(
        "database {} goes on with the numbers of {old}, of which it is a copy or what was saved from it; the last write taken of that \
         one is {last}; of the writes up to {} those that are known keep their outcome and have no second effect",
        hello.database, hello.newest_write
    );
    nodes::event(work, node.id, "database_renewed", &detail)
}

/// Another database than last time is accepted where no session lives, and reported.
fn replaced(work: &mut Work<'_>, job: &AdmitJob, node: &Node, database: u32) -> Result<(), StoreError> {
    let renewed = "SELECT 1 FROM databases WHERE id = ?1 AND previous = ?2";
    if node.current == 0 || node.current == database || work.conn.prepare_cached(renewed)?.exists((database, node.current))? {
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

/// The edge has committed a session number.
pub(super) fn confirm(work: &Work<'_>, peer: Peer, session: u64) -> Result<(), JobError> {
    work.conn
        .prepare_cached("UPDATE databases SET confirmed = ?2 WHERE id = ?1 AND offered = ?2")?
        .execute((peer.database, stored(session)?))?;
    Ok(())
}
