//! Putting a backup in the place of a hub. Nothing is deleted: what was there is moved aside, into a folder of the data
//! folder that says when.
//!
//! The order is what makes an end at any moment harmless: everything is read and compared; then it is unpacked beside;
//! then a mark is set, with which no hub starts; then the old goes aside and the new takes its place; then the mark goes.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use api::shapes::Time;
use transport::private_file;

use super::read::{Source, bad};
use super::{BackupError, DATABASE, Manifest, REVOKED, TOKEN, file_error, sync_dir};
use crate::limits::REVOKED_BYTES;
use crate::store::{CopyError, FolderLock, inspect};

/// Tells of a restore that has not come to its end; each line names a folder with what was there before.
const MARK: &str = "restoring";
/// Where a backup is unpacked.
const STAGING: &str = ".restoring";
/// What goes aside: all that belongs to the old hub, the log of its database too.
const OLD: [&str; 5] = [DATABASE, "cloudhub.db-wal", "cloudhub.db-shm", "pki", TOKEN];

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The newest revision.
    pub head: u64,
    /// When the backup was made.
    pub made_at: Time,
    /// The folder with what was there before; none: nothing was.
    pub before: Option<PathBuf>,
    /// Revoked certificates that the backup did not know and that stay revoked.
    pub kept_revoked: usize,
}

/// Restores `file` into `data`, which no hub may use.
///
/// # Errors
/// [`BackupError`]. Up to the moment where the mark is set nothing of what is there has changed.
pub fn restore(data: &Path, file: &Path, now_ms: u64) -> Result<Restored, BackupError> {
    let mut source = Source::open(file)?;
    source.walk(&mut |_| Ok(Box::new(io::sink())))?;
    private_file::create_dir(data)?;
    let _lock = FolderLock::take(data)?;
    let staging = Staging::new(data.join(STAGING))?;
    let manifest = source.walk(&mut |member| staging.create(&member.name))?;
    staging.check(file, &manifest)?;
    let kept_revoked = merge_revoked(data, &staging.0)?;
    staging.sync()?;
    let before = exchange(data, &staging.0, &manifest, now_ms)?;
    Ok(Restored { head: manifest.head, made_at: manifest.made_at, before, kept_revoked })
}

/// Refuses a data folder in which a restore did not come to its end.
///
/// # Errors
/// [`BackupError::Interrupted`], with what to do.
pub fn check_interrupted(data: &Path) -> Result<(), BackupError> {
    match private_file::read(&data.join(MARK))? {
        None => Ok(()),
        Some(mark) => Err(BackupError::Interrupted { data: data.to_owned(), before: mark.lines().collect::<Vec<_>>().join(", ") }),
    }
}

/// Where the backup is unpacked, removed when it is not needed any more.
struct Staging(PathBuf);

impl Staging {
    fn new(path: PathBuf) -> Result<Self, BackupError> {
        // What an interrupted restore left: a copy of a part of a backup.
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file_error("remove", &path)(error)),
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&path).map_err(file_error("create", &path))?;
        let pki = path.join("pki");
        DirBuilder::new().mode(0o700).create(&pki).map_err(file_error("create", &pki))?;
        Ok(Self(path))
    }

    /// The name was judged when the manifest was.
    fn create(&self, name: &str) -> Result<Box<dyn Write>, BackupError> {
        let path = self.0.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        Ok(Box::new(file.map_err(file_error("write", &path))?))
    }

    /// Whether the database is ours, whole, and what the manifest says.
    fn check(&self, file: &Path, manifest: &Manifest) -> Result<(), BackupError> {
        let facts = match inspect(&self.0.join(DATABASE)) {
            Ok(facts) => facts,
            Err(CopyError::Damaged { what, .. }) => return Err(bad(file, &format!("its database is damaged: {what}"))),
            Err(error) => return Err(bad(file, &format!("its database cannot be used: {error}"))),
        };
        if facts.head != manifest.head || facts.format != manifest.database_format {
            return Err(bad(file, &format!("its database is at revision {}, its manifest says {}", facts.head, manifest.head)));
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), BackupError> {
        for folder in [self.0.join("pki"), self.0.clone()] {
            for entry in std::fs::read_dir(&folder).map_err(file_error("read", &folder))? {
                let path = entry.map_err(file_error("read", &folder))?.path();
                File::open(&path).and_then(|file| file.sync_all()).map_err(file_error("sync", &path))?;
            }
            sync_dir(&folder)?;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A certificate that was revoked after the backup was made stays revoked. Tells how many there are.
fn merge_revoked(data: &Path, staging: &Path) -> Result<usize, BackupError> {
    let read = |path: &Path| private_file::read_up_to(path, REVOKED_BYTES).map(Option::unwrap_or_default);
    let restored = staging.join(REVOKED);
    let mut all = read(&restored)?;
    let mut here = read(&data.join(REVOKED))?;
    // A restore that did not come to its end may have moved the list aside already.
    for before in private_file::read(&data.join(MARK))?.unwrap_or_default().lines() {
        here.push('\n');
        here.push_str(&read(&Path::new(before).join(REVOKED))?);
    }
    let mut known: BTreeSet<String> = all.lines().filter_map(serial).map(str::to_owned).collect();
    let kept: Vec<&str> = here.lines().filter(|line| serial(line).is_some_and(|serial| known.insert(serial.to_owned()))).collect();
    if kept.is_empty() {
        return Ok(0);
    }
    if !all.is_empty() && !all.ends_with('\n') {
        all.push('\n');
    }
    for line in &kept {
        all.push_str(line.trim_end());
        all.push('\n');
    }
    private_file::write(&restored, all.as_bytes())?;
    Ok(kept.len())
}

fn serial(line: &str) -> Option<&str> {
    line.split_whitespace().next()
}

/// The old goes aside, the new takes its place.
fn exchange(data: &Path, staging: &Path, manifest: &Manifest, now_ms: u64) -> Result<Option<PathBuf>, BackupError> {
    let old: Vec<&str> = OLD.into_iter().filter(|name| data.join(name).symlink_metadata().is_ok()).collect();
    let before = data.join(format!("before-restore-{}", stamp(now_ms)));
    if !old.is_empty() {
        DirBuilder::new().mode(0o700).create(&before).map_err(file_error("create", &before))?;
    }
    let mark = data.join(MARK);
    let earlier = private_file::read(&mark)?.unwrap_or_default();
    private_file::write(&mark, format!("{earlier}{}\n", before.display()).as_bytes())?;
    for name in &old {
        rename(&data.join(name), &before.join(name))?;
    }
    if !old.is_empty() {
        sync_dir(&before)?;
    }
    rename(&staging.join("pki"), &data.join("pki"))?;
    for member in manifest.members.iter().filter(|member| !member.name.contains('/')) {
        rename(&staging.join(&member.name), &data.join(&member.name))?;
    }
    std::fs::set_permissions(data, Permissions::from_mode(0o700)).map_err(file_error("protect", data))?;
    sync_dir(data)?;
    private_file::remove(&mark)?;
    Ok((!old.is_empty()).then_some(before))
}

fn rename(from: &Path, to: &Path) -> Result<(), BackupError> {
    std::fs::rename(from, to).map_err(file_error("move into place", to))
}

/// `20261126T124501.123Z`: sorts by time, and no shell minds it.
fn stamp(now_ms: u64) -> String {
    Time(now_ms).to_string().replace(['-', ':'], "")
}
