//! Blocklists from files: read when the agent begins, and again whenever a file changes.
//!
//! A thread of its own looks at the files and reads them, so that neither the sensor nor anything else waits for a feed of millions of
//! lines; the sensor is handed the lists whole. A file is told to have changed by its inode, size and time, so that one that is
//! replaced (write, rename) is seen at once and one that is written in place is read once it has been left alone for a moment.
//! What cannot be read leaves the list as it was: a feed that breaks takes no protection away.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use reeve_core::blocklist::{Blocklist, Blocklists, ListKind, Reading};
use reeve_policy::Name;

use crate::metrics::Metrics;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// No list is longer: ten million lines.
const MAX_BYTES: u64 = 256 << 20;

/// A list that the settings name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlocklistSettings {
    /// What alerts call it.
    pub name: Name,
    /// The file.
    pub file: PathBuf,
    /// What is on it.
    pub kind: ListKind,
    /// Where the settings name the file: file, line, column and key.
    pub place: String,
}

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BlocklistError {
    /// The file cannot be read.
    #[error("{place}: found {path:?}: {source}; allowed: the path of a file that the agent can read")]
    Read {
        /// Where the settings name it.
        place: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is too long.
    #[error("{path}: longer than 256 MiB", path = path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It has lines, and none of them is an entry that is obeyed.
    #[error("{path}:{line}: found {found:?}: {why}; nothing in the file can be used", path = path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// The first line that is wrong.
        line: usize,
        /// What stands there.
        found: String,
        /// Why it is of no use.
        why: reeve_core::blocklist::Refusal,
    },
    /// So little of it can be read that it is hardly what was meant.
    #[error("{path}: {unreadable} of {lines} lines cannot be read; the first is line {line}: found {found:?}: {why}", path = path.display())]
    Rubbish {
        /// The file.
        path: PathBuf,
        /// How many lines cannot be read.
        unreadable: usize,
        /// Of how many.
        lines: usize,
        /// The first line that is wrong.
        line: usize,
        /// What stands there.
        found: String,
        /// Why it is of no use.
        why: reeve_core::blocklist::Refusal,
    },
}

/// Reads a list. `spared` are prefixes that are never listed.
///
/// # Errors
/// When the file cannot be read, or nothing in it can be used. One without any entry is an empty list.
pub fn read(settings: &BlocklistSettings, spared: &[IpNet]) -> Result<Reading, BlocklistError> {
    let path = || settings.file.clone();
    let failed = |source| BlocklistError::Read { place: settings.place.clone(), path: path(), source };
    let mut file = std::fs::File::open(&settings.file).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() > MAX_BYTES {
        return Err(BlocklistError::TooLong { path: path() });
    }
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(&mut file, MAX_BYTES), &mut text).map_err(failed)?;
    let reading = Blocklist::read(settings.name.clone(), settings.kind, &text, spared);
    match reading.told.first() {
        Some(first) if reading.entries == 0 => Err(BlocklistError::Nothing {
            path: path(),
            line: first.line,
            found: first.text.clone(),
            why: first.why,
        }),
        _ => Ok(reading),
    }
}

/// A list as [`read`] has it, if it is as a list should be.
///
/// # Errors
/// As [`read`], and when more than a tenth of the lines cannot be read: the agent goes by the others, but somebody should look.
pub fn examine(settings: &BlocklistSettings, spared: &[IpNet]) -> Result<Reading, BlocklistError> {
    let reading = read(settings, spared)?;
    rubbish(&settings.file, &reading).map_or(Ok(reading), Err)
}

/// What is to be said of a file of which a good deal cannot be read.
fn rubbish(file: &Path, reading: &Reading) -> Option<BlocklistError> {
    let first = reading.told.first().filter(|_| reading.is_rubbish())?;
    Some(BlocklistError::Rubbish {
        path: file.to_owned(),
        unreadable: reading.unreadable,
        lines: reading.lines(),
        line: first.line,
        found: first.text.clone(),
        why: first.why,
    })
}

/// What is to be said of a list that was read, a line each: how much it holds, then what is not obeyed.
#[must_use]
pub fn tell(file: &Path, reading: &Reading) -> Vec<String> {
    let list = &reading.list;
    let mut lines = vec![format!(
        "{}: {} entries in {} ranges ({} KiB)",
        list.name(),
        reading.entries,
        list.len(),
        list.bytes().div_ceil(1_024)
    )];
    let bad = |bad: &reeve_core::blocklist::BadLine| {
        format!("{}:{}: found {:?}: {}", file.display(), bad.line, bad.text, bad.why)
    };
    lines.extend(reading.told.iter().map(bad));
    let untold = (reading.unreadable + reading.refused).saturating_sub(reading.told.len());
    if untold > 0 {
        lines.push(format!("{}: {untold} more lines like that", file.display()));
    }
    lines
}

