//! The power of every disk fails, at any write: what was answered before is there, whole, and nothing else is half there.

use std::hash::{DefaultHasher, Hasher};
use std::path::Path;

use cloudhub::store::SqliteStore;
use powercut::{Image, Log, Loss};
use proto::clock::Now;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use tests::lab::cloud::WALL_MS;
use tests::lab::dice::Dice;
use tests::lab::words::put;
use tests::lab::{Fault, Lab, Side, check, season};

/// How many histories are cut at every write, unless `TOMBOLO_CUT_SEEDS` says otherwise.
const SEEDS: u64 = 5;
/// At least so many cuts in those, or they prove less than they seem to.
const CUTS: u64 = 20_000;
/// Every so many cuts the real store is opened on what is left.
const OPENED: u64 = 40;

fn seeds(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn any_history_on_failing_disks_ends_in_sync() {
    for seed in 0..seeds("TOMBOLO_SEEDS", 25) {
        println!("failing, seed {seed}");
        season::on(Lab::failing(seed), seed);
    }
}

/// `ack-without-change` and every other way to promise what is not on the disk.
#[test]
fn a_cut_at_any_write_leaves_what_was_promised() {
    let (mut cuts, seeds) = (0, seeds("TOMBOLO_CUT_SEEDS", SEEDS));
    for seed in 0..seeds {
        let mut lab = Lab::failing(seed);
        lab.keep_logs();
        let logs = season::on(lab, seed).logs();
        for (side, log) in logs {
            let name = format!("seed {seed} {side:?}");
            let file = if side == Side::Cloud { "cloudhub.db" } else { "edge.db" };
            cuts += Trial::new(file, seed).run(&name, log);
        }
    }
    println!("{cuts} cuts");
    assert!(cuts >= CUTS || seeds < SEEDS, "only {cuts} cuts");
}

/// Between any two commits of a piece of work too, what is there is what the cursor says: nothing has to be mended.
#[test]
fn a_cut_between_two_commits_leaves_no_cursor_ahead_of_its_records() {
    for (after, commits) in (0..10).flat_map(|after| (1..4).map(move |commits| (after, commits))) {
        let mut lab = Lab::failing(after);
        lab.define("goods", "{}");
        lab.join("lyon", &[]);
        lab.converge(60_000);
        lab.online(0, false);
        lab.in_cloud((0..5).map(|id| put("goods", &id.to_string(), r#"{"x":1}"#)).collect());
        lab.fail_after_commits(Side::Edge(0), commits);
        lab.fault(Side::Edge(0), Fault { after, commits: false });
        lab.online(0, true);
        lab.converge(120_000);
        check::never_differed(&lab);
    }
}

/// A place for what a cut leaves.
struct Trial {
    folder: tempfile::TempDir,
    file: &'static str,
    dice: Dice,
}

/// Everything in a database, as one figure that any difference changes.
type Content = u64;

/// Which states a moment may leave: from the newest that was promised to the one that is on its way.
#[derive(Clone, Copy)]
struct Window {
    from: usize,
    to: usize,
}

impl Trial {
    fn new(file: &'static str, seed: u64) -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        Self { folder, file, dice: Dice::new(seed) }
    }

    /// Cuts at every write of a run, in one way each; how often.
    fn run(mut self, name: &str, log: Log) -> u64 {
        let (states, windows) = self.states(log.clone());
        let mut cuts = 0;
        log.moments(|moment| {
            let window = windows[cuts as usize];
            cuts += 1;
            let loss = self.dice.pick(&Loss::ALL);
            let image = moment.cut(loss, &mut |bound| self.dice.below(bound));
            let found = self.content(&image).unwrap_or_else(|error| panic!("{name}: a cut at event {} ({loss:?}): {error}", moment.at));
            let whole = states[window.from..=window.to].contains(&found);
            let place = states.iter().position(|state| *state == found);
            assert!(
                whole,
                "{name}: a cut at event {} ({loss:?}) left state {place:?}, not one of {}..={}",
                moment.at, window.from, window.to
            );
            if cuts % OPENED == 0 {
                self.opens(&image, name);
            }
        });
        cuts
    }

    /// The states of a run, one for each commit, and which of them each moment may leave.
    fn states(&self, log: Log) -> (Vec<Content>, Vec<Window>) {
        let (mut states, mut windows, mut mark, mut promised) = (Vec::new(), Vec::<Window>::new(), 0, 0);
        log.moments(|moment| {
            if moment.settled {
                let state = self.content(&moment.cut(Loss::Nothing, &mut |_| 0)).unwrap();
                if states.last() != Some(&state) {
                    states.push(state);
                }
                if moment.mark > mark {
                    (mark, promised) = (moment.mark, states.len() - 1);
                }
            }
            windows.push(Window { from: promised, to: states.len() });
        });
        let last = states.len() - 1;
        windows.iter_mut().for_each(|window| window.to = window.to.min(last));
        (states, windows)
    }

    fn put(&self, image: &Image) {
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        image.iter().for_each(|(name, bytes)| std::fs::write(self.folder.path().join(name), bytes).unwrap());
    }

    fn content(&self, image: &Image) -> rusqlite::Result<Content> {
        self.put(image);
        let db = Connection::open_with_flags(self.folder.path().join(self.file), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        content(&db)
    }

    /// The real store starts on what is left, finds nothing damaged, and the file is sound.
    fn opens(&self, image: &Image, name: &str) {
        self.put(image);
        let path = self.folder.path().join(self.file);
        let db = Connection::open(&path).unwrap();
        let sound: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok", "{name}");
        drop(db);
        if self.file == "edge.db" {
            drop(metamanager::Store::open(&path, metamanager::Options::default(), Now { wall_ms: WALL_MS, mono_ms: 0 }).unwrap());
        } else {
            let options = cloudhub::store::OpenOptions { data: self.folder.path().to_owned() };
            drop(SqliteStore::open(&options, WALL_MS, &mut || 1).unwrap());
        }
        let aside: Vec<_> = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(aside.iter().all(|file| !file.to_string_lossy().contains("corrupt")), "{name}: {aside:?}");
    }
}

/// All rows of all tables.
fn content(db: &Connection) -> rusqlite::Result<Content> {
    let mut hash = DefaultHasher::new();
    let mut names = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")?;
    let names: Vec<String> = names.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for name in names {
        hash.write(name.as_bytes());
        let mut table = db.prepare(&format!("SELECT * FROM \"{name}\" NOT INDEXED"))?;
        let columns = table.column_count();
        let mut rows = table.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                match row.get_ref(column)? {
                    ValueRef::Null => hash.write_u8(0),
                    ValueRef::Integer(number) => hash.write_i64(number),
                    ValueRef::Real(number) => hash.write_u64(number.to_bits()),
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                        hash.write_usize(bytes.len());
                        hash.write(bytes);
                    }
                }
            }
        }
    }
    Ok(hash.finish())
}
