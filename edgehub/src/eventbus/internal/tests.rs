//! The broker without sockets, packet by packet; and with them, hostile bytes.
#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use rumqttc::mqttbytes::v4::{
    Connect, ConnectReturnCode, LastWill, PubAck, PubRel, Subscribe, SubscribeFilter, SubscribeReasonCode, Unsubscribe,
};
use rumqttc::{Packet, Publish, QoS};
use tokio::io::AsyncWriteExt;

use super::limits::{CONNECTIONS, FILTERS, INFLIGHT, RETAINED, SESSIONS, UNACKNOWLEDGED, WAITING};
use super::sessions::{Said, Sessions};
use super::*;

const HOUSE: &str = "$hw/events/device/boiler/twin/update";

fn joined(sessions: &mut Sessions, name: &str, clean: bool) -> (u64, bool) {
    let connect = Connect { clean_session: clean, ..Connect::new(name) };
    let (number, answer) = sessions.connect(connect).unwrap();
    (number, answer.session_present)
}

fn says(topic: &str, qos: QoS, number: u16, payload: &str) -> Packet {
    Packet::Publish(Publish { pkid: number, ..Publish::new(topic, qos, payload) })
}

fn listens(sessions: &mut Sessions, number: u64, filter: &str, qos: QoS) -> SubscribeReasonCode {
    let subscribe = Subscribe { pkid: 1, filters: vec![SubscribeFilter::new(filter.into(), qos)] };
    sessions.handle(number, Packet::Subscribe(subscribe)).unwrap();
    let packets = sessions.take(number).unwrap();
    packets.iter().find_map(|packet| if let Packet::SubAck(answer) = packet { Some(answer.return_codes[0]) } else { None }).unwrap()
}

/// Payloads that a connection is to be sent.
fn heard(sessions: &mut Sessions, number: u64) -> Vec<(String, u16, bool)> {
    let packets = sessions.take(number).unwrap().into_iter();
    let publish = |packet| if let Packet::Publish(publish) = packet { Some(publish) } else { None };
    packets.filter_map(publish).map(|one| (String::from_utf8(one.payload.to_vec()).unwrap(), one.pkid, one.dup)).collect()
}

fn acknowledged(sessions: &mut Sessions, number: u64) -> Vec<u16> {
    let of = |packet| match packet {
        Packet::PubAck(answer) => Some(answer.pkid),
        Packet::PubRec(answer) => Some(answer.pkid),
        _ => None,
    };
    sessions.take(number).unwrap().into_iter().filter_map(of).collect()
}

#[test]
fn what_edgehub_listens_to_is_acknowledged_when_it_is_kept_and_in_order() {
    let mut sessions = Sessions::default();
    let (device, _) = joined(&mut sessions, "device", true);
    let Said::House(first) = sessions.handle(device, says(HOUSE, QoS::AtLeastOnce, 1, "a")).unwrap() else { panic!("edgehub's own") };
    assert_eq!(sessions.handle(device, says("other", QoS::AtLeastOnce, 2, "b")).unwrap(), Said::Done);
    let Said::House(third) = sessions.handle(device, says(HOUSE, QoS::ExactlyOnce, 3, "c")).unwrap() else { panic!("edgehub's own") };
    assert_eq!(sessions.handle(device, says(HOUSE, QoS::AtLeastOnce, 1, "a")).unwrap(), Said::Done, "it is being kept");
    assert_eq!(acknowledged(&mut sessions, device), [0_u16; 0]);
    sessions.acknowledge(device, &third);
    assert_eq!(acknowledged(&mut sessions, device), [0_u16; 0], "not before the first");
    sessions.acknowledge(device, &first);
    assert_eq!(acknowledged(&mut sessions, device), [1, 2, 3]);
    // At QoS 2 a repetition before its release is the same message.
    assert_eq!(sessions.handle(device, says(HOUSE, QoS::ExactlyOnce, 3, "c")).unwrap(), Said::Done);
    assert_eq!(acknowledged(&mut sessions, device), [3]);
    sessions.handle(device, Packet::PubRel(PubRel { pkid: 3 })).unwrap();
    assert!(matches!(sessions.handle(device, says(HOUSE, QoS::ExactlyOnce, 3, "d")).unwrap(), Said::House(_)));
    // One that says much and is not acknowledged is not read.
    for number in 10..=(10 + UNACKNOWLEDGED as u16) {
        sessions.handle(device, says(HOUSE, QoS::AtLeastOnce, number, "x")).unwrap();
    }
    assert!(!sessions.may_read(device));
    // What the database could not take comes again in a new connection.
    let (other, _) = joined(&mut sessions, "other", true);
    sessions.drop_unacknowledged();
    assert!(sessions.take(device).is_none() && sessions.take(other).is_some());
}

