//! Back-fill: what a grant's partition already held when the node was given it, in the order of its index.

use std::sync::Arc;

use proto::digest::range_of;
use proto::frame::{Content, Fill, FillPart};
use proto::ids::{Position, Revision};
use rusqlite::Connection;

use super::error::StoreError;
use super::grants::{GrantRow, NodeShares};
use super::lanes::{Kind, Lanes, Light};
use super::scan::{Room, record, to_key};
use crate::limits::{FILL_LOOKS, REPAIR_LOOKS};

/// The next part of the first open back-fill that is still granted. The stream stands at the head of the same state, so no
/// filled record overtakes an outcome.
pub(super) fn part(
    conn: &Connection,
    shares: &Arc<NodeShares>,
    fills: &[Fill],
    room: &Room,
    head: u64,
) -> Result<Option<FillPart>, StoreError> {
    let find = |fill: &Fill| {
        let grant = &fill.grant;
        shares.grants.iter().find(|row| row.since == grant.since.0 && row.to_share() == grant.share)
    };
    match fills.iter().find_map(|fill| Some((fill, find(fill)?))) {
        Some((fill, grant)) => read(conn, fill, grant, room, head).map(Some),
        None => Ok(None),
    }
}

fn read(conn: &Connection, fill: &Fill, grant: &GrantRow, room: &Room, head: u64) -> Result<FillPart, StoreError> {
    let end = fill.grant.from.0.min(head);
    if fill.at.revision.0 >= end {
        let at = Position::at(fill.grant.from);
        return Ok(FillPart { fill: Fill { grant: fill.grant.clone(), at, ranges: fill.ranges }, done: true, records: Vec::new() });
    }
    let mut lanes = Lanes::open(conn, [grant], &[Kind::Record], &fill.at, room.records)?;
    let (mut records, mut bytes, mut at) = (Vec::new(), 0, fill.at.clone());
    let most = if fill.ranges.is_some() { REPAIR_LOOKS } else { FILL_LOOKS };
    let mut done = true;
    for looks in 0.. {
        let Some(light) = lanes.peek().filter(|light| light.revision <= end) else { break };
        if looks >= most {
            done = false;
            break;
        }
        if fill.ranges.is_some_and(|ranges| !ranges.contains(range_of(&light.key))) {
            // Its row is not read.
            at = place(light)?;
            lanes.take()?;
            continue;
        }
        let record = record(conn, light)?;
        bytes += record.wire_len();
        let full = records.len() >= room.records || bytes > room.bytes;
        if full && !records.is_empty() {
            done = false;
            break;
        }
        at = place(light)?;
        lanes.take()?;
        if matches!(record.content, Content::Value(_)) {
            records.push(record);
        } else {
            bytes -= record.wire_len();
        }
    }
    if done {
        at = Position::at(fill.grant.from);
    }
    Ok(FillPart { fill: Fill { grant: fill.grant.clone(), at, ranges: fill.ranges }, done, records })
}

/// Where a fill has come when it has passed this row.
fn place(light: &Light<'_>) -> Result<Position, StoreError> {
    Ok(Position { revision: Revision(light.revision - 1), inside: Some((light.grant.name.clone(), to_key(&light.key)?)) })
}
