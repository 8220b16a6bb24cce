//! Pages whose commands are run as a reader would paste them: everything in `sh` blocks between `<!-- run -->` and
//! `<!-- /run -->`, in one bash, against the built programs. After them its `python` blocks, as one program, then its `js`
//! blocks, as one program in a browser on a page of the edge.
//!
//! What a page cannot know here (a free port, a real token) stands in for what it shows, and what its reader has done before
//! is [`Page::given`]. A command that fails ends the run. Needs bash, and what the page uses of curl, python3 and Chromium.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::process::binary;
use crate::shops::free_port;

/// What every page begins with: programs on the path, servers that end with the page, requests that fail loudly.
const BEGIN: &str = r#"
set -eu
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
PATH=$PWD/target/debug:$PATH
curl() { command curl -sS --fail-with-body -w '\n' "$@"; }
"#;

/// Languages beside `sh`, and how a program of a page is run.
const PROGRAMS: [(&str, &str, &str); 2] =
    [("python", "program.py", "python3 program.py"), ("js", "program.js", "in_browser http://$EDGE_AT/ program.js")];

/// One page of the project.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Where it is, from the project's root.
    pub file: &'static str,
    /// Commands before its own: what the reader has by then. They may use what [`Page::run`] sets.
    pub given: &'static str,
    /// What stands in the page, and what it is here.
    pub stand_ins: &'static [(&'static str, &'static str)],
    /// What the commands must show, in this order.
    pub seen: &'static [&'static str],
}

impl Page {
    /// The marked parts of the page, whole.
    pub fn marked(&self) -> String {
        let text = self.text();
        let parts = text
            .split("<!-- run -->")
            .skip(1)
            .map(|part| part.split_once("<!-- /run -->").unwrap_or_else(|| panic!("{}: a marked part does not end", self.file)).0);
        let marked: String = parts.collect();
        assert!(!marked.is_empty(), "{} marks nothing to run", self.file);
        marked
    }

    /// Runs it and looks at what it shows. `$CLOUD_AT`, `$EDGE_AT` and `$SECOND_AT` are free addresses; the programs know the first two.
    pub fn run(&self) {
        let mut commands = self.blocks("sh");
        let mut files = Vec::new();
        for (language, file, command) in PROGRAMS {
            let text = self.blocks(language);
            if !text.is_empty() {
                commands += &format!("{command}\n");
                files.push((file, text));
            }
        }
        self.paste_all(commands, &files);
    }

    /// The same for a plain text: its commands are the indented lines that begin with one of these words. A remark behind a
    /// command stands in brackets, two spaces off.
    pub fn run_lines(&self, words: &[&str]) {
        let is_command = |line: &&str| line.starts_with("  ") && line.split_whitespace().next().is_some_and(|word| words.contains(&word));
        let text = self.text();
        let lines = text.lines().filter(is_command).map(|line| line.split("  (").next().unwrap_or(line).to_owned() + "\n");
        self.paste_all(lines.collect(), &[]);
    }

    fn paste_all(&self, commands: String, files: &[(&str, String)]) {
        let commands = self.with_stand_ins(commands);
        if let Some(missing) = missing(&commands, starts) {
            panic!("{} uses {missing}, which is not installed here: `make test` installs it, or: apt-get install {missing}", self.file);
        }
        let scratch = lay_out();
        let shown = self.paste(&scratch, &format!("{BEGIN}{}\n{commands}", self.given), files);
        let mut rest = shown.as_str();
        for text in self.seen {
            let at = rest.find(text).unwrap_or_else(|| panic!("{} did not show {text:?} (or not in its place):\n{shown}", self.file));
            rest = &rest[at + text.len()..];
        }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(root().join(self.file)).unwrap_or_else(|error| panic!("{}: {error}", self.file))
    }

