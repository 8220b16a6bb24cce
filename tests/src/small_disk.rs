//! A disk that is small enough to be filled: a tmpfs of some MiB.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted tmpfs; dropping it unmounts it.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one of `mib` MiB at `folder`, which is made.
    ///
    /// # Panics
    /// Mounting needs root: the tests are run by root, or by somebody who may use sudo without a password.
    pub fn mount(folder: &Path, mib: u32) -> Self {
        std::fs::create_dir_all(folder).expect("a scratch folder");
        let size = format!("size={mib}m,mode=700");
        let mounted = privileged(&["mount", "-t", "tmpfs", "-o", &size, "tombolo-test"], folder);
        assert!(mounted, "a small disk cannot be mounted at {}: run the tests as root, or allow sudo", folder.display());
        Self { folder: folder.to_owned() }
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.filler()).expect("a file that fills the disk");
        let block = vec![0x55; 1 << 20];
        for size in [1 << 20, 4096, 1] {
            while write_all(&mut file, &block[..size]) {}
        }
    }

    /// Gives all of it back.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).expect("the disk was filled");
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

fn write_all(file: &mut File, bytes: &[u8]) -> bool {
    matches!(file.write(bytes), Ok(written) if written > 0)
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        privileged(&["umount", "-l"], &self.folder);
    }
}

/// Runs a command with `folder` as its last argument, through sudo where that is needed.
fn privileged(command: &[&str], folder: &Path) -> bool {
    let run = |program: &str, args: &[&str]| Command::new(program).args(args).arg(folder).status().is_ok_and(|status| status.success());
    run(command[0], &command[1..]) || run("sudo", &[&["-n"], command].concat())
}
