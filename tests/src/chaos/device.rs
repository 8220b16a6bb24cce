//! A device: it counts, says each number until it is acknowledged, hears what is desired of it, does it and reports that back, through
//! all deaths of the edgehub that it speaks to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rumqttc::Publish;
use serde_json::{Value, json};

use super::app::INSISTS;
use super::ears::Ears;
use super::gate::Gate;
use super::report::{Counts, Findings};
use crate::http::Client;
use crate::lab::dice::Dice;
use crate::mosquitto::Publisher;
use crate::shops::escape;

/// Between two messages, at most, milliseconds.
const PACE_MS: u64 = 40;
/// How long it waits for an answer to a question before it asks again.
const ASKS_AGAIN: Duration = Duration::from_secs(1);
/// Once in so many numbers it is looked whether the edge shows what was acknowledged.
const LOOKS: u64 = 8;
/// When number 0 was measured, milliseconds since 1970; each number a millisecond later. So a stamp tells its number, and the newest
/// value is the one with the newest stamp.
pub(super) const BEGAN_MS: u64 = 1_700_000_000_000;

/// One device.
pub(super) struct Device<'a> {
    /// Its id.
    pub id: &'a str,
    /// The broker that it speaks at.
    pub broker: SocketAddr,
    /// Whether that is the one inside edgehub: what it acknowledges is in the database, and it keeps nothing that could come again.
    pub inside: bool,
    /// The newest number that was acknowledged.
    pub said: AtomicU64,
    /// What is desired of it and was not reported back yet.
    pub wanted: Mutex<BTreeMap<String, String>>,
    /// When it counts.
    pub gate: &'a Gate,
    /// What is wrong.
    pub findings: &'a Findings,
    /// What happened.
    pub counts: &'a Counts,
}

impl Device<'_> {
    fn wanted(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn topic(&self, end: &str) -> String {
        format!("$hw/events/device/{}/twin/{end}", self.id)
    }

    /// Speaks until all is over. `edge` shows what edgehub makes of it.
    pub(super) fn speak(&self, mut edge: Client, seed: u64) {
        let mut dice = Dice::new(seed);
        let mut publisher = Publisher::at(self.broker, &format!("{}-says", self.id.replace('/', "-")));
        let mut stamp = BEGAN_MS;
        while !self.gate.is_over() {
            // Taken out first: who hears has to get at it meanwhile.
            let wanted = std::mem::take(&mut *self.wanted());
            for (property, value) in wanted {
                stamp += 1;
                match publisher.try_say(&self.topic("update"), &report(&property, &value, stamp)) {
                    Ok(()) => self.counts.add("devices: did as desired, and reported it", 1),
                    // Said again with the next turn, unless something else is desired by then.
                    Err(_) => drop(self.wanted().entry(property).or_insert(value)),
                }
            }
            if self.gate.try_enter() {
                let done = self.count(&mut publisher, &mut edge);
                self.gate.leave();
                if !done {
                    return;
                }
            }
            self.gate.pause(Duration::from_millis(dice.below(PACE_MS)));
        }
    }

    /// The next number, until it is acknowledged. False: it never was.
    fn count(&self, publisher: &mut Publisher, edge: &mut Client) -> bool {
        let number = self.said.load(Ordering::Relaxed) + 1;
        let (topic, text) = (self.topic("update"), report("count", &number.to_string(), BEGAN_MS + number));
        let begun = Instant::now();
        while let Err(error) = publisher.try_say(&topic, &text) {
            if begun.elapsed() > INSISTS {
                self.findings.add(&format!("unconverged: {} is not acknowledged number {number} after {INSISTS:?}: {error}", self.id));
                return false;
            }
            self.counts.add("devices: reports said again", 1);
            self.gate.pause(Duration::from_millis(20));
        }
        self.said.store(number, Ordering::Relaxed);
        self.counts.add("devices: reports acknowledged", 1);
        if self.inside && number.is_multiple_of(LOOKS) {
            self.shown(number, edge);
        }
        true
    }

    /// What was acknowledged from inside is in the database, and the newest of it is what readers see, at once.
    fn shown(&self, number: u64, edge: &mut Client) {
        let Ok(answer) = edge.get(&format!("/v1/devices/{}/twin", escape(self.id))) else { return };
        if answer.status >= 500 {
            return;
        }
        let shown = if answer.status == 200 { answer.json()["properties"]["count"]["reported"]["value"].clone() } else { Value::Null };
        if shown != number {
            self.findings.add(&format!("lost: {} was acknowledged number {number}, and its edge shows {shown}: {answer}", self.id));
        }
    }

    /// Hears what is desired from the first round until all is over. Before that its shop may not know it yet.
    pub(super) fn hear(&self) {
        if !self.gate.enter() {
            return;
        }
        self.gate.leave();
        while !self.gate.is_over() {
            // It is connected until the broker dies, or does not answer.
            let _ = self.listen();
            self.gate.pause(Duration::from_millis(50));
        }
    }

    /// One connection. What it was told while it was away it has not heard: so it asks for the whole twin, until it is answered.
    fn listen(&self) -> std::io::Result<()> {
        let topics = ["update/delta", "get/result", "update/result"].map(|end| self.topic(end));
        let mut ears = Ears::open(self.broker, &format!("{}-hears", self.id.replace('/', "-")), &topics)?;
        self.counts.add("devices: connected", 1);
        let (mut answered, mut asked): (bool, Option<Instant>) = (false, None);
        while !self.gate.is_over() {
            if !answered && asked.is_none_or(|asked| asked.elapsed() > ASKS_AGAIN) {
                ears.say(&self.topic("get"), r#"{"event_id":"all"}"#)?;
                asked = Some(Instant::now());
            }
            if let Some(message) = ears.next()? {
                answered |= message.topic.ends_with("/get/result");
                self.told(&message);
            }
        }
        Ok(())
    }

    fn told(&self, message: &Publish) {
        let said: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        // Refused for want of room, or for haste, it comes again; nothing else that it says can be wrong.
        if let Some(code) = said["code"].as_u64().filter(|code| ![429, 500].contains(code)) {
            self.findings.add(&format!("lost: {} is answered {code} on {}: {said}", self.id, message.topic));
        }
        if message.topic.ends_with("/delta") {
            self.counts.add("devices: deltas heard", 1);
            let delta = said["delta"].as_object().into_iter().flatten();
            let delta = delta.filter_map(|(property, value)| Some((property.clone(), value.as_str()?.to_owned())));
            self.wanted().extend(delta);
        } else if message.topic.ends_with("/get/result") {
            let expected = said["twin"].as_object().into_iter().flatten().filter_map(|(property, shown)| {
                let (expected, actual) = (shown["expected"]["value"].as_str()?, shown["actual"]["value"].as_str());
                (actual != Some(expected)).then(|| (property.clone(), expected.to_owned()))
            });
            self.wanted().extend(expected);
        }
    }
}

fn report(property: &str, value: &str, stamp: u64) -> String {
    let half = json!({"value": value, "metadata": {"timestamp": stamp}});
    json!({"event_id": value, "twin": {property: {"actual": half}}}).to_string()
}
