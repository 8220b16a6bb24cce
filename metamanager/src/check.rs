//! A check reads every row of base, in one state of the file and away from the writer, and finds out three things: whether
//! each row is what was stored, whether the figures that are kept add up to the rows, and, where the cloud's digests of
//! exactly this state are known, which grants differ from what the cloud has. `mend` puts right what can be put right here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proto::digest::{Digest, RANGES, range_of};
use proto::frame::{Compared, GrantDigest, RangeSums};
use proto::ids::Revision;
use proto::names::Key;
use proto::op::Hash;
use rusqlite::{Connection, Row, params};

use crate::digests::{self, Agreement, MEMBERS, row_hash, stored_hash};
use crate::error::{Done, StoreError};
use crate::ledger::Ledger;
use crate::limits::{CHECK_CACHE_KIB, CHECK_DAMAGED, CHECK_STEP, COMPARE_GRANTS};
use crate::open;

/// The cloud's digests, of the state that a check reads.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) revision: Revision,
    pub(crate) digests: Vec<GrantDigest>,
}

/// A check that holds the state of the file that it is about.
#[derive(Debug)]
pub struct Check {
    path: PathBuf,
    conn: Connection,
    question: Option<Question>,
    begun_ms: u64,
    closing: Arc<AtomicBool>,
    token: Arc<()>,
}

/// What a check found.
#[derive(Debug)]
pub struct Found {
    pub(crate) begun_ms: u64,
    /// The newest generation of a back-fill then: since another one began, what was found is about rows that are gone.
    pub(crate) generation: u64,
    /// What the kept digests lack, by grant.
    pub(crate) lacks: BTreeMap<i64, Digest>,
    /// What the kept counts lack, by collection: records, and records that readers see.
    pub(crate) uncounted: BTreeMap<i64, (i64, i64)>,
    /// Rows that are not what was stored, or that belong to nothing.
    pub(crate) damaged: Vec<i64>,
    /// There are more of them.
    pub(crate) truncated: bool,
    /// The index of the keys does not say what the rows say.
    pub(crate) index_damaged: bool,
    pub(crate) agreement: Option<Agreement>,
    pub(crate) checked: Checked,
    /// How many of the damaged rows are mended.
    pub(crate) mended: usize,
    /// Figures and index are mended.
    pub(crate) corrected: bool,
    _token: Arc<()>,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// When it began, on the monotonic clock.
    pub begun_ms: u64,
    /// Rows that were read.
    pub records: u64,
    /// Rows that were not what was stored.
    pub damaged: u64,
    /// What came of comparing with the cloud's digests; none: there were none to compare with, or `again`.
    pub compared: Option<Compared>,
    /// Another check has to go on: so much is damaged that only a part of it was mended, or a grant began to fill meanwhile.
    pub again: bool,
}

/// What one row of base contributes, and to what.
pub(crate) struct Judged {
    pub(crate) collection: i64,
    pub(crate) granted: i64,
    /// What it contributes to the digest that is kept.
    pub(crate) stored: Option<Hash>,
    /// What it has to contribute; none: a blocked record stands for it.
    pub(crate) truth: Option<Hash>,
    /// It belongs to no grant of its collection, or cannot be a record.
    pub(crate) stray: bool,
}

/// The columns that [`judge`] reads.
pub(crate) fn columns() -> String {
    format!("{MEMBERS}, collection, granted, hash, id")
}

/// Looks at one row.
pub(crate) fn judge(conn: &Connection, ledger: &Ledger, homes: &BTreeMap<i64, i64>, row: &Row<'_>) -> Done<Judged> {
    let (collection, granted): (i64, i64) = (row.get(7)?, row.get(8)?);
    let key = row.get_ref(0)?.as_str().ok().and_then(|key| Key::parse(key).ok());
    let hash = row_hash(row, 0);
    let stray = homes.get(&granted) != Some(&collection) || key.is_none() || hash.is_none();
    let blocked = match &key {
        Some(key) if ledger.blocked > 0 && !stray => {
            let mut statement = conn.prepare_cached("SELECT 1 FROM blocked WHERE collection = ?1 AND key = ?2")?;
            statement.exists(params![ledger.name_of(collection)?.as_str(), key.as_str()])?
        }
        _ => false,
    };
    Ok(Judged { collection, granted, stored: stored_hash(row, 9), truth: hash.filter(|_| !blocked), stray })
}

/// Each grant's collection.
pub(crate) fn homes(ledger: &Ledger) -> BTreeMap<i64, i64> {
    ledger.grants.iter().map(|granted| (granted.id, granted.collection)).collect()
}

impl Check {
    /// Holds the present state of the file.
    pub(crate) fn begin(
        path: &Path,
        question: Option<Question>,
        begun_ms: u64,
        closing: Arc<AtomicBool>,
        token: Arc<()>,
    ) -> Result<Self, StoreError> {
        let hold = || {
            let conn = open::reader(path)?;
            conn.pragma_update(None, "cache_size", -CHECK_CACHE_KIB)?;
            conn.execute_batch("BEGIN")?;
            conn.query_row("SELECT 1 FROM meta", [], |_| Ok(()))?;
            Ok(conn)
        };
        let conn = hold().map_err(|fault| StoreError::of(fault, path))?;
        Ok(Self { path: path.to_owned(), conn, question, begun_ms, closing, token })
    }

