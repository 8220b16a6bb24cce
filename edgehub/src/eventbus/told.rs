//! What devices were told of what is desired of them, and which of them this node has: from the log of changes, so that nothing is
//! missed and nothing is told twice.

use std::collections::BTreeMap;

use devicetwin::outgoing::{Event, Member, Message, Subject, attributes, detail, membership_updated};
use metamanager::{Followed, Metamanager, ReadError, Since, What};
use proto::device::{self, DEVICES, Device, DeviceId, MODELS, TWINS, Twin};
use proto::json::Raw;
use proto::names::Key;

use super::members::{self, Members};

/// What is desired of a device, by property.
type Desired = BTreeMap<String, Raw>;

/// How far the log was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    since: Since,
    /// Every device of this node, with what was desired of it when it was told last.
    devices: BTreeMap<Key, (Desired, Member)>,
}

fn desired(twin: &Twin) -> Desired {
    let of = |(name, reading): (&String, &device::Reading)| Some((name.clone(), reading.desired.as_ref()?.value.clone()));
    twin.properties.iter().filter_map(of).collect()
}

impl Told {
    /// Tells everything: the broker is there again, and nobody knows who missed what.
    pub(super) fn everything(
        &mut self,
        store: &Metamanager,
        known: &mut Members,
        node: &str,
        event: Event<'_>,
    ) -> Result<Vec<Message>, ReadError> {
        self.since = store.read(metamanager::Reader::log_end)?;
        self.devices.clear();
        known.forget_all();
        let mut messages = Vec::new();
        for (id, key, declared) in members::all(store)? {
            messages.extend(self.enters(store, known, (&id, &key, &declared), event)?.1);
        }
        let all: Vec<Member> = self.devices.values().map(|(_, member)| member.clone()).collect();
        messages.insert(0, detail(node, event, &all));
        Ok(messages)
    }

    /// Tells what changed since the last time.
    pub(super) fn changes(
        &mut self,
        store: &Metamanager,
        known: &mut Members,
        node: &str,
        event: Event<'_>,
    ) -> Result<Vec<Message>, ReadError> {
        let mut messages = Vec::new();
        loop {
            let step = match store.read(|reader| reader.follow(self.since, &device::holds))? {
                Followed::Lost { .. } => return self.everything(store, known, node, event),
                Followed::Step(step) => step,
            };
            for change in step.changes {
                let What::Record(collection, key, row) = change.what else { continue };
                match collection.as_str() {
                    MODELS => known.forget_all(),
                    DEVICES => {
                        known.forget(&key);
                        messages.extend(self.declared(store, known, &key, row.map(|row| row.value).as_deref(), node, event)?);
                    }
                    TWINS => messages.extend(self.twin(store, known, &key, event)?),
                    _ => {}
                }
            }
            self.since = step.next;
            if !step.more {
                return Ok(messages);
            }
        }
    }

    /// What a device is told that did not do what was desired of it before: nothing, it was told already.
    fn twin(&mut self, store: &Metamanager, known: &mut Members, key: &Key, event: Event<'_>) -> Result<Vec<Message>, ReadError> {
        let (Ok(id), Some(twin)) = (DeviceId::parse(key.as_str()), members::twin(store, key)?) else { return Ok(Vec::new()) };
        let now = desired(&twin);
        let Some((before, _)) = self.devices.get_mut(key) else { return Ok(Vec::new()) };
        if *before == now {
            return Ok(Vec::new());
        }
        *before = now;
        let Some(known) = known.find(store, &id)? else { return Ok(Vec::new()) };
        let subject = Subject { id: &known.id, model: &known.model };
        Ok(subject.delta(event, &twin).into_iter().collect())
    }

    fn declared(
        &mut self,
        store: &Metamanager,
        known: &mut Members,
        key: &Key,
        value: Option<&str>,
        node: &str,
        event: Event<'_>,
    ) -> Result<Vec<Message>, ReadError> {
        let (Ok(id), Some(Ok(device))) = (DeviceId::parse(key.as_str()), value.map(Device::parse)) else {
            let gone = self.devices.remove(key).map(|(_, member)| member);
            return Ok(gone.map(|member| membership_updated(node, event, &[], &[member])).into_iter().collect());
        };
        if let Some((_, before)) = self.devices.get_mut(key) {
            *before = members::member(store, &id, key, &device)?;
            return Ok(vec![attributes(&id, event, before)]);
        }
        let (member, delta) = self.enters(store, known, (&id, key, &device), event)?;
        Ok([membership_updated(node, event, &[member], &[])].into_iter().chain(delta).collect())
    }

    /// A device that is this node's from now on, and what it is told that it has to do.
    fn enters(
        &mut self,
        store: &Metamanager,
        known: &mut Members,
        (id, key, declared): (&DeviceId, &Key, &Device),
        event: Event<'_>,
    ) -> Result<(Member, Option<Message>), ReadError> {
        let twin = members::twin(store, key)?.unwrap_or_default();
        let member = Member::of(id, declared, &twin);
        let known = known.find(store, id)?;
        self.devices.insert(key.clone(), (desired(&twin), member.clone()));
        Ok((member, known.and_then(|known| Subject { id: &known.id, model: &known.model }.delta(event, &twin))))
    }
}
