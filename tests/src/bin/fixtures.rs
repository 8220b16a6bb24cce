//! `make fixtures`: writes what this version keeps and sends, for later versions to open. Fixtures that are there are
//! left alone: they are of a version that was released, and say what later versions must still read.

use anyhow::{Context, bail};
use rusqlite::Connection;
use tests::kept::{DATABASES, dump, folder, frames, hex};
use tests::lab::story;

fn main() -> anyhow::Result<()> {
    let version = std::env::args().nth(1).unwrap_or_else(|| format!("v{}", env!("CARGO_PKG_VERSION")));
    let folder = folder(&version);
    if folder.exists() {
        bail!("{} exists: fixtures of a version never change; name the new version with VERSION=", folder.display());
    }
    let lab = story::tell();
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, file) in DATABASES.iter().zip(lab.files()) {
        let conn = Connection::open(&file).with_context(|| format!("cannot open {}", file.display()))?;
        std::fs::write(folder.join(format!("{name}.sql")), dump(&conn)?)?;
    }
    let frames = frames::every().into_iter().map(|(name, frame)| format!("# {name}\n{}\n", hex(&frame.encode())));
    let writes = frames::every_write().into_iter().map(|(name, write)| format!("# {name}\n{}\n", hex(&write.encode())));
    std::fs::write(folder.join("frames.txt"), frames.chain(writes).collect::<Vec<_>>().join("\n"))?;
    println!("{}", folder.display());
    Ok(())
}
