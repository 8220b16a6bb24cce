//! What is done with what devices say: judged, kept, answered, and acknowledged, many at a time.

use std::sync::Arc;

use devicetwin::incoming::{StateUpdate, TwinUpdate, event_id_of};
use devicetwin::outgoing::{Code, Event, Message, Subject, members, refusal, state};
use devicetwin::topic::{self, Ask, Asked};
use devicetwin::update::{Judged, STATES};
use metamanager::{DeviceReport, LocalRequest, LocalWrite, Metamanager, Precondition, ReadError, Refusal, Reported};
use proto::build::{Action, Request};
use proto::device::{DeviceId, Half, Twin, TwinField};
use proto::json::{Raw, Value};
use proto::names::CollectionName;
use rumqttc::Publish;
use tokio::sync::oneshot;

use super::board::BusBoard;
use super::broker::Way;
use super::members::{self as declared, Known, Members};
use super::told::Told;
use crate::clock::SystemClock;

/// The event bus's own state.
pub(super) struct Worker {
    pub(super) store: Metamanager,
    pub(super) node: String,
    pub(super) board: Arc<BusBoard>,
    pub(super) clock: SystemClock,
    pub(super) way: Way,
    up: bool,
    members: Members,
    told: Told,
}

/// A message, and what is to be done about it.
struct Heard {
    message: Publish,
    event_id: String,
    todo: Todo,
}

enum Todo {
    /// Only to be answered.
    Answer(Vec<Message>),
    /// To be kept first.
    Keep(Wish),
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
    Later(String),
}

impl From<ReadError> for Unkept {
    fn from(error: ReadError) -> Self {
        Self::Later(error.to_string())
    }
}

impl From<Refusal> for Unkept {
    fn from(refusal: Refusal) -> Self {
        let words = refusal.to_string();
        match refusal {
            Refusal::UnknownDevice(_) | Refusal::UnknownCollection(_) | Refusal::NotSynced => Self::Refused(Code::NotFound, words),
            Refusal::DiskFull { .. } | Refusal::OutboxFull { .. } | Refusal::Store(_) | Refusal::Busy | Refusal::Closed => {
                Self::Later(words)
            }
            _ => Self::Refused(Code::BadRequest, words),
        }
    }
}

impl Worker {
    pub(super) fn new(store: Metamanager, node: String, board: Arc<BusBoard>, clock: SystemClock, way: Way) -> Self {
        Self { store, node, board, clock, way, up: false, members: Members::default(), told: Told::default() }
    }

