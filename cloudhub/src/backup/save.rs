//! Making a backup.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use api::shapes::Time;
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::{
    BackupError, DATABASE, FORMAT, MANIFEST, Manifest, Member, PKI, TOKEN, beside, file_error, folder_of, hex, is_member, sync_dir,
};
use crate::limits::{BACKUP_MEMBERS, BACKUP_SMALL_BYTES};
use crate::store::{DatabaseFacts, copy_database};

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The newest revision in it.
    pub head: u64,
    /// Its size.
    pub bytes: u64,
    /// Its members beside the manifest.
    pub members: usize,
}

/// Writes a backup of the hub in `data` to `file`, whether the hub runs or not. When this returns, all of it is durable
/// under its name; before that the name does not exist, or is still the older backup.
///
/// # Errors
/// [`BackupError`]; nothing of a failed one is left.
pub fn save(data: &Path, file: &Path, overwrite: bool, now_ms: u64) -> Result<Saved, BackupError> {
    if !data.join(DATABASE).is_file() {
        return Err(BackupError::NoHub(data.to_owned()));
    }
    refuse_existing(file, overwrite)?;
    let partial = Partial::create(&beside(file, ".partial"))?;
    let copy = Scratch::new(beside(file, ".partial.db"))?;
    let facts = copy_database(&data.join(DATABASE), &copy.0)?;
    let saved = write(data, &partial, &copy.0, facts, now_ms)?;
    refuse_existing(file, overwrite)?;
    partial.rename(file)?;
    Ok(saved)
}

fn refuse_existing(file: &Path, overwrite: bool) -> Result<(), BackupError> {
    if !overwrite && file.symlink_metadata().is_ok() { Err(BackupError::Exists(file.to_owned())) } else { Ok(()) }
}

/// The archive before it has its name. Held by a lock, so that what a killed backup left is taken over and what another
/// one writes is not.
struct Partial {
    path: PathBuf,
    file: File,
    done: bool,
}

impl Partial {
    fn create(path: &Path) -> Result<Self, BackupError> {
        let mut options = private();
        let file = options.truncate(false).open(path).map_err(file_error("write", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BackupError::Running(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(file_error("lock", path)(source)),
        }
        file.set_len(0).and_then(|()| file.set_permissions(Permissions::from_mode(0o600))).map_err(file_error("write", path))?;
        Ok(Self { path: path.to_owned(), file, done: false })
    }

    fn rename(mut self, to: &Path) -> Result<(), BackupError> {
        self.file.sync_all().map_err(file_error("sync", &self.path))?;
        std::fs::rename(&self.path, to).map_err(file_error("replace", to))?;
        self.done = true;
        sync_dir(folder_of(to))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.done {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Owner alone, and a link that somebody put there is not followed.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// The copied database, until it is in the archive.
struct Scratch(PathBuf);

impl Scratch {
    fn new(path: PathBuf) -> Result<Self, BackupError> {
        // SQLite would give it the usual mode.
        let file = private().truncate(true).open(&path).map_err(file_error("write", &path))?;
        file.set_permissions(Permissions::from_mode(0o600)).map_err(file_error("write", &path))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for end in ["", "-journal", "-wal", "-shm"] {
            let _ = std::fs::remove_file(beside(&self.0, end));
        }
    }
}

fn write(data: &Path, partial: &Partial, copy: &Path, facts: DatabaseFacts, now_ms: u64) -> Result<Saved, BackupError> {
    let mut small = Vec::new();
    // Read after the database was copied: a certificate that was revoked meanwhile is in the list of the revoked.
    for name in small_members(data)? {
        small.push((name.clone(), read_small(&data.join(&name))?));
    }
    let database = File::open(copy).map_err(file_error("read", copy))?;
    let mut members = vec![hash(DATABASE, &database, copy)?];
    for (name, content) in &small {
        members.push(Member { name: name.clone(), bytes: content.len() as u64, sha256: hex(&Sha256::digest(content)) });
    }
    let manifest = Manifest {
        format: FORMAT,
        hub_version: env!("CARGO_PKG_VERSION").to_owned(),
        database_format: facts.format,
        head: facts.head,
        epoch: format!("{:016x}", facts.epoch.0),
        made_at: Time(now_ms),
        members,
    };
    archive(partial, &manifest, database, &small, now_ms / 1_000).map_err(file_error("write", &partial.path))?;
    let bytes = partial.file.metadata().map_err(file_error("read", &partial.path))?.len();
    Ok(Saved { head: facts.head, bytes, members: manifest.members.len() })
}

fn archive(partial: &Partial, manifest: &Manifest, database: File, small: &[(String, Vec<u8>)], at_s: u64) -> io::Result<()> {
    let mut tar = Builder::new(BufWriter::with_capacity(1 << 20, &partial.file));
    let text = serde_json::to_vec_pretty(manifest)?;
    append(&mut tar, MANIFEST, text.len() as u64, &text[..], at_s)?;
    append(&mut tar, DATABASE, manifest.members[0].bytes, BufReader::with_capacity(1 << 20, database), at_s)?;
    for (name, content) in small {
        append(&mut tar, name, content.len() as u64, &content[..], at_s)?;
    }
    tar.into_inner()?.flush()
}

fn append(tar: &mut Builder<impl Write>, name: &str, bytes: u64, content: impl Read, at_s: u64) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(at_s);
    tar.append_data(&mut header, name, content)
}

/// The files beside the database. What begins with a dot is somebody's unfinished work.
fn small_members(data: &Path) -> Result<Vec<String>, BackupError> {
    let mut names = Vec::new();
    if data.join(TOKEN).is_file() {
        names.push(TOKEN.to_owned());
    }
    let pki = data.join("pki");
    let entries = match std::fs::read_dir(&pki) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        Err(error) => return Err(file_error("read", &pki)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(file_error("read", &pki))?;
        let name = format!("{PKI}{}", entry.file_name().to_string_lossy());
        if is_member(&name) && entry.path().is_file() {
            names.push(name);
        }
    }
    names.sort();
    if names.len() >= BACKUP_MEMBERS {
        let source = io::Error::other(format!("it has {} files, a backup holds {BACKUP_MEMBERS}", names.len()));
        return Err(file_error("back up", &pki)(source));
    }
    Ok(names)
}

fn read_small(path: &Path) -> Result<Vec<u8>, BackupError> {
    let mut content = Vec::new();
    let file = File::open(path).map_err(file_error("read", path))?;
    file.take(BACKUP_SMALL_BYTES + 1).read_to_end(&mut content).map_err(file_error("read", path))?;
    if content.len() as u64 > BACKUP_SMALL_BYTES {
        return Err(file_error("back up", path)(io::Error::other("the file is far too large for what it should hold")));
    }
    Ok(content)
}

fn hash(name: &str, mut file: &File, path: &Path) -> Result<Member, BackupError> {
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer).map_err(file_error("read", path))?;
        if read == 0 {
            break;
        }
        bytes += read as u64;
        sum.update(&buffer[..read]);
    }
    file.rewind().map_err(file_error("read", path))?;
    Ok(Member { name: name.to_owned(), bytes, sha256: hex(&sum.finalize()) })
}
