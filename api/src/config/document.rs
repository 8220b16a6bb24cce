//! A TOML file whose keys remember their lines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ConfigError, Origin, Schema};

/// A parsed TOML file. Every key, at any depth, is known by its dotted path (`collection[1].fields.Price.type`) with
/// the line it stands on, so that whoever judges the values later can still say where.
#[derive(Debug)]
pub struct Document {
    file: PathBuf,
    root: toml::Table,
    keys: BTreeMap<String, Position>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Position {
    /// From 1.
    line: usize,
    /// Byte range of the value.
    value: std::ops::Range<usize>,
}

impl Document {
    /// Reads and parses `file`.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
        Self::parse(file, &text)
    }

    /// Parses `text`; `file` is only named in errors.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let syntax = |error: toml::de::Error| ConfigError::Syntax {
            file: file.to_owned(),
            line: line_at(text, error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        };
        let spanned = DeTable::parse(text).map_err(syntax)?;
        let root = toml::from_str(text).map_err(syntax)?;
        let mut keys = BTreeMap::new();
        index_table(text, spanned.get_ref(), "", &mut keys);
        Ok(Self { file: file.to_owned(), root, keys })
    }

    /// The file as it was named.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The values.
    pub fn root(&self) -> &toml::Table {
        &self.root
    }

    /// The line (from 1) of a key, or of the nearest key above it that the file does have.
    pub fn line_of(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(position) = self.keys.get(path) {
                return Some(position.line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// The byte range of a key's value in the text.
    pub fn value_range(&self, path: &str) -> Option<std::ops::Range<usize>> {
        self.keys.get(path).map(|position| position.value.clone())
    }

    /// The place of a key, for errors.
    pub fn origin(&self, path: &str) -> Origin {
        Origin::File(self.file.clone(), self.line_of(path).unwrap_or(1))
    }

    /// Refuses the first key (by line) that `schema` does not know.
    pub fn check(&self, schema: &Schema) -> Result<(), ConfigError> {
        let unknown = self.keys.iter().filter(|(path, _)| !schema.knows(path));
        match unknown.min_by_key(|(path, position)| (position.line, path.len())) {
            None => Ok(()),
            Some((path, position)) => Err(ConfigError::UnknownKey {
                file: self.file.clone(),
                line: position.line,
                key: path.clone(),
                nearest: schema.nearest(path),
            }),
        }
    }
}

fn index_table(text: &str, table: &DeTable<'_>, prefix: &str, keys: &mut BTreeMap<String, Position>) {
    for (key, value) in table.iter() {
        let path = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        let position = Position { line: line_at(text, key.span().start), value: value.span() };
        index_value(text, value, &path, keys);
        keys.insert(path, position);
    }
}

fn index_value(text: &str, value: &Spanned<DeValue<'_>>, path: &str, keys: &mut BTreeMap<String, Position>) {
    match value.get_ref() {
        DeValue::Table(table) => index_table(text, table, path, keys),
        DeValue::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                let path = format!("{path}[{i}]");
                let position = Position { line: line_at(text, item.span().start), value: item.span() };
                index_value(text, item, &path, keys);
                keys.insert(path, position);
            }
        }
        _ => {}
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|&&byte| byte == b'\n').count()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TEXT: &str = "data = \"x\"\n\n[listen]\nws = \"a\"\n\n[[collection]]\nname = \"p\"\n[[collection]]\nname = \"q\"\n[collection.fields]\nA = { type = 1,\n  min = 2 }\n";

    fn document() -> Document {
        Document::parse(Path::new("f.toml"), TEXT).unwrap()
    }

    #[test]
    fn every_key_has_its_line() {
        let document = document();
        assert_eq!(document.line_of("data"), Some(1));
        assert_eq!(document.line_of("listen"), Some(3));
        assert_eq!(document.line_of("listen.ws"), Some(4));
        assert_eq!(document.line_of("collection[0].name"), Some(7));
        assert_eq!(document.line_of("collection[1].fields.A.min"), Some(12));
    }

    #[test]
    fn a_missing_key_has_the_line_of_what_is_above_it() {
        let document = document();
        assert_eq!(document.line_of("listen.ws.deeper"), Some(4));
        assert_eq!(document.line_of("collection[1].key"), Some(8));
        assert_eq!(document.line_of("nothing"), None);
    }

    #[test]
    fn a_syntax_error_names_the_line() {
        let error = Document::parse(Path::new("f.toml"), "a = 1\nb = = 2\n").unwrap_err().to_string();
        assert!(error.starts_with("f.toml line 2: "), "{error}");
    }

    #[test]
    fn a_key_twice_names_the_line() {
        let error = Document::parse(Path::new("f.toml"), "a = 1\nb = 2\na = 3\n").unwrap_err().to_string();
        assert!(error.starts_with("f.toml line 3: "), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Document::read(Path::new("no/such.toml")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read no/such.toml: "), "{error}");
    }
}
