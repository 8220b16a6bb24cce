//! SQLite's way into the real file system, through the record.
//!
//! The shim takes the place of SQLite's default file system for the process. Files outside watched folders are handed to the
//! real one and never seen again; of watched files each call is done by the real one and written down. The shared memory of a
//! WAL is the real one's own: no cut leaves anything of it.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::size_of;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_filename, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};

use crate::disk::{Disk, Event, Image, Loss};
use crate::log::{Entry, Log};

/// What is known of one folder.
#[derive(Debug, Default)]
struct Record {
    disk: Disk,
    log: Option<Log>,
    /// After how many more syncs the power is to fail.
    fails_in: Option<usize>,
    /// The disk as it was when it did.
    failed: Option<Disk>,
}

impl Record {
    fn note(&mut self, name: &str, event: Event) {
        if let Some(log) = &mut self.log {
            log.entries.push(Entry::Event(name.to_owned(), event.clone()));
        }
        let synced = event == Event::Sync;
        self.disk.apply(name, event);
        if let Some(left) = self.fails_in.as_mut().filter(|_| synced) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.fails_in = None;
                self.failed = Some(self.disk.clone());
            }
        }
    }
}

type Shared = Arc<Mutex<Record>>;

static WATCHES: Mutex<Vec<(PathBuf, Shared)>> = Mutex::new(Vec::new());
static REAL: OnceLock<Real> = OnceLock::new();

/// SQLite's own file system.
struct Real(*mut sqlite3_vfs);
// SAFETY: SQLite calls a file system from any thread; what this points to lives as long as the process and is never written.
unsafe impl Send for Real {}
// SAFETY: as above.
unsafe impl Sync for Real {}

fn real() -> *mut sqlite3_vfs {
    REAL.get_or_init(install).0
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder whose files are recorded for as long as this lives. What SQLite opens there must be closed before it is dropped.
#[derive(Debug)]
pub struct Watch {
    folder: PathBuf,
    record: Shared,
}

impl Watch {
    /// Records what SQLite does below a folder from now on, in this process; what is there counts as durable.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn new(folder: &Path) -> std::io::Result<Self> {
        real();
        let folder = folder.canonicalize()?;
        let watch = Self { folder, record: Shared::default() };
        watch.reread()?;
        locked(&WATCHES).push((watch.folder.clone(), Arc::clone(&watch.record)));
        Ok(watch)
    }

    /// Takes what is in the folder now for durable, however it came there.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn reread(&self) -> std::io::Result<()> {
        let mut image = Image::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_file() && !name.ends_with("-shm") {
                image.insert(name, std::fs::read(entry.path())?);
            }
        }
        let (mut record, disk) = (locked(&self.record), Disk::of(image));
        record.log.iter_mut().for_each(|log| log.entries.push(Entry::Replaced(disk.clone())));
        record.disk = disk;
        Ok(())
    }

    /// From now on every moment is kept, until [`Watch::log`].
    pub fn keep_log(&self) {
        let mut record = locked(&self.record);
        record.log = Some(Log { start: record.disk.clone(), entries: Vec::new() });
    }

    /// Puts a mark between what was asked before and what comes.
    pub fn mark(&self, mark: u64) {
        locked(&self.record).log.iter_mut().for_each(|log| log.entries.push(Entry::Mark(mark)));
    }

    /// All moments since [`Watch::keep_log`].
    pub fn log(&self) -> Log {
        locked(&self.record).log.take().unwrap_or_default()
    }

    /// The power fails right after so many more syncs. Whoever writes does not notice: what it does then, [`Watch::cut`] takes back.
    pub fn fail_after(&self, syncs: usize) {
        locked(&self.record).fails_in = Some(syncs);
    }

    /// Whether it has failed since; if not, it will not any more.
    pub fn has_failed(&self) -> bool {
        let mut record = locked(&self.record);
        record.fails_in = None;
        record.failed.is_some()
    }

    /// What would be left of the files if the power failed now, or is left where it has failed. `below(n)` gives chance: a number
    /// below `n`.
    pub fn cut(&self, loss: Loss, below: &mut impl FnMut(u64) -> u64) -> Image {
        let mut record = locked(&self.record);
        let failed = record.failed.take();
        failed.as_ref().unwrap_or(&record.disk).cut(loss, below)
    }

    /// Puts what was left in the place of the files that SQLite knows of, which nobody may hold open.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn put_back(&self, image: &Image) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if ["-shm", "-wal", "-journal"].iter().any(|end| name.ends_with(end)) {
                std::fs::remove_file(entry.path())?;
            }
        }
        image.iter().try_for_each(|(name, bytes)| std::fs::write(self.folder.join(name), bytes))?;
        self.reread()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        locked(&WATCHES).retain(|(_, record)| !Arc::ptr_eq(record, &self.record));
    }
}

