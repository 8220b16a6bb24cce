//! The till of `docs/examples/till`, used as a cashier uses it: in a browser, at two shops, whatever the line does.

use tests::browser::Driver;
use tests::shops::World;
use tests::till::{Till, inventory, two_shops};
use tests::until::until;

fn stock(world: &World, sku: &str) -> i64 {
    world.cloud.record("products", sku).unwrap()["Stock"].as_i64().unwrap()
}

/// Thirteen shackles are in stock; with the cloud stopped, one shop sells eight and the other nine.
#[test]
fn sales_without_the_cloud_settle_when_it_is_back() {
    let mut world = two_shops();
    let driver = Driver::start();
    let [lyon, oslo] = [0, 1].map(|shop| Till::open(&driver, &world.edges[shop]));
    let before = stock(&world, "FX-101");
    assert_eq!(stock(&world, "RP-110"), 13);

    world.cloud.stop();
    lyon.link_is("Offline");
    oslo.link_is("Offline");
    lyon.sell("RP-110", 8);
    lyon.badges_are("pending");
    lyon.stock_is("RP-110", "5 left");
    lyon.sell("FX-101", 2);
    lyon.badges_are("pending,pending");
    lyon.link_is("Offline · 2 waiting");
    oslo.sell("RP-110", 9);
    oslo.badges_are("pending");
    // A page that is loaded anew without the cloud has everything.
    lyon.0.go(&Till::address(&world.edges[0]));
    lyon.badges_are("pending,pending");
    lyon.stock_is("RP-110", "5 left");
    lyon.link_is("Offline · 2 waiting");

    world.cloud.start();
    lyon.link_is("Online");
    oslo.link_is("Online");
    // Whichever shop came second sold what was not there.
    until("one sale flagged and two accepted", || {
        let badges = [lyon.badges(), oslo.badges()];
        [["accepted,flagged", "accepted"], ["accepted,accepted", "flagged"]].iter().any(|wanted| badges == *wanted).then_some(())
    });
    for till in [&lyon, &oslo] {
        till.stock_is("RP-110", "4 short");
        till.stock_is("FX-101", &format!("{} left", before - 2));
        till.conflicts_are(1);
    }
    assert_eq!((stock(&world, "RP-110"), stock(&world, "FX-101")), (-4, before - 2));

    lyon.0.click("[data-conflict] [data-use=edge]");
    lyon.conflicts_are(0);
    oslo.conflicts_are(0);
    let open = world.cloud.client().get("/v1/conflicts?state=open").unwrap().ok(200);
    assert_eq!(open["conflicts"], serde_json::json!([]));
    assert_eq!(lyon.0.run("return document.querySelectorAll('[data-sale]').length;"), 2);
}

/// Head office decides that nothing is sold that is not there; a till that does not know the stock is told no.
#[test]
fn a_refused_sale_shows_and_is_taken_back() {
    let world = two_shops();
    let definitions = std::fs::read_to_string(inventory("collections.toml")).unwrap();
    let flag = r#"Stock = { type = "counter", min = 0, on_violation = "flag" }"#;
    assert!(definitions.contains(flag));
    world.cloud.define(&definitions.replace(flag, &flag.replace("flag", "reject")));
    world.settle();
    let driver = Driver::start();
    let till = Till::open(&driver, &world.edges[0]);
    till.sell("RP-110", 14);
    till.badges_are("rejected");
    till.stock_is("RP-110", "13 left");
    assert_eq!(stock(&world, "RP-110"), 13);
}

