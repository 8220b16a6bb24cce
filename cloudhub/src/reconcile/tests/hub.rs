//! The world of the tests: a store in maps, which applies what is decided.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::clock::Hlc;
use proto::definition::{Defined, Definition};
use proto::ids::{DatabaseId, Revision, WriteId};
use proto::json::Value;
use proto::names::{CollectionName, Key, NodeName};
use proto::op::{Verdict, Write};

use crate::reconcile::{
    Author, ConflictChange, Content, Decided, Decision, Held, Judged, Row, RowKey, RowState, SchemaError, Stored, World, judge,
};

pub(crate) type Id = (CollectionName, Key);

#[derive(Default, Clone)]
pub(crate) struct Hub {
    pub(crate) head: Revision,
    /// The cloud's wall clock, which conflict rows show; none: the revision stands for it.
    pub(crate) now_ms: u64,
    pub(crate) definitions: BTreeMap<CollectionName, Arc<Defined>>,
    pub(crate) records: BTreeMap<Id, Stored>,
    pub(crate) exits: BTreeMap<(Id, Option<String>), Revision>,
    pub(crate) floors: BTreeMap<CollectionName, Revision>,
    /// Partitions by node; a node that is not named gets everything.
    pub(crate) grants: BTreeMap<NodeName, BTreeSet<(CollectionName, Option<String>)>>,
    pub(crate) outcomes: BTreeMap<(u32, u64), Decided>,
    pub(crate) rows: BTreeMap<String, ConflictChange>,
}

/// The world as one author sees it.
struct Seen<'a> {
    hub: &'a Hub,
    author: &'a Author,
}

impl Hub {
    pub(crate) fn define(&mut self, name: &str, json: &str) {
        self.head = self.head.next();
        let name = CollectionName::parse(name).unwrap();
        let definition = Definition::parse(json).unwrap();
        self.definitions.insert(name.clone(), Arc::new(Defined { name, revision: self.head, definition }));
    }

    pub(crate) fn grant(&mut self, node: &str, collection: &str, partition: Option<&str>) {
        let share = (CollectionName::parse(collection).unwrap(), partition.map(str::to_owned));
        self.grants.entry(NodeName::parse(node).unwrap()).or_default().insert(share);
    }

    pub(crate) fn granted(&self, node: &NodeName, collection: &CollectionName, partition: Option<&str>) -> bool {
        if *collection == CollectionName::conflicts() {
            let (name, partition) = partition.unwrap().split_once('/').map_or((partition.unwrap(), None), |(name, cut)| (name, Some(cut)));
            return self.granted(node, &CollectionName::parse(name).unwrap(), partition);
        }
        self.grants.get(node).is_none_or(|shares| shares.contains(&(collection.clone(), partition.map(str::to_owned))))
    }

    pub(crate) fn judge(&self, author: &Author, write: &Write, hlc: Hlc) -> Decision {
        let revision = self.head.next();
        let id = match author {
            Author::Edge { node, database, number } => WriteId::edge(node, &database_id(*database), *number),
            Author::Cloud { .. } => WriteId::Cloud(revision),
        };
        let judged = Judged { author: author.clone(), id, write, hlc, revision, now_ms: self.now_ms.max(revision.0) };
        judge(&judged, &Seen { hub: self, author }).unwrap()
    }

    pub(crate) fn commit(&mut self, author: &Author, write: &Write, hlc: Hlc) -> Decision {
        let decision = self.judge(author, write, hlc);
        self.apply(author, &decision);
        decision
    }

    pub(crate) fn apply(&mut self, author: &Author, decision: &Decision) {
        self.head = decision.outcome.revision;
        if let Author::Edge { database, number, .. } = author {
            let decided = Decided { verdict: decision.outcome.verdict, revision: self.head };
            self.outcomes.insert((*database, *number), decided);
        }
        for change in &decision.records {
            let id = (change.collection.clone(), change.key.clone());
            if let Some(left) = &change.left {
                self.exits.insert((id.clone(), left.clone()), self.head);
            }
            if let Some(place) = &change.stored.place {
                self.exits.remove(&(id.clone(), place.clone()));
            }
            let clocks = super::super::Clocks::decode(&change.stored.clocks.encode()).unwrap();
            assert_eq!(clocks, change.stored.clocks);
            self.records.insert(id, change.stored.clone());
        }
        for change in &decision.conflicts {
            assert!(decision.outcome.verdict != Verdict::Rejected || change.state == RowState::Open);
            self.rows.insert(change.id.clone(), change.clone());
        }
    }

