//! One client of the broker inside edgehub.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use rumqttc::Packet;
use rumqttc::mqttbytes::v4::{Codec, ConnAck, ConnectReturnCode};
use rumqttc::mqttbytes::{Error as MqttError, Protocol};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::codec::Framed;

use super::limits::{CONNECT_BYTES, PATIENCE, QUIET};
use super::sessions::Said;
use super::{Door, House};
use crate::eventbus::broker::{PACKET_BYTES, Packets, Stream};
use crate::eventbus::prompt::Prompt;
use crate::eventbus::way::{Arrived, Message};

/// Packets that are read before what waits for the client is sent.
const TOGETHER: usize = 64;

/// Why a connection ended, for the log.
type Reason = String;

/// A client who is there; gone when this is dropped, whatever happened.
struct Present {
    house: Arc<House>,
    number: u64,
    /// Rung when there is something to send to it.
    bell: Arc<Notify>,
    /// How long it may say nothing.
    silence: Duration,
}

impl Drop for Present {
    fn drop(&mut self) {
        self.house.leave(self.number);
    }
}

/// Serves a client until one of the two has enough.
pub(super) async fn serve(tcp: Prompt, from: SocketAddr, door: Door, house: Arc<House>, sender: mpsc::Sender<Arrived>) {
    let reason = match greet(tcp, &door, &house).await {
        Ok((packets, present)) => converse(packets, &present, &sender).await.unwrap_or_else(|reason| reason),
        Err(reason) => reason,
    };
    tracing::debug!(%from, reason, "a device's connection ended");
}

async fn greet(tcp: Prompt, door: &Door, house: &Arc<House>) -> Result<(Packets, Present), Reason> {
    let stream: Box<dyn Stream> = match &door.tls {
        None => Box::new(tcp),
        Some(tls) => {
            let shaken = timeout(PATIENCE, tls.accept(tcp)).await.map_err(|_| "no TLS handshake".to_owned())?;
            Box::new(shaken.map_err(|error| error.to_string())?)
        }
    };
    let mut packets = Framed::new(stream, Codec { max_incoming_size: CONNECT_BYTES, max_outgoing_size: 2 * PACKET_BYTES });
    let first = timeout(PATIENCE, packets.next()).await.map_err(|_| "it said nothing".to_owned())?;
    let connect = match first {
        Some(Ok(Packet::Connect(connect))) => connect,
        Some(Ok(_)) => return Err("its first packet is not CONNECT".to_owned()),
        Some(Err(error)) => return Err(error.to_string()),
        None => return Err("it said nothing".to_owned()),
    };
    let refusal = match (connect.protocol, door.admits(&connect)) {
        (Protocol::V5, _) => Some(ConnectReturnCode::RefusedProtocolVersion),
        (Protocol::V4, false) => Some(ConnectReturnCode::BadUserNamePassword),
        (Protocol::V4, true) => None,
    };
    if let Some(code) = refusal {
        send(&mut packets, Packet::ConnAck(ConnAck::new(code, false))).await?;
        return Err(format!("refused: {code:?}"));
    }
    tracing::debug!(client = connect.client_id, "a device connects");
    let silence = match connect.keep_alive {
        0 => QUIET,
        seconds => Duration::from_secs(u64::from(seconds)) * 3 / 2,
    };
    let bell = Arc::new(Notify::new());
    match house.connect(connect, Arc::clone(&bell)) {
        Ok((number, answer)) => {
            let present = Present { house: Arc::clone(house), number, bell, silence };
            send(&mut packets, Packet::ConnAck(answer)).await?;
            packets.codec_mut().max_incoming_size = PACKET_BYTES;
            Ok((packets, present))
        }
        Err(answer) => {
            let reason = format!("refused: {:?}", answer.code);
            send(&mut packets, Packet::ConnAck(answer)).await?;
            Err(reason)
        }
    }
}

/// Reads and writes in turns. `Ok` and `Err` are both the end.
async fn converse(mut packets: Packets, present: &Present, sender: &mpsc::Sender<Arrived>) -> Result<Reason, Reason> {
    let Present { house, number, bell, silence } = present;
    let mut end = Instant::now() + *silence;
    loop {
        loop {
            let Some(ready) = house.with(|sessions| sessions.take(*number)) else {
                return Ok("its place was taken, or it left".to_owned());
            };
            if ready.is_empty() {
                break;
            }
            for packet in ready {
                timeout(PATIENCE, packets.feed(packet)).await.map_err(|_| "it reads nothing".to_owned())?.map_err(words)?;
            }
        }
        timeout(PATIENCE, packets.flush()).await.map_err(|_| "it reads nothing".to_owned())?.map_err(words)?;
        let reads = house.with(|sessions| sessions.may_read(*number));
        tokio::select! {
            arrived = packets.next(), if reads => {
                hear(arrived, &mut packets, present, sender).await?;
                end = Instant::now() + *silence;
            }
            () = bell.notified() => {}
            () = sleep_until(end), if reads => return Ok("its keep-alive is over".to_owned()),
        }
        if !reads {
            // Not listened to, it cannot be late.
            end = Instant::now() + *silence;
        }
    }
}

/// What came, and what came with it. Where the worker has much to do, this waits, and so does the client.
async fn hear(
    first: Option<Result<Packet, MqttError>>,
    packets: &mut Packets,
    present: &Present,
    sender: &mpsc::Sender<Arrived>,
) -> Result<(), Reason> {
    let (mut next, mut count) = (Some(first), 0);
    while let Some(arrived) = next.take() {
        let packet = arrived.ok_or("it ended the connection")?.map_err(words)?;
        match present.house.with(|sessions| sessions.handle(present.number, packet))? {
            Said::House(publish) => {
                let message = Message { publish, from: present.number, _room: None };
                sender.send(Arrived::Message(message)).await.map_err(|_| "edgehub stops")?;
            }
            Said::Done => {}
        }
        count += 1;
        if count < TOGETHER && present.house.with(|sessions| sessions.may_read(present.number)) {
            next = packets.next().now_or_never();
        }
    }
    Ok(())
}

async fn send(packets: &mut Packets, packet: Packet) -> Result<(), Reason> {
    timeout(PATIENCE, packets.send(packet)).await.map_err(|_| "it reads nothing".to_owned())?.map_err(words)
}

fn words(error: MqttError) -> Reason {
    error.to_string()
}
