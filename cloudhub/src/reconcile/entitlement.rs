//! What the writer may touch. It is judged first, and where the answer is no, it is the same whatever the cloud holds.

use proto::ids::Revision;
use proto::names::CollectionName;
use proto::op::{Body, Op};

use super::claims;
use super::conflict::{ConflictKind, Finding, Lost, RowKey, RowState};
use super::judge::{Case, Record, Rejection, Site, Stop, rejected};
use super::world::{Place, Stored, World};

/// How a record stands to the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// In its grants.
    Granted,
    /// Moved out of them at this revision, which the writer had not seen.
    Left(Revision),
    /// Not the writer's.
    Elsewhere,
    /// The cloud holds no such key, not even a tombstone.
    Unheld,
}

/// That a write was refused for lack of a right, and nothing else.
pub(super) fn not_entitled(op: &Op) -> Box<Rejection> {
    let key = RowKey {
        collection: op.collection.clone(),
        key: op.key.clone(),
        kind: ConflictKind::NotEntitled,
        field: String::new(),
        hidden: true,
    };
    let finding =
        Finding { key, state: RowState::Open, lost: Lost::Edge, op: Some(op.body.word()), place: None, fields: claims::content(op, None) };
    Rejection::new("not_entitled", format!("this node has no right to write {}/{}", op.collection, op.key), Some(finding))
}

impl<W: World> Case<'_, W> {
    /// Whether the writer may hold what is in a partition.
    pub(super) fn is_granted(&self, collection: &CollectionName, partition: Option<&str>) -> Result<bool, W::Error> {
        if self.write.is_edge() { self.world.granted(collection, partition) } else { Ok(true) }
    }

    /// Whether a record may be put there: never to where no node looks, except from the cloud.
    pub(super) fn may_hold(&self, collection: &CollectionName, place: &Place) -> Result<bool, W::Error> {
        match place {
            Some(partition) => self.is_granted(collection, partition.as_deref()),
            None => Ok(!self.write.is_edge()),
        }
    }

    /// How the record of an op stands to the writer.
    pub(super) fn reach(&self, op: &Op, record: &Record) -> Result<Reach, W::Error> {
        let Some(stored) = &record.now else { return self.reach_unheld(op, record) };
        if self.may_hold(&op.collection, &stored.place)? {
            return Ok(Reach::Granted);
        }
        // An op of a view that held nothing was not made for the record that moved.
        let left = if op.seen > Revision::ZERO { self.world.exit_above(&op.collection, &op.key, op.seen)? } else { None };
        Ok(left.map_or(Reach::Elsewhere, Reach::Left))
    }

    fn reach_unheld(&self, op: &Op, record: &Record) -> Result<Reach, W::Error> {
        let uncut = record.defined.definition.partition.is_none();
        let outside = uncut && !self.is_granted(&op.collection, None)?;
        Ok(if outside { Reach::Elsewhere } else { Reach::Unheld })
    }

    /// A record elsewhere is out of reach, except that a key may be tried and that no sale is refused.
    pub(super) fn entitled(&self, site: &Site<'_>) -> Result<(), Stop<W::Error>> {
        let op = site.op;
        if site.reach != Reach::Elsewhere {
            return Ok(());
        }
        let live = site.record.now.as_ref().and_then(Stored::live).is_some();
        match &op.body {
            Body::Increment(_) | Body::Put(_) => Ok(()),
            Body::Merge(_) if op.creates() && !live => Ok(()),
            _ => rejected(not_entitled(op)),
        }
    }
}
