//! Local writes: what applications of this edge commit, whether the link is up or not.
//!
//! Many writes go into one transaction and one fsync, and each gets its own answer: a write is planned in memory
//! first, against the view as the ones before it left it, and only one that nothing refuses touches the database.

use proto::build::Request;
use proto::clock::Now;
use proto::ids::{Revision, WriteId};
use proto::limits::IDEMPOTENCY_KEY_BYTES;
use proto::limits::{ACTOR_BYTES, REQUEST_ID_BYTES};
use proto::names::{CollectionName, Key};
use proto::op::{Idempotency, Verdict, Write};

use crate::error::{Done, Refusal, WriteError};
use crate::group::{Group, Laid};
use crate::limits::TRIM_STEP;
use crate::outbox;
use crate::plan::{self, New, Plan};
use crate::requests;
use crate::resend;
use crate::store::{Event, Store, Tx};
use crate::trim;

/// One write, as an application asked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalWrite {
    /// 1 to 1,000 requests; later ones see earlier ones. They take effect together or not at all.
    pub requests: Vec<LocalRequest>,
    /// Who, at most [`ACTOR_BYTES`].
    pub actor: Option<String>,
    /// The request that it came with, for logs, at most [`REQUEST_ID_BYTES`].
    pub request_id: Option<String>,
    /// The application's own name of the request, under which it may be repeated.
    pub idempotency: Option<Idempotency>,
    /// An answered write of this database that is sent once more; then there are no requests but those that it was made of.
    pub resends: Option<u64>,
}

/// One request of a write.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalRequest {
    /// What is asked.
    pub request: Request,
    /// What has to hold now.
    pub precondition: Precondition,
    /// `POST`: where the definition names key fields and the value has them, that key goes before the request's.
    pub own_key: bool,
}

/// What has to hold before a write is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    None,
    /// No such record.
    Absent,
    /// Such a record.
    Present,
    /// The record as one of these tags names it.
    Match(Vec<Etag>),
    /// None: the store itself made the request, from the view that it meets.
    View,
    /// Base has this revision; the cloud judges it again by the request's `expect`.
    Base(Revision),
}

/// The version of a record that an application saw: `"REVISION"`, or `"REVISION+WRITE-ID"` while that write is the
/// newest pending one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etag {
    /// The revision of its base; 0 when there is none yet.
    pub revision: Revision,
    /// The newest write that was laid over it.
    pub write: Option<WriteId>,
}

/// A write that is durable.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// Its id.
    pub write: WriteRef,
    /// The request was made before, under the same key, or every append in it was there already with the same content:
    /// nothing was written, `write` is the first one.
    pub repeat: bool,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// Of a repeat: what became of the first write, as far as it is known without it.
    pub kept_verdict: Option<Verdict>,
    /// What became of each request's record, in order.
    pub results: Vec<Laid>,
}

/// Which write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteRef {
    /// This database's, by number.
    Own(u64),
    /// Another's, by its id.
    Known(String),
}

impl Store {
    /// Commits writes in one transaction. Each is answered for itself, in order: `Ok` is durable, a refused one left
    /// nothing behind. When the commit fails, none of them is stored.
    pub fn commit(&mut self, now: Now, batch: Vec<LocalWrite>) -> Vec<Result<Committed, WriteError>> {
        let full = self.space().filter(|space| space.refuses_writes()).map(|space| space.free);
        // A request that was made before needs no room.
        if let Some(free) = full.filter(|_| batch.iter().all(|write| write.idempotency.is_none())) {
            return batch.iter().map(|_| Err(Refusal::DiskFull { free }.into())).collect();
        }
        let count = batch.len();
        match self.transaction(|tx| commit(tx, now, batch, full)) {
            Ok((answers, newest)) => {
                newest.into_iter().for_each(|newest| self.tell(&Event::Committed { newest }));
                answers
            }
            Err(error) => (0..count).map(|_| Err(Refusal::Store(error.clone()).into())).collect(),
        }
    }
}

/// The answers, and the newest number where one was given.
pub(crate) type Answers = (Vec<Result<Committed, WriteError>>, Option<u64>);

pub(crate) fn commit(tx: &mut Tx<'_>, now: Now, batch: Vec<LocalWrite>, full: Option<u64>) -> Done<Answers> {
    let before = tx.ledger.meta.newest;
    let mut group = Group::default();
    let mut answers = Vec::with_capacity(batch.len());
    for write in batch {
        answers.push(commit_one(tx, &mut group, now, write, full)?);
    }
    let newest = tx.ledger.meta.newest;
    if newest == before {
        return Ok((answers, None));
    }
    group.store(tx)?;
    trim::step(tx.conn, &mut tx.ledger.meta, tx.clock.cloud_ms(now), TRIM_STEP)?;
    Ok((answers, Some(newest)))
}

