//! Which mistakes there are: cargo-mutants makes them up, as `.cargo/mutants.toml` says.

use std::ops::Range;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// One change of one place.
#[derive(Debug, Clone, Deserialize)]
pub struct Mutant {
    /// The package whose tests are to find it.
    pub package: String,
    /// The file, from the top of the tree.
    pub file: String,
    /// The function around it; none around constants.
    pub function: Option<Function>,
    /// What is replaced.
    pub span: Span,
    /// By what; nothing where something is left out.
    pub replacement: String,
    /// What kind of thing is replaced.
    pub genre: Genre,
    /// `file:line:column: what in function`.
    pub name: String,
}

/// The function around a change.
#[derive(Debug, Clone, Deserialize)]
pub struct Function {
    /// With its type, if it has one.
    pub function_name: String,
    /// As it is written, with its arrow.
    pub return_type: String,
}

/// Kinds of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Genre {
    /// The whole body of a function.
    FnValue,
    /// `<` for `<=`.
    BinaryOperator,
    /// No `!`, no `-`.
    UnaryOperator,
    /// No such arm.
    MatchArm,
    /// An arm that is always taken, or never.
    MatchArmGuard,
    /// A field is that of the value after `..`.
    StructField,
}

/// From one place to before another.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Span {
    start: Place,
    end: Place,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Place {
    line: usize,
    column: usize,
}

impl Span {
    /// Where that is among a file's bytes.
    pub fn bytes(&self, text: &str) -> Range<usize> {
        self.start.byte(text)..self.end.byte(text)
    }
}

impl Place {
    fn byte(&self, text: &str) -> usize {
        let before: usize = text.split_inclusive('\n').take(self.line - 1).map(str::len).sum();
        text[before..].char_indices().nth(self.column - 1).map_or(text.len(), |(at, _)| before + at)
    }
}

impl Mutant {
    /// Instead of an `impl Trait`: two values of one function are to be of one type, while each alone may have its own.
    pub fn is_of_some_type(&self) -> bool {
        self.genre == Genre::FnValue && self.function.as_ref().is_some_and(|function| function.return_type.contains("impl "))
    }

    /// What it is, without the place: `replace < with <= in Range::holds`.
    pub fn change(&self) -> &str {
        self.name.splitn(4, ':').last().map_or("", str::trim_start)
    }
}

/// All that `arguments` choose, in the order of files and lines.
pub fn listed(root: &Path, arguments: &[String]) -> Result<Vec<Mutant>> {
    let tool = root.join("target/mutants/bin/cargo-mutants");
    let mut list = Command::new(&tool);
    let list = list.current_dir(root).args(["mutants", "--list", "--json"]).args(arguments);
    let output = list.output().with_context(|| format!("starting {}", tool.display()))?;
    ensure!(output.status.success(), "cargo mutants --list: {}", String::from_utf8_lossy(&output.stderr));
    let mut listed: Vec<Mutant> = serde_json::from_slice(&output.stdout).context("what cargo mutants --list says")?;
    listed.sort_by_key(|mutant| (mutant.file.clone(), mutant.span.start.line, mutant.span.start.column));
    Ok(listed)
}
