//! A conversation in the laboratory: with one side real and the other one read from the file, or, when the file is written
//! anew, with both real.

use std::collections::BTreeMap;

use metamanager::LocalRequest;
use proto::frame::{Frame, Hello};
use tests::lab::by_hand::Real;
use tests::lab::words::{add, check, create, delete, merge, put};
use tests::lab::{Lab, Side};

use super::notation::Schema;
use super::script::{Item, What, speaker};
use super::stores;

/// A conversation as far as it has come.
pub(super) struct Run<'a> {
    schema: &'a Schema,
    lab: Lab,
    real: Real,
    /// The machines, by the words that the file has for them; their places in the laboratory.
    machines: BTreeMap<String, usize>,
    links: BTreeMap<String, u64>,
    /// Machines that stand still, and what has come for them.
    stalled: BTreeMap<String, Vec<Vec<u8>>>,
    /// Machines that hear so many frames more, and lose the rest.
    deaf: BTreeMap<String, usize>,
    /// Machines of which the cloud hears so many frames more, and loses the rest.
    unheard: BTreeMap<String, usize>,
    images: BTreeMap<String, Vec<u8>>,
}

impl<'a> Run<'a> {
    /// Nothing has happened.
    pub(super) fn new(schema: &'a Schema, real: Real) -> Self {
        let (machines, links, stalled, deaf, unheard, images) = Default::default();
        Self { schema, lab: Lab::new(), real, machines, links, stalled, deaf, unheard, images }
    }

    /// Plays a file; the real side must say exactly what it has there.
    pub(super) fn replay(&mut self, items: &[Item]) -> Result<(), String> {
        for Item { line, what, .. } in items {
            if !matches!(what, What::Said { .. }) {
                self.nothing_more().map_err(|error| format!("before line {line}: {error}"))?;
            }
            self.item(what).map_err(|error| format!("line {line}: {error}"))?;
        }
        Ok(())
    }

    fn item(&mut self, what: &What) -> Result<(), String> {
        match what {
            What::Said { link, up, frame } if self.is_real(*up) => match self.says(link, *up) {
                Some(said) if said == *frame => Ok(()),
                Some(said) => Err(format!("{} says something else:\n{said}", speaker(link, *up))),
                None => Err(format!("{} says nothing", speaker(link, *up))),
            },
            What::Said { link, up, frame } => {
                let bytes = self.schema.parse(frame)?;
                self.hears(link, !*up, bytes);
                Ok(())
            }
            What::Holds { who, lines } if self.is_real(who != "cloud") => {
                let held = self.holds(who);
                if held == *lines { Ok(()) } else { Err(format!("{who} holds something else:\n  {}", held.join("\n  "))) }
            }
            What::Holds { .. } | What::End => Ok(()),
            What::Event(_) | What::Later(_) => {
                self.happens(what);
                Ok(())
            }
        }
    }

    /// The file as it should be: both sides are real, what they say takes the place of what was written, and comments stay
    /// before the words that they were written to.
    pub(super) fn record(&mut self, items: &[Item]) -> Vec<Item> {
        let mut written = Vec::new();
        let mut spoken: Vec<&Item> = Vec::new();
        for item in items {
            if matches!(item.what, What::Said { .. }) {
                spoken.push(item);
                continue;
            }
            let notes = self.conversation(&mut written, std::mem::take(&mut spoken)) + &item.notes;
            let what = match &item.what {
                What::Holds { who, .. } => What::Holds { who: who.clone(), lines: self.holds(who) },
                What::Event(_) | What::Later(_) => {
                    self.happens(&item.what);
                    item.what.clone()
                }
                other => other.clone(),
            };
            written.push(Item { line: 0, notes, what });
        }
        written
    }

    /// Lets both talk until nobody has anything to say; the comments that found no place.
    fn conversation(&mut self, written: &mut Vec<Item>, mut before: Vec<&Item>) -> String {
        while let Some((link, up, frame)) = self.next_word() {
            let same = |item: &&Item| match &item.what {
                What::Said { link: old_link, up: old_up, frame: old } => *old_link == link && *old_up == up && kind(old) == kind(&frame),
                _ => false,
            };
            let found = before.iter().position(same).map_or(0, |at| at + 1);
            let notes = before.drain(..found).map(|item| item.notes.as_str()).collect();
            written.push(Item { line: 0, notes, what: What::Said { link, up, frame } });
        }
        before.iter().map(|item| item.notes.as_str()).collect()
    }

    fn next_word(&mut self) -> Option<(String, bool, String)> {
        let links: Vec<_> = self.links.keys().cloned().collect();
        for (link, up) in links.iter().flat_map(|link| [(link, true), (link, false)]) {
            if let Some(frame) = self.says(link, up) {
                let bytes = self.schema.parse(&frame).unwrap();
                self.hears(link, !up, bytes);
                return Some((link.clone(), up, frame));
            }
        }
        None
    }

