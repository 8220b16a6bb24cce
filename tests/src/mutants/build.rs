//! Builds a package's tests with all mistakes in it, and leaves out which of them do not compile, until the rest does.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::rewrite::{Number, Rewritten, rewrite};
use super::{Numbered, Package};
use crate::mirror::write;

/// What gives a crate its `mutant::at`, but for the number of them.
const CHOICE: &str = include_str!("../../data/mutants/mutant.rs");

/// Errors of borrows, of what is inferred and of constants: what is refused so among its alternatives may compile alone.
const OF_THE_FORM: [&str; 14] =
    ["E0015", "E0282", "E0283", "E0373", "E0381", "E0382", "E0499", "E0502", "E0505", "E0506", "E0507", "E0515", "E0597", "E0716"];

/// The copy of the tree, and where it is built.
pub struct Workshop {
    /// The tree as it is.
    pub root: PathBuf,
    /// Its copy.
    pub copy: PathBuf,
    /// What is built of the copy.
    pub target: PathBuf,
}

/// A package's tests with mistakes to choose from.
#[derive(Default)]
pub struct Built {
    /// The test programs.
    pub programs: Vec<PathBuf>,
    /// The numbers that are chosen among at one place; the first stands for it.
    pub sites: Vec<Vec<Number>>,
    /// What is not a program at all.
    pub broken: BTreeSet<Number>,
    /// What may be one, but cannot be chosen by its number.
    pub alone: BTreeSet<Number>,
}

/// What the compiler does not take.
pub struct Complaint {
    code: String,
    text: String,
    /// Where it is.
    places: Vec<(String, Range<usize>)>,
    /// What has to do with it.
    others: Vec<(String, Range<usize>)>,
}

impl Workshop {
    /// Builds the package with all of these in it that can be.
    pub fn build(&self, package: &Package, mutants: &[Numbered<'_>]) -> Result<Built> {
        let mut built = Built::default();
        loop {
            let files = self.put(package, mutants, &mut built)?;
            let complaints = match self.compile(package)? {
                Ok(programs) => return Ok(Built { programs, ..built }),
                Err(complaints) => complaints,
            };
            let before = built.broken.len() + built.alone.len();
            for complaint in &complaints {
                built.blame(complaint, &files);
            }
            let dropped = built.broken.len() + built.alone.len() - before;
            let said = || complaints.iter().map(|complaint| complaint.text.as_str()).collect::<String>();
            ensure!(dropped > 0, "{} does not compile, and by none of the mistakes:\n{}", package.name, said());
            eprintln!("{}: {dropped} changes do not compile; again without them", package.name);
        }
    }

    /// Writes the files with what is left of the mistakes.
    fn put<'a>(&self, package: &Package, mutants: &[Numbered<'a>], built: &mut Built) -> Result<Vec<(&'a str, Rewritten)>> {
        let mut names: Vec<&str> = mutants.iter().map(|(_, mutant)| mutant.file.as_str()).collect();
        names.dedup();
        let mut files = Vec::new();
        built.sites.clear();
        for name in names {
            let left = |number| !built.broken.contains(number) && !built.alone.contains(number);
            let here: Vec<_> = mutants.iter().filter(|(number, mutant)| mutant.file == name && left(number)).copied().collect();
            let new = rewrite(&std::fs::read_to_string(self.root.join(name))?, &here).with_context(|| name.to_owned())?;
            built.sites.extend(new.sites.iter().map(|(numbers, _)| numbers.clone()).filter(|numbers| !numbers.is_empty()));
            built.broken.extend(&new.in_let_chains);
            built.alone.extend(&new.left_out);
            if name != package.lib {
                write(&self.copy.join(name), new.text.as_bytes())?;
            }
            files.push((name, new));
        }
        let own = files.iter().find(|(name, _)| *name == package.lib).map(|(_, new)| new.text.clone());
        let lib = own.map_or_else(|| std::fs::read_to_string(self.root.join(package.lib)), Ok)?;
        let most = mutants.iter().map(|(number, _)| number + 1).max().unwrap_or(1);
        write(&self.copy.join(package.lib), format!("{lib}\n{CHOICE}\nconst MUTANT_SITES: usize = {most};\n").as_bytes())?;
        Ok(files)
    }

    /// The test programs, or why there are none.
    pub fn compile(&self, package: &Package) -> Result<Result<Vec<PathBuf>, Vec<Complaint>>> {
        let mut cargo = Command::new(env!("CARGO"));
        let cargo = cargo.current_dir(&self.copy).env("CARGO_TARGET_DIR", &self.target).env("CARGO_PROFILE_DEV_DEBUG", "0");
        let output = cargo.args(["test", "--no-run", "--locked", "--message-format=json"]).args(package.tests).output()?;
        let (mut programs, mut complaints) = (Vec::new(), Vec::new());
        for line in output.stdout.split(|byte| *byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(Said::CompilerArtifact { executable: Some(program), profile }) if profile.test => programs.push(program),
                Ok(Said::CompilerMessage { message }) if message.level == "error" && !message.spans.is_empty() => {
                    complaints.push(message.into());
                }
                _ => {}
            }
        }
        if output.status.success() {
            return Ok(Ok(programs));
        }
        ensure!(!complaints.is_empty(), "{}: {}", package.name, String::from_utf8_lossy(&output.stderr));
        Ok(Err(complaints))
    }
}

impl Built {
    /// Leaves out whose fault that is.
    fn blame(&mut self, complaint: &Complaint, files: &[(&str, Rewritten)]) {
        // What was moved away is complained of where it is wanted next.
        if !self.blame_at(&complaint.places, &complaint.code, files) {
            self.blame_at(&complaint.others, &complaint.code, files);
        }
    }

    /// Tells whether one of the places is a mistake's.
    fn blame_at(&mut self, places: &[(String, Range<usize>)], code: &str, files: &[(&str, Rewritten)]) -> bool {
        let before = self.broken.len() + self.alone.len();
        for (file, place) in places {
            let Some((_, new)) = files.iter().find(|(name, _)| name == file) else { continue };
            let within = |range: &Range<usize>| range.start <= place.start && place.end <= range.end;
            if let Some((number, _)) = new.alternatives.iter().find(|(_, range)| within(range)) {
                if OF_THE_FORM.contains(&code) {
                    self.alone.insert(*number)
                } else {
                    self.broken.insert(*number)
                };
            } else if let Some((numbers, _)) = new.sites.iter().rev().find(|(_, range)| within(range)) {
                self.alone.extend(numbers);
            }
        }
        self.broken.len() + self.alone.len() > before
    }
}

/// What cargo says, as far as it is of use here.
#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Said {
    CompilerMessage {
        message: Message,
    },
    CompilerArtifact {
        executable: Option<PathBuf>,
        profile: Profile,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Message {
    level: String,
    code: Option<Code>,
    rendered: Option<String>,
    spans: Vec<Place>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Place {
    file_name: String,
    byte_start: usize,
    byte_end: usize,
    is_primary: bool,
}

impl From<Message> for Complaint {
    fn from(message: Message) -> Self {
        let (primary, others) = message.spans.into_iter().partition::<Vec<_>, _>(|place| place.is_primary);
        let places = |spans: Vec<Place>| spans.into_iter().map(|place| (place.file_name, place.byte_start..place.byte_end)).collect();
        Self {
            code: message.code.map(|code| code.code).unwrap_or_default(),
            text: message.rendered.unwrap_or_default(),
            places: places(primary),
            others: places(others),
        }
    }
}
