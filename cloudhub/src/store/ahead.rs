//! Ahead of the stream: a database's outcomes, and then, as they are, the records that those writes touched (design §5, NACK for the
//! disk).

use std::collections::BTreeSet;

use proto::frame::{Batch, Content, Entry, Record};
use proto::ids::Revision;
use proto::names::{CollectionName, Key};
use proto::op::Write;
use proto::session::cloud::Ahead;
use rusqlite::{Connection, OptionalExtension};

use super::ReadAhead;
use super::error::{StoreError, counted, stored};
use super::grants::{self, NodeShares};
use super::heads::Shared;
use super::job::Peer;
use super::lanes::Light;
use super::reads;
use super::scan;

/// Reads the next part; the caller has begun the transaction.
pub(super) fn read(conn: &Connection, shared: &Shared, peer: Peer, ahead: &Ahead) -> Result<ReadAhead, StoreError> {
    let head = Revision(reads::head(conn)?);
    let mut batch = Batch::empty(ahead.at.clone(), ahead.at.clone());
    let (outcomes, rest) = scan::outcomes(conn, peer.database, ahead.outcomes.0, ahead.max_records)?;
    if !outcomes.is_empty() {
        let reached = rest.map_or(head, |rest| Revision(rest - 1));
        batch.entries =
            outcomes.into_iter().map(|scan::Answered { number, outcome, .. }| Entry::Outcome { database: None, number, outcome }).collect();
        return Ok(ReadAhead { batch, outcomes: reached, records: ahead.records.unwrap_or_default() });
    }
    let Some(after) = ahead.records else { return Ok(ReadAhead { batch, outcomes: head, records: Revision::ZERO }) };
    let shares = grants::load(conn, shared, peer.node, u64::MAX)?;
    let (asked, records) = touched(conn, &shares, peer, after, ahead)?;
    batch.asked = asked;
    Ok(ReadAhead { batch, outcomes: head, records: records.unwrap_or(head) })
}

/// The records that whole writes above `after` touched, and the last of these writes; none: all of them fitted.
fn touched(
    conn: &Connection,
    shares: &NodeShares,
    peer: Peer,
    after: Revision,
    ahead: &Ahead,
) -> Result<(Vec<Record>, Option<Revision>), StoreError> {
    let mut query = conn.prepare_cached("SELECT revision, payload FROM writes WHERE database = ?1 AND revision > ?2 ORDER BY revision")?;
    let mut rows = query.query((peer.database, stored(after.0)?))?;
    let (mut seen, mut asked, mut bytes) = (BTreeSet::new(), Vec::new(), 0);
    let mut last = after;
    while let Some(row) = rows.next()? {
        let revision = Revision(counted(row.get(0)?)?);
        // What cannot be read had no effect.
        let ops = Write::decode(&row.get::<_, Vec<u8>>(1)?).map(|write| write.ops).unwrap_or_default();
        let keys: Vec<_> = ops.into_iter().map(|op| (op.collection, op.key)).filter(|id| !seen.contains(id)).collect();
        let mut records = Vec::new();
        for (collection, key) in &keys {
            records.extend(record(conn, shares, collection, key)?);
        }
        let more: usize = records.iter().map(Record::wire_len).sum();
        let full = asked.len() + records.len() > ahead.max_records || bytes + more > ahead.max_bytes;
        if full && !asked.is_empty() {
            return Ok((asked, Some(last)));
        }
        // A single write may touch more than a batch takes: the stream brings the rest when the edge can store again.
        records.truncate(ahead.max_records);
        seen.extend(keys);
        asked.append(&mut records);
        bytes += more;
        last = revision;
    }
    Ok((asked, None))
}

/// A record as it is, where this node gets it; none: it does not.
pub(super) fn record(conn: &Connection, shares: &NodeShares, collection: &CollectionName, key: &Key) -> Result<Option<Record>, StoreError> {
    let mut query = conn.prepare_cached(
        "SELECT r.id, r.revision, r.share, r.collection FROM records r JOIN collections c ON c.id = r.collection WHERE c.name = ?1 AND r.key = ?2",
    )?;
    let row: Option<(i64, i64, Option<String>, i64)> =
        query.query_row((collection.as_str(), key.as_str()), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).optional()?;
    let Some((row, revision, Some(share), id)) = row else { return Ok(None) };
    let Some(grant) = shares.grants.iter().find(|grant| grant.collection == id && grant.share == share) else { return Ok(None) };
    scan::record(conn, &Light::record(grant, key.as_str(), counted(revision)?, row)).map(Some)
}

/// What the edge hears of a record that it asked for and does not get.
pub(super) fn absent(collection: &CollectionName, key: &Key, head: Revision) -> Record {
    Record {
        collection: collection.clone(),
        key: key.clone(),
        revision: head,
        born: Revision::ZERO,
        partition: None,
        updated_ms: 0,
        writer: String::new(),
        actor: None,
        content: Content::Deleted,
    }
}
