use super::bench::*;
use super::edge::{self, put, Edge};
use super::shops;
use super::sqlite::Embedded;
use crate::store::*;
use std::time::Instant;
#[test]
#[ignore]
fn perf() {
    let mut bench = shops::<Embedded>();
    let pad = "x".repeat(300);
    let lines: Vec<_> = (0..50_000).map(|at| (format!("{at:06}"), format!(r#"{{"ProductID":"{at:06}","UnitsInStock":5,"Name":"Chai {at}","Note":"{pad}"}}"#))).collect();
    let t = Instant::now();
    for chunk in lines.chunks(1000) {
        let chunk: Vec<_> = chunk.iter().map(|(k, j)| (k.as_str(), j.as_str())).collect();
        bench.import("products", ImportMode::Put, false, &chunk).unwrap();
    }
    eprintln!("import {:.0}/s", 50_000.0 / t.elapsed().as_secs_f64());
    let mut lyon = Edge::new("lyon", 1);
    lyon.connect(&mut bench);
    let peer = lyon.peer();
    let fills = lyon.fills.clone();
    for streamed in [false, true] {
        let t = Instant::now();
        let mut n = 0;
        let mut from = if streamed { proto::ids::Position::default() } else { lyon.position() };
        let mut fills: Vec<_> = if streamed { vec![] } else { fills.clone() };
        loop {
            let b = bench.reader().scan(&ScanRequest { peer, from: &from, fills: &fills, told: revision(4), max_records: 256, max_bytes: 262144 }).unwrap();
            n += b.entries.len();
            from = b.through.clone();
            if let Some(f) = b.fill {
                n += f.records.len();
                if f.done { fills.retain(|x| x.grant != f.fill.grant) } else { fills.iter_mut().for_each(|x| if x.grant == f.fill.grant { x.at = f.fill.at.clone() }) }
            }
            if b.at_head && fills.is_empty() { break }
        }
        eprintln!("scan streamed={streamed} {n} records {:.0}/s", n as f64 / t.elapsed().as_secs_f64());
    }
    lyon.fills.clear();
    let head = bench.head();
    for at in 0..20_000u64 {
        lyon.commit(vec![edge::op("products", &format!("{:06}", at % 5000), head, proto::op::Body::Increment(vec![("UnitsInStock".to_owned(), 1)]))]);
    }
    let t = Instant::now();
    let all = std::mem::take(&mut lyon.outbox);
    for chunk in all.chunks(512) {
        lyon.send(&mut bench, chunk.to_vec()).unwrap();
    }
    eprintln!("drain {:.0}/s", 20_000.0 / t.elapsed().as_secs_f64());
    let head = bench.head();
    let t = Instant::now();
    for at in 0..4_000u64 {
        let number = 20_001 + at;
        lyon.commit(put("products", &format!("n{number}"), &format!(r#"{{"ProductID":"n{number}","UnitsInStock":1,"Note":"{pad}"}}"#)));
        if lyon.outbox.last().unwrap().number != number { lyon.outbox.last_mut().unwrap().number = number; }
    }
    let _ = head;
    let all = std::mem::take(&mut lyon.outbox);
    let t2 = Instant::now();
    for chunk in all.chunks(512) { lyon.send(&mut bench, chunk.to_vec()).unwrap(); }
    eprintln!("drain creates {:.0}/s (made in {:?})", 4_000.0 / t2.elapsed().as_secs_f64(), t2 - t);
    let at = proto::ids::Position::at(revision(bench.head()));
    let t = Instant::now();
    for _ in 0..10_000 { bench.reader().scan(&ScanRequest { peer, from: &at, fills: &[], told: revision(4), max_records: 256, max_bytes: 262144 }).unwrap(); }
    eprintln!("empty scan {:?}", t.elapsed() / 10_000);
    bench.put("products", "000001", r#"{"ProductID":"000001","UnitsInStock":5}"#);
    let t = Instant::now();
    for _ in 0..10_000 { bench.reader().scan(&ScanRequest { peer, from: &at, fills: &[], told: revision(4), max_records: 256, max_bytes: 262144 }).unwrap(); }
    eprintln!("one-change scan {:?}", t.elapsed() / 10_000);
    let t = Instant::now();
    for at in 0..500 { bench.put("stock", "a", &format!(r#"{{"W":"lyon","n":{at}}}"#)); }
    eprintln!("cloud put {:?}", t.elapsed() / 500);
}
