//! The commands that the README shows a stranger are run, so that it stays true.
//!
//! Needs bash. Where there is no curl, the one line that reads over HTTP is left out.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tests::process::binary;
use tests::shops::free_port;

/// What a reader is promised to see, in this order, whichever shop finds the way back first.
const SEEN: [&str; 12] = [
    "products created (selects 0 of 0 nodes)",
    "262 read: 262 created, 0 changed, 0 unchanged",
    "NAME  STATE   LABELS     BEHIND  OUTBOX  CONFLICTS  LAST-SEEN                 VERSION",
    "oslo  online  site=oslo  0       0       0",
    "products/RP-110: applied (write cloud:",
    "products/RP-110: pending (write oslo:",
    "value.Name          Shackle, 52 mm",
    "value.Stock         5",
    "value.Name          Snap shackle, 5 cm",
    "value.Stock         -4",
    "RP-110  field  auto",
    "Name  Snap shackle, 5 cm",
];

#[test]
fn the_tour_runs_as_it_is_printed() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let tour = tour(&std::fs::read_to_string(root.join("README.md")).unwrap());
    let scratch = tempfile::Builder::new().prefix("tombolo-tour-").tempdir().unwrap();
    lay_out(scratch.path(), &root);
    let shown = run(scratch.path(), &commands(&tour));
    let mut rest = shown.as_str();
    for text in SEEN {
        let at = rest.find(text).unwrap_or_else(|| panic!("the tour did not show {text:?} (or not in its place):\n{shown}"));
        rest = &rest[at + text.len()..];
    }
}

#[test]
fn what_the_tour_promises_is_in_its_text() {
    let readme = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let tour = tour(&std::fs::read_to_string(readme).unwrap());
    for text in SEEN {
        assert!(tour.contains(text), "README.md does not show {text:?}");
    }
}

/// The part of the README between its two marks.
fn tour(readme: &str) -> String {
    let (_, after) = readme.split_once("<!-- tour -->").expect("README.md marks where the tour begins");
    let (tour, _) = after.split_once("<!-- /tour -->").expect("README.md marks where the tour ends");
    tour.to_owned()
}

/// The lines of all `sh` blocks.
fn commands(tour: &str) -> String {
    let mut inside = false;
    let mut commands = String::new();
    for line in tour.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside && (has_curl() || !line.starts_with("curl ")) => commands.extend([line, "\n"]),
            _ => {}
        }
    }
    commands
}

fn has_curl() -> bool {
    Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// What a fresh clone has after `make demo`, as far as the tour needs it.
fn lay_out(scratch: &Path, root: &Path) {
    std::fs::create_dir(scratch.join("target")).unwrap();
    let programs = binary("cloudhub").parent().unwrap().canonicalize().unwrap();
    std::os::unix::fs::symlink(programs, scratch.join("target/debug")).unwrap();
    std::os::unix::fs::symlink(root.join("tests").canonicalize().unwrap(), scratch.join("tests")).unwrap();
}

/// Everything the commands show, run in one bash as a reader would paste them, but on free ports.
fn run(scratch: &Path, commands: &str) -> String {
    let [api, ws, lyon, oslo] = std::array::from_fn(|_| free_port().to_string());
    let commands = commands.replace("--server 127.0.0.1 ", &format!("--server {api} ")).replace("127.0.0.1:10551", &oslo);
    // A failing command ends the tour, and its servers with it.
    let script = format!("set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{commands}");
    // Into a file: a pipe would be held open by a server that outlives a tour that went wrong.
    let log = scratch.join("shown");
    let out = File::create(&log).unwrap();
    let status = Command::new("timeout")
        .args(["60", "bash", "-c", &script])
        .current_dir(scratch)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs([("CLOUDHUB_LISTEN_API", &api), ("CLOUDHUB_LISTEN_WS", &ws), ("CLOUDHUB_SERVER", &format!("https://{api}"))])
        .env("EDGEHUB_LISTEN", &lyon)
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .status()
        .expect("bash starts");
    let shown = std::fs::read_to_string(&log).unwrap();
    let logs = || {
        ["cloud", "lyon", "oslo"].map(|name| std::fs::read_to_string(scratch.join(format!("target/tour/{name}.log"))).unwrap_or_default())
    };
    assert!(status.success(), "the tour ended with {status}\n{shown}\n{}", logs().join("\n"));
    shown
}
