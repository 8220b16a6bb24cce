//! `make bench`: the figures of design §10, taken from the built programs and from the edge library.
//!
//! [`stage`] sets up a hub with products, [`load`] is the HTTP load, [`crate::cut`] the distance, [`file`](mod@file) looks
//! into an edge database without asking its hub, [`machine`] reads what the kernel counts, [`report`] prints. Each other
//! module is one benchmark, or a few that need the same preparation.

mod away;
mod catch_up;
mod cloud_read;
mod cloud_write;
mod compression;
mod devices;
mod disk;
mod drain;
pub mod file;
pub mod fleet;
mod idle;
mod library;
pub mod load;
pub mod machine;
mod memory;
mod networks;
pub mod pace;
mod pages;
mod reads;
pub mod report;
mod sizes;
pub mod stage;
mod start;
mod writes;

use report::Figure;

/// What the person at the keyboard chose.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The long form: a million writes in the outbox, ten minutes of an idle link.
    pub full: bool,
    /// How often what is cheap is repeated; the median counts.
    pub runs: usize,
}

/// One benchmark.
pub struct Benchmark {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it measures.
    pub about: &'static str,
    /// Does it.
    pub run: fn(Settings) -> Vec<Figure>,
}

/// All of them, in the order in which they run.
pub const BENCHMARKS: &[Benchmark] = &[
    Benchmark { name: "catch-up", about: "a fresh node takes 100,000 records, at 0 and at 50 ms of round trip", run: catch_up::run },
    Benchmark { name: "cloud-write", about: "cloud write → row durable at the edge, one by one and in a burst", run: cloud_write::run },
    Benchmark { name: "away", about: "1,000 records changed while the edge was away", run: away::run },
    Benchmark { name: "reads", about: "point reads at the edge through HTTP and through the library", run: reads::run },
    Benchmark { name: "writes", about: "durable writes at the edge through HTTP and through the library", run: writes::run },
    Benchmark { name: "cloud-read", about: "the same read against the cloud through 50 ms of delay", run: cloud_read::run },
    Benchmark { name: "drain", about: "writes made offline go up", run: drain::run },
    Benchmark {
        name: "pages",
        about: "the first and the last pages of long lists, in three orders (1,000,000 records with --full)",
        run: pages::run,
    },
    Benchmark { name: "memory", about: "resident memory of both hubs, idle and connected, 10,000 records", run: memory::run },
    Benchmark { name: "start", about: "start of edgehub to the first answer, link down, empty and large outbox", run: start::run },
    Benchmark { name: "disk", about: "bytes written to disk per local write, grouped by 10", run: disk::run },
    Benchmark {
        name: "devices",
        about: "twin updates from a mosquitto into one edge, and how long a value takes each way",
        run: devices::run,
    },
    Benchmark { name: "compression", about: "bytes of a first sync and of an upload, with and without", run: compression::run },
    Benchmark { name: "idle", about: "bytes on the wire of an idle link, over each transport and metered", run: idle::run },
    Benchmark {
        name: "networks",
        about: "catch-up and single writes at 0, 50, 300 ms and 0, 2, 10 % loss over both transports, some minutes (--full: half an hour)",
        run: networks::run,
    },
    Benchmark {
        name: "fleet",
        about: "memory and time of a hub with 2,000 nodes of each transport (--full: 19,000 and 20,000)",
        run: fleet::run,
    },
    Benchmark { name: "sizes", about: "sizes of the binaries that `make dist` ships", run: sizes::run },
];
