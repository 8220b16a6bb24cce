//! What changes, told to whoever watches: first, where that is asked for, everything that is there, then by revision.

use std::fmt;

use api::problem::Problem;
use api::watch::{Seen, Watch, WatchEvent, WatchFrom, WatchStep};
use proto::ids::{Epoch, Revision};
use proto::names::{CollectionName, Key};

use super::{CloudHub, shape};
use crate::store::{WatchChange, WatchPage, WatchPlace, WatchWhat};

/// How far a watch has come; in text the token that applications keep: `EPOCH.REVISION`, inside of a revision
/// `EPOCH.REVISION.c.COLLECTION-ID.KEY`, and while everything that is there is being told `EPOCH.REVISION.l.COLLECTION.KEY`, keys in
/// hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    at: WatchPlace,
    /// The collection that is being told, and its last key.
    telling: Option<(CollectionName, Option<Key>)>,
}

impl Place {
    pub(super) fn of(at: WatchPlace) -> Self {
        Self { at, telling: None }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let epoch = parts.next().filter(|epoch| epoch.len() == 16).and_then(|epoch| u64::from_str_radix(epoch, 16).ok())?;
        let revision = Revision(parts.next()?.parse().ok()?);
        let (mut inside, mut telling) = (None, None);
        match (parts.next(), parts.next(), parts.next()) {
            (None, ..) => {}
            (Some("c"), Some(collection), Some(key)) => inside = Some((collection.parse().ok()?, unhex(key)?)),
            (Some("l"), Some(collection), Some(key)) => {
                let key = Some(unhex(key)?).filter(|key| !key.is_empty()).map(|key| Key::parse(&key)).transpose().ok()?;
                telling = Some((CollectionName::parse(collection).ok()?, key));
            }
            _ => return None,
        }
        let at = WatchPlace { epoch: Epoch(epoch), revision, inside };
        parts.next().is_none().then_some(Self { at, telling })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.at.epoch.0, self.at.revision)?;
        let key = match (&self.telling, &self.at.inside) {
            (Some((collection, key)), _) => {
                write!(f, ".l.{collection}.")?;
                key.as_ref().map_or("", Key::as_str)
            }
            (None, Some((collection, key))) => {
                write!(f, ".c.{collection}.")?;
                key
            }
            (None, None) => return Ok(()),
        };
        key.bytes().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn unhex(text: &str) -> Option<String> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect();
    String::from_utf8(bytes?).ok()
}

impl CloudHub {
    pub(super) async fn next_events(&self, watch: &Watch, from: &WatchFrom) -> Result<WatchStep, Problem> {
        for name in &watch.collections {
            // A collection that goes while it is watched ends the watch, and who comes again is told why.
            let asked = name.clone();
            if !self.read(move |store| store.knows(&asked)).await? {
                return Err(Problem::no_collection(name.as_str()));
            }
        }
        let place = match from {
            WatchFrom::Now => {
                let end = self.read(|store| store.watch_end()).await?;
                return Ok(WatchStep::empty(Place::of(end).to_string()));
            }
            WatchFrom::Start => {
                let at = self.read(|store| store.watch_end()).await?;
                let first = self.told(watch).await?.into_iter().next();
                Some(Place { at, telling: first.map(|first| (first, None)) })
            }
            WatchFrom::Token(text) | WatchFrom::On(text) => Place::parse(text),
        };
        match place {
            None => {
                let end = self.read(|store| store.watch_end()).await?;
                Ok(WatchStep::reset(Place::of(end).to_string()))
            }
            Some(Place { at, telling: Some(telling) }) => self.tell_all(watch, at, telling).await,
            Some(Place { at, telling: None }) => self.follow(watch, at).await,
        }
    }

    /// The collections whose records are told, in order.
    async fn told(&self, watch: &Watch) -> Result<Vec<CollectionName>, Problem> {
        let mut names = watch.collections.clone();
        if names.is_empty() {
            let all = self.read(|store| store.collection_names()).await?;
            names = all.into_iter().filter(|name| watch.wants(name)).collect();
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// The next records of all that is there.
    async fn tell_all(&self, watch: &Watch, at: WatchPlace, (name, after): (CollectionName, Option<Key>)) -> Result<WatchStep, Problem> {
        let mut after = after;
        for own in self.told(watch).await?.into_iter().filter(|own| *own >= name) {
            let (asked, key) = (own.clone(), after.take().filter(|_| own == name));
            let found = self.read(move |store| store.stretch(&asked, key.as_ref())).await?;
            let Some((rows, more)) = found.filter(|(rows, _)| !rows.is_empty()) else { continue };
            let place = |key| Place { at: at.clone(), telling: Some((own.clone(), Some(key))) }.to_string();
            let last = more.or_else(|| rows.last().map(|row| row.key.clone()));
            let events = rows.into_iter().map(|row| WatchEvent { id: place(row.key.clone()), what: Seen::Record(shape::record(row)) });
            let events: Vec<_> = events.collect();
            let next = last.map(place).unwrap_or_default();
            return Ok(WatchStep { events, next, more: true });
        }
        self.follow(watch, at).await
    }

    async fn follow(&self, watch: &Watch, at: WatchPlace) -> Result<WatchStep, Problem> {
        let asked = watch.clone();
        match self.read(move |store| store.watch(&at, &|name| asked.wants(name))).await? {
            WatchPage::Lost(end) => Ok(WatchStep::reset(Place::of(end).to_string())),
            WatchPage::Changes(changes, next, more) => {
                let seen = |WatchChange { after, what }| Some(WatchEvent { id: Place::of(after).to_string(), what: seen(watch, what)? });
                let events = changes.into_iter().filter_map(seen).collect();
                Ok(WatchStep { events, next: Place::of(next).to_string(), more })
            }
        }
    }
}

/// A change as the watcher sees it; none: it is not for this one.
fn seen(watch: &Watch, what: WatchWhat) -> Option<Seen> {
    match what {
        WatchWhat::Record(row) => Some(Seen::Record(shape::record(row))),
        WatchWhat::Gone(collection, key) => Some(Seen::Deleted { collection: collection.to_string(), key: key.to_string() }),
        WatchWhat::Conflict(row) => watch.wants_conflict(row.collection.as_str()).then(|| Seen::Conflict(shape::conflict(row))),
        WatchWhat::Outcome(row) => Some(shape::write(*row)).filter(|write| watch.wants_write(write)).map(Seen::Outcome),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_others_are_foreign() {
        let plain = WatchPlace { epoch: Epoch(0x00ab_cdef_0123_4567), revision: Revision(42), inside: None };
        let inside = WatchPlace { inside: Some((7, "10248/11 ü".to_owned())), ..plain.clone() };
        let name = CollectionName::parse("products").unwrap();
        let key = Key::parse("a.b").unwrap();
        for (at, telling) in
            [(plain.clone(), None), (inside, None), (plain.clone(), Some((name.clone(), None))), (plain.clone(), Some((name, Some(key))))]
        {
            let place = Place { at, telling };
            assert_eq!(Place::parse(&place.to_string()), Some(place));
        }
        for bad in ["", "x", "00abcdef01234567", "00abcdef01234567.x", "00abcdef01234567.1.c.7", "00abcdef01234567.1.d.7.61", "7.1"] {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
    }
}
