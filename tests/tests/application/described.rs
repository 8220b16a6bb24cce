//! Both servers answer as /openapi.json says, to whatever a stranger makes of it: schemathesis asks them.
//!
//! Every check of it runs: no 500; status, content type, headers and body as described; invalid requests refused, valid ones taken;
//! other methods refused with `Allow`; no answer without a token; what was deleted is gone. What a check cannot know, and where
//! one is left out, stands with its reason in tests/schemathesis/schemathesis.toml and hooks.py.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::shops::World;

/// Examples an operation in `make test`; `make schemathesis` asks for more with `TOMBOLO_EXAMPLES`.
const EXAMPLES: &str = "15";

/// What tests/schemathesis/ speaks of.
const COLLECTIONS: &str = r#"
[[collection]]
name = "products"
key = "ProductID"
indexes = ["CategoryID"]
[collection.fields]
UnitsInStock = { type = "counter", min = 0, on_violation = "flag" }
Reserved = { type = "counter", min = 0, on_violation = "reject" }
UnitPrice = { edge = "read-only" }

[[collection]]
name = "notes"

[[collection]]
name = "sales"
policy = "append"

[[collection]]
name = "prices"
edge = "read-only"
"#;

const DEVICES: &str = r#"
[[model]]
name = "thermostat"
properties = { temp = { type = "float" }, target = { type = "int", access = "read-write", default = 20 } }
[[device]]
id = "cellar"
model = "thermostat"
node = "lyon"
[[device]]
id = "default/cellar"
model = "thermostat"
node = "lyon"
"#;

/// A cloud, a node that runs, and one that may be lost.
fn world() -> World {
    let world = World::new(&[("lyon", &["role=shop"])]);
    world.cloud.define(COLLECTIONS);
    for key in ["1", "2", "11"] {
        world.cloud.cli(&["record", "put", "products", key, r#"{"Name":"Chai","UnitsInStock":20,"CategoryID":1}"#]).done();
        world.cloud.cli(&["record", "put", "notes", key, r#"{"text":"x"}"#]).done();
    }
    world.cloud.cli(&["record", "increment", "products", "2", "UnitsInStock=-50"]).done();
    let file = world.folder().join("devices.toml");
    std::fs::write(&file, DEVICES).unwrap();
    world.cloud.cli(&["device", "apply", "-f", file.to_str().unwrap()]).done();
    drop(world.join("paris", &["role=shop"]));
    world.settle();
    world
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

#[test]
fn the_edge_answers_as_described() {
    let world = world();
    ask(&format!("http://{}", world.edges[0].api), world.folder(), &[]);
    world.settle();
}

#[test]
fn the_cloud_answers_as_described() {
    let world = world();
    let token = std::fs::read_to_string(world.cloud.data.join("admin.token")).unwrap();
    let ca = world.cloud.data.join("pki/ca.crt").display().to_string();
    let who = format!("Authorization: Bearer {}", token.trim());
    ask(&format!("https://{}", world.cloud.api), world.folder(), &["--tls-verify", &ca, "--header", &who]);
    world.settle();
}

/// Runs schemathesis against a server; panics with what it found.
#[track_caller]
fn ask(server: &str, scratch: &Path, more: &[&str]) {
    let program = root().join("target/schemathesis/bin/schemathesis");
    assert!(program.is_file(), "{} is not installed: `make tools` installs it", program.display());
    let examples = std::env::var("TOMBOLO_EXAMPLES").unwrap_or_else(|_| EXAMPLES.into());
    let config = root().join("tests/schemathesis");
    let run = Command::new(&program)
        .args(["--config-file", "schemathesis.toml", "run", &format!("{server}/openapi.json"), "--no-color"])
        .args(["--max-examples", &examples, "--report-dir", &scratch.display().to_string()])
        .args(more)
        .current_dir(config)
        // Modules that are imported leave their compiled form beside them otherwise.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&run.stdout);
    // A request can be a megabyte; what matters of it stands at its beginning.
    let shown: String = shown.lines().map(|line| line.chars().take(1_000).collect::<String>() + "\n").collect();
    assert!(run.status.success(), "{}\n{shown}\n{}", run.status, String::from_utf8_lossy(&run.stderr));
}
