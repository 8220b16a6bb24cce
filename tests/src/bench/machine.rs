//! What the kernel counts: memory, bytes to disk, processor time, and who else is on the machine.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use super::report::Latencies;

/// The kernel's ticks a second in `/proc` (`USER_HZ`), the same on every Linux of today.
const TICKS: f64 = 100.0;

/// Resident memory of a process.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Resident, shared pages counted whole, MiB.
    pub rss: f64,
    /// Resident, shared pages counted by share, MiB.
    pub pss: f64,
    /// Of it what no file backs: heap and stacks, MiB.
    pub anonymous: f64,
}

/// Memory of process `pid`.
pub fn memory(pid: u32) -> Memory {
    let text = read(&format!("/proc/{pid}/smaps_rollup"));
    let mib = |name| field(&text, name) / 1024.0;
    Memory { rss: mib("Rss:"), pss: mib("Pss:"), anonymous: mib("Pss_Anon:") }
}

/// Bytes that a process (`self` or an id) caused to be written to disk.
pub fn written(process: &str) -> f64 {
    field(&read(&format!("/proc/{process}/io")), "write_bytes:")
}

/// Measures the processor time of some processes, user and kernel.
pub struct Meter(Vec<(&'static str, u32, f64)>);

impl Meter {
    /// From now on, of these (name, id).
    pub fn start(processes: &[(&'static str, u32)]) -> Self {
        Self(processes.iter().map(|(name, pid)| (*name, *pid, ticks_of(*pid))).collect())
    }

    /// What each of `count` things cost since the start, for people.
    #[allow(clippy::cast_precision_loss)]
    pub fn each(&self, count: usize) -> String {
        let cost = |pid: u32, before: f64| (ticks_of(pid) - before) / TICKS * 1e6 / count as f64;
        let costs: Vec<_> = self.0.iter().map(|(name, pid, before)| format!("{name} {:.1} µs", cost(*pid, *before))).collect();
        format!("processor time each: {}", costs.join(", "))
    }
}

/// Processor time that a process has used so far, user and kernel, seconds.
pub fn seconds(pid: u32) -> f64 {
    ticks_of(pid) / TICKS
}

fn ticks_of(pid: u32) -> f64 {
    Stat::of(&pid.to_string()).map_or(0.0, |stat| stat.own)
}

/// Measures which share of the processors others use.
pub struct Foreign {
    busy: f64,
    ours: f64,
    begun: Instant,
}

impl Foreign {
    /// From now on.
    pub fn start() -> Self {
        Self { busy: busy_ticks(), ours: our_ticks(), begun: Instant::now() }
    }

    /// Percent of one core that processes other than ours used since the start.
    pub fn percent(&self) -> f64 {
        let others = (busy_ticks() - self.busy) - (our_ticks() - self.ours);
        (others / TICKS / self.begun.elapsed().as_secs_f64() * 100.0).max(0.0)
    }
}

/// A line or two about the machine.
pub fn describe() -> String {
    let model =
        read("/proc/cpuinfo").lines().find(|line| line.starts_with("model name")).map_or_else(String::new, |line| after_colon(line).into());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field(&read("/proc/meminfo"), "MemTotal:") / 1024.0 / 1024.0;
    let kernel = read("/proc/sys/kernel/osrelease");
    let folder = std::env::temp_dir();
    let sync = sync_times(&folder);
    format!(
        "{cores} × {model}, {memory:.0} GiB, Linux {}, {} under {}\nfdatasync after a 4 KiB append: p50 {:.2} ms, p99 {:.2} ms; load of the last minute {}",
        kernel.trim(),
        file_system(&folder),
        folder.display(),
        sync.percentile(0.5),
        sync.percentile(0.99),
        read("/proc/loadavg").split(' ').next().unwrap_or_default(),
    )
}

fn sync_times(folder: &Path) -> Latencies {
    let mut latencies = Latencies::default();
    let mut file = tempfile::tempfile_in(folder).expect("a scratch file");
    for _ in 0..300 {
        let begun = Instant::now();
        file.write_all(&[7; 4096]).and_then(|()| file.sync_data()).expect("a disk that takes 4 KiB");
        latencies.add(begun.elapsed());
    }
    latencies
}

/// The type of the file system that holds `folder`.
fn file_system(folder: &Path) -> String {
    let mounts = read("/proc/mounts");
    let holding = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        folder.starts_with(at).then_some((at.len(), kind))
    });
    holding.max_by_key(|(length, _)| *length).map_or_else(|| "an unknown file system".into(), |(_, kind)| kind.to_owned())
}

/// Ticks of one process.
struct Stat {
    parent: u32,
    own: f64,
    /// Of children that have ended.
    ended: f64,
}

impl Stat {
    fn of(process: &str) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name may hold anything; what follows the last bracket is numbers.
        let words: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |place: usize| words.get(place).and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
        Some(Self { parent: words.get(1)?.parse().ok()?, own: ticks(11) + ticks(12), ended: ticks(13) + ticks(14) })
    }
}

/// This process, its children, and those that have ended.
fn our_ticks() -> f64 {
    let me = std::process::id();
    let own = Stat::of("self").map_or(0.0, |stat| stat.own + stat.ended);
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names =
        processes.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let children = names.filter_map(|name| Stat::of(&name)).filter(|stat| stat.parent == me);
    own + children.map(|stat| stat.own + stat.ended).sum::<f64>()
}

/// Ticks in which any processor did anything.
fn busy_ticks() -> f64 {
    let text = read("/proc/stat");
    let words = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<f64> = words.filter_map(|word| word.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    [0, 1, 2, 5, 6, 7].iter().filter_map(|place| ticks.get(*place)).sum()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The number behind a name that stands at the start of a line; 0 where there is none.
fn field(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

fn after_colon(line: &str) -> &str {
    line.split_once(':').map_or("", |(_, text)| text.trim())
}
