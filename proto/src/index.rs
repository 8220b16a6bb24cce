//! Declared indexes (`indexes = ["CategoryID", "CategoryID,-UnitPrice"]`): what a definition may name, and the one SQL
//! expression by which both stores index a field and read it as a column.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::definition::{Definition, DefinitionError};
use crate::limits::{INDEX_FIELDS, INDEXES};
use crate::op::hash;

/// One field of an order: of a declared index, or of `sort`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OrderField {
    /// The top-level field.
    pub name: String,
    /// Written with a `-` before it.
    pub descending: bool,
}

impl OrderField {
    /// Reads `FIELD` or `-FIELD`.
    pub fn read(text: &str) -> Self {
        match text.strip_prefix('-') {
            Some(name) => Self { name: name.to_owned(), descending: true },
            None => Self { name: text.to_owned(), descending: false },
        }
    }
}

impl core::fmt::Display for OrderField {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(if self.descending { "-" } else { "" })?;
        f.write_str(&self.name)
    }
}

/// One declared index: one field, or several in an order that lists are then served in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Index {
    /// At least one, at most [`INDEX_FIELDS`], each once.
    pub fields: Vec<OrderField>,
}

impl Index {
    /// Reads an entry of `indexes`. Errors: why it can be none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<_> = text.split(',').map(OrderField::read).collect();
        if fields.len() > INDEX_FIELDS {
            return Err(format!("{text:?} has {} fields; an index has at most {INDEX_FIELDS}", fields.len()));
        }
        for (place, field) in fields.iter().enumerate() {
            if field.name == "key" {
                return Err(format!(
                    "{text:?}: every list can be sorted by the record's key; an index of a field of that name is not served"
                ));
            }
            if index_expression(&field.name).is_none() {
                let why = "a field name without quotes, backslashes and control characters";
                return Err(format!("{text:?}: {:?} cannot be indexed; it takes {why}, or several joined by commas", field.name));
            }
            if fields[..place].iter().any(|other| other.name == field.name) {
                return Err(format!("{text:?} names {:?} twice", field.name));
            }
        }
        Ok(Self { fields })
    }
}

impl core::fmt::Display for Index {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (place, field) in self.fields.iter().enumerate() {
            write!(f, "{}{field}", if place == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// A top-level field of the column `value`, as indexes, lists and views of both stores spell it: SQLite takes an index
/// of an expression only where a statement has the very same one. Plain SQLite, so that the file can be read without us.
/// `None` for a name that a JSON path cannot spell safely.
pub fn index_expression(field: &str) -> Option<String> {
    let unsafe_here = |c: char| c == '"' || c == '\\' || c.is_control();
    if field.is_empty() || field.contains(unsafe_here) {
        return None;
    }
    Some(format!("json_extract(value,'$.\"{}\"')", field.replace('\'', "''")))
}

/// What the index of a collection in a table is called, the same name for the same index at all times: a statement says
/// `INDEXED BY` it, so that nothing else is ever read instead.
pub fn index_name(table: &str, collection: i64, index: &Index) -> String {
    let hash = hash(index.to_string().as_bytes());
    let short = u64::from_be_bytes([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]]);
    format!("{}{short:016x}", index_names(table, collection))
}

/// What the names of all indexes of a collection in a table begin with.
pub fn index_names(table: &str, collection: i64) -> String {
    format!("declared_{table}_{collection}_")
}

/// The statement that makes it. `live` is what a row of the table must be beside of the collection, as ` AND deleted = 0`.
/// Keys go as the last field does, so that one index serves its order and the reverse.
pub fn create_index(table: &str, collection: i64, index: &Index, live: &str) -> String {
    let direction = |descending: bool| if descending { " DESC" } else { "" };
    let fields = index.fields.iter().filter_map(|field| Some((index_expression(&field.name)?, direction(field.descending))));
    let fields: Vec<_> = fields.map(|(expression, direction)| format!("{expression}{direction}")).collect();
    let key = direction(index.fields.last().is_some_and(|last| last.descending));
    let name = index_name(table, collection, index);
    format!("CREATE INDEX {name} ON {table} ({}, key{key}) WHERE collection = {collection}{live}", fields.join(", "))
}

impl Definition {
    /// The declared indexes that exist. Entries that could be none, which older versions took, are passed over.
    pub fn index_list(&self) -> Vec<Index> {
        index_list(&self.indexes)
    }