/// The record of the folder that a file is in, and its name there.
fn watched(path: *const c_char) -> Option<(Shared, String, PathBuf)> {
    if path.is_null() {
        return None;
    }
    // SAFETY: SQLite passes names as C strings that live through the call.
    let path = Path::new(unsafe { CStr::from_ptr(path) }.to_str().ok()?).to_owned();
    let watches = locked(&WATCHES);
    let (_, record) = watches.iter().find(|(folder, _)| path.parent() == Some(folder))?;
    let name = path.file_name()?.to_str()?.to_owned();
    Some((Arc::clone(record), name, path))
}

/// What a watched file is to SQLite. The real one's own lies behind it, at [`REAL_AT`].
#[repr(C)]
struct Handle {
    base: sqlite3_file,
    note: *mut Note,
}

struct Note {
    record: Shared,
    name: String,
}

/// Where in the memory of a watched file the real one's begins; a multiple of 16, as an allocation is aligned.
const REAL_AT: usize = size_of::<Handle>().next_multiple_of(16);

/// # Safety
/// `file` was opened by [`open`] as a watched one.
unsafe fn below(file: *mut sqlite3_file) -> (*mut sqlite3_file, &'static sqlite3_io_methods) {
    // SAFETY: SQLite allocated `szOsFile` bytes, which is REAL_AT and what the real one asks for; its methods are static.
    unsafe {
        let inner = file.cast::<u8>().add(REAL_AT).cast::<sqlite3_file>();
        (inner, &*(*inner).pMethods)
    }
}

/// # Safety
/// `file` was opened by [`open`] as a watched one, and is not closed.
unsafe fn note(file: *mut sqlite3_file, event: Event) {
    // SAFETY: `open` set `note` to a box that lives until `close`.
    let Note { record, name } = unsafe { &*(*file.cast::<Handle>()).note };
    locked(record).note(name, event);
}

unsafe extern "C" fn open(_: *mut sqlite3_vfs, path: sqlite3_filename, file: *mut sqlite3_file, flags: c_int, got: *mut c_int) -> c_int {
    // SAFETY: the real one gets its own pointer and SQLite's arguments; a file that is not watched is its own from the start.
    // The memory at `file` is SQLite's, `szOsFile` bytes, and nobody else looks at it yet.
    unsafe {
        let Some(open) = (*real()).xOpen else { return ffi::SQLITE_ERROR };
        let Some((record, name, place)) = watched(path) else { return open(real(), path, file, flags, got) };
        let is_new = !place.exists();
        let inner = file.cast::<u8>().add(REAL_AT).cast::<sqlite3_file>();
        (*file).pMethods = std::ptr::null();
        let result = open(real(), path, inner, flags, got);
        if (*inner).pMethods.is_null() {
            return result;
        }
        {
            let mut record = locked(&record);
            if is_new {
                record.note(&name, Event::Delete(true));
            }
            record.note(&name, Event::Open);
        }
        let handle = file.cast::<Handle>();
        (*handle).note = Box::into_raw(Box::new(Note { record, name }));
        (*handle).base.pMethods = &METHODS;
        result
    }
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, path: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite's arguments, passed on to the real one.
    let result = unsafe { (*real()).xDelete.map_or(ffi::SQLITE_ERROR, |delete| delete(real(), path, sync)) };
    if let (ffi::SQLITE_OK, Some((record, name, _))) = (result, watched(path)) {
        locked(&record).note(&name, Event::Delete(sync != 0));
    }
    result
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once, and never looks at it again; the box came from `open`.
    unsafe {
        let (inner, methods) = below(file);
        let result = methods.xClose.map_or(ffi::SQLITE_OK, |close| close(inner));
        drop(Box::from_raw((*file.cast::<Handle>()).note));
        result
    }
}

