//! Default, file, variable, flag: the later layer wins.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{ConfigError, Document, Origin, Schema};

/// One thing that can be configured.
#[derive(Debug)]
pub struct Setting {
    /// The dotted key in the file, e.g. `listen.ws`; at most two parts.
    pub key: &'static str,
    /// The variable, e.g. `CLOUDHUB_LISTEN_WS`.
    pub variable: &'static str,
    /// How the text of a variable is read.
    pub kind: Kind,
}

/// How the text of a variable becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As it is.
    Text,
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Number,
    /// Texts separated by commas.
    List,
}

/// The settings as found so far, each with the place it came from.
#[derive(Debug)]
pub struct Layers {
    settings: &'static [Setting],
    defaults: Table,
    found: BTreeMap<&'static str, (Value, Origin)>,
}

impl Layers {
    /// Starts from `defaults`, a hub's typed configuration. A default that is absent (`None`) stays absent.
    pub fn new<T: Serialize>(settings: &'static [Setting], defaults: &T) -> Self {
        let table = Table::try_from(defaults).expect("a configuration of ours is a TOML table");
        let mut layers = Self { settings, defaults: Table::new(), found: BTreeMap::new() };
        layers.lay(&table, |_| Origin::Default);
        layers.defaults = table;
        layers
    }

    /// Lays a file over what is there. Its keys must all be known.
    pub fn file(&mut self, document: &Document) -> Result<(), ConfigError> {
        document.check(&Schema::new(self.settings.iter().map(|setting| setting.key)))?;
        self.refuse_plain_sections(document)?;
        self.lay(document.root(), |key| document.origin(key));
        Ok(())
    }

    /// Lays the environment over what is there; `get` reads one variable. An empty variable counts as not set.
    pub fn variables(&mut self, get: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        for setting in self.settings {
            if let Some(text) = get(setting.variable).filter(|text| !text.is_empty()) {
                let origin = Origin::Variable(setting.variable.to_owned());
                let value = read(setting, &text, &origin)?;
                self.found.insert(setting.key, (value, origin));
            }
        }
        Ok(())
    }

    /// Lays one flag over what is there; `None` (the flag was not given) changes nothing.
    pub fn flag<V: Into<Value>>(&mut self, key: &'static str, name: &'static str, value: Option<V>) {
        debug_assert!(self.settings.iter().any(|setting| setting.key == key), "unknown key {key}");
        if let Some(value) = value {
            self.found.insert(key, (value.into(), Origin::Flag(name)));
        }
    }

    /// Where the value of `key` comes from.
    pub fn origin(&self, key: &str) -> Origin {
        self.found.get(key).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// The typed configuration. An error names the one setting that does not fit.
    pub fn build<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let mut table = self.defaults.clone();
        for (key, (value, _)) in &self.found {
            put(&mut table, key, value);
        }
        table.try_into().map_err(|error: toml::de::Error| {
            self.culprit::<T>().unwrap_or_else(|| ConfigError::BadValue {
                key: "(whole)".into(),
                origin: Origin::Default,
                message: error.message().to_owned(),
            })
        })
    }

    /// The effective configuration as a TOML file, each line with its source.
    pub fn print(&self) -> String {
        let mut text = String::new();
        let (top, sections): (Vec<_>, Vec<_>) = self.found.iter().partition(|(key, _)| !key.contains('.'));
        let mut section = "";
        for (key, (value, origin)) in top.into_iter().chain(sections) {
            let (head, name) = key.split_once('.').unwrap_or(("", key));
            if head != section {
                let _ = writeln!(text, "\n[{head}]");
                section = head;
            }
            let _ = writeln!(text, "{name} = {value}  # {origin}");
        }
        text
    }

    fn lay(&mut self, table: &Table, origin: impl Fn(&str) -> Origin) {
        for setting in self.settings {
            if let Some(value) = lookup(table, setting.key) {
                self.found.insert(setting.key, (value.clone(), origin(setting.key)));
            }
        }
    }

    /// `listen = 5` where `listen` is a section would otherwise be passed over in silence.
    fn refuse_plain_sections(&self, document: &Document) -> Result<(), ConfigError> {
        for setting in self.settings {
            let Some((section, _)) = setting.key.split_once('.') else { continue };
            if document.root().get(section).is_some_and(|value| !value.is_table()) {
                return Err(ConfigError::BadValue {
                    key: section.to_owned(),
                    origin: document.origin(section),
                    message: format!("is a section; write [{section}] and below it its keys, e.g. {}", setting.key),
                });
            }
        }
        Ok(())
    }

    /// The first setting that, laid alone over the defaults, does not deserialize.
    fn culprit<T: DeserializeOwned>(&self) -> Option<ConfigError> {
        self.found.iter().find_map(|(key, (value, origin))| {
            let mut table = self.defaults.clone();
            put(&mut table, key, value);
            let error = table.try_into::<T>().err()?;
            Some(ConfigError::BadValue { key: (*key).to_owned(), origin: origin.clone(), message: error.message().to_owned() })
        })
    }
}

fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((section, name)) => table.get(section)?.get(name),
    }
}

fn put(table: &mut Table, key: &str, value: &Value) {
    let Some((section, name)) = key.split_once('.') else {
        table.insert(key.to_owned(), value.clone());
        return;
    };
    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        section.insert(name.to_owned(), value.clone());
    }
}

