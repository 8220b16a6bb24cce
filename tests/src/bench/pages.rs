//! Pages of long lists, the first and the last ones: each costs the same wherever it is, at the cloud and at the edge.

use std::time::{Duration, Instant};

use super::Settings;
use super::report::{Figure, Unit};
use super::stage::{COLLECTION, DEFINITION, Stage};
use crate::http::Client;

const RECORDS: usize = 100_000;
const RECORDS_FULL: usize = 1_000_000;
/// Pages at each end of which the median counts.
const ENDS: usize = 20;
pub(super) fn run(settings: Settings) -> Vec<Figure> {
    let records = if settings.full { RECORDS_FULL } else { RECORDS };
    let stage = Stage::with(records);
    let edge = stage.settled("lyon");
    let begun = Instant::now();
    let indexes = "indexes = [\"Category\", \"Category,-Price\"]\n[collection.fields]";
    stage.world.cloud.define(&DEFINITION.replace("[collection.fields]", indexes));
    let cloud_built = begun.elapsed();
    let mut api = edge.client();
    let ordered = format!("/v1/collections/{COLLECTION}/records?limit=1&sort=Category");
    super::pace::poll("the indexes at the edge", Duration::from_millis(1), || (api.get(&ordered).ok()?.status == 200).then_some(()));
    let edge_built = begun.elapsed();
    let built =
        |side: &str, span: Duration| Figure::new(format!("two indexes over {records} records, {side}"), span.as_secs_f64(), Unit::Seconds);
    let mut figures = vec![
        built("apply until it is answered", cloud_built),
        built("apply until the edge sorts by them", edge_built).detail("the link and both stores"),
    ];
    for (side, client) in [("cloud", &mut stage.world.cloud.client()), ("edge", &mut edge.client())] {
        for (order, query) in [("by key", ""), ("sort=Category", "&sort=Category"), ("sort=Category,-Price", "&sort=Category,-Price")] {
            let pages = walk(client, query, records);
            let (first, last) = (median(&pages[..ENDS]), median(&pages[pages.len() - ENDS..]));
            let what = format!("{side}, a page of 100 of {records} records, {order}, p50 of the first {ENDS}");
            figures.push(Figure::new(what, first, Unit::Milliseconds).detail(format!("{} pages", pages.len())));
            let what = format!("{side}, the same, of the last {ENDS}");
            figures.push(Figure::new(what, last, Unit::Milliseconds).detail(format!("{:.2}× the first", last / first)));
        }
    }
    figures
}

/// Goes through a whole list: milliseconds a page, timed at both ends where it has pages of 100, in leaps between them.
fn walk(client: &mut Client, query: &str, records: usize) -> Vec<f64> {
    let (mut pages, mut after, mut met) = (Vec::new(), String::new(), 0);
    loop {
        let timed = met < ENDS * 100 || met >= records - ENDS * 100;
        let limit = if timed { 100 } else { 1_000.min(records - ENDS * 100 - met) };
        let begun = Instant::now();
        let answer =
            client.get(&format!("/v1/collections/{COLLECTION}/records?limit={limit}{query}{after}")).expect("an answer").expect(200);
        if timed {
            pages.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        let page = answer.json();
        met += page["records"].as_array().map_or(0, Vec::len);
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(met, records, "every record once");
    pages
}

fn median(pages: &[f64]) -> f64 {
    let mut sorted = pages.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
