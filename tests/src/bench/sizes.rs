//! How large the programs are that `make dist` ships.

use std::path::Path;

use super::Settings;
use super::report::{Bound, Figure, Unit};
use crate::process::binary;

const TARGETS: [&str; 2] = ["aarch64-unknown-linux-musl", "x86_64-unknown-linux-musl"];

pub(super) fn run(_: Settings) -> Vec<Figure> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/dist-build");
    let mut figures = Vec::new();
    for target in TARGETS {
        let folder = built.join(target).join("dist");
        figures.extend(
            size(&folder.join("edgehub"))
                .map(|mib| Figure::new(format!("edgehub, {target}"), mib, Unit::MiB).budget(Bound::AtMost(8.0)).aim(Bound::AtMost(6.0))),
        );
        figures.extend(size(&folder.join("cloudhub")).map(|mib| Figure::new(format!("cloudhub, {target}"), mib, Unit::MiB)));
    }
    if figures.is_empty() {
        println!("  nothing is there yet; `make dist` builds it");
    }
    for name in ["edgehub", "cloudhub"] {
        figures.extend(size(&binary(name)).map(|mib| Figure::new(format!("{name}, profile release, this machine"), mib, Unit::MiB)));
    }
    figures
}

fn size(file: &Path) -> Option<f64> {
    #[allow(clippy::cast_precision_loss)] // a figure for people
    std::fs::metadata(file).ok().map(|file| file.len() as f64 / f64::from(1 << 20))
}
