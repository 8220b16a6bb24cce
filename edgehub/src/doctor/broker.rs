//! The MQTT broker: whether it is reached, lets edgehub in, keeps its session, and has room for what comes while edgehub is away.
//!
//! It is asked under a name of its own, so that an edgehub that runs is not put out; and on topics that begin with `$`, which nobody
//! hears who listens to everything.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use api::shapes::{EdgeStatus, MqttState, MqttStatus};
use futures_util::{SinkExt, StreamExt};
use rumqttc::mqttbytes::v4::{Subscribe, SubscribeFilter, SubscribeReasonCode};
use rumqttc::{Packet, PubAck, Publish, QoS};
use tokio::time::timeout;
use transport::tls::CertificateClock;

use super::link::{Answer, Facts as Running};
use super::{Check, PATIENCE};
use crate::config::{Broker, MqttConfig};
use crate::eventbus::broker::{Packets, dial};
use crate::eventbus::client_id;
use crate::eventbus::trouble::Trouble;

const NAME: &str = "broker";

/// Messages that are said to somebody who is away: more than mosquitto keeps where nobody told it otherwise, which is 1,000.
const PROBES: u32 = 1_200;
/// What a broker says of itself comes at once, or not at all.
const AT_ONCE: Duration = Duration::from_secs(1);
const VERSION: &str = "$SYS/broker/version";
const DROPPED: &str = "$SYS/broker/publish/messages/dropped";
/// This many connections that did not last say that somebody else has the same name.
const MANY: u64 = 5;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Files with secrets, with their keys and who may read them; none: it is not there.
    pub(super) secrets: Vec<(&'static str, PathBuf, Option<u32>)>,
    /// What the broker beside edgehub did; none: there shall be none.
    pub(super) beside: Option<Result<Seen, Trouble>>,
}

/// What a broker let itself be asked.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    /// Its software.
    pub(super) version: Option<String>,
    /// Messages that it dropped since its start.
    pub(super) dropped: Option<u64>,
    /// Whether it knew a client again; none: it was not found out.
    pub(super) kept: Option<bool>,
    /// How many of [`PROBES`] it kept for one who was away.
    pub(super) held: Option<u32>,
}

impl Facts {
    pub(super) async fn read(config: &MqttConfig, node: Option<&str>, clock: &CertificateClock) -> Self {
        let mode = |path: &std::path::Path| std::fs::metadata(path).ok().map(|found| found.permissions().mode() & 0o777);
        let secrets = config.secrets().map(|(key, path)| (key, path.to_owned(), mode(path))).collect();
        if !config.mode.is_external() {
            return Self { secrets, beside: None };
        }
        let asked = match config.broker() {
            Err(unusable) => Err(Trouble::Config(unusable)),
            Ok(broker) => ask(&broker, node.unwrap_or("nobody"), clock).await,
        };
        Self { secrets, beside: Some(asked) }
    }
}

async fn ask(broker: &Broker, node: &str, clock: &CertificateClock) -> Result<Seen, Trouble> {
    let name = format!("edgehub-doctor-{node}-{}", std::process::id());
    let (mut packets, _) = dial(broker, &name, true, clock).await?;
    let mut seen = Seen::default();
    // Both may be refused, or say nothing: other brokers have other names for it.
    let _ = timeout(AT_ONCE, of_itself(&mut packets, &mut seen)).await;
    close(packets).await;
    let _ = timeout(PATIENCE, session(broker, &name, node, clock, &mut seen)).await;
    // Nothing of this stays.
    if let Ok((packets, _)) = dial(broker, &name, true, clock).await {
        close(packets).await;
    }
    Ok(seen)
}

async fn of_itself(packets: &mut Packets, seen: &mut Seen) {
    subscribe(packets, &[VERSION, DROPPED]).await;
    while let Some(Ok(packet)) = packets.next().await {
        let Packet::Publish(publish) = packet else { continue };
        let text = String::from_utf8_lossy(&publish.payload).into_owned();
        match publish.topic.as_str() {
            VERSION => seen.version = Some(text.chars().take(60).collect()),
            DROPPED => seen.dropped = text.trim().parse().ok(),
            _ => {}
        }
        if seen.version.is_some() && seen.dropped.is_some() {
            return;
        }
    }
}

