//! Reading a page: runs of an index side by side, each fetched in short stretches, the records behind them judged one by one.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::ListQuery;
use super::order::{Order, Position, SortValue};
use super::plan::{Plan, Segment};
use crate::index::{Index, index_expression};
use crate::json::{JsonError, Value};
use crate::limits::{LIST_GATHERED, LIST_KEYS, LIST_LOOKS};

/// Entries that one statement fetches, where one run is read and where many are: what is fetched for nothing stays little.
const FETCH: usize = 64;
const FETCH_OF_MANY: usize = 16;

/// An entry of an index.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What the asked columns hold.
    pub values: Vec<SortValue>,
    /// The record's key.
    pub key: String,
}

/// What one statement has to fetch: `SELECT key, COLUMNS… FROM table INDEXED BY … WHERE collection = N` and then this.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The index that it is to be read from; none: that of the keys.
    pub index: Option<&'a Index>,
    /// The columns beside the key.
    pub columns: &'a [String],
    /// The rest of the statement, but for its limit.
    pub tail: &'a str,
    /// What `?1` and so on stand for.
    pub bound: &'a [SortValue],
    /// At most so many.
    pub limit: usize,
}

/// A store's tables, as a list reads them: all of one state.
pub trait Source {
    /// A record as the store shows it.
    type Row;
    /// Why it could not be read.
    type Error;

    /// How many tables a record may be in.
    fn tables(&self) -> usize;

    /// Entries in order, and whether there are no more than these. It may stop early where the values are large, not before
    /// the first.
    fn entries(&mut self, table: usize, ask: &Ask<'_>) -> Result<(Vec<Entry>, bool), Self::Error>;

    /// The record of a key; none: there is none, or what readers see of it does not come from `table`.
    fn read(&mut self, key: &str, table: Option<usize>) -> Result<Option<Self::Row>, Self::Error>;

    /// A record's value.
    fn text<'r>(&self, row: &'r Self::Row) -> &'r str;

    /// What these expressions make of a value.
    fn values(&mut self, text: &str, columns: &[String]) -> Result<Vec<SortValue>, Self::Error>;

    /// For a stored value that is none.
    fn damaged(&self, error: JsonError) -> Self::Error;
}

/// One page.
#[derive(Debug, Clone, PartialEq)]
pub struct ListPage<R> {
    /// The records, in order.
    pub records: Vec<R>,
    /// The place of what was looked at last, when there may be more.
    pub next: Option<Position>,
}

/// How much a page holds.
#[derive(Debug)]
pub struct Room {
    limit: usize,
    bytes: usize,
    looks: usize,
}

impl Room {
    /// For a page of at most `limit` records and about `bytes` of values, at least one record.
    pub fn new(limit: usize, bytes: usize) -> Self {
        Self { limit, bytes, looks: LIST_LOOKS }
    }

    /// Whether one more record may be looked at, `held` being there.
    pub fn look(&mut self, held: usize) -> bool {
        if held >= self.limit || self.looks == 0 {
            return false;
        }
        self.looks -= 1;
        true
    }

