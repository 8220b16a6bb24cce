//! What no test can find, with the reason: `tests/data/mutants/judged.txt`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::listed::Mutant;

/// A change that makes no difference.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The file, from the top of the tree.
    pub file: String,
    /// What is changed, as [`names`] says it.
    pub change: String,
    /// Why nobody can tell.
    pub reason: String,
}

impl Judged {
    /// The function that it is in, without its type.
    pub fn function(&self) -> Option<&str> {
        let (_, within) = self.change.rsplit_once(" in ").or_else(|| self.change.split_once("replace "))?;
        let name = within.split(" (").next()?.split(" -> ").next()?.split(" with ").next()?;
        name.rsplit("::").next()
    }
}

/// Reads the list: lines of `file: change`, and below each its reason, indented.
pub fn read(text: &str) -> Result<Vec<Judged>> {
    let mut found: Vec<Judged> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if let Some(reason) = line.strip_prefix("    ") {
            let last = found.last_mut().with_context(|| format!("a reason of nothing: {line}"))?;
            last.reason = format!("{} {}", last.reason, reason.trim()).trim().to_owned();
        } else {
            let (file, change) = line.split_once(": ").with_context(|| format!("not `file: change`: {line}"))?;
            found.push(Judged { file: file.to_owned(), change: change.to_owned(), reason: String::new() });
        }
    }
    if let Some(bare) = found.iter().find(|judged| judged.reason.is_empty()) {
        ensure!(false, "{}: {} has no reason", bare.file, bare.change);
    }
    Ok(found)
}

/// `file: change` of each, without its line: of several that read alike in one function, which one it is.
pub fn names(mutants: &[Mutant]) -> Vec<String> {
    let name = |mutant: &Mutant| format!("{}: {}", mutant.file, mutant.change());
    let mut alike = BTreeMap::<String, usize>::new();
    for mutant in mutants {
        *alike.entry(name(mutant)).or_default() += 1;
    }
    let mut seen = BTreeMap::<String, usize>::new();
    let numbered = |mutant: &Mutant| {
        let name = name(mutant);
        let at = seen.entry(name.clone()).or_default();
        *at += 1;
        if alike[&name] > 1 { format!("{name} ({at} of {})", alike[&name]) } else { name }
    };
    mutants.iter().map(numbered).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read() {
        let text = "# why\nproto/src/a.rs: replace < with <= in Some::place (2 of 3)\n    Both are\n    the same.\n\n\
            proto/src/b.rs: replace whole -> bool with true\n    So it is.\n";
        let judged = read(text).unwrap_or_default();
        assert_eq!(judged.iter().map(|judged| judged.function()).collect::<Vec<_>>(), [Some("place"), Some("whole")]);
        assert_eq!(judged[0].reason, "Both are the same.");
        assert!(read("proto/src/a.rs: replace < with <= in place\n").is_err());
    }
}
