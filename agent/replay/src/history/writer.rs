//! The thread that packs blocks and writes them, and keeps the folder within its bounds.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use reeve_policy::Timestamp;

use super::block::{Block, HEAD, Head};
use super::{HistoryError, Limits, MAGIC, SUFFIX};

/// So many blocks wait at most, half a MiB each.
const WAITING: usize = 32;
/// A segment is no longer than this, so that what is older than asked for goes in time.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(3_600);

/// A block to be written.
#[derive(Debug)]
pub(super) struct Job {
    pub block: Block,
    /// Whether it begins a segment.
    pub begins: bool,
}

/// How a history goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Bytes of all segments on disk.
    pub bytes: u64,
    /// Frames that were written since the agent began.
    pub frames: u64,
    /// Frames that are missing since the agent began.
    pub lost: u64,
    /// Why the disk takes nothing at the moment; empty while it does.
    pub failing: String,
}

#[derive(Debug, Default)]
struct Shared {
    wants_segment: AtomicBool,
    is_failing: AtomicBool,
    failing: Mutex<String>,
    bytes: AtomicU64,
    frames: AtomicU64,
    /// Frames in blocks that could not be written: all of them, and those that no segment has told of.
    lost: AtomicU64,
    untold: AtomicU64,
}

/// The other end of the thread.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<SyncSender<Box<Job>>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub fn open(folder: &Path, limits: Limits, run: u64) -> Result<Self, HistoryError> {
        let failed = |source| HistoryError::Io { path: folder.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let mut segments = segments(folder).map_err(failed)?;
        // What a kill tore is cut, so that nobody stumbles over it again.
        if let Some((path, len)) = segments.last_mut() {
            *len = mend(path).map_err(failed)?;
        }
        let shared = Arc::new(Shared::default());
        let (jobs, waiting) = sync_channel(WAITING);
        let mut store = Store {
            folder: folder.to_owned(),
            limits,
            run,
            number: 0,
            segments,
            open: None,
            shared: Arc::clone(&shared),
        };
        store.tidy(None);
        let thread = std::thread::Builder::new().name("history".to_owned());
        let thread = thread.spawn(move || store.run(&waiting)).map_err(failed)?;
        Ok(Self { jobs: Some(jobs), shared, thread: Some(thread) })
    }

    /// Hands a block over, if there is room; it comes back if there is none.
    pub fn send(&self, job: Box<Job>) -> Result<(), Box<Job>> {
        let Some(jobs) = &self.jobs else { return Err(job) };
        jobs.try_send(job).map_err(|(TrySendError::Full(job) | TrySendError::Disconnected(job))| job)
    }

    pub fn is_failing(&self) -> bool {
        self.shared.is_failing.load(Ordering::Relaxed)
    }

    /// Whether the segment is long enough.
    pub fn wants_segment(&self) -> bool {
        self.shared.wants_segment.load(Ordering::Relaxed)
    }

    /// One begins with the next block: the disk gets another chance.
    pub fn begins_segment(&self) {
        self.shared.is_failing.store(false, Ordering::Relaxed);
        self.shared.wants_segment.store(false, Ordering::Relaxed);
    }

    /// Frames that could not be written and that nobody was told of.
    pub fn take_lost(&self) -> u64 {
        self.shared.untold.swap(0, Ordering::Relaxed)
    }

    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    pub fn status(&self) -> Status {
        let failing = self.shared.failing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (bytes, frames) =
            (self.shared.bytes.load(Ordering::Relaxed), self.shared.frames.load(Ordering::Relaxed));
        Status { bytes, frames, lost: self.lost(), failing }
    }
}

impl Drop for Writer {
    /// Waits until all that was handed over is written.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been told by the thread itself.
            let _ = thread.join();
        }
    }
}

/// The segments of a folder, oldest first, with their lengths.
pub(super) fn segments(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(SUFFIX) {
            all.push((entry.path(), entry.metadata()?.len()));
        }
    }
    all.sort();
    Ok(all)
}

/// Cuts what is torn from a segment's end, and tells how long it is then; one without a whole block goes.
fn mend(path: &Path) -> io::Result<u64> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut good = 0;
    let mut magic = vec![0; MAGIC.len()];
    if read_whole(&mut file, &mut magic)? && magic == MAGIC {
        good = MAGIC.len() as u64;
        while let Some((_, packed)) = next_block(&mut file)? {
            good += (HEAD + packed.len()) as u64;
        }
    }
    if good <= MAGIC.len() as u64 {
        fs::remove_file(path)?;
        return Ok(0);
    }
    file.set_len(good)?;
    Ok(good)
}

