//! The way to a broker beside edgehub: MQTT 3.1.1, a session that the broker keeps, and messages that are acknowledged when the database
//! has them.
//!
//! It is two connections (decision 0019): one hears what devices say, and is not read while there is enough to do, so that the broker
//! keeps it; one speaks, and is always read, because what was said is acknowledged there.
//!
//! rumqttc has the packets and the state of a session. The connections themselves are ours: their TLS is the project's own (one rustls,
//! the clock of certificates of a machine that boots in 1970), and everything that may be written goes out with one flush.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use rumqttc::mqttbytes::v4::{Codec, Connect, ConnectReturnCode, Login, SubscribeReasonCode};
use rumqttc::{
    Disconnect, Event, MqttState, Packet, PingReq, PubAck, PubRec, Publish, QoS, Request, StateError, Subscribe, SubscribeFilter,
};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::codec::Framed;
use transport::tls::{CertificateClock, TlsProblem, broker_client_config};

use super::inward::Inward;
use super::limits::{ACKNOWLEDGEMENTS, AROUND, INFLIGHT, INWARD_BYTES, OUTWARD, OUTWARD_BYTES, WAITING};
use super::prompt::Prompt;
use super::trouble::Trouble;
use super::way::{Arrived, Message, Way};
use crate::config::{Broker, MqttConfig, Unusable};

/// Largest packet that is taken, bytes: the largest payload, its topic and what is around them.
pub(super) const PACKET_BYTES: usize = devicetwin::limits::PAYLOAD_BYTES + 128 * 1024;
/// Packets that are read, or written, before the other direction has its turn.
const TOGETHER: usize = 256;
/// The broker hears of us this often.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long connecting, the first answer, and writing may each take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause before the next connection: from, to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// What bytes go over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An MQTT connection.
pub(crate) type Packets = Framed<Box<dyn Stream>, Codec>;

/// Connects and says who this is; the connection, and whether the broker has kept a session of this client.
///
/// # Errors
/// [`Trouble`], whatever the broker's or the network's answer was.
pub(crate) async fn dial(broker: &Broker, client_id: &str, clean: bool, clock: &CertificateClock) -> Result<(Packets, bool), Trouble> {
    let tcp = Prompt::new(timeout(PATIENCE, open(broker)).await.map_err(|_| Trouble::Silent("connecting"))??);
    let stream: Box<dyn Stream> = match &broker.tls {
        None => Box::new(tcp),
        Some(tls) => {
            let unusable = |why: String| Trouble::Config(Unusable { key: "mqtt.ca", why });
            let config = broker_client_config(tls.own.as_ref(), &tls.cas, clock.clone()).map_err(|error| unusable(error.to_string()))?;
            let name = ServerName::try_from(broker.host.clone()).map_err(|error| Trouble::Unresolved(error.to_string()))?;
            let shaking = TlsConnector::from(config).connect(name, tcp);
            let shaken = timeout(PATIENCE, shaking).await.map_err(|_| Trouble::Silent("TLS handshake"))?;
            Box::new(shaken.map_err(|error| match Trouble::of(&error) {
                // It did not understand the first bytes.
                Trouble::Closed => Trouble::Tls(TlsProblem::NotTls),
                other => other,
            })?)
        }
    };
    let mut packets = Framed::new(stream, Codec { max_incoming_size: PACKET_BYTES, max_outgoing_size: 4 * PACKET_BYTES });
    let login = broker.user.as_ref().map(|user| Login::new(user.name.clone(), user.password.clone()));
    let keep_alive = KEEP_ALIVE.as_secs() as u16;
    let connect = Connect { keep_alive, clean_session: clean, login, ..Connect::new(client_id) };
    let greeting = async {
        packets.send(Packet::Connect(connect)).await.map_err(|error| Trouble::of_mqtt(&error))?;
        packets
            .next()
            .await
            .unwrap_or(Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()))
            .map_err(|e| Trouble::of_mqtt(&e))
    };
    match timeout(PATIENCE, greeting).await.map_err(|_| Trouble::Silent("the answer to CONNECT"))?? {
        Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success => Ok((packets, answer.session_present)),
        Packet::ConnAck(answer) => Err(Trouble::Denied(answer.code)),
        _ => Err(Trouble::Foreign("it answers CONNECT with another packet than CONNACK".to_owned())),
    }
}