fn commit_one(
    tx: &mut Tx<'_>,
    group: &mut Group,
    now: Now,
    mut write: LocalWrite,
    full: Option<u64>,
) -> Done<Result<Committed, WriteError>> {
    if let Some(named) = &write.idempotency {
        if !(1..=IDEMPOTENCY_KEY_BYTES).contains(&named.key.len()) {
            return Ok(Err(Refusal::BadKey.into()));
        }
        if let Some(known) = requests::find(tx.conn, &named.key)? {
            return requests::answer(tx, group, &write, known);
        }
    }
    if let Some(free) = full {
        return Ok(Err(Refusal::DiskFull { free }.into()));
    }
    if let Some(of) = write.resends {
        write = match resend::renew(tx, of, write)? {
            Ok(renewed) => renewed,
            Err(refusal) => return Ok(Err(refusal.into())),
        };
    }
    let planned = match plan::plan(tx, group, &write)? {
        Ok(planned) => planned,
        Err(error) => return Ok(Err(error)),
    };
    let at_ms = tx.clock.time_ms(now);
    match planned {
        Plan::Repeat { first, places } => {
            if let Some(named) = &write.idempotency {
                let verdict = requests::first_verdict(tx.conn, &first)?;
                requests::keep(tx.conn, named, &first, verdict, at_ms, &requests::told(&write.requests, &places))?;
            }
            let results = group.results(tx, &places)?;
            Ok(Ok(Committed { write: first, repeat: true, at_ms, kept_verdict: Some(Verdict::Applied), results }))
        }
        Plan::New(new) => store_new(tx, group, now, write, new),
    }
}

fn store_new(tx: &mut Tx<'_>, group: &mut Group, now: Now, write: LocalWrite, new: New) -> Done<Result<Committed, WriteError>> {
    let LocalWrite { requests, actor, request_id, idempotency, resends } = write;
    let long = |text: &Option<String>, bound| text.as_ref().is_some_and(|text: &String| text.len() > bound);
    if long(&actor, ACTOR_BYTES) || long(&request_id, REQUEST_ID_BYTES) {
        return Ok(Err(Refusal::TooLarge("an actor and a request id have at most 128 bytes each".to_owned()).into()));
    }
    let at_ms = tx.clock.time_ms(now);
    let write = Write { hlc: tx.clock.last(), at_ms, actor, request_id, idempotency, ops: new.ops };
    if let Err(error) = write.check_size() {
        return Ok(Err(Refusal::TooLarge(error.why).into()));
    }
    let write = Write { hlc: tx.clock.tick(now), ..write };
    let bytes = write.encode();
    // Of the system's collections, devices say most: half of the room is theirs.
    let within = !outbox::is_system(&write) || tx.ledger.meta.system_bytes + bytes.len() as u64 <= tx.max_outbox_bytes / 2;
    if !within || !has_room(tx, bytes.len() as u64)? {
        return Ok(Err(Refusal::OutboxFull { bytes: tx.ledger.meta.outbox_bytes }.into()));
    }
    let number = tx.ledger.meta.newest + 1;
    let prev = group.lay(tx, number, &write, new.laying);
    outbox::append(tx.conn, &mut tx.ledger.meta, number, &write, &prev, &bytes)?;
    if let Some(named) = &write.idempotency {
        // What is sent again has no requests of its own: its ops tell what it did.
        let told = if resends.is_some() { Vec::new() } else { requests::told(&requests, &new.places) };
        requests::keep(tx.conn, named, &WriteRef::Own(number), None, at_ms, &told)?;
    }
    if let Some(of) = resends {
        resend::point(tx, of, number)?;
    }
    let results = group.results(tx, &new.places)?;
    Ok(Ok(Committed { write: WriteRef::Own(number), repeat: false, at_ms, kept_verdict: None, results }))
}

/// Whether the outbox has room; kept rejected writes give way first.
fn has_room(tx: &mut Tx<'_>, bytes: u64) -> Done<bool> {
    let bound = tx.max_outbox_bytes;
    let full = |tx: &Tx<'_>| tx.ledger.meta.outbox_bytes + tx.ledger.meta.rejected_bytes + bytes > bound;
    while full(tx) && trim::oldest_rejected(tx.conn, &mut tx.ledger.meta)? {}
    Ok(!full(tx))
}

/// Where a request's record is, and what the request did to it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) collection: i64,
    pub(crate) name: CollectionName,
    pub(crate) key: Key,
    pub(crate) did: crate::group::Did,
}
