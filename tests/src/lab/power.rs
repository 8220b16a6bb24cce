//! Power that fails for real: of what a side's database wrote and did not sync, any part may be gone.

use std::path::PathBuf;

use powercut::{Log, Loss, Watch};
use rusqlite::Connection;

use super::dice::Dice;
use super::{Lab, Side};

/// The disk of one side.
#[derive(Debug)]
pub(super) struct Power {
    watch: Watch,
    dice: Dice,
    marks: u64,
    file: PathBuf,
    /// After how many commits of a piece of work it fails, where that is not left to chance.
    amid: Option<usize>,
}

/// Once in so many promises a WAL goes into its database: the stores do that after 16 MB, which no history here comes to.
const CHECKPOINTS: u64 = 40;

impl Power {
    /// The disk that a database is to be on, before it is opened. What a cut takes comes from the seed.
    pub(super) fn new(file: PathBuf, seed: u64) -> Self {
        Self { watch: Watch::new(file.parent().unwrap()).unwrap(), dice: Dice::new(seed), marks: 0, file, amid: None }
    }

    /// The power fails while `close` lets go of the files; then what is left is in their place.
    pub(super) fn fail(power: &mut Option<Self>, close: impl FnOnce()) {
        let left = power.as_mut().map(|Self { watch, dice, .. }| watch.cut(dice.pick(&Loss::ALL), &mut |bound| dice.below(bound)));
        close();
        if let (Some(power), Some(left)) = (power, left) {
            power.watch.put_back(&left).unwrap();
        }
    }

    /// Somebody else wrote the files.
    pub(super) fn reread(power: &Option<Self>) {
        power.iter().for_each(|power| power.watch.reread().unwrap());
    }

    fn mark(&mut self) {
        self.marks += 1;
        self.watch.mark(self.marks);
        if self.dice.one_in(CHECKPOINTS) {
            let db = Connection::open(&self.file).unwrap();
            db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        }
    }
}

impl Lab {
    fn power(&mut self, side: Side) -> Option<&mut Power> {
        match side {
            Side::Cloud => self.cloud.power.as_mut(),
            Side::Edge(node) => self.edges[node].power.as_mut(),
        }
    }

    /// The power fails in the middle of a piece of work of this side's, after some of its commits or before the first; where that cannot
    /// be, it is not done. Whoever is killed next finds what is left then.
    pub(super) fn fail_amid(&mut self, side: Side, work: impl FnOnce(&mut Self)) {
        let Some(power) = self.power(side) else { return };
        let commits = power.amid.unwrap_or_else(|| power.dice.below(3) as usize);
        if commits == 0 {
            return;
        }
        power.watch.fail_after(commits);
        if let Side::Edge(node) = side {
            self.edges[node].sure = Some(self.edges[node].outcomes().len());
        }
        work(self);
        let failed = self.power(side).is_some_and(|power| power.watch.has_failed());
        if let (Side::Edge(node), false) = (side, failed) {
            self.edges[node].sure = None;
        }
    }

    /// From now on power that fails amid a piece of work of this side's does so after so many commits.
    pub fn fail_after_commits(&mut self, side: Side, commits: usize) {
        self.power(side).into_iter().for_each(|power| power.amid = Some(commits));
    }

    fn sides(&self) -> impl Iterator<Item = Side> + use<> {
        std::iter::once(Side::Cloud).chain((0..self.edges.len()).map(Side::Edge))
    }

    /// What the stores did so far has been answered: no cut may take it from now on.
    pub(super) fn promise(&mut self) {
        if self.failing.is_some() {
            self.sides().for_each(|side| self.power(side).into_iter().for_each(Power::mark));
        }
    }

    /// From now on every moment of every disk is kept, until [`Lab::logs`].
    pub fn keep_logs(&mut self) {
        self.keeps_logs = true;
        self.sides().for_each(|side| self.keep_log(side));
    }

    pub(super) fn keep_log(&mut self, side: Side) {
        self.power(side).into_iter().for_each(|power| power.watch.keep_log());
    }

    /// Every moment of every disk, with a mark wherever what was done before had been answered.
    pub fn logs(&mut self) -> Vec<(Side, Log)> {
        let log = |lab: &mut Self, side| lab.power(side).map(|power| (side, power.watch.log()));
        self.sides().filter_map(|side| log(self, side)).collect()
    }
}
