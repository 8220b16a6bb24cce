//! Every decoder of bytes from outside, as a function that takes any bytes and asserts what must hold of them: no panic, an error or
//! something that is the same when it is written and read again, and no more memory than the decoder's bounds say.
//!
//! `tests/fuzz` puts libFuzzer in front of each ([`TARGETS`]); `tests/tests/fuzz.rs` replays what is in `tests/data/fuzz/` and some
//! thousand mutations of it on the stable compiler. `frames`, `texts`, `devices` and `files` are decoders alone, `session` is both
//! machines of a link under any schedule, `peers` one of them with a peer that says anything, `requests` the whole HTTP surface of both
//! hubs over their real stores, `broker` the one inside edgehub, [`corpus`] where inputs come from.
#![allow(clippy::unwrap_used, clippy::panic)]

mod broker;
pub mod corpus;
mod devices;
mod files;
mod frames;
mod made;
mod memory;
mod peers;
mod requests;
mod session;
mod texts;

pub use memory::Memory;

/// One entry, and what comes in there.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// As `make fuzz TARGET=` takes it.
    pub name: &'static str,
    /// Takes any bytes. A panic is a finding.
    pub enter: fn(&[u8], &Memory),
    /// How many mutations of its corpus `make test` tries: what fits into some hundred milliseconds of a build without optimisation.
    pub tries: usize,
}

/// All entries.
pub const TARGETS: [Target; 16] = [
    Target { name: "frame", enter: frames::frame, tries: 6_000 },
    Target { name: "write", enter: frames::write, tries: 6_000 },
    Target { name: "value", enter: texts::value, tries: 6_000 },
    Target { name: "definition", enter: texts::definition, tries: 4_000 },
    Target { name: "list", enter: texts::list, tries: 6_000 },
    Target { name: "names", enter: texts::names, tries: 6_000 },
    Target { name: "device", enter: devices::device, tries: 4_000 },
    Target { name: "config", enter: files::config, tries: 1_000 },
    Target { name: "import", enter: files::import, tries: 4_000 },
    Target { name: "certificate", enter: files::certificate, tries: 4_000 },
    Target { name: "session", enter: session::session, tries: 40 },
    Target { name: "hostile_hub", enter: peers::hub, tries: 1_500 },
    Target { name: "hostile_edge", enter: peers::edge, tries: 1_500 },
    Target { name: "mqtt", enter: broker::mqtt, tries: 400 },
    Target { name: "http_edge", enter: requests::edge, tries: 400 },
    Target { name: "http_cloud", enter: requests::cloud, tries: 300 },
];

/// The entry of that name.
///
/// # Panics
/// There is none.
pub fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("there is no target {name}"))
}
