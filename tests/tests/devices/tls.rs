//! A broker that is spoken to over TLS, and what is said where that does not work.

use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

use super::*;

/// A CA with what it issued, in files.
struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), issuer.pem()).unwrap();
        Self { folder: folder.to_owned(), issuer }
    }

    /// Certificate and key, in `FILE.crt` and `FILE.key`.
    fn issue(&self, file: &str, names: &[&str], expired: bool) {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.folder.join(format!("{file}.crt")), certificate.pem()).unwrap();
        std::fs::write(self.folder.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}

/// A mosquitto that speaks TLS with the certificate `FILE`, and its further lines.
fn broker(file: &str, lines: &str) -> Mosquitto {
    Mosquitto::with(|folder| {
        let (ours, theirs) = (Authority::new(folder, "ours"), Authority::new(folder, "theirs"));
        ours.issue("good", &["localhost", "127.0.0.1"], false);
        ours.issue("elsewhere", &["broker.example"], false);
        ours.issue("expired", &["localhost"], true);
        ours.issue("edgehub", &["edgehub"], false);
        theirs.issue("stranger", &["edgehub"], false);
        let shown = folder.display();
        format!("cafile {shown}/ours.pem\ncertfile {shown}/{file}.crt\nkeyfile {shown}/{file}.key\n{lines}\n")
    })
}

/// A node whose `[mqtt]` is written anew at each start.
struct Node {
    world: World,
    base: String,
}

impl Node {
    fn new() -> Self {
        let mut world = World::new(&[("lyon", &[])]);
        world.edges[0].stop();
        let base = std::fs::read_to_string(world.edges[0].data.join("edgehub.toml")).unwrap();
        Self { world, base }
    }

    /// With this broker, trusting `ca` of its folder.
    fn start(&mut self, broker: &Mosquitto, scheme: &str, ca: &str, lines: &str) {
        let edge = &mut self.world.edges[0];
        let ca = if scheme == "mqtts" { format!("ca = \"{}/{ca}.pem\"\n", broker.folder().display()) } else { String::new() };
        std::fs::write(edge.data.join("edgehub.toml"), format!("{}\n[mqtt]\n{ca}{lines}\n", self.base)).unwrap();
        edge.broker = Some(format!("{scheme}://localhost:{}", broker.address().port()));
        edge.start();
    }

    fn shown(&self) -> Value {
        self.world.edges[0].client().get("/v1/status").unwrap().ok(200)["mqtt"].clone()
    }

    /// What is wrong, and what to do, is said.
    #[track_caller]
    fn says(&mut self, broker: &Mosquitto, scheme: &str, ca: &str, lines: &str, words: &[&str]) {
        self.start(broker, scheme, ca, lines);
        until_shown(&format!("{words:?}"), || {
            let shown = self.shown();
            let error = shown["last_error"].as_str().unwrap_or_default();
            if words.iter().all(|word| error.contains(word)) { Ok(()) } else { Err(shown.to_string()) }
        });
        self.world.edges[0].stop();
    }

    fn online(&mut self, broker: &Mosquitto, lines: &str) {
        self.start(broker, "mqtts", "ours", lines);
        until_shown("the broker is there", || {
            let shown = self.shown();
            if shown["state"] == "online" { Ok(()) } else { Err(format!("{shown}\n{}", broker.log())) }
        });
    }
}

#[test]
fn each_way_in_which_tls_fails_says_what_to_do() {
    let mut node = Node::new();
    let good = broker("good", "allow_anonymous true");
    node.says(&good, "mqtts", "theirs", "", &["not issued by a CA of the file `ca`", "name the CA that issued"]);
    node.says(&good, "mqtt", "", "", &["ended the connection without an answer", "mqtts://"]);
    let elsewhere = broker("elsewhere", "allow_anonymous true");
    node.says(&elsewhere, "mqtts", "ours", "", &["not valid for localhost, only for broker.example", "write one of these names"]);
    let expired = broker("expired", "allow_anonymous true");
    node.says(&expired, "mqtts", "ours", "", &["has expired", "renew"]);
    let plain = Mosquitto::start();
    std::fs::copy(good.folder().join("ours.pem"), plain.folder().join("ours.pem")).unwrap();
    node.says(&plain, "mqtts", "ours", "", &["does not speak TLS", "write mqtt://"]);
    node.online(&good, "");
}

#[test]
fn a_broker_that_wants_a_certificate_is_shown_one() {
    let mut node = Node::new();
    let broker = broker("good", "allow_anonymous true\nrequire_certificate true");
    node.says(&broker, "mqtts", "ours", "", &["wants a certificate", "certificate and key"]);
    let own = |name: &str| {
        let folder = broker.folder().display();
        format!("certificate = \"{folder}/{name}.crt\"\nkey = \"{folder}/{name}.key\"")
    };
    node.says(&broker, "mqtts", "ours", &own("stranger"), &["refuses the certificate", "cafile"]);
    node.online(&broker, &own("edgehub"));
}

#[test]
fn user_and_password_are_given_and_never_logged() {
    let mut node = Node::new();
    let broker = Mosquitto::with(|folder| {
        Authority::new(folder, "ours").issue("good", &["localhost"], false);
        let shown = folder.display();
        let made = Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(folder.join("users")).args(["edgehub", "open sesame"]).status();
        assert!(made.unwrap().success());
        format!("certfile {shown}/good.crt\nkeyfile {shown}/good.key\nallow_anonymous false\npassword_file {shown}/users\n")
    });
    node.says(&broker, "mqtts", "ours", "", &["not authorized", "password_file"]);
    let secret = broker.folder().join("secret");
    let lines = format!("user = \"edgehub\"\npassword_file = {:?}", secret.display().to_string());
    std::fs::write(&secret, "wrong horse").unwrap();
    node.says(&broker, "mqtts", "ours", &lines, &["not authorized", "mosquitto_passwd"]);
    // What is mended counts from the next connection on, without a restart.
    node.start(&broker, "mqtts", "ours", &lines);
    std::fs::write(&secret, "open sesame\n").unwrap();
    until("the broker is there", || (node.shown()["state"] == "online").then_some(()));
    let log = node.world.edges[0].process().log();
    let mut print = node.world.edges[0].command(&["run", "--print-config"]);
    print.env("EDGEHUB_MQTT_BROKER", node.world.edges[0].broker.as_ref().unwrap());
    let printed = String::from_utf8(print.output().unwrap().stdout).unwrap();
    for text in [&log, &printed] {
        assert!(!text.contains("sesame") && !text.contains("horse"), "{text}");
    }
    assert!(printed.contains("password_file = "), "{printed}");
}
