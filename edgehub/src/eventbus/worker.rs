//! What is done with what devices say: judged, kept, answered, and acknowledged, many at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use devicetwin::incoming::{StateUpdate, TwinUpdate, event_id_of};
use devicetwin::outgoing::{Code, Event, Message, Subject, members, refusal, state};
use devicetwin::topic::{self, Ask, Asked};
use devicetwin::update::{Judged, STATES};
use metamanager::{DeviceReport, LocalRequest, LocalWrite, Metamanager, Precondition, ReadError, Refusal, Reported};
use proto::build::{Action, Request};
use proto::device::{DeviceId, Half, Twin, TwinField};
use proto::json::{Raw, Value};
use proto::names::{CollectionName, Key};
use tokio::sync::{oneshot, watch};

use super::board::{BusBoard, Kind};
use super::members::{self as declared, Known, Members};
use super::rates::{Rates, Who};
use super::told::Told;
use super::trouble::Trouble;
use super::way::{Message as Said, Way};
use super::{Line, client_id};
use crate::clock::SystemClock;

/// What is known of the devices at one broker, and what they were told.
pub(super) struct Worker {
    kind: Kind,
    store: Metamanager,
    node: String,
    board: Arc<BusBoard>,
    clock: SystemClock,
    pub(super) way: Way,
    up: bool,
    members: Members,
    told: Told,
    rates: Rates,
    stop: watch::Receiver<bool>,
    /// Those who are over their bound in what is being heard: for the rest of it too, so that no value overtakes a newer one.
    over: BTreeSet<Who>,
}

/// A message, and what is to be done about it.
struct Heard {
    message: Said,
    event_id: String,
    todo: Todo,
}

enum Todo {
    /// Only to be answered.
    Answer(Vec<Message>),
    /// To be kept first.
    Keep(Wish),
    /// Kept together with a later one of this device, and acknowledged where that is.
    Folded(Key),
}

/// Whether a message may be acknowledged.
#[derive(Clone)]
enum Fate {
    Done,
    /// The broker went away, or edgehub stops, before it was answered: it comes again by itself.
    Untold,
    /// The database could not take it.
    Later,
    /// As the one that holds its values.
    With(Key),
}

impl From<bool> for Fate {
    /// Of a message that was answered, or was not.
    fn from(told: bool) -> Self {
        if told { Self::Done } else { Self::Untold }
    }
}

/// What is to be kept.
struct Wish {
    known: Arc<Known>,
    ask: Ask,
    /// Fields of the twin that the device reports.
    reported: Vec<(String, Raw, Option<u64>)>,
    /// Values that are desired, by property.
    desired: Vec<(String, Raw)>,
    /// The properties that the answer shows.
    names: Vec<String>,
    /// What of the message was refused.
    refused: Option<String>,
    /// It is beyond its device's bound: it holds the values of others, and is not answered as such.
    over: bool,
}

impl Wish {
    fn subject(&self) -> Subject<'_> {
        Subject { id: &self.known.id, model: &self.known.model }
    }
}

/// Why nothing was kept.
enum Unkept {
    /// The sender hears why, and that is all.
    Refused(Code, String),
    /// The database cannot take it now: the broker has to send it again.
    Later(Code, String),
}

impl From<ReadError> for Unkept {
    fn from(error: ReadError) -> Self {
        Self::Later(Code::Internal, error.to_string())
    }
}

impl From<Refusal> for Unkept {
    fn from(refusal: Refusal) -> Self {
        let words = refusal.to_string();
        match refusal {
            Refusal::UnknownDevice(_) | Refusal::UnknownCollection(_) | Refusal::NotSynced => Self::Refused(Code::NotFound, words),
            Refusal::Busy => Self::Later(Code::TooMany, words),
            Refusal::DiskFull { .. } | Refusal::OutboxFull { .. } | Refusal::Store(_) | Refusal::Closed => {
                Self::Later(Code::Internal, words)
            }
            _ => Self::Refused(Code::BadRequest, words),
        }
    }
}

impl Worker {
    pub(super) fn new(line: &Line, way: Way, stop: watch::Receiver<bool>) -> Self {
        Self {
            kind: line.kind,
            store: line.store.clone(),
            node: line.node.clone(),
            board: Arc::clone(&line.board),
            clock: line.clock,
            way,
            up: false,
            members: Members::default(),
            told: Told::default(),
            rates: Rates::new(line.rate),
            stop,
            over: BTreeSet::new(),
        }
    }

