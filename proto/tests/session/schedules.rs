//! Schedules that broke earlier drafts, by their names in `docs/design.md` §12.

use proto::frame::{Batch, Entry};
use proto::session::handshake::FEATURES;

use crate::cloud_model::{Change, name};
use crate::pipe::Road;
use crate::world::World;

const LAN: Road = Road { rate: 10_000_000, delay_ms: 1 };

fn add(delta: i64) -> Change {
    Change::Add { key: "own".into(), delta }
}

/// A node that is connected and in sync.
fn settled(road: Road) -> World {
    let mut world = World::new(road);
    world.cloud.grant("c", true);
    world.cloud.change([name("c", "own")], |row| row.count = Some(0));
    world.converge(60_000);
    world
}

/// 1 MiB at 64 kbit/s takes 131 s: bytes that arrive are progress, and nothing is sent twice.
#[test]
fn kbit_64() {
    let mut world = settled(Road { rate: 8_000, delay_ms: 50 });
    world.in_cloud(|cloud| cloud.change([name("c", "large")], |row| row.pad = 1_048_000));
    let begin = (world.now_ms, world.batches.len());
    world.converge(200_000);
    assert!(world.now_ms - begin.0 > 130_000, "the link is as slow as it should be");
    let with_records = world.batches[begin.1..].iter().filter(|batch| !batch.entries.is_empty()).count();
    assert_eq!((with_records, world.ends.len()), (1, 0));
}

/// A slow link profits from compression, and windows are of what is unpacked: nothing is sent twice either.
#[test]
fn kbit_64_compressed() {
    let mut world = World::new(Road { rate: 8_000, delay_ms: 50 });
    world.features = FEATURES;
    world.cloud.grant("c", true);
    world.cloud.change((0..2_000).map(|n| name("c", &format!("r{n}"))), |row| row.pad = 500);
    world.converge(60_000);
    let records = |batch: &Batch| batch.entries.len() + batch.fill.as_ref().map_or(0, |part| part.records.len());
    let records = world.batches.iter().map(records).sum::<usize>();
    assert_eq!((records, world.ends.len()), (2_000, 0));
}

/// The same upwards: 2 MiB of one write, and a small one behind it.
#[test]
fn a_write_of_2_mib_at_64_kbit() {
    let mut world = settled(Road { rate: 8_000, delay_ms: 50 });
    world.write(add(1), 2 * 1024 * 1024);
    world.write(add(2), 10);
    world.in_cloud(|cloud| cloud.change([name("c", "r")], |row| row.pad = 10));
    world.converge(400_000);
    assert!(world.now_ms > 260_000);
    assert!(world.ends.is_empty());
}

#[test]
fn welcome_lost_twice() {
    let mut world = World::new(LAN);
    world.cloud.grant("c", true);
    for _ in 0..2 {
        // Hello has arrived and is admitted; Welcome never comes.
        let admitted = world.run(60_000, |world| world.trace.iter().any(|line| line.contains("says Welcome")));
        assert!(admitted);
        world.trace.clear();
        world.cut();
    }
    // The edge commits the next number, and Started is lost, twice.
    for _ in 0..2 {
        assert!(world.run(60_000, |world| world.trace.iter().any(|line| line.contains("says Started"))));
        world.trace.clear();
        world.cut();
    }
    world.converge(60_000);
}

/// The cloud still commits for the old link while the new one says Hello.
#[test]
fn half_open_takeover() {
    let mut world = settled(LAN);
    world.store_ms = 50;
    for _ in 0..30 {
        world.write(add(1), 1_000);
    }
    let committing = world.run(60_000, |world| world.trace.iter().any(|line| line.contains("does commit")));
    assert!(committing);
    world.half_open();
    world.converge(60_000);
    assert!(world.ends.iter().any(|end| end.reason.code == "replaced"), "not by silence: {:?}", world.ends);
    assert!(world.now_ms < 10_000);
}

/// The outcome is read, and before the record of its revision comes, a newer version takes its place.
#[test]
fn newest_version_resend() {
    let mut world = settled(LAN);
    for round in 0..50 {
        world.write(add(3), 10);
        let many = (0..300).map(|n| name("c", &format!("r{n}")));
        world.in_cloud(|cloud| cloud.change(many, |row| row.pad = 100));
        let until_ms = world.now_ms + round % 7;
        world.run(until_ms, |_| false);
        world.in_cloud(|cloud| cloud.change([name("c", "own")], |row| row.pad += 1));
    }
    world.converge(60_000);
}

/// The outcome comes in a batch of its own, long before the newest version of its record.
#[test]
fn outcome_before_newest() {
    let mut world = settled(LAN);
    world.write(add(5), 10);
    world.run(60_000, |world| world.cloud.taken == 1);
    world.cut();
    let many = (0..2_000).map(|n| name("c", &format!("r{n}")));
    world.in_cloud(|cloud| {
        cloud.change(many, |row| row.pad = 100);
        cloud.change([name("c", "own")], |row| row.pad += 1);
    });
    let begin = world.batches.len();
    world.converge(60_000);
    let outcome = |entry: &Entry| matches!(entry, Entry::Outcome { .. });
    let place = world.batches[begin..].iter().position(|batch| batch.entries.iter().any(outcome));
    assert_eq!(place, Some(0));
    assert!(world.batches.len() - begin > 4);
}

