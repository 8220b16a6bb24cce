//! Runs a package's tests with one mistake after the other, each with the tests alone that come by its place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Package;
use super::rewrite::Number;

/// So many run at a time.
const AT_A_TIME: usize = 2;
/// A mistake may ask for memory without end. In KiB, of addresses.
const MEMORY: &str = "4000000";
/// Tests are run by one process as long as they take no longer together: the first that fails ends the search.
const ONE_PROCESS: Duration = Duration::from_millis(300);
/// However short tests are, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(8);
/// So many times as long as without a mistake.
const SLOWER: u32 = 10;

/// One test.
pub struct Test {
    program: PathBuf,
    name: String,
    takes: Duration,
    /// By which places it comes.
    sites: BTreeSet<Number>,
}

/// What became of a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is no program.
    Broken,
    /// A test failed.
    Found,
    /// Tests did not end.
    Endless,
    /// All that come by pass.
    Missed,
    /// No test comes by.
    Unreached,
    /// It cannot be chosen by its number, and those that cannot were left out.
    NotRun,
}

/// The tests of the programs, each run alone without a mistake.
pub fn tests(package: &Package, folder: &Path, programs: &[PathBuf], skipped: &[String]) -> Result<Vec<Test>> {
    let mut names = Vec::new();
    for program in programs {
        let listed = Command::new(program).args(["--list", "--format", "terse"]).current_dir(folder).output()?;
        let listed = String::from_utf8(listed.stdout)?;
        let listed = listed.lines().filter_map(|line| line.strip_suffix(": test"));
        let chosen = listed.filter(|name| name.starts_with(package.prefix) && !skipped.iter().any(|skip| name.contains(skip.as_str())));
        names.extend(chosen.map(|name| (program.clone(), name.to_owned())));
    }
    let scratch = tempfile::tempdir()?;
    let mut tests = in_parallel(&names, |at, (program, name)| {
        let reached = scratch.path().join(at.to_string());
        let began = Instant::now();
        let passes = passes(program, &[name], folder, 0, Some(&reached), Duration::from_secs(600))?;
        ensure!(passes == Some(true), "without any mistake {name} does not pass");
        let takes = began.elapsed();
        let sites = std::fs::read_to_string(reached).unwrap_or_default();
        let sites = sites.lines().map(str::parse).collect::<Result<_, _>>().context("what was reached")?;
        Ok(Test { program: program.clone(), name: name.clone(), takes, sites })
    })?;
    tests.sort_by_key(|test| test.takes);
    Ok(tests)
}

/// What becomes of each of these, by number, all by programs that know them; `sites` says where each is chosen.
pub fn each(tests: &[Test], folder: &Path, sites: &[Vec<Number>]) -> Result<BTreeMap<Number, Verdict>> {
    let numbers: Vec<(Number, Number)> = sites.iter().flat_map(|site| site.iter().map(|number| (site[0], *number))).collect();
    let said = Mutex::new(Instant::now());
    let verdicts = in_parallel(&numbers, |at, (site, number)| {
        if let Ok(mut said) = said.lock()
            && said.elapsed() > Duration::from_secs(30)
        {
            *said = Instant::now();
            eprintln!("{at} of {}", numbers.len());
        }
        let by: Vec<&Test> = tests.iter().filter(|test| test.sites.contains(site)).collect();
        let verdict = if by.is_empty() { Verdict::Unreached } else { one(&by, folder, *number)? };
        Ok((*number, verdict))
    })?;
    Ok(verdicts.into_iter().collect())
}

/// What becomes of a mistake that is built into the programs.
pub fn built_in(tests: &[Test], folder: &Path) -> Result<Verdict> {
    one(&tests.iter().collect::<Vec<_>>(), folder, 0)
}

/// The quick ones first.
fn one(tests: &[&Test], folder: &Path, number: Number) -> Result<Verdict> {
    let mut rest = tests;
    while let Some(first) = rest.first() {
        let mut takes = first.takes;
        let more = rest[1..].iter().take_while(|test| {
            takes += test.takes;
            test.program == first.program && takes <= ONE_PROCESS
        });
        let (now, later) = rest.split_at(1 + more.count());
        rest = later;
        let takes: Duration = now.iter().map(|test| test.takes).sum();
        let names: Vec<&String> = now.iter().map(|test| &test.name).collect();
        match passes(&first.program, &names, folder, number, None, PATIENCE + takes * SLOWER)? {
            None => return Ok(Verdict::Endless),
            Some(false) => return Ok(Verdict::Found),
            Some(true) => {}
        }
    }
    Ok(Verdict::Missed)
}

/// Whether these tests of a program pass; `None`: they did not end.
#[allow(clippy::disallowed_methods)] // another process is waited for, and mostly ends within milliseconds
fn passes(
    program: &Path,
    names: &[&String],
    folder: &Path,
    number: Number,
    reached: Option<&Path>,
    patience: Duration,
) -> Result<Option<bool>> {
    let mut run = Command::new("sh");
    run.args(["-c", &format!("ulimit -v {MEMORY}; exec \"$0\" \"$@\"")]).arg(program).arg("--exact").args(names);
    run.current_dir(folder).env("MUTANT", number.to_string()).env("RUST_TEST_THREADS", "1").env("RUST_BACKTRACE", "0");
    run.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true").env("PROPTEST_MAX_SHRINK_ITERS", "0");
    if let Some(reached) = reached {
        run.env("MUTANTS_REACHED", reached);
    }
    let mut run = run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let until = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = run.try_wait()? {
            return Ok(Some(status.success()));
        }
        if Instant::now() > until {
            run.kill()?;
            run.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(50));
    }
}

/// Does the same with each, a few at a time, and keeps their order.
fn in_parallel<T: Sync, R: Send>(all: &[T], work: impl Fn(usize, &T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some((at, item)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, all.get(at)?))) {
                    let result = work(at, item);
                    if let Ok(mut done) = done.lock() {
                        done.insert(at, result);
                    }
                }
            });
        }
    });
    done.into_inner().map_err(|_| anyhow::anyhow!("a worker panicked"))?.into_values().collect()
}
