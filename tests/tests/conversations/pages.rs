//! docs/protocol.md and the pages below it name everything that the schema and the code have, and their examples are true.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proto::clock::Hlc;
use proto::digest::{Digest, Hashed, range_of};
use proto::frame::{DefinitionText, Grant, Grants, Share};
use proto::ids::Revision;
use proto::json::Raw;
use proto::op::{Body, Change, Op, To, Was, Write, hash};
use proto::session::handshake::{DAILY_LIMIT, DISK_FULL, FEATURES};
use tests::lab::words::{collection, key};

use super::notation::{Schema, digits};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// What stands under a heading, up to the next one of its level or above.
fn section<'a>(page: &'a str, heading: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!("\n{heading}\n"))?;
    let end = ["\n## ", "\n### "].iter().filter_map(|mark| rest.find(mark)).min().unwrap_or(rest.len());
    Some(&rest[..end])
}

/// Words in code marks.
fn marked(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_message_and_field_of_the_schema_is_on_the_page() {
    let frames = page("protocol/frames.md");
    for message in Schema::read().messages() {
        let name = message.name();
        let text = section(&frames, &format!("### {name}")).or_else(|| section(&frames, &format!("## {name}")));
        let text = text.unwrap_or_else(|| panic!("docs/protocol/frames.md has no heading {name}"));
        let words = marked(text);
        for field in message.fields() {
            assert!(words.contains(field.name()), "docs/protocol/frames.md, {name}: {} ({}) is not named", field.name(), field.number());
        }
    }
    let (index, rows) = (section(&frames, "## Frame").unwrap(), Schema::read());
    for field in rows.messages().iter().find(|message| message.name() == "Frame").unwrap().fields() {
        assert!(index.contains(&format!("| {} | `{}` |", field.number(), field.name())), "Frame: no row for {}", field.name());
    }
}

/// The first cells of the table between `<!-- codes: NAME -->` and its end.
fn table(page: &str, name: &str) -> BTreeSet<String> {
    let (_, rest) = page.split_once(&format!("<!-- codes: {name} -->")).unwrap();
    let (text, _) = rest.split_once("<!-- /codes -->").unwrap();
    text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect()
}

/// The sources of folders, without their tests.
fn sources(folders: &[&str]) -> String {
    let mut text = String::new();
    let mut left: Vec<_> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if !path.strip_prefix(root()).unwrap().to_string_lossy().contains("tests") {
            let source = std::fs::read_to_string(path).unwrap();
            text += source.split("#[cfg(test)]").next().unwrap();
        }
    }
    text
}

/// The texts that follow one of these.
fn said(text: &str, before: &[&str]) -> BTreeSet<String> {
    let found = before.iter().flat_map(|before| text.split(before).skip(1)).filter_map(|rest| rest.split('"').next());
    found.filter(|code| code.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')).map(str::to_owned).collect()
}

#[test]
fn the_codes_on_the_page_are_those_of_the_code() {
    let page = page("protocol.md");
    let text = sources(&["proto/src/session", "cloudhub/src/peers", "cloudhub/src/http", "cloudhub/src/store", "edgehub/src/link"]);
    let close = said(&text, &["Breach::new(\"", ".close(\"", ".end(\"", ".end(name, \"", ".end(&node, \""]);
    let close: BTreeSet<_> = close.into_iter().chain(["copied_database", "parts"].map(str::to_owned)).collect();
    assert_eq!(table(&page, "close"), close, "docs/protocol.md, Close: left what the page has, right what the code says");
    let refused = ["cloudhub/src/store/admit.rs", "cloudhub/src/peers/driver.rs", "proto/src/session/handshake.rs"];
    let refuse = said(&sources(&refused), &["refuse(\"", "reason(\"", "code: \""]);
    assert_eq!(table(&page, "refuse"), refuse, "docs/protocol.md, Refuse: left what the page has, right what the code says");
    assert_eq!(table(&page, "features"), FEATURES.iter().map(|feature| (*feature).to_owned()).collect());
    assert_eq!(table(&page, "nack"), [DISK_FULL, DAILY_LIMIT].map(str::to_owned).into());
}

fn has(name: &str, text: &str) {
    assert!(page(name).contains(text), "docs/{name} does not have {text}");
}

#[test]
fn the_hash_of_grants_is_as_the_page_says() {
    let grant = |name: &str, partition: Option<&str>, since| Grant {
        share: Share { collection: collection(name), partition: partition.map(str::to_owned) },
        since: Revision(since),
        from: Revision(40),
    };
    let definition = |name: &str, revision| DefinitionText { name: collection(name), revision: Revision(revision), json: "{}".to_owned() };
    let grants = Grants {
        grants: vec![grant("products", None, 7), grant("stock", Some("lyon"), 9)],
        definitions: vec![definition("products", 3), definition("stock", 5)],
        ..Grants::default()
    };
    has("protocol/frames.md", &format!("definitions of `products` at 3 and `stock` at 5 | `{}` |", digits(&grants.hash())));
    has("protocol/frames.md", &format!("| none | `{}` |", digits(&Grants::default().hash())));
}

#[test]
fn digests_are_as_the_page_says() {
    let own = |key, revision, born, at: u64, writer, actor, value| Hashed {
        key,
        revision: Revision(revision),
        born: Revision(born),
        updated_ms: 1_800_000_000_000 + at,
        writer,
        actor,
        value,
    };
    let one = own("1", 7, 3, 0, "cloud:7", None, r#"{"id":1,"name":"tea"}"#);
    let two = own("2", 8, 8, 1, "lyon:7f3a9c:42", Some("Ann"), r#"{"id":2}"#);
    let mut digest = Digest::default();
    for record in [one, two] {
        digest.add(&record.hash());
        has("protocol/down.md", &format!("value `{}` | `{}` | {} |", record.value, digits(&record.hash()), range_of(record.key)));
    }
    has("protocol/down.md", &format!("count 2, sum (little-endian) `{}`", digits(&digest.sum.to_le_bytes())));
}

#[test]
fn the_bytes_of_a_write_are_as_the_page_says() {
    let op = |body| Op {
        collection: collection("products"),
        key: key("1"),
        seen: Revision(7),
        definition: Revision(3),
        depends: None,
        stands_on: Vec::new(),
        expect: None,
        body,
    };
    let raw = |text: &str| Raw::parse(text).unwrap();
    let change = Change { field: "name".to_owned(), to: To::Set(raw(r#""green tea""#)), was: Was::Value(raw(r#""tea""#)) };
    let write = Write {
        hlc: Hlc(117_964_800_000_000_000),
        at_ms: 1_800_000_000_000,
        actor: Some("Ann".to_owned()),
        ops: vec![op(Body::Increment(vec![("n".to_owned(), -3)])), op(Body::Merge(vec![change]))],
        ..Write::default()
    };
    has("protocol/up.md", &format!("| bytes | `{}` |", digits(&write.encode())));
    has("protocol/up.md", &format!("| hash | `{}` |", digits(&hash(&write.encode()))));
}

/// Every conversation is in the list, and the list has no other.
#[test]
fn every_conversation_is_listed() {
    let listed = page("protocol/conversations.md");
    let listed: BTreeSet<_> = listed.split("](conversations/").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    let files = super::files();
    let files: BTreeSet<_> = files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(listed, files);
}
