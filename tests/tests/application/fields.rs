//! Who set which field of a record, through HTTP and the command line of both programs.

use serde_json::{Value, json};
use tests::shops::World;

const DEFINITIONS: &str = r#"
[[collection]]
name = "products"
key = "id"
[collection.fields]
n = { type = "counter" }
"#;

const TEA: &str = "/v1/collections/products/records/tea";

/// Writer and actor of a field.
fn by(record: &Value, field: &str) -> (Value, Value) {
    (record["fields"][field]["writer"].clone(), record["fields"][field]["actor"].clone())
}

/// The row of a field in what a command printed, as words.
fn row<'a>(table: &'a str, field: &str) -> Vec<&'a str> {
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.rev().find(|row| row.first() == Some(&field)).unwrap_or_else(|| panic!("no {field} in {table}"))
}

#[test]
fn the_cloud_knows_of_every_field_and_an_edge_of_its_own() {
    let world = World::new(&[("lyon", &[]), ("oslo", &[])]);
    world.cloud.define(DEFINITIONS);
    let mut cloud = world.cloud.client().with("Tombolo-Actor", "office");
    cloud.json("PUT", TEA, &json!({"name": "tea", "price": 3, "n": 9})).unwrap().expect(201);
    world.settle();

    // As it was created: both sides say the same of all fields.
    let (lyon, oslo) = (&world.edges[0], &world.edges[1]);
    let path = format!("{TEA}?fields=true");
    for told in [cloud.get(&path).unwrap().ok(200), lyon.client().get(&path).unwrap().ok(200)] {
        for field in ["id", "name", "price", "n"] {
            assert_eq!(by(&told, field), (json!("cloud"), json!("office")), "{told}");
            assert_eq!(told["fields"][field]["revision"], told["revision"], "{told}");
        }
    }

    lyon.client().with("Tombolo-Actor", "anna").json("PATCH", TEA, &json!({"name": "green tea"})).unwrap().expect(200);
    world.settle();
    oslo.client().with("Tombolo-Actor", "till-2").json("POST", &format!("{TEA}/increment"), &json!({"n": -2})).unwrap().expect(200);
    world.settle();
    let told = cloud.get(&path).unwrap().ok(200);
    let all = ["id", "name", "price", "n"].map(|field| by(&told, field));
    let expected = [("cloud", "office"), ("lyon", "anna"), ("cloud", "office"), ("oslo", "till-2")];
    assert_eq!(all, expected.map(|(writer, actor)| (json!(writer), json!(actor))), "{told}");
    let shown = world.cloud.cli(&["record", "get", "products", "tea", "--fields"]);
    assert_eq!(String::from_utf8_lossy(&shown.output.stderr), "", "of every field something is known");
    let table = shown.done();
    assert_eq!(row(&table, "FIELD"), ["FIELD", "VALUE", "REVISION", "AT", "WRITER", "ACTOR"]);
    assert_eq!((row(&table, "n")[1], &row(&table, "n")[4..]), ("7", &["oslo", "till-2"][..]), "{table}");
    assert_eq!(row(&table, "price")[4..], ["cloud", "office"], "{table}");

    // At the edge: what is on its way there, and that the rest is known in the cloud.
    let mut world = world;
    world.cloud.stop();
    let lyon = &world.edges[0];
    lyon.client().with("Tombolo-Actor", "anna").json("PATCH", TEA, &json!({"price": 4})).unwrap().expect(200);
    let told = lyon.client().get(&path).unwrap().ok(200);
    assert_eq!((by(&told, "price"), &told["fields"]["price"]["revision"]), ((json!("lyon"), json!("anna")), &Value::Null), "{told}");
    assert_eq!(told["fields"]["price"]["at"], told["updated_at"], "{told}");
    assert_eq!(told["fields"]["name"], json!({"revision": null, "at": null, "writer": null, "actor": null}), "{told}");
    let shown = lyon.cli(&["record", "get", "products", "tea", "--fields"]);
    let notes = String::from_utf8_lossy(&shown.output.stderr).into_owned();
    assert!(notes.contains("the cloud keeps the history of single fields"), "{notes}");
    let table = shown.done();
    assert_eq!(row(&table, "price")[4..], ["lyon", "anna"], "{table}");
    assert_eq!(row(&table, "name")[3..], ["-"; 4], "{table}");
    let printed = lyon.cli(&["record", "get", "products", "tea", "--fields", "-o", "json"]).done();
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), told);
    world.cloud.start();
    world.settle();
    assert_eq!(by(&world.cloud.client().get(&path).unwrap().ok(200), "price"), (json!("lyon"), json!("anna")));
}
