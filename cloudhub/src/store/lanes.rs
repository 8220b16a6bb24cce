//! The rows of several partitions as one stream, in (revision, collection, key) order.
//!
//! Each partition is a lane that reads light rows (revision, key, row id) from its index a few at a time; whoever takes
//! one reads the whole row. So a node with a thousand partitions costs a seek for each that changed, and no more.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

use proto::ids::Position;
use rusqlite::Connection;

use super::error::{StoreError, counted, limit, stored};
use super::grants::GrantRow;

/// What a lane's rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Records, live or deleted.
    Record,
    /// Exit markers.
    Exit,
}

/// One row that comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Light<'a> {
    pub(super) revision: u64,
    pub(super) grant: &'a GrantRow,
    pub(super) key: String,
    pub(super) kind: Kind,
    /// The row in `records`; nothing for an exit marker.
    pub(super) row: i64,
    lane: usize,
}

impl<'a> Light<'a> {
    /// A record that was found by its key.
    pub(super) fn record(grant: &'a GrantRow, key: &str, revision: u64, row: i64) -> Self {
        Self { revision, grant, key: key.to_owned(), kind: Kind::Record, row, lane: 0 }
    }
}

impl Ord for Light<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let place = |light: &Self| (light.revision, light.kind, light.lane);
        let names = || self.grant.name.cmp(&other.grant.name).then_with(|| self.key.cmp(&other.key));
        self.revision.cmp(&other.revision).then_with(names).then_with(|| place(self).cmp(&place(other)))
    }
}

impl PartialOrd for Light<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

struct Lane<'a> {
    grant: &'a GrantRow,
    kind: Kind,
    rows: VecDeque<(u64, String, i64)>,
    /// Where the next read goes on.
    after: (u64, String),
    ended: bool,
}

/// All lanes of one scan.
pub(super) struct Lanes<'a> {
    conn: &'a Connection,
    lanes: Vec<Lane<'a>>,
    next: BinaryHeap<Reverse<Light<'a>>>,
    read: usize,
}

impl<'a> Lanes<'a> {
    /// Opens a lane for the records and one for the exit markers of each partition, behind `from`. `wanted`: about how many
    /// rows will be taken in all.
    pub(super) fn open(
        conn: &'a Connection,
        grants: impl IntoIterator<Item = &'a GrantRow>,
        kinds: &[Kind],
        from: &Position,
        wanted: usize,
    ) -> Result<Self, StoreError> {
        let lane = |grant: &'a GrantRow, kind| Lane { grant, kind, rows: VecDeque::new(), after: start(from, grant), ended: false };
        let lanes: Vec<_> = grants.into_iter().flat_map(|grant| kinds.iter().map(move |kind| lane(grant, *kind))).collect();
        let read = (2 * wanted / lanes.len().max(1)).clamp(8, wanted.max(8) + 1);
        let mut all = Self { conn, next: BinaryHeap::with_capacity(lanes.len()), lanes, read };
        for lane in 0..all.lanes.len() {
            all.advance(lane)?;
        }
        Ok(all)
    }

    /// The row that comes next, left where it is.
    pub(super) fn peek(&self) -> Option<&Light<'a>> {
        self.next.peek().map(|Reverse(light)| light)
    }

    /// The row that comes next.
    pub(super) fn take(&mut self) -> Result<Option<Light<'a>>, StoreError> {
        let Some(Reverse(light)) = self.next.pop() else { return Ok(None) };
        self.advance(light.lane)?;
        Ok(Some(light))
    }

    fn advance(&mut self, index: usize) -> Result<(), StoreError> {
        let lane = &mut self.lanes[index];
        if lane.rows.is_empty() && !lane.ended {
            lane.fill(self.conn, self.read)?;
        }
        if let Some((revision, key, row)) = lane.rows.pop_front() {
            let light = Light { revision, grant: lane.grant, key, kind: lane.kind, row, lane: index };
            self.next.push(Reverse(light));
        }
        Ok(())
    }
}

impl Lane<'_> {
    fn fill(&mut self, conn: &Connection, count: usize) -> Result<(), StoreError> {
        let mut query = conn.prepare_cached(match self.kind {
            Kind::Record => {
                "SELECT revision, key, id FROM records INDEXED BY records_stream
                 WHERE collection = ?1 AND share = ?2 AND (revision, key) > (?3, ?4) ORDER BY revision, key LIMIT ?5"
            }
            Kind::Exit => {
                "SELECT revision, key, 0 FROM exits INDEXED BY exits_stream
                 WHERE collection = ?1 AND share = ?2 AND (revision, key) > (?3, ?4) ORDER BY revision, key LIMIT ?5"
            }
        })?;
        let mut rows = query.query((self.grant.collection, &self.grant.share, stored(self.after.0)?, &self.after.1, limit(count)))?;
        while let Some(row) = rows.next()? {
            self.rows.push_back((counted(row.get(0)?)?, row.get(1)?, row.get(2)?));
        }
        self.ended = self.rows.len() < count;
        if let Some((revision, key, _)) = self.rows.back() {
            self.after = (*revision, key.clone());
        }
        Ok(())
    }
}

/// Where a partition's rows behind a position begin: keys are never empty, so `(r, "")` is before all of revision r.
fn start(from: &Position, grant: &GrantRow) -> (u64, String) {
    let next = from.revision.0.saturating_add(1);
    match &from.inside {
        None => (next, String::new()),
        Some((collection, key)) => match grant.name.cmp(collection) {
            Ordering::Less => (next.saturating_add(1), String::new()),
            Ordering::Equal => (next, key.as_str().to_owned()),
            Ordering::Greater => (next, String::new()),
        },
    }
}
