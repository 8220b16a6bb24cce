#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use proto::definition::Definition;
use proto::names::CollectionName;
use serde_json::{Value, json};
use tar::{Builder, Header};
use tempfile::TempDir;

use super::*;
use crate::pki::Pki;
use crate::store::{Job, OpenOptions, SqliteStore, Store};

/// A hub's data folder with so many definitions, one a revision.
struct Hub {
    data: PathBuf,
    store: Option<SqliteStore>,
    folder: TempDir,
}

impl Hub {
    fn new(revisions: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        Pki::open(&data, &["localhost".to_owned()], std::time::SystemTime::now()).unwrap();
        fs::write(data.join(TOKEN), "secret\n").unwrap();
        let mut hub = Self { data, store: None, folder };
        hub.start();
        for turn in 0..revisions {
            hub.define(&format!("c{turn}"));
        }
        hub
    }

    fn start(&mut self) {
        let options = OpenOptions { data: self.data.clone() };
        self.store = Some(SqliteStore::open(&options, 1, &mut || 7).unwrap());
    }

    fn define(&mut self, name: &str) {
        let definition = Box::new(Definition::parse("{}").unwrap());
        let job = Job::PutCollection { name: CollectionName::parse(name).unwrap(), definition };
        self.store.as_mut().unwrap().decide(vec![job], 1).unwrap();
    }

    /// Ends without a checkpoint, as a killed hub does.
    fn kill(&mut self) {
        let store = self.store.take().unwrap();
        let keep = rusqlite::Connection::open(self.data.join(DATABASE)).unwrap();
        keep.query_row("SELECT head FROM meta", [], |_| Ok(())).unwrap();
        drop(store);
        keep.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    }