    fn nothing_more(&mut self) -> Result<(), String> {
        let links: Vec<_> = self.links.keys().cloned().collect();
        for (link, up) in links.iter().flat_map(|link| [(link, true), (link, false)]) {
            if let Some(said) = self.is_real(up).then(|| self.says(link, up)).flatten() {
                return Err(format!("{} says more than the file has:\n{said}", speaker(link, up)));
            }
        }
        Ok(())
    }

    fn is_real(&self, edge: bool) -> bool {
        if edge { self.real.edge() } else { self.real.cloud() }
    }

    fn says(&mut self, link: &str, up: bool) -> Option<String> {
        let id = *self.links.get(link)?;
        let bytes = match up {
            true if self.stalled.contains_key(link) => None,
            true => self.lab.edge_speaks(id),
            false => self.lab.cloud_speaks(id),
        };
        bytes.map(|bytes| self.schema.show(&bytes))
    }

    fn hears(&mut self, link: &str, edge: bool, bytes: Vec<u8>) {
        let Some(id) = self.links.get(link).copied() else { return };
        let loses = if edge { &mut self.deaf } else { &mut self.unheard };
        if let Some(left) = loses.get_mut(link) {
            let Some(less) = left.checked_sub(1) else { return };
            *left = less;
        }
        match self.stalled.get_mut(link) {
            Some(waiting) if edge => waiting.push(bytes),
            _ if edge => self.lab.edge_hears(id, &bytes),
            _ => self.lab.cloud_hears(id, &bytes),
        }
    }

    fn holds(&mut self, who: &str) -> Vec<String> {
        match who {
            "cloud" => stores::cloud(&mut self.lab),
            machine => stores::edge(&mut self.lab, self.machines[machine]),
        }
    }

    fn happens(&mut self, what: &What) {
        match what {
            What::Later(ms) => {
                let sleeping = self.stalled.keys().next().map(|link| self.machines[link]);
                self.lab.later(*ms, sleeping);
            }
            What::Event(event) => self.event(event),
            _ => {}
        }
    }

    fn event(&mut self, event: &str) {
        let (who, what) = event.split_once(' ').unwrap();
        // A side that is played has a store of its own, of which nothing is known.
        let played = !self.links.is_empty() && !self.is_real(who != "cloud");
        let (verb, rest) = what.split_once(' ').unwrap_or((what, ""));
        match (who, verb) {
            (_, "connects" | "leaves") => self.link(who, verb),
            (_, "sends") => self.sends(who, &raw(rest)),
            (_, "is-heard-only") => drop(self.unheard.insert(who.to_owned(), rest.parse().unwrap())),
            _ if played => {}
            ("both", "compress") => {
                self.lab.edge_says = |frame| frame.encode_compressed();
                self.lab.cloud_says = |frame| frame.encode_compressed();
            }
            ("cloud", _) => self.cloud(verb, rest),
            (_, "joins") => self.joins(who, rest),
            (_, "is-made-of") => {
                let image = &self.images[rest];
                let place = self.lab.twin(self.machines[rest], image);
                self.arrives(who, place);
            }
            (_, "is-new-beside") => {
                let place = self.lab.wiped(self.machines[rest]);
                self.arrives(who, place);
            }
            _ => self.edge(who, verb, rest),
        }
        self.lab.settle();
    }

    fn link(&mut self, who: &str, verb: &str) {
        let node = self.machines[who];
        self.stalled.remove(who);
        self.deaf.remove(who);
        self.unheard.remove(who);
        if verb == "connects" {
            self.lab.cut(node);
            let id = self.lab.dial(node, self.real);
            self.links.insert(who.to_owned(), id);
        } else {
            self.lab.cut(node);
        }
    }

    /// Bytes that are no word of either side.
    fn sends(&mut self, who: &str, bytes: &[u8]) {
        match who {
            "cloud" => self.lab.edge_hears(self.links["edge"], bytes),
            link => self.lab.cloud_hears(self.links[link], bytes),
        }
    }

    fn joins(&mut self, who: &str, rest: &str) {
        let mut words = rest.split_whitespace();
        let name = words.next().unwrap();
        let labels: Vec<_> = words.filter_map(|word| word.split_once('=')).collect();
        let place = self.lab.join(name, &labels);
        self.arrives(who, place);
    }

    fn arrives(&mut self, who: &str, place: usize) {
        self.lab.online(place, false);
        self.machines.insert(who.to_owned(), place);
    }