    /// Every field that an index names, each once, in the order of the definition.
    pub fn indexed_fields(&self) -> Vec<String> {
        let mut fields: Vec<String> = Vec::new();
        for field in self.index_list().into_iter().flat_map(|index| index.fields) {
            if !fields.contains(&field.name) {
                fields.push(field.name);
            }
        }
        fields
    }

    /// Checks what is declared newly; a definition that is stored already stays readable whatever it declares.
    pub fn check_indexes(&self) -> Result<(), DefinitionError> {
        let invalid = |reason: String| Err(DefinitionError::Invalid { field: "indexes".to_string(), reason });
        if self.indexes.len() > INDEXES {
            return invalid(format!("{} indexes; a collection has at most {INDEXES}", self.indexes.len()));
        }
        for (place, text) in self.indexes.iter().enumerate() {
            if let Err(reason) = Index::parse(text) {
                return invalid(reason);
            }
            if self.indexes[..place].contains(text) {
                return invalid(format!("{text:?} stands twice"));
            }
        }
        Ok(())
    }
}

/// The indexes of a definition's `indexes` that can exist.
pub fn index_list(declared: &[String]) -> Vec<Index> {
    let mut list: Vec<Index> = Vec::new();
    for index in declared.iter().filter_map(|text| Index::parse(text).ok()) {
        if list.len() < INDEXES && !list.contains(&index) {
            list.push(index);
        }
    }
    list
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::vec;

    fn declaring(indexes: &[&str]) -> Definition {
        Definition { indexes: indexes.iter().map(|text| (*text).to_owned()).collect(), ..Definition::default() }
    }

    #[test]
    fn expressions_name_one_field() {
        assert_eq!(index_expression("UnitPrice").unwrap(), r#"json_extract(value,'$."UnitPrice"')"#);
        assert_eq!(index_expression("it's [a] field.x").unwrap(), r#"json_extract(value,'$."it''s [a] field.x"')"#);
        for bad in ["", "a\"b", "a\\b", "a\nb", "a\0", "\u{9f}"] {
            assert_eq!(index_expression(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn statements() {
        let index = Index::parse("A,-B").unwrap();
        let name = index_name("base", 7, &index);
        assert_eq!(
            create_index("base", 7, &index, " AND deleted = 0"),
            format!(
                "CREATE INDEX {name} ON base (json_extract(value,'$.\"A\"'), json_extract(value,'$.\"B\"') DESC, key DESC) WHERE collection = 7 AND deleted = 0"
            )
        );
        assert!(name.starts_with("declared_base_7_"));
        assert_ne!(name, index_name("base", 7, &Index::parse("A,B").unwrap()));
    }

    #[test]
    fn what_is_declared_is_checked() {
        for bad in [&["a\"b"][..], &["a", "a"], &["a,a"], &[""], &["a,"], &["key"], &["a,b,c,d,e"], &["a"; 17]] {
            let error = declaring(bad).check_indexes().unwrap_err();
            assert!(matches!(&error, DefinitionError::Invalid { field, .. } if field == "indexes"), "{error}");
        }
        declaring(&["CategoryID", "CategoryID,-UnitPrice", "a,-b,c,-d"]).check_indexes().unwrap();
    }

    #[test]
    fn a_collection_has_so_many_indexes_and_no_more() {
        let names: Vec<_> = (0..INDEXES + 2).map(|n| format!("F{n}")).collect();
        for (count, made) in [(INDEXES - 1, INDEXES - 1), (INDEXES, INDEXES), (INDEXES + 1, INDEXES), (INDEXES + 2, INDEXES)] {
            let definition = Definition { indexes: names[..count].to_vec(), ..Definition::default() };
            assert_eq!(definition.check_indexes().is_ok(), count == made, "{count}");
            // Of what an older version took, the first ones.
            assert_eq!(definition.indexed_fields(), names[..made], "{count}");
        }
    }

    #[test]
    fn what_an_older_version_took_is_passed_over() {
        let definition = declaring(&["B", "a\"b", "B", "A,-B"]);
        definition.check().unwrap();
        assert_eq!(definition.index_list().iter().map(ToString::to_string).collect::<Vec<_>>(), ["B", "A,-B"]);
        assert_eq!(definition.indexed_fields(), vec!["B", "A"]);
    }
}
