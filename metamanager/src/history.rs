//! Writes and what came of them, for people and applications.

use std::fmt;
use std::str::FromStr;

use proto::ids::Revision;
use proto::names::{CollectionName, Key};
use proto::op::{Outcome, Verdict, Write};
use rusqlite::{Connection, Row, params};

use crate::error::{Done, Fault, ReadError};
use crate::ledger::{number, optional, stored};
use crate::limits::{LAID_LISTED, LIST_BYTES, LIST_LIMIT};
use crate::lost;
use crate::outbox::{self, Writes, without_effect};
use crate::reader::Reader;

/// Where a write stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteState {
    /// No outcome yet.
    Pending,
    /// The cloud's answer.
    Answered(Verdict),
}

impl WriteState {
    /// The word in every interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Answered(verdict) => verdict.as_str(),
        }
    }
}

impl fmt::Display for WriteState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not one of the states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a write is pending, applied, merged, flagged, rejected or lost")]
pub struct BadWriteState;

impl FromStr for WriteState {
    type Err = BadWriteState;

    fn from_str(text: &str) -> Result<Self, BadWriteState> {
        let verdicts = [Verdict::Applied, Verdict::Merged, Verdict::Flagged, Verdict::Rejected, Verdict::Lost];
        let answered = verdicts.into_iter().map(Self::Answered);
        answered.chain([Self::Pending]).find(|state| state.as_str() == text).ok_or(BadWriteState)
    }
}

/// One write of this database.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteRow {
    /// Its number.
    pub number: u64,
    /// Where it stands.
    pub state: WriteState,
    /// When it was committed, milliseconds since 1970.
    pub at_ms: u64,
    /// The cloud's answer.
    pub outcome: Option<Outcome>,
    /// What it says.
    pub write: Write,
    /// The write that sent it once more.
    pub resent: Option<u64>,
}

/// One page of writes, in number order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WritesPage {
    /// The writes.
    pub writes: Vec<WriteRow>,
    /// The last number, when there may be more.
    pub next: Option<u64>,
}

const COLUMNS: &str = "writes.number, writes.at_ms, writes.bytes, outcomes.verdict, outcomes.revision, outcomes.code, outcomes.detail, \
    outcomes.conflicts, outcomes.resent";

fn row(row: &Row<'_>) -> Done<WriteRow> {
    let outcome = match row.get::<_, Option<i64>>(3)? {
        None => None,
        Some(code) => {
            let conflicts: Option<String> = row.get(7)?;
            Some(Outcome {
                verdict: outbox::verdict(code)?,
                revision: Revision(optional(row, 4)?.unwrap_or(0)),
                code: row.get(5)?,
                detail: row.get(6)?,
                conflicts: conflicts.map(|ids| ids.lines().map(str::to_owned).collect()).unwrap_or_default(),
            })
        }
    };
    let bytes = row.get_ref(2)?.as_blob().map_err(|error| Fault::damaged("writes", error))?;
    Ok(WriteRow {
        number: number(row, 0)?,
        state: outcome.as_ref().map_or(WriteState::Pending, |outcome| WriteState::Answered(outcome.verdict)),
        at_ms: number(row, 1)?,
        outcome,
        resent: optional(row, 8)?,
        write: Write::decode(bytes).map_err(|error| Fault::damaged("a stored write", error))?,
    })
}

impl Reader {
    /// Whether the newest write that lies over a record says all of how its view came about: none of those below it was taken
    /// away again since, as a rejected one is. Not, where that cannot be known.
    pub fn is_steady(&mut self, collection: &CollectionName, key: &Key, newest: u64) -> Result<bool, ReadError> {
        self.ask(|conn| {
            let mut writes = Writes::default();
            let mut at = newest;
            for _ in 0..LAID_LISTED {
                let before = writes.before(conn, at, collection.as_str(), key)?;
                at = match before {
                    Some(0) => return Ok(true),
                    Some(before) => before,
                    None => return Ok(false),
                };
                if outbox::outcome_of(conn, at)?.is_some_and(|(verdict, _)| without_effect(verdict)) {
                    return Ok(false);
                }
            }
            Ok(false)
        })
    }

    /// Writes above a number, oldest first: all that are kept, or those in one state.
    pub fn writes(&mut self, state: Option<WriteState>, after: u64, limit: usize) -> Result<WritesPage, ReadError> {
        let (from, verdict) = match state {
            None => ("writes LEFT JOIN outcomes ON outcomes.number = writes.number WHERE ?3 < 0 AND", -1),
            Some(WriteState::Pending) => (
                "writes LEFT JOIN outcomes ON outcomes.number = writes.number \
                 WHERE writes.number > (SELECT answered FROM meta) AND outcomes.number IS NULL AND ?3 < 0 AND",
                -1,
            ),
            // The outcomes lead: however many writes wait, they are not scanned.
            Some(WriteState::Answered(Verdict::Applied)) => {
                ("outcomes CROSS JOIN writes ON outcomes.number = writes.number WHERE verdict = ?3 AND", 0)
            }
            Some(WriteState::Answered(verdict)) => (
                "outcomes INDEXED BY outcomes_notable CROSS JOIN writes ON outcomes.number = writes.number WHERE verdict > 0 AND verdict = ?3 AND",
                outbox::code(verdict),
            ),
        };
        let column = if verdict < 0 { "writes.number" } else { "outcomes.number" };
        let sql = format!("SELECT {COLUMNS} FROM {from} {column} > ?1 ORDER BY {column} LIMIT ?2");
        let limit = limit.clamp(1, LIST_LIMIT);
        self.ask(|conn| {
            let mut statement = conn.prepare_cached(&sql)?;
            let mut rows = statement.query(params![stored(after), limit as i64 + 1, verdict])?;
            let (mut page, mut bytes) = (WritesPage::default(), 0);
            while let Some(found) = rows.next()? {
                bytes += found.get_ref(2)?.as_blob().map_or(0, <[u8]>::len);
                if page.writes.len() == limit || (bytes > LIST_BYTES && !page.writes.is_empty()) {
                    page.next = page.writes.last().map(|write| write.number);
                    break;
                }
                page.writes.push(row(found)?);
            }
            if state == Some(WriteState::Answered(Verdict::Lost)) {
                lost::fill_page(conn, &mut page, after, limit)?;
            }
            Ok(page)
        })
    }

    /// One write; none when the number was never given, or its content is not kept any more.
    pub fn write(&mut self, of: u64) -> Result<Option<WriteRow>, ReadError> {
        self.ask(|conn| find(conn, of))
    }
}

/// One write, in whatever state `conn` reads.
pub(crate) fn find(conn: &Connection, of: u64) -> Done<Option<WriteRow>> {
    let sql = format!("SELECT {COLUMNS} FROM writes LEFT JOIN outcomes ON outcomes.number = writes.number WHERE writes.number = ?1");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query([stored(of)])?;
    match rows.next()? {
        Some(found) => row(found).map(Some),
        None => lost::row(conn, of),
    }
}
