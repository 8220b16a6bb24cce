//! What devices report (design §6): the newest of each property waits in a table and goes up when there is room, never the other
//! way round. At every step the laboratory looks that nothing that was kept is lost.

use proto::device::TWINS;
use proto::op::{Body, To, Write};
use tests::lab::devices::desired;
use tests::lab::words::{add, merge};
use tests::lab::{Fault, Lab, Side};

use super::{n, shop};

const TEMP: &str = "reported.temp";
const DAY_MS: u64 = 86_400_000;

/// Shops that are in sync, and a boiler in the first.
fn plant(nodes: &[&str]) -> Lab {
    let mut lab = shop(nodes);
    lab.define_devices();
    lab.declare("boiler", nodes[0]);
    lab.converge(60_000);
    lab
}

fn say(lab: &mut Lab, value: u64) {
    lab.report(0, "boiler", &[(TEMP, &value.to_string())]);
}

/// Both sides show this temperature.
#[track_caller]
fn settled(lab: &mut Lab, value: &str) {
    assert_eq!(lab.both(0, "boiler", TEMP), [Some(value.to_owned()), Some(value.to_owned())]);
}

/// The bytes of a write that waits, as they go up.
fn content(lab: &mut Lab, number: u64) -> Option<Vec<u8>> {
    let part = lab.edges[0].reader().outbox_after(number - 1, 1).unwrap();
    part.writes.into_iter().find(|write| write.number == number).map(|write| write.bytes)
}

/// The temperature that a write carries.
fn carried(bytes: &[u8]) -> Option<String> {
    Write::decode(bytes).unwrap().ops.iter().find_map(|op| {
        let Body::Merge(changes) = &op.body else { return None };
        changes.iter().find(|change| change.field == TEMP).map(|change| {
            let To::Set(raw) = &change.to else { panic!("{change:?}") };
            proto::device::TwinField::parse(raw).unwrap().value.as_str().to_owned()
        })
    })
}

/// `twin-in-flight-coalesced`: a report while the earlier number is in flight. The number's content never changes, whoever loses
/// power when, and the newer value goes under the next number.
#[test]
fn twin_in_flight_coalesced() {
    let faults = [
        None,
        Some((Side::Edge(0), Fault { after: 0, commits: true })),
        Some((Side::Edge(0), Fault { after: 1, commits: false })),
        Some((Side::Cloud, Fault { after: 0, commits: false })),
        Some((Side::Cloud, Fault { after: 0, commits: true })),
        Some((Side::Cloud, Fault { after: 1, commits: true })),
    ];
    for fault in faults {
        let mut lab = plant(&["lyon"]);
        lab.road.delay_ms = 200;
        lab.cut(0);
        lab.converge(60_000);
        say(&mut lab, 20);
        lab.until("edge 0 reports in write");
        let first = lab.edges[0].newest_write();
        let before = content(&mut lab, first).unwrap();
        assert_eq!(carried(&before).as_deref(), Some("20"));
        if let Some((side, fault)) = fault {
            lab.fault(side, fault);
        }
        for value in 21..=25 {
            say(&mut lab, value);
            lab.pass(20);
            let now = content(&mut lab, first);
            assert!(now.is_none_or(|now| now == before), "{fault:?}: number {first} was given to something else");
        }
        lab.kill(Side::Edge(0));
        assert!(content(&mut lab, first).is_none_or(|now| now == before), "{fault:?}");
        say(&mut lab, 26);
        let mut numbers = Vec::new();
        lab.converge_seeing(120_000, |lab| {
            let newest = lab.edges[0].newest_write();
            if newest > first && numbers.last() != Some(&newest) {
                numbers.push(newest);
                assert_eq!(content(lab, newest).as_deref().and_then(carried).as_deref(), Some("26"), "{fault:?}");
            }
        });
        settled(&mut lab, "26");
        assert_eq!(numbers, [first + 1], "{fault:?}: what was between went up too");
        let version = lab.twin_in_cloud("boiler").unwrap().properties["temp"].reported.as_ref().unwrap().version;
        assert_eq!(version, 7, "{fault:?}: seven were kept");
    }
}

