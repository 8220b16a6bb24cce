//! The beginning of a session: what Welcome says is made durable before anything else happens in it.

use proto::clock::Now;
use proto::frame::{Fill, Grant, Grants, Welcome};
use proto::ids::{Cursor, EpochStart, Position, Revision};
use proto::limits::EPOCHS_KEPT;
use proto::names::{CollectionName, Key};
use proto::op::{Hash, Verdict, hash};
use rusqlite::{OptionalExtension, params};

use crate::apply::{Applied, Applying};
use crate::error::{ApplyError, Done};
use crate::grants::{self, Again};
use crate::ledger::{number, stored};
use crate::outbox::{self, without_effect};
use crate::store::{Event, Store, Tx};
use crate::{fill, fork, lost, overlay, relay, staging};

/// Where the session begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// The cursor, durable.
    pub cursor: Position,
    /// The open back-fills.
    pub fills: Vec<Fill>,
    /// The outcomes of all writes up to this number are here.
    pub answered: u64,
    /// Records to ask the cloud for.
    pub asks: Vec<(CollectionName, Key)>,
    /// Delivered writes that the cloud does not know any more and that are pending again.
    pub repended: u64,
    /// Delivered writes that the cloud does not know any more and that are no longer kept: before anything goes up, a new
    /// Hello has to declare them.
    pub lost: u64,
}

impl Store {
    /// Commits what Welcome says: session number, epochs, cursor, grants, and which delivered writes go up again. Where it
    /// shows that this database is a copy, nothing is stored: [`ApplyError::Copied`].
    pub fn adopt(&mut self, welcome: &Welcome, now: Now) -> Result<Adopted, ApplyError> {
        let adopted = self.transaction(|tx| {
            if let Some(number) = copied(tx, welcome)? {
                return Ok(Err(ApplyError::Copied { number }));
            }
            adopt(tx, welcome, now).map(Ok)
        })??;
        self.checking.session_began();
        self.tell(&Event::Changed);
        self.tend();
        Ok(adopted)
    }
}

