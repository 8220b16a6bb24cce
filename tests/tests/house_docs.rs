//! A page that repeats what the code declares: the error codes. (`api` compares docs/metrics.md with its table itself.)
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use api::problem::Code;

#[test]
fn the_errors_page_has_every_code_and_no_other() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    let text = std::fs::read_to_string(page).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    for code in Code::ALL {
        let row = format!("| `{}` | {} |", code.as_str(), code.status().as_u16());
        assert!(rows.iter().any(|line| line.starts_with(&row)), "docs/errors.md has no line that begins with {row}");
    }
    assert_eq!(rows.len(), Code::ALL.len(), "docs/errors.md lists a code that the API does not know");
}
