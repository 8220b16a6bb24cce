//! The command line as it is parsed, and the configuration that comes of it.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use clap::CommandFactory;

use super::*;
use crate::config::Transport;

const NODE: Node = Node { join: |options| Ok(Joined { node: options.node.unwrap_or_default() }), run: |_| Ok(()) };

fn cli(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("edgehub").chain(line.split_whitespace()))
}

fn run_config(line: &str, variables: &[(&str, &str)]) -> Result<RunConfig, CliError> {
    let cli = cli(line).unwrap();
    let Verb::Run(args) = cli.verb else { panic!("{line}") };
    let get = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Ok(RunConfig::build(&args.layers(cli.data, get)?)?)
}

fn join_options(line: &str, variable: Option<&str>) -> Result<JoinOptions, CliError> {
    let Verb::Join(args) = cli(line).unwrap().verb else { panic!("{line}") };
    args.options(PathBuf::from("/d"), variable.map(str::to_owned))
}

/// What a command prints, run without a hub.
fn printed(line: &str) -> (String, Result<(), CliError>) {
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let result = dispatch(cli(line).unwrap(), NODE, &mut Console::new(&mut out, &mut notes, false));
    (String::from_utf8(out).unwrap(), result)
}

#[test]
fn the_tree_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_of_the_interface_is_there() {
    for line in [
        "join --server hub --token t --node lyon --wait 10m --data d --transport auto",
        "join --server hub:10002 --token-file - --transport websocket",
        "run --data d --config f --listen 127.0.0.1:0 --listen [::1]:0 --log-format json --log-level debug --print-config",
        "status --data d -o json",
        "doctor --data d --config f -o json",
        "reset --yes --data d",
        "write list --state rejected --limit 5 -o json",
        "write show lyon:7f3a9c:1 --wait 30s",
        "write resend lyon:7f3a9c:1 -o json",
        "write discard lyon:7f3a9c:1 --yes",
        "outbox list -o json",
        "verify",
        "verify products -o json",
        "query SELECT --param 1 --param -2 --limit 5 --timeout 9 -o json",
        "access create till --role editor --collection products --ttl 90d",
        "access list -o json",
        "access revoke id",
        "record get products 11",
        "record list products --where A=1",
        "record import products -",
        "conflict list",
        "conflict show id",
    ] {
        cli(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn bad_usage_is_exit_code_2() {
    for line in [
        "",
        "nonsense",
        "join",
        "join --server http://hub",
        "join --server hub --token a --token-file b",
        "join --server hub --transport pigeon",
        "join --server hub --wait 10",
        "run --listen here",
        "write list --state new",
        "write show",
        "write resend",
        "write discard --yes",
        "outbox",
        "status --server x",
    ] {
        assert_eq!(cli(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn a_token_comes_from_a_flag_a_file_or_the_variable() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("token");
    std::fs::write(&file, "from-file\n").unwrap();
    let with_file = format!("join --server hub --token-file {}", file.display());
    for (line, expected) in
        [("join --server hub --token from-flag", "from-flag"), (&with_file, "from-file"), ("join --server hub", "from-variable")]
    {
        assert_eq!(join_options(line, Some("from-variable")).unwrap().token.reveal(), expected);
    }
    let error = join_options("join --server hub", None).unwrap_err();
    assert!(error.to_string().contains("cloudhub token create"), "{error}");
    assert_eq!(error.code(), 2);
    let options = join_options("join --server hub:5 --token t --wait 10m", None).unwrap();
    assert_eq!((options.wait, options.transport, options.server.port), (Some(Duration::from_secs(600)), Transport::Auto, Some(5)));
}

#[test]
fn a_join_says_under_which_name_and_where() {
    let (out, result) = printed("join --server hub --token t --node lyon --data /d");
    result.unwrap();
    assert_eq!(out, "joined hub:10002 as lyon\nthe identity is in /d/pki; start: edgehub run --data /d\n");
}

#[test]
fn later_layers_win_and_the_join_is_the_first() {
    let data = tempfile::tempdir().unwrap();
    crate::config_file::write_servers(data.path(), &["joined:1".to_owned()]).unwrap();
    let shown = data.path().display().to_string();
    let servers = |line: &str, variables: &[(&str, &str)]| run_config(line, variables).unwrap().link.servers[0].to_string();
    assert_eq!(servers("run", &[("EDGEHUB_DATA", &shown)]), "joined:1");
    let file = data.path().join("mine.toml");
    std::fs::write(&file, format!("data = {shown:?}\n[link]\nservers = [\"file:2\"]\n")).unwrap();
    let with_file = format!("run --config {}", file.display());
    assert_eq!(servers(&with_file, &[]), "file:2");
    assert_eq!(servers(&with_file, &[("EDGEHUB_LINK_SERVERS", "variable:3,b:4")]), "variable:3");
    let config = run_config(&format!("{with_file} --listen 127.0.0.1:7 --log-level debug"), &[("EDGEHUB_LISTEN", "127.0.0.1:8")]).unwrap();
    assert_eq!((config.listen.len(), config.listen[0].port(), config.data.as_path()), (1, 7, data.path()));
}

#[test]
fn the_file_in_the_data_folder_cannot_move_it() {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("edgehub.toml"), "data = \"/else\"\n").unwrap();
    let error = run_config(&format!("run --data {}", data.path().display()), &[]).unwrap_err().to_string();
    assert!(error.contains("edgehub.toml line 1: `data`: cannot stand in the data folder itself"), "{error}");
}

#[test]
fn what_is_printed_names_sources_and_no_secret() {
    let (out, result) = printed("run --print-config --data /d --log-level warn");
    result.unwrap();
    assert!(out.contains("data = \"/d\"  # --data\n") && out.contains("level = \"warn\"  # --log-level\n"), "{out}");
    assert!(out.contains("\n[outbox]\nmax_bytes = \"512MiB\"  # default\n"), "{out}");
}

#[test]
fn client_verbs_name_the_folder_where_nothing_runs() {
    let data = tempfile::tempdir().unwrap();
    let shown = data.path().display().to_string();
    let error = printed(&format!("status --data {shown}")).1.unwrap_err();
    assert!(error.to_string().starts_with(&format!("no edgehub runs on {shown} ")), "{error}");
    assert_eq!(error.code(), 1);
}

#[test]
fn a_reset_removes_identity_and_database_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let shown = data.path().display().to_string();
    let fill = || {
        std::fs::create_dir_all(data.path().join("pki")).unwrap();
        for name in ["pki/node.key", "edge.db", "edge.db-wal", "edge.db.corrupt-1", "edgehub.toml"] {
            std::fs::write(data.path().join(name), "x").unwrap();
        }
    };
    fill();
    let error = printed(&format!("reset --data {shown}")).1.unwrap_err();
    assert!(error.code() == 2 && error.to_string().contains("edgehub reset --yes"), "{error}");

    let running = std::fs::File::create(data.path().join("edge.db.lock")).unwrap();
    running.lock().unwrap();
    let error = printed(&format!("reset --yes --data {shown}")).1.unwrap_err();
    assert!(error.to_string().contains("is running"), "{error}");
    drop(running);

    assert!(data.path().join("edge.db").exists());
    let (out, result) = printed(&format!("reset --yes --data {shown}"));
    result.unwrap();
    assert!(out.starts_with("identity and database removed from "), "{out}");
    let left = |name: &str| Path::exists(&data.path().join(name));
    assert!(!left("pki") && !left("edge.db") && !left("edge.db-wal") && left("edge.db.corrupt-1") && left("edgehub.toml"));
    let (out, _) = printed(&format!("reset --yes --data {shown}"));
    assert!(out.ends_with("holds no identity and no database\n"), "{out}");
}