#[test]
fn messages_go_to_whoever_wants_them_and_wait_for_whoever_comes_back() {
    let mut sessions = Sessions::default();
    let (speaker, _) = joined(&mut sessions, "speaker", true);
    let (mapper, present) = joined(&mut sessions, "mapper", false);
    assert!(!present);
    assert_eq!(listens(&mut sessions, mapper, "$hw/#", QoS::ExactlyOnce), SubscribeReasonCode::Success(QoS::AtLeastOnce));
    assert_eq!(listens(&mut sessions, mapper, "a#", QoS::AtMostOnce), SubscribeReasonCode::Failure);
    assert_eq!(listens(&mut sessions, mapper, "+/lamp", QoS::AtMostOnce), SubscribeReasonCode::Success(QoS::AtMostOnce));
    sessions.spread(Publish::new("$hw/a", QoS::AtLeastOnce, "1"));
    sessions.handle(speaker, says("ü/lamp", QoS::AtLeastOnce, 1, "on")).unwrap();
    assert_eq!(heard(&mut sessions, mapper), [("1".into(), 1, false), ("on".into(), 0, false)]);
    // Away without a word: what it did not acknowledge comes first, what came at QoS 0 is gone.
    sessions.gone(mapper, false);
    sessions.spread(Publish::new("$hw/b", QoS::AtLeastOnce, "2"));
    sessions.spread(Publish::new("x/lamp", QoS::AtLeastOnce, "off"));
    let (mapper, present) = joined(&mut sessions, "mapper", false);
    assert!(present);
    assert_eq!(heard(&mut sessions, mapper), [("1".into(), 1, true), ("2".into(), 2, false)]);
    sessions.handle(mapper, Packet::PubAck(PubAck { pkid: 1 })).unwrap();
    let unsubscribe = Unsubscribe { pkid: 2, topics: vec!["$hw/#".into()] };
    sessions.handle(mapper, Packet::Unsubscribe(unsubscribe)).unwrap();
    sessions.spread(Publish::new("$hw/c", QoS::AtLeastOnce, "3"));
    assert_eq!(heard(&mut sessions, mapper), []);
    // A second connection under the same name takes the place of the first; one that begins anew knows nothing.
    let (second, _) = joined(&mut sessions, "mapper", false);
    assert!(sessions.take(mapper).is_none());
    assert_eq!(heard(&mut sessions, second), [("2".into(), 2, true)]);
    let (third, present) = joined(&mut sessions, "mapper", true);
    assert!(!present && heard(&mut sessions, third).is_empty());
}

#[test]
fn wills_are_said_of_those_who_leave_without_a_word() {
    let mut sessions = Sessions::default();
    let (listener, _) = joined(&mut sessions, "listener", true);
    listens(&mut sessions, listener, "will/#", QoS::AtLeastOnce);
    let with_will = |name: &str| Connect {
        last_will: Some(LastWill { topic: format!("will/{name}"), message: Bytes::from("gone"), qos: QoS::AtLeastOnce, retain: true }),
        ..Connect::new(name)
    };
    let (polite, _) = sessions.connect(with_will("polite")).unwrap();
    let (rude, _) = sessions.connect(with_will("rude")).unwrap();
    assert!(sessions.handle(polite, Packet::Disconnect).is_err());
    sessions.gone(rude, false);
    sessions.gone(rude, false);
    assert_eq!(heard(&mut sessions, listener), [("gone".into(), 1, false)]);
    // It was retained, until an empty one takes it away.
    let (late, _) = joined(&mut sessions, "late", true);
    let subscribe = |filter: &str| Packet::Subscribe(Subscribe::new(filter, QoS::AtLeastOnce));
    sessions.handle(late, subscribe("will/+")).unwrap();
    assert_eq!(heard(&mut sessions, late).len(), 1);
    let clears = Publish { retain: true, ..Publish::new("will/rude", QoS::AtLeastOnce, "") };
    sessions.spread(clears);
    let (later, _) = joined(&mut sessions, "later", true);
    sessions.handle(later, subscribe("will/+")).unwrap();
    assert_eq!(heard(&mut sessions, later), []);
    let bad = Connect { last_will: Some(LastWill::new("a/#", "x", QoS::AtMostOnce, false)), ..Connect::new("bad") };
    assert!(sessions.connect(bad).is_err());
}