/// The edgehub goes away in the middle of everything; the answer to a sale is lost on its way to the page.
#[test]
fn a_sale_that_is_sent_again_is_made_once() {
    let mut world = two_shops();
    let driver = Driver::start();
    let till = Till::open(&driver, &world.edges[0]);
    let before = stock(&world, "FX-101");
    till.0.run(
        "const real = window.fetch;
        window.fetch = async (path, options) => {
            const answer = await real(path, options);
            if (path !== '/v1/writes') return answer;
            window.fetch = real;
            window.lost = answer.status;
            throw new TypeError('the answer is lost');
        };",
    );
    till.sell("FX-101", 1);
    till.0.until("a lost answer", "window.lost === 201");
    till.badges_are("accepted");
    till.stock_is("FX-101", &format!("{} left", before - 1));

    world.edges[0].kill();
    till.link_is("No answer from edgehub");
    till.sell("FX-101", 1);
    till.badges_are("sending,accepted");
    world.edges[0].start();
    till.link_is("Online");
    till.badges_are("accepted,accepted");
    till.stock_is("FX-101", &format!("{} left", before - 2));
    // The stream came back too: what others do is seen.
    world.cloud.cli(&["record", "merge", "products", "FX-101", r#"{"Name":"Screw of gold"}"#]).done();
    till.0.until("the new name", "document.querySelector('[data-key=FX-101] .name').textContent === 'Screw of gold'");
    world.settle();
    assert_eq!(stock(&world, "FX-101"), before - 2);
}

/// The machine beneath an open page is set up anew: its old place in the stream means nothing there, and it lists again.
#[test]
fn a_page_goes_on_when_its_machine_was_set_up_anew() {
    let mut world = two_shops();
    let driver = Driver::start();
    let till = Till::open(&driver, &world.edges[1]);
    world.edges[1].stop();
    till.link_is("No answer from edgehub");
    world.edges[1].cli(&["reset", "--yes"]).done();
    world.cloud.cli(&["record", "increment", "products", "FX-101", "Stock=100"]).done();
    world.cloud.cli(&["record", "delete", "products", "RP-110", "--force"]).done();
    let token = world.cloud.cli(&["token", "create", "--node", "oslo", "--replace", "--label", "site=oslo"]).done();
    world.join_with(&world.edges[1], token.trim()).done();
    world.edges[1].start();
    till.link_is("Online");
    till.stock_is("FX-101", &format!("{} left", stock(&world, "FX-101")));
    till.0.until("what was deleted is gone", "!products.has('RP-110') && !document.querySelector('[data-key=RP-110]')");
    till.sell("FX-101", 1);
    till.badges_are("accepted");
}

/// A shop that lets nobody in without a token: the page asks for one, watches with it too, and asks again when it is over.
#[test]
fn a_till_asks_for_its_token() {
    let mut world = two_shops();
    let lyon = &mut world.edges[0];
    lyon.stop();
    lyon.configure("[api]\ntokens = \"required\"");
    lyon.start();
    let mut make = vec!["access", "create", "till", "--role", "editor"];
    for collection in ["products", "categories", "orders", "order_lines"] {
        make.extend(["--collection", collection]);
    }
    let token = lyon.cli(&make).done();
    let driver = Driver::start();
    let page = driver.open(&Till::address(lyon));
    page.until("a question", "document.querySelector('dialog').open");
    page.type_into("#token", token.trim());
    page.click("dialog button");
    let till = Till(page);
    till.link_is("Online");
    till.0.until("the products", "document.querySelectorAll('.product').length > 100");
    till.sell("FX-101", 1);
    till.badges_are("accepted");
    world.cloud.cli(&["record", "merge", "products", "FX-101", r#"{"Name":"Screw of gold"}"#]).done();
    till.0.until("the new name, which is watched", "document.querySelector('[data-key=FX-101] .name').textContent === 'Screw of gold'");
    till.0.go(&Till::address(&world.edges[0]));
    till.badges_are("accepted");
    till.link_is("Online");
    let list = world.edges[0].cli(&["access", "list", "-o", "json"]).done();
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let id = list["tokens"][0]["id"].as_str().unwrap_or_else(|| panic!("{list}"));
    world.edges[0].cli(&["access", "revoke", id]).done();
    till.0.until("the question again", "document.querySelector('dialog').open");
}

/// One plain page: short, readable by a screen reader, whole on a phone, and from nowhere else.
#[test]
fn the_page_is_plain_fits_a_phone_and_asks_its_own_shop_alone() {
    let page = include_str!("../../../docs/examples/till/index.html");
    assert!(page.lines().count() <= 300, "{} lines", page.lines().count());
    let world = two_shops();
    let driver = Driver::start();
    let till = Till::open(&driver, &world.edges[0]);
    till.0.screen(390, 844, 2.0);
    till.put("RP-110", 1);
    for view in ["products", "basket", "sales"] {
        till.0.click(&format!("[data-go={view}]"));
        till.0.until(&format!("{view} as wide as the phone"), "document.documentElement.scrollWidth === 390");
        // What is pressed with a thumb is large enough for one.
        till.0.until("room for a thumb", "[...document.querySelectorAll('button')].every(it => !it.offsetParent || it.offsetHeight >= 40)");
    }
    let named = "[...document.querySelectorAll('button, input')].every(it => it.ariaLabel || it.labels?.length || it.textContent.trim())";
    till.0.until("a name for everything", named);
    let asked = till.0.run("return performance.getEntriesByType('resource').map(it => it.name);");
    for address in asked.as_array().unwrap() {
        assert!(address.as_str().unwrap().starts_with(&Till::address(&world.edges[0])), "{address}");
    }
}