async fn open(broker: &Broker) -> Result<TcpStream, Trouble> {
    let found = tokio::net::lookup_host((broker.host.as_str(), broker.port)).await;
    let addresses: Vec<_> = found.map_err(|error| Trouble::Unresolved(error.to_string()))?.collect();
    TcpStream::connect(addresses.as_slice()).await.map_err(|error| Trouble::of(&error))
}

/// A message for the broker, with the room that it takes until the broker has acknowledged it.
type Outgoing = (Request, Option<OwnedSemaphorePermit>);

/// What waits for the connection.
#[derive(Clone)]
pub(super) struct Requests {
    messages: mpsc::Sender<Outgoing>,
    /// With the connection that each belongs to: its numbers mean nothing in the next one.
    acknowledgements: mpsc::Sender<(u64, Request)>,
    room: Arc<Semaphore>,
    up: watch::Receiver<bool>,
}

impl Requests {
    /// Asks for what devices say. False: the broker went away.
    pub(super) async fn subscribe(&self) -> bool {
        let filters = devicetwin::topic::SUBSCRIPTIONS.map(|topic| SubscribeFilter::new(topic.to_owned(), QoS::AtLeastOnce));
        self.hand_over(Request::Subscribe(Subscribe::new_many(filters)), AROUND).await
    }

    /// Hands over a message, when there is room for it. False: the broker went away before there was.
    pub(super) async fn publish(&self, message: devicetwin::outgoing::Message) -> bool {
        let bytes = message.topic.len() + message.payload.len() + AROUND;
        let publish = Publish::new(message.topic, QoS::AtLeastOnce, message.payload);
        self.hand_over(Request::Publish(publish), bytes).await
    }

    async fn hand_over(&self, request: Request, bytes: usize) -> bool {
        let bytes = u32::try_from(bytes.min(OUTWARD_BYTES)).unwrap_or(u32::MAX);
        let handing = async {
            let permit = Arc::clone(&self.room).acquire_many_owned(bytes).await.ok()?;
            self.messages.send((request, Some(permit))).await.ok()
        };
        let mut up = self.up.clone();
        tokio::select! {
            biased;
            handed = handing => handed.is_some(),
            // Nobody makes room.
            _ = up.wait_for(|up| !up) => false,
        }
    }

    /// The database has what the message said, or it was answered why not.
    pub(super) fn acknowledge(&self, connection: u64, message: &Publish) {
        let acknowledgement = match message.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => Request::PubAck(PubAck::new(message.pkid)),
            QoS::ExactlyOnce => Request::PubRec(PubRec::new(message.pkid)),
        };
        // As many as MQTT has numbers for.
        let _ = self.acknowledgements.try_send((connection, acknowledgement));
    }

    /// Says goodbye, behind what waits where there is room for it; the broker keeps the session.
    pub(super) fn disconnect(&self) {
        if self.messages.try_send((Request::Disconnect(Disconnect), None)).is_err() {
            let _ = self.acknowledgements.try_send((GOODBYE, Request::Disconnect(Disconnect)));
        }
    }
}

/// Begins to connect. What arrives comes through the channel, until it is dropped.
pub(super) fn connect(
    config: &MqttConfig,
    client_id: String,
    clock: CertificateClock,
) -> (Way, mpsc::Receiver<Arrived>, impl Future<Output = ()> + Send + use<>) {
    let (messages, waiting) = mpsc::channel(OUTWARD);
    let (acknowledgements, acknowledged) = mpsc::channel(ACKNOWLEDGEMENTS);
    let (sender, arrived) = mpsc::channel(WAITING);
    let (is_up, up) = watch::channel(false);
    let session = Session {
        hears: MqttState::new(HEARING, true),
        says: MqttState::new(INFLIGHT, true),
        pending: VecDeque::new(),
        held: BTreeMap::new(),
        waiting,
        acknowledged,
        backlog: VecDeque::new(),
        inward: Arc::default(),
        sender,
        connection: GOODBYE,
        is_up,
    };
    let way = Way::External(Requests { messages, acknowledgements, room: Arc::new(Semaphore::new(OUTWARD_BYTES)), up });
    (way, arrived, session.carry(config.clone(), client_id, clock))
}

