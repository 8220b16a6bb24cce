//! An application: it writes and reads at one hub through its API, through whatever happens to that, and takes down what it was
//! promised. Nearly everything it does has a name (`Idempotency-Key`) under which it is repeated until there is an answer; sales have
//! none, and one that was not answered may count or not.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::book::{Book, Sold, What};
use super::gate::Gate;
use super::report::{Counts, Findings};
use super::rights::{RACKS, RELABELLED};
use super::twins::DEVICES;
use super::{MOVED, PRODUCTS, SEATS, STOCKS};
use crate::http::{Answer, Client};
use crate::lab::dice::Dice;
use crate::shops::escape;

/// The longest that a request is repeated. Hubs are away for seconds.
pub(super) const INSISTS: Duration = Duration::from_secs(120);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(20);
/// Between two writes, at most, milliseconds.
const PACE_MS: u64 = 60;
/// Records that only one application writes.
const NOTES: u64 = 6;

/// One application.
pub(super) struct App<'a> {
    /// Its name; it begins with where it is.
    pub name: String,
    /// Whether it writes at the cloud.
    pub central: bool,
    /// The first one of its place: some things only one may do there.
    pub first: bool,
    /// The sites of the shops.
    pub sites: &'a [&'a str],
    /// Where it takes down what it was promised.
    pub book: Mutex<Book>,
    /// When it works.
    pub gate: &'a Gate,
    /// What is wrong.
    pub findings: &'a Findings,
    /// What happened.
    pub counts: &'a Counts,
}

/// What one turn needs.
struct Turn {
    client: Client,
    dice: Dice,
    number: u64,
}