/// What the thread is told.
#[derive(Debug)]
pub struct Wanted {
    /// The lists.
    pub lists: Vec<BlocklistSettings>,
    /// Prefixes that are never listed.
    pub spared: Vec<IpNet>,
}

/// How a list fares, for whoever watches the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The list.
    pub name: Name,
    /// How many entries are in force.
    pub entries: usize,
    /// When the file was last read with success; nothing if it never was.
    pub read: Option<SystemTime>,
    /// How many readings have failed, or gave mostly rubbish, since the agent began.
    pub errors: u64,
    /// Whether the last one did.
    pub is_failing: bool,
}

/// What a file looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
}

/// The lists that are in force, and the files that they are from.
#[derive(Debug)]
pub struct Follower {
    wanted: Wanted,
    held: BTreeMap<Name, (Look, Blocklist)>,
    health: BTreeMap<Name, Health>,
    /// What a file looked like when it could not be used, so that this is told once.
    failed: BTreeMap<Name, Option<Look>>,
    /// What it looked like before it was left alone.
    restless: BTreeMap<Name, Look>,
}

impl Follower {
    /// Nothing is held yet.
    #[must_use]
    pub fn new(wanted: Wanted) -> Self {
        let (held, failed, restless) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { wanted, held, health: BTreeMap::new(), failed, restless }
    }

    /// How each of the lists fares, in the order of their names.
    pub fn health(&self) -> impl Iterator<Item = &Health> {
        self.health.values()
    }

    /// Goes on with other settings.
    pub fn want(&mut self, wanted: Wanted) {
        if self.wanted.spared != wanted.spared || self.wanted.lists != wanted.lists {
            // What is spared now may stand on a list that was read before.
            self.held.clear();
            self.failed.clear();
            self.health.values_mut().for_each(|health| health.entries = 0);
        }
        self.wanted = wanted;
    }

    /// Looks at the files; the lists, if they are others now. At first, all there are.
    pub fn look(&mut self, first: bool) -> Option<Arc<Blocklists>> {
        let mut changed = first;
        for settings in self.wanted.lists.clone() {
            changed |= self.follow(&settings, first);
        }
        let is_wanted = |name: &Name| self.wanted.lists.iter().any(|list| list.name == *name);
        let gone: Vec<Name> = self.held.keys().filter(|name| !is_wanted(name)).cloned().collect();
        for name in gone {
            self.held.remove(&name);
            changed = true;
        }
        self.health.retain(|name, _| is_wanted(name));
        let lists = self.wanted.lists.iter().filter_map(|list| Some(self.held.get(&list.name)?.1.clone()));
        changed.then(|| Arc::new(Blocklists::new(lists.collect())))
    }

    fn follow(&mut self, settings: &BlocklistSettings, first: bool) -> bool {
        let now = look_at(&settings.file);
        let name = &settings.name;
        if now.is_some() && now == self.held.get(name).map(|(look, _)| *look) {
            return false;
        }
        if self.failed.get(name) == Some(&now) {
            return false;
        }
        // It may still be being written: it is read when it looks as it did the last time.
        if let Some(now) = now
            && !first
            && self.restless.insert(name.clone(), now) != Some(now)
        {
            return false;
        }
        self.restless.remove(name);
        let fresh = || Health { name: name.clone(), entries: 0, read: None, errors: 0, is_failing: false };
        let health = self.health.entry(name.clone()).or_insert_with(fresh);
        match read(settings, &self.wanted.spared) {
            Ok(reading) => {
                let mut lines = tell(&settings.file, &reading).into_iter();
                lines.by_ref().take(1).for_each(|line| tracing::info!("blocklist {line}"));
                lines.for_each(|line| tracing::warn!("blocklist {line}"));
                let rubbish = rubbish(&settings.file, &reading);
                if let Some(error) = &rubbish {
                    tracing::error!(list = %name, %error, "much of a blocklist cannot be read; the rest of it is in force");
                }
                health.entries = reading.entries;
                health.read = Some(SystemTime::now());
                health.is_failing = rubbish.is_some();
                health.errors += u64::from(health.is_failing);
                self.failed.remove(name);
                // Where it changed since, that is seen the next time.
                if let Some(now) = now {
                    self.held.insert(name.clone(), (now, reading.list));
                }
                true
            }
            Err(error) => {
                let kept =
                    if self.held.contains_key(name) { "the list is as before" } else { "there is no list" };
                tracing::error!(list = %name, %error, "a blocklist cannot be read; {kept}");
                health.is_failing = true;
                health.errors += 1;
                self.failed.insert(name.clone(), now);
                false
            }
        }
    }
}