/// `twins-fill-outbox`: a node that starts again and again on a link that lets nothing through makes a write of reports each time.
/// They never take more than half of the outbox: sales and desired values still go, and only what is between is skipped.
#[test]
fn twins_fill_outbox() {
    const ROOM: u64 = 40_000;
    let mut lab = plant(&["lyon"]);
    lab.edges[0].bound_outbox(ROOM);
    let note = format!("\"{}\"", "x".repeat(900));
    let (mut value, mut filled) = (100, 0);
    for round in 0..60 {
        lab.kill(Side::Edge(0));
        lab.until("edge 0 connects");
        lab.until("says Started");
        lab.freeze(0, 3_000);
        for _ in 0..20 {
            value += 1;
            lab.report(0, "boiler", &[(TEMP, &value.to_string()), ("reported.note", &note)]);
        }
        lab.pass(1_500);
        let status = lab.edges[0].reader().status().unwrap();
        assert!(status.outbox_bytes <= ROOM / 2, "round {round}: {} bytes", status.outbox_bytes);
        filled = status.outbox_bytes;
    }
    assert!(filled > ROOM / 3, "the story fills nothing: {filled} bytes");
    let sold = 12;
    for _ in 0..sold {
        lab.write(0, vec![add("tally", "1", "n", -1), merge("products", "1", &format!(r#"{{"note":{note}}}"#))]);
    }
    lab.in_cloud(vec![merge(TWINS, "boiler", &desired("temp", "60", "cloud"))]);
    lab.converge(120_000);
    settled(&mut lab, &value.to_string());
    assert_eq!(n(&mut lab, 0, "tally"), Some(20 - sold));
    assert_eq!(lab.both(0, "boiler", "desired.temp"), [Some("60".to_owned()), Some("60".to_owned())]);
    let version = lab.twin_in_cloud("boiler").unwrap().properties["temp"].reported.as_ref().unwrap().version;
    assert_eq!(version, 60 * 20, "each was kept, whatever of them went up");
}

/// A burst takes the room of one value a second, and no sale waits longer for it than two writes of reports take.
#[test]
fn a_burst_delays_no_sale_and_no_desired_value() {
    let took = |samples: u64| {
        let mut lab = plant(&["lyon"]);
        lab.road = tests::lab::road::Road { rate: 125_000, delay_ms: 50 };
        lab.cut(0);
        lab.converge(60_000);
        let (mut slowest, mut value) = (0, 0);
        for sale in 1..=20 {
            for _ in 0..samples {
                value += 1;
                say(&mut lab, value);
                lab.pass(1);
            }
            lab.in_cloud(vec![merge(TWINS, "boiler", &desired("temp", &sale.to_string(), "cloud"))]);
            let number = lab.write(0, vec![add("tally", "1", "n", -1)]);
            let (begun, metamanager::WriteRef::Own(number)) = (lab.now_ms, number.write) else { panic!("not its own") };
            let wanted = Some(sale.to_string());
            let there =
                lab.run(60_000, |lab| lab.edges[0].state(number) == "applied" && lab.both(0, "boiler", "desired.temp")[1] == wanted);
            assert!(there);
            slowest = slowest.max(lab.now_ms - begun);
            lab.pass(1_000 - samples);
        }
        lab.converge(60_000);
        (slowest, lab.edges[0].newest_write())
    };
    let (quiet, sales) = took(0);
    let (burst, writes) = took(500);
    assert!(burst <= quiet + 100, "a sale took {burst} ms beside a burst, and {quiet} ms without");
    assert!((sales + 10..=sales + 45).contains(&writes), "10,000 samples became {} writes", writes - sales);
}

/// An outage of any length, with a desired value that changes in the cloud and a report at the node.
#[test]
fn desired_and_reported_values_of_an_outage_arrive() {
    let mut lab = plant(&["lyon"]);
    for (turn, lasts_ms) in
        [10, 300, 3_000, 44_000, 46_000, 300_000, 3_600_000, DAY_MS, 29 * DAY_MS, 45 * DAY_MS, 400 * DAY_MS].into_iter().enumerate()
    {
        let turn = turn as u64 + 1;
        lab.online(0, false);
        lab.pass(lasts_ms / 2);
        lab.in_cloud(vec![merge(TWINS, "boiler", &desired("temp", &turn.to_string(), "cloud"))]);
        for value in 0..10 {
            say(&mut lab, turn * 100 + value);
        }
        lab.write(0, vec![merge(TWINS, "boiler", &desired("fan", &turn.to_string(), "lyon"))]);
        lab.pass(lasts_ms - lasts_ms / 2);
        lab.tidy();
        lab.online(0, true);
        lab.converge(60_000);
        settled(&mut lab, &(turn * 100 + 9).to_string());
        for property in ["desired.temp", "desired.fan"] {
            assert_eq!(lab.both(0, "boiler", property), [Some(turn.to_string()), Some(turn.to_string())], "{property} after {lasts_ms} ms");
        }
    }
}

/// A node whose database is new gets back what is desired, and what was reported.
#[test]
fn a_wiped_node_gets_its_desired_values_back() {
    let mut lab = plant(&["lyon"]);
    say(&mut lab, 21);
    lab.converge(60_000);
    lab.online(0, false);
    lab.in_cloud(vec![merge(TWINS, "boiler", &desired("temp", "60", "cloud"))]);
    let new = lab.wiped(0);
    lab.pass(60_000);
    assert!(lab.run(60_000, |lab| lab.both(new, "boiler", TEMP)[1].is_some()));
    assert_eq!(lab.both(new, "boiler", "desired.temp"), [Some("60".to_owned()), Some("60".to_owned())]);
    assert_eq!(lab.both(new, "boiler", TEMP), [Some("21".to_owned()), Some("21".to_owned())]);
}

/// A device moves with its twin. What it reported at the old node before that node knew still counts; what the new one reports
/// afterwards is newer.
#[test]
fn a_device_moves_with_its_twin_and_its_last_report() {
    for waits in [false, true] {
        let mut lab = plant(&["lyon", "oslo"]);
        say(&mut lab, 20);
        lab.in_cloud(vec![merge(TWINS, "boiler", &desired("temp", "60", "cloud"))]);
        lab.converge(60_000);
        if waits {
            lab.online(0, false);
        }
        say(&mut lab, 21);
        lab.declare("boiler", "oslo");
        // Kept before this node has heard of it.
        say(&mut lab, 22);
        lab.pass(5_000);
        lab.online(0, true);
        lab.converge(60_000);
        assert_eq!(lab.twin_at(0, "boiler"), None, "it is the other node's");
        assert_eq!(lab.both(1, "boiler", TEMP), [Some("22".to_owned()), Some("22".to_owned())], "waits {waits}");
        assert_eq!(lab.both(1, "boiler", "desired.temp")[1].as_deref(), Some("60"));
        assert!(lab.try_report(0, "boiler", &[(TEMP, "99")]).is_err());
        lab.report(1, "boiler", &[(TEMP, "23")]);
        lab.converge(60_000);
        assert_eq!(lab.both(1, "boiler", TEMP), [Some("23".to_owned()), Some("23".to_owned())]);
    }
}

/// What waits is not forgotten while the twins are read again: everything that a restored hub says is new to the node.
#[test]
fn what_waits_outlives_a_hub_that_was_made_anew() {
    let mut lab = plant(&["lyon"]);
    let image = lab.image(Side::Cloud);
    lab.converge(60_000);
    lab.online(0, false);
    say(&mut lab, 33);
    lab.put_back(Side::Cloud, &image);
    lab.online(0, true);
    lab.converge(120_000);
    settled(&mut lab, "33");
}