    /// The lines of all marked blocks in a language.
    fn blocks(&self, language: &str) -> String {
        let mut inside = false;
        let mut commands = String::new();
        for line in self.marked().lines() {
            match line {
                _ if line.strip_prefix("```") == Some(language) => inside = true,
                "```" => inside = false,
                _ if inside => commands.extend([line, "\n"]),
                _ => {}
            }
        }
        commands
    }

    fn with_stand_ins(&self, mut commands: String) -> String {
        for (printed, here) in self.stand_ins {
            assert!(commands.contains(printed), "{} no longer shows {printed:?}: its stand-in can go", self.file);
            commands = commands.replace(printed, here);
        }
        commands
    }

    fn paste(&self, scratch: &TempDir, script: &str, files: &[(&str, String)]) -> String {
        let [cloud, link, edge, second] = std::array::from_fn(|_| free_port().to_string());
        for (file, text) in files {
            std::fs::write(scratch.path().join(file), text.replace("127.0.0.1:10550", &edge)).expect("a scratch file");
        }
        // Into a file: a pipe would be held open by a server that outlives a page that went wrong.
        let log = scratch.path().join("shown");
        let out = File::create(&log).expect("a scratch file");
        let status = Command::new("timeout")
            .args(["90", "bash", "-c", script])
            .current_dir(scratch.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs([("CLOUD_AT", &cloud), ("EDGE_AT", &edge), ("SECOND_AT", &second)])
            .envs([
                ("CLOUDHUB_LISTEN_API", &cloud),
                ("CLOUDHUB_LISTEN_WS", &link),
                ("CLOUDHUB_LISTEN_QUIC", &link),
                ("CLOUDHUB_SERVER", &format!("https://{cloud}")),
            ])
            .env("EDGEHUB_LISTEN", &edge)
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a scratch file"))
            .stderr(out)
            .status()
            .expect("bash starts");
        let shown = std::fs::read_to_string(&log).expect("what it showed");
        assert!(status.success(), "{} ended with {status}\n{shown}\n{}", self.file, logs(scratch.path()));
        shown
    }
}

/// Every file whose name ends in `.log` below a folder.
fn logs(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            text += &logs(&path);
        } else if path.extension().is_some_and(|ending| ending == "log") {
            text += &format!("== {}\n{}\n", path.display(), std::fs::read_to_string(&path).unwrap_or_default());
        }
    }
    text
}

/// The first tool that the commands need and this machine has not. A page is never passed over: what was not run is not known.
fn missing(commands: &str, has: impl Fn(&str) -> bool) -> Option<&'static str> {
    let used = |tool: &str| commands.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == tool);
    ["bash", "curl", "python3"].into_iter().find(|tool| (*tool == "bash" || used(tool)) && !has(tool))
}

fn starts(tool: &str) -> bool {
    Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What a fresh clone has after `make demo`, as far as the pages need it.
fn lay_out() -> TempDir {
    let scratch = tempfile::Builder::new().prefix("tombolo-page-").tempdir().expect("a scratch folder");
    let link = |from: &Path, to: &str| {
        std::os::unix::fs::symlink(from.canonicalize().expect("a path of the project"), scratch.path().join(to)).expect("a link");
    };
    std::fs::create_dir(scratch.path().join("target")).expect("a scratch folder");
    link(binary("cloudhub").parent().expect("a folder"), "target/debug");
    link(&root().join("tests"), "tests");
    link(&root().join("docs"), "docs");
    // Where `make test` has put what an example needs of PyPI, under the name that its page uses.
    let python = root().join("target/thermostat");
    if python.is_dir() {
        link(&python, "target/thermostat");
    }
    scratch
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn a_page_without_its_tools_fails() {
        let page = "edgehub status\nid=$(curl http://localhost/healthz)\n";
        assert_eq!(missing(page, |_| true), None);
        assert_eq!(missing(page, |tool| tool != "curl"), Some("curl"));
        assert_eq!(missing("edgehub status --data ./curls\n", |tool| tool != "curl"), None);
        assert_eq!(missing("edgehub status\n", |tool| tool != "bash"), Some("bash"));
    }
}
