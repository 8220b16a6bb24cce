//! `edgehub.toml` in the data folder: what a join has learnt, for people to edit.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use api::config::{ConfigError, Document};

use crate::config::Transport;

/// Where the file is.
pub fn path(data: &Path) -> PathBuf {
    data.join("edgehub.toml")
}

/// Writes `[link] servers` into the file of the data folder `data`, and leaves everything else in it as it is.
/// The file is replaced as a whole: a power cut leaves the old one or the new one.
pub fn write_servers(data: &Path, servers: &[String]) -> Result<(), ConfigError> {
    write(data, |file, text| with_servers(file, text, servers))
}

/// Writes `[link] transport` in the same way.
pub fn write_transport(data: &Path, transport: Transport) -> Result<(), ConfigError> {
    write(data, |file, text| with_link(file, text, "transport", &format!("\"{transport}\""), "What the link runs over."))
}

fn write(data: &Path, edit: impl FnOnce(&Path, &str) -> Result<String, ConfigError>) -> Result<(), ConfigError> {
    let file = path(data);
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(ConfigError::Read { file, source }),
    };
    let text = edit(&file, &text)?;
    replace(&file, &text)
        .map_err(|error| ConfigError::Data { data: data.to_owned(), message: format!("cannot write {}: {error}", file.display()) })
}

fn replace(file: &Path, text: &str) -> io::Result<()> {
    let part = file.with_extension("toml.part");
    let mut target = std::fs::File::create(&part)?;
    target.write_all(text.as_bytes())?;
    target.sync_all()?;
    std::fs::rename(&part, file)?;
    match file.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn with_servers(file: &Path, text: &str, servers: &[String]) -> Result<String, ConfigError> {
    let list = toml::Value::from(servers.to_vec()).to_string();
    with_link(file, text, "servers", &list, "The hub's link addresses, in the order in which they are tried.")
}

/// `text` with this value of `[link]`: in the place of the old one, or below `[link]`, or at the end with `what` it is.
fn with_link(file: &Path, text: &str, key: &str, value: &str, what: &str) -> Result<String, ConfigError> {
    let document = Document::parse(file, text)?;
    if let Some(range) = document.value_range(&format!("link.{key}")) {
        return Ok(format!("{}{value}{}", &text[..range.start], &text[range.end..]));
    }
    let header = text.lines().position(|line| line.split('#').next().unwrap_or(line).trim() == "[link]");
    if let Some(header) = header {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.insert(header + 1, format!("{key} = {value}"));
        return Ok(lines.join("\n") + "\n");
    }
    if document.root().contains_key("link") {
        let origin = document.origin("link");
        let message =
            format!("cannot be edited by a join as it is written; write [link] on a line of its own, and below it {key} = {value}");
        return Err(ConfigError::BadValue { key: "link".into(), origin, message });
    }
    let gap = if text.is_empty() || text.ends_with("\n\n") { "" } else { "\n" };
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    Ok(format!("{text}{end}{gap}# {what} Written by `edgehub join`.\n[link]\n{key} = {value}\n"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn edited(text: &str) -> String {
        let edited = with_servers(Path::new("edgehub.toml"), text, &["hub:1".to_owned(), "[::1]:2".to_owned()]).unwrap();
        let document = Document::parse(Path::new("edgehub.toml"), &edited).unwrap();
        assert_eq!(document.root()["link"]["servers"].to_string(), r#"["hub:1", "[::1]:2"]"#, "{edited}");
        edited
    }

    #[test]
    fn old_servers_are_replaced_in_place() {
        let text = "# mine\n[link]\nservers = [ # old\n  \"a:1\",\n]\nmetered = true # yes\n";
        assert_eq!(edited(text), "# mine\n[link]\nservers = [\"hub:1\", \"[::1]:2\"]\nmetered = true # yes\n");
    }

    #[test]
    fn a_section_without_servers_gets_them() {
        let text = "[link] # way up\nmetered = true\n[log]\nlevel = \"debug\"";
        assert_eq!(edited(text), "[link] # way up\nservers = [\"hub:1\", \"[::1]:2\"]\nmetered = true\n[log]\nlevel = \"debug\"\n");
    }

    #[test]
    fn a_file_without_the_section_gets_it_at_the_end() {
        assert!(edited("").starts_with("# The hub's link addresses"));
        assert!(edited("[log]\nlevel = \"debug\"").starts_with("[log]\nlevel = \"debug\"\n\n# The hub's"));
        edited("link.servers = []");
    }

    #[test]
    fn a_section_in_braces_is_left_to_its_owner() {
        let error = with_servers(Path::new("edgehub.toml"), "link = { metered = true }\n", &[]).unwrap_err().to_string();
        assert!(error.starts_with("edgehub.toml line 1: `link`: cannot be edited by a join"), "{error}");
    }

    #[test]
    fn the_file_is_made_and_made_anew() {
        let data = tempfile::tempdir().unwrap();
        write_servers(data.path(), &["a:1".to_owned()]).unwrap();
        write_servers(data.path(), &["b:2".to_owned()]).unwrap();
        let text = std::fs::read_to_string(path(data.path())).unwrap();
        assert!(text.contains("servers = [\"b:2\"]") && !text.contains("a:1"), "{text}");
        write_transport(data.path(), Transport::Quic).unwrap();
        write_transport(data.path(), Transport::Websocket).unwrap();
        let text = std::fs::read_to_string(path(data.path())).unwrap();
        assert!(text.contains("[link]\ntransport = \"websocket\"\nservers = [\"b:2\"]\n"), "{text}");
        assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 1);
    }
}
