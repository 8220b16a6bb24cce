//! A hub's process as something that is killed, stopped, started again, and lied to about the time.

use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::report::{Counts, Findings};
use crate::until::within;

/// The longest that a hub may take to end when it is told to: five seconds on a machine that does nothing else.
const DRAIN: Duration = Duration::from_secs(30);

/// How long a process runs before what it holds is its own.
const SETTLED: Duration = Duration::from_millis(500);

/// How a hub says that it cannot begin for want of room.
const FULL: [&str; 2] = ["disk is full", ".db is full"];

/// Where Debian puts the library that moves a program's wall clock; the monotonic one is left alone.
const CLOCK_LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// One hub.
pub(super) struct Hub<'a> {
    /// `cloud`, or its node's name.
    pub name: String,
    make: Box<dyn Fn() -> Command + Sync + 'a>,
    clock: PathBuf,
    log: PathBuf,
    running: Mutex<Running>,
    findings: &'a Findings,
    counts: &'a Counts,
}

#[derive(Default)]
struct Running {
    child: Option<Child>,
    /// What an edge's link runs over from its next start on.
    transport: Option<&'static str>,
    stopped: bool,
    since: Option<Instant>,
}

impl<'a> Hub<'a> {
    /// A hub that `make` gives the command of; its log and its clock are files in `folder`.
    pub(super) fn new(
        name: &str,
        folder: &Path,
        findings: &'a Findings,
        counts: &'a Counts,
        make: impl Fn() -> Command + Sync + 'a,
    ) -> anyhow::Result<Self> {
        let (clock, log) = (folder.join(format!("{name}.clock")), folder.join(format!("{name}.log")));
        let hub = Self { name: name.into(), make: Box::new(make), clock, log, running: Mutex::default(), findings, counts };
        hub.set_clock(0)?;
        Ok(hub)
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its wall clock is so many seconds off from now on. The file is replaced at once: it is read at any time.
    pub(super) fn set_clock(&self, seconds: i64) -> anyhow::Result<()> {
        let new = self.clock.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n"))?;
        Ok(std::fs::rename(new, &self.clock)?)
    }

    /// What its link runs over from its next start on.
    pub(super) fn set_transport(&self, transport: &'static str) {
        self.lock().transport = Some(transport);
    }

    /// Starts it, and waits for nothing.
    pub(super) fn start(&self) {
        let mut running = self.lock();
        let mut command = (self.make)();
        if let Some(transport) = running.transport {
            command.env("EDGEHUB_LINK_TRANSPORT", transport);
        }
        if let Some(library) = clock_library() {
            command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &self.clock);
            command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let child = command.stdout(Stdio::null()).stderr(log.map_or_else(|_| Stdio::null(), Stdio::from)).spawn();
        match child {
            Ok(child) => (running.child, running.since) = (Some(child), Some(Instant::now())),
            Err(error) => self.findings.add(&format!("other: {} cannot be started: {error}", self.name)),
        }
    }

    /// `kill -9`, and gone when this returns.
    pub(super) fn kill(&self) {
        let mut running = self.lock();
        if let Some(mut child) = running.child.take() {
            self.measure(&child, running.since);
            let _ = child.kill();
            self.ended(child.wait().ok(), &[9]);
            forget_clock(child.id());
        }
        running.stopped = false;
    }

    /// SIGTERM; it has to end with 0. Returns when it has.
    pub(super) fn terminate(&self) {
        let mut running = self.lock();
        if let Some(mut child) = running.child.take() {
            self.measure(&child, running.since);
            signal(&child, "TERM");
            let gone = within(DRAIN, || match child.try_wait() {
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err("it runs on".to_owned()),
                Err(error) => Err(error.to_string()),
            });
            if let Err(why) = &gone {
                self.findings.add(&format!("other: {} after SIGTERM and {DRAIN:?}: {why}; its log:\n{}", self.name, tail(&self.log)));
                let _ = child.kill();
            }
            // Before it has told the system what to do on SIGTERM, that ends it.
            self.ended(child.wait().ok(), if gone.is_ok() { &[15] } else { &[9, 15] });
            forget_clock(child.id());
        }
        running.stopped = false;
    }

    /// SIGSTOP.
    pub(super) fn pause(&self) {
        let mut running = self.lock();
        running.child.iter().for_each(|child| signal(child, "STOP"));
        running.stopped = true;
    }

    /// SIGCONT.
    pub(super) fn go_on(&self) {
        let mut running = self.lock();
        running.child.iter().for_each(|child| signal(child, "CONT"));
        running.stopped = false;
    }

    /// Runs, goes on, and knows the time: for who calls an end to the faults.
    pub(super) fn recover(&self) -> anyhow::Result<()> {
        self.set_clock(0)?;
        self.go_on();
        let status = match self.lock().child.as_mut() {
            Some(child) => child.try_wait()?,
            None => None,
        };
        if let Some(status) = status {
            self.ended(Some(status), &[]);
        }
        if status.is_some() || self.lock().child.is_none() {
            self.start();
        }
        Ok(())
    }

    /// Takes down what it holds now.
    pub(super) fn look(&self) {
        let running = self.lock();
        running.child.iter().for_each(|child| self.measure(child, running.since));
    }

    /// A process that has only just begun may still hold what this one does, until the system has closed that.
    fn measure(&self, child: &Child, since: Option<Instant>) {
        if since.is_none_or(|since| since.elapsed() < SETTLED) {
            return;
        }
        let open = std::fs::read_dir(format!("/proc/{}/fd", child.id())).map_or(0, Iterator::count);
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        self.counts.held(&self.name, open as u64, resident.unwrap_or(0));
    }

    /// A hub ends when it is told to, and of nothing else; but on a disk without a byte left none can begin, says so, and is to be
    /// started again by whoever supervises it.
    fn ended(&self, status: Option<ExitStatus>, signals: &[i32]) {
        let Some(status) = status else { return };
        let told = status.signal().is_some_and(|signal| signals.contains(&signal)) || (status.success() && signals.contains(&15));
        if told {
            return;
        }
        let said = tail(&self.log);
        if status.code() == Some(1) && said.lines().last().is_some_and(|line| FULL.iter().any(|full| line.contains(full))) {
            self.counts.add("starts refused, the disk being full to the last byte", 1);
        } else {
            self.findings.add(&format!("other: {} ended by itself: {status}; the end of its log:\n{said}", self.name));
        }
    }
}

impl Drop for Hub<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.lock().child.take() {
            let _ = child.kill();
            let _ = child.wait();
            forget_clock(child.id());
        }
    }
}

/// The library that moves a program's wall clock, where it is installed.
pub(super) fn clock_library() -> Option<&'static str> {
    CLOCK_LIBRARIES.into_iter().find(|path| Path::new(path).exists())
}

/// What the clock's library leaves in shared memory when its program is killed.
fn forget_clock(pid: u32) {
    for name in [format!("/dev/shm/faketime_shm_{pid}"), format!("/dev/shm/sem.faketime_sem_{pid}")] {
        let _ = std::fs::remove_file(name);
    }
}

fn signal(child: &Child, name: &str) {
    let _ = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).stderr(Stdio::null()).status();
}

fn tail(log: &Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(2_000)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map(|_| String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error: std::io::Error| error.to_string())
}
