//! The schedules of docs/design.md §12, end to end: real sessions, real stores, virtual time. Each ends in sync, with
//! one outcome for every write; while it runs no record of a node goes back, and no increment counts twice.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "schedules/away.rs"]
mod away;
#[path = "schedules/bounds.rs"]
mod bounds;
#[path = "conversations/mod.rs"]
mod conversations;
#[path = "schedules/copies.rs"]
mod copies;
#[path = "schedules/creating.rs"]
mod creating;
#[path = "schedules/digests.rs"]
mod digests;
#[path = "schedules/granting.rs"]
mod granting;
#[path = "schedules/judging.rs"]
mod judging;
#[path = "schedules/large.rs"]
mod large;
#[path = "schedules/links.rs"]
mod links;
#[path = "schedules/lists.rs"]
mod lists;
#[path = "schedules/outages.rs"]
mod outages;
#[path = "schedules/parts.rs"]
mod parts;
#[path = "schedules/pieces.rs"]
mod pieces;
#[path = "schedules/poison.rs"]
mod poison;
#[path = "schedules/power.rs"]
mod power;
#[path = "schedules/requests.rs"]
mod requests;
#[path = "schedules/resolving.rs"]
mod resolving;
#[path = "schedules/schemas.rs"]
mod schemas;
#[path = "schedules/seeds.rs"]
mod seeds;
#[path = "schedules/sim.rs"]
mod sim;
#[path = "schedules/spoilt.rs"]
mod spoilt;
#[path = "schedules/stated.rs"]
mod stated;
#[path = "schedules/streams.rs"]
mod streams;
#[path = "schedules/timetable.rs"]
mod timetable;
#[path = "schedules/twins.rs"]
mod twins;
#[path = "schedules/versions.rs"]
mod versions;
#[path = "schedules/volume.rs"]
mod volume;

use tests::lab::Lab;
use tests::lab::words::{number, put};

const PRODUCTS: (&str, &str) = ("products", r#"{"key":"id","fields":{"n":{"type":"counter","min":0},"price":{"edge":"read-only"}}}"#);
const TALLY: (&str, &str) = ("tally", r#"{"fields":{"n":{"type":"counter"}}}"#);
const ORDERS: (&str, &str) = ("orders", r#"{"policy":"guarded"}"#);
const SALES: (&str, &str) = ("sales", r#"{"policy":"append"}"#);
const STOCK: (&str, &str) = ("stock", r#"{"partition":{"field":"W","label":"site"}}"#);

/// One shop, and product 1 with twenty in stock: in `products`, and in `tally`, where every moment is checked.
fn shop(nodes: &[&str]) -> Lab {
    let mut lab = Lab::with(&[PRODUCTS, TALLY, ORDERS, SALES, STOCK], nodes);
    lab.in_cloud(vec![put("tally", "1", r#"{"n":20}"#), put("products", "1", r#"{"id":1,"name":"tea","price":18.0,"n":20,"note":null}"#)]);
    lab.converge(10_000);
    lab
}

/// What a counter shows at a node.
fn n(lab: &mut Lab, node: usize, name: &str) -> Option<i64> {
    let json = lab.edges[node].value(name, "1")?;
    number(&json, "n")
}
