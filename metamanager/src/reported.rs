//! What devices report (decision 0011): the newest value of each field of a twin waits in a table until there is room for it in a
//! write. It is durable before whoever reported it hears so, and a burst takes the room of one value.

use std::collections::BTreeMap;

use proto::build::{Action, Request};
use proto::clock::Now;
use proto::device::{Half, STATE, TWINS, Twin, TwinField};
use proto::frame::{Batch, Content, Entry};
use proto::json::{Raw, Value};
use proto::names::{CollectionName, Key};
use rusqlite::{Connection, Row, Statement, params};

use crate::error::{Done, Fault, ReadError, Refusal, StoreError};
use crate::group::Group;
use crate::limits::{REPORT_BYTES, REPORT_DEVICES};
use crate::local::{self, LocalRequest, LocalWrite, Precondition, WriteRef};
use crate::reader::{self, Reader};
use crate::store::{Event, Store, Tx};

/// What one device reports at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceReport {
    /// The device.
    pub device: Key,
    /// Fields of its twin (`reported.temp`, `state`), their new values, and when they were measured where that is known, in
    /// milliseconds since 1970. That the model allows them was judged before.
    pub values: Vec<(String, Raw, Option<u64>)>,
}

/// A report that is durable: the twin before and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// As readers saw it.
    pub before: Twin,
    /// As they see it now.
    pub after: Twin,
}

/// What [`Store::send_reported`] made a write of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sent {
    /// The write's number; none: nothing was due, or the outbox had no room.
    pub number: Option<u64>,
    /// The fields that went into it.
    pub fields: Vec<(Key, String)>,
    /// The last device that was looked at, where there may be more behind it.
    pub next: Option<Key>,
}

impl Store {
    /// Keeps reports, all in one transaction. Each is answered for itself, in order; `Ok` is durable.
    pub fn keep_reported(&mut self, now: Now, reports: Vec<DeviceReport>) -> Vec<Result<Reported, Refusal>> {
        if let Some(space) = self.space().filter(|space| space.refuses_writes()) {
            return reports.iter().map(|_| Err(Refusal::DiskFull { free: space.free })).collect();
        }
        let count = reports.len();
        match self.transaction(|tx| keep(tx, now, reports)) {
            Ok(answers) => answers,
            Err(error) => (0..count).map(|_| Err(Refusal::Store(error.clone()))).collect(),
        }
    }

    /// Makes one write of what waits and is `due`, beginning behind a device; it leaves the table in the same transaction.
    ///
    /// # Errors
    /// The commit failed: everything waits as before.
    pub fn send_reported(&mut self, now: Now, after: Option<&Key>, due: &dyn Fn(&Key, &str) -> bool) -> Result<Sent, StoreError> {
        let sent = self.transaction(|tx| send(tx, now, after, due))?;
        if let Some(newest) = sent.number {
            self.tell(&Event::Committed { newest });
        }
        Ok(sent)
    }
}

impl Reader {
    /// A device's twin with what waits laid over it; none: no such device on this node.
    pub fn twin(&mut self, device: &Key) -> Result<Option<Twin>, ReadError> {
        let twins = twins();
        let id = self.id(&twins)?;
        self.ask(|conn| {
            let state = conn.unchecked_transaction()?;
            let Some(row) = reader::point(&state, reader::POINT, id, &twins, device)? else { return Ok(None) };
            let record = Value::read(&row.value).map_err(|error| Fault::damaged("a twin", error))?;
            let twin = laid_over(&state, device, &record)?;
            state.finish()?;
            Ok(Some(twin))
        })
    }

    /// How many values wait.
    pub fn reported_waiting(&self) -> Result<u64, ReadError> {
        self.ask(|conn| Ok(conn.prepare_cached("SELECT count(*) FROM reported")?.query_row([], |row| crate::ledger::number(row, 0))?))
    }
}

fn twins() -> CollectionName {
    CollectionName::twins()
}

/// A twin as its record has it, with what waits laid over it.
fn laid_over(conn: &Connection, device: &Key, record: &Value) -> Done<Twin> {
    let mut twin = Twin::of(record);
    let mut statement = conn.prepare_cached("SELECT field, value FROM reported WHERE device = ?1")?;
    let mut rows = statement.query([device.as_str()])?;
    while let Some(row) = rows.next()? {
        let (field, text): (String, String) = (row.get(0)?, row.get(1)?);
        twin.lay(&field, &Raw::parse(&text).map_err(|error| Fault::damaged("a reported value", error))?);
    }
    Ok(twin)
}

/// The record of a twin as readers see it; none: no such device here.
fn record(tx: &Tx<'_>, group: &mut Group, device: &Key) -> Done<Option<Value>> {
    let Some(collection) = tx.ledger.collections.get(&twins()).map(|known| known.id) else { return Ok(None) };
    Ok(group.entry(tx, &(collection, device.clone()))?.laying.view.clone())
}

