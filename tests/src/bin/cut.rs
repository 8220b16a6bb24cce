//! A path that fails as networks do, by hand: `cargo run -p tests --bin cut -- --help`.

use std::io::BufRead;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use clap::Parser;
use tests::cut::{Carried, Cut, Way, Weather, duration};

/// Carries connections and datagrams from one address to another, as badly as it is told.
///
/// Commands are taken from standard input while it runs:
/// cut, mend, hole up|down|both, reset up|down BYTES, move, set up|down|both NAME VALUE, counts, quit.
#[derive(Parser)]
#[command(name = "cut")]
struct Arguments {
    /// TCP from one address to another, as 127.0.0.1:11000=127.0.0.1:10000
    #[arg(long, value_name = "LISTEN=TARGET", value_parser = pair)]
    tcp: Vec<(SocketAddr, SocketAddr)>,
    /// UDP, likewise
    #[arg(long, value_name = "LISTEN=TARGET", value_parser = pair)]
    udp: Vec<(SocketAddr, SocketAddr)>,
    /// What the path does, both ways: latency=150ms jitter=20ms loss=5% duplicate=1% reorder=1% bandwidth=64kbit buffer=65536 congestion=true
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Up for so long in every period, a silent black hole for the rest
    #[arg(long, value_parser = duration, requires = "every", value_name = "10s")]
    up: Option<Duration>,
    /// The period
    #[arg(long, value_parser = duration, requires = "up", value_name = "60s")]
    every: Option<Duration>,
    /// What happens to which packet follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let mut weather = Weather::default();
    for one in &arguments.set {
        let (name, value) = one.split_once('=').ok_or_else(|| format!("{one:?} is not NAME=VALUE"))?;
        weather.set(name, value)?;
    }
    let paths = arguments.tcp.iter().map(|pair| (Carried::Tcp, pair)).chain(arguments.udp.iter().map(|pair| (Carried::Udp, pair)));
    let paths = paths.map(|(carried, (listen, target))| {
        let path = Cut::between(carried, *listen, *target, weather, arguments.seed).map_err(|error| format!("{listen}: {error}"))?;
        println!("{carried:?} {} -> {target}", path.address());
        Ok(path)
    });
    let paths: Vec<Cut> = paths.collect::<Result<_, String>>()?;
    if paths.is_empty() {
        return Err("nothing to carry: --tcp or --udp, please".to_owned());
    }
    obey(&paths, arguments.up.zip(arguments.every));
    Ok(())
}

fn pair(text: &str) -> Result<(SocketAddr, SocketAddr), String> {
    let (listen, target) = text.split_once('=').ok_or("LISTEN=TARGET, please")?;
    let address = |text: &str| text.parse().map_err(|_| format!("{text:?} is no address with a port"));
    Ok((address(listen)?, address(target)?))
}

/// Takes commands until there are no more, and keeps to the timetable meanwhile.
fn obey(paths: &[Cut], timetable: Option<(Duration, Duration)>) {
    let (sender, commands) = sync_channel(16);
    std::thread::spawn(move || std::io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let begun = Instant::now();
    let mut interactive = true;
    loop {
        let wait = timetable.map_or(Duration::from_secs(3_600), |(up, every)| keep_to(paths, begun.elapsed(), up, every));
        if !interactive {
            // Standard input has ended, as under a service manager: the path stays.
            std::thread::park_timeout(wait);
            continue;
        }
        match commands.recv_timeout(wait) {
            Ok(line) if line.trim() == "quit" => return,
            Ok(line) => {
                if let Err(why) = command(paths, &line) {
                    eprintln!("{why}");
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => interactive = false,
        }
    }
}

/// Opens or closes the path as the timetable has it; how long that holds.
fn keep_to(paths: &[Cut], since: Duration, up: Duration, every: Duration) -> Duration {
    let into = Duration::from_micros((since.as_micros() % every.as_micros().max(1)) as u64);
    let open = into < up;
    for path in paths {
        Way::BOTH.into_iter().for_each(|way| path.hole(way, !open));
    }
    let ends = if open { up.min(every) } else { every };
    ends.saturating_sub(into).max(Duration::from_millis(1))
}

fn command(paths: &[Cut], line: &str) -> Result<(), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let each = |act: &dyn Fn(&Cut)| paths.iter().for_each(act);
    match words.as_slice() {
        [] => {}
        ["cut"] => each(&Cut::cut),
        ["mend"] => each(&Cut::mend),
        ["move"] => each(&Cut::move_clients),
        ["hole", way] => ways(way)?.iter().for_each(|way| each(&|path| path.hole(*way, true))),
        ["reset", way, bytes] => {
            let bytes = bytes.parse().map_err(|_| format!("{bytes:?} is no number of bytes"))?;
            ways(way)?.iter().for_each(|way| each(&|path| path.reset_after(*way, bytes)));
        }
        ["set", way, name, value] => {
            for (way, path) in ways(way)?.iter().flat_map(|way| paths.iter().map(move |path| (way, path))) {
                let mut weather = path.weather(*way);
                weather.set(name, value)?;
                path.set(*way, weather);
            }
        }
        ["counts"] => each(&|path| println!("{} {:?}", path.address(), path.counts())),
        _ => return Err(format!("{line:?} is not understood; --help lists the commands")),
    }
    Ok(())
}

fn ways(text: &str) -> Result<&'static [Way], String> {
    match text {
        "up" => Ok(&[Way::Up]),
        "down" => Ok(&[Way::Down]),
        "both" => Ok(&Way::BOTH),
        _ => Err(format!("{text:?} is no direction: up, down or both, please")),
    }
}