/// No connection's number.
const GOODBYE: u64 = 0;
/// What may wait for an acknowledgement on the connection that hears: subscriptions alone.
const HEARING: u16 = 8;

/// What a connection brings; none: it ended.
type Incoming = Option<Result<Packet, rumqttc::mqttbytes::Error>>;

/// What outlives connections.
struct Session {
    /// What devices say.
    hears: MqttState,
    /// What is said to them.
    says: MqttState,
    /// What has to be said again: it was not acknowledged.
    pending: VecDeque<Outgoing>,
    /// The room of what was said and is not acknowledged, by its number.
    held: BTreeMap<u16, OwnedSemaphorePermit>,
    waiting: mpsc::Receiver<Outgoing>,
    acknowledged: mpsc::Receiver<(u64, Request)>,
    /// What came and the worker has no place for yet.
    backlog: VecDeque<Message>,
    inward: Arc<Inward>,
    sender: mpsc::Sender<Arrived>,
    /// Counts connections.
    connection: u64,
    is_up: watch::Sender<bool>,
}

/// The two connections.
struct Lines {
    hears: Packets,
    says: Packets,
}

impl Lines {
    /// Both, or none; and whether the broker has kept the session in which devices are heard.
    async fn dial(broker: &Broker, client_id: &str, clock: &CertificateClock) -> Result<(Self, bool), Trouble> {
        // What was said and not acknowledged is said again by us: the broker needs to remember nothing of it.
        let (says, _) = dial(broker, &speaker_id(client_id), true, clock).await?;
        let (hears, kept) = dial(broker, client_id, false, clock).await?;
        Ok((Self { hears, says }, kept))
    }

    async fn flush(&mut self) -> Result<(), Over> {
        flush(&mut self.says).await?;
        flush(&mut self.hears).await
    }
}

/// The client id of the connection that speaks: that of no node, because no node has a dot in its name.
fn speaker_id(client_id: &str) -> String {
    format!("{client_id}.says")
}

async fn flush(packets: &mut Packets) -> Result<(), Over> {
    timeout(PATIENCE, packets.flush()).await.map_err(|_| Trouble::Silent("writing"))?.map_err(|error| lost(&error))
}

async fn feed(packets: &mut Packets, packet: Packet) -> Result<(), Over> {
    timeout(PATIENCE, packets.feed(packet)).await.map_err(|_| Trouble::Silent("writing"))?.map_err(|error| lost(&error))
}

/// A request in its packet, where it makes one.
async fn pass(state: &mut MqttState, packets: &mut Packets, request: Request) -> Result<(), Over> {
    match state.handle_outgoing_packet(request)? {
        Some(packet) => feed(packets, packet).await,
        None => Ok(()),
    }
}

/// Why a connection ended.
enum Over {
    /// Nobody listens any more.
    Unheard,
    Broken(Trouble),
}

impl From<Trouble> for Over {
    fn from(trouble: Trouble) -> Self {
        Self::Broken(trouble)
    }
}

impl From<StateError> for Over {
    fn from(error: StateError) -> Self {
        Self::Broken(Trouble::Lost(format!("the broker broke the rules of MQTT: {error}")))
    }
}

