//! The command line as it is parsed, and the configuration that comes of it.
#![allow(clippy::unwrap_used)]

use clap::CommandFactory;

use super::*;

fn cli(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("cloudhub").chain(line.split_whitespace()))
}

fn serve_config(line: &str, variables: &[(&str, &str)]) -> Result<ServeConfig, CliError> {
    let cli = cli(line).unwrap();
    let Verb::Serve(args) = cli.verb else { panic!("{line}") };
    let get = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Ok(args.layers(cli.data, get)?.build()?)
}

#[test]
fn the_tree_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_of_the_interface_is_there() {
    for line in [
        "serve --data d --config f --listen-ws 127.0.0.1:0 --listen-quic [::]:1 --listen-api 127.0.0.1:0 --advertise a --advertise b:1",
        "run --print-config",
        "status -o json --data d",
        "--data d status --server https://hub:10002 --ca f --token-file t",
        "token create --node lyon --replace --label a=b --label c=d --ttl 24h --uses 3 --print-join-command",
        "token list -o table",
        "token revoke id",
        "access create till --role editor --collection products --collection orders --ttl 90d",
        "access list",
        "access revoke id",
        "collection apply -f file --dry-run",
        "collection list",
        "collection show products -o json",
        "collection delete products --yes",
        "node list -o json --server hub --data d",
        "node show lyon",
        "node events lyon",
        "node label lyon role=till old-",
        "node accept lyon --database 00112233445566778899aabbccddeeff",
        "node revoke lyon",
        "node delete lyon",
        "record get products 11 --fields",
        "record list products --where A=1 --where B=2 --sort A --limit 10",
        "record put products 11 {} --if-match 5",
        "record put products 11 -",
        "record merge products 11 @file",
        "record increment products 11 A=1 B=-2",
        "record delete products 11 --force",
        "record import products file --key A/B --mode create --counters set",
        "record import products",
        "record export products file",
        "write show cloud:1",
        "conflict list --state all",
        "conflict show id",
        "ca show",
        "backup file --data d",
        "backup file --overwrite",
        "restore file --data d",
    ] {
        cli(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn bad_usage_is_exit_code_2() {
    for line in [
        "",
        "nonsense",
        "serve --listen-ws here",
        "token create --replace",
        "token create --label x",
        "token create --ttl 1",
        "token create --uses 0",
        "access create till",
        "access create till --role king",
        "collection apply",
        "node label lyon",
        "node label lyon x",
        "record list p --limit 0",
        "record list p --limit 1001",
        "record increment p 1 A=x",
        "status -o xml",
        "serve --advertise http://x",
        "conflict list --state new",
        "record put p 1",
    ] {
        assert_eq!(cli(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn later_layers_win() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("hub.toml");
    std::fs::write(&file, "data = \"/from/file\"\nadvertise = [\"a\", \"b:1\"]\n[listen]\nws = \"127.0.0.1:1\"\napi = \"127.0.0.1:2\"\n")
        .unwrap();
    let file = file.display().to_string();
    let variables = [("CLOUDHUB_CONFIG", file.as_str()), ("CLOUDHUB_LISTEN_API", "127.0.0.1:3"), ("CLOUDHUB_LOG_FORMAT", "json")];
    let config = serve_config("serve --listen-ws 127.0.0.1:4", &variables).unwrap();
    assert_eq!((config.listen.ws.port(), config.listen.api.port()), (4, 3));
    assert_eq!(config.data, PathBuf::from("/from/file"));
    assert_eq!(config.advertise.len(), 2);
    assert_eq!(config.log.format, api::logging::LogFormat::Json);
    let config = serve_config("serve --data /from/flag --advertise c", &variables).unwrap();
    assert_eq!((config.data, config.advertise[0].host.as_str()), (PathBuf::from("/from/flag"), "c"));
}

#[test]
fn a_wrong_configuration_is_bad_usage_and_says_where() {
    let error = serve_config("serve", &[("CLOUDHUB_LISTEN_WS", "10000")]).unwrap_err();
    assert!(error.to_string().starts_with("$CLOUDHUB_LISTEN_WS: `listen.ws`: "), "{error}");
    assert_eq!(error.code(), 2);
    let error = serve_config("serve --config no/such.toml", &[]).unwrap_err();
    assert!(error.to_string().starts_with("cannot read no/such.toml: "), "{error}");
    let error = serve_config("serve --log-level info", &[("CLOUDHUB_LOG_FORMAT", "xml")]).unwrap_err();
    assert!(error.to_string().starts_with("$CLOUDHUB_LOG_FORMAT: `log.format`: "), "{error}");
}

#[test]
fn serve_is_called_with_an_absolute_folder() {
    let args = ["cloudhub", "serve", "--data", "some/where", "--log-level", "error"].map(OsString::from);
    let code = run(args, |config| {
        anyhow::ensure!(config.data.is_absolute() && config.data.ends_with("some/where"), "{config:?}");
        Ok(())
    });
    assert_eq!(code, ExitCode::SUCCESS);
    let args = ["cloudhub", "serve", "--log-level", "error"].map(OsString::from);
    assert_eq!(run(args, |_| anyhow::bail!("port in use")), ExitCode::from(1));
}
