//! Reading records and conflicts.

use api::hub::{ConflictFilter, ConflictPage, ExportPage, ListQuery, Page, PageToken};
use api::problem::Problem;
use api::shapes::{ConflictState, RawJson, Record};
use metamanager::Reader;
use proto::definition::{Defined, Definition};
use proto::list::Position;
use proto::names::{CollectionName, Key};

use super::watch::Place;
use super::{LocalHub, shape};

/// Records that one page of an export holds at once.
const EXPORT_PAGE: usize = 200;

impl LocalHub {
    pub(super) fn record(&self, collection: &CollectionName, key: &Key, base: bool) -> Result<Record, Problem> {
        self.node()?;
        let read = |reader: &mut Reader| if base { reader.get_base(collection, key) } else { reader.get(collection, key) };
        let row = self.store.read(read).map_err(shape::read_problem)?;
        let row = row.ok_or_else(|| Problem::no_record(collection.as_str(), key.as_str()))?;
        self.shape_record(collection, row)
    }

    /// Whether the tag of a record, as it was just shown, names all that was shown: one with pending writes may have lost an
    /// older one of them.
    pub(super) fn is_steady(&self, record: &Record) -> Result<bool, Problem> {
        let Some(newest) = record.sync.pending.last() else { return Ok(true) };
        let collection = CollectionName::parse(&record.collection).map_err(Problem::internal)?;
        let key = key(&record.key)?;
        let newest = self.number_of(newest)?;
        self.store.read(|reader| reader.is_steady(&collection, &key, newest)).map_err(shape::read_problem)
    }

    pub(super) fn list_records(&self, query: ListQuery) -> Result<Page, Problem> {
        self.node()?;
        let page = self.store.read(|reader| reader.list(&query)).map_err(shape::read_problem)?;
        let records = page.records.into_iter().map(|row| self.shape_record(&query.collection, row));
        Ok(Page { records: records.collect::<Result<_, _>>()?, next: page.next, since: Place::of(page.since).to_string() })
    }

    pub(super) fn export_records(&self, collection: &CollectionName, after: Option<Key>) -> Result<ExportPage, Problem> {
        let definition = self.defined(collection)?.definition;
        let rows = ListQuery { after: after.map(|key| Position::of_key(key.as_str())), ..ListQuery::all(collection.clone(), EXPORT_PAGE) };
        let page = self.store.read(|reader| reader.list(&rows)).map_err(shape::read_problem)?;
        Ok(ExportPage {
            records: page.records.into_iter().map(|row| (row.key, RawJson::trusted(row.value))).collect(),
            key_in_value: definition.key.is_some(),
            next: page.next.map(|place| key(&place.key)).transpose()?,
        })
    }

    pub(super) fn defined(&self, collection: &CollectionName) -> Result<Defined, Problem> {
        self.node()?;
        let row = self.store.read(|reader| reader.definition(collection)).map_err(shape::read_problem)?;
        let row = row.ok_or_else(|| Problem::no_collection(collection.as_str()))?;
        let definition = Definition::parse(&row.json).map_err(|error| {
            Problem::internal(format!("the definition of {collection} cannot be read by this version: {error}; update edgehub"))
        })?;
        Ok(Defined { name: row.name, revision: row.revision, definition })
    }

    pub(super) fn list_conflicts(&self, filter: ConflictFilter) -> Result<ConflictPage, Problem> {
        self.node()?;
        let state = filter.state.map(|state| match state {
            ConflictState::Open => metamanager::ConflictState::Open,
            ConflictState::Auto => metamanager::ConflictState::Auto,
            ConflictState::Resolved => metamanager::ConflictState::Resolved,
        });
        let after = filter.after.map(|token| token.to_text()).transpose()?;
        let page = self.store.read(|reader| reader.conflicts(state, after.as_deref(), filter.limit)).map_err(shape::read_problem)?;
        let visible = |row: &metamanager::ConflictRow| match &filter.collections {
            None => true,
            Some(names) => names.iter().any(|name| name.as_str() == row.collection),
        };
        Ok(ConflictPage {
            conflicts: page.conflicts.into_iter().filter(visible).map(shape::conflict).collect(),
            next: page.next.map(|next| PageToken::of_text(&next)),
        })
    }
}

fn key(text: &str) -> Result<Key, Problem> {
    Key::parse(text).map_err(|error| Problem::internal(format!("a stored key is not valid: {error}")))
}
