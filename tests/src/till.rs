//! The till of `docs/examples/till`, used as a cashier uses it: in a browser, at two shops, whatever the line does.

use std::path::Path;

use crate::browser::{Driver, Page};
use crate::shops::{Edge, World};

/// A file of the sample inventory.
pub fn inventory(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/inventory").join(file).display().to_string()
}

/// Two shops that have the sample inventory, and serve the till.
pub fn two_shops() -> World {
    let world = World::with_tills(&[("lyon", &["site=lyon"]), ("oslo", &["site=oslo"])]);
    world.cloud.cli(&["collection", "apply", "-f", &inventory("collections.toml")]).done();
    for table in ["categories", "products"] {
        world.cloud.cli(&["record", "import", table, &inventory(&format!("{table}.ndjson"))]).done();
    }
    world.settle();
    world
}

/// A till's page, and what is done with it.
pub struct Till(pub Page);

impl Till {
    /// Opens a shop's till and waits until it shows the products.
    pub fn open(driver: &Driver, edge: &Edge) -> Self {
        let till = Self(driver.open(&Self::address(edge)));
        till.link_is("Online");
        till.0.until("the products", "document.querySelectorAll('.product').length > 100");
        till
    }

    /// Where a shop's till is.
    pub fn address(edge: &Edge) -> String {
        format!("http://{}/", edge.api)
    }

    /// Searches a product by its number.
    #[track_caller]
    fn find(&self, sku: &str) {
        let alone = "document.querySelectorAll('.card:not([hidden])').length === 1";
        self.0.type_into("#search", sku);
        self.0.until("what was searched for alone", &format!("{alone} && !document.querySelector('[data-key={sku}]').parentNode.hidden"));
    }

    /// Finds a product, and presses it so often.
    pub fn put(&self, sku: &str, count: u32) {
        self.find(sku);
        (0..count).for_each(|_| self.0.click(&format!("[data-key={sku}]")));
    }

    /// Sells so many of one product.
    pub fn sell(&self, sku: &str, count: u32) {
        self.put(sku, count);
        self.0.click("#sell");
    }

    /// What has become of the sales, the newest first.
    pub fn badges(&self) -> String {
        let badges = self.0.run("return [...document.querySelectorAll('.badge')].map(badge => badge.textContent).join();");
        badges.as_str().unwrap_or_default().to_owned()
    }

    /// Waits for these badges.
    #[track_caller]
    pub fn badges_are(&self, badges: &str) {
        let shown = "[...document.querySelectorAll('.badge')].map(badge => badge.textContent).join()";
        self.0.until(&format!("the badges {badges:?}"), &format!("{shown} === '{badges}'"));
    }

    /// Waits for this text beside a product.
    #[track_caller]
    pub fn stock_is(&self, sku: &str, text: &str) {
        self.find(sku);
        let shown = format!("document.querySelector('[data-key={sku}] .stock').textContent");
        self.0.until(&format!("{text} of {sku}"), &format!("{shown} === '{text}'"));
    }

    /// Waits for this text about the link.
    #[track_caller]
    pub fn link_is(&self, text: &str) {
        self.0.until(&format!("the link {text:?}"), &format!("document.querySelector('#link').textContent === '{text}'"));
    }

    /// Waits for so many conflicts to decide.
    #[track_caller]
    pub fn conflicts_are(&self, count: usize) {
        self.0.until("the open conflicts", &format!("document.querySelectorAll('[data-conflict]').length === {count}"));
    }
}
