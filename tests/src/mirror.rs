//! A copy of the tree to make mistakes in.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Makes the copy what the tree is, and touches no file that is so already: the next build is of what was changed alone.
pub fn mirror(root: &Path, copy: &Path) -> Result<()> {
    let listed = Command::new("git").current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).output()?;
    ensure!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    for file in String::from_utf8(listed.stdout)?.split_terminator('\0') {
        let Ok(new) = std::fs::read(root.join(file)) else { continue };
        write(&copy.join(file), &new)?;
    }
    Ok(())
}

/// Writes a file of the copy where it is not so already.
pub fn write(to: &Path, new: &[u8]) -> Result<()> {
    if std::fs::read(to).ok().as_deref() != Some(new) {
        std::fs::create_dir_all(to.parent().context("a file without a folder")?)?;
        std::fs::write(to, new).with_context(|| format!("writing {}", to.display()))?;
    }
    Ok(())
}
