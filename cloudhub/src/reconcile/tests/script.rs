//! Conversations as text. A line is a command, what follows it after `>` is what it must say.
//!
//! ```text
//! define NAME JSON                     a collection
//! grant NODE NAME [PARTITION]          a node that has a grant gets only what it is granted
//! NODE[@HLC] OP [;; OP]…               a local write: put, put!(with If-Match), patch, inc, del, del!, check COLLECTION/KEY JSON
//! cloud[!] OP [;; OP]…                 a write through the cloud's API (!: with force)
//! sync NODE                            all that the node may have comes down
//! up NODE                              its outbox goes up; prints the outcomes
//! NODE resolve ID cloud|edge|VALUE       a person resolves a row (cloud: at the cloud)
//! compact                              tombstones and exit markers are forgotten
//! show COLLECTION/KEY                  the cloud's value
//! view NODE COLLECTION/KEY             the node's
//! rows                                 every conflict row
//! ```
//!
//! Writes get later and later clocks unless one is named. `UPDATE_SCRIPTS=1 cargo test -p cloudhub reconcile` writes what is said
//! into the files.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proto::build::{Action, Request, Scene, Side, build};
use proto::clock::Hlc;
use proto::definition::{Defined, Definition};
use proto::ids::Revision;
use proto::json::Value;
use proto::names::{CollectionName, Key};
use proto::op::{Op, Outcome, Write};
use proto::resolve::{self, Choice};

use super::hub::{Hub, Id};
use super::shop::{Shop, cloud_op};
use crate::reconcile::{Author, Row};

/// How a script begins in a page for people.
const BLOCK: &str = "\n```script ";

#[derive(Default)]
struct Stage {
    hub: Hub,
    shops: BTreeMap<String, Shop>,
    time: u64,
}

/// The sections of a file: `== name`, then lines; or, in a page for people, blocks that begin with "```script name".
pub(super) fn sections(text: &str) -> Vec<(&str, &str)> {
    let mark = if text.contains(BLOCK) { BLOCK } else { "\n== " };
    text.split(mark).skip(1).map(section).collect()
}

fn section(text: &str) -> (&str, &str) {
    let text = text.split_once("\n```").map_or(text, |(block, _)| block);
    text.split_once('\n').unwrap_or((text, ""))
}

/// Plays one section, and compares what it says with what it should.
pub(super) fn play(file: &str, text: &str, name: &str) {
    let body = sections(text).into_iter().find(|(own, _)| *own == name).unwrap_or_else(|| panic!("{file} has no section {name}")).1;
    let mut stage = Stage::default();
    let mut said = String::new();
    for line in body.lines().filter(|line| !line.starts_with('>')) {
        said.push_str(line);
        said.push('\n');
        if !line.is_empty() && !line.starts_with('#') {
            stage.say(line).lines().for_each(|line| writeln!(said, "> {line}").unwrap());
        }
    }
    let expected = format!("{}\n", body.trim_end_matches('\n'));
    let said = format!("{}\n", said.trim_end_matches('\n'));
    if std::env::var_os("UPDATE_SCRIPTS").is_some() {
        update(file, name, &said);
    } else {
        assert!(said == expected, "{file}, section {name}, says\n{said}\nand should say\n{expected}");
    }
}

