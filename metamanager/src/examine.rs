//! After an unclean stop (docs/design.md §9): SQLite's `quick_check`, and every waiting write against its checksum, beside
//! reads and writes and before the first upload. The digests are compared as at every start, when the link is up.

use crate::damage::Damage;
use crate::error::{Done, Fault, ReadError, StoreError};
use crate::handle::Metamanager;
use crate::inspect::{Soundness, quick_check};
use crate::ledger::{number, stored};
use crate::limits::EXAMINE;
use crate::outbox::sum;
use crate::reader::Reader;

/// Writes that are checked in one read, so that no read transaction keeps the log from being emptied for long.
const STEP: usize = 4_096;

impl Metamanager {
    /// Looks for damage where the last process ended without a word; call it on a thread that may block, before the first
    /// session. False: the file is damaged, the observer was told, and nothing of it should go up.
    ///
    /// # Errors
    /// The file cannot be read; what is known of it stays as it was.
    pub fn examine(&self) -> Result<bool, StoreError> {
        if !self.was_unclean() {
            return Ok(true);
        }
        let damage = self.damage();
        if let Soundness::Damaged(detail) = quick_check(damage.path(), EXAMINE)? {
            damage.notice(&detail);
            return Ok(false);
        }
        let mut after = 0;
        loop {
            match self.read(|reader| reader.check_writes(after)) {
                Ok(Some(last)) => after = last,
                Ok(None) => return Ok(true),
                Err(ReadError::Store(error)) => return refused(&damage, error),
                Err(_) => return Ok(true),
            }
        }
    }
}

fn refused(damage: &Damage, error: StoreError) -> Result<bool, StoreError> {
    match damage.look(error) {
        StoreError::Corrupt { .. } => Ok(false),
        other => Err(other),
    }
}

impl Reader {
    /// Checks a stretch of the waiting writes; the last number, or none when none is left.
    fn check_writes(&self, after: u64) -> Result<Option<u64>, ReadError> {
        self.ask(|conn| -> Done<Option<u64>> {
            let mut statement = conn.prepare_cached(
                "SELECT number, bytes, sum FROM writes WHERE number > max(?1, (SELECT answered FROM meta)) ORDER BY number LIMIT ?2",
            )?;
            let mut rows = statement.query((stored(after), STEP as i64))?;
            let mut last = None;
            while let Some(row) = rows.next()? {
                let of = number(row, 0)?;
                let known: Option<Vec<u8>> = row.get(2)?;
                let whole = match &known {
                    Some(known) => *known == sum(of, row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?),
                    None => true,
                };
                if !whole {
                    return Err(Fault::damaged("the outbox", format!("write {of} is not what was committed")));
                }
                last = Some(of);
            }
            Ok(last)
        })
    }
}