fn keep(tx: &mut Tx<'_>, now: Now, reports: Vec<DeviceReport>) -> Done<Vec<Result<Reported, Refusal>>> {
    let Some(node) = tx.own.node.as_ref().map(ToString::to_string) else {
        return Ok(reports.iter().map(|_| Err(Refusal::NotSynced)).collect());
    };
    let now_ms = tx.clock.time_ms(now);
    let mut group = Group::default();
    let mut known: BTreeMap<Key, Option<Twin>> = BTreeMap::new();
    let mut answers = Vec::with_capacity(reports.len());
    for report in reports {
        if !known.contains_key(&report.device) {
            let record = record(tx, &mut group, &report.device)?;
            let twin = record.map(|record| laid_over(tx.conn, &report.device, &record)).transpose()?;
            known.insert(report.device.clone(), twin);
        }
        let Some(Some(twin)) = known.get_mut(&report.device) else {
            answers.push(Err(Refusal::UnknownDevice(report.device.to_string())));
            continue;
        };
        let before = twin.clone();
        for (field, value, timestamp) in report.values {
            // The same once more, as a publisher says it whose broker died before it answered.
            if twin.field(&field).is_some_and(|known| known.value == value && Some(known.timestamp) == timestamp) {
                continue;
            }
            let raw = TwinField::after(twin.field(&field), value, timestamp.unwrap_or(now_ms), &node).to_raw();
            let mut upsert = tx.conn.prepare_cached("INSERT OR REPLACE INTO reported (device, field, value) VALUES (?1, ?2, ?3)")?;
            upsert.execute(params![report.device.as_str(), field, raw.as_str()])?;
            twin.lay(&field, &raw);
        }
        answers.push(Ok(Reported { before, after: twin.clone() }));
    }
    Ok(answers)
}

/// What waits of one device.
type Waiting = (Key, Value);

fn send(tx: &mut Tx<'_>, now: Now, after: Option<&Key>, due: &dyn Fn(&Key, &str) -> bool) -> Done<Sent> {
    let (waiting, next) = gather(tx.conn, after, due)?;
    let complete = is_complete(tx);
    let mut group = Group::default();
    let mut known = Vec::with_capacity(waiting.len());
    for (device, value) in waiting {
        match record(tx, &mut group, &device)? {
            Some(_) => known.push((device, value)),
            // Of a device that moved away, or is gone, nothing is reported from here any more.
            None if complete => {
                tracing::warn!(%device, "is not this node's any more; what it reported here last is dropped");
                forget(tx.conn, &device)?;
            }
            // It may still come: the file is new, or what the node gets is read again.
            None => {}
        }
    }
    drop(group);
    Ok(Sent { next, ..write(tx, now, known)? })
}

/// Whether the twins of this node are all here: a device that is not among them is not this node's.
fn is_complete(tx: &Tx<'_>) -> bool {
    let node = tx.own.node.as_ref().map(ToString::to_string);
    let place = node.and_then(|node| tx.ledger.granted(TWINS, Some(&node)));
    place.is_some_and(|place| tx.ledger.grants[place].done)
}

/// Before batches are applied: what was reported of devices that they take away becomes a write, which has seen what the node knew when
/// it was measured, and so still counts. The write's number, where there is one.
pub(crate) fn leave(tx: &mut Tx<'_>, now: Now, batches: &[Batch]) -> Done<Option<u64>> {
    let gone = |entry: &Entry| match entry {
        Entry::Record(record) if record.content == Content::Left && record.collection.as_str() == TWINS => Some(record.key.clone()),
        _ => None,
    };
    let mut known = Vec::new();
    for device in batches.iter().flat_map(|batch| &batch.entries).filter_map(gone) {
        let waiting = of_device(tx.conn, &device)?;
        if waiting.fields().next().is_some() && record(tx, &mut Group::default(), &device)?.is_some() {
            known.push((device, waiting));
        }
    }
    // Each alone: one that moves with a thousand others is not refused for their size.
    let mut newest = None;
    for one in known {
        newest = write(tx, now, vec![one])?.number.or(newest);
    }
    Ok(newest)
}

/// What waits of one device, whether it is due or not.
fn of_device(conn: &Connection, device: &Key) -> Done<Value> {
    let mut statement = conn.prepare_cached("SELECT field, value FROM reported WHERE device = ?1")?;
    let mut rows = statement.query([device.as_str()])?;
    let mut waiting = Value::default();
    while let Some(row) = rows.next()? {
        let (field, text): (String, String) = (row.get(0)?, row.get(1)?);
        waiting.set(&field, Raw::parse(&text).map_err(|error| Fault::damaged("a reported value", error))?);
    }
    Ok(waiting)
}