/// The first pending write under whose number the cloud took something else.
fn copied(tx: &Tx<'_>, welcome: &Welcome) -> Done<Option<u64>> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT bytes, hash FROM writes WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM outcomes WHERE outcomes.number = writes.number)",
    )?;
    let first = welcome.taken.saturating_sub((welcome.hashes.len() as u64).saturating_sub(1));
    for (number, theirs) in (first..).zip(&welcome.hashes).filter(|(_, theirs)| **theirs != Hash::default()) {
        let own = statement
            .query_row([stored(number)], |row| match row.get(1)? {
                Some(original) => Ok(original),
                None => Ok(hash(row.get_ref(0)?.as_blob()?)),
            })
            .optional()?;
        if own.is_some_and(|own| own != *theirs) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

fn adopt(tx: &mut Tx<'_>, welcome: &Welcome, now: Now) -> Done<Adopted> {
    tx.ledger.meta.session = welcome.session;
    let fork = welcome.fork.filter(|fork| !welcome.reset && *fork < tx.ledger.meta.top);
    let included = fork.map(|_| fork::included(tx, welcome.taken)).transpose()?.unwrap_or_default();
    epochs(tx, &welcome.epochs)?;
    move_cursor(tx, &welcome.cursor)?;
    if welcome.reset {
        forget_revisions(tx)?;
    }
    if let Some(fork) = fork {
        fork::leave(tx, fork)?;
    }
    let repended = repend(tx, welcome.taken)?;
    let at_ms = tx.clock.cloud_ms(now).unwrap_or_else(|| tx.clock.time_ms(now));
    let lost = lost::find(tx, welcome.taken, at_ms)?;
    outbox::advance(tx.conn, &mut tx.ledger.meta)?;
    fork::forget(tx.conn, tx.ledger.meta.answered)?;
    let again = match fork {
        _ if welcome.reset => Again::All,
        Some(fork) => Again::Above(fork),
        None => Again::No,
    };
    let mut applying = Applying::new(tx, now);
    let held = (again != Again::No).then(|| again_from(applying.tx.ledger.held(), welcome.head));
    if let Some(new) = welcome.grants.as_ref().or(held.as_ref()) {
        let meta = &mut applying.tx.ledger.meta;
        meta.top = meta.top.max(new.revision);
        grants::replace(&mut applying, new, again)?;
    }
    grants::set_labels(applying.tx.conn, &welcome.labels)?;
    // What was saved from a damaged file lay over records that are not here yet.
    let saved = std::mem::take(&mut applying.tx.ledger.meta.saved);
    if saved {
        fill::await_all(&mut applying)?;
    }
    if again != Again::No || repended > 0 || saved {
        relay::again(&mut applying)?;
    }
    if again != Again::No || repended > 0 || saved || lost > 0 {
        // Revisions and outcomes were taken back; who follows lists again.
        applying.tx.ledger.forget_changes(applying.tx.conn)?;
    }
    for ((collection, key), upto) in included {
        overlay::include(applying.tx.conn, collection, &key, upto)?;
    }
    let applied = applying.finish()?;
    let Applied { cursor, fills, answered, asks, .. } = applied;
    Ok(Adopted { cursor, fills, answered, asks, repended, lost })
}

/// The grants that are held, for fills that begin now.
fn again_from(held: Grants, head: Revision) -> Grants {
    let grants = held.grants.into_iter().map(|grant| Grant { from: head, ..grant }).collect();
    Grants { revision: head, grants, ..held }
}

/// The newest epochs, oldest first.
fn epochs(tx: &mut Tx<'_>, new: &[EpochStart]) -> Done<()> {
    let newest = &new[new.len().saturating_sub(EPOCHS_KEPT)..];
    if tx.ledger.epochs == newest {
        return Ok(());
    }
    tx.conn.execute("DELETE FROM epochs", [])?;
    for (place, start) in newest.iter().enumerate() {
        let values = params![place as i64, stored(start.epoch.0), stored(start.first.0)];
        tx.conn.execute("INSERT INTO epochs (place, epoch, first) VALUES (?1, ?2, ?3)", values)?;
    }
    tx.ledger.epochs = newest.to_vec();
    Ok(())
}

/// Adopts the cursor; parts of a transaction that were staged at another one are dropped. Where it goes back, what was
/// reached was reached in another history.
fn move_cursor(tx: &mut Tx<'_>, cursor: &Cursor) -> Done<()> {
    let before = tx.ledger.position().cloned();
    if before.as_ref() != Some(&cursor.position) {
        staging::clear(tx.conn)?;
    }
    if before.is_some_and(|before| cursor.position < before) {
        tx.ledger.meta.reached = tx.ledger.meta.reached.min(cursor.position.revision);
    }
    tx.ledger.meta.cursor = Some(cursor.clone());
    Ok(())
}

/// What is held is not of this store: its rows stay readable, and whatever comes is newer.
fn forget_revisions(tx: &mut Tx<'_>) -> Done<()> {
    tx.conn.execute("UPDATE base SET revision = 0, born = 0, hash = NULL", [])?;
    tx.conn.execute("DELETE FROM blocked", [])?;
    tx.ledger.blocked = 0;
    tx.ledger.digests.clear();
    tx.ledger.meta.reached = Revision::ZERO;
    tx.ledger.meta.top = Revision::ZERO;
    tx.ledger.unsure = true;
    Ok(())
}

/// Delivered writes above the last one taken are pending again; those that were rejected stay rejected and go up as
/// declared numbers.
fn repend(tx: &mut Tx<'_>, taken: u64) -> Done<u64> {
    if taken >= tx.ledger.meta.answered {
        return Ok(0);
    }
    let mut repended = 0;
    for (of, verdict) in answered_above(tx, taken)? {
        if without_effect(verdict) {
            tx.conn.execute("UPDATE outcomes SET declared = 1 WHERE number = ?1", [stored(of)])?;
            tx.ledger.meta.declared += 1;
            continue;
        }
        tx.conn.execute("DELETE FROM outcomes WHERE number = ?1", [stored(of)])?;
        let (bytes, system) = outbox::length(tx.conn, of)?.unwrap_or_default();
        let meta = &mut tx.ledger.meta;
        meta.delivered_bytes = meta.delivered_bytes.saturating_sub(bytes);
        meta.outbox_writes += 1;
        meta.outbox_bytes += bytes;
        meta.system_bytes += system;
        repended += 1;
    }
    tx.ledger.meta.answered = taken;
    tx.ledger.meta.trimmed = tx.ledger.meta.trimmed.min(taken);
    Ok(repended)
}

fn answered_above(tx: &Tx<'_>, taken: u64) -> Done<Vec<(u64, Verdict)>> {
    let mut statement = tx.conn.prepare("SELECT number, verdict FROM outcomes WHERE number > ?1 AND declared = 0 ORDER BY number")?;
    let mut rows = statement.query([stored(taken)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((number(row, 0)?, outbox::verdict(row.get(1)?)?));
    }
    Ok(found)
}
