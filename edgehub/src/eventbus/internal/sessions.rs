//! Who is there, who hears what, and what waits for whom: the broker without its sockets.
//!
//! Packets in, packets out; a connection's task asks with [`Sessions::take`] what to send, and is woken by being
//! named in [`Sessions::rung`]. Everything is in memory, within the bounds of `limits`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, LastWill, PubAck, PubComp, PubRec, PubRel, SubAck, Subscribe, SubscribeReasonCode, UnsubAck,
};
use rumqttc::{Packet, Publish, QoS};

use super::filter::{fits, is_filter, is_topic};
use super::limits::{
    CONNECTIONS, FILTERS, INFLIGHT, NAME_BYTES, RETAINED, RETAINED_BYTES, SESSIONS, UNACKNOWLEDGED, WAITING, WAITING_BYTES,
};

/// The broker's whole state.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// Who is there.
    connections: BTreeMap<u64, Connection>,
    /// Everybody by client id, also those who will come back.
    clients: BTreeMap<String, Client>,
    retained: BTreeMap<String, (QoS, Bytes)>,
    retained_bytes: usize,
    waiting_bytes: usize,
    /// Connections that have something to send, or to notice.
    rung: BTreeSet<u64>,
    /// Messages that no room was left for.
    dropped: u64,
    /// Counts connections and departures.
    next: u64,
}

/// A connection.
#[derive(Debug)]
struct Connection {
    client: String,
    will: Option<LastWill>,
    /// Answers that are no messages, in order.
    answers: Vec<Packet>,
    /// Messages of it in the order in which they came, with whether they may be acknowledged: in that order.
    received: VecDeque<(u16, QoS, bool)>,
}

/// A client's session.
#[derive(Debug, Default)]
struct Client {
    /// Where it is; none: it will come back.
    connection: Option<u64>,
    /// Whether its session ends with its connection.
    clean: bool,
    filters: BTreeMap<String, QoS>,
    /// What waits for it.
    waiting: VecDeque<Publish>,
    /// What it has not acknowledged, in the order of sending.
    inflight: VecDeque<Publish>,
    last_number: u16,
    /// Numbers of its messages at QoS 2 that it has not released.
    unreleased: BTreeSet<u16>,
    /// When it left.
    left: u64,
}

/// What a packet of a client means to others.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing, or it is done.
    Done,
    /// It is edgehub's own, who acknowledges it.
    House(Publish),
}

/// Why a connection is ended.
pub(super) type Wrong = &'static str;

fn size(publish: &Publish) -> usize {
    publish.topic.len() + publish.payload.len() + 64
}

/// A topic that edgehub itself listens to.
fn is_house(topic: &str) -> bool {
    devicetwin::topic::parse(topic).is_some()
}

impl Sessions {
    /// Somebody connects, who is who he says. His number, and the answer.
    ///
    /// # Errors
    /// The answer that refuses him.
    pub(super) fn connect(&mut self, connect: Connect) -> Result<(u64, ConnAck), ConnAck> {
        let refuse = |code| Err(ConnAck::new(code, false));
        let Connect { client_id, clean_session, last_will, .. } = connect;
        self.next += 1;
        let number = self.next;
        let client_id = match client_id.as_str() {
            "" if !clean_session => return refuse(ConnectReturnCode::BadClientId),
            "" => format!("nameless-{number}"),
            _ => client_id,
        };
        let will_fits = last_will.as_ref().is_none_or(|will| is_topic(&will.topic));
        if client_id.len() > NAME_BYTES || !will_fits {
            return refuse(ConnectReturnCode::BadClientId);
        }
        if let Some(old) = self.clients.get(&client_id).and_then(|client| client.connection) {
            self.gone(old, false);
        }
        if self.connections.len() >= CONNECTIONS {
            return refuse(ConnectReturnCode::ServiceUnavailable);
        }
        if clean_session {
            self.forget(&client_id);
        }
        let present = self.clients.contains_key(&client_id);
        let client = self.clients.entry(client_id.clone()).or_default();
        (client.connection, client.clean) = (Some(number), clean_session);
        // What it did not acknowledge comes again, before what is new.
        let again: Vec<Publish> = client.inflight.drain(..).collect();
        for mut publish in again.into_iter().rev() {
            publish.dup = true;
            client.waiting.push_front(publish);
        }
        let connection = Connection { client: client_id, will: last_will, answers: Vec::new(), received: VecDeque::new() };
        self.connections.insert(number, connection);
        self.rung.insert(number);
        self.evict();
        Ok((number, ConnAck::new(ConnectReturnCode::Success, present)))
    }

