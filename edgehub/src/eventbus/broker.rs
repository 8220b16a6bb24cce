//! The connection to a broker beside edgehub: MQTT 3.1.1, a session that the broker keeps, and messages that are acknowledged when
//! the database has them.
//!
//! rumqttc has the packets and the state of a session. The connection itself is ours: its TLS is the project's own (one rustls, the
//! clock of certificates of a machine that boots in 1970), and everything that may be written goes out with one flush.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use rumqttc::mqttbytes::v4::{Codec, Connect, ConnectReturnCode, Login, SubscribeReasonCode};
use rumqttc::{
    Disconnect, Event, MqttState, Packet, PingReq, PubAck, PubRec, Publish, QoS, Request, StateError, Subscribe, SubscribeFilter,
};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::codec::Framed;
use transport::tls::{CertificateClock, TlsProblem, broker_client_config};

use super::trouble::Trouble;
use super::way::{Arrived, Message, Way};
use crate::config::{Broker, MqttConfig, Unusable};

/// Largest packet that is taken, bytes: the largest payload, its topic and what is around them.
pub(super) const PACKET_BYTES: usize = devicetwin::limits::PAYLOAD_BYTES + 128 * 1024;
/// Messages of ours that wait for the broker's acknowledgement.
const INFLIGHT: u16 = 1_000;
/// Messages and acknowledgements that wait for the connection: MQTT has 65,535 numbers for what can wait for one.
const REQUESTS: usize = 65_536;
/// Messages that wait for the worker: the connection is not read while they do.
pub(super) const WAITING: usize = 1_024;
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
    let tcp = timeout(PATIENCE, open(broker)).await.map_err(|_| Trouble::Silent("connecting"))??;
    let _ = tcp.set_nodelay(true);
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

/// What waits for the connection.
#[derive(Clone)]
pub(super) struct Requests {
    messages: mpsc::Sender<Request>,
    acknowledgements: mpsc::Sender<Request>,
}

impl Requests {
    /// Asks for what devices say.
    pub(super) fn subscribe(&self) -> bool {
        let filters = devicetwin::topic::SUBSCRIPTIONS.map(|topic| SubscribeFilter::new(topic.to_owned(), QoS::AtLeastOnce));
        self.messages.try_send(Request::Subscribe(Subscribe::new_many(filters))).is_ok()
    }

    /// Hands over a message; false: too many wait.
    pub(super) fn publish(&self, message: devicetwin::outgoing::Message) -> bool {
        let publish = Publish::new(message.topic, QoS::AtLeastOnce, message.payload);
        self.messages.try_send(Request::Publish(publish)).is_ok()
    }

    /// The database has what the message said, or it was answered why not.
    pub(super) fn acknowledge(&self, message: &Publish) {
        let acknowledgement = match message.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => Request::PubAck(PubAck::new(message.pkid)),
            QoS::ExactlyOnce => Request::PubRec(PubRec::new(message.pkid)),
        };
        // Where there is no room for it the broker sends the message again, and that does no harm.
        let _ = self.acknowledgements.try_send(acknowledgement);
    }

    /// Says goodbye; the broker keeps the session.
    pub(super) fn disconnect(&self) {
        let _ = self.messages.try_send(Request::Disconnect(Disconnect));
    }
}

/// Begins to connect. What arrives comes through the channel, until it is dropped.
pub(super) fn connect(
    config: &MqttConfig,
    client_id: String,
    clock: CertificateClock,
) -> (Way, mpsc::Receiver<Arrived>, impl Future<Output = ()> + Send + use<>) {
    let (messages, waiting) = mpsc::channel(REQUESTS);
    let (acknowledgements, acknowledged) = mpsc::channel(REQUESTS);
    let (sender, arrived) = mpsc::channel(WAITING);
    let session = Session { state: MqttState::new(INFLIGHT, true), pending: VecDeque::new(), waiting, acknowledged, sender };
    let way = Way::External(Requests { messages, acknowledgements });
    (way, arrived, session.carry(config.clone(), client_id, clock))
}

