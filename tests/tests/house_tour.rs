//! The commands that the README and the guides show are run, so that they stay true. A page marks what is run with
//! `<!-- run -->` and `<!-- /run -->`; what needs a system of its own (systemd, a package manager) stays outside. A new page is
//! one more [`Page`] here.

use tests::pages::Page;

/// Five minutes with a central server and two shops. Whichever shop finds the way back first, this is seen.
const README: Page = Page {
    file: "README.md",
    given: "",
    stand_ins: &[("--server 127.0.0.1 ", "--server $CLOUD_AT "), ("127.0.0.1:10551", "$SECOND_AT")],
    seen: &[
        "products created (selects 0 of 0 nodes)",
        "262 read: 262 created, 0 changed, 0 unchanged",
        "NAME  STATE   LABELS     BEHIND  OUTBOX  CONFLICTS  LAST-SEEN                 VERSION",
        "oslo  online  site=oslo  0       0       0",
        "products/RP-110: applied (write cloud:",
        "products/RP-110: pending (write oslo:",
        "Name          Shackle, 52 mm ",
        "Stock         5 ",
        "FIELD         VALUE ",
        "Name          Snap shackle, 5 cm ",
        "Stock         -4 ",
        "RP-110  field  auto",
        "Name  Snap shackle, 5 cm",
    ],
};

/// An application beside the edgehub of a shop that has the sample inventory.
const APP: Page = Page {
    file: "docs/guide/app.md",
    given: r"
        export CLOUDHUB_DATA=$PWD/cloud EDGEHUB_DATA=$PWD/edge
        cloudhub serve 2>cloud.log &
        until cloudhub status >/dev/null 2>&1; do sleep 0.1; done
        cloudhub collection apply -f tests/data/inventory/collections.toml
        for c in suppliers products customers orders order_lines; do cloudhub record import $c tests/data/inventory/$c.ndjson; done
        edgehub join --server $CLOUD_AT --token $(cloudhub token create --node oslo --label site=oslo)
        EDGEHUB_API_STATIC=docs/examples/till edgehub run 2>edge.log &
        until edgehub status 2>/dev/null | grep -q in-sync; do sleep 0.1; done
        ",
    stand_ins: &[("127.0.0.1:10550", "$EDGE_AT")],
    seen: &[
        r#"{"collections":["#,
        r#""key":"FX-101""#,
        r#""Email":"ada@example.com""#,
        r#""deleted":true"#,
        r#""key":"OS-7001/FX-101""#,
        r#""state":"applied","final":true"#,
        r#"{"writes":[],"next":null}"#,
        r#"{"conflicts":["#,
        // Python, then JavaScript.
        "Wood screw, brass, 3 × 20 mm 65 ",
        "RP-110 Snap shackle",
        "72 pending",
        " 5",
        "sold applied",
        "sold once",
        "RP-102: 344 applied",
        "flagged",
        "bound [('Stock', 28, -72)]",
        "online ",
        "Wood screw, brass, 3 × 20 mm 64 ",
        "RP-110 Snap shackle",
        "76 pending",
        " 5",
        "sold applied",
        "sold once",
        "outcome applied",
        "the stream says the same",
        "flagged",
        "bound Stock 35 -65",
        "online ",
    ],
};

/// A sale while the line is cut, and what becomes of it.
const OFFLINE: Page = Page {
    file: "docs/guide/offline.md",
    given: r#"
        export CLOUDHUB_DATA=$PWD/cloud EDGEHUB_DATA=$PWD/edge
        cloudhub serve 2>cloud.log & CLOUD=$!
        until cloudhub status >/dev/null 2>&1; do sleep 0.1; done
        printf '[[collection]]\nname = "products"\n[collection.fields]\nStock = { type = "counter", min = 0 }\n[[collection]]\nname = "sales"\npolicy = "append"\n' >c.toml
        cloudhub collection apply -f c.toml
        cloudhub record put products tea '{"Name":"Tea","Stock":3}'
        edgehub join --server $CLOUD_AT --token $(cloudhub token create --node lyon)
        edgehub run 2>edge.log &
        until edgehub status 2>/dev/null | grep -q in-sync; do sleep 0.1; done
        "#,
    stand_ins: &[("127.0.0.1:10550", "$EDGE_AT")],
    seen: &[
        r#""Stock":3}"#,
        r#""state":"pending","final":false"#,
        r#""Stock":1"#,
        r#""sync":{"state":"pending""#,
        r#""Stock":3}"#,
        r#"{"writes":[{"id":"lyon:"#,
        r#""Stock":1"#,
        r#""sync":{"state":"clean""#,
        r#""state":"applied","final":true,"accepted":true"#,
    ],
};

