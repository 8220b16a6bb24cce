//! Requests that had an `Idempotency-Key`, of each node and of this hub's own API: which write answers each, so that one that
//! is made again (also by a database that took the place of a wiped one) has no second effect. The newest
//! [`REQUESTS_PER_NODE`] of each are kept, in their order; clocks have no say.

use proto::ids::{Revision, WriteId};
use proto::op::{Hash, Idempotency, Outcome, Verdict, hash};
use rusqlite::Connection;

use super::error::{StoreError, counted, stored};
use super::reads::strings;
use super::work::Work;
use super::world::{to_verdict, verdict_number};
use crate::limits::REQUESTS_PER_NODE;

/// The node of requests through this hub's own API.
pub(super) const API: i64 = 0;

/// Requests between two removals of old ones.
const TRIM_STEP: u64 = 256;

/// A request, by whom and under which key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    node: i64,
    key: Hash,
    request: Hash,
}

impl Asked {
    /// Of a node's write: the key is unique in the node.
    pub(super) fn of_node(node: i64, named: &Idempotency) -> Self {
        Self { node, key: hash(named.key.as_bytes()), request: named.request }
    }

    /// Of the API: the key is unique for each caller, so that nobody meets another's.
    pub(super) fn of_caller(caller: &str, named: &Idempotency) -> Self {
        Self { node: API, key: hash(&[caller.as_bytes(), &[0], named.key.as_bytes()].concat()), request: named.request }
    }
}

/// An earlier request under the same key.
#[derive(Debug)]
pub(super) struct Known {
    request: Hash,
    /// The id of the write that answers it.
    pub(super) write: String,
    /// The revision that it was decided at.
    pub(super) revision: Revision,
    pub(super) verdict: Verdict,
    pub(super) code: Option<String>,
    pub(super) at_ms: u64,
    /// What was told about its records, see [`proto::repeat`].
    pub(super) told: Vec<u8>,
}

impl Known {
    /// Whether it asked for the same.
    pub(super) fn is(&self, request: &Asked) -> bool {
        self.request == request.request
    }

    /// Its outcome, for a write that is the same request: what it did, it did at the revision then.
    pub(super) fn outcome(&self, conn: &Connection) -> Result<Outcome, StoreError> {
        let mut query = conn.prepare_cached("SELECT conflicts FROM writes WHERE revision = ?1")?;
        let mut rows = query.query([stored(self.revision.0)?])?;
        let conflicts = rows.next()?.map(|row| row.get(0)).transpose()?.flatten();
        let detail = format!("write {} is this request, under the same Idempotency-Key; it was {}", self.write, self.verdict.as_str());
        Ok(Outcome {
            verdict: self.verdict,
            revision: self.revision,
            code: self.code.clone(),
            detail: Some(detail),
            conflicts: strings(conflicts)?,
        })
    }
}

/// The request under this key.
pub(super) fn find(conn: &Connection, request: &Asked) -> Result<Option<Known>, StoreError> {
    let mut query =
        conn.prepare_cached("SELECT request, write, revision, verdict, code, at_ms, told FROM requests WHERE node = ?1 AND key = ?2")?;
    let mut rows = query.query((request.node, request.key))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Known {
        request: row.get(0)?,
        write: row.get(1)?,
        revision: Revision(counted(row.get(2)?)?),
        verdict: to_verdict(row.get(3)?)?,
        code: row.get(4)?,
        at_ms: counted(row.get(5)?)?,
        told: row.get(6)?,
    }))
}

/// Remembers a request with the write that answers it, in the transaction that decides the write.
pub(super) fn keep(work: &Work<'_>, request: &Asked, write: &WriteId, outcome: &Outcome, told: &[u8]) -> Result<(), StoreError> {
    let seq: i64 = work
        .conn
        .prepare_cached(
            "INSERT INTO requests (node, seq, key, request, write, revision, verdict, code, at_ms, told)
             SELECT ?1, coalesce((SELECT max(seq) FROM requests WHERE node = ?1), 0) + 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
             RETURNING seq",
        )?
        .query_row(
            rusqlite::params![
                request.node,
                request.key,
                request.request,
                write.to_string(),
                stored(outcome.revision.0)?,
                verdict_number(outcome.verdict),
                outcome.code.as_deref(),
                stored(work.now_ms)?,
                told,
            ],
            |row| row.get(0),
        )?;
    let seq = counted(seq)?;
    if seq % TRIM_STEP == 0 && seq > REQUESTS_PER_NODE {
        let below = stored(seq - REQUESTS_PER_NODE)?;
        work.conn.prepare_cached("DELETE FROM requests WHERE node = ?1 AND seq <= ?2")?.execute((request.node, below))?;
    }
    Ok(())
}