/// Makes one write of what waits; it leaves the table.
fn write(tx: &mut Tx<'_>, now: Now, mut known: Vec<Waiting>) -> Done<Sent> {
    let number = loop {
        if known.is_empty() {
            return Ok(Sent::default());
        }
        let write =
            LocalWrite { requests: known.iter().map(request).collect(), actor: None, request_id: None, idempotency: None, resends: None };
        let (mut answers, _) = local::commit(tx, now, vec![write], None)?;
        match answers.pop() {
            Some(Ok(committed)) => break committed.write,
            // One device of the write is at fault: the others go without it.
            Some(Err(refused)) => match refused.op.filter(|place| *place < known.len()) {
                Some(place) => {
                    let (device, _) = known.remove(place);
                    tracing::warn!(%device, error = %refused.reason, "what it reported cannot be sent and is dropped");
                    forget(tx.conn, &device)?;
                }
                None => return Ok(Sent::default()),
            },
            None => return Err(Fault::damaged("reports", "a write without an answer")),
        }
    };
    let WriteRef::Own(number) = number else { return Err(Fault::damaged("reports", "a write of another database")) };
    let mut fields = Vec::new();
    for (device, value) in &known {
        for (field, _) in value.fields() {
            let mut gone = tx.conn.prepare_cached("DELETE FROM reported WHERE device = ?1 AND field = ?2")?;
            gone.execute(params![device.as_str(), field])?;
            fields.push((device.clone(), field.to_owned()));
        }
    }
    Ok(Sent { number: Some(number), fields, next: None })
}

/// What waits in a damaged file, into the one that takes its place: the broker was told that it is safe. What cannot be read, or is no
/// field of a twin any more, stays behind. How many values were saved.
pub(crate) fn salvage(from: &Connection, into: &Connection) -> Done<u64> {
    // A file of an older format has no such table.
    let there = from.query_row("SELECT 1 FROM sqlite_schema WHERE name = 'reported'", [], |_| Ok(()));
    if there.is_err() {
        return Ok(0);
    }
    let mut saved = 0;
    let mut insert = into.prepare("INSERT OR IGNORE INTO reported (device, field, value) VALUES (?1, ?2, ?3)")?;
    // Forwards to the first damage, and backwards to the last: what lies between two damaged pages is lost.
    for order in ["", " DESC"] {
        let sql = format!("SELECT device, field, value FROM reported ORDER BY device{order}, field{order}");
        let Ok(mut query) = from.prepare(&sql) else { break };
        let Ok(mut rows) = query.query([]) else { break };
        loop {
            match rows.next() {
                Ok(Some(row)) => saved += salvage_one(row, &mut insert)?,
                Ok(None) => return Ok(saved),
                Err(error) => {
                    tracing::error!(%error, "some of what devices reported could not be saved from the damaged file");
                    break;
                }
            }
        }
    }
    Ok(saved)
}

fn salvage_one(row: &Row<'_>, insert: &mut Statement<'_>) -> Done<u64> {
    let text = |place| row.get::<_, String>(place);
    let (Ok(device), Ok(field), Ok(value)) = (text(0), text(1), text(2)) else { return Ok(0) };
    let known = field == STATE || Half::of_field(&field).is_some_and(|(half, _)| half == Half::Reported);
    let whole = Raw::parse(&value).is_ok_and(|raw| TwinField::parse(&raw).is_ok());
    if !known || !whole || Key::parse(&device).is_err() {
        return Ok(0);
    }
    Ok(insert.execute(params![device, field, value])? as u64)
}

fn forget(conn: &Connection, device: &Key) -> Done<()> {
    conn.prepare_cached("DELETE FROM reported WHERE device = ?1")?.execute([device.as_str()])?;
    Ok(())
}

fn request((device, value): &Waiting) -> LocalRequest {
    let request = Request { collection: twins(), key: device.clone(), action: Action::Merge(value.clone()), expect: None };
    LocalRequest { request, precondition: Precondition::None, own_key: false }
}

/// What is due behind a device, as much as one write takes, and the device that it ended at where there may be more.
fn gather(conn: &Connection, after: Option<&Key>, due: &dyn Fn(&Key, &str) -> bool) -> Done<(Vec<Waiting>, Option<Key>)> {
    let mut statement = conn.prepare_cached("SELECT device, field, value FROM reported WHERE device > ?1 ORDER BY device, field")?;
    let mut rows = statement.query([after.map_or("", Key::as_str)])?;
    let (mut waiting, mut bytes): (Vec<Waiting>, usize) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let device = Key::parse(row.get_ref(0)?.as_str().unwrap_or_default()).map_err(|error| Fault::damaged("a device", error))?;
        let (field, text): (String, String) = (row.get(1)?, row.get(2)?);
        if !due(&device, &field) {
            continue;
        }
        let new = waiting.last().is_none_or(|(last, _)| *last != device);
        if new && (waiting.len() >= REPORT_DEVICES || bytes >= REPORT_BYTES) {
            let last = waiting.last().map(|(last, _)| last.clone());
            return Ok((waiting, last));
        }
        bytes += field.len() + text.len();
        let raw = Raw::parse(&text).map_err(|error| Fault::damaged("a reported value", error))?;
        if new {
            waiting.push((device, Value::default()));
        }
        if let Some((_, value)) = waiting.last_mut() {
            value.set(&field, raw);
        }
    }
    Ok((waiting, None))
}
