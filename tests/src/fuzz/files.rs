//! Files: configurations, imports, certificates.

use std::path::Path;

use api::config::{Document, Layers, Schema};
use api::http::import::ImportLines;
use cloudhub::config::ServeConfig;
use edgehub::config::RunConfig;
use proto::definition::Definition;
use rustls_pki_types::CertificateDer;
use transport::identity::{CertificateFacts, NodeIdentity};
use transport::tls::{Credentials, certificates};

use super::Memory;

/// A configuration of either hub, or a file of definitions: the same reader takes them. What it has taken is printed and taken again.
pub(super) fn config(bytes: &[u8], memory: &Memory) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    memory.within(2048 * text.len(), || {
        let Ok(document) = Document::parse(Path::new("hub.toml"), text) else { return };
        assert!(document.line_of("link.servers").is_none_or(|line| line <= text.lines().count().max(1)));
        let _ = (document.check(&Schema::new(["collection.name", "collection.key"])), document.value_range("link.servers"));
        let mut edge = Layers::new(edgehub::config::SETTINGS, &RunConfig::default());
        if edge.file(&document).is_ok() && RunConfig::build(&edge).is_ok() {
            printed(&edge, edgehub::config::SETTINGS, &RunConfig::default());
        }
        let mut cloud = Layers::new(cloudhub::config::SETTINGS, &ServeConfig::default());
        if cloud.file(&document).is_ok() && cloud.build::<ServeConfig>().is_ok() {
            printed(&cloud, cloudhub::config::SETTINGS, &ServeConfig::default());
        }
    });
}

fn printed<T>(layers: &Layers, settings: &'static [api::config::Setting], defaults: &T)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let shown = layers.print();
    let document = Document::parse(Path::new("printed.toml"), &shown).unwrap_or_else(|error| panic!("{error}:\n{shown}"));
    let mut again = Layers::new(settings, defaults);
    again.file(&document).unwrap_or_else(|error| panic!("{error}:\n{shown}"));
    assert_eq!(again.build::<T>().unwrap(), layers.build::<T>().unwrap(), "as it was printed");
}

/// The lines of an import. The first byte says which definition it is for.
pub(super) fn import(bytes: &[u8], memory: &Memory) {
    let Some((first, text)) = bytes.split_first() else { return };
    let definition = match first % 3 {
        0 => Definition::default(),
        1 => Definition { key: Some("id".to_owned()), ..Definition::default() },
        _ => Definition { key: Some("a/b".to_owned()), ..Definition::default() },
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    memory.within(64 * text.len(), || runtime.block_on(lines(text, &definition)));
}

async fn lines(text: &[u8], definition: &Definition) {
    let mut lines = ImportLines::from_text(text.to_vec());
    let mut found = Vec::new();
    loop {
        match lines.next().await {
            Ok(Some(line)) => found.push(line),
            Ok(None) => break,
            Err(problem) => return assert!(problem.code().as_str() == "bad_line", "{problem:?}"),
        }
    }
    assert!(found.len() <= text.split(|byte| *byte == b'\n').count());
    for line in &found {
        match line.record(definition, None) {
            Ok((key, value)) => {
                assert!(definition.key_of(&value).is_ok_and(|own| own.is_none_or(|own| own == key)));
                assert!(value.check_bounds().is_ok());
            }
            Err(problem) => assert!(problem.code().as_str() == "bad_line", "{problem:?}"),
        }
    }
    let again: Vec<_> = lines.replay().unwrap().map(Result::unwrap).collect();
    assert_eq!(again, found, "what is committed is what was checked");
}

/// A certificate as it comes in a handshake, and texts that hold some.
pub(super) fn certificate(bytes: &[u8], memory: &Memory) {
    memory.within(64 * bytes.len(), || {
        let der = CertificateDer::from(bytes);
        if let Ok(facts) = CertificateFacts::read(&der) {
            let node = NodeIdentity::read(&der).ok();
            assert_eq!(node.map(|node| (node.name, node.serial)), facts.node.clone().map(|name| (name, facts.serial.clone())));
            let _ = facts.renew_at();
        }
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        for der in certificates(text).into_iter().flatten() {
            let _ = CertificateFacts::read(&der);
        }
        let _ = Credentials::from_pem(text, text);
    });
}
