//! The built binaries as child processes: started, watched, killed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::until::PATIENCE;

/// The binary of that name, beside the running test: `cargo build --workspace --bins` makes it.
pub fn binary(name: &str) -> PathBuf {
    let here = std::env::current_exe().expect("the path of this program");
    let found = here.ancestors().skip(1).take(3).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built; run: cargo build --workspace --bins"))
}

/// Runs a command of `name` to its end.
pub fn run(name: &str, args: &[&str]) -> Output {
    command(name, args).output().expect("the binary starts")
}

/// A command of `name` with a clean environment: no variable of ours leaks in.
pub fn command(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(binary(name));
    command.args(args).stdin(Stdio::null()).env_clear();
    for kept in ["PATH", "HOME", "TERM"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command
}

/// A running server. Dropping it kills it with SIGKILL.
pub struct Process {
    child: Child,
    log: Arc<Log>,
    /// Lines of the log that [`Process::line_with`] has passed.
    read: usize,
    name: String,
}

/// What a process has written to its standard error so far.
#[derive(Default)]
struct Log {
    lines: Mutex<Lines>,
    grew: Condvar,
}

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Lines)) {
        change(&mut self.lock());
        self.grew.notify_all();
    }
}

impl Process {
    /// Starts `command`; its standard error is read line by line and kept.
    pub fn start(name: &str, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let log = Arc::new(Log::default());
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| kept.change(|log| log.lines.push(line)));
            kept.change(|log| log.ended = true);
        });
        Self { child, log, read: 0, name: name.into() }
    }

    /// Waits for a line that holds `text`; panics with the whole log when none comes.
    #[track_caller]
    pub fn line_with(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut log = self.log.lock();
        loop {
            while let Some(line) = log.lines.get(self.read) {
                self.read += 1;
                if line.contains(text) {
                    return line.clone();
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!log.ended && !left.is_zero(), "{}: no line with {text:?} came\n{}", self.name, log.lines.join("\n"));
            log = self.log.grew.wait_timeout(log, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        self.log.lock().lines.join("\n")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and gone when this returns.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM; the exit status once it has ended by itself.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.child.wait().expect("a child of ours")
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name} {}", self.child.id());
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("a child of ours")
    }

    /// Resident memory, KiB.
    pub fn resident_kib(&self) -> u64 {
        status_figure(self.child.id(), "VmRSS:")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn status_figure(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|figure| figure.parse().ok()).unwrap_or(0)
}

/// Whether any file below `folder` holds these bytes.
pub fn holds(folder: &Path, needle: &[u8]) -> Option<PathBuf> {
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        let found = match entry.file_type() {
            Ok(kind) if kind.is_dir() => holds(&path, needle),
            Ok(kind) if kind.is_file() => {
                let bytes = std::fs::read(&path).unwrap_or_default();
                bytes.windows(needle.len()).any(|window| window == needle).then_some(path)
            }
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}
