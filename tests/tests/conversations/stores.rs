//! What a store holds, in lines.

use cloudhub::store::{StoreRead, WritesRequest};
use proto::ids::Position;
use proto::names::CollectionName;
use tests::lab::Lab;
use tests::lab::words::collection;

/// A value longer than this is shown by its beginning.
const SHOWN: usize = 100;

fn position(at: &Position) -> String {
    match &at.inside {
        None => at.revision.to_string(),
        Some((collection, key)) => format!("{} and inside the next up to {collection}/{key}", at.revision),
    }
}

fn value(text: &str) -> String {
    match text.get(..SHOWN) {
        Some(begin) => format!("{begin}… ({} bytes)", text.len()),
        None => text.to_owned(),
    }
}

/// The database of a machine: session and cursor, what it is still filling, what its readers see, and its writes.
pub(super) fn edge(lab: &mut Lab, node: usize) -> Vec<String> {
    let edge = &mut lab.edges[node];
    let session = edge.session();
    let status = edge.reader().status().unwrap();
    let cursor = status.cursor.as_ref().map_or_else(|| "none".to_owned(), |cursor| position(&cursor.position));
    let mut lines = vec![format!("database {}, session {session}, cursor {cursor}", status.database.short())];
    for grant in status.grants.iter().filter(|grant| !grant.done) {
        let share = &grant.grant.share;
        lines.push(format!("filling {}, done up to {}", named(&share.collection, share.partition.as_deref()), position(&grant.at)));
    }
    let names: Vec<_> = status.collections.iter().map(|own| own.name.clone()).collect();
    for name in names {
        for row in edge.all(&name) {
            let laid: Vec<_> = row.pending.iter().map(u64::to_string).collect();
            let laid = if laid.is_empty() { String::new() } else { format!(" under write {}", laid.join(", ")) };
            lines.push(format!("{name}/{} = {} at {}{laid}", row.key, value(&row.value), row.revision));
        }
    }
    lines.extend((1..=status.newest_write).map(|number| format!("write {number} {}", edge.state(number))));
    lines
}

fn named(collection: &CollectionName, partition: Option<&str>) -> String {
    partition.map_or_else(|| collection.to_string(), |partition| format!("{collection} of {partition}"))
}

/// The cloud's: its head, its records, what it decided, and what happened to its nodes.
pub(super) fn cloud(lab: &mut Lab) -> Vec<String> {
    let mut lines = vec![format!("head {}", lab.cloud.head())];
    let names: Vec<_> = lab.cloud.definitions.keys().cloned().collect();
    for name in names {
        let rows = lab.cloud.all(&name);
        lines.extend(rows.iter().map(|row| format!("{}/{} = {} at {}", collection(&name), row.key, value(&row.value), row.revision)));
    }
    let request = WritesRequest { limit: 100, ..WritesRequest::default() };
    for write in lab.cloud.reader().writes(&request).unwrap().0 {
        if !write.id.to_string().starts_with("cloud:") {
            let code = write.code.map_or_else(String::new, |code| format!(" {code}"));
            lines.push(format!("write {} {}{code} at {}", write.id, write.verdict.as_str(), write.revision));
        }
    }
    let nodes: Vec<_> = lab.cloud.labels.keys().cloned().collect();
    for node in nodes {
        let events: Vec<_> = lab.cloud.events(&node).into_iter().filter(|kind| kind != "joined").collect();
        if !events.is_empty() {
            lines.push(format!("{node}: {}", events.join(", ")));
        }
    }
    lines
}
