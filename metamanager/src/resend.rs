//! Answered writes that somebody takes up again: sent once more as a new write on the present view, or dropped.

use proto::build::{Action, Request};
use proto::ids::Revision;
use proto::json::Raw;
use proto::op::{Body, Op, Verdict, Write};
use rusqlite::params;

use crate::error::{Done, Fault, Refusal, StoreError};
use crate::ledger::stored;
use crate::local::{LocalRequest, LocalWrite, Precondition};
use crate::lost;
use crate::outbox::{self, without_effect};
use crate::store::{Store, Tx};
use crate::trim;

/// A kept write and its answer.
struct Answered {
    write: Write,
    verdict: Verdict,
    revision: Revision,
    resent: Option<u64>,
}

/// The write that `asked` sends once more, as what it asks for now.
pub(crate) fn renew(tx: &Tx<'_>, of: u64, asked: LocalWrite) -> Done<Result<LocalWrite, Refusal>> {
    let old = match answered(tx, of)? {
        Ok(old) => old,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if !without_effect(old.verdict) {
        return Ok(Err(Refusal::TookEffect { write: tx.own.spell(of), state: old.verdict.as_str() }));
    }
    if let Some(newer) = old.resent {
        return Ok(Err(Refusal::SentAgain { write: tx.own.spell(of), newer: tx.own.spell(newer) }));
    }
    let requests = old.write.ops.iter().map(request).collect();
    Ok(Ok(LocalWrite { requests, actor: asked.actor.or(old.write.actor), ..asked }))
}

/// The old write names the new one.
pub(crate) fn point(tx: &Tx<'_>, of: u64, newer: u64) -> Done<()> {
    let mut statement = tx.conn.prepare_cached("UPDATE outcomes SET resent = ?2 WHERE number = ?1")?;
    statement.execute(params![stored(of), stored(newer)])?;
    Ok(())
}

fn answered(tx: &Tx<'_>, of: u64) -> Done<Result<Answered, Refusal>> {
    let unknown = || Refusal::UnknownWrite(tx.own.spell(of));
    let mut statement = tx.conn.prepare_cached(
        "SELECT bytes, verdict, revision, resent, declared FROM writes LEFT JOIN outcomes ON outcomes.number = writes.number \
         WHERE writes.number = ?1",
    )?;
    let mut rows = statement.query([stored(of)])?;
    let Some(row) = rows.next()? else {
        let told = lost::row(tx.conn, of)?.map(|_| Refusal::NoContent(tx.own.spell(of)));
        return Ok(Err(told.unwrap_or_else(unknown)));
    };
    let Some(verdict) = row.get::<_, Option<i64>>(1)?.map(outbox::verdict).transpose()? else {
        return Ok(Err(Refusal::Pending(tx.own.spell(of))));
    };
    let bytes: Vec<u8> = row.get(0)?;
    Ok(Ok(Answered {
        write: Write::decode(&bytes).map_err(|error| Fault::damaged("a stored write", error))?,
        verdict,
        revision: Revision(crate::ledger::number(row, 2)?),
        resent: crate::ledger::optional(row, 3)?,
    }))
}

/// What an op asked for, to be compared with the view as it is now. A put creates, as it did; what said how the record had
/// to be (`if`) was about the view of then, and is over.
fn request(op: &Op) -> LocalRequest {
    let action = match &op.body {
        Body::Put(value) => Action::Put { value: value.clone(), create: true },
        Body::Merge(changes) => Action::Again {
            changes: changes.iter().map(|change| (change.field.clone(), change.to.clone())).collect(),
            create: op.seen == Revision::ZERO,
        },
        Body::Increment(by) => Action::Increment(by.clone()),
        Body::Delete { force } => Action::Delete { force: *force },
        Body::Check(fields) => {
            let field = |(field, raw): &(String, Option<Raw>)| (field.clone(), raw.clone().unwrap_or_else(Raw::null));
            Action::Check(fields.iter().map(field).collect())
        }
    };
    let request = Request { collection: op.collection.clone(), key: op.key.clone(), action, expect: None };
    LocalRequest { request, precondition: Precondition::None, own_key: false }
}

impl Store {
    /// Drops what is kept of an answered write, for good; from then on it is not known here. A cloud that was restored to a
    /// time before this write hears that it is lost.
    pub fn discard(&mut self, of: u64) -> Result<Result<(), Refusal>, StoreError> {
        self.transaction(|tx| {
            let old = match answered(tx, of)? {
                Ok(old) => old,
                Err(refusal) => return Ok(Err(refusal)),
            };
            // Its ops may be laid over a record until the stream has passed its outcome.
            if of > tx.ledger.meta.answered || old.revision > tx.ledger.meta.reached {
                return Ok(Err(Refusal::Pending(tx.own.spell(of))));
            }
            let bytes = trim::remove(tx.conn, of, old.verdict)?;
            let meta = &mut tx.ledger.meta;
            if without_effect(old.verdict) {
                meta.rejected_writes = meta.rejected_writes.saturating_sub(1);
                meta.rejected_bytes = meta.rejected_bytes.saturating_sub(bytes);
            } else {
                meta.delivered_bytes = meta.delivered_bytes.saturating_sub(bytes);
            }
            Ok(Ok(()))
        })
    }
}