    fn event<'a>(&self, id: &'a str) -> Event<'a> {
        Event { id, now_ms: self.clock.now().wall_ms }
    }

    /// The broker is there: what it shall bring is asked for, and everything is told anew.
    pub(super) async fn connected(&mut self, kept: Option<bool>) {
        let now_ms = self.clock.now().wall_ms;
        self.up = true;
        let lost = self.board.up(self.kind, kept, now_ms);
        if lost {
            tracing::warn!(
                "the MQTT broker has forgotten the session of {}: what devices said while edgehub was away may be lost; \
                 edgehub doctor says what to do",
                client_id(&self.node)
            );
        }
        // Otherwise it is gone again, and asked when it is back.
        let _ = self.way.subscribe().await;
        let event = self.event("");
        match self.told.everything(&self.store, &mut self.members, &self.node, event) {
            Ok(messages) => drop(self.publish(messages).await),
            Err(error) => tracing::warn!(%error, "devices could not be told what is desired of them"),
        }
    }

    /// Whether somebody waits for edgehub's goodbye.
    pub(super) fn has_last_words(&self) -> bool {
        self.up && self.kind == Kind::External
    }

    /// The broker is not there.
    pub(super) fn disconnected(&mut self, trouble: &Trouble) {
        let now_ms = self.clock.now().wall_ms;
        let broker = self.kind.as_str();
        let first = self.board.down(self.kind, format!("{trouble}; {}", trouble.advice()), now_ms);
        if std::mem::take(&mut self.up) {
            tracing::warn!(broker, error = %trouble, "the MQTT broker went away; it is tried again");
        } else if first {
            // Many nodes have no devices, and no broker.
            tracing::info!(broker, error = %trouble, "no MQTT broker: devices cannot speak until there is one; it is tried again");
        }
    }

    /// Something changed in the database.
    pub(super) async fn changed(&mut self) {
        if !self.up {
            return self.members.forget_all();
        }
        let event = self.event("");
        match self.told.changes(&self.store, &mut self.members, &self.node, event) {
            Ok(messages) => drop(self.publish(messages).await),
            Err(error) => tracing::warn!(%error, "devices could not be told what is desired of them"),
        }
    }

    /// Waits for room where there is none: so nothing more is heard or acknowledged than can be answered. What the broker is not there
    /// for is dropped, and false is the answer: what follows from a message comes again with it, the rest is said again when the broker
    /// is there.
    async fn publish(&mut self, messages: Vec<Message>) -> bool {
        let mut all = true;
        for message in messages {
            let published = self.up
                && tokio::select! {
                    biased;
                    published = self.way.publish(message) => published,
                    _ = self.stop.wait_for(|stop| *stop) => false,
                };
            self.board.update(|view| if published { view.published += 1 } else { view.dropped += 1 });
            all &= published;
        }
        all
    }

    /// Everything that arrived together: one commit for what was reported, then the answers, then the acknowledgements. False: the
    /// database could not take something, and it has to come again.
    pub(super) async fn hear(&mut self, messages: Vec<Said>) -> bool {
        let count = messages.len() as u64;
        self.board.update(|view| view.received += count);
        self.over.clear();
        let mut heard: Vec<Heard> = messages.into_iter().map(|message| self.judge(message)).collect();
        fold(&mut heard);
        let mut kept = self.keep(&heard).await.into_iter();
        let mut fates = Vec::with_capacity(heard.len());
        let mut last = BTreeMap::new();
        for Heard { message, event_id, todo } in heard {
            let fate = match todo {
                Todo::Answer(answer) => self.publish(answer).await.into(),
                Todo::Folded(device) => Fate::With(device),
                Todo::Keep(wish) => {
                    let reported = if wish.reported.is_empty() { None } else { kept.next() };
                    let fate = self.kept(&wish, reported, &event_id).await;
                    if wish.over {
                        last.insert(wish.known.key.clone(), fate.clone());
                    }
                    fate
                }
            };
            fates.push((message, fate));
        }
        let mut all = true;
        for (message, fate) in fates {
            let fate = match fate {
                Fate::With(device) => last.get(&device).cloned().unwrap_or(Fate::Later),
                fate => fate,
            };
            match fate {
                Fate::Done => self.way.acknowledge(&message),
                Fate::Untold => {}
                Fate::Later | Fate::With(_) => all = false,
            }
        }
        all
    }

    /// What became of a message that is to be kept is answered.
    async fn kept(&mut self, wish: &Wish, reported: Option<Result<Reported, Refusal>>, event_id: &str) -> Fate {
        let id = wish.known.id.as_str();
        let has_reported = matches!(reported, Some(Ok(_)));
        let (answer, done) = match self.settle(wish, reported, event_id).await {
            Ok(answer) => (answer, true),
            Err(Unkept::Refused(code, why)) => (vec![self.refuse(id, wish.ask, event_id, code, &why)], true),
            // It must not come again: what it reports would then take the place of something newer.
            Err(Unkept::Later(code, why)) if has_reported => {
                let why = format!("what it reports is kept; what is desired is not: {why}");
                (vec![self.refuse(id, wish.ask, event_id, code, &why)], true)
            }
            Err(Unkept::Later(code, why)) => (vec![self.refuse(id, wish.ask, event_id, code, &why)], false),
        };
        let mut told = true;
        if !wish.over || !done {
            told = self.publish(answer).await;
        } else if let Some(too_many) = self.too_many(&Who::Device(wish.known.key.clone()), id, wish.ask, event_id) {
            // Not its own result, but what it has led to.
            let result = topic::result(id, wish.ask);
            let others = answer.into_iter().filter(|message| message.topic != result);
            told = self.publish(std::iter::once(too_many).chain(others).collect()).await;
        }
        if done { told.into() } else { Fate::Later }
    }

    /// Whether somebody says more than he may.
    fn is_over(&mut self, who: &Who) -> bool {
        if self.over.contains(who) {
            self.rates.fold(who);
        } else if self.rates.takes(who, self.clock.now().mono_ms) {
            return false;
        } else {
            self.over.insert(who.clone());
        }
        self.board.update(|view| view.folded += 1);
        true
    }

    /// The answer to one who says too much, at most once a second.
    fn too_many(&mut self, who: &Who, id: &str, ask: Ask, event_id: &str) -> Option<Message> {
        let count = self.rates.tell(who, self.clock.now().mono_ms)?;
        let what = match who {
            Who::Device(_) => "the newest values count, not each was answered",
            Who::Undeclared | Who::Membership => "not each was answered",
        };
        let why = format!("{count} messages were more than may come in a second ([mqtt] device_rate); {what}");
        Some(self.refuse(id, ask, event_id, Code::TooMany, &why))
    }

    /// How long until somebody has to be told that he said too much.
    pub(super) fn settling(&self) -> Option<Duration> {
        let now_ms = self.clock.now().mono_ms;
        self.rates.next_ms().map(|next| Duration::from_millis(next.saturating_sub(now_ms).max(1)))
    }

    /// Those who said too much and are quiet now hear what became of it.
    pub(super) async fn settle_rates(&mut self) {
        for key in self.rates.owed(self.clock.now().mono_ms) {
            let who = Who::Device(key.clone());
            let Some(told) = self.too_many(&who, key.as_str(), Ask::Update, "") else { continue };
            let mut answer = vec![told];
            let id = DeviceId::parse(key.as_str()).ok();
            let known = id.and_then(|id| self.members.find(&self.store, &id).ok().flatten());
            if let (Some(known), Ok(Some(twin))) = (known, declared::twin(&self.store, &key)) {
                answer.extend(Subject { id: &known.id, model: &known.model }.delta(self.event(""), &twin));
            }
            self.publish(answer).await;
        }
    }

    fn refuse(&self, id: &str, ask: Ask, event_id: &str, code: Code, why: &str) -> Message {
        self.board.update(|view| view.refused += 1);
        refusal(id, ask, self.event(event_id), code, why)
    }

    fn judge(&mut self, message: Said) -> Heard {
        let event_id = event_id_of(&message.publish.payload);
        let todo = match topic::parse(&message.publish.topic) {
            Some(Asked::Device(id, ask)) => match self.wish(id, ask, &message, &event_id) {
                Ok(todo) => todo,
                Err((code, why)) => Todo::Answer(vec![self.refuse(id, ask, &event_id, code, &why)]),
            },
            Some(Asked::Membership(node)) if node == self.node && self.is_over(&Who::Membership) => Todo::Answer(Vec::new()),
            Some(Asked::Membership(node)) if node == self.node => {
                let all = declared::members(&self.store).unwrap_or_default();
                Todo::Answer(vec![members(&self.node, self.event(&event_id), &all)])
            }
            // Another node's, on a broker that several share.
            Some(Asked::Membership(_)) | None => Todo::Answer(Vec::new()),
        };
        Heard { message, event_id, todo }
    }

    fn wish(&mut self, id: &str, ask: Ask, message: &Said, event_id: &str) -> Result<Todo, (Code, String)> {
        let internal = |error: ReadError| (Code::Internal, error.to_string());
        let known = match DeviceId::parse(id) {
            Ok(id) => self.members.find(&self.store, &id).map_err(internal)?,
            Err(error) => return Err((Code::BadRequest, error.reason)),
        };
        let Some(known) = known else {
            self.board.stranger(id, &message.publish.topic, self.clock.now().wall_ms);
            if self.is_over(&Who::Undeclared) {
                return Ok(Todo::Answer(self.too_many(&Who::Undeclared, id, ask, event_id).into_iter().collect()));
            }
            let declare = "declare it: edgehub device apply -f FILE";
            return Err((Code::NotFound, format!("node {} has no device {id}; {declare}", self.node)));
        };
        self.board.known(known.id.as_str());
        let who = Who::Device(known.key.clone());
        let over = self.is_over(&who);
        let wish = Wish { known, ask, reported: Vec::new(), desired: Vec::new(), names: Vec::new(), refused: None, over };
        match self.fill(wish, message, event_id) {
            // It changes nothing, so that nothing is left of it but being told.
            Ok(Todo::Answer(_)) | Err(_) if over => Ok(Todo::Answer(self.too_many(&who, id, ask, event_id).into_iter().collect())),
            filled => filled,
        }
    }

    /// What a declared device says.
    fn fill(&self, mut wish: Wish, message: &Said, event_id: &str) -> Result<Todo, (Code, String)> {
        let internal = |error: ReadError| (Code::Internal, error.to_string());
        let bad = |error: devicetwin::incoming::BadPayload| (Code::BadRequest, error.to_string());
        match wish.ask {
            Ask::Get if wish.over => return Ok(Todo::Answer(Vec::new())),
            Ask::Get => {
                let twin = declared::twin(&self.store, &wish.known.key).map_err(internal)?.unwrap_or_default();
                return Ok(Todo::Answer(vec![wish.subject().whole(self.event(event_id), &twin)]));
            }
            Ask::State => {
                let said = StateUpdate::read(&message.publish.payload).map_err(bad)?.state;
                if !STATES.contains(&said.as_str()) {
                    let said: String = said.chars().take(60).collect();
                    return Err((Code::BadRequest, format!("a state is one of {}, not {said:?}", STATES.join(", "))));
                }
                wish.reported.push(("state".to_owned(), Raw::string(&said), None));
            }
            Ask::Update => {
                let judged = Judged::of(&TwinUpdate::read(&message.publish.payload).map_err(bad)?, &wish.known.model);
                wish.refused = judged.reason();
                wish.names = judged.reported.keys().chain(judged.desired.keys()).cloned().collect();
                if wish.names.is_empty() {
                    return Err((Code::BadRequest, wish.refused.unwrap_or_default()));
                }
                let half = |(name, fit): (String, devicetwin::update::Fit)| (Half::Reported.field(&name), fit.value, fit.timestamp);
                wish.reported = judged.reported.into_iter().map(half).collect();
                wish.desired = judged.desired.into_iter().map(|(name, fit)| (name, fit.value)).collect();
            }
        }
        Ok(Todo::Keep(wish))
    }

    /// Keeps what was reported, all in one commit; one answer for each message that reports something.
    async fn keep(&self, heard: &[Heard]) -> Vec<Result<Reported, Refusal>> {
        let report = |one: &Heard| match &one.todo {
            Todo::Keep(wish) if !wish.reported.is_empty() => {
                Some(DeviceReport { device: wish.known.key.clone(), values: wish.reported.clone() })
            }
            _ => None,
        };
        let reports: Vec<DeviceReport> = heard.iter().filter_map(report).collect();
        if reports.is_empty() {
            return Vec::new();
        }
        let (values, count) = (reports.iter().map(|report| report.values.len() as u64).sum::<u64>(), reports.len());
        let (answer, answered) = oneshot::channel();
        self.store.run_then(move |store, now| store.keep_reported(now, reports), move |kept| drop(answer.send(kept)));
        self.board.meter.kept(values, self.clock.now().wall_ms);
        answered.await.unwrap_or_else(|_| (0..count).map(|_| Err(Refusal::Closed)).collect())
    }

    /// Keeps what is desired, and says what became of it all.
    async fn settle(&self, wish: &Wish, reported: Option<Result<Reported, Refusal>>, event_id: &str) -> Result<Vec<Message>, Unkept> {
        let (before, mut after) = match reported {
            Some(reported) => reported.map(|Reported { before, after }| (before, after))?,
            None => {
                let twin = declared::twin(&self.store, &wish.known.key)?.unwrap_or_default();
                (twin.clone(), twin)
            }
        };
        let event = self.event(event_id);
        if wish.ask == Ask::State && wish.desired.is_empty() {
            let said = wish.reported.first().and_then(|(_, value, _)| value.as_text().map(|text| text.into_owned()));
            return Ok(vec![state(&wish.known.id, event, &said.unwrap_or_default())]);
        }
        if !wish.desired.is_empty() {
            self.desire(wish, &after).await?;
            after = declared::twin(&self.store, &wish.known.key)?.unwrap_or(after);
        }
        if wish.refused.is_some() {
            self.board.update(|view| view.refused += 1);
        }
        let subject = wish.subject();
        let mut answer = vec![subject.updated(event, &after, wish.names.iter(), wish.refused.as_deref())];
        answer.extend(subject.document(event, &before, &after));
        // What is newly desired is told with every other change of that kind.
        if wish.desired.is_empty() {
            answer.extend(subject.delta(event, &after));
        }
        Ok(answer)
    }

    async fn desire(&self, wish: &Wish, now: &Twin) -> Result<(), Unkept> {
        let mut fields = Value::default();
        let now_ms = self.clock.now().wall_ms;
        for (name, value) in &wish.desired {
            let before = now.properties.get(name).and_then(|reading| reading.desired.as_ref());
            let field = TwinField::after(before, value.clone(), now_ms, &self.node);
            fields.set(&Half::Desired.field(name), field.to_raw());
        }
        let request =
            Request { collection: CollectionName::twins(), key: wish.known.key.clone(), action: Action::Merge(fields), expect: None };
        let requests = vec![LocalRequest { request, precondition: Precondition::Present, own_key: false }];
        let write = LocalWrite { requests, actor: None, request_id: None, idempotency: None, resends: None };
        let (answer, committed) = oneshot::channel();
        self.store.commit_then(write, move |result| drop(answer.send(result)));
        match committed.await.unwrap_or_else(|_| Err(Refusal::Closed.into())) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.reason.into()),
        }
    }
}