unsafe extern "C" fn write(file: *mut sqlite3_file, bytes: *const c_void, length: c_int, at: sqlite3_int64) -> c_int {
    // SAFETY: SQLite's arguments for this file, passed on to the real one; it holds `length` bytes at `bytes`.
    unsafe {
        let (inner, methods) = below(file);
        let result = methods.xWrite.map_or(ffi::SQLITE_IOERR_WRITE, |write| write(inner, bytes, length, at));
        if result == ffi::SQLITE_OK {
            let bytes = std::slice::from_raw_parts(bytes.cast::<u8>(), length as usize).to_vec();
            note(file, Event::Write(at as u64, bytes));
        }
        result
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, to: sqlite3_int64) -> c_int {
    // SAFETY: SQLite's arguments for this file, passed on to the real one.
    unsafe {
        let (inner, methods) = below(file);
        let result = methods.xTruncate.map_or(ffi::SQLITE_IOERR_TRUNCATE, |truncate| truncate(inner, to));
        if result == ffi::SQLITE_OK {
            note(file, Event::Truncate(to as u64));
        }
        result
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite calls it for an open file. The real disk is not asked: what the record calls durable is durable here.
    unsafe { note(file, Event::Sync) };
    ffi::SQLITE_OK
}

/// Functions that only pass a call on.
macro_rules! passed {
    ($($name:ident: $method:ident($($arg:ident: $type:ty),*) or $missing:expr;)*) => {
        $(unsafe extern "C" fn $name(file: *mut sqlite3_file, $($arg: $type),*) -> c_int {
            // SAFETY: SQLite's arguments for this file, passed on to the real one.
            unsafe {
                let (inner, methods) = below(file);
                methods.$method.map_or($missing, |method| method(inner, $($arg),*))
            }
        })*
    };
}

passed! {
    read: xRead(bytes: *mut c_void, length: c_int, at: sqlite3_int64) or ffi::SQLITE_IOERR_READ;
    size: xFileSize(size: *mut sqlite3_int64) or ffi::SQLITE_IOERR_FSTAT;
    lock: xLock(level: c_int) or ffi::SQLITE_IOERR_LOCK;
    unlock: xUnlock(level: c_int) or ffi::SQLITE_IOERR_UNLOCK;
    reserved: xCheckReservedLock(result: *mut c_int) or ffi::SQLITE_IOERR_CHECKRESERVEDLOCK;
    control: xFileControl(code: c_int, argument: *mut c_void) or ffi::SQLITE_NOTFOUND;
    sector: xSectorSize() or 0;
    traits: xDeviceCharacteristics() or 0;
    shm_map: xShmMap(page: c_int, size: c_int, extend: c_int, place: *mut *mut c_void) or ffi::SQLITE_IOERR_SHMMAP;
    shm_lock: xShmLock(from: c_int, count: c_int, flags: c_int) or ffi::SQLITE_IOERR_SHMLOCK;
    shm_unmap: xShmUnmap(delete: c_int) or ffi::SQLITE_OK;
}

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    // SAFETY: passed on to the real one.
    unsafe {
        let (inner, methods) = below(file);
        methods.xShmBarrier.into_iter().for_each(|barrier| barrier(inner));
    }
}

/// Version 2: SQLite maps no file into memory, where nothing would be seen of what it writes.
static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector),
    xDeviceCharacteristics: Some(traits),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Puts the shim before SQLite's own file system, for the process and as long as it lives.
fn install() -> Real {
    // SAFETY: the library is initialised first; the copy of the real one's table is leaked, so that it outlives every user, and
    // is registered once, before anybody knows of it.
    unsafe {
        ffi::sqlite3_initialize();
        let own = ffi::sqlite3_vfs_find(std::ptr::null());
        let mut shim = *own;
        shim.zName = c"powercut".as_ptr();
        shim.szOsFile += REAL_AT as c_int;
        shim.xOpen = Some(open);
        shim.xDelete = Some(delete);
        shim.pNext = std::ptr::null_mut();
        ffi::sqlite3_vfs_register(Box::into_raw(Box::new(shim)), 1);
        Real(own)
    }
}