/// What others do in other words, on an edge with two collections.
const MIGRATING: Page = Page {
    file: "docs/guide/migrating.md",
    given: r#"
        export CLOUDHUB_DATA=$PWD/cloud EDGEHUB_DATA=$PWD/edge
        cloudhub serve 2>cloud.log &
        until cloudhub status >/dev/null 2>&1; do sleep 0.1; done
        printf '[[collection]]\nname = "products"\nindexes = ["Price"]\n[collection.fields]\nStock = { type = "counter", min = 0 }\n[[collection]]\nname = "sales"\npolicy = "append"\n' >c.toml
        cloudhub collection apply -f c.toml
        edgehub join --server $CLOUD_AT --token $(cloudhub token create --node lyon)
        EDGEHUB_API_STATIC=docs/examples/till edgehub run 2>edge.log &
        until edgehub status 2>/dev/null | grep -q in-sync; do sleep 0.1; done
        "#,
    stand_ins: &[],
    seen: &["Tea", "left: 8", " 2\n", "[\"tea\"]", "[[\"tea\",2]]", "tea changed"],
};

/// A hub with one node that has joined, and nothing in it.
const OPERATOR: Page = Page {
    file: "docs/guide/operator.md",
    given: r"
        export CLOUDHUB_DATA=$PWD/cloud
        cloudhub serve 2>cloud.log &
        until cloudhub status >/dev/null 2>&1; do sleep 0.1; done
        edgehub join --data edge --server $CLOUD_AT --token $(cloudhub token create --node lyon --label old=1)
        edgehub run --data edge 2>edge.log &
        until cloudhub node list | grep -q 'lyon *online'; do sleep 0.1; done
        ",
    stand_ins: &[
        (" /backup/", " $PWD/"),
        ("access revoke ID", "access revoke $(cloudhub access list | awk '/report/ { print $1 }')"),
        (
            "conflict show ID",
            "record increment products FX-101 Stock=-100000; cloudhub conflict show $(cloudhub conflict list | awk 'END { print $1 }')",
        ),
        ("conflict resolve ID ", "conflict resolve $(cloudhub conflict list | awk 'END { print $1 }') "),
    ],
    seen: &[
        r#""epoch":"#,
        "products created (selects 1 of 1 node)",
        "262 read: 262 created, 0 changed, 0 unchanged",
        "products/FX-101: applied",
        "edgehub join --server",
        "lyon  online",
        "report",
        "flagged",
        "bound",
        "products/FX-101 resolved (write cloud:",
        "1 resolved, 0 not",
        "0 resolved, 0 not",
    ],
};

/// Who set which field, at a hub without nodes.
const RECONCILIATION: Page = Page {
    file: "docs/guide/reconciliation.md",
    given: r#"
        export CLOUDHUB_DATA=$PWD/cloud
        cloudhub serve 2>cloud.log &
        until cloudhub status >/dev/null 2>&1; do sleep 0.1; done
        printf '[[collection]]\nname = "products"\n' >c.toml
        cloudhub collection apply -f c.toml
        "#,
    stand_ins: &[],
    seen: &["applied", "applied", "FIELD  VALUE  REVISION  AT ", "name   tea ", "price  4 "],
};

/// A machine in a shop; the operator has made a token.
const INSTALLER: Page = Page {
    file: "docs/guide/installer.md",
    given: r"
        cloudhub serve --data cloud 2>cloud.log &
        until cloudhub status --data cloud >/dev/null 2>&1; do sleep 0.1; done
        TOKEN=$(cloudhub token create --data cloud --node lyon)
        export EDGEHUB_DATA=$PWD/edge
        ",
    stand_ins: &[
        ("hub.example.com --token TOKEN", "$CLOUD_AT --token $TOKEN"),
        // What systemd does on the machine.
        ("edgehub status\n", "edgehub run 2>edge.log & until edgehub status | grep -q in-sync; do sleep 0.1; done; edgehub status\n"),
        ("127.0.0.1:10550", "$EDGE_AT"),
    ],
    seen: &["joined", "edgehub run", "in-sync"],
};

/// A node that is in sync.
const NETWORKS: Page = Page {
    file: "docs/guide/networks.md",
    given: r"
        cloudhub serve --data cloud 2>cloud.log &
        until cloudhub status --data cloud >/dev/null 2>&1; do sleep 0.1; done
        export EDGEHUB_DATA=$PWD/edge
        edgehub join --server $CLOUD_AT --token $(cloudhub token create --data cloud --node lyon)
        edgehub run 2>edge.log &
        until edgehub status 2>/dev/null | grep -q in-sync; do sleep 0.1; done
        ",
    stand_ins: &[],
    seen: &["port           ok       link ", "quic           ok       ", "answers over UDP", "lyon is in sync", "link.transport "],
};