    fn event<'a>(&self, id: &'a str) -> Event<'a> {
        Event { id, now_ms: self.clock.now().wall_ms }
    }

    /// The broker is there: what it shall bring is asked for, and everything is told anew.
    pub(super) fn connected(&mut self) {
        let now_ms = self.clock.now().wall_ms;
        self.up = true;
        self.board.update(|view| (view.up, view.since_ms) = (true, now_ms));
        if !self.way.subscribe() {
            tracing::warn!("the broker was not asked for messages: too many wait");
        }
        let event = self.event("");
        match self.told.everything(&self.store, &mut self.members, &self.node, event) {
            Ok(messages) => self.publish(messages),
            Err(error) => tracing::warn!(%error, "devices could not be told what is desired of them"),
        }
    }

    /// The broker is not there.
    pub(super) fn disconnected(&mut self, error: &str) {
        let now_ms = self.clock.now().wall_ms;
        if std::mem::take(&mut self.up) {
            tracing::warn!(error, "the MQTT broker went away; it is tried again");
        } else if self.board.view().since_ms == 0 {
            // Many nodes have no devices, and no broker.
            tracing::info!(error, "no MQTT broker: devices cannot speak until there is one; it is tried again");
        }
        self.board.update(|view| {
            if view.up || view.since_ms == 0 {
                (view.up, view.since_ms) = (false, now_ms);
            }
            view.last_error = Some(error.to_owned());
        });
    }

    /// Something changed in the database.
    pub(super) fn changed(&mut self) {
        if !self.up {
            return self.members.forget_all();
        }
        let event = self.event("");
        match self.told.changes(&self.store, &mut self.members, &self.node, event) {
            Ok(messages) => self.publish(messages),
            Err(error) => tracing::warn!(%error, "devices could not be told what is desired of them"),
        }
    }

    /// What the broker is not there for is dropped: what it says is said again when the broker is.
    fn publish(&self, messages: Vec<Message>) {
        for message in messages {
            let published = self.up && self.way.publish(message);
            self.board.update(|view| if published { view.published += 1 } else { view.dropped += 1 });
        }
    }

    /// Everything that arrived together: one commit for what was reported, then the answers, then the acknowledgements. False: the
    /// database could not take something, and the broker has to send it again.
    pub(super) async fn hear(&mut self, messages: Vec<Publish>) -> bool {
        let count = messages.len() as u64;
        self.board.update(|view| view.received += count);
        let heard: Vec<Heard> = messages.into_iter().map(|message| self.judge(message)).collect();
        let mut kept = self.keep(&heard).await.into_iter();
        let mut all = true;
        for Heard { message, event_id, todo } in heard {
            let answer = match todo {
                Todo::Answer(answer) => answer,
                Todo::Keep(wish) => {
                    let reported = if wish.reported.is_empty() { None } else { kept.next() };
                    match self.settle(&wish, reported, &event_id).await {
                        Ok(answer) => answer,
                        Err(Unkept::Refused(code, why)) => vec![self.refuse(wish.known.id.as_str(), wish.ask, &event_id, code, &why)],
                        Err(Unkept::Later(why)) => {
                            all = false;
                            self.publish(vec![self.refuse(wish.known.id.as_str(), wish.ask, &event_id, Code::Internal, &why)]);
                            continue;
                        }
                    }
                }
            };
            self.publish(answer);
            self.way.acknowledge(&message);
        }
        all
    }

    fn refuse(&self, id: &str, ask: Ask, event_id: &str, code: Code, why: &str) -> Message {
        self.board.update(|view| view.refused += 1);
        refusal(id, ask, self.event(event_id), code, why)
    }

    fn judge(&mut self, message: Publish) -> Heard {
        let event_id = event_id_of(&message.payload);
        let todo = match topic::parse(&message.topic) {
            Some(Asked::Device(id, ask)) => match self.wish(id, ask, &message, &event_id) {
                Ok(todo) => todo,
                Err((code, why)) => Todo::Answer(vec![self.refuse(id, ask, &event_id, code, &why)]),
            },
            Some(Asked::Membership(node)) if node == self.node => {
                let all = declared::members(&self.store).unwrap_or_default();
                Todo::Answer(vec![members(&self.node, self.event(&event_id), &all)])
            }
            // Another node's, on a broker that several share.
            Some(Asked::Membership(_)) | None => Todo::Answer(Vec::new()),
        };
        Heard { message, event_id, todo }
    }

    fn wish(&mut self, id: &str, ask: Ask, message: &Publish, event_id: &str) -> Result<Todo, (Code, String)> {
        let internal = |error: ReadError| (Code::Internal, error.to_string());
        let known = match DeviceId::parse(id) {
            Ok(id) => self.members.find(&self.store, &id).map_err(internal)?,
            Err(error) => return Err((Code::BadRequest, error.reason)),
        };
        let Some(known) = known else {
            self.board.stranger(id, &message.topic, self.clock.now().wall_ms);
            let declare = "declare it: edgehub device apply -f FILE";
            return Err((Code::NotFound, format!("node {} has no device {id}; {declare}", self.node)));
        };
        self.board.known(known.id.as_str());
        let bad = |error: devicetwin::incoming::BadPayload| (Code::BadRequest, error.to_string());
        let mut wish = Wish { known, ask, reported: Vec::new(), desired: Vec::new(), names: Vec::new(), refused: None };
        match ask {
            Ask::Get => {
                let twin = declared::twin(&self.store, &wish.known.key).map_err(internal)?.unwrap_or_default();
                return Ok(Todo::Answer(vec![wish.subject().whole(self.event(event_id), &twin)]));
            }
            Ask::State => {
                let said = StateUpdate::read(&message.payload).map_err(bad)?.state;
                if !STATES.contains(&said.as_str()) {
                    let said: String = said.chars().take(60).collect();
                    return Err((Code::BadRequest, format!("a state is one of {}, not {said:?}", STATES.join(", "))));
                }
                wish.reported.push(("state".to_owned(), Raw::string(&said), None));
            }
            Ask::Update => {
                let judged = Judged::of(&TwinUpdate::read(&message.payload).map_err(bad)?, &wish.known.model);
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
        if wish.ask == Ask::State {
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
