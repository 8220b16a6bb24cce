//! Both machines of a link against each other, over the models and the road of `proto/tests/session`, which assert at every step: no ACK
//! above what is durable, no write decided twice, windows kept, own writes seen exactly once, records never going back. Here bytes draw
//! what happens, so that libFuzzer finds the orders that reach new code.

use arbitrary::{Result, Unstructured};
use proto::session::handshake::{FEATURE_REPAIR, FEATURES};

use self::cloud_model::{Change, name};
use self::pipe::Road;
use self::world::World;
use super::Memory;

#[path = "../../../proto/tests/session/cloud_model.rs"]
#[allow(dead_code, unreachable_pub, missing_docs)]
mod cloud_model;
#[path = "../../../proto/tests/session/edge_model.rs"]
#[allow(dead_code, unreachable_pub, missing_docs)]
mod edge_model;
#[path = "../../../proto/tests/notation/mod.rs"]
#[allow(dead_code, unreachable_pub, missing_docs)]
mod notation;
#[path = "../../../proto/tests/session/pipe.rs"]
#[allow(dead_code, unreachable_pub, missing_docs)]
mod pipe;
#[path = "../../../proto/tests/session/world.rs"]
#[allow(dead_code, unreachable_pub, missing_docs)]
mod world;

/// The most that happens in one life.
const STEPS: usize = 120;
/// Lines of the trace that are told.
const TOLD: usize = 120;
/// When all is well again, both sides agree within this.
const HEALED_MS: u64 = 3_600_000;

/// Tells what happened last where a test fails.
struct Told(World);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let trace = &self.0.trace;
            println!("{}", trace[trace.len().saturating_sub(TOLD)..].join("\n"));
        }
    }
}

/// A life that these bytes draw, healed at its end.
pub(super) fn session(bytes: &[u8], _: &Memory) {
    let mut bytes = Unstructured::new(bytes);
    // Where the bytes end, so do the steps.
    let Ok(world) = begin(&mut bytes) else { return };
    let mut told = Told(world);
    let world = &mut told.0;
    for _ in 0..STEPS {
        if bytes.is_empty() || step(world, &mut bytes).is_err() {
            break;
        }
    }
    world.disk_full = false;
    world.failing_commits = 0;
    world.edge_session().into_iter().for_each(|session| session.set_limit(None));
    world.in_cloud(|cloud| cloud.grant("d", true));
    world.converge(HEALED_MS);
}

fn begin(bytes: &mut Unstructured<'_>) -> Result<World> {
    let rate = *bytes.choose(&[8_000, 125_000, 10_000_000])?;
    let mut world = World::new(Road { rate, delay_ms: bytes.int_in_range(0..=2_000)? });
    world.store_ms = bytes.int_in_range(1..=30)?;
    world.features = if bytes.arbitrary()? { FEATURES } else { &[FEATURE_REPAIR] };
    world.cloud.grant("c", true);
    rows(&mut world, "c", bytes)?;
    rows(&mut world, "d", bytes)?;
    Ok(world)
}

fn rows(world: &mut World, collection: &str, bytes: &mut Unstructured<'_>) -> Result<()> {
    let (first, many) = (bytes.int_in_range(0_u8..=60)?, bytes.int_in_range(0_u8..=100)?);
    let pad = *bytes.choose(&[0, 50, 500, 4_000, 70_000, 300_000])?;
    let many = many.min((400_000 / (pad + 1_000)) as u8);
    let count = bytes.ratio(3_u8, 4_u8)?.then_some(7);
    let names: Vec<_> = (first..first.saturating_add(many)).map(|n| name(collection, &format!("r{n}"))).collect();
    world.in_cloud(|cloud| cloud.change(names, |row| (row.count, row.pad) = (count, pad)));
    Ok(())
}

fn step(world: &mut World, bytes: &mut Unstructured<'_>) -> Result<()> {
    match bytes.int_in_range(0_u8..=17)? {
        0 => world.cut(),
        1 => world.half_open(),
        2 => world.kill_edge(),
        3 => world.kill_cloud(),
        4 => world.swallow(),
        5 => world.disk_full = !world.disk_full,
        6 => world.failing_commits = bytes.int_in_range(0..=3)?,
        7 => {
            let granted = bytes.arbitrary()?;
            world.in_cloud(|cloud| cloud.grant("d", granted));
        }
        8 => world.freeze(bytes.int_in_range(0_u32..=40_000)?.into()),
        9 | 10 => rows(world, "c", bytes)?,
        11 => rows(world, "d", bytes)?,
        12 => {
            let own = name("c", &format!("own{}", bytes.int_in_range(0..=2)?));
            world.in_cloud(|cloud| cloud.change([own], |row| row.pad += 1));
        }
        13 => {
            let limit = bytes.arbitrary::<bool>()?.then_some("enough for today");
            world.edge_session().into_iter().for_each(|session| session.set_limit(limit));
        }
        _ => write(world, bytes)?,
    }
    let longest = if bytes.ratio(1_u8, 8_u8)? { 60_000_u32 } else { 500 };
    let until_ms = world.now_ms + u64::from(bytes.int_in_range(0..=longest)?);
    world.run(until_ms, |_| false);
    Ok(())
}

fn write(world: &mut World, bytes: &mut Unstructured<'_>) -> Result<()> {
    for _ in 0..=bytes.int_in_range(0_u8..=12)? {
        let (key, delta) = (format!("own{}", bytes.int_in_range(0..=2)?), bytes.int_in_range(1..=9)?);
        let change = match bytes.int_in_range(0_u8..=7)? {
            0 => Change::Bad { key, delta },
            1 => Change::Nothing { key, delta },
            _ => Change::Add { key, delta },
        };
        world.write(change, *bytes.choose(&[30, 30, 30, 30, 20_000, 100_000])?);
    }
    Ok(())
}