    fn cloud(&mut self, verb: &str, rest: &str) {
        match verb {
            "defines" => {
                let (name, json) = rest.split_once(' ').unwrap();
                self.lab.define(name, json);
            }
            "labels" => {
                let (node, label) = rest.split_once(' ').unwrap();
                let (label, value) = label.split_once('=').unwrap();
                self.lab.label(node, label, value);
            }
            "writes" => drop(self.lab.in_cloud(requests(rest))),
            "is-busy" => {
                let (retry_ms, ticket) = rest.split_once(' ').unwrap();
                self.lab.busy = Some((retry_ms.parse().unwrap(), raw(ticket)));
            }
            "is-copied" => {
                let image = self.lab.image(Side::Cloud);
                self.images.insert("cloud".to_owned(), image);
            }
            "goes-back" => {
                let image = self.images["cloud"].clone();
                self.lab.put_back(Side::Cloud, &image);
            }
            "runs-sql" => self.lab.kill_cloud(|file| assert!(file.execute(rest, []).unwrap() > 0, "{rest}")),
            "revokes" => self.lab.hub(cloudhub::store::Job::Revoke { node: tests::lab::words::node(rest) }),
            other => panic!("the cloud cannot {other}"),
        }
    }

    fn edge(&mut self, who: &str, verb: &str, rest: &str) {
        let node = self.machines[who];
        match verb {
            "gets-in-sync" => {
                self.lab.online(node, true);
                self.lab.converge(60_000);
                self.lab.online(node, false);
            }
            "writes" => drop(self.lab.write(node, requests(rest))),
            "is-copied" => {
                let image = self.lab.image(Side::Edge(node));
                self.images.insert(who.to_owned(), image);
            }
            "goes-back" => {
                let image = self.images[who].clone();
                self.lab.put_back(Side::Edge(node), &image);
            }
            "runs-sql" => self.lab.kill_edge(node, |file| assert!(file.execute(rest, []).unwrap() > 0, "{rest}")),
            "finds-damage" => {
                self.lab.kill_edge(node, |file| std::fs::write(format!("{}.damaged", file.path().unwrap()), "for the test").unwrap());
                self.lab.known_id(node);
            }
            "disk-is-full" => self.lab.fill_disk(node, true),
            "disk-has-room" => {
                self.lab.fill_disk(node, false);
                self.lab.edge_has_room(node);
            }
            "says-versions" => self.lab.edge_says = if rest == "1-1" { |frame| frame.encode() } else { of_the_future },
            "limit-is-reached" => self.lab.limit(node, Some(0)),
            "limit-is-over" => self.lab.limit(node, None),
            "verifies" => self.lab.edge_verifies(node),
            "hears-only" => drop(self.deaf.insert(who.to_owned(), rest.parse().unwrap())),
            "stands-still" => drop(self.stalled.insert(who.to_owned(), Vec::new())),
            "goes-on" => {
                let waiting = self.stalled.remove(who).unwrap();
                waiting.into_iter().for_each(|bytes| self.hears(who, true, bytes));
            }
            other => panic!("{who} cannot {other}"),
        }
        // What an outbox lost is a gap, and what was put back goes back: the laboratory's own checks are about other things.
        self.lab.edges[node].watched = false;
    }
}

/// As an edge says it that knows versions 7 to 9.
fn of_the_future(frame: Frame) -> Vec<u8> {
    match frame {
        Frame::Hello(hello) => Frame::Hello(Hello { versions: (7, 9), ..hello }).encode(),
        frame => frame.encode(),
    }
}

/// `batch`
fn kind(frame: &str) -> &str {
    frame.split([' ', ':']).next().unwrap_or_default()
}

fn raw(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// `put products/1 {…}; add products/1 n -3`
fn requests(text: &str) -> Vec<LocalRequest> {
    text.split("; ").map(request).collect()
}

fn request(text: &str) -> LocalRequest {
    let mut words = text.splitn(3, ' ');
    let (verb, place, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or_default());
    let (collection, key) = place.split_once('/').unwrap();
    let json = long(rest);
    match verb {
        "put" => put(collection, key, &json),
        "create" => create(collection, key, &json),
        "merge" => merge(collection, key, &json),
        "delete" => delete(collection, key, rest == "force"),
        "add" => {
            let (field, delta) = rest.split_once(' ').unwrap();
            add(collection, key, field, delta.parse().unwrap())
        }
        "check" => {
            let (field, value) = rest.split_once(' ').unwrap();
            check(collection, key, field, value)
        }
        other => panic!("nobody can {other}"),
    }
}

/// `(x*4000)` in a value stands for so many letters.
fn long(text: &str) -> String {
    let Some((before, rest)) = text.split_once("(x*") else { return text.to_owned() };
    let (count, after) = rest.split_once(')').unwrap();
    format!("{before}{}{}", "x".repeat(count.parse().unwrap()), long(after))
}
