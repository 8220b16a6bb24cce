//! Carries out a plan: everything at the same time, each actor by its own list, until the time is over.

use std::time::{Duration, Instant};

use super::Arena;
use super::hub::Hub;
use super::plan::{Actor, Blow, Faults, Trouble};
use super::rights;
use crate::cut::{Cut, Way, Weather};
use crate::small_disk::SmallDisk;

/// Until when it blows, on the clock of who waits.
#[derive(Clone, Copy)]
struct Time {
    over: Instant,
}

impl Time {
    /// Waits so long; false: the storm is over first.
    fn wait(self, time: Duration) -> bool {
        let until = (Instant::now() + time).min(self.over);
        while Instant::now() < until {
            std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
        }
        Instant::now() < self.over
    }
}

/// One round of faults; every hub runs and every path, disk and clock is right again when it returns.
pub(super) fn blow(arena: &Arena<'_>, seed: u64, round: u64, lasts: Duration) -> anyhow::Result<()> {
    let time = Time { over: Instant::now() + lasts };
    std::thread::scope(|scope| {
        for (at, hub) in arena.hubs.iter().enumerate() {
            scope.spawn(move || processes(arena, hub, Faults::new(seed, round, Actor::Process(at)), time));
            scope.spawn(move || clocks(arena, hub, at, Faults::new(seed, round, Actor::Clock(at)), time));
        }
        scope.spawn(move || labels(arena, Faults::new(seed, round, Actor::Labels), time));
        for (edge, paths) in arena.paths.iter().enumerate() {
            for (carried, path) in paths.iter().enumerate() {
                scope.spawn(move || paths_fail(arena, path, Faults::new(seed, round, Actor::Path(edge, carried)), time));
            }
        }
        for (at, disk) in arena.disks.iter().enumerate() {
            scope.spawn(move || disks(arena, disk, Faults::new(seed, round, Actor::Disk(at)), time));
        }
    });
    arena.hubs.iter().try_for_each(Hub::recover)
}

fn processes(arena: &Arena<'_>, hub: &Hub<'_>, mut faults: Faults, time: Time) {
    if faults.spared() {
        return;
    }
    while let life = faults.life()
        && time.wait(life.runs)
    {
        let program = if hub.name == "cloud" { "cloudhub" } else { "edgehub" };
        if let (Some(transport), true) = (life.transport, program == "edgehub") {
            hub.set_transport(transport);
        }
        match life.blow {
            Blow::Stop(lasts) => {
                arena.counts.add(&format!("faults: {program} stopped and let go on"), 1);
                hub.pause();
                time.wait(lasts);
                hub.go_on();
                continue;
            }
            Blow::Kill => {
                arena.counts.add(&format!("faults: kill -9 of {program}"), 1);
                hub.kill();
            }
            Blow::Terminate => {
                arena.counts.add(&format!("faults: SIGTERM to {program}"), 1);
                hub.terminate();
            }
        }
        time.wait(life.down);
        hub.start();
    }
}

fn clocks(arena: &Arena<'_>, hub: &Hub<'_>, at: usize, mut faults: Faults, time: Time) {
    while let (after, seconds) = faults.jump(at)
        && time.wait(after)
    {
        arena.counts.add("faults: jumps of a clock", 1);
        if let Err(error) = hub.set_clock(seconds) {
            arena.findings.add(&format!("other: the clock of {} cannot be set: {error}", hub.name));
        }
    }
}

fn labels(arena: &Arena<'_>, mut faults: Faults, time: Time) {
    while let (after, node, labels) = faults.relabel()
        && time.wait(after)
    {
        rights::relabel(arena, node, labels);
    }
}

fn paths_fail(arena: &Arena<'_>, path: &Cut, mut faults: Faults, time: Time) {
    while let (after, trouble) = faults.trouble()
        && time.wait(after)
    {
        let (name, lasts) = match trouble {
            Trouble::Weather(way, weather) => {
                path.set(way, weather);
                ("changes of a path's delay, loss and width", Duration::ZERO)
            }
            Trouble::Cut(lasts) => {
                path.cut();
                ("cuts of a path", lasts)
            }
            Trouble::Hole(way, lasts) => {
                Way::BOTH.into_iter().filter(|each| way.is_none_or(|way| way == *each)).for_each(|way| path.hole(way, true));
                (if way.is_some() { "black holes, one way" } else { "black holes" }, lasts)
            }
            Trouble::Reset(way, bytes) => {
                path.reset_after(way, bytes);
                ("resets within a frame", Duration::ZERO)
            }
            Trouble::Move => {
                path.move_clients();
                ("clients whose address changes", Duration::ZERO)
            }
        };
        arena.counts.add(&format!("faults: {name}"), 1);
        if !lasts.is_zero() {
            time.wait(lasts);
            path.mend();
        }
    }
    path.mend();
    Way::BOTH.into_iter().for_each(|way| path.set(way, Weather::default()));
}

fn disks(arena: &Arena<'_>, disk: &SmallDisk, mut faults: Faults, time: Time) {
    while let (after, lasts) = faults.full()
        && time.wait(after)
    {
        arena.counts.add("faults: full disks", 1);
        disk.fill();
        time.wait(lasts);
        disk.free();
    }
}
