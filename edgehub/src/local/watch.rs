//! What changes, told to whoever watches: first, where that is asked for, everything that is there, then the log of changes.

use std::fmt;

use api::problem::Problem;
use api::watch::{Seen, Watch, WatchEvent, WatchFrom, WatchStep};
use metamanager::{Change, Followed, ReadError, Reader, Since, Step, What};
use proto::names::{CollectionName, Key};

use super::{LocalHub, shape};

/// How far a watch has come; in text the token that applications keep: `LOG.NEXT`, and while everything that is there is
/// being told `LOG.NEXT.COLLECTION.KEY`, the key in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    since: Since,
    /// The collection that is being told, and its last key; then the log follows from `since`.
    telling: Option<(CollectionName, Option<Key>)>,
}

impl Place {
    pub(super) fn of(since: Since) -> Self {
        Self { since, telling: None }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let log = parts.next().filter(|log| log.len() == 16)?;
        let since = Since { log: u64::from_str_radix(log, 16).ok()?, next: parts.next()?.parse().ok()? };
        let telling = match (parts.next(), parts.next()) {
            (None, None) => None,
            (Some(collection), Some(key)) => Some((CollectionName::parse(collection).ok()?, unhex(key)?)),
            _ => return None,
        };
        parts.next().is_none().then_some(Self { since, telling })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.since.log, self.since.next)?;
        let Some((collection, key)) = &self.telling else { return Ok(()) };
        write!(f, ".{collection}.")?;
        key.iter().flat_map(|key| key.as_str().bytes()).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The key; none within: before the first one.
fn unhex(text: &str) -> Option<Option<Key>> {
    if text.is_empty() {
        return Some(None);
    }
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect();
    Some(Some(Key::parse(std::str::from_utf8(&bytes?).ok()?).ok()?))
}

impl LocalHub {
    pub(super) fn next_events(&self, watch: &Watch, from: &WatchFrom) -> Result<WatchStep, Problem> {
        self.node()?;
        if !matches!(from, WatchFrom::On(_)) {
            self.check_known(watch)?;
        }
        let end = self.store.read(Reader::log_end).map_err(shape::read_problem)?;
        let place = match from {
            WatchFrom::Now => return Ok(WatchStep::empty(Place::of(end).to_string())),
            WatchFrom::Start => match self.told(watch)?.into_iter().next() {
                Some(first) => Some(Place { since: end, telling: Some((first, None)) }),
                None => Some(Place::of(end)),
            },
            WatchFrom::Token(text) | WatchFrom::On(text) => Place::parse(text).filter(|place| place.since.log == end.log),
        };
        match place {
            None => Ok(WatchStep::reset(Place::of(end).to_string())),
            Some(Place { since, telling: Some(at) }) => self.tell_all(watch, since, at),
            Some(Place { since, telling: None }) => self.follow(watch, since),
        }
    }

    /// Named collections have to be there, and the definitions have to have come.
    fn check_known(&self, watch: &Watch) -> Result<(), Problem> {
        let read = |reader: &mut Reader| watch.collections.iter().try_for_each(|name| reader.count(name).map(drop));
        self.store.read(read).map_err(shape::read_problem)?;
        let status = self.store.read(Reader::status).map_err(shape::read_problem)?;
        if status.synced { Ok(()) } else { Err(shape::not_synced()) }
    }

    /// The collections whose records are told, in order.
    fn told(&self, watch: &Watch) -> Result<Vec<CollectionName>, Problem> {
        let mut names = watch.collections.clone();
        if names.is_empty() {
            let defined = self.store.read(Reader::definitions).map_err(shape::read_problem)?;
            names = defined.into_iter().map(|text| text.name).filter(|name| watch.wants(name)).collect();
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// The next records of all that is there.
    fn tell_all(&self, watch: &Watch, since: Since, (at, mut after): (CollectionName, Option<Key>)) -> Result<WatchStep, Problem> {
        for name in self.told(watch)?.into_iter().filter(|name| *name >= at) {
            let after = after.take().filter(|_| name == at);
            let stretch = match self.store.read(|reader| reader.stretch(&name, after.as_ref())) {
                // It went meanwhile, and with it the log: the next step says so.
                Err(ReadError::UnknownCollection(_)) => continue,
                stretch => stretch.map_err(shape::read_problem)?,
            };
            if stretch.records.is_empty() && stretch.next.is_none() {
                continue;
            }
            let mut events = Vec::with_capacity(stretch.records.len());
            for row in stretch.records {
                let id = Place { since, telling: Some((name.clone(), Some(row.key.clone()))) }.to_string();
                events.push(WatchEvent { id, what: Seen::Record(self.shape_record(&name, row)?) });
            }
            let key = stretch.next.map(Some).unwrap_or_else(|| last_key(&events));
            let next = Place { since, telling: Some((name, key)) }.to_string();
            return Ok(WatchStep { events, next, more: true });
        }
        self.follow(watch, since)
    }

    fn follow(&self, watch: &Watch, since: Since) -> Result<WatchStep, Problem> {
        match self.store.read(|reader| reader.follow(since, &|name| watch.wants(name))).map_err(shape::read_problem)? {
            Followed::Lost { end } => Ok(WatchStep::reset(Place::of(end).to_string())),
            Followed::Step(Step { changes, next, more }) => {
                let mut events = Vec::with_capacity(changes.len());
                for Change { what, after } in changes {
                    if let Some(what) = self.seen(watch, what)? {
                        events.push(WatchEvent { id: Place::of(after).to_string(), what });
                    }
                }
                Ok(WatchStep { events, next: Place::of(next).to_string(), more })
            }
        }
    }

    /// A change as the watcher sees it; none: it is not for this one.
    fn seen(&self, watch: &Watch, what: What) -> Result<Option<Seen>, Problem> {
        Ok(match what {
            What::Record(collection, _, Some(row)) => Some(Seen::Record(self.shape_record(&collection, row)?)),
            What::Record(collection, key, None) => Some(Seen::Deleted { collection: collection.to_string(), key: key.to_string() }),
            What::Conflict(row) => watch.wants_conflict(&row.collection).then(|| Seen::Conflict(shape::conflict(row))),
            What::Outcome(row) => Some(self.shape_write(row)?).filter(|write| watch.wants_write(write)).map(Seen::Outcome),
        })
    }
}

fn last_key(events: &[WatchEvent]) -> Option<Key> {
    match &events.last()?.what {
        Seen::Record(record) => Key::parse(&record.key).ok(),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_others_are_foreign() {
        let since = Since { log: 0x00ab_cdef_0123_4567, next: 42 };
        let name = CollectionName::parse("products").unwrap();
        for telling in [None, Some((name.clone(), None)), Some((name, Some(Key::parse("10248/11 ü").unwrap())))] {
            let place = Place { since, telling };
            assert_eq!(Place::parse(&place.to_string()), Some(place));
        }
        assert_eq!(Place::of(since).to_string(), "00abcdef01234567.42");
        for bad in [
            "",
            "x",
            "00abcdef01234567",
            "abcdef.42",
            "00abcdef01234567.x",
            "00abcdef01234567.1.products",
            "00abcdef01234567.1.a.zz",
            "00abcdef01234567.1.a.6",
            "00abcdef01234567.1.a.61.b",
            "7f3a9c.5.6",
            "00abcdef01234567.1.a.ü1",
        ] {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
    }
}
