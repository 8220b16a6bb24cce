//! Definitions in memory, with their compiled schemas.
//!
//! An entry is compared with its row once in each transaction, so the same code serves the writer and the readers.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use proto::definition::{Defined, Definition};
use proto::ids::Revision;
use proto::json::Value;
use proto::names::CollectionName;
use proto::schema::Schema;
use rusqlite::{Connection, OptionalExtension};

use super::error::{StoreError, counted};
use crate::reconcile::SchemaError;

/// A collection as its rows have it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: i64,
    pub(super) defined: Arc<Defined>,
    schema: OnceLock<Option<Schema>>,
}

/// The collections that were asked for lately.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    entries: RefCell<BTreeMap<CollectionName, Arc<Entry>>>,
    current: RefCell<BTreeSet<CollectionName>>,
}

impl Catalog {
    /// A new transaction begins, or definitions changed in this one.
    pub(super) fn begin(&self) {
        self.current.borrow_mut().clear();
    }

    /// A transaction was undone: a revision that it gave out will be given out again, with another definition perhaps.
    pub(super) fn forget(&self) {
        self.begin();
        self.entries.borrow_mut().clear();
    }

    /// A collection, newest definition.
    pub(super) fn get(&self, conn: &Connection, name: &CollectionName) -> Result<Option<Arc<Entry>>, StoreError> {
        if self.current.borrow().contains(name) {
            return Ok(self.entries.borrow().get(name).cloned());
        }
        let found: Option<(i64, i64)> = conn
            .prepare_cached("SELECT id, revision FROM collections WHERE name = ?1")?
            .query_row([name.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((id, revision)) = found else {
            self.entries.borrow_mut().remove(name);
            return Ok(None);
        };
        let revision = Revision(counted(revision)?);
        let known = self.entries.borrow().get(name).filter(|entry| entry.id == id && entry.defined.revision == revision).cloned();
        let entry = match known {
            Some(entry) => entry,
            None => Arc::new(Entry::read(conn, id, name, revision)?),
        };
        self.entries.borrow_mut().insert(name.clone(), Arc::clone(&entry));
        self.current.borrow_mut().insert(name.clone());
        Ok(Some(entry))
    }
}

impl Entry {
    fn read(conn: &Connection, id: i64, name: &CollectionName, revision: Revision) -> Result<Self, StoreError> {
        let json: String = conn.prepare_cached("SELECT definition FROM collections WHERE id = ?1")?.query_row([id], |row| row.get(0))?;
        let definition = Definition::parse(&json).map_err(|error| StoreError::Damaged(format!("definition of {name}: {error}")))?;
        let defined = Arc::new(Defined { name: name.clone(), revision, definition });
        Ok(Self { id, defined, schema: OnceLock::new() })
    }

    /// What the schema says against a value.
    pub(super) fn schema_error(&self, value: &Value) -> Option<SchemaError> {
        let schema = self.schema.get_or_init(|| self.compile()).as_ref()?;
        schema.judge(value).map(|violation| SchemaError { field: violation.field, message: violation.message })
    }

    /// What was applied compiles; a schema that an older hub took and this one cannot judge holds nobody up.
    fn compile(&self) -> Option<Schema> {
        let compiled = Schema::compile(self.defined.definition.schema.as_ref()?);
        compiled.inspect_err(|error| tracing::error!(collection = %self.defined.name, %error, "the schema cannot be judged")).ok()
    }
}