/// What outlives a connection.
struct Session {
    state: MqttState,
    /// What has to be said again: it was not acknowledged.
    pending: VecDeque<Request>,
    waiting: mpsc::Receiver<Request>,
    acknowledged: mpsc::Receiver<Request>,
    sender: mpsc::Sender<Arrived>,
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
                Ok(broker) => match dial(&broker, &client_id, false, &clock).await {
                    Err(trouble) => trouble,
                    Ok((packets, kept)) => {
                        if !kept {
                            // Who begins anew knows nothing of what was said before; everything is told again.
                            self.pending.clear();
                        }
                        if self.sender.send(Arrived::Up { kept: Some(kept) }).await.is_err() {
                            return;
                        }
                        pause = PAUSES.0;
                        match self.exchange(packets).await {
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
        let unacknowledged = self.state.clean();
        unacknowledged.into_iter().rev().for_each(|request| self.pending.push_front(request));
        self.state.events.clear();
        self.state.collision = None;
        while self.acknowledged.try_recv().is_ok() {}
        self.pending.retain(|request| matches!(request, Request::Publish(_) | Request::PubRel(_)));
    }

    async fn exchange(&mut self, mut packets: Packets) -> Over {
        let mut ping = interval_at(tokio::time::Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let turn = async {
                self.write(&mut packets).await?;
                self.deliver().await?;
                let room = self.has_room();
                tokio::select! {
                    arrived = packets.next() => {
                        self.read(arrived, &mut packets).await?;
                        self.deliver().await
                    }
                    Some(request) = self.waiting.recv(), if room => {
                        self.pending.push_back(request);
                        Ok(())
                    }
                    Some(request) = self.acknowledged.recv() => {
                        self.feed(request, &mut packets).await
                    }
                    _ = ping.tick() => {
                        self.feed(Request::PingReq(PingReq), &mut packets).await
                    }
                }
            };
            if let Err(over) = turn.await {
                return over;
            }
        }
    }

    fn has_room(&self) -> bool {
        self.state.inflight() < INFLIGHT && self.state.collision.is_none()
    }

    /// Everything that may be said now: acknowledgements first, and all with one flush.
    async fn write(&mut self, packets: &mut Packets) -> Result<(), Over> {
        for _ in 0..TOGETHER {
            let Ok(request) = self.acknowledged.try_recv() else { break };
            self.feed(request, packets).await?;
        }
        for _ in 0..TOGETHER {
            if !self.has_room() {
                break;
            }
            let Some(request) = self.pending.pop_front().or_else(|| self.waiting.try_recv().ok()) else { break };
            let last = matches!(request, Request::Disconnect(_));
            self.feed(request, packets).await?;
            if last {
                let _ = timeout(PATIENCE, packets.flush()).await;
                return Err(Over::Unheard);
            }
        }
        timeout(PATIENCE, packets.flush()).await.map_err(|_| Trouble::Silent("writing"))?.map_err(|error| lost(&error))
    }

    async fn feed(&mut self, request: Request, packets: &mut Packets) -> Result<(), Over> {
        let Some(packet) = self.state.handle_outgoing_packet(request)? else { return Ok(()) };
        timeout(PATIENCE, packets.feed(packet)).await.map_err(|_| Trouble::Silent("writing"))?.map_err(|error| lost(&error))
    }

    /// What came, and what came with it.
    async fn read(&mut self, first: Option<Result<Packet, rumqttc::mqttbytes::Error>>, packets: &mut Packets) -> Result<(), Over> {
        let (mut next, mut count) = (Some(first), 0);
        while let Some(arrived) = next.take() {
            let packet = arrived.ok_or(Trouble::Lost("the broker ended the connection".to_owned()))?.map_err(|error| lost(&error))?;
            if let Packet::SubAck(answer) = &packet
                && answer.return_codes.contains(&SubscribeReasonCode::Failure)
            {
                return Err(Trouble::NoSubscription.into());
            }
            if let Some(answer) = self.state.handle_incoming_packet(packet)? {
                timeout(PATIENCE, packets.feed(answer)).await.map_err(|_| Trouble::Silent("writing"))?.map_err(|error| lost(&error))?;
            }
            count += 1;
            if count < TOGETHER {
                next = packets.next().now_or_never();
            }
        }
        Ok(())
    }

    async fn deliver(&mut self) -> Result<(), Over> {
        while let Some(event) = self.state.events.pop_front() {
            if let Event::Incoming(Packet::Publish(publish)) = event {
                let message = Arrived::Message(Message { publish, from: None });
                self.sender.send(message).await.map_err(|_| Over::Unheard)?;
            }
        }
        Ok(())
    }
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