/// Follows the files until nobody listens any more.
pub fn run(
    wanted: &mpsc::Receiver<Wanted>,
    first: Wanted,
    metrics: &Metrics,
    mut tell: impl FnMut(Arc<Blocklists>) -> bool,
) {
    let mut follower = Follower::new(first);
    let (mut is_first, mut told) = (true, BTreeSet::new());
    loop {
        let lists = follower.look(is_first);
        let names: BTreeSet<Name> = follower.health().map(|health| health.name.clone()).collect();
        told.difference(&names).for_each(|name| metrics.forget_blocklist(name));
        told = names;
        metrics.see_blocklists(follower.health(), SystemTime::now());
        if let Some(lists) = lists
            && !tell(lists)
        {
            return;
        }
        is_first = match wanted.recv_timeout(LOOK_EVERY) {
            Ok(wanted) => {
                follower.want(wanted);
                true
            }
            Err(mpsc::RecvTimeoutError::Timeout) => false,
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        };
    }
}

fn look_at(file: &Path) -> Option<Look> {
    let metadata = std::fs::metadata(file).ok()?;
    Some(Look {
        inode: (metadata.dev(), metadata.ino()),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn write(&self, text: &str) {
            // As feeds are put in place.
            let (new, file) = (self.0.path().join("new"), self.0.path().join("list"));
            std::fs::write(&new, text).unwrap();
            std::fs::rename(new, file).unwrap();
        }

        fn follower(&self) -> Follower {
            let file = self.0.path().join("list");
            let list = BlocklistSettings {
                name: "l".parse().unwrap(),
                file,
                kind: ListKind::Hosts,
                place: "agent.toml:7:8: `blocklist[1].file`".to_owned(),
            };
            Follower::new(Wanted { lists: vec![list], spared: vec!["20.9.9.9/32".parse().unwrap()] })
        }
    }

    /// Looks as often as it takes a file to be left alone; how many ranges there are, if they are others now.
    fn look(follower: &mut Follower) -> Option<usize> {
        let told: Vec<_> = (0..3).filter_map(|_| follower.look(false)).collect();
        assert!(told.len() <= 1);
        told.first().map(|lists| lists.iter().map(Blocklist::len).sum())
    }

    #[test]
    fn a_changed_file_is_read_and_a_broken_one_leaves_things_as_they_were() {
        let folder = Folder(tempfile::tempdir().unwrap());
        let mut follower = folder.follower();
        assert!(follower.look(true).is_some_and(|lists| lists.is_empty()));
        folder.write("20.0.0.1\n20.9.9.0/24\n");
        assert_eq!(look(&mut follower), Some(1));
        assert_eq!(look(&mut follower), None);
        let fares = |follower: &Follower| {
            let health = follower.health().next().unwrap();
            (health.entries, health.errors, health.is_failing, health.read.is_some())
        };
        assert_eq!(fares(&follower), (1, 1, false, true));
        folder.write("<html>404</html>\n");
        assert_eq!(look(&mut follower), None);
        assert_eq!(fares(&follower), (1, 2, true, true));
        folder.write("20.0.0.1\n20.0.0.9\n");
        assert_eq!(look(&mut follower), Some(2));
        std::fs::remove_file(folder.0.path().join("list")).unwrap();
        assert_eq!(look(&mut follower), None);
        folder.write("20.0.0.1\nrubbish\n");
        assert_eq!(look(&mut follower), Some(1));
        assert_eq!(fares(&follower), (1, 4, true, true));
        follower.want(Wanted { lists: Vec::new(), spared: Vec::new() });
        assert!(follower.look(true).is_some_and(|lists| lists.is_empty()));
        assert_eq!(follower.health().count(), 0);
    }

    #[test]
    fn errors_name_file_and_line() {
        let folder = Folder(tempfile::tempdir().unwrap());
        let settings = folder.follower().wanted.lists[0].clone();
        folder.write("# a feed\n0.0.0.0/0\n");
        let error = read(&settings, &[]).unwrap_err().to_string();
        assert!(error.contains("list:2: found \"0.0.0.0/0\": larger than a /8"), "{error}");
        folder.write("20.0.0.1\nevil\n");
        let told = tell(&settings.file, &read(&settings, &[]).unwrap());
        assert_eq!(told[0], "l: 1 entries in 1 ranges (1 KiB)");
        assert!(
            told[1].contains("list:2: found \"evil\": no address, prefix or range; allowed: "),
            "{told:?}"
        );
        let error = examine(&settings, &[]).unwrap_err().to_string();
        assert!(
            error.contains("list: 1 of 2 lines cannot be read; the first is line 2: found \"evil\""),
            "{error}"
        );
        std::fs::remove_file(&settings.file).unwrap();
        let error = read(&settings, &[]).unwrap_err().to_string();
        assert!(error.starts_with("agent.toml:7:8: `blocklist[1].file`: found \""), "{error}");
        folder.write("# nothing today\n");
        assert!(read(&settings, &[]).unwrap().list.is_empty());
    }
}
