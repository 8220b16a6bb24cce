//! `in_browser URL FILE`: runs a JavaScript file in a page of a headless Chromium, as the body of an async function. Prints
//! what it logs; fails when it throws.
#![allow(clippy::unwrap_used)] // a tool of the tests, which fail loudly

use std::process::ExitCode;

use serde_json::json;
use tests::browser::Driver;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, file] = arguments.as_slice() else {
        eprintln!("usage: in_browser URL FILE");
        return ExitCode::from(2);
    };
    let program = std::fs::read_to_string(file).unwrap();
    let driver = Driver::start();
    let page = driver.open(url);
    let told = page.run(&format!(
        "const logged = [];
        const shown = value => typeof value === 'string' ? value : JSON.stringify(value);
        console.log = (...values) => logged.push(values.map(shown).join(' '));
        const run = Object.getPrototypeOf(async function () {{}}).constructor({});
        return run().then(() => [logged, null], error => [logged, String(error.stack ?? error)]);",
        json!(program)
    ));
    told[0].as_array().into_iter().flatten().for_each(|line| println!("{}", line.as_str().unwrap_or_default()));
    match told[1].as_str() {
        Some(error) => {
            eprintln!("{file}: {error}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}
