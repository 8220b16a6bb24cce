//! The disk that holds the data folder, and who may write there.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use metamanager::limits::{PAUSE_FREE_BYTES, REFUSE_FREE_BYTES};
use metamanager::{Disk, Space, SystemDisk};

use super::{Check, size};

const NAME: &str = "disk";

/// What belongs to edgehub in its folder; all of it to one user.
const OURS: [&str; 5] = ["edge.db", "edge.db-wal", "edge.db-shm", "edge.db.lock", "pki"];

/// The folder and its disk.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) data: PathBuf,
    /// Owner and mode; why not where it cannot be looked at.
    pub(super) folder: Result<(u32, u32), String>,
    /// Who looks.
    pub(super) me: u32,
    pub(super) space: Option<Space>,
    pub(super) read_only: bool,
    /// Files of another owner than the folder's.
    pub(super) foreign: Vec<String>,
}

impl Facts {
    pub(super) fn read(data: &Path) -> Self {
        let folder = std::fs::metadata(data).map_err(|error| error.to_string());
        let folder = folder.and_then(|found| match found.is_dir() {
            true => Ok((found.uid(), found.permissions().mode() & 0o7777)),
            false => Err("it is not a folder".to_owned()),
        });
        let owner = folder.as_ref().map_or(0, |(owner, _)| *owner);
        let foreign = |name: &&&str| std::fs::metadata(data.join(name)).is_ok_and(|found| found.uid() != owner);
        Self {
            foreign: OURS.iter().filter(foreign).map(|name| (*name).to_owned()).collect(),
            // The owner of a process's own entry is its effective user.
            me: std::fs::metadata("/proc/self").map_or(owner, |found| found.uid()),
            space: SystemDisk.space(data),
            read_only: SystemDisk.is_read_only(data).unwrap_or(false),
            data: data.to_owned(),
            folder,
        }
    }
}

pub(super) fn judge(facts: &Facts) -> Check {
    let shown = facts.data.display();
    match &facts.folder {
        Err(reason) => Check::failed(
            NAME,
            format!("the data folder {shown} cannot be used: {reason}"),
            "name the right one with --data DIR; `edgehub join` and `edgehub run` make it",
        ),
        Ok((owner, mode)) => {
            let mut findings = owners(facts, *owner, *mode);
            findings.push(room(facts));
            Check::worst(NAME, findings)
        }
    }
}

fn owners(facts: &Facts, owner: u32, mode: u32) -> Vec<Check> {
    let shown = facts.data.display();
    let mut findings = Vec::new();
    if !facts.foreign.is_empty() {
        findings.push(Check::failed(
            NAME,
            format!("{shown} belongs to user {owner}, but {} in it to another", facts.foreign.join(", ")),
            format!("edgehub was once started as another user (root?); give all of it back: chown -R {owner} {shown}"),
        ));
    }
    if facts.me != 0 && facts.me != owner {
        findings.push(Check::warning(
            NAME,
            format!("{shown} belongs to user {owner}, and this was started by user {}", facts.me),
            "run edgehub and its commands as the folder's owner",
        ));
    }
    if mode & 0o027 != 0 {
        findings.push(Check::warning(
            NAME,
            format!("{shown} has mode {mode:04o}: others on this machine can look into it"),
            format!("chmod 750 {shown}"),
        ));
    }
    findings
}

fn room(facts: &Facts) -> Check {
    let shown = facts.data.display();
    if facts.read_only {
        let advice =
            "mount it for writing; Linux mounts a disk read-only after errors: look at dmesg, and replace the card when it is worn out";
        return Check::failed(NAME, format!("the file system of {shown} takes no writes"), advice);
    }
    let Some(space) = facts.space else {
        return Check::skipped(NAME, format!("the room on the disk of {shown} cannot be told"));
    };
    let free = format!("{} of {} free in {shown}", size(space.free), size(space.total));
    let bound = |bytes: u64, part: u64| size(bytes.min(space.total / part));
    let advice = format!("free some space; look for what is large with: du -xhd1 {shown}");
    if space.refuses_writes() {
        let found = format!("{free}, below {}: local writes are refused (507)", bound(REFUSE_FREE_BYTES, 20));
        return Check::failed(NAME, found, advice);
    }
    if space.pauses_downstream() {
        let found = format!("{free}, below {}: nothing more is fetched from the hub", bound(PAUSE_FREE_BYTES, 10));
        return Check::warning(NAME, found, advice);
    }
    Check::ok(NAME, free)
}