async fn subscribe(packets: &mut Packets, topics: &[&str]) -> bool {
    let filters = topics.iter().map(|topic| SubscribeFilter::new((*topic).to_owned(), QoS::AtLeastOnce)).collect();
    if packets.send(Packet::Subscribe(Subscribe { pkid: 1, filters })).await.is_err() {
        return false;
    }
    true
}

async fn close(mut packets: Packets) {
    let _ = timeout(AT_ONCE, packets.send(Packet::Disconnect)).await;
}

/// Somebody listens and leaves; much is said to him; he comes back.
async fn session(broker: &Broker, name: &str, node: &str, clock: &CertificateClock, seen: &mut Seen) -> Option<()> {
    let topic = format!("$hw/events/doctor/{node}");
    let (mut listener, _) = dial(broker, name, false, clock).await.ok()?;
    subscribe(&mut listener, &[&topic]).await;
    let answer = listener.next().await?.ok()?;
    let Packet::SubAck(answer) = answer else { return None };
    let allowed = !answer.return_codes.contains(&SubscribeReasonCode::Failure);
    close(listener).await;
    if allowed {
        let (mut speaker, _) = dial(broker, &format!("{name}-speaks"), true, clock).await.ok()?;
        for number in 1..=PROBES {
            let publish = Publish { pkid: number as u16, ..Publish::new(topic.clone(), QoS::AtLeastOnce, number.to_string()) };
            speaker.feed(Packet::Publish(publish)).await.ok()?;
        }
        speaker.flush().await.ok()?;
        let mut acknowledged = 0;
        while acknowledged < PROBES {
            if let Packet::PubAck(_) = speaker.next().await?.ok()? {
                acknowledged += 1;
            }
        }
        close(speaker).await;
    }
    let (mut back, kept) = dial(broker, name, false, clock).await.ok()?;
    seen.kept = Some(kept);
    if !allowed || !kept {
        return Some(());
    }
    let mut held = 0;
    while held < PROBES {
        let Ok(Some(Ok(packet))) = timeout(AT_ONCE, back.next()).await else { break };
        if let Packet::Publish(publish) = packet {
            held += 1;
            back.send(Packet::PubAck(PubAck::new(publish.pkid))).await.ok()?;
        }
    }
    seen.held = Some(held);
    close(back).await;
    Some(())
}

/// `now_ms` is the system's time.
pub(super) fn judge(config: &MqttConfig, facts: &Facts, running: &Running, now_ms: u64) -> Check {
    let status = match &running.answer {
        Answer::Status(status) => Some(status.as_ref()),
        _ => None,
    };
    let mut findings = secrets(facts);
    match &facts.beside {
        Some(Ok(seen)) => findings.extend(beside(config, seen, status, now_ms)),
        // A node may well have no devices, and no broker: nothing is wrong with it then.
        Some(Err(trouble @ Trouble::Refused)) if *config == MqttConfig::default() => {
            findings.push(Check::skipped(NAME, format!("no MQTT broker on {}: {trouble}; devices need one", config.broker)));
        }
        Some(Err(trouble)) => findings.push(Check::failed(NAME, format!("{}: {trouble}", config.broker), trouble.advice())),
        None => {}
    }
    if config.mode.is_internal() {
        findings.push(inside(config, status.map(|status| &status.mqtt)));
    }
    match findings.is_empty() {
        true => Check::skipped(NAME, "[mqtt] mode is off"),
        false => Check::worst(NAME, findings),
    }
}

fn secrets(facts: &Facts) -> Vec<Check> {
    let open = facts.secrets.iter().filter(|(_, _, mode)| mode.is_some_and(|mode| mode & 0o077 != 0));
    let told = |(key, path, mode): &(&str, PathBuf, Option<u32>)| {
        let shown = path.display();
        let found = format!("the file of {key} under [mqtt], {shown}, can be read by others (mode {:04o})", mode.unwrap_or(0));
        Check::warning(NAME, found, format!("chmod 600 {shown}"))
    };
    open.map(told).collect()
}

