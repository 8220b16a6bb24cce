//! What every link promises about frames: order, bounds, sends that are dropped, goodbyes.

use bytes::Bytes;
use transport::limits::MAX_FRAME;
use transport::link::{CloseCode, CloseReason, Lane, Link, LinkError, LinkRx, LinkTx, Received};

use crate::{Carrier, linked, on_both};

on_both!(
    the_largest_frame_passes_in_either_lane,
    above_the_bound_nothing_leaves_and_the_link_goes_on,
    bulk_never_overtakes_control,
    a_dropped_send_does_not_garble_the_next_frame,
    what_was_sent_arrives_before_the_goodbye,
    a_peer_that_was_killed_is_named_as_gone,
    a_vanished_peer_is_an_error_and_a_goodbye_is_not,
    many_frames_keep_their_order_both_ways,
);

fn frame(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn the_largest_frame_passes_in_either_lane(carrier: Carrier) {
    let (edge, hub) = linked(carrier).await;
    let ((mut up, _), (_, mut from_edge)) = (edge.split(), hub.split());
    for lane in [Lane::Control, Lane::Bulk] {
        let largest = Bytes::from(vec![1; MAX_FRAME]);
        let (sent, received) = tokio::join!(up.send_in(lane, largest.clone()), from_edge.recv());
        sent.unwrap();
        assert!(received.unwrap() == Received::Frame(largest), "{lane:?}");
    }
}

async fn above_the_bound_nothing_leaves_and_the_link_goes_on(carrier: Carrier) {
    let (edge, hub) = linked(carrier).await;
    let ((mut up, _), (_, mut from_edge)) = (edge.split(), hub.split());
    for lane in [Lane::Control, Lane::Bulk] {
        let sent = up.send_in(lane, vec![0; MAX_FRAME + 1].into()).await;
        assert!(matches!(sent, Err(LinkError::FrameTooLarge { max: MAX_FRAME, .. })), "{sent:?}");
        up.send_in(lane, frame("next")).await.unwrap();
        assert_eq!(from_edge.recv().await.unwrap(), Received::Frame(frame("next")));
    }
    up.begin(Lane::Control, frame("under way")).unwrap();
    assert!(matches!(up.begin(Lane::Control, frame("too early")), Err(LinkError::Busy)));
    up.progress().await.unwrap();
    assert_eq!(from_edge.recv().await.unwrap(), Received::Frame(frame("under way")));
}

async fn bulk_never_overtakes_control(carrier: Carrier) {
    let (edge, hub) = linked(carrier).await;
    let ((mut up, _), (_, mut from_edge)) = (edge.split(), hub.split());
    let sending = async {
        for round in 0..300u32 {
            // Control that is larger than bulk comes later on its own stream.
            let lane = if round % 2 == 0 { Lane::Control } else { Lane::Bulk };
            let bytes = [&round.to_be_bytes()[..], &vec![0; if round % 2 == 0 { 20_000 } else { 1 }]].concat();
            up.send_in(lane, bytes.into()).await.unwrap();
        }
    };
    let receiving = async {
        let (mut control, mut bulk) = (0, 1);
        for _ in 0..300 {
            let Received::Frame(frame) = from_edge.recv().await.unwrap() else { panic!("a goodbye") };
            let round = u32::from_be_bytes(frame[..4].try_into().unwrap());
            let next = if round % 2 == 0 { &mut control } else { &mut bulk };
            assert_eq!(round, *next, "each lane keeps its order");
            *next += 2;
            assert!(bulk <= control + 1, "bulk {bulk} came before control {control}");
        }
    };
    tokio::join!(sending, receiving);
}

async fn a_dropped_send_does_not_garble_the_next_frame(carrier: Carrier) {
    let (edge, hub) = linked(carrier).await;
    let ((mut up, _), (_, mut from_edge)) = (edge.split(), hub.split());
    let large = Bytes::from(vec![5; MAX_FRAME]);
    // Nobody reads yet, so the frame cannot leave whole and the send is dropped midway.
    tokio::select! {
        biased;
        sent = up.send_in(Lane::Bulk, large.clone()) => panic!("{sent:?}"),
        () = std::future::ready(()) => {}
    }
    let read = async { (from_edge.recv().await.unwrap(), from_edge.recv().await.unwrap()) };
    let (sent, (first, second)) = tokio::join!(up.send_in(Lane::Bulk, frame("after")), read);
    sent.unwrap();
    assert!(first == Received::Frame(large) && second == Received::Frame(frame("after")));
}

async fn what_was_sent_arrives_before_the_goodbye(carrier: Carrier) {
    let (edge, hub) = linked(carrier).await;
    let ((mut up, _), (_, mut from_edge)) = (edge.split(), hub.split());
    let bulk = Bytes::from(vec![3; 200_000]);
    let sending = async {
        up.send_in(Lane::Bulk, bulk.clone()).await.unwrap();
        up.send(frame("last word")).await.unwrap();
        up.close(CloseReason::new(CloseCode::GoingAway, "enough")).await;
    };
    let receiving = async {
        let two = [from_edge.recv().await.unwrap(), from_edge.recv().await.unwrap()];
        assert!(two.contains(&Received::Frame(bulk.clone())) && two.contains(&Received::Frame(frame("last word"))));
        let goodbye = from_edge.recv().await.unwrap();
        assert_eq!(goodbye, Received::Closed(CloseReason::new(CloseCode::GoingAway, "enough")));
        assert!(matches!(from_edge.recv().await, Err(LinkError::Lost(_))), "nothing follows a goodbye");
    };
    tokio::join!(sending, receiving);
}

/// As seen when a hub ended a session during an upload: the node said "sending stopped by peer", and not why.
#[tokio::test]
async fn a_last_word_arrives_over_quic_at_a_side_that_is_sending() {
    let (edge, hub) = linked(Carrier::Quic).await;
    let ((mut up, mut from_hub), (mut down, from_edge)) = (edge.split(), hub.split());
    up.begin(Lane::Bulk, vec![1; MAX_FRAME].into()).unwrap();
    let sending = async { up.progress().await };
    let ending = async move {
        drop(from_edge);
        // The other side knows that nothing of its frame is wanted any more, and only then hears why.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        down.send(frame("because")).await.unwrap();
        down.close(CloseReason::new(CloseCode::Done, "")).await;
    };
    let hearing = async {
        assert_eq!(from_hub.recv().await.unwrap(), Received::Frame(frame("because")));
    };
    tokio::select! {
        sent = sending => panic!("{sent:?}"),
        ((), ()) = async { tokio::join!(ending, hearing) } => {}
    }
}

async fn a_peer_that_was_killed_is_named_as_gone(carrier: Carrier) {
    let (edge, hub) = linked(carrier).await;
    let (_up, mut from_hub) = edge.split();
    // As when its process ends: nothing more is said.
    drop(hub);
    let told = from_hub.recv().await;
    assert!(matches!(&told, Err(LinkError::Lost(why)) if why == "the connection ended without a goodbye"), "{told:?}");
}

async fn a_vanished_peer_is_an_error_and_a_goodbye_is_not(carrier: Carrier) {
    let (edge, hub) = linked(carrier).await;
    let (_tx, mut from_edge) = hub.split();
    drop(edge);
    let lost = from_edge.recv().await;
    assert!(matches!(lost, Err(LinkError::Lost(_))), "{lost:?}");

    let (edge, hub) = linked(carrier).await;
    let ((mut up, _rx), (_tx, mut from_edge)) = (edge.split(), hub.split());
    up.close(CloseReason::new(CloseCode::Done, "")).await;
    assert_eq!(from_edge.recv().await.unwrap(), Received::Closed(CloseReason::new(CloseCode::Done, "")));
}

async fn many_frames_keep_their_order_both_ways(carrier: Carrier) {
    let (edge, hub) = linked(carrier).await;
    let ((mut up, mut down), (mut to_edge, mut from_edge)) = (edge.split(), hub.split());
    let send = async |tx: &mut transport::any::AnyTx| {
        for number in 0..200usize {
            tx.send_in(Lane::Bulk, vec![number as u8; number * number % 40_000].into()).await.unwrap();
        }
    };
    let receive = async |rx: &mut transport::any::AnyRx| {
        for number in 0..200usize {
            let expected = Bytes::from(vec![number as u8; number * number % 40_000]);
            assert!(rx.recv().await.unwrap() == Received::Frame(expected), "frame {number}");
        }
    };
    tokio::join!(send(&mut up), receive(&mut from_edge), send(&mut to_edge), receive(&mut down));
}
