//! `make pictures`: the pictures of both shops' tills in the README, taken anew in `docs/pictures`, as small as they get.
#![allow(clippy::unwrap_used)] // a tool of the project, which fails loudly

use std::path::Path;
use std::process::Command;

use tests::browser::Driver;
use tests::till::{Till, two_shops};

fn main() {
    let mut world = two_shops();
    let driver = Driver::start();
    let [lyon, oslo] = [0, 1].map(|shop| Till::open(&driver, &world.edges[shop]));
    lyon.sell("CF-104", 1);
    lyon.badges_are("accepted");
    world.cloud.stop();
    lyon.link_is("Offline");
    oslo.link_is("Offline");

    // Lyon sells without the cloud, and is at its third sale.
    lyon.0.screen(1280, 800, 1.5);
    lyon.sell("RP-110", 8);
    lyon.put("FX-103", 2);
    lyon.sell("TL-117", 1);
    lyon.link_is("Offline · 2 waiting");
    lyon.badges_are("pending,pending,accepted");
    lyon.0.type_into("#search", "brass");
    lyon.0.click("[data-key=FX-101]");
    lyon.0.click("[data-key=FX-104]");
    lyon.0.click("[data-key=FX-104]");
    save("till-lyon", &lyon);

    // Oslo, which comes second, has sold what Lyon sold too, and the cloud says so.
    oslo.0.screen(390, 844, 2.0);
    for (sku, count) in [("CF-104", 1), ("RP-110", 9)] {
        oslo.0.click("[data-go=products]");
        oslo.put(sku, count);
        oslo.0.click("[data-go=basket]");
        oslo.0.click("#sell");
    }
    world.edges[1].stop();
    world.cloud.start();
    lyon.badges_are("accepted,accepted,accepted");
    world.edges[1].start();
    oslo.badges_are("flagged,accepted");
    oslo.conflicts_are(1);
    oslo.link_is("Online");
    oslo.0.dark(true);
    save("till-oslo", &oslo);
}

fn save(name: &str, till: &Till) {
    till.0.run("document.activeElement.blur(); return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pictures").join(name).with_extension("png");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, till.0.screenshot()).unwrap();
    let smaller = Command::new("pngquant").args(["--force", "--strip", "--speed=1", "--ext=.png", "64"]).arg(&file).status();
    assert!(smaller.is_ok_and(|status| status.success()), "pngquant makes a picture small; on Debian: apt-get install pngquant");
    println!("{}: {} bytes", file.display(), std::fs::metadata(&file).unwrap().len());
}