impl Session {
    async fn carry(mut self, config: MqttConfig, client_id: String, clock: CertificateClock) {
        let mut pause = PAUSES.0;
        loop {
            let trouble = match config.broker().map_err(Trouble::Config) {
                Err(trouble) => trouble,
                Ok(broker) => match Lines::dial(&broker, &client_id, &clock).await {
                    Err(trouble) => trouble,
                    Ok((lines, kept)) => {
                        if !kept {
                            // Who begins anew knows nothing of what was said before; everything is told again.
                            self.pending.clear();
                        }
                        self.connection += 1;
                        if self.sender.send(Arrived::Up { kept: Some(kept) }).await.is_err() {
                            return;
                        }
                        pause = PAUSES.0;
                        // Not before: the worker that waits for room hears nothing, and while it hears nothing there may be no place.
                        self.is_up.send_replace(true);
                        match self.exchange(lines).await {
                            Over::Unheard => return,
                            Over::Broken(trouble) => trouble,
                        }
                    }
                },
            };
            self.broken();
            if self.sender.send(Arrived::Down(trouble)).await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// What the broker did not acknowledge is said again in the next connection; what it was to be told is received comes again.
    fn broken(&mut self) {
        self.is_up.send_replace(false);
        for request in self.says.clean().into_iter().rev() {
            let held = match &request {
                Request::Publish(publish) => self.held.remove(&publish.pkid),
                _ => None,
            };
            self.pending.push_front((request, held));
        }
        self.held.clear();
        drop(self.hears.clean());
        for state in [&mut self.hears, &mut self.says] {
            state.events.clear();
            state.collision = None;
        }
        // It comes again where that is promised.
        self.backlog.retain(|message| message.publish.qos == QoS::AtMostOnce);
        self.pending.retain(|(request, _)| matches!(request, Request::Publish(_)));
    }

    async fn exchange(&mut self, mut lines: Lines) -> Over {
        let mut ping = interval_at(tokio::time::Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let turn = async {
                self.write(&mut lines).await?;
                self.deliver()?;
                let (room, reads, full) = (self.has_room(), self.reads(), !self.backlog.is_empty());
                tokio::select! {
                    arrived = lines.hears.next(), if reads => self.hear(arrived, &mut lines.hears).await,
                    arrived = lines.says.next() => self.confirmed(arrived, &mut lines.says).await,
                    place = async { self.sender.reserve().await.is_ok() }, if full => if place { Ok(()) } else { Err(Over::Unheard) },
                    () = self.inward.freed.notified(), if !reads => Ok(()),
                    Some(request) = self.waiting.recv(), if room => {
                        self.pending.push_back(request);
                        Ok(())
                    }
                    Some(acknowledgement) = self.acknowledged.recv() => self.confirm(acknowledgement, &mut lines).await,
                    _ = ping.tick() => self.ping(reads, &mut lines).await,
                }
            };
            if let Err(over) = turn.await {
                return over;
            }
        }
    }

    fn has_room(&self) -> bool {
        self.says.inflight() < INFLIGHT && self.says.collision.is_none()
    }

    /// Whether to read what devices say. Where the worker has enough to do it is better not to: the broker keeps it.
    fn reads(&self) -> bool {
        self.backlog.len() < TOGETHER && self.inward.bytes() < INWARD_BYTES
    }

    /// Everything that may be said now: acknowledgements first, and all with one flush.
    async fn write(&mut self, lines: &mut Lines) -> Result<(), Over> {
        for _ in 0..TOGETHER {
            let Ok(acknowledgement) = self.acknowledged.try_recv() else { break };
            self.confirm(acknowledgement, lines).await?;
        }
        for _ in 0..TOGETHER {
            if !self.has_room() {
                break;
            }
            let Some(request) = self.pending.pop_front().or_else(|| self.waiting.try_recv().ok()) else { break };
            self.say(request, lines).await?;
        }
        lines.flush().await
    }

    async fn say(&mut self, (request, held): Outgoing, lines: &mut Lines) -> Result<(), Over> {
        match request {
            Request::Disconnect(_) => self.goodbye(lines).await,
            Request::Subscribe(_) => pass(&mut self.hears, &mut lines.hears, request).await,
            request => {
                let Some(packet) = self.says.handle_outgoing_packet(request)? else { return Ok(()) };
                if let (Packet::Publish(publish), Some(held)) = (&packet, held) {
                    self.held.insert(publish.pkid, held);
                }
                feed(&mut lines.says, packet).await
            }
        }
    }

    /// Nothing comes behind it.
    async fn goodbye(&mut self, lines: &mut Lines) -> Result<(), Over> {
        for packets in [&mut lines.says, &mut lines.hears] {
            feed(packets, Packet::Disconnect).await?;
            let _ = flush(packets).await;
        }
        Err(Over::Unheard)
    }

    async fn ping(&mut self, reads: bool, lines: &mut Lines) -> Result<(), Over> {
        pass(&mut self.says, &mut lines.says, Request::PingReq(PingReq)).await?;
        match reads {
            true => pass(&mut self.hears, &mut lines.hears, Request::PingReq(PingReq)).await,
            // Where nothing is read no answer is awaited: the broker shall know that we are here.
            false => feed(&mut lines.hears, Packet::PingReq).await,
        }
    }

    /// Acknowledges what came in this connection: what came in another one comes again.
    async fn confirm(&mut self, (connection, acknowledgement): (u64, Request), lines: &mut Lines) -> Result<(), Over> {
        match acknowledgement {
            Request::Disconnect(_) => self.goodbye(lines).await,
            acknowledgement if connection == self.connection => pass(&mut self.hears, &mut lines.hears, acknowledgement).await,
            _ => Ok(()),
        }
    }

    /// What devices say, and what came with it.
    async fn hear(&mut self, first: Incoming, packets: &mut Packets) -> Result<(), Over> {
        let (mut next, mut count) = (Some(first), 0);
        while let Some(arrived) = next.take() {
            let packet = received(arrived)?;
            if let Packet::SubAck(answer) = &packet
                && answer.return_codes.contains(&SubscribeReasonCode::Failure)
            {
                return Err(Trouble::NoSubscription.into());
            }
            if let Some(answer) = self.hears.handle_incoming_packet(packet)? {
                feed(packets, answer).await?;
            }
            while let Some(event) = self.hears.events.pop_front() {
                let Event::Incoming(Packet::Publish(publish)) = event else { continue };
                let bytes = publish.topic.len() + publish.payload.len() + AROUND;
                self.backlog.push_back(Message { publish, from: self.connection, _room: Some(self.inward.hold(bytes)) });
            }
            count += 1;
            if count < TOGETHER && self.reads() {
                next = packets.next().now_or_never();
            }
        }
        Ok(())
    }

    /// What the broker acknowledges, and what came with it.
    async fn confirmed(&mut self, first: Incoming, packets: &mut Packets) -> Result<(), Over> {
        let (mut next, mut count) = (Some(first), 0);
        while let Some(arrived) = next.take() {
            let packet = received(arrived)?;
            if let Packet::PubAck(PubAck { pkid }) = &packet {
                self.held.remove(pkid);
            }
            if let Some(answer) = self.says.handle_incoming_packet(packet)? {
                feed(packets, answer).await?;
            }
            self.says.events.clear();
            count += 1;
            if count < TOGETHER {
                next = packets.next().now_or_never();
            }
        }
        Ok(())
    }

    /// As much of it as the worker has places for.
    fn deliver(&mut self) -> Result<(), Over> {
        while !self.backlog.is_empty() {
            match self.sender.try_reserve() {
                Ok(place) => {
                    if let Some(message) = self.backlog.pop_front() {
                        place.send(Arrived::Message(message));
                    }
                }
                Err(TrySendError::Full(())) => break,
                Err(TrySendError::Closed(())) => return Err(Over::Unheard),
            }
        }
        Ok(())
    }
}

fn received(arrived: Incoming) -> Result<Packet, Over> {
    let packet = arrived.ok_or(Trouble::Lost("the broker ended the connection".to_owned()))?;
    packet.map_err(|error| lost(&error))
}

fn lost(error: &rumqttc::mqttbytes::Error) -> Over {
    let trouble = match Trouble::of_mqtt(error) {
        Trouble::Closed => Trouble::Lost("the broker ended the connection".to_owned()),
        // Asked for a certificate after the handshake, as TLS 1.3 has it.
        tls @ Trouble::Tls(_) => tls,
        other => Trouble::Lost(other.to_string()),
    };
    Over::Broken(trouble)
}