fn read(setting: &Setting, text: &str, origin: &Origin) -> Result<Value, ConfigError> {
    let value = match setting.kind {
        Kind::Text => Ok(text.into()),
        Kind::List => Ok(Value::Array(text.split(',').map(|item| item.trim().into()).collect())),
        Kind::Switch => text.parse::<bool>().map(Value::Boolean).map_err(|_| "is neither true nor false"),
        Kind::Number => text.parse::<i64>().map(Value::Integer).map_err(|_| "is not a whole number"),
    };
    value.map_err(|what| ConfigError::BadValue { key: setting.key.to_owned(), origin: origin.clone(), message: format!("`{text}` {what}") })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::SocketAddr;
    use std::path::Path;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    struct Config {
        data: String,
        metered: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        node: Option<String>,
        listen: Listen,
    }

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    struct Listen {
        ws: SocketAddr,
        hosts: Vec<String>,
    }

    static SETTINGS: &[Setting] = &[
        Setting { key: "data", variable: "T_DATA", kind: Kind::Text },
        Setting { key: "metered", variable: "T_METERED", kind: Kind::Switch },
        Setting { key: "node", variable: "T_NODE", kind: Kind::Text },
        Setting { key: "listen.ws", variable: "T_LISTEN_WS", kind: Kind::Text },
        Setting { key: "listen.hosts", variable: "T_LISTEN_HOSTS", kind: Kind::List },
    ];

    fn layers() -> Layers {
        let listen = Listen { ws: "0.0.0.0:1".parse().unwrap(), hosts: vec![] };
        Layers::new(SETTINGS, &Config { data: "d".into(), metered: false, node: None, listen })
    }

    fn file(text: &str) -> Document {
        Document::parse(Path::new("hub.toml"), text).unwrap()
    }

    fn one<'a>(name: &'a str, value: &'a str) -> impl Fn(&str) -> Option<String> {
        move |asked| (asked == name).then(|| value.to_owned())
    }

    #[test]
    fn flag_before_variable_before_file_before_default() {
        let mut layers = layers();
        let port = |layers: &Layers| layers.build::<Config>().unwrap().listen.ws.port();
        assert_eq!(port(&layers), 1);
        layers.file(&file("[listen]\nws = \"0.0.0.0:2\"\n")).unwrap();
        assert_eq!(port(&layers), 2);
        layers.variables(one("T_LISTEN_WS", "0.0.0.0:3")).unwrap();
        assert_eq!(port(&layers), 3);
        layers.flag("listen.ws", "--listen-ws", Some("0.0.0.0:4"));
        assert_eq!(port(&layers), 4);
        layers.flag("listen.ws", "--listen-ws", None::<String>);
        layers.variables(one("T_LISTEN_WS", "")).unwrap();
        assert_eq!(port(&layers), 4);
    }

    #[test]
    fn an_unknown_key_names_file_line_and_nearest() {
        let error = layers().file(&file("data = \"x\"\n[listen]\nwss = \"1\"\n")).unwrap_err().to_string();
        assert_eq!(error, "hub.toml line 3: unknown key `listen.wss`; the nearest known key is `listen.ws`");
        let error = layers().file(&file("[lisen]\nws = \"1\"\n")).unwrap_err().to_string();
        assert_eq!(error, "hub.toml line 1: unknown key `lisen`; the nearest known key is `listen`");
    }

    #[test]
    fn a_bad_value_names_where_it_was_set() {
        let mut layers = layers();
        layers.file(&file("\n[listen]\nws = \"here\"\n")).unwrap();
        let error = layers.build::<Config>().unwrap_err().to_string();
        assert!(error.starts_with("hub.toml line 3: `listen.ws`: "), "{error}");
        layers.variables(one("T_LISTEN_WS", "there")).unwrap();
        let error = layers.build::<Config>().unwrap_err().to_string();
        assert!(error.starts_with("$T_LISTEN_WS: `listen.ws`: "), "{error}");
        let error = layers.variables(one("T_METERED", "yes")).unwrap_err().to_string();
        assert_eq!(error, "$T_METERED: `metered`: `yes` is neither true nor false");
    }

    #[test]
    fn a_section_written_as_a_value_is_refused() {
        let error = layers().file(&file("listen = 5\n")).unwrap_err().to_string();
        assert!(error.starts_with("hub.toml line 1: `listen`: is a section"), "{error}");
    }

    #[test]
    fn lists_come_from_variables_too() {
        let mut layers = layers();
        layers.variables(one("T_LISTEN_HOSTS", "a, b")).unwrap();
        assert_eq!(layers.build::<Config>().unwrap().listen.hosts, ["a", "b"]);
    }

    #[test]
    fn what_is_printed_is_what_is_used() {
        let mut layers = layers();
        layers.file(&file("node = \"ly\\\"on\"\n")).unwrap();
        layers.flag("metered", "--metered", Some(true));
        let printed = layers.print();
        assert!(printed.contains("node = 'ly\"on'  # hub.toml line 1"), "{printed}");
        assert!(printed.contains("metered = true  # --metered"), "{printed}");
        assert_eq!(toml::from_str::<Config>(&printed).unwrap(), layers.build::<Config>().unwrap());
    }
}