    /// Reads. None: the database is being closed.
    pub fn run(self) -> Result<Option<Found>, StoreError> {
        self.find().map_err(|fault| StoreError::of(fault, &self.path))
    }

    fn find(&self) -> Done<Option<Found>> {
        let ledger = Ledger::load(&self.conn)?;
        let mut pass = Pass { check: self, homes: homes(&ledger), ledger: &ledger, sums: Sums::default() };
        if !pass.rows()? || !pass.index()? {
            return Ok(None);
        }
        pass.blocked()?;
        pass.overlays()?;
        let (agreement, differing) = pass.compare();
        let Some(differing) = pass.ranges(&differing)? else { return Ok(None) };
        Ok(Some(pass.found(agreement, differing)))
    }

    fn must_end(&self, row: u64) -> bool {
        row.is_multiple_of(CHECK_STEP as u64) && self.closing.load(Ordering::Relaxed)
    }
}

/// What the rows add up to.
#[derive(Debug, Default)]
struct Sums {
    rows: u64,
    /// By grant: what the rows say that they contribute, and what they have to.
    stored: BTreeMap<i64, Digest>,
    truth: BTreeMap<i64, Digest>,
    /// By collection: rows, and those that readers see.
    counts: BTreeMap<i64, (i64, i64)>,
    damaged: Vec<i64>,
    /// What those have to contribute, where they stay.
    overrides: BTreeMap<i64, Option<Hash>>,
    truncated: bool,
    /// Which key is where, as the rows say, less what the index says.
    places: u64,
}

struct Pass<'a> {
    check: &'a Check,
    ledger: &'a Ledger,
    homes: BTreeMap<i64, i64>,
    sums: Sums,
}