/// The next block of a segment, if it is whole.
pub(super) fn next_block(file: &mut impl io::Read) -> io::Result<Option<(Head, Vec<u8>)>> {
    let mut bytes = [0; HEAD];
    if !read_whole(file, &mut bytes)? {
        return Ok(None);
    }
    let Some(head) = Head::read(&bytes) else { return Ok(None) };
    let mut packed = Vec::new();
    file.take(head.packed as u64).read_to_end(&mut packed)?;
    Ok(head.fits(&bytes, &packed).then_some((head, packed)))
}

fn read_whole(file: &mut impl io::Read, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The folder, as the thread has it.
struct Store {
    folder: PathBuf,
    limits: Limits,
    run: u64,
    number: u32,
    /// All segments, oldest first; the last is the open one, if one is.
    segments: Vec<(PathBuf, u64)>,
    open: Option<Open>,
    shared: Arc<Shared>,
}

struct Open {
    file: File,
    began: Timestamp,
}

impl Store {
    fn run(mut self, jobs: &Receiver<Box<Job>>) {
        while let Ok(job) = jobs.recv() {
            if !job.begins && self.open.is_none() {
                // The segment that it belongs to has broken off.
                self.lose(&job.block);
                continue;
            }
            match self.write(&job) {
                Ok(()) => {
                    self.shared.frames.fetch_add(job.block.frames(), Ordering::Relaxed);
                    self.shared.is_failing.store(false, Ordering::Relaxed);
                    self.say("");
                }
                Err(error) => self.break_off(&job.block, &error),
            }
        }
    }

    fn write(&mut self, job: &Job) -> io::Result<()> {
        let packed = job.block.pack()?;
        let (first, last) = job.block.span().unwrap_or_default();
        if job.begins {
            self.begin(first)?;
        }
        self.tidy(Some(last));
        let (Some(open), Some((_, len))) = (&mut self.open, self.segments.last_mut()) else {
            return Err(io::Error::other("no segment is open"));
        };
        // One call, so that a kill tears one block at most.
        open.file.write_all(&packed)?;
        *len += packed.len() as u64;
        let is_long = *len >= self.limits.segment() || last >= open.began + LONGEST;
        if is_long {
            self.shared.wants_segment.store(true, Ordering::Relaxed);
        }
        self.sum();
        Ok(())
    }

    fn begin(&mut self, at: Timestamp) -> io::Result<()> {
        self.open = None;
        let name = format!("{:020}-{:08}{SUFFIX}", self.run, self.number);
        self.number += 1;
        let path = self.folder.join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        self.segments.push((path, MAGIC.len() as u64));
        self.open = Some(Open { file: file.try_clone()?, began: at });
        file.write_all(MAGIC)
    }

    /// A segment that cannot go on is cut to its last whole block and left.
    fn break_off(&mut self, block: &Block, error: &io::Error) {
        self.say(&error.to_string());
        self.shared.is_failing.store(true, Ordering::Relaxed);
        self.lose(block);
        if let (Some(open), Some((path, len))) = (self.open.take(), self.segments.last()) {
            // What cannot be cut is torn, and whoever reads it stops there.
            let _ = open.file.set_len(*len);
            if *len <= MAGIC.len() as u64 {
                let _ = fs::remove_file(path);
                self.segments.pop();
            }
        }
        self.sum();
    }

    fn lose(&self, block: &Block) {
        let lost = block.frames().max(1);
        self.shared.lost.fetch_add(lost, Ordering::Relaxed);
        self.shared.untold.fetch_add(lost, Ordering::Relaxed);
    }

    fn say(&self, failing: &str) {
        let mut said = self.shared.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if *said != failing {
            *said = failing.to_owned();
        }
    }

    /// Removes the oldest segments while there are too many bytes, and those that ended before what is to be kept; never the open one.
    fn tidy(&mut self, now: Option<Timestamp>) {
        let is_open = usize::from(self.open.is_some());
        while self.segments.len() > is_open {
            let (path, _) = &self.segments[0];
            let total: u64 = self.segments.iter().map(|(_, len)| len).sum();
            let is_old = now.is_some_and(|now| {
                // The one after it begins where it ends.
                let next = self.segments.get(1).and_then(|(path, _)| begin_of(path));
                next.is_some_and(|next| next + self.limits.keep < now)
            });
            if total <= self.limits.max_bytes && !is_old {
                break;
            }
            // One that is gone already is none to be kept.
            match fs::remove_file(path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => break,
            }
            self.segments.remove(0);
        }
        self.sum();
    }

    fn sum(&self) {
        self.shared.bytes.store(self.segments.iter().map(|(_, len)| len).sum(), Ordering::Relaxed);
    }
}

/// When a segment begins.
pub(super) fn begin_of(path: &Path) -> Option<Timestamp> {
    let mut file = File::open(path).ok()?;
    let mut bytes = vec![0; MAGIC.len() + HEAD];
    file.read_exact(&mut bytes).ok()?;
    let head = bytes.strip_prefix(MAGIC)?.try_into().ok()?;
    Some(Head::read(&head)?.first)
}
