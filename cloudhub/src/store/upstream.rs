//! Writes of an outbox: each is decided once, in its number's order, and remembered with what it said.

use proto::frame::{Held, NumberedWrite, Reason};
use proto::ids::{DatabaseId, Revision, WriteId};
use proto::limits::WRITE_BYTES;
use proto::names::NodeName;
use proto::op::{Hash, Outcome, Verdict, Write};
use rusqlite::OptionalExtension;

use super::apply::{By, WriteEntry, apply, put_write};
use super::error::{StoreError, counted, stored};
use super::grants::{self, NodeShares};
use super::job::{Named, Peer, Taken};
use super::kin::{Kin, Known, hash_of};
use super::lost;
use super::nodes;
use super::parts;
use super::refused::Refused;
use super::requests::{self, Asked};
use super::work::{JobError, Work};
use super::world::SqlWorld;
use crate::limits::{OPEN_CONFLICTS_PER_NODE, WRITES_PER_DATABASE};
use crate::reconcile::{Author, Decision, Judged, judge};

/// A database while its writes are taken.
struct Taker {
    peer: Peer,
    node: NodeName,
    id: DatabaseId,
    taken: u64,
    /// Ranges above `taken` that never come.
    lost: Vec<(u64, u64)>,
    skewed: bool,
    /// Other databases that may have brought the same writes.
    kin: Kin,
    /// Writes whose request had a name.
    named: Vec<Named>,
    /// What is kept of the next write.
    held: Option<Held>,
}

/// Decides writes until one does not fit. What was decided before that stays.
pub(super) fn take(work: &mut Work<'_>, peer: Peer, session: u64, writes: &[NumberedWrite]) -> Result<Taken, JobError> {
    let mut taker = open(work, peer, session)?;
    let before = taker.taken;
    let shares = grants::load(work.conn, work.shared, peer.node, work.committed)?;
    let mut stop = None;
    for write in writes {
        let next = lost::next(&taker.lost, taker.taken);
        if write.number > next || (write.number < next && write.number > taker.taken) {
            let detail = format!("write {} came, write {next} is the next one", write.number);
            stop = Some(Reason { code: "out_of_order".to_owned(), detail });
            break;
        }
        if write.number == next {
            stop = next_one(work, &mut taker, &shares, write)?;
            if stop.is_some() {
                break;
            }
        } else if !is_repeat(work, peer, write)? {
            stop = Some(copied(work, &taker, write.number)?);
            break;
        }
    }
    if taker.taken > before {
        close(work, &taker, before)?;
    }
    Ok(Taken { taken: taker.taken, held: taker.held, stop, named: taker.named })
}

/// The write whose turn it is, or a part of it; why it stops there, if it does.
fn next_one(work: &mut Work<'_>, taker: &mut Taker, shares: &NodeShares, write: &NumberedWrite) -> Result<Option<Reason>, JobError> {
    let Peer { database, .. } = taker.peer;
    let Some(part) = &write.part else {
        decide(work, taker, shares, write)?;
        taker.held = None;
        return Ok(None);
    };
    if !write.completes() {
        taker.held = parts::keep(work, taker.peer, write, part)?;
        if taker.held.is_some() {
            return Ok(None);
        }
    } else if let Some(whole) = parts::whole(work.conn, database, write, part)? {
        decide(work, taker, shares, &whole)?;
        taker.held = None;
        return Ok(None);
    }
    parts::forget(work.conn, database)?;
    let detail =
        format!("the parts of write {} are not what its hash says, or not all here; it comes again from its beginning", write.number);
    Ok(Some(Reason { code: "parts".to_owned(), detail }))
}

fn open(work: &Work<'_>, peer: Peer, session: u64) -> Result<Taker, JobError> {
    let (name, database, taken, offered, revoked) = work
        .conn
        .prepare_cached(
            "SELECT n.name, d.database, d.taken, d.offered, n.revoked FROM databases d JOIN nodes n ON n.id = d.node
             WHERE d.id = ?1 AND n.id = ?2",
        )?
        .query_row((peer.database, peer.node), |row| {
            Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get::<_, i64>(3)?, row.get::<_, bool>(4)?))
        })
        .optional()?
        .ok_or(Refused::Replaced)?;
    if revoked || counted(offered)? != session {
        return Err(Refused::Replaced.into());
    }
    let node = NodeName::parse(&name).map_err(|error| StoreError::Damaged(error.to_string()))?;
    let open = nodes::open_conflicts(work.conn, peer.node)?;
    if open >= OPEN_CONFLICTS_PER_NODE {
        return Err(Refused::TooManyConflicts { node, open }.into());
    }
    let taken = counted(taken)?;
    let lost = lost::above(work.conn, peer.database, taken)?;
    let kin = Kin::load(work.conn, peer.node, peer.database)?;
    Ok(Taker { peer, node, id: DatabaseId(database), taken, lost, skewed: false, kin, named: Vec::new(), held: None })
}