/// A node with the broker inside it.
const BROKERS: Page = Page {
    file: "docs/guide/broker.md",
    given: r"
        cloudhub serve --data cloud 2>cloud.log &
        until cloudhub status --data cloud >/dev/null 2>&1; do sleep 0.1; done
        export EDGEHUB_DATA=$PWD/edge EDGEHUB_MQTT_MODE=internal EDGEHUB_MQTT_LISTEN=127.0.0.1:0
        edgehub join --server $CLOUD_AT --token $(cloudhub token create --data cloud --node lyon)
        edgehub run 2>edge.log &
        until edgehub status 2>/dev/null | grep -q in-sync; do sleep 0.1; done
        ",
    stand_ins: &[],
    seen: &["broker         ok       the broker inside edgehub, mqtt://127.0.0.1:0, has 0 clients and keeps nothing on disk"],
};

/// The client that was written from the protocol's pages, against the built hub: it joins, fills, writes, and goes on where it was.
const CLIENT: Page = Page {
    file: "docs/examples/client/README.md",
    given: r#"
        export CLOUDHUB_DATA=$PWD/cloud
        cloudhub serve 2>cloud.log &
        until cloudhub status >/dev/null 2>&1; do sleep 0.1; done
        printf '[[collection]]\nname = "products"\n[collection.fields]\nStock = { type = "counter", min = 0 }\n' >c.toml
        cloudhub collection apply -f c.toml
        cloudhub record put products tea '{"Name":"Tea","Stock":3}'
        "#,
    stand_ins: &[("127.0.0.1:10002", "$CLOUD_AT")],
    seen: &[
        "joined as paris",
        "session 1, from nothing to ",
        "in sync at ",
        r#"products/tea = {"Name":"Tea","Stock":3}"#,
        "write 1 is in the outbox",
        "write 2 is in the outbox",
        "session 2, from ",
        r#"products/mint = {"Name":"Mint","Stock":4}"#,
        r#"products/tea = {"Name":"Green tea","Stock":2}"#,
        "write 1 applied",
        "write 2 applied",
        "Mint",
        "session 3, from ",
        ", 1 records came",
        "paris  ",
    ],
};

/// What [`DEVICES`] and [`THERMOSTAT`] begin with: a hub, and a node whose devices speak at a broker.
const BROKER: &str = r#"
    export CLOUDHUB_DATA=$PWD/cloud EDGEHUB_DATA=$PWD/edge BROKER=$SECOND_AT
    printf "listener ${BROKER#*:} 127.0.0.1\nallow_anonymous true\n" >mosquitto.conf
    PATH=$PATH:/usr/sbin mosquitto -c mosquitto.conf 2>mosquitto.log &
    cloudhub serve 2>cloud.log &
    until cloudhub status >/dev/null 2>&1; do sleep 0.1; done
    edgehub join --server $CLOUD_AT --token $(cloudhub token create --node lyon)
    EDGEHUB_MQTT_BROKER=mqtt://$BROKER edgehub run 2>edge.log &
    until edgehub status 2>/dev/null | grep -q in-sync; do sleep 0.1; done
    "#;

/// A boiler, from its declaration to what it is told.
const DEVICES: Page = Page {
    file: "docs/guide/devices.md",
    given: BROKER,
    stand_ins: &[
        ("mosquitto_pub ", "mosquitto_pub -p ${BROKER#*:} "),
        ("mosquitto_sub ", "mosquitto_sub -p ${BROKER#*:} "),
        ("127.0.0.1:10550", "$EDGE_AT"),
    ],
    seen: &[
        "device cellar/boiler created",
        "cellar/boiler (boiler) at lyon",
        "target    float    60       - ",
        "temp      float    -        41.5 ",
        r#""delta":{"target":"60"}"#,
        "target    float    60       60 ",
        "120 is above 90",
        "it is read-only",
        "target    float    50       60 ",
        "cellar/boiler  boiler  lyon  online  ",
        r#""desired":{"value":52,"#,
        "attic/boiler",
        "attic/boiler is a boiler now at lyon",
        " 21 ",
    ],
};