    fn head(&mut self) -> u64 {
        self.start();
        self.store.take().unwrap().head().0
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn save(&self, name: &str) -> PathBuf {
        let file = self.file(name);
        save(&self.data, &file, false, 5_000).unwrap();
        file
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

/// Every file below a folder, with its content.
fn all(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(all(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// The members of a backup.
fn unpack(file: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(fs::File::open(file).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        io::Read::read_to_end(&mut entry, &mut content).unwrap();
        (entry.path().unwrap().display().to_string(), content)
    });
    entries.collect()
}

/// A tar file with exactly these names, those that no honest program writes too.
fn pack(file: &Path, members: &[(String, Vec<u8>)]) {
    let mut tar = Builder::new(fs::File::create(file).unwrap());
    for (name, content) in members {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, &content[..]).unwrap();
    }
    tar.finish().unwrap();
}

#[test]
fn a_running_hub_is_copied_and_comes_back_elsewhere() {
    let mut hub = Hub::new(3);
    let file = hub.save("backup");
    assert_eq!(mode(&file), 0o600);
    hub.define("later");
    let names: Vec<_> = unpack(&file).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["manifest.json", "cloudhub.db", "admin.token", "pki/ca.crt", "pki/ca.key", "pki/hub.crt", "pki/hub.key"]);
    let left: Vec<_> = fs::read_dir(hub.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");

    let mut other = Hub { data: hub.file("elsewhere/data"), store: None, folder: tempfile::tempdir().unwrap() };
    let restored = restore(&other.data, &file, 6_000).unwrap();
    assert_eq!((restored.head, restored.made_at, restored.before, restored.kept_revoked), (3, Time(5_000), None, 0));
    assert_eq!(other.head(), 3);
    assert_eq!(hub.store.as_ref().unwrap().head().0, 4);
    assert_eq!((mode(&other.data), mode(&other.data.join("pki"))), (0o700, 0o700));
    for name in ["cloudhub.db", "admin.token", "pki/ca.key", "pki/hub.key"] {
        assert_eq!(mode(&other.data.join(name)), 0o600, "{name}");
    }
    for name in ["admin.token", "pki/ca.key", "pki/ca.crt"] {
        assert_eq!(fs::read(other.data.join(name)).unwrap(), fs::read(hub.data.join(name)).unwrap(), "{name}");
    }
}

#[test]
fn what_a_killed_hub_left_in_its_log_is_copied_too() {
    let mut hub = Hub::new(2);
    hub.kill();
    assert!(hub.data.join("cloudhub.db-wal").metadata().unwrap().len() > 0);
    let before = all(&hub.data);
    let file = hub.save("backup");
    let changed = all(&hub.data).into_iter().filter(|file| !before.contains(file)).map(|(path, _)| path).collect::<Vec<_>>();
    assert!(changed.iter().all(|path| path.ends_with("cloudhub.db-shm")), "{changed:?}");
    let mut other = Hub { data: hub.file("other"), store: None, folder: tempfile::tempdir().unwrap() };
    assert_eq!(restore(&other.data, &file, 6_000).unwrap().head, 2);
    assert_eq!(other.head(), 2);
}

#[test]
fn a_file_is_replaced_only_when_told() {
    let hub = Hub::new(1);
    let file = hub.save("backup");
    let error = save(&hub.data, &file, false, 5_000).unwrap_err().to_string();
    assert!(error.contains("exists") && error.contains("--overwrite"), "{error}");
    // What a killed backup left is no obstacle, and what another one writes is left alone.
    fs::write(beside(&file, ".partial"), "half").unwrap();
    assert_eq!(save(&hub.data, &file, true, 5_000).unwrap().head, 1);
    let partial = fs::File::create(beside(&file, ".partial")).unwrap();
    partial.lock().unwrap();
    assert!(matches!(save(&hub.data, &file, true, 5_000), Err(BackupError::Running(_))));
    assert!(matches!(save(hub.folder.path(), &file, true, 5_000), Err(BackupError::NoHub(_))));
}

#[test]
fn a_damaged_database_makes_no_backup() {
    let mut hub = Hub::new(40);
    hub.store.take().unwrap().close().unwrap();
    let path = hub.data.join(DATABASE);
    let mut bytes = fs::read(&path).unwrap();
    // Not a page of the schema, which stands before the middle and without which nothing opens.
    let middle = bytes.len() * 3 / 4 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let error = save(&hub.data, &hub.file("backup"), false, 5_000).unwrap_err().to_string();
    assert!(error.contains("data/cloudhub.db") && error.contains("damaged"), "{error}");
    assert!(!hub.file("backup").exists() && !hub.file("backup.partial").exists());
}

#[test]
fn a_restore_moves_what_is_there_aside_and_keeps_revocations() {
    let mut hub = Hub::new(2);
    fs::write(hub.data.join(REVOKED), "0a01 lyon\n").unwrap();
    let file = hub.save("backup");
    hub.define("later");
    fs::write(hub.data.join(REVOKED), "0a01 lyon\n0a02 oslo\n").unwrap();
    let in_use = restore(&hub.data, &file, 6_000).unwrap_err().to_string();
    assert!(in_use.contains("is in use by another cloudhub"), "{in_use}");
    hub.kill();
    let restored = restore(&hub.data, &file, 6_000).unwrap();
    let before = restored.before.unwrap();
    assert_eq!(before, hub.data.join("before-restore-19700101T000006.000Z"));
    assert_eq!(restored.kept_revoked, 1);
    assert_eq!(fs::read_to_string(hub.data.join(REVOKED)).unwrap(), "0a01 lyon\n0a02 oslo\n");
    assert_eq!(fs::read_to_string(before.join(REVOKED)).unwrap(), "0a01 lyon\n0a02 oslo\n");
    assert_eq!(hub.head(), 2);
    let mut old = Hub { data: before, store: None, folder: tempfile::tempdir().unwrap() };
    assert_eq!(old.head(), 3, "with what its log held");
}

#[test]
fn an_interrupted_restore_is_finished_by_the_next_one() {
    let mut hub = Hub::new(1);
    let file = hub.save("backup");
    hub.store = None;
    // As if it had ended after the authority was moved aside.
    let aside = hub.data.join("before-restore-x");
    fs::create_dir(&aside).unwrap();
    fs::write(hub.data.join(REVOKED), "0a07 lyon\n").unwrap();
    fs::rename(hub.data.join("pki"), aside.join("pki")).unwrap();
    fs::write(hub.data.join("restoring"), format!("{}\n", aside.display())).unwrap();
    fs::create_dir(hub.data.join(".restoring")).unwrap();
    let error = check_interrupted(&hub.data).unwrap_err().to_string();
    assert!(error.contains("run it again: cloudhub restore") && error.contains("before-restore-x"), "{error}");
    assert_eq!(restore(&hub.data, &file, 6_000).unwrap().kept_revoked, 1);
    check_interrupted(&hub.data).unwrap();
    assert_eq!(fs::read_to_string(hub.data.join(REVOKED)).unwrap(), "0a07 lyon\n");
    assert!(!hub.data.join(".restoring").exists());
    assert_eq!(hub.head(), 1);
}

/// Changes the manifest of a backup's members.
fn with(members: &[(String, Vec<u8>)], change: impl FnOnce(&mut Value)) -> Vec<(String, Vec<u8>)> {
    let mut manifest: Value = serde_json::from_slice(&members[0].1).unwrap();
    change(&mut manifest);
    let mut members = members.to_vec();
    members[0].1 = manifest.to_string().into_bytes();
    members
}

#[test]
fn whatever_is_no_whole_backup_changes_nothing() {
    let mut hub = Hub::new(2);
    let good = unpack(&hub.save("backup"));
    hub.store = None;
    let file = hub.file("bad");
    let before = all(&hub.data);
    let refused = |what: &str, expected: &str| {
        let error = restore(&hub.data, &file, 6_000).unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("bad cannot be restored") && error.contains("nothing was changed"),
            "{what}: {error}"
        );
        let changed = all(&hub.data).into_iter().filter(|file| !before.contains(file) && !file.0.ends_with("cloudhub.lock"));
        assert_eq!(changed.map(|(path, _)| path).collect::<Vec<_>>(), Vec::<PathBuf>::new(), "{what}");
    };
    let whole = fs::read(hub.folder.path().join("backup")).unwrap();
    for (cut, expected) in [(0, "it is empty"), (100, "cut off"), (600, "manifest"), (5_000, "cut off"), (whole.len() / 2, "cut off")] {
        fs::write(&file, &whole[..cut]).unwrap();
        refused(&format!("cut at {cut}"), expected);
    }
    fs::write(&file, vec![b'x'; 10_000]).unwrap();
    refused("noise", "not a backup of a cloudhub");
    pack(&file, &good[1..]);
    refused("another tar", "does not begin with a manifest");
    pack(&file, &good[..good.len() - 1]);
    refused("a member is missing", "ends before the end of pki/hub.key");
    pack(&file, &with(&good, |manifest| manifest["format"] = json!(2)));
    refused("newer", "written by a newer cloudhub (backup format 2");
    pack(&file, &with(&good, |manifest| manifest["database_format"] = json!(99)));
    refused("newer database", "format 99");
    pack(&file, &with(&good, |manifest| manifest["head"] = json!(99)));
    refused("another database", "at revision 2, its manifest says 99");
    for name in ["../evil", "/etc/passwd", "pki/../../evil", "pki/a/b", "pki/.hidden", "other"] {
        let mut members = with(&good, |manifest| manifest["members"][1]["name"] = json!(name));
        members[2].0 = name.to_owned();
        pack(&file, &members);
        refused(name, "which is no file of a cloudhub");
    }
    pack(&file, &with(&good, |manifest| manifest["members"][1]["bytes"] = json!(1u64 << 40)));
    refused("oversize", "admin.token has 1099511627776 bytes, at most");
    pack(&file, &with(&good, |manifest| manifest["members"][0]["bytes"] = json!(1u64 << 40)));
    refused("oversize database", "cloudhub.db has 1099511627776 bytes, at most");
    let mut more = good.clone();
    more.push(("../evil".to_owned(), b"x".to_vec()));
    pack(&file, &more);
    refused("unlisted", "\"../evil\", which its manifest does not list");
    let mut damaged = good.clone();
    let middle = damaged[1].1.len() / 2;
    damaged[1].1[middle] ^= 1;
    pack(&file, &damaged);
    refused("a flipped bit", "cloudhub.db is not what its manifest says");
    pack(&file, &good);
    assert_eq!(restore(&hub.data, &file, 6_000).unwrap().head, 2, "and the same, untouched, is one");
}