/// Sections are played by several threads of one process: one at a time may write.
fn update(file: &str, name: &str, said: &str) {
    static WRITING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = WRITING.lock();
    let path = format!("{}/src/reconcile/tests/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let old = sections(&text).into_iter().find(|(own, _)| *own == name).unwrap().1;
    let said = if text.contains(BLOCK) { said.trim_end() } else { said };
    std::fs::write(path, text.replace(&format!(" {name}\n{old}"), &format!(" {name}\n{said}"))).unwrap();
}

impl Stage {
    fn say(&mut self, line: &str) -> String {
        let mut words = line.splitn(3, ' ');
        let (verb, first, rest) = (words.next().unwrap(), words.next().unwrap_or(""), words.next().unwrap_or(""));
        match verb {
            "define" => self.hub.define(first, rest),
            "grant" => self.grant(first, rest),
            "compact" => self.hub.compact(),
            "sync" => {
                let shop = self.shops.entry(first.to_owned()).or_insert_with(|| shop(first));
                shop.sync(&self.hub);
            }
            "up" => return self.up(first),
            "show" => return text(self.hub.value(&id(first))),
            "view" => return text(self.shops[first].view(&id(rest), &[]).as_ref()),
            "rows" => return self.rows(),
            who if first == "resolve" => return self.resolve(who, rest),
            who => return self.write(who, line.split_once(' ').unwrap().1),
        }
        String::new()
    }

    fn grant(&mut self, node: &str, rest: &str) {
        let (collection, partition) = rest.split_once(' ').map_or((rest, None), |(name, partition)| (name, Some(partition)));
        self.hub.grant(node, collection, partition);
    }

    fn write(&mut self, who: &str, text: &str) -> String {
        self.time += 1;
        let (who, hlc) =
            who.split_once('@').map_or((who, Hlc::from_ms(1_000 + self.time)), |(who, ms)| (who, Hlc::from_ms(ms.parse().unwrap())));
        let mut ops = Vec::new();
        for part in text.split(" ;; ") {
            let (verb, rest) = part.split_once(' ').unwrap();
            let (name, json) = rest.split_once(' ').unwrap_or((rest, "{}"));
            match self.build(who, verb, &id(name), json, &ops) {
                Ok(op) => ops.extend(op),
                Err(refusal) => return refusal,
            }
        }
        if who.starts_with("cloud") {
            let write = Write { ops, ..Write::default() };
            let outcome = self.hub.commit(&Author::Cloud { force: who.ends_with('!') }, &write, hlc).outcome;
            return said(&outcome).trim_start_matches("applied").to_owned();
        }
        self.shops.get_mut(who).unwrap().commit(hlc, ops);
        String::new()
    }

    fn build(&mut self, who: &str, verb: &str, id: &Id, json: &str, ops: &[Op]) -> Result<Option<Op>, String> {
        let (json, expect) =
            json.split_once(" if ").map_or((json, None), |(json, revision)| (json, Some(Revision(revision.parse().unwrap()))));
        let value = Value::parse(json).unwrap();
        let action = match verb.trim_end_matches('!') {
            "put" => Action::Put { value, create: false },
            "patch" => Action::Merge(value),
            "inc" => Action::Increment(value.fields().map(|(field, raw)| (field.to_owned(), raw.as_i64().unwrap())).collect()),
            "del" => Action::Delete { force: verb.ends_with('!') },
            "check" => Action::Check(value.fields().map(|(field, raw)| (field.to_owned(), raw.clone())).collect()),
            other => panic!("no verb {other}"),
        };
        if who.starts_with("cloud") {
            return cloud_op(&self.hub, action, id, ops, true).map_err(|refusal| refusal.to_string());
        }
        let request = Request { collection: id.0.clone(), key: id.1.clone(), action, expect };
        let shop = self.shops.entry(who.to_owned()).or_insert_with(|| shop(who));
        shop.build(&self.hub, &request, verb == "put!", ops).map_err(|refusal| refusal.to_string())
    }

    /// Two ops, as both stores make them: the row is resolved, and what becomes of the record.
    fn resolve(&mut self, who: &str, rest: &str) -> String {
        self.time += 1;
        let hlc = Hlc::from_ms(1_000 + self.time);
        let (row, choice) = rest.split_once(' ').unwrap();
        let choice = match choice {
            "cloud" => Choice::Cloud,
            "edge" => Choice::Edge,
            value => Choice::Value(Value::parse(value).unwrap()),
        };
        let rows = Id::from((CollectionName::conflicts(), Key::parse(row).unwrap()));
        let shop = self.shops.get(who).cloned();
        let view = |id: &Id| match &shop {
            Some(shop) => shop.view(id, &[]),
            None if *id == rows => self.hub.rows.get(row).map(|change| change.value.clone()),
            None => self.hub.value(id).cloned(),
        };
        let Some(text) = view(&rows).map(|value| value.to_text()) else { return "unknown".to_owned() };
        let read = resolve::Row::read(row, &text).unwrap();
        let record = read.record().unwrap();
        let definition = &self.hub.definitions[&record.0].definition;
        let step = match read.step(&choice, view(&record).as_ref(), definition) {
            Ok(step) => step,
            Err(error) => return format!("refused: {error}"),
        };
        let (defined, seen) = (rows_defined(), view(&rows));
        let closing = Scene {
            defined: &defined,
            view: seen.as_ref(),
            seen: Revision(1),
            depends: None,
            stands_on: &[],
            matched: true,
            side: Side::Edge,
        };
        let close = Action::Close { by: who.to_owned() };
        let close = Request { collection: rows.0.clone(), key: rows.1.clone(), action: close, expect: Some(Revision(read.revision)) };
        let mut ops = vec![build(&close, &closing).unwrap().unwrap()];
        let built = match &shop {
            Some(shop) => {
                let expect = Some(shop.cursor());
                let request = Request { collection: record.0, key: record.1, action: step.into_action(), expect };
                shop.build(&self.hub, &request, true, &[])
            }
            None => cloud_op(&self.hub, step.into_action(), &record, &[], true),
        };
        match built {
            Ok(op) => ops.extend(op),
            Err(refusal) => return refusal.to_string(),
        }
        if shop.is_none() {
            let write = Write { ops, ..Write::default() };
            let outcome = self.hub.commit(&Author::Cloud { force: false }, &write, hlc).outcome;
            return said(&outcome).trim_start_matches("applied").to_owned();
        }
        self.shops.get_mut(who).unwrap().commit(hlc, ops);
        String::new()
    }

    fn up(&mut self, node: &str) -> String {
        let decisions = self.shops.get_mut(node).unwrap().up(&mut self.hub);
        decisions.iter().map(|(number, decision)| format!("{number} {}\n", said(&decision.outcome))).collect()
    }

    fn rows(&self) -> String {
        let mut text = String::new();
        for (id, change) in &self.hub.rows {
            let row = Row::parse(&change.value.to_text()).unwrap();
            assert_eq!((&row.id, row.state, row.kind), (id, change.state, change.row.kind));
            let place = change.partition.as_deref().unwrap_or("hidden");
            let by = row.resolved_by.iter().map(|by| format!(" by {by}")).collect::<String>();
            let (kind, state) = (row.kind.as_str(), row.state.as_str());
            writeln!(text, "{id} {kind} {state}{by} {}/{} in {place} x{}", row.collection, row.key, row.count).unwrap();
            for field in &row.fields {
                write!(text, "  {}", field.name).unwrap();
                for (name, value) in [("base", &field.base), ("cloud", &field.cloud), ("edge", &field.edge), ("result", &field.result)] {
                    value.iter().for_each(|value| write!(text, " {name}={}", value.get()).unwrap());
                }
                field.delta.iter().for_each(|delta| write!(text, " delta={delta}").unwrap());
                field.sum.iter().filter(|_| row.count > 1).for_each(|sum| write!(text, " sum={sum}").unwrap());
                text.push('\n');
            }
        }
        text
    }
}

fn rows_defined() -> Defined {
    let definition = Definition::parse(r#"{"key":"id","edge":"read-only"}"#).unwrap();
    Defined { name: CollectionName::conflicts(), revision: Revision::ZERO, definition }
}

fn shop(name: &str) -> Shop {
    let names = ["lyon", "oslo", "rome"];
    let place = names.iter().position(|own| *own == name).unwrap_or_else(|| panic!("no shop {name}"));
    Shop::new(name, place as u32 + 1)
}

fn id(name: &str) -> Id {
    let (collection, key) = name.split_once('/').unwrap();
    (CollectionName::parse(collection).unwrap(), Key::parse(key).unwrap())
}

fn text(value: Option<&Value>) -> String {
    value.map_or("-".to_owned(), Value::to_text)
}

fn said(outcome: &Outcome) -> String {
    let code = outcome.code.iter().map(|code| format!(" {code}"));
    let ids = outcome.conflicts.iter().map(|id| format!(" {id}"));
    std::iter::once(outcome.verdict.as_str().to_owned()).chain(code).chain(ids).collect()
}