    /// Whether a value still fits.
    pub fn take(&mut self, held: usize, bytes: usize) -> bool {
        if held > 0 && bytes > self.bytes {
            return false;
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

/// Reads a page as planned.
pub fn page<S: Source>(source: &mut S, query: &ListQuery, plan: &Plan, mut room: Room) -> Result<ListPage<S::Row>, S::Error> {
    let after = found_again(source, &query.order, query.after.clone())?;
    if !query.keys.is_empty() {
        let named = named(source, query, after.as_ref())?;
        return collect(source, query, &mut room, after, named.into_iter().map(Ok));
    }
    if !plan.gathers {
        return walk(source, query, plan, room, after);
    }
    match gather(source, query, plan, after.as_ref())? {
        None => walk(source, query, &Plan::keys(&query.order), room, after),
        Some(keys) => {
            let places = keys.into_iter().map(|key| Ok((Position::of_key(&key), None)));
            collect(source, query, &mut room, after, places)
        }
    }
}

/// A place that was cut, whole again where its record still stands there.
fn found_again<S: Source>(source: &mut S, order: &Order, after: Option<Position>) -> Result<Option<Position>, S::Error> {
    let Some((place, hash)) = after.as_ref().and_then(|place| Some((place, place.cut?))) else { return Ok(after) };
    let Some(row) = source.read(&place.key, None)? else { return Ok(after) };
    let text = source.text(&row).to_string();
    let values = source.values(&text, &columns(order))?;
    let whole = Position::new(values, &place.key);
    Ok(if Position::hash_of(&whole.values) == hash { Some(whole) } else { after })
}

fn columns(order: &Order) -> Vec<String> {
    order.fields.iter().filter_map(|field| index_expression(&field.name)).collect()
}

fn fulfils<S: Source>(source: &S, query: &ListQuery, row: &S::Row) -> Result<bool, S::Error> {
    if query.conditions.is_empty() {
        return Ok(true);
    }
    let value = Value::read(source.text(row)).map_err(|error| source.damaged(error))?;
    Ok(query.conditions.iter().all(|condition| condition.matches(&value)))
}

/// Looks at places one after the other until the page is full.
fn collect<S: Source>(
    source: &mut S,
    query: &ListQuery,
    room: &mut Room,
    mut last: Option<Position>,
    places: impl Iterator<Item = Result<(Position, Option<usize>), S::Error>>,
) -> Result<ListPage<S::Row>, S::Error> {
    let mut records = Vec::new();
    for place in places {
        let (place, table) = place?;
        if !look(source, query, room, &mut records, (&place, table))? {
            return Ok(ListPage { records, next: last });
        }
        last = Some(place);
    }
    Ok(ListPage { records, next: None })
}

/// Whether the page had room to look at a place.
fn look<S: Source>(
    source: &mut S,
    query: &ListQuery,
    room: &mut Room,
    records: &mut Vec<S::Row>,
    (place, table): (&Position, Option<usize>),
) -> Result<bool, S::Error> {
    if !room.look(records.len()) {
        return Ok(false);
    }
    if query.starts(&place.key)
        && let Some(row) = source.read(&place.key, table)?
        && fulfils(source, query, &row)?
    {
        if !room.take(records.len(), source.text(&row).len()) {
            return Ok(false);
        }
        records.push(row);
    }
    Ok(true)
}

/// The places of named keys after a place, in order.
fn named<S: Source>(source: &mut S, query: &ListQuery, after: Option<&Position>) -> Result<Vec<(Position, Option<usize>)>, S::Error> {
    let keys: BTreeSet<_> = query.keys.iter().take(LIST_KEYS).collect();
    let columns = columns(&query.order);
    let mut places = Vec::new();
    for key in keys {
        let values = match source.read(key.as_str(), None)? {
            None => continue,
            Some(_) if columns.is_empty() => Vec::new(),
            Some(row) => {
                let text = source.text(&row).to_string();
                source.values(&text, &columns)?
            }
        };
        places.push(Position::new(values, key.as_str()));
    }
    let order = &query.order;
    // A place that was cut and is not found again is no place: all of them come again.
    let is_after = |place: &Position| {
        after.is_none_or(|after| after.cut.is_some() || order.compare((&place.values, &place.key), (&after.values, &after.key)).is_gt())
    };
    places.retain(is_after);
    places.sort_by(|a, b| order.compare((&a.values, &a.key), (&b.values, &b.key)));
    Ok(places.into_iter().map(|place| (place, None)).collect())
}

/// All keys of the stretches after a place, in the list's order; none: they are too many.
fn gather<S: Source>(source: &mut S, query: &ListQuery, plan: &Plan, after: Option<&Position>) -> Result<Option<Vec<String>>, S::Error> {
    let descending = query.order.key_descending;
    let wanted = |key: &str| {
        let beyond = |after: &Position| if descending { key < after.key.as_str() } else { key > after.key.as_str() };
        query.starts(key) && after.is_none_or(beyond)
    };
    let (mut keys, mut left) = (BTreeSet::new(), LIST_GATHERED);
    for run in &plan.runs {
        for segment in plan.segments(run, None) {
            let (tail, bound) = plan.sql(&segment, None);
            for table in 0..source.tables() {
                let ask = Ask { index: plan.index.as_ref(), columns: &[], tail: &tail, bound: &bound, limit: left + 1 };
                let (entries, _) = source.entries(table, &ask)?;
                if entries.len() > left {
                    return Ok(None);
                }
                left -= entries.len();
                keys.extend(entries.into_iter().map(|entry| entry.key).filter(|key| wanted(key)));
            }
        }
    }
    Ok(Some(if descending { keys.into_iter().rev().collect() } else { keys.into_iter().collect() }))
}

fn walk<S: Source>(
    source: &mut S,
    query: &ListQuery,
    plan: &Plan,
    mut room: Room,
    after: Option<Position>,
) -> Result<ListPage<S::Row>, S::Error> {
    let mut streams = Streams::new(source.tables(), query, plan, after.as_ref());
    let (mut records, mut last) = (Vec::new(), after);
    while let Some((table, entry)) = streams.next(source)? {
        let place = Position::new(entry.values, &entry.key);
        if !look(source, query, &mut room, &mut records, (&place, Some(table)))? {
            return Ok(ListPage { records, next: last });
        }
        last = Some(place);
    }
    Ok(ListPage { records, next: None })
}

/// Every run in every table.
struct Streams<'q> {
    query: &'q ListQuery,
    plan: &'q Plan,
    columns: Vec<String>,
    fetch: usize,
    all: Vec<Stream>,
}

struct Stream {
    table: usize,
    run: usize,
    /// What is still to be read, in order.
    segments: VecDeque<Segment>,
    entries: VecDeque<Entry>,
}

impl<'q> Streams<'q> {
    fn new(tables: usize, query: &'q ListQuery, plan: &'q Plan, after: Option<&Position>) -> Self {
        let mut all = Vec::new();
        for (run, values) in plan.runs.iter().enumerate() {
            for table in 0..tables {
                all.push(Stream { table, run, segments: plan.segments(values, after).into(), entries: VecDeque::new() });
            }
        }
        let most = if plan.runs.len() > 2 { FETCH_OF_MANY } else { FETCH };
        Self { query, plan, columns: plan.columns(), fetch: most.min(query.limit.saturating_add(1)), all }
    }

    /// The next entry of all.
    fn next<S: Source>(&mut self, source: &mut S) -> Result<Option<(usize, Entry)>, S::Error> {
        let mut first: Option<usize> = None;
        for place in 0..self.all.len() {
            self.fill(place, source)?;
            let Some(own) = self.all[place].entries.front() else { continue };
            let before = first.and_then(|first| self.all[first].entries.front());
            let earlier = before.is_none_or(|best| self.query.order.compare((&own.values, &own.key), (&best.values, &best.key)).is_lt());
            if earlier {
                first = Some(place);
            }
        }
        let found = first.and_then(|place| self.all.get_mut(place));
        let found = found.and_then(|stream| stream.entries.pop_front().map(|entry| (stream.table, entry)));
        self.all.retain(|stream| !stream.entries.is_empty() || !stream.segments.is_empty());
        Ok(found)
    }

    fn fill<S: Source>(&mut self, place: usize, source: &mut S) -> Result<(), S::Error> {
        let stream = &mut self.all[place];
        while stream.entries.is_empty()
            && let Some(segment) = stream.segments.front()
        {
            let (tail, bound) = self.plan.sql(segment, self.query.prefix.as_deref());
            let ask = Ask { index: self.plan.index.as_ref(), columns: &self.columns, tail: &tail, bound: &bound, limit: self.fetch };
            let (entries, complete) = source.entries(stream.table, &ask)?;
            match entries.last() {
                Some(last) if !complete => {
                    let after = Position::new(last.values.clone(), &last.key);
                    stream.segments = self.plan.segments(&self.plan.runs[stream.run], Some(&after)).into();
                }
                _ => {
                    stream.segments.pop_front();
                }
            }
            stream.entries = entries.into();
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "walk_tests.rs"]
mod tests;