/// A rejected write, and one that changes nothing, at the very head: no record will ever come for them.
#[test]
fn reject_at_head() {
    let mut world = settled(LAN);
    for change in [Change::Bad { key: "own".into(), delta: 4 }, Change::Nothing { key: "own".into(), delta: 4 }] {
        world.write(change, 10);
        world.converge(5_000);
    }
    assert!(world.now_ms < 10_000, "not by the hourly batch");
}

/// One bad write stops nothing behind it.
#[test]
fn poison_write() {
    let mut world = settled(LAN);
    world.write(Change::Bad { key: "own".into(), delta: 1 }, 10);
    for _ in 0..100 {
        world.write(add(1), 10);
    }
    world.converge(5_000);
    assert_eq!(world.cloud.rows[&name("c", "own")].count, Some(100));
}

/// More records in one revision than a batch holds, cut inside: visible together all the same.
#[test]
fn in_one_revision_600() {
    let mut world = settled(LAN);
    world.in_cloud(|cloud| cloud.change((0..600).map(|n| name("c", &format!("r{n}"))), |row| row.pad = 10));
    let inside = world.run(60_000, |world| world.edge.cursor().inside.is_some());
    assert!(inside, "the cursor stands inside the revision");
    assert_eq!(world.edge.live().len(), 1, "nothing of it is visible");
    world.cut();
    world.converge(60_000);
    assert_eq!(world.edge.live().len(), 601);
}

/// A full disk at the edge, and the cloud's commits failing: nothing is acknowledged, and all of it arrives later. Outcomes do not
/// wait for the disk, so that the outbox gets shorter; the cursor does.
#[test]
fn stores_that_fail_for_a_while() {
    let mut world = settled(LAN);
    world.disk_full = true;
    world.failing_commits = 3;
    for _ in 0..10 {
        world.write(add(1), 10);
    }
    let (until_ms, cursor) = (world.now_ms + 50_000, world.edge.cursor());
    world.run(until_ms, |_| false);
    assert_eq!(world.cloud.taken, 10, "the way up does not wait for the disk");
    assert_eq!(world.edge.outcomes.len(), 10);
    assert_eq!(world.edge.cursor(), cursor);
    world.disk_full = false;
    world.converge(31_000);
    assert!(world.ends.is_empty());
}

/// The backlog does not wait for the next new write (NanoMQ #2423), and a stall of the network is no loss.
#[test]
fn a_backlog_drains_by_itself() {
    let mut world = settled(Road { rate: 125_000, delay_ms: 25 });
    world.cut();
    for _ in 0..6_000 {
        world.write(add(1), 100);
    }
    world.converge(60_000);
    assert_eq!(world.cloud.taken, 6_000);
}

/// Packets vanish in silence: both ends find out within 45 s, and the edge comes back.
#[test]
fn silence_is_noticed() {
    let mut world = settled(LAN);
    world.swallow();
    world.write(add(1), 10);
    let begin = world.now_ms;
    world.converge(50_000);
    assert!(world.now_ms - begin <= 47_000);
    assert!(world.ends.iter().any(|end| end.reason.code == "silence"));
}

/// Nothing to say: an idle session costs pings alone, and an hourly batch for the cursor.
#[test]
fn an_idle_session_is_quiet() {
    let mut world = settled(LAN);
    let (begin, sent) = (world.trace.len(), world.batches.len());
    world.cloud.change([name("d", "elsewhere")], |_| {});
    let until_ms = world.now_ms + 3_700_000;
    world.run(until_ms, |_| false);
    let talk = |line: &&String| line.contains("says") && !line.contains("Ping") && !line.contains("Pong");
    let said: Vec<_> = world.trace[begin..].iter().filter(talk).collect();
    assert_eq!(said.len(), 2, "one batch and its ACK: {said:?}");
    assert_eq!(world.batches.len(), sent + 1);
    assert_eq!(world.edge.cursor().revision.0, world.cloud.head);
}

/// A cut in the middle of the first back-fill: it goes on where it was.
#[test]
fn a_new_database_fills_and_catches_up() {
    let mut world = World::new(Road { rate: 1_000_000, delay_ms: 25 });
    world.cloud.grant("c", true);
    world.cloud.grant("d", true);
    for _ in 0..20 {
        world.cloud.change((0..100).map(|n| name("c", &format!("r{n}"))), |row| row.pad = 300);
        world.cloud.change((0..100).map(|n| name("d", &format!("r{n}"))), |row| row.pad = 300);
    }
    world.run(200, |_| false);
    world.cut();
    world.converge(10_000);
    assert_eq!(world.edge.live().len(), 200);
    assert!(!world.trace.iter().any(|line| line.contains("Received")), "no store took two seconds");
}
