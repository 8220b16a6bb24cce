//! Definitions in memory, with their compiled schemas.
//!
//! An entry is compared with its row once in each transaction, so the same code serves the writer and the readers.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use jsonschema::{PatternOptions, ValidationError, Validator};
use proto::definition::{Defined, Definition};
use proto::ids::Revision;
use proto::json::Value;
use proto::names::CollectionName;
use rusqlite::{Connection, OptionalExtension};

use super::error::{StoreError, counted};
use crate::limits::PATTERN_BYTES;
use crate::reconcile::SchemaError;

/// A collection as its rows have it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: i64,
    pub(super) defined: Arc<Defined>,
    validator: OnceLock<Option<Validator>>,
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
        Ok(Self { id, defined, validator: OnceLock::new() })
    }

    /// What the schema says against a value.
    pub(super) fn schema_error(&self, value: &Value) -> Result<Option<SchemaError>, StoreError> {
        let Some(schema) = &self.defined.definition.schema else { return Ok(None) };
        let validator = self.validator.get_or_init(|| compile(schema).ok());
        let damaged = || StoreError::Damaged(format!("schema of {} does not compile", self.defined.name));
        let validator = validator.as_ref().ok_or_else(damaged)?;
        let json: serde_json::Value = match serde_json::from_str(&value.to_text()) {
            Ok(json) => json,
            Err(error) => return Ok(Some(SchemaError { field: String::new(), message: error.to_string() })),
        };
        Ok(validator.validate(&json).err().map(|error| explain(&error)))
    }
}

/// Compiles a schema: draft 2020-12, no other documents, patterns of bounded size without back-tracking.
pub(super) fn compile(schema: &serde_json::Value) -> Result<Validator, String> {
    jsonschema::draft202012::options()
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES))
        .build(schema)
        .map_err(|error| error.to_string())
}

fn explain(error: &ValidationError<'_>) -> SchemaError {
    let path = error.instance_path().as_str();
    let field = path.split('/').nth(1).unwrap_or_default().replace("~1", "/").replace("~0", "~");
    SchemaError { field, message: error.to_string() }
}