impl App<'_> {
    /// Where it works.
    pub(super) fn place(&self) -> &str {
        self.name.split('-').next().unwrap_or_default()
    }

    /// Its book.
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until all is over.
    pub(super) fn work(&self, client: Client, seed: u64) {
        let mut turn = Turn { client, dice: Dice::new(seed), number: 0 };
        while self.gate.enter() {
            turn.number += 1;
            let done = self.turn(&mut turn);
            self.gate.leave();
            if done.is_none() {
                return;
            }
            self.gate.pause(Duration::from_millis(turn.dice.below(PACE_MS)));
        }
    }

    /// One thing. None: it got no answer, and gives up.
    fn turn(&self, turn: &mut Turn) -> Option<()> {
        match turn.dice.below(17) {
            0..=2 => self.sell(turn),
            12 | 13 => self.plain(turn),
            3 | 4 => self.tally(turn),
            5 | 6 => self.note(turn),
            7 => self.pair(turn),
            8 if self.first => self.seat(turn),
            9 if self.first => self.parcel(turn),
            14 if self.first => self.desire(turn),
            15 | 16 if self.central || RELABELLED.contains(&self.place()) => self.rack(turn),
            _ => self.product(turn),
        }
    }

    /// A sale without a name: not repeated.
    fn sell(&self, turn: &mut Turn) -> Option<()> {
        let (stock, by) = (turn.dice.pick(&STOCKS), 1 + turn.dice.below(9));
        let key = format!("{}-{}", self.name, turn.number);
        let length = if turn.dice.one_in(60) { 20_000 } else { 40 };
        let note = turn.dice.noise(length);
        let ops = json!({"ops": [
            {"op": "increment", "collection": "stock", "key": stock, "by": {"n": by}},
            {"op": "put", "collection": "sales", "key": key, "value": {"stock": stock, "by": by, "note": note}},
        ]});
        let answer = turn.client.json("POST", "/v1/writes", &ops);
        let told = match &answer {
            Ok(answer) if answer.status == 201 => {
                self.promised(&answer.json(), What::Sale(key));
                return Some(());
            }
            Ok(answer) if answer.status < 500 && answer.status != 429 => {
                self.findings.add(&format!("lost: {} may not sell: {answer}", self.name));
                Sold::Refused
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Sold::Refused,
            _ => Sold::Maybe,
        };
        self.counts.add(if told == Sold::Maybe { "writes: no answer, not repeated" } else { "writes: nobody there" }, 1);
        self.book().sales.insert(key, told);
        self.gate.pause(AGAIN);
        Some(())
    }

    /// Counters, under a name.
    fn tally(&self, turn: &mut Turn) -> Option<()> {
        let by = 1 + turn.dice.below(5) as i64;
        let count = |key: &str| json!({"op": "increment", "collection": "tally", "key": key, "by": {"n": by}});
        let ops = json!({"ops": [count("all"), count(&self.name)]});
        self.write(turn, "POST", "/v1/writes", Some(&ops), What::Tally(by), &[])
    }

    /// An increment of a counter that nobody else changes, without a name. Where no answer comes the counter itself tells, once it is
    /// read again, whether it counted.
    fn plain(&self, turn: &mut Turn) -> Option<()> {
        let by = 1 + turn.dice.below(5) as i64;
        let path = format!("/v1/collections/plain/records/{}", self.name);
        let known = self.book().plain;
        match turn.client.json("POST", &format!("{path}/increment"), &json!({"n": by})) {
            Ok(answer) if answer.status == 200 => self.promised(&answer.json(), What::Plain(known + by)),
            _ => self.counts.add("writes: no answer, and what became of it read again", 1),
        }
        let begun = Instant::now();
        while begun.elapsed() < INSISTS {
            let Some(shown) = self.read(turn, &path) else {
                self.gate.pause(AGAIN);
                continue;
            };
            let number = shown["value"]["n"].as_i64().unwrap_or(-1);
            let mut book = self.book();
            if number != book.plain && (book.plain, number) != (known, known + by) {
                let kind = if number < book.plain { "lost" } else { "doubled" };
                self.findings.add(&format!("{kind}: plain/{} is {number} and has to be {}: {shown}", self.name, book.plain));
            }
            book.plain = number;
            return Some(());
        }
        self.findings.add(&format!("unconverged: {}: {path} has no answer after {INSISTS:?}", self.name));
        None
    }

    /// A record that nobody else writes: it has to be what this application made of it, at once and always.
    fn note(&self, turn: &mut Turn) -> Option<()> {
        let key = format!("{}-{}", self.name, turn.dice.below(NOTES));
        let path = format!("/v1/collections/notes/records/{key}");
        let known = self.book().notes.get(&key).copied().flatten();
        if let Some(shown) = self.read(turn, &path) {
            let number = shown["value"]["number"].as_u64();
            if number != known {
                self.findings.add(&format!("lost: {} wrote number {known:?} into notes/{key} and reads {number:?}: {shown}", self.name));
            }
        }
        if known.is_some() && turn.dice.one_in(4) {
            return self.write(turn, "DELETE", &path, None, What::Note(key, None), &[]);
        }
        let value = json!({"number": turn.number, "text": turn.dice.noise(100)});
        self.write(turn, "PUT", &path, Some(&value), What::Note(key, Some(turn.number)), &[])
    }

    /// Two records in one write: nobody sees one without the other.
    fn pair(&self, turn: &mut Turn) -> Option<()> {
        let keys = ["left", "right"].map(|side| format!("{}-{side}", self.name));
        let path = format!("/v1/collections/pairs/records?key={}&key={}", keys[0], keys[1]);
        let known = self.book().pair;
        if let Some(shown) = self.read(turn, &path) {
            let numbers: Vec<_> =
                shown["records"].as_array().into_iter().flatten().map(|record| record["value"]["number"].as_u64()).collect();
            let expected = if known == 0 { Vec::new() } else { vec![Some(known); 2] };
            if numbers != expected {
                self.findings.add(&format!("lost: {} wrote {known} into both of {keys:?} and reads {numbers:?}", self.name));
            }
        }
        let put = |key: &String| json!({"op": "put", "collection": "pairs", "key": key, "value": {"number": turn.number}});
        let ops = json!({"ops": [put(&keys[0]), put(&keys[1])]});
        self.write(turn, "POST", "/v1/writes", Some(&ops), What::Pair(turn.number), &[])
    }

    /// Reads a number and writes the next one, if nobody else did since. What it wrote itself has to be decided first: a reader sees
    /// that as if it had been taken.
    fn seat(&self, turn: &mut Turn) -> Option<()> {
        let key = turn.dice.pick(&SEATS);
        let Some(shown) = self.read(turn, &format!("/v1/collections/seats/records/{key}")) else { return Some(()) };
        let (Some(number), Some(revision)) = (shown["value"]["n"].as_i64(), shown["revision"].as_u64()) else { return Some(()) };
        if shown["sync"]["state"] != "clean" {
            return Some(());
        }
        let value = json!({"n": number + 1, "by": self.name});
        let ops = json!({"ops": [{"op": "put", "collection": "seats", "key": key, "value": value, "if": revision}]});
        self.write(turn, "POST", "/v1/writes", Some(&ops), What::Seat(key.into()), &[412])
    }

    /// A record that belongs to one site: the cloud moves it, a shop writes on what it has.
    fn parcel(&self, turn: &mut Turn) -> Option<()> {
        let key = turn.dice.pick(&MOVED);
        let path = format!("/v1/collections/parcels/records/{key}");
        if self.central {
            let site = turn.dice.pick(self.sites);
            return self.write(turn, "PATCH", &path, Some(&json!({"site": site})), What::Move(key.into(), site.into()), &[]);
        }
        let value = json!({"note": format!("{}-{}", self.name, turn.number)});
        self.write(turn, "PATCH", &path, Some(&value), What::Parcel, &[403, 404])
    }

    /// The application's own record of what only depots get: its shop is one, or is not, or not any more.
    fn rack(&self, turn: &mut Turn) -> Option<()> {
        let path = format!("/v1/collections/{RACKS}/records/{}", self.name);
        self.write(turn, "PATCH", &path, Some(&json!({"number": turn.number})), What::Rack(turn.number), &[404])
    }

    /// What is desired of a device: the cloud sets one property alone, the shop that has it another one, and both the third.
    fn desire(&self, turn: &mut Turn) -> Option<()> {
        let own: Vec<_> = DEVICES.iter().filter(|(node, ..)| self.central || self.name.starts_with(node)).collect();
        if own.is_empty() {
            return self.product(turn);
        }
        let (_, device, _) = turn.dice.pick(&own);
        let property = turn.dice.pick(&[if self.central { "target" } else { "mode" }, "shared"]);
        // Two writers never ask for the same.
        let number = 2 * turn.number + u64::from(self.central);
        let path = format!("/v1/devices/{}/twin", escape(device));
        let body = json!({"desired": {property: number}});
        self.write(turn, "PATCH", &path, Some(&body), What::Desired(format!("{device}/{property}"), number), &[])
    }

    /// Fields that everybody writes, of records that head office deletes now and then.
    fn product(&self, turn: &mut Turn) -> Option<()> {
        let key = turn.dice.pick(&PRODUCTS);
        let path = format!("/v1/collections/products/records/{key}");
        if self.central && self.first && turn.dice.one_in(8) {
            self.write(turn, "DELETE", &path, None, What::Other, &[404])?;
            return self.write(turn, "PUT", &path, Some(&json!({"name": turn.number})), What::Other, &[409]);
        }
        let (field, text) = (format!("f{}", turn.dice.below(3)), format!("{}-{}", self.name, turn.number));
        let body = json!({&field: &text});
        self.write(turn, "PATCH", &path, Some(&body), What::Field(format!("{key}/{field}"), text), &[404])
    }

    /// One read; none: it was not answered.
    fn read(&self, turn: &mut Turn, path: &str) -> Option<Value> {
        match turn.client.get(path) {
            Ok(answer) if answer.status == 200 || answer.status == 404 => Some(answer.json()),
            Ok(answer) if answer.status < 500 => {
                self.findings.add(&format!("other: {} reads {path}: {answer}", self.name));
                None
            }
            _ => None,
        }
    }

    /// A write under a name, until it is answered. None: it never was.
    fn write(&self, turn: &mut Turn, method: &str, path: &str, body: Option<&Value>, what: What, refusals: &[u16]) -> Option<()> {
        let key = format!("{}-{}-{method}", self.name, turn.number);
        let answer = self.insist(turn, method, path, body, &key)?;
        if answer.status < 300 {
            self.promised(&answer.json(), what);
            return Some(());
        }
        self.counts.add("writes: refused", 1);
        if !refusals.contains(&answer.status) {
            self.findings.add(&format!("lost: {}: {method} {path} under {key}: {answer}", self.name));
        }
        Some(())
    }

    fn insist(&self, turn: &mut Turn, method: &str, path: &str, body: Option<&Value>, key: &str) -> Option<Answer> {
        let begun = Instant::now();
        let text = body.map(Value::to_string);
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        let mut last = String::new();
        while begun.elapsed() < INSISTS {
            match turn.client.send(method, path, &headers, text.as_deref().map(str::as_bytes)) {
                Ok(answer) if answer.status < 500 && answer.status != 429 => return Some(answer),
                Ok(answer) => last = answer.to_string(),
                Err(error) => last = error.to_string(),
            }
            self.counts.add("writes: tries repeated under their name", 1);
            self.gate.pause(AGAIN);
        }
        self.findings.add(&format!("unconverged: {}: {method} {path} under {key} has no answer after {INSISTS:?}: {last}", self.name));
        None
    }

    fn promised(&self, answer: &Value, what: What) {
        let Some(write) = answer["write"]["id"].as_str() else {
            return self.findings.add(&format!("other: {}: an answer without a write: {answer}", self.name));
        };
        self.counts.add("writes: promised", 1);
        let decided = answer["write"]["final"] == true;
        let mut book = self.book();
        book.promised(write.to_owned(), what.clone(), decided);
        if decided && answer["write"]["accepted"] == true {
            book.accepted(&what, &answer["write"]);
        }
    }
}