fn beside(config: &MqttConfig, seen: &Seen, status: Option<&EdgeStatus>, now_ms: u64) -> Vec<Check> {
    let address = &config.broker;
    let mut findings = Vec::new();
    let version = seen.version.as_deref().unwrap_or("a broker that does not say its version");
    let over = if address.starts_with("mqtts") { ", over TLS" } else { "" };
    findings.push(Check::ok(NAME, format!("{address} is {version}{over}")));
    match seen.kept {
        Some(true) => {}
        Some(false) => findings.push(Check::failed(
            NAME,
            format!("{address} forgets its clients: what devices say while edgehub is away is lost"),
            "let it keep sessions; on mosquitto no small persistent_client_expiration, and the line `persistence true` for its own restarts",
        )),
        None => findings.push(Check::warning(
            NAME,
            format!("whether {address} keeps sessions could not be seen"),
            "allow edgehub's user to read and write $hw/# there",
        )),
    }
    if let Some(held) = seen.held.filter(|held| *held < PROBES) {
        findings.push(Check::warning(
            NAME,
            format!("{address} keeps {held} messages for a client that is away, and drops what comes beyond them"),
            "for more, on mosquitto the lines `max_queued_messages 100000` and `max_queued_bytes 104857600` in mosquitto.conf",
        ));
    }
    if let Some(dropped) = seen.dropped.filter(|dropped| *dropped > 0) {
        findings.push(Check::warning(
            NAME,
            format!("{address} has dropped {dropped} messages since its start ({DROPPED})"),
            "where that number grows, a client reads too slowly or its queue is too short: raise max_queued_messages and max_inflight_messages",
        ));
    }
    findings.extend(status.and_then(|status| as_it_runs(status, now_ms)));
    findings
}

/// What the edgehub that runs says of its own connection.
fn as_it_runs(status: &EdgeStatus, now_ms: u64) -> Option<Check> {
    let mqtt = &status.mqtt;
    let name = client_id(status.node.as_deref().unwrap_or_default());
    let lately = mqtt.since.is_some_and(|since| now_ms.saturating_sub(since.0) < 60_000);
    if mqtt.connections >= MANY && lately {
        return Some(Check::warning(
            NAME,
            format!("edgehub's connections do not last: {} since its start", mqtt.connections),
            format!(
                "look whether another client calls itself {name} there (a broker lets in only one of a name), and into the broker's log"
            ),
        ));
    }
    if mqtt.session_kept == Some(false) && mqtt.connections > 1 {
        return Some(Check::warning(
            NAME,
            "when edgehub connected last, the broker had forgotten it: what devices said meanwhile may be lost",
            "let the broker keep sessions over its restarts; on mosquitto the lines `persistence true` and `autosave_interval 60`",
        ));
    }
    None
}

fn inside(config: &MqttConfig, mqtt: Option<&MqttStatus>) -> Check {
    let address = config.internal_url();
    let Some(own) = mqtt.and_then(|mqtt| mqtt.internal.as_ref()) else {
        return Check::skipped(NAME, format!("the broker inside edgehub ({address}) is there when edgehub runs"));
    };
    let error = own.last_error.as_deref().unwrap_or_default();
    match own.state {
        MqttState::Online if own.dropped > 0 => Check::warning(
            NAME,
            format!("the broker inside edgehub, {address}, had no room for {} messages to devices that do not read", own.dropped),
            "look for a client that does not come back to its session; where much is said, use mosquitto",
        ),
        MqttState::Online => {
            Check::ok(NAME, format!("the broker inside edgehub, {address}, has {} clients and keeps nothing on disk", own.clients))
        }
        _ => {
            let (found, advice) = error.rsplit_once("; ").unwrap_or((error, "see: edgehub status"));
            Check::failed(NAME, format!("the broker inside edgehub, {address}: {found}"), advice)
        }
    }
}