    pub(crate) fn value(&self, id: &Id) -> Option<&Value> {
        self.records.get(id).and_then(Stored::live)
    }

    /// Tombstones and exit markers up to now are gone.
    pub(crate) fn compact(&mut self) {
        self.floors = self.definitions.keys().map(|name| (name.clone(), self.head)).collect();
        self.exits.clear();
        self.records.retain(|_, stored| !matches!(stored.content, Content::Deleted { .. }));
    }
}

pub(crate) fn database_id(database: u32) -> DatabaseId {
    DatabaseId([database as u8; 16])
}

impl World for Seen<'_> {
    type Error = std::convert::Infallible;

    fn record(&self, collection: &CollectionName, key: &Key) -> Result<Option<Stored>, Self::Error> {
        Ok(self.hub.records.get(&(collection.clone(), key.clone())).cloned())
    }

    fn definition(&self, collection: &CollectionName) -> Result<Option<Arc<Defined>>, Self::Error> {
        Ok(self.hub.definitions.get(collection).cloned())
    }

    fn granted(&self, collection: &CollectionName, partition: Option<&str>) -> Result<bool, Self::Error> {
        let Author::Edge { node, .. } = self.author else { panic!("never asked for the cloud") };
        Ok(self.hub.granted(node, collection, partition))
    }

    fn exit_above(&self, collection: &CollectionName, key: &Key, seen: Revision) -> Result<Option<Revision>, Self::Error> {
        let Author::Edge { node, .. } = self.author else { panic!("never asked for the cloud") };
        let exits = self.hub.exits.iter().filter(|(((own, name), partition), revision)| {
            own == collection && name == key && **revision > seen && self.hub.granted(node, collection, partition.as_deref())
        });
        Ok(exits.map(|(_, revision)| *revision).max())
    }

    fn floor(&self, collection: &CollectionName) -> Result<Revision, Self::Error> {
        Ok(self.hub.floors.get(collection).copied().unwrap_or_default())
    }

    fn outcome(&self, number: u64) -> Result<Option<Decided>, Self::Error> {
        let Author::Edge { database, .. } = self.author else { return Ok(None) };
        Ok(self.hub.outcomes.get(&(*database, number)).copied())
    }

    fn open_conflict(&self, row: &RowKey) -> Result<Option<Row>, Self::Error> {
        let open = |change: &&ConflictChange| change.state == RowState::Open && change.row == *row;
        Ok(self.hub.rows.values().find(open).map(|change| Row::parse(&change.value.to_text()).unwrap()))
    }

    fn conflict(&self, id: &Key) -> Result<Option<Held>, Self::Error> {
        let held = |change: &ConflictChange| Held {
            row: Row::parse(&change.value.to_text()).unwrap(),
            key: change.row.clone(),
            partition: change.partition.clone(),
        };
        Ok(self.hub.rows.get(id.as_str()).map(held))
    }

    /// A stand-in for JSON Schema: `{"required":[FIELD…]}`, and `{"strings":[FIELD…]}`.
    fn schema_error(&self, defined: &Defined, value: &Value) -> Result<Option<SchemaError>, Self::Error> {
        let Some(schema) = &defined.definition.schema else { return Ok(None) };
        let list = |member: &str| schema[member].as_array().cloned().unwrap_or_default();
        for field in list("required") {
            if value.get(field.as_str().unwrap()).is_none() {
                return Ok(Some(SchemaError { field: String::new(), message: format!("{field} is missing") }));
            }
        }
        for field in list("strings") {
            let field = field.as_str().unwrap();
            if value.get(field).is_some_and(|raw| raw.as_text().is_none()) {
                return Ok(Some(SchemaError { field: field.to_owned(), message: format!("{field} is no string") }));
            }
        }
        Ok(None)
    }

    fn database(&self, database: u32) -> Result<DatabaseId, Self::Error> {
        Ok(database_id(database))
    }
}
