//! Reading a backup, from whoever it comes.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use tar::{Archive, Entries, Entry, EntryType};

use super::{BackupError, DATABASE, FORMAT, MANIFEST, Manifest, Member, file_error, hex, is_member};
use crate::limits::{BACKUP_MANIFEST_BYTES, BACKUP_MEMBERS, BACKUP_SMALL_BYTES};
use crate::store::DATABASE_FORMAT;

/// A backup that was opened.
pub(super) struct Source<'a> {
    path: &'a Path,
    file: File,
}

/// Where a member goes.
pub(super) type Place<'p> = &'p mut dyn FnMut(&Member) -> Result<Box<dyn Write>, BackupError>;

impl<'a> Source<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self, BackupError> {
        let file = File::open(path).map_err(file_error("read", path))?;
        let kind = file.metadata().map_err(file_error("read", path))?;
        if !kind.is_file() {
            return Err(bad(path, "it is not a file"));
        }
        Ok(Self { path, file })
    }

    /// Reads all of it, compares every member with the manifest, and hands each to `place`.
    pub(super) fn walk(&mut self, place: Place<'_>) -> Result<Manifest, BackupError> {
        self.file.rewind().map_err(file_error("read", self.path))?;
        let size = self.file.metadata().map_err(file_error("read", self.path))?.len();
        let mut archive = Archive::new(BufReader::with_capacity(1 << 20, &self.file));
        // Raw: an extension that gives a member another name or size is a member that nobody knows.
        let mut entries = archive.entries().map_err(|error| unreadable(self.path, &error))?.raw(true);
        let mut first = next(&mut entries, self.path)?.ok_or_else(|| bad(self.path, "it is empty"))?;
        let manifest = manifest(&mut first, size).map_err(|why| bad(self.path, &why))?;
        for member in &manifest.members {
            let mut entry = next(&mut entries, self.path)?.ok_or_else(|| cut(self.path, member))?;
            named(&entry, member).map_err(|why| bad(self.path, &why))?;
            let mut to = place(member)?;
            let (bytes, sum) = copy(&mut entry, &mut to, member, self.path)?;
            if bytes != member.bytes {
                return Err(cut(self.path, member));
            }
            if sum != member.sha256 {
                return Err(bad(self.path, &format!("{} is not what its manifest says (SHA-256 {sum}): the file is damaged", member.name)));
            }
        }
        if let Some(entry) = next(&mut entries, self.path)? {
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            return Err(bad(self.path, &format!("it holds {name:?}, which its manifest does not list")));
        }
        Ok(manifest)
    }
}

pub(super) fn bad(path: &Path, why: &str) -> BackupError {
    BackupError::Bad { path: path.to_owned(), why: why.to_owned() }
}

fn cut(path: &Path, member: &Member) -> BackupError {
    bad(path, &format!("it ends before the end of {}: the file was cut off", member.name))
}

fn unreadable(path: &Path, error: &io::Error) -> BackupError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => bad(path, "it ends too early: the file was cut off"),
        _ => bad(path, &format!("it is not a backup of a cloudhub, or it was cut off ({error})")),
    }
}

type Reader<'f> = BufReader<&'f File>;

fn next<'e, 'f>(entries: &mut Entries<'e, Reader<'f>>, path: &Path) -> Result<Option<Entry<'e, Reader<'f>>>, BackupError> {
    entries.next().transpose().map_err(|error| unreadable(path, &error))
}

/// Judges the manifest before anything is believed: what it lists, and that it fits into the file that it is in.
fn manifest(entry: &mut Entry<'_, Reader<'_>>, size: u64) -> Result<Manifest, String> {
    if entry.header().entry_type() != EntryType::Regular || *entry.path_bytes() != *MANIFEST.as_bytes() {
        return Err("it is not a backup of a cloudhub: it does not begin with a manifest".to_owned());
    }
    let mut text = Vec::new();
    entry.take(BACKUP_MANIFEST_BYTES + 1).read_to_end(&mut text).map_err(|_| "it ends inside its manifest".to_owned())?;
    if text.len() as u64 > BACKUP_MANIFEST_BYTES {
        return Err("its manifest is too large".to_owned());
    }
    #[derive(serde::Deserialize)]
    struct Head {
        format: u32,
    }
    let unknown = |error: serde_json::Error| format!("its manifest makes no sense: {error}");
    let Head { format } = serde_json::from_slice(&text).map_err(unknown)?;
    if format > FORMAT {
        return Err(format!(
            "it was written by a newer cloudhub (backup format {format}, this program knows {FORMAT}); install that version"
        ));
    }
    let manifest: Manifest = serde_json::from_slice(&text).map_err(unknown)?;
    if manifest.database_format > DATABASE_FORMAT {
        let (found, version) = (manifest.database_format, &manifest.hub_version);
        return Err(format!(
            "its database was written by cloudhub {version} (format {found}, this program knows {DATABASE_FORMAT}); install that version"
        ));
    }
    check_members(&manifest, size)?;
    Ok(manifest)
}

fn check_members(manifest: &Manifest, size: u64) -> Result<(), String> {
    let members = &manifest.members;
    if members.len() > BACKUP_MEMBERS {
        return Err(format!("its manifest lists {} members, a backup has at most {BACKUP_MEMBERS}", members.len()));
    }
    if members.first().is_none_or(|member| member.name != DATABASE) {
        return Err("its manifest does not begin with the database".to_owned());
    }
    for (place, member) in members.iter().enumerate() {
        let name: String = member.name.chars().take(100).collect();
        if !is_member(&member.name) {
            return Err(format!("its manifest lists {name:?}, which is no file of a cloudhub"));
        }
        if members[..place].iter().any(|other| other.name == member.name) {
            return Err(format!("its manifest lists {name} twice"));
        }
        let most = if member.name == DATABASE { size } else { BACKUP_SMALL_BYTES };
        if member.bytes > most {
            return Err(format!("{name} has {} bytes, at most {most} can be; the file was cut off, or is not ours", member.bytes));
        }
    }
    Ok(())
}

fn named(entry: &Entry<'_, Reader<'_>>, member: &Member) -> Result<(), String> {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    if name != member.name || entry.header().entry_type() != EntryType::Regular {
        return Err(format!("it holds {name:?} where its manifest lists {}", member.name));
    }
    let bytes = entry.header().size().unwrap_or(0);
    if bytes != member.bytes {
        return Err(format!("{name} has {bytes} bytes, its manifest says {}", member.bytes));
    }
    Ok(())
}

fn copy(entry: &mut Entry<'_, Reader<'_>>, to: &mut dyn Write, member: &Member, path: &Path) -> Result<(u64, String), BackupError> {
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        let read = entry.read(&mut buffer).map_err(|error| unreadable(path, &error))?;
        if read == 0 {
            break;
        }
        bytes += read as u64;
        sum.update(&buffer[..read]);
        to.write_all(&buffer[..read]).map_err(file_error("write", Path::new(&member.name)))?;
    }
    to.flush().map_err(file_error("write", Path::new(&member.name)))?;
    Ok((bytes, hex(&sum.finalize())))
}