    /// A connection has ended; politely: its will is not said. Its session stays where it is to.
    pub(super) fn gone(&mut self, number: u64, politely: bool) {
        let Some(connection) = self.connections.remove(&number) else { return };
        // Its task ends.
        self.rung.insert(number);
        self.next += 1;
        let left = self.next;
        let ends = match self.clients.get_mut(&connection.client) {
            Some(client) => {
                (client.connection, client.left) = (None, left);
                client.clean
            }
            None => false,
        };
        if ends {
            self.forget(&connection.client);
        }
        if let Some(will) = connection.will.filter(|_| !politely) {
            let LastWill { topic, message, qos, retain } = will;
            let mut publish = Publish::from_bytes(topic, qos, message);
            publish.retain = retain;
            self.spread(publish);
        }
    }

    /// Everybody whose messages wait for an acknowledgement has to say them again, in a new connection.
    pub(super) fn drop_unacknowledged(&mut self) {
        let waits = |connection: &Connection| !connection.received.is_empty();
        let all: Vec<u64> = self.connections.iter().filter(|(_, one)| waits(one)).map(|(number, _)| *number).collect();
        all.into_iter().for_each(|number| self.gone(number, false));
    }

    fn forget(&mut self, client_id: &str) {
        if let Some(client) = self.clients.remove(client_id) {
            self.waiting_bytes -= client.waiting.iter().chain(&client.inflight).map(size).sum::<usize>();
        }
    }

    /// Those who left first are not waited for when there are too many of them.
    fn evict(&mut self) {
        while self.away() > SESSIONS {
            let first = self.clients.iter().filter(|(_, client)| client.connection.is_none()).min_by_key(|(_, client)| client.left);
            let Some(first) = first.map(|(name, _)| name.clone()) else { return };
            self.forget(&first);
        }
    }

    /// Whether more of this connection is to be read.
    pub(super) fn may_read(&self, number: u64) -> bool {
        self.connections.get(&number).is_some_and(|connection| connection.received.len() < UNACKNOWLEDGED)
    }

    /// A packet of a client.
    ///
    /// # Errors
    /// [`Wrong`]: the connection is to be ended.
    pub(super) fn handle(&mut self, number: u64, packet: Packet) -> Result<Said, Wrong> {
        let Some(connection) = self.connections.get_mut(&number) else { return Err("another connection took its place") };
        let Some(client) = self.clients.get_mut(&connection.client) else { return Err("its session is gone") };
        match packet {
            Packet::Publish(publish) => return self.published(number, publish),
            Packet::PubAck(PubAck { pkid }) | Packet::PubComp(PubComp { pkid }) => {
                if let Some(at) = client.inflight.iter().position(|publish| publish.pkid == pkid)
                    && let Some(publish) = client.inflight.remove(at)
                {
                    self.waiting_bytes -= size(&publish);
                }
            }
            Packet::PubRel(PubRel { pkid }) => {
                client.unreleased.remove(&pkid);
                connection.answers.push(Packet::PubComp(PubComp { pkid }));
            }
            Packet::Subscribe(subscribe) => return self.subscribe(number, subscribe),
            Packet::Unsubscribe(unsubscribe) => {
                client.filters.retain(|filter, _| !unsubscribe.topics.contains(filter));
                connection.answers.push(Packet::UnsubAck(UnsubAck { pkid: unsubscribe.pkid }));
            }
            Packet::PingReq => connection.answers.push(Packet::PingResp),
            Packet::Disconnect => {
                connection.will = None;
                self.gone(number, true);
                return Err("it said goodbye");
            }
            // Nothing is sent at QoS 2, so nothing of it is answered.
            Packet::PubRec(_) => return Err("it received what was never sent"),
            _ => return Err("a client does not send this"),
        }
        self.rung.insert(number);
        Ok(Said::Done)
    }