/// Whether a number that is already decided comes with what it said then. One that is no longer remembered is taken for
/// a repeat: its outcome was acknowledged long ago.
fn is_repeat(work: &Work<'_>, peer: Peer, write: &NumberedWrite) -> Result<bool, StoreError> {
    let known: Option<Hash> = work
        .conn
        .prepare_cached("SELECT hash FROM writes WHERE database = ?1 AND number = ?2")?
        .query_row((peer.database, stored(write.number)?), |row| row.get(0))
        .optional()?;
    Ok(known.is_none_or(|hash| write.rejected || hash == hash_of(write)))
}

fn copied(work: &mut Work<'_>, taker: &Taker, number: u64) -> Result<Reason, StoreError> {
    let id = WriteId::edge(&taker.node, &taker.id, number);
    let detail = format!("write {id} came a second time with other content: this is a copied card or an old image of the database");
    nodes::event_once(work, taker.peer.node, "copied_database", &detail)?;
    Ok(Reason { code: "copied_database".to_owned(), detail })
}

/// One write: effect, outcome, hash and number, in the transaction of the group.
fn decide(work: &mut Work<'_>, taker: &mut Taker, shares: &NodeShares, write: &NumberedWrite) -> Result<(), StoreError> {
    let hash = hash_of(write);
    let known = if write.rejected { Known::New } else { taker.kin.find(work.conn, write.number, &hash)? };
    let parsed = if write.rejected { None } else { Some(Write::decode(&write.bytes)) };
    let named = parsed.as_ref().and_then(|parsed| parsed.as_ref().ok()?.idempotency.as_ref());
    let request = named.map(|named| Asked::of_node(taker.peer.node, named));
    let earlier = match (&request, &known) {
        (None, _) | (_, Known::Same(_)) => None,
        (Some(request), _) => requests::find(work.conn, request)?,
    };
    if let (Known::Forgotten, None) = (&known, &earlier) {
        let detail = "it came again after the cloud had forgotten what became of it: it may have taken effect once, and does not again";
        let content = readable(write, matches!(parsed, Some(Ok(_))));
        lose(work, taker, write.number, &hash, content, detail)?;
        taker.taken = write.number;
        return Ok(());
    }
    let revision = work.head + 1;
    let outcome = match (known, &parsed) {
        (Known::Same(outcome), _) => outcome,
        _ if let (Some(request), Some(earlier)) = (&request, &earlier) => repeated(work, request, earlier, revision)?,
        (_, None) => rejected(revision, None, "it was rejected before the cloud was restored, and stays rejected"),
        (_, Some(Err(error))) => rejected(revision, Some("malformed"), &error.to_string()),
        (_, Some(Ok(parsed))) => effect(work, taker, shares, write, parsed, revision)?,
    };
    if let (Some(request), None, true) = (&request, &earlier, outcome.revision.0 == revision) {
        let id = WriteId::edge(&taker.node, &taker.id, write.number);
        requests::keep(work, request, &id, &outcome, &[])?;
    }
    if let Some(request_id) = parsed.as_ref().and_then(|parsed| parsed.as_ref().ok()?.request_id.clone()) {
        let write = WriteId::edge(&taker.node, &taker.id, write.number);
        taker.named.push(Named { request_id, write, verdict: outcome.verdict });
    }
    put_write(
        work,
        &WriteEntry {
            database: taker.peer.database,
            number: write.number,
            hash,
            revision,
            outcome: &outcome,
            actor: parsed.as_ref().and_then(|parsed| parsed.as_ref().ok()?.actor.as_deref()),
            payload: readable(write, matches!(parsed, Some(Ok(_)))),
        },
    )?;
    work.head = revision;
    taker.taken = write.number;
    Ok(())
}

/// A write whose Idempotency-Key is known from another write of the node, which a database that took the place of a wiped one
/// cannot know: no effect, and that write's outcome, naming it.
fn repeated(work: &Work<'_>, request: &Asked, earlier: &requests::Known, revision: u64) -> Result<Outcome, StoreError> {
    if earlier.is(request) {
        return earlier.outcome(work.conn);
    }
    let detail = format!("its Idempotency-Key was used for another request, which is write {}", earlier.write);
    Ok(rejected(revision, Some("malformed"), &detail))
}

/// A number without an effect for ever.
fn lose(work: &mut Work<'_>, taker: &Taker, number: u64, hash: &Hash, payload: &[u8], detail: &str) -> Result<(), StoreError> {
    let revision = Revision(work.head + 1);
    let outcome = Outcome { verdict: Verdict::Lost, revision, code: None, detail: Some(detail.to_owned()), conflicts: Vec::new() };
    let database = taker.peer.database;
    let entry = WriteEntry { database, number, hash: *hash, revision: revision.0, outcome: &outcome, actor: None, payload };
    put_write(work, &entry)?;
    work.head = revision.0;
    Ok(())
}