#[test]
fn everything_has_its_bound() {
    let mut sessions = Sessions::default();
    let (first, _) = joined(&mut sessions, "c0", false);
    for n in 1..CONNECTIONS {
        joined(&mut sessions, &format!("c{n}"), true);
    }
    let refused = sessions.connect(Connect::new("one more")).unwrap_err();
    assert_eq!(refused.code, ConnectReturnCode::ServiceUnavailable);
    assert!(sessions.connect(Connect::new("c1")).is_ok(), "who is there may come again");
    assert_eq!(sessions.connect(Connect { clean_session: false, ..Connect::new("") }).unwrap_err().code, ConnectReturnCode::BadClientId);
    for n in 0..FILTERS {
        listens(&mut sessions, first, &format!("f/{n}"), QoS::AtLeastOnce);
    }
    assert_eq!(listens(&mut sessions, first, "f/more", QoS::AtLeastOnce), SubscribeReasonCode::Failure);
    for n in 0..2 * WAITING {
        sessions.spread(Publish::new("f/1", QoS::AtLeastOnce, n.to_string()));
    }
    assert_eq!(sessions.counts().1, WAITING as u64);
    assert_eq!(heard(&mut sessions, first).len(), INFLIGHT);
    for n in 0..2 * RETAINED {
        sessions.spread(Publish { retain: true, ..Publish::new(format!("r/{n}"), QoS::AtLeastOnce, "x") });
    }
    assert_eq!(sessions.counts().1, (WAITING + RETAINED) as u64);
    for n in 0..2 * SESSIONS {
        let taken = joined(&mut Sessions::default(), "x", true).0;
        assert_eq!(taken, 1);
        sessions.gone(first, true);
        let (number, _) = joined(&mut sessions, &format!("away{n}"), false);
        sessions.gone(number, true);
    }
    assert!(sessions.away() <= SESSIONS + 1, "{}", sessions.away());
    let (again, present) = joined(&mut sessions, "c0", false);
    assert!(!present && heard(&mut sessions, again).is_empty(), "it left first, and went first");
}

#[test]
fn a_door_lets_in_who_has_its_password() {
    let door = |devices: Option<(&str, &str)>| Door {
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        devices: devices.map(|(name, password)| User { name: name.into(), password: password.into() }),
    };
    let mut connect = Connect::new("x");
    assert!(door(None).admits(&connect) && !door(Some(("device", "secret"))).admits(&connect));
    for (name, password, admitted) in
        [("device", "secret", true), ("device", "", false), ("", "secret", false), ("devicesecret", "", false)]
    {
        connect.set_login(name, password);
        assert_eq!(door(Some(("device", "secret"))).admits(&connect), admitted, "{name}");
    }
}

/// A broker that listens on a free port.
async fn opened(board: &Arc<BusBoard>) -> (SocketAddr, mpsc::Receiver<Arrived>, JoinSet<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = listener.local_addr().unwrap();
    drop(listener);
    let (_, mut arrived, open) = open(Door { listen, tls: None, devices: None }, Arc::clone(board));
    let mut tasks = JoinSet::new();
    tasks.spawn(open);
    assert!(matches!(arrived.recv().await, Some(Arrived::Up { .. })));
    (listen, arrived, tasks)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever bytes come, each connection that they come over ends or waits, and the next one is served.
    #[test]
    fn hostile_bytes_cost_only_their_own_connection(bytes in proptest::collection::vec(any::<u8>(), 0..200), greets in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let board = Arc::new(BusBoard::default());
            let (address, _arrived, _tasks) = opened(&board).await;
            let mut hostile = tokio::net::TcpStream::connect(address).await.unwrap();
            let mut sent = BytesMut::new();
            if greets {
                Packet::Connect(Connect::new("hostile")).write(&mut sent, 1 << 20).unwrap();
            }
            sent.extend_from_slice(&bytes);
            let _ = hostile.write_all(&sent).await;
            drop(hostile);
            let mut good = tokio::net::TcpStream::connect(address).await.unwrap();
            let mut greeting = BytesMut::new();
            Packet::Connect(Connect::new("good")).write(&mut greeting, 1 << 20).unwrap();
            good.write_all(&greeting).await.unwrap();
            let mut answer = [0; 4];
            tokio::io::AsyncReadExt::read_exact(&mut good, &mut answer).await.unwrap();
            assert_eq!(answer, [0x20, 2, 0, 0]);
            assert_eq!(board.view().internal.failed, 0);
        });
    }
}
