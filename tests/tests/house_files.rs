//! How the tree is laid out: what has no place in it, and that its documents point at what exists.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders at the top; another one needs a reason in docs/decisions/ first.
const TOP: [&str; 10] = ["api", "cloudhub", "devicetwin", "docs", "edgehub", "metamanager", "proto", "target", "tests", "transport"];

/// A file that is longer does more than one thing.
const LONGEST: usize = 800;

/// Names under which anything could be put.
const NAMELESS: [&str; 5] = ["utils.rs", "common.rs", "helpers.rs", "types.rs", "misc.rs"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A picture in the documents is at most so long.
const LONGEST_PICTURE: usize = 150_000;

/// Every file of ours with that extension, without build output and hidden folders.
fn files(extension: &str) -> Vec<PathBuf> {
    let mut found = every_file();
    found.retain(|path| path.extension().is_some_and(|found| found == extension));
    assert!(!found.is_empty(), "no .{extension} file was found");
    found
}

fn every_file() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            let skipped = name.starts_with('.') || name.ends_with("hub-data") || name == "target" || name == "__pycache__";
            if path.is_dir() && !skipped {
                folders.push(path);
            } else if path.is_file() && !skipped {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn top_level_folders_are_the_named_ones() {
    for entry in std::fs::read_dir(root()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().into_string().unwrap();
        let local = name.starts_with('.') || name.ends_with("hub-data");
        assert!(
            local || TOP.contains(&name.as_str()),
            "top-level folder {name}: give its reason in docs/decisions/ and name it in this test"
        );
    }
}

#[test]
fn source_files_are_short_and_well_named() {
    for path in files("rs") {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines, more than {LONGEST}: cut it by what it does", shown(&path));
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(!NAMELESS.contains(&name), "{}: name it after what is in it", shown(&path));
    }
}

/// What cannot be read as text cannot be reviewed. The README shows what the till looks like: that is the one exception.
#[test]
fn everything_is_text_but_the_pictures_of_the_till() {
    for path in every_file() {
        let bytes = std::fs::read(&path).unwrap();
        let is_picture = path.parent() == Some(&root().join("docs/pictures")) && bytes.starts_with(b"\x89PNG\r\n\x1a\n");
        let fits = is_picture && bytes.len() <= LONGEST_PICTURE;
        let reason = if is_picture { "is too large a picture; make pictures" } else { "is not text" };
        let local = ["db", "db-wal", "db-shm"].iter().any(|ending| path.extension().is_some_and(|found| found == *ending));
        assert!(fits || local || std::str::from_utf8(&bytes).is_ok(), "{} {reason}", shown(&path));
    }
}

#[test]
fn nothing_is_left_to_be_written() {
    let marks = ["todo!", "unimplemented!", "FIXME", "XXX"].map(|mark| format!("{mark}{}", if mark.ends_with('!') { "(" } else { "" }));
    for path in files("rs").into_iter().filter(|path| !path.ends_with(file!())) {
        for (number, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            let mark = marks.iter().find(|mark| line.contains(mark.as_str()));
            assert!(mark.is_none(), "{}:{}: {}", shown(&path), number + 1, line.trim());
        }
    }
}

/// What no test can find is judged about code that is there.
#[test]
fn judged_changes_are_of_functions_that_exist() {
    let list = std::fs::read_to_string(root().join("tests/data/mutants/judged.txt")).unwrap();
    for judged in tests::mutants::judged::read(&list).unwrap() {
        let text = std::fs::read_to_string(root().join(&judged.file)).unwrap_or_else(|error| panic!("{}: {error}", judged.file));
        let function = judged.function().unwrap_or_else(|| panic!("{}: no function", judged.change));
        assert!(text.contains(&format!("fn {function}")), "{}: no function {function}; is {:?} still there?", judged.file, judged.change);
    }
}

/// `](target)` of every Markdown link, without those to other sites and inside code.
fn links(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let prose = text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    let targets = prose.flat_map(|line| line.split("](").skip(1).filter_map(|rest| rest.split(')').next()));
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

/// The anchor that a heading gets: lower case, spaces to hyphens, other marks dropped.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars()
        .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'))
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

#[test]
fn links_in_documents_lead_somewhere() {
    for path in files("md") {
        let text = std::fs::read_to_string(&path).unwrap();
        for link in links(&text) {
            let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: the link to {link} leads nowhere", shown(&path));
            let Some(heading) = heading else { continue };
            let page = std::fs::read_to_string(&target).unwrap();
            let found = page.lines().any(|line| line.starts_with('#') && anchor(line) == heading);
            assert!(found, "{}: {link} names a heading that is not there", shown(&path));
        }
    }
}

/// What docs call `path/to/file.rs` in code marks exists too: a walk through the code must not lead past it.
#[test]
fn source_files_named_in_documents_exist() {
    for path in files("md").into_iter().filter(|path| path.starts_with(root().join("docs")) && !path.ends_with("design.md")) {
        let text = std::fs::read_to_string(&path).unwrap();
        for named in text.split('`').skip(1).step_by(2).filter(|code| code.ends_with(".rs") && code.contains('/') && !code.contains(' ')) {
            assert!(root().join(named).exists(), "{}: `{named}` does not exist", shown(&path));
        }
    }
}

/// Every decision has a number of its own, and none is missing.
#[test]
fn decisions_are_numbered() {
    let mut names: Vec<String> =
        std::fs::read_dir(root().join("docs/decisions")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    for (index, name) in names.iter().enumerate() {
        assert!(
            name.starts_with(&format!("{:04}-", index + 1)) && name.ends_with(".md"),
            "docs/decisions/{name}: expected number {:04}",
            index + 1
        );
    }
}

/// What a patch of the museum changes is still there, or it would prove nothing; and the page says what finds each.
#[test]
fn every_mistake_of_the_museum_can_be_put_back() {
    let page = std::fs::read_to_string(root().join("docs/reliability.md")).unwrap();
    let patches = files("patch");
    assert!(patches.len() >= 20, "{} patches", patches.len());
    for patch in patches {
        let text = std::fs::read_to_string(&patch).unwrap();
        assert!(text.lines().any(|line| line.starts_with("check: ")), "{} does not say what finds it", shown(&patch));
        let tried = Command::new("git").current_dir(root()).args(["apply", "--check", "--verbose"]).arg(&patch).output().unwrap();
        let said = String::from_utf8_lossy(&tried.stderr);
        assert!(tried.status.success() && !said.contains("Skipped"), "{}: {said}", shown(&patch));
        let name = patch.file_stem().unwrap().to_str().unwrap();
        assert!(page.contains(&format!("| `{name}` |")), "docs/reliability.md has no row for {name}");
    }
}

/// The same of the small ones that were chosen by hand: a text that is not there, or twice, proves nothing.
#[test]
fn every_mutation_can_be_put_in() {
    let table: toml::Table = std::fs::read_to_string(root().join("tests/mutations.toml")).unwrap().parse().unwrap();
    assert_eq!(table.len(), 30);
    for (name, entry) in table {
        let word = |key: &str| entry.get(key).and_then(toml::Value::as_str).unwrap_or_else(|| panic!("{name} has no {key}"));
        let there = std::fs::read_to_string(root().join(word("file"))).unwrap().matches(word("text")).count();
        assert_eq!(there, 1, "{name}: how often its text is in {}", word("file"));
        assert!(word("text") != word("becomes") && word("check").starts_with("-p "), "{name}");
    }
}
