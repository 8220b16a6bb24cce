//! What holds whatever happens. The models and the world assert on every step: no ACK above what is durable, no
//! write decided twice, windows kept, own writes seen exactly once, records never going back.

use proto::session::handshake::FEATURES;

use crate::cloud_model::{Change, name};
use crate::dice::Dice;
use crate::pipe::Road;
use crate::world::World;

fn random_world(dice: &mut Dice) -> World {
    let rate = [8_000, 125_000, 10_000_000][dice.below(3) as usize];
    let mut world = World::new(Road { rate, delay_ms: dice.below(100) });
    world.store_ms = 1 + dice.below(30);
    if world.store_ms.is_multiple_of(2) {
        world.features = FEATURES;
    }
    world.cloud.grant("c", true);
    world.cloud.change((0..dice.below(600)).map(|n| name("c", &format!("r{n}"))), |row| row.pad = 50);
    world.cloud.change((0..dice.below(300)).map(|n| name("d", &format!("r{n}"))), |row| row.pad = 500);
    world
}

fn random_change(dice: &mut Dice) -> Change {
    let (key, delta) = (format!("own{}", dice.below(3)), 1 + dice.below(9) as i64);
    match dice.below(8) {
        0 => Change::Bad { key, delta },
        1 => Change::Nothing { key, delta },
        _ => Change::Add { key, delta },
    }
}

fn random_event(world: &mut World, dice: &mut Dice) {
    match dice.below(18) {
        0 => world.cut(),
        1 => world.half_open(),
        2 => world.kill_edge(),
        3 => world.kill_cloud(),
        4 if dice.one_in(3) => world.swallow(),
        5 => world.disk_full = !world.disk_full,
        6 => world.failing_commits = dice.below(3) as u32,
        7 => {
            let granted = dice.one_in(2);
            world.in_cloud(|cloud| cloud.grant("d", granted));
        }
        8 => {
            let deleted = name("c", &format!("r{}", dice.below(600)));
            world.in_cloud(|cloud| cloud.change([deleted], |row| row.count = None));
        }
        9 => {
            let (first, many) = (dice.below(300), 1 + dice.below(400));
            world.in_cloud(|cloud| cloud.change((first..first + many).map(|n| name("c", &format!("r{n}"))), |row| row.count = Some(7)));
        }
        12 | 13 => world.freeze(dice.below(40_000)),
        // A newer version of a record that own writes changed, which says nothing about their effect.
        10 | 11 => {
            let own = name("c", &format!("own{}", dice.below(3)));
            world.in_cloud(|cloud| cloud.change([own], |row| row.pad += 1));
        }
        _ => {
            for _ in 0..=dice.below(20) {
                let pad = if dice.one_in(10) { 20_000 } else { 30 };
                world.write(random_change(dice), pad);
            }
        }
    }
}

/// One random life, healed at its end. Gives back what happened.
fn live(seed: u64) -> Vec<String> {
    let mut dice = Dice::new(seed);
    let mut world = random_world(&mut dice);
    for _ in 0..60 {
        random_event(&mut world, &mut dice);
        let pause_ms = if dice.one_in(8) { 30_000 } else { 400 };
        let until_ms = world.now_ms + dice.below(pause_ms);
        world.run(until_ms, |_| false);
    }
    world.disk_full = false;
    world.failing_commits = 0;
    world.in_cloud(|cloud| cloud.grant("d", true));
    world.converge(3_600_000);
    world.trace
}

/// The network stands still again and again, just long enough that the cloud scans anew while batches and ACKs of the
/// old scan are still on their way.
fn stutter(seed: u64) -> u64 {
    let mut dice = Dice::new(seed);
    let mut world = random_world(&mut dice);
    world.road.delay_ms = dice.below(2_000);
    for _ in 0..40 {
        let (first, many) = (dice.below(300), 1 + dice.below(300));
        world.in_cloud(|cloud| cloud.change((first..first + many).map(|n| name("c", &format!("r{n}"))), |row| row.pad = 400));
        if dice.one_in(6) {
            let granted = dice.one_in(2);
            world.in_cloud(|cloud| cloud.grant("d", granted));
        }
        world.write(random_change(&mut dice), 30);
        let until_ms = world.now_ms + dice.below(3_000);
        world.run(until_ms, |_| false);
        if dice.one_in(3) {
            world.freeze(8_000 + dice.below(12_000));
        }
    }
    world.converge(3_600_000);
    world.probes
}

fn seeds() -> Vec<u64> {
    match std::env::var("TOMBOLO_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..40).collect(),
    }
}

#[test]
fn random_lives_converge() {
    for seed in seeds() {
        let told = std::panic::catch_unwind(|| live(seed));
        assert!(told.is_ok(), "seed {seed} failed; again with: TOMBOLO_SEED={seed} cargo test -p proto --test session random_lives");
    }
}

#[test]
fn scanning_again_overlaps_safely() {
    let mut scans_again: u64 = 0;
    for seed in seeds() {
        let told = std::panic::catch_unwind(|| stutter(seed));
        assert!(told.is_ok(), "seed {seed} failed; again with: TOMBOLO_SEED={seed} cargo test -p proto --test session scanning_again");
        scans_again += told.unwrap_or_default();
    }
    assert!(scans_again > 20, "the schedule no longer does what it is for");
}

#[test]
fn one_seed_is_one_life() {
    for seed in [3, 4, 5] {
        assert!(live(seed) == live(seed), "seed {seed} lived two lives");
    }
}

/// A cut after each single frame of a busy session.
#[test]
fn a_cut_after_any_frame_loses_nothing() {
    let begin = || {
        let mut world = World::new(Road { rate: 500_000, delay_ms: 5 });
        world.cloud.grant("c", true);
        world.cloud.change((0..400).map(|n| name("c", &format!("r{n}"))), |row| row.pad = 300);
        for n in 0..20 {
            let (key, delta) = ("own0".into(), n);
            world.write(if n % 5 == 0 { Change::Bad { key, delta } } else { Change::Add { key, delta } }, 30_000);
        }
        world
    };
    let mut whole = begin();
    whole.converge(60_000);
    assert!(whole.delivered > 40, "a session worth cutting");
    for frame in 0..whole.delivered {
        let mut world = begin();
        world.run(600_000, |world| world.delivered >= frame);
        world.cut();
        world.converge(60_000);
    }
}