/// A hub, and a node whose devices speak at a broker, as the demo leaves them.
const THERMOSTAT: Page = Page {
    file: "docs/examples/thermostat/README.md",
    given: BROKER,
    stand_ins: &[],
    seen: &[
        "device default/attic created",
        "ID             MODEL       NODE  STATE ",
        "cellar         thermostat  lyon  online ",
        "default/attic  thermostat  lyon  online ",
        "cellar (thermostat) at lyon, online since ",
        "target    float    23.5     23.5 ",
        "90 is above 30",
    ],
};

/// Both machines in one folder that stands for `/`. systemd, its users and sudo are played: a unit's own command is what runs.
const INSTALL: Page = Page {
    file: "docs/dist/INSTALL",
    given: r#"
        ROOT=$PWD/root
        mkdir -p $ROOT/usr/local/bin $ROOT/etc/sysusers.d $ROOT/etc/systemd/system $ROOT/var/lib
        mkdir bin; cp target/debug/cloudhub target/debug/edgehub bin/
        ln -s docs/dist systemd; ln -s docs/examples examples
        PATH=$ROOT/usr/local/bin:$PATH
        sudo() { shift 2; "$@"; }
        systemd-sysusers() { grep edgehub $ROOT/etc/sysusers.d/tombolo.conf; }
        systemctl() {
            [ "$1" = enable ] || return 0
            local unit=$ROOT/etc/systemd/system/$3.service
            in_root() { sed "s| /| $ROOT/|g; s|^/|$ROOT/|; s|%S|$ROOT/var/lib|"; }
            env $(sed -n 's/^Environment=//p' $unit | in_root) $(sed -n 's/^ExecStart=//p' $unit | in_root) 2>$3.log &
            until $3 status --data $ROOT/var/lib/$3 >/dev/null 2>&1; do sleep 0.1; done
        }
        "#,
    stand_ins: &[
        ("-o edgehub -g edgehub ", ""),
        (" /", " $ROOT/"),
        ("--server HOST --token TOKEN", "--server $CLOUD_AT --token $(cloudhub token create --node lyon --data $ROOT/var/lib/cloudhub)"),
    ],
    seen: &["u edgehub", "epoch", "edgehub join --server", "joined", "database_id"],
};

const PAGES: [Page; 10] = [README, APP, OFFLINE, MIGRATING, OPERATOR, RECONCILIATION, INSTALLER, NETWORKS, DEVICES, BROKERS];

#[test]
fn the_tour_runs_as_it_is_printed() {
    README.run();
}

#[test]
fn the_guide_for_applications_runs_as_it_is_printed() {
    APP.run();
}

#[test]
fn the_page_about_offline_runs_as_it_is_printed() {
    OFFLINE.run();
}

#[test]
fn the_page_for_those_who_come_from_elsewhere_runs_as_it_is_printed() {
    MIGRATING.run();
}

#[test]
fn the_guide_for_operators_runs_as_it_is_printed() {
    OPERATOR.run();
}

#[test]
fn the_page_about_reconciliation_runs_as_it_is_printed() {
    RECONCILIATION.run();
}

#[test]
fn the_guide_for_installers_runs_as_it_is_printed() {
    INSTALLER.run();
}

#[test]
fn the_page_about_networks_runs_as_it_is_printed() {
    NETWORKS.run();
}

#[test]
fn the_page_about_brokers_runs_as_it_is_printed() {
    BROKERS.run();
}

#[test]
fn the_client_written_from_the_protocol_page_works_as_it_is_printed() {
    CLIENT.run();
}

#[test]
fn the_guide_for_devices_runs_as_it_is_printed() {
    DEVICES.run();
}

#[test]
fn the_thermostats_work_as_it_is_printed() {
    THERMOSTAT.run();
}

#[test]
fn the_installation_runs_as_it_is_printed() {
    INSTALL.run_lines(&["install", "sudo", "systemctl", "systemd-sysusers"]);
}

#[test]
fn what_the_tour_promises_is_in_its_text() {
    let tour = README.marked();
    for text in README.seen {
        assert!(tour.contains(text), "README.md does not show {text:?}");
    }
}

#[test]
fn every_guide_with_commands_is_run() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide");
    for entry in std::fs::read_dir(folder).expect("the guides").flatten() {
        let file = format!("docs/guide/{}", entry.file_name().to_string_lossy());
        let text = std::fs::read_to_string(entry.path()).expect("a guide");
        // Its steps are run by tests/tests/operations.rs, step by step.
        let elsewhere = file == "docs/guide/operations.md" || !text.contains("```sh");
        assert!(elsewhere || PAGES.iter().any(|page| page.file == file), "{file} is not in the list of pages that are run");
    }
}
