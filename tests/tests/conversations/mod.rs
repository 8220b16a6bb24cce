//! The worked conversations of `docs/protocol/conversations/*.txt`, which are documentation: each is played twice, with the
//! real cloud and its store against the edge's words, and with the real edge and its database against the cloud's. The real
//! side must say every byte of its words, nothing else, and hold what the file says.
//!
//! `TOMBOLO_BLESS=1` lets both sides be real and writes down what they say; read the difference before you keep it.

mod notation;
mod pages;
mod run;
mod script;
mod stores;

use std::path::{Path, PathBuf};

use tests::lab::by_hand::Real;

use notation::Schema;
use run::Run;

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol/conversations");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    files.sort();
    files
}

#[test]
fn worked_conversations_are_what_both_sides_say() {
    let schema = Schema::read();
    let mut wrong = Vec::new();
    for path in files() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut items = script::parse(&std::fs::read_to_string(&path).unwrap());
        if std::env::var_os("TOMBOLO_BLESS").is_some() {
            let text = script::print(&Run::new(&schema, Real::Both).record(&items));
            std::fs::write(&path, &text).unwrap();
            items = script::parse(&text);
        }
        for real in [Real::Cloud, Real::Edge] {
            if let Err(error) = Run::new(&schema, real).replay(&items) {
                wrong.push(format!("{name}, with a real {real:?}, {error}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n\nIf it is meant: TOMBOLO_BLESS=1 cargo test -p tests --test schedules worked_conv", wrong.join("\n\n"));
}

/// A file is read and written without a change, and so is every frame in it.
#[test]
fn notation_round_trips() {
    let schema = Schema::read();
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let items = script::parse(&text);
        assert_eq!(script::print(&items), text, "{}", path.display());
        for item in items {
            if let script::What::Said { frame, .. } = item.what {
                let bytes = schema.parse(&frame).unwrap_or_else(|error| panic!("{}, line {}: {error}", path.display(), item.line));
                assert_eq!(schema.show(&bytes), frame, "{}, line {}", path.display(), item.line);
            }
        }
    }
}

/// A conversation that is one word off fails, whoever's word it is, and so does a store.
#[test]
fn a_wrong_word_is_found() {
    let schema = Schema::read();
    let path = files().into_iter().find(|path| path.ends_with("write.txt")).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    for (real, from, to) in [
        (Real::Cloud, "verdict: VERDICT_REJECTED", "verdict: VERDICT_MERGED"),
        (Real::Cloud, "\ncloud: taken {", "\ncloud: received {"),
        (Real::Edge, "\nedge: started {", "\nedge: ready {"),
        (Real::Edge, "write 1 applied", "write 1 rejected"),
    ] {
        assert!(text.contains(from), "{from}");
        let items = script::parse(&text.replacen(from, to, 1));
        assert!(Run::new(&schema, real).replay(&items).is_err(), "{to} is not found");
    }
}