/// What one device said beyond its bound becomes one: the last holds the newest of all.
fn fold(heard: &mut [Heard]) {
    let mut last: BTreeMap<Key, usize> = BTreeMap::new();
    for at in (0..heard.len()).rev() {
        let (before, behind) = heard.split_at_mut(at + 1);
        let Some(Heard { todo, .. }) = before.last_mut() else { continue };
        let Todo::Keep(wish) = todo else { continue };
        if !wish.over {
            continue;
        }
        let key = wish.known.key.clone();
        let holder = last.get(&key).and_then(|holder| behind.get_mut(holder - at - 1));
        let Some(Heard { todo: Todo::Keep(newer), .. }) = holder else {
            last.insert(key, at);
            continue;
        };
        newer.take_in(wish);
        *todo = Todo::Folded(key);
    }
}

impl Wish {
    /// Takes in what an older one says and this one does not.
    fn take_in(&mut self, older: &mut Self) {
        for value in older.reported.drain(..) {
            if self.reported.iter().all(|(name, ..)| *name != value.0) {
                self.reported.push(value);
            }
        }
        for value in older.desired.drain(..) {
            if self.desired.iter().all(|(name, _)| *name != value.0) {
                self.desired.push(value);
            }
        }
        for name in older.names.drain(..) {
            if !self.names.contains(&name) {
                self.names.push(name);
            }
        }
    }
}