    fn published(&mut self, number: u64, publish: Publish) -> Result<Said, Wrong> {
        if !is_topic(&publish.topic) {
            return Err("that is no topic to publish to");
        }
        let Some(connection) = self.connections.get_mut(&number) else { return Ok(Said::Done) };
        let house = is_house(&publish.topic);
        let mut again = false;
        if publish.qos == QoS::ExactlyOnce
            && let Some(client) = self.clients.get_mut(&connection.client)
        {
            again = !client.unreleased.insert(publish.pkid);
            if client.unreleased.len() > WAITING {
                return Err("it releases none of its messages at QoS 2");
            }
        }
        // Repeated in one connection although it is being kept: one acknowledgement is enough.
        let kept = connection.received.iter().any(|(pkid, qos, done)| *pkid == publish.pkid && *qos == publish.qos && !done);
        if publish.qos != QoS::AtMostOnce && !kept {
            connection.received.push_back((publish.pkid, publish.qos, !house || again));
        }
        self.rung.insert(number);
        if again || (kept && publish.qos != QoS::AtMostOnce) {
            return Ok(Said::Done);
        }
        self.spread(publish.clone());
        Ok(if house { Said::House(publish) } else { Said::Done })
    }

    /// edgehub has kept a message of its own topics.
    pub(super) fn acknowledge(&mut self, number: u64, publish: &Publish) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if let Some(entry) = connection.received.iter_mut().find(|entry| entry.0 == publish.pkid && entry.1 == publish.qos && !entry.2) {
            entry.2 = true;
            self.rung.insert(number);
        }
    }

    fn subscribe(&mut self, number: u64, subscribe: Subscribe) -> Result<Said, Wrong> {
        let Some(connection) = self.connections.get_mut(&number) else { return Ok(Said::Done) };
        let Some(client) = self.clients.get_mut(&connection.client) else { return Ok(Said::Done) };
        let (mut codes, mut new) = (Vec::new(), Vec::new());
        for filter in subscribe.filters {
            let room = client.filters.len() < FILTERS || client.filters.contains_key(&filter.path);
            if !room || !is_filter(&filter.path) {
                codes.push(SubscribeReasonCode::Failure);
                continue;
            }
            // Nothing is sent at QoS 2: a client has to be able to take a repetition.
            let qos = if filter.qos == QoS::AtMostOnce { QoS::AtMostOnce } else { QoS::AtLeastOnce };
            client.filters.insert(filter.path.clone(), qos);
            codes.push(SubscribeReasonCode::Success(qos));
            new.push((filter.path, qos));
        }
        connection.answers.push(Packet::SubAck(SubAck::new(subscribe.pkid, codes)));
        let name = connection.client.clone();
        for (filter, qos) in new {
            let kept: Vec<Publish> =
                self.retained.iter().filter(|(topic, _)| fits(topic, &filter)).map(|(topic, kept)| retained(topic, kept, qos)).collect();
            kept.into_iter().for_each(|publish| self.queue(&name, publish));
        }
        self.rung.insert(number);
        Ok(Said::Done)
    }

    /// A message goes to everybody who wants it.
    pub(super) fn spread(&mut self, mut publish: Publish) {
        if publish.retain {
            self.retain(&publish);
        }
        (publish.retain, publish.dup, publish.pkid) = (false, false, 0);
        let mut wanted = Vec::new();
        for (name, client) in &self.clients {
            let qos = client.filters.iter().filter(|(filter, _)| fits(&publish.topic, filter)).map(|(_, qos)| *qos as u8).max();
            match qos {
                Some(0) => wanted.push((name.clone(), QoS::AtMostOnce)),
                Some(_) => wanted.push((name.clone(), if publish.qos == QoS::AtMostOnce { QoS::AtMostOnce } else { QoS::AtLeastOnce })),
                None => {}
            }
        }
        for (name, qos) in wanted {
            self.queue(&name, Publish { qos, ..publish.clone() });
        }
    }

    fn retain(&mut self, publish: &Publish) {
        let bytes = |topic: &str, payload: &Bytes| topic.len() + payload.len();
        if let Some((_, old)) = self.retained.remove(&publish.topic) {
            self.retained_bytes -= bytes(&publish.topic, &old);
        }
        // An empty one takes the old one away.
        if publish.payload.is_empty() {
            return;
        }
        let new = bytes(&publish.topic, &publish.payload);
        if self.retained.len() >= RETAINED || self.retained_bytes + new > RETAINED_BYTES {
            self.dropped += 1;
            return;
        }
        self.retained_bytes += new;
        // A copy of its own: what was read holds on to the whole packet.
        let payload = Bytes::copy_from_slice(&publish.payload);
        self.retained.insert(publish.topic.clone(), (publish.qos, payload));
    }

    fn queue(&mut self, name: &str, publish: Publish) {
        let Some(client) = self.clients.get_mut(name) else { return };
        let lost = client.connection.is_none() && publish.qos == QoS::AtMostOnce;
        if lost {
            return;
        }
        let bytes = size(&publish);
        if client.waiting.len() + client.inflight.len() >= WAITING || self.waiting_bytes + bytes > WAITING_BYTES {
            self.dropped += 1;
            return;
        }
        self.waiting_bytes += bytes;
        client.waiting.push_back(publish);
        self.rung.extend(client.connection);
    }

    /// What is to be sent now; none: the connection is to be ended.
    pub(super) fn take(&mut self, number: u64) -> Option<Vec<Packet>> {
        let connection = self.connections.get_mut(&number)?;
        let client = self.clients.get_mut(&connection.client)?;
        let mut packets = std::mem::take(&mut connection.answers);
        while let Some((pkid, qos, true)) = connection.received.front().copied() {
            connection.received.pop_front();
            packets.push(match qos {
                QoS::ExactlyOnce => Packet::PubRec(PubRec { pkid }),
                _ => Packet::PubAck(PubAck { pkid }),
            });
        }
        while client.inflight.len() < INFLIGHT {
            let Some(mut publish) = client.waiting.pop_front() else { break };
            if publish.qos == QoS::AtMostOnce {
                self.waiting_bytes -= size(&publish);
                packets.push(Packet::Publish(publish));
                if packets.len() >= WAITING {
                    break;
                }
                continue;
            }
            if publish.pkid == 0 {
                publish.pkid = client.number();
            }
            packets.push(Packet::Publish(publish.clone()));
            client.inflight.push_back(publish);
        }
        Some(packets)
    }

    /// Who has something to do since this was asked last.
    pub(super) fn rung(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.rung)
    }

    /// Clients that are there, and messages that no room was left for.
    pub(super) fn counts(&self) -> (usize, u64) {
        (self.connections.len(), self.dropped)
    }

    /// Sessions that are kept for others.
    pub(super) fn away(&self) -> usize {
        self.clients.values().filter(|client| client.connection.is_none()).count()
    }
}

impl Client {
    /// A number that nothing on its way has.
    fn number(&mut self) -> u16 {
        loop {
            self.last_number = self.last_number.checked_add(1).unwrap_or(1);
            let number = self.last_number;
            if !self.inflight.iter().chain(&self.waiting).any(|publish| publish.pkid == number) {
                return number;
            }
        }
    }
}

fn retained(topic: &str, (kept, payload): &(QoS, Bytes), wanted: QoS) -> Publish {
    let least = (*kept as u8).min(wanted as u8);
    let qos = if least == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
    Publish { retain: true, ..Publish::from_bytes(topic, qos, payload.clone()) }
}
