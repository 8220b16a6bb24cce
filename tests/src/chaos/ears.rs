//! What a device hears: one connection to its broker, by hand, so that nothing stands between what the broker says and who listens.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::Error as Wire;
use rumqttc::mqttbytes::v4::{Connect, Packet, PubAck, Publish, Subscribe, SubscribeFilter};
use rumqttc::{ConnectReturnCode, QoS};

use crate::mosquitto::dial;

/// How long it listens at once.
const LISTENS: Duration = Duration::from_millis(300);
/// The longest packet either way.
const PACKET_BYTES: usize = 1 << 20;

/// One connection.
pub(super) struct Ears {
    stream: TcpStream,
    read: BytesMut,
}

impl Ears {
    /// Connects under a name, and subscribes.
    pub(super) fn open(broker: SocketAddr, name: &str, topics: &[String]) -> io::Result<Self> {
        let stream = dial(broker)?;
        stream.set_read_timeout(Some(LISTENS))?;
        let mut ears = Self { stream, read: BytesMut::new() };
        // Nothing is said for as long as nothing changes.
        ears.write(&Packet::Connect(Connect { keep_alive: 0, ..Connect::new(name) }))?;
        let filters = topics.iter().map(|topic| SubscribeFilter::new(topic.clone(), QoS::AtLeastOnce)).collect();
        ears.write(&Packet::Subscribe(Subscribe { pkid: 1, filters }))?;
        Ok(ears)
    }

    /// Says something that nobody acknowledges.
    pub(super) fn say(&mut self, topic: &str, payload: &str) -> io::Result<()> {
        self.write(&Packet::Publish(Publish::new(topic, QoS::AtMostOnce, payload)))
    }

    /// The next message; none: there was none for a moment.
    pub(super) fn next(&mut self) -> io::Result<Option<Publish>> {
        loop {
            match Packet::read(&mut self.read, PACKET_BYTES) {
                Ok(Packet::ConnAck(answer)) if answer.code != ConnectReturnCode::Success => {
                    return Err(io::Error::other(format!("{:?}", answer.code)));
                }
                Ok(Packet::Publish(message)) => {
                    if message.qos == QoS::AtLeastOnce {
                        self.write(&Packet::PubAck(PubAck::new(message.pkid)))?;
                    }
                    return Ok(Some(message));
                }
                Ok(_) => {}
                Err(Wire::InsufficientBytes(_)) => {
                    if !self.more()? {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    /// Whether more has come.
    fn more(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 8_192];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.read.extend_from_slice(&bytes[..count]);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, packet: &Packet) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, PACKET_BYTES).map_err(io::Error::other)?;
        self.stream.write_all(&bytes)
    }
}
