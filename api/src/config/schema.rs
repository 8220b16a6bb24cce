//! Which keys a TOML file of ours may hold.

use super::nearest::nearest;

/// The known keys of a file, as dotted patterns. A part `*` is any one name; a last part `**` is anything below.
/// Arrays are looked through: `collection.name` is the name of every `[[collection]]`.
#[derive(Debug)]
pub struct Schema {
    patterns: Vec<&'static str>,
}

impl Schema {
    /// A schema of these patterns; at least one.
    pub fn new(patterns: impl IntoIterator<Item = &'static str>) -> Self {
        Self { patterns: patterns.into_iter().collect() }
    }

    /// Whether `path` is a known key, lies in one that takes anything, or is a section that holds known keys.
    pub(super) fn knows(&self, path: &str) -> bool {
        let path = parts(path);
        self.patterns.iter().any(|pattern| leads_to(&path, pattern))
    }

    /// The known key nearest to an unknown one. Names that could stand in the same place come first.
    pub(super) fn nearest(&self, unknown: &str) -> String {
        let path = parts(unknown);
        let (last, parent) = path.split_last().map_or(("", &[][..]), |(last, parent)| (*last, parent));
        let siblings = self.patterns.iter().filter(|pattern| leads_to(parent, pattern));
        let names = siblings.filter_map(|pattern| pattern.split('.').nth(parent.len())).filter(|name| !name.contains('*'));
        let shown = |name: &str| [parent, &[name]].concat().join(".");
        let near: Vec<String> = nearest(last, names).map(shown).into_iter().collect();
        let whole = self.patterns.iter().copied().filter(|pattern| !pattern.contains('*'));
        let plain = path.join(".");
        nearest(&plain, near.iter().map(String::as_str).chain(whole)).unwrap_or_default().to_owned()
    }
}

/// The names of a path, without array positions.
fn parts(path: &str) -> Vec<&str> {
    path.split('.').map(|part| part.split('[').next().unwrap_or(part)).collect()
}

fn leads_to(path: &[&str], pattern: &str) -> bool {
    let mut pattern = pattern.split('.');
    for part in path {
        match pattern.next() {
            Some("**") => return true,
            Some("*") => {}
            Some(name) if name == *part => {}
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        Schema::new(["data", "listen.ws", "link.servers", "c.name", "c.nodes.*", "c.schema.**", "c.fields.*.type", "c.fields.*.min"])
    }

    #[test]
    fn knows_keys_sections_and_wildcards() {
        for path in ["data", "listen", "listen.ws", "c[3].name", "c[0].nodes.role", "c[0].schema.a.b.c", "c[1].fields.X.min"] {
            assert!(schema().knows(path), "{path}");
        }
        for path in ["dat", "listen.wss", "c[0].nodes.role.deeper", "c[1].fields.X.max", "data.x"] {
            assert!(!schema().knows(path), "{path}");
        }
    }

    #[test]
    fn names_the_nearest_in_the_same_place_or_anywhere() {
        assert_eq!(schema().nearest("listn"), "listen");
        assert_eq!(schema().nearest("listen.wss"), "listen.ws");
        assert_eq!(schema().nearest("servers"), "link.servers");
        assert_eq!(schema().nearest("c[0].fields.X.tpye"), "c.fields.X.type");
        assert_eq!(schema().nearest("c[0].nmae"), "c.name");
    }
}
