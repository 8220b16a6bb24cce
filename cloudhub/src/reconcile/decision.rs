//! What a judgement answers, and how the findings of a write become conflict rows.

use std::collections::BTreeMap;

use proto::json::Value;
use proto::names::{CollectionName, Key};
use proto::op::{Outcome, Verdict};

use super::conflict::{Finding, Row, RowKey, RowState};
use super::judge::{Case, Rejection};
use super::world::{Place, Stored, World};

/// What the store commits for a write, all or nothing.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The one answer.
    pub outcome: Outcome,
    /// The records that change, each once, in (collection, key) order; none when rejected.
    pub records: Vec<RecordChange>,
    /// The conflict rows that open, grow or are resolved. Of a rejected write of the cloud's API there are none: nothing of it is
    /// stored.
    pub conflicts: Vec<ConflictChange>,
    /// The top-level field that a rejection is about, where it is one.
    pub field: Option<String>,
}

/// A record's new row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordChange {
    /// The collection.
    pub collection: CollectionName,
    /// The key.
    pub key: Key,
    /// The whole new row. Where its revision is older than the write's, only clocks changed (an equal value was
    /// claimed): nothing travels, and writer and actor stay.
    pub stored: Stored,
    /// `Some(partition)`: the record, or its tombstone, was there and is not any more, so that an exit marker stands there
    /// at this revision.
    pub left: Option<Option<String>>,
}

/// A conflict row's new version.
#[derive(Debug, Clone)]
pub struct ConflictChange {
    /// Its id, the key in `_conflicts`: a new one, or that of the open row that grew.
    pub id: String,
    /// Under which it is found while it is open.
    pub row: RowKey,
    /// Open, auto or resolved.
    pub state: RowState,
    /// Its partition in `_conflicts`: `products`, or `products/lyon`. `None`: it stays in the cloud.
    pub partition: Option<String>,
    /// The row's JSON.
    pub value: Value,
}

impl<W: World> Case<'_, W> {
    /// The write takes effect.
    pub(super) fn accept(self) -> Result<Decision, W::Error> {
        let (code, detail) = self.flag.clone().unzip();
        let (mut conflicts, ids) = self.rows(&self.findings, self.verdict)?;
        conflicts.extend(self.closed());
        let outcome = Outcome { verdict: self.verdict, revision: self.write.revision, code, detail, conflicts: ids };
        let mut records = Vec::new();
        for ((collection, key), record) in self.records {
            if let (true, Some(stored)) = (record.dirty, record.now) {
                let before = record.before.and_then(|before| before.place);
                let left = before.filter(|place| stored.place.as_ref() != Some(place));
                records.push(RecordChange { collection, key, stored, left });
            }
        }
        Ok(Decision { outcome, records, conflicts, field: None })
    }

    /// None of it does.
    pub(super) fn reject(mut self, rejection: Rejection) -> Result<Decision, W::Error> {
        self.records.clear();
        // Of one that was to resolve a row, the row itself keeps what there is to decide.
        let shown = self.write.is_edge() && self.closing.is_empty();
        let findings: Vec<_> = rejection.finding.into_iter().filter(|_| shown).collect();
        let (conflicts, ids) = self.rows(&findings, Verdict::Rejected)?;
        let (code, detail) = (Some(rejection.code.to_owned()), Some(rejection.detail));
        let outcome = Outcome { verdict: Verdict::Rejected, revision: self.write.revision, code, detail, conflicts: ids };
        Ok(Decision { outcome, records: Vec::new(), conflicts, field: rejection.field })
    }

    /// Rows of the findings, and the ids of those that the writer may see.
    fn rows(&self, findings: &[Finding], verdict: Verdict) -> Result<(Vec<ConflictChange>, Vec<String>), W::Error> {
        let mut rows: Vec<(&Finding, Row)> = Vec::new();
        let mut open: BTreeMap<&RowKey, usize> = BTreeMap::new();
        let mut made = 0;
        for finding in findings.iter().filter(|finding| self.opens(&finding.key)) {
            if let Some((_, row)) = open.get(&finding.key).and_then(|place| rows.get_mut(*place)) {
                row.add(finding, self.write, verdict.as_str());
                continue;
            }
            let known = if finding.state == RowState::Open { self.world.open_conflict(&finding.key)? } else { None };
            let row = match known {
                Some(mut row) => {
                    row.add(finding, self.write, verdict.as_str());
                    row
                }
                None => {
                    made += 1;
                    Row::open(format!("c{}-{made}", self.write.revision), finding, self.write, verdict.as_str())
                }
            };
            if finding.state == RowState::Open {
                open.insert(&finding.key, rows.len());
            }
            rows.push((finding, row));
        }
        let mut ids = Vec::new();
        let mut changes = Vec::new();
        for (finding, row) in rows {
            let place = if finding.key.hidden { None } else { self.place_of(finding) };
            if let Some(partition) = &place
                && self.is_granted(&finding.key.collection, partition.as_deref())?
            {
                ids.push(row.id.clone());
            }
            let partition = place.map(|partition| partition_name(&finding.key.collection, partition.as_deref()));
            let value = row.to_value();
            changes.push(ConflictChange { id: row.id, row: finding.key.clone(), state: finding.state, partition, value });
        }
        Ok((changes, ids))
    }

    /// Writes on the system's own collections open no rows, those on twins do; nor does what a person decided.
    fn opens(&self, row: &RowKey) -> bool {
        let shown = !row.collection.is_system() || row.collection.as_str() == "_twins";
        shown && !self.settles(&row.collection, &row.key)
    }

    /// Where the record of a finding is after the write; where it was, of a write that is rejected.
    fn place_of(&self, finding: &Finding) -> Place {
        let record = self.records.get(&(finding.key.collection.clone(), finding.key.key.clone()));
        match record.and_then(|record| record.now.as_ref()) {
            Some(stored) => stored.place.clone(),
            None => finding.place.clone(),
        }
    }
}

pub(super) fn partition_name(collection: &CollectionName, partition: Option<&str>) -> String {
    match partition {
        None => collection.to_string(),
        Some(partition) => format!("{collection}/{partition}"),
    }
}