impl Pass<'_> {
    /// Every row, in the order in which they lie. False: to be ended.
    fn rows(&mut self) -> Done<bool> {
        let conn = &self.check.conn;
        let mut statement = conn.prepare(&format!("SELECT {} FROM base NOT INDEXED ORDER BY id", columns()))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if self.check.must_end(self.sums.rows) {
                return Ok(false);
            }
            self.sums.rows += 1;
            self.sums.places = self.sums.places.wrapping_add(place(row, 10, 7, 0)?);
            let judged = judge(conn, self.ledger, &self.homes, row)?;
            let covered = self.ledger.meta.overlays > 0 && covered(conn, row)?;
            self.row(row.get(10)?, &judged, covered);
        }
        Ok(true)
    }

    fn row(&mut self, id: i64, judged: &Judged, covered: bool) {
        let sums = &mut self.sums;
        let (records, view) = sums.counts.entry(judged.collection).or_default();
        *records += 1;
        *view += i64::from(!covered);
        if let Some(hash) = &judged.stored {
            sums.stored.entry(judged.granted).or_default().add(hash);
        }
        if let (Some(hash), false) = (&judged.truth, judged.stray) {
            sums.truth.entry(judged.granted).or_default().add(hash);
        }
        if judged.stray || judged.stored != judged.truth {
            if sums.damaged.len() == CHECK_DAMAGED {
                sums.truncated = true;
                return;
            }
            sums.damaged.push(id);
            sums.overrides.insert(id, judged.truth.filter(|_| !judged.stray));
        }
    }

    /// The index says where each key is; a reader believes it.
    fn index(&mut self) -> Done<bool> {
        let mut statement = self.check.conn.prepare("SELECT id, collection, key FROM base INDEXED BY base_key")?;
        let mut rows = statement.query([])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            if self.check.must_end(count) {
                return Ok(false);
            }
            count += 1;
            self.sums.places = self.sums.places.wrapping_sub(place(row, 0, 1, 2)?);
        }
        Ok(true)
    }

    /// Records that are put aside count as what the cloud sent.
    fn blocked(&mut self) -> Done<()> {
        if self.ledger.blocked == 0 {
            return Ok(());
        }
        let mut statement = self.check.conn.prepare("SELECT collection, share, hash FROM blocked")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (collection, share): (String, Option<String>) = (row.get(0)?, row.get(1)?);
            let granted = self.ledger.granted(&collection, share.as_deref()).map(|place| self.ledger.grants[place].id);
            if let (Some(granted), Some(hash)) = (granted, stored_hash(row, 2)) {
                self.sums.stored.entry(granted).or_default().add(&hash);
                self.sums.truth.entry(granted).or_default().add(&hash);
            }
        }
        Ok(())
    }

    /// Readers see the overlay where there is one.
    fn overlays(&mut self) -> Done<()> {
        let mut statement =
            self.check.conn.prepare("SELECT collection, count(*) FROM overlay WHERE value IS NOT NULL GROUP BY collection")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            self.sums.counts.entry(row.get(0)?).or_default().1 += row.get::<_, i64>(1)?;
        }
        Ok(())
    }

    fn compare(&self) -> (Option<Agreement>, Vec<i64>) {
        let Some(question) = self.check.question.as_ref().filter(|_| !self.sums.truncated) else { return (None, Vec::new()) };
        let held = |id| self.sums.truth.get(&id).copied().unwrap_or_default();
        let (agreement, differing) = digests::compare(&self.ledger.grants, &question.digests, held);
        (Some(agreement), differing)
    }

    /// The sums of the grants that differ, by range of their keys. None: to be ended.
    fn ranges(&self, differing: &[i64]) -> Done<Option<Vec<RangeSums>>> {
        let wanted: BTreeSet<i64> = differing.iter().take(COMPARE_GRANTS).copied().collect();
        if wanted.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let mut sums: BTreeMap<i64, Vec<u128>> = wanted.iter().map(|id| (*id, vec![0; RANGES])).collect();
        let mut add = |granted: i64, key: &str, hash: Option<Hash>| {
            if let (Some(sums), Some(hash)) = (sums.get_mut(&granted), hash) {
                let sum = &mut sums[usize::from(range_of(key))];
                *sum = sum.wrapping_add(u128::from_le_bytes(hash));
            }
        };
        let mut statement = self.check.conn.prepare("SELECT id, granted, key, hash FROM base NOT INDEXED ORDER BY id")?;
        let mut rows = statement.query([])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            if self.check.must_end(count) {
                return Ok(None);
            }
            count += 1;
            let (id, granted) = (row.get(0)?, row.get(1)?);
            let hash = self.sums.overrides.get(&id).copied().unwrap_or_else(|| stored_hash(row, 3));
            if let (Some(_), true, Ok(key)) = (hash, wanted.contains(&granted), row.get_ref(2)?.as_str()) {
                add(granted, key, hash);
            }
        }
        let mut statement = self.check.conn.prepare("SELECT collection, share, key, hash FROM blocked")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (collection, share, key): (String, Option<String>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if let Some(place) = self.ledger.granted(&collection, share.as_deref()) {
                add(self.ledger.grants[place].id, &key, stored_hash(row, 3));
            }
        }
        let of = |(id, sums)| {
            let grant = &self.ledger.granted_by_id(id)?.grant;
            Some(RangeSums { share: grant.share.clone(), since: grant.since, sums })
        };
        Ok(Some(sums.into_iter().filter_map(of).collect()))
    }

    fn found(self, agreement: Option<Agreement>, differing: Vec<RangeSums>) -> Found {
        let Self { check, ledger, sums, .. } = self;
        let lack = |id: i64| {
            let (rows, kept) = (sums.stored.get(&id).copied().unwrap_or_default(), ledger.digests.of(id));
            (id, Digest { count: rows.count.wrapping_sub(kept.count), sum: rows.sum.wrapping_sub(kept.sum) })
        };
        let lacks = ledger.grants.iter().map(|granted| lack(granted.id)).filter(|(_, lack)| *lack != Digest::default()).collect();
        let uncounted = |id: i64| {
            let ((records, view), kept) = (sums.counts.get(&id).copied().unwrap_or_default(), ledger.counted(id));
            (id, (records - kept.0, view - kept.1))
        };
        let uncounted = ledger.collections.values().map(|collection| uncounted(collection.id)).filter(|(_, lack)| *lack != (0, 0));
        let compared = check.question.as_ref().filter(|_| agreement.is_some());
        let checked = Checked {
            begun_ms: check.begun_ms,
            records: sums.rows,
            damaged: sums.damaged.len() as u64,
            compared: compared.map(|question| Compared { revision: question.revision, differing }),
            again: sums.truncated,
        };
        Found {
            begun_ms: check.begun_ms,
            generation: ledger.meta.generation,
            lacks,
            uncounted: uncounted.collect(),
            damaged: sums.damaged,
            truncated: sums.truncated,
            index_damaged: sums.places != 0,
            agreement,
            checked,
            mended: 0,
            corrected: false,
            _token: Arc::clone(&check.token),
        }
    }
}

/// Whether ops are laid over a row of base.
fn covered(conn: &Connection, row: &Row<'_>) -> Done<bool> {
    let Ok(key) = row.get_ref(0)?.as_str() else { return Ok(false) };
    let mut statement = conn.prepare_cached("SELECT 1 FROM overlay WHERE collection = ?1 AND key = ?2")?;
    Ok(statement.exists(params![row.get::<_, i64>(7)?, key])?)
}

/// A number that says which key is at which row; their sum does not depend on an order (FNV-1a).
fn place(row: &Row<'_>, id: usize, collection: usize, key: usize) -> Done<u64> {
    let (id, collection): (i64, i64) = (row.get(id)?, row.get(collection)?);
    let key = row.get_ref(key)?.as_bytes().unwrap_or_default();
    let bytes = id.to_le_bytes().into_iter().chain(collection.to_le_bytes()).chain(key.iter().copied());
    Ok(bytes.fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
}