/// Its bytes, where they say something and are not too many to keep.
fn readable(write: &NumberedWrite, reads: bool) -> &[u8] {
    if reads && write.bytes.len() <= 2 * WRITE_BYTES { &write.bytes } else { &[] }
}

/// The write as it is judged: what it had seen above a fork counts as the fork, which nobody else's change is at or below
/// without being known to it. Never 0: that would make it create.
fn before_fork(write: &Write, fork: Revision) -> Write {
    let mut write = write.clone();
    let floor = fork.max(Revision(1));
    for op in &mut write.ops {
        op.seen = op.seen.min(floor);
        op.definition = op.definition.min(floor);
        op.expect = op.expect.map(|expect| expect.min(floor));
    }
    write
}

/// Judges and applies; a write that cannot be stored is rejected alone.
fn effect(
    work: &mut Work<'_>,
    taker: &mut Taker,
    shares: &NodeShares,
    numbered: &NumberedWrite,
    write: &Write,
    revision: u64,
) -> Result<Outcome, StoreError> {
    let forked = numbered.fork.map(|fork| before_fork(write, fork));
    let (number, write) = (numbered.number, forked.as_ref().unwrap_or(write));
    let (hlc, clamped) = write.hlc.clamp(work.now_ms);
    taker.skewed |= clamped;
    work.hlc = work.hlc.max(hlc);
    let id = WriteId::edge(&taker.node, &taker.id, number);
    let author = Author::Edge { node: taker.node.clone(), database: taker.peer.database, number };
    let judged = Judged { author, id, write, hlc, revision: Revision(revision), now_ms: work.now_ms };
    let world =
        SqlWorld { conn: work.conn, catalog: work.catalog, shares: Some(shares), kin: Some(&taker.kin), database: taker.peer.database };
    let decision = match judge(&judged, &world) {
        Ok(decision) => decision,
        Err(error) if error.is_row() => return Ok(rejected(revision, Some("malformed"), &error.to_string())),
        Err(error) => return Err(error),
    };
    let by = By { writer: judged.id.to_string(), actor: write.actor.as_deref(), node: taker.peer.node, revision };
    store(work, decision, &by)
}

fn store(work: &mut Work<'_>, decision: Decision, by: &By<'_>) -> Result<Outcome, StoreError> {
    if decision.records.is_empty() && decision.conflicts.is_empty() {
        return Ok(decision.outcome);
    }
    match work.savepoint(|work| Ok(apply(work, &decision, by)?)) {
        Ok(()) => Ok(decision.outcome),
        Err(JobError::Store(error)) if error.is_row() => {
            Ok(rejected(by.revision, Some("malformed"), &format!("the cloud cannot store it: {error}")))
        }
        Err(JobError::Store(error)) => Err(error),
        Err(JobError::Refused(refused)) => Err(StoreError::Damaged(refused.to_string())),
    }
}

fn rejected(revision: u64, code: Option<&str>, detail: &str) -> Outcome {
    Outcome {
        verdict: Verdict::Rejected,
        revision: Revision(revision),
        code: code.map(str::to_owned),
        detail: Some(detail.to_owned()),
        conflicts: Vec::new(),
    }
}

fn close(work: &mut Work<'_>, taker: &Taker, before: u64) -> Result<(), StoreError> {
    if taker.held.is_none() {
        parts::forget(work.conn, taker.peer.database)?;
    }
    work.conn.prepare_cached("UPDATE databases SET taken = ?2, last_used_ms = ?3 WHERE id = ?1")?.execute((
        taker.peer.database,
        stored(taker.taken)?,
        stored(work.now_ms)?,
    ))?;
    work.marks.nodes.insert(taker.node.clone());
    if taker.skewed {
        let detail = "its clock is more than a minute ahead of the cloud's; its writes count as made a minute from now at the latest";
        nodes::event_once(work, taker.peer.node, "clock_skew", detail)?;
    }
    // Old rows go in steps, so that most commits delete nothing.
    if before / TRIM_STEP != taker.taken / TRIM_STEP {
        let below = taker.taken.saturating_sub(WRITES_PER_DATABASE);
        work.conn
            .prepare_cached(
                "DELETE FROM writes WHERE database = ?1 AND number <= ?2
                 AND revision <= (SELECT acked FROM databases WHERE id = ?1)",
            )?
            .execute((taker.peer.database, stored(below)?))?;
    }
    Ok(())
}

/// Numbers between two removals of old writes.
const TRIM_STEP: u64 = 256;
