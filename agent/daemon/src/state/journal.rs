//! The journal: what was decided and is not yet on the controller's disk, and what the next run is to go on from.
//!
//! One file that only grows, a line an entry: a checksum and JSON. Reports and the state that they led to are one line, one
//! write and one sync, so that a run that is killed at any moment leaves both or neither. What is cut short at the end was never
//! told to anybody and is dropped. When most of it is of no use any more it is written anew beside, synced and renamed over.
//!
//! Bounded by whoever writes: a report leaves when [`Journal::finish`] says so. Left out: sequence numbers of the stream; a
//! report that is sent again in another run is the same by its content, and changes nothing.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use reeve_policy::judge::Standing;
use reeve_policy::{DesiredState, Report};
use serde::{Deserialize, Serialize};

/// The layout; a file of another is set aside.
const FORMAT: u32 = 1;
/// Below this size nothing is written anew.
const SMALL: u64 = 1 << 20;

/// What the next run goes on from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Measures in force.
    pub desired: DesiredState,
    /// Strikes and open episodes.
    pub standing: Standing,
}

/// What a journal held.
#[derive(Debug, Default)]
pub struct Recovered {
    /// What the last run left.
    pub memory: Memory,
    /// Reports that the controller has not acknowledged, oldest first.
    pub reports: Vec<(u64, Report)>,
    /// What could not be read, and what was done about it.
    pub trouble: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line<'a> {
    Format(u32),
    Entry {
        reports: Cow<'a, [(u64, Report)]>,
        /// Reports of earlier entries that need not be kept.
        done: Cow<'a, [u64]>,
        memory: Cow<'a, Memory>,
    },
}

/// A journal, open for writing.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes that are whole.
    len: u64,
    /// Bytes there were when it was last written anew.
    base: u64,
    next: u64,
    live: BTreeSet<u64>,
    done: Vec<u64>,
}

impl Journal {
    /// Opens the journal at `path`, or begins one.
    ///
    /// # Errors
    /// When the system refuses. What is damaged is no error: it is told in [`Recovered::trouble`].
    pub fn open(path: &Path) -> io::Result<(Self, Recovered)> {
        let (lines, trouble) = match read(path)? {
            Read::Nothing => (None, None),
            Read::Lines { lines, whole, len } => {
                let cut = (whole < len).then(|| format!("its last {} bytes were cut short", len - whole));
                (Some((lines, whole)), cut)
            }
            Read::Unreadable(reason) => {
                let aside = path.with_extension("unreadable");
                fs::rename(path, &aside)?;
                (None, Some(format!("{reason}; it is set aside as {}", aside.display())))
            }
        };
        let Some((lines, whole)) = lines else {
            let (file, len) = begin(path, &[])?;
            let recovered = Recovered { trouble, ..Recovered::default() };
            let journal = Self {
                path: path.to_owned(),
                file,
                len,
                base: len,
                next: 1,
                live: BTreeSet::new(),
                done: Vec::new(),
            };
            return Ok((journal, recovered));
        };
        let (memory, reports) = replay(lines);
        let file = OpenOptions::new().append(true).open(path)?;
        file.set_len(whole)?;
        let journal = Self {
            path: path.to_owned(),
            file,
            len: whole,
            base: whole,
            next: reports.last().map_or(1, |(id, _)| id + 1),
            live: reports.iter().map(|(id, _)| *id).collect(),
            done: Vec::new(),
        };
        Ok((journal, Recovered { memory, reports, trouble }))
    }

    /// A key for the next report.
    pub fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Writes reports and what is to be remembered, and waits until they are on the disk.
    ///
    /// # Errors
    /// When there is no room, or the disk fails; nothing of it is in the journal then.
    pub fn append(&mut self, reports: &[(u64, Report)], memory: &Memory) -> io::Result<()> {
        let mut bytes = Vec::new();
        let (reports_of, done) = (Cow::Borrowed(reports), Cow::Borrowed(&self.done[..]));
        line(&mut bytes, &Line::Entry { reports: reports_of, done, memory: Cow::Borrowed(memory) })?;
        if self.write(&bytes).is_err() {
            // There may be room once what is of no use has gone.
            self.rewrite()?;
            self.write(&bytes)?;
        }
        self.live.extend(reports.iter().map(|(id, _)| *id));
        self.done.clear();
        if self.len > SMALL.max(4 * self.base) {
            // The old file is as good as before if there is no room for a new one.
            let _ = self.rewrite();
        }
        Ok(())
    }

    /// These reports are on the controller's disk, or were given up. It is written with what comes next.
    pub fn finish(&mut self, ids: &[u64]) {
        for id in ids {
            if self.live.remove(id) {
                self.done.push(*id);
            }
        }
    }

    /// How many reports wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // A half of it would hide what comes after.
            self.file.set_len(self.len)?;
            return Err(error);
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Writes what is still of use to a new file, and puts that in the place of the old one.
    fn rewrite(&mut self) -> io::Result<()> {
        let Read::Lines { lines, .. } = read(&self.path)? else {
            return Err(io::Error::other("the journal is gone or damaged"));
        };
        let (memory, mut reports) = replay(lines);
        reports.retain(|(id, _)| self.live.contains(id));
        let mut bytes = Vec::new();
        let (reports, done) = (Cow::Owned(reports), Cow::Borrowed(&[][..]));
        line(&mut bytes, &Line::Entry { reports, done, memory: Cow::Owned(memory) })?;
        (self.file, self.len) = begin(&self.path, &bytes)?;
        self.base = self.len;
        self.done.clear();
        Ok(())
    }
}

/// What was left in the journal at `path`, without a claim to it; `None` where there is none that can be read.
///
/// # Errors
/// When it is there and the system does not let us read it.
pub fn peek(path: &Path) -> io::Result<Option<Memory>> {
    Ok(match read(path)? {
        Read::Lines { lines, .. } => Some(replay(lines).0),
        Read::Nothing | Read::Unreadable(_) => None,
    })
}

enum Read {
    Nothing,
    /// Whole lines, how many bytes they have, and how many the file has.
    Lines {
        lines: Vec<Line<'static>>,
        whole: u64,
        len: u64,
    },
    Unreadable(String),
}

fn read(path: &Path) -> io::Result<Read> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Read::Nothing),
        Err(error) => return Err(error),
    };
    let (mut lines, mut whole) = (Vec::new(), 0);
    for text in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(parsed) = parse(text) else { break };
        whole += text.len() as u64;
        lines.push(parsed);
    }
    match lines.first() {
        Some(Line::Format(FORMAT)) => {}
        Some(Line::Format(other)) => {
            return Ok(Read::Unreadable(format!("it has layout {other}, this agent reads {FORMAT}")));
        }
        // Killed before the first line was whole.
        None if bytes.is_empty() => return Ok(Read::Nothing),
        _ => return Ok(Read::Unreadable("it does not begin as a journal does".to_owned())),
    }
    Ok(Read::Lines { lines, whole, len: bytes.len() as u64 })
}

fn parse(text: &[u8]) -> Option<Line<'static>> {
    let text = text.strip_suffix(b"\n")?;
    let (sum, json) = text.split_at_checked(9)?;
    let sum = u32::from_str_radix(std::str::from_utf8(sum.strip_suffix(b" ")?).ok()?, 16).ok()?;
    if crc32fast::hash(json) != sum {
        return None;
    }
    serde_json::from_slice(json).ok()
}

fn line(out: &mut Vec<u8>, line: &Line<'_>) -> io::Result<()> {
    let json = serde_json::to_vec(line)?;
    write!(out, "{:08x} ", crc32fast::hash(&json))?;
    out.extend(json);
    out.push(b'\n');
    Ok(())
}

fn replay(lines: Vec<Line<'static>>) -> (Memory, Vec<(u64, Report)>) {
    let (mut memory, mut reports) = (Memory::default(), std::collections::BTreeMap::new());
    for line in lines {
        match line {
            Line::Format(_) => {}
            Line::Entry { reports: new, done, memory: newer } => {
                reports.extend(new.into_owned());
                done.iter().for_each(|id| drop(reports.remove(id)));
                memory = newer.into_owned();
            }
        }
    }
    (memory, reports.into_iter().collect())
}

/// Puts a journal that holds `lines` at `path`, whole or not at all.
fn begin(path: &Path, lines: &[u8]) -> io::Result<(File, u64)> {
    let new = path.with_extension("new");
    let mut bytes = Vec::new();
    line(&mut bytes, &Line::Format(FORMAT))?;
    bytes.extend(lines);
    let made = (|| {
        // A person on the node writes it as root, in a folder that is not root's: through no link to somewhere else.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    })();
    if let Err(error) = made {
        // What is half written takes the room that is missing.
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    Ok((OpenOptions::new().append(true).open(path)?, bytes.len() as u64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reeve_policy::{DecisionId, LiftReason, MeasureCounters, Timestamp};

    use super::*;

    fn report(number: u64) -> Report {
        Report::Lifted {
            decision: DecisionId(format!("d{number}").parse().unwrap()),
            tenant: "a".parse().unwrap(),
            reason: LiftReason::Expired,
            at: Timestamp::from_secs(number),
            counters: MeasureCounters::default(),
        }
    }

    fn memory(version: u64) -> Memory {
        let desired = DesiredState { version, ..DesiredState::default() };
        Memory { desired, standing: Standing::default() }
    }

    fn ids(reports: &[(u64, Report)]) -> Vec<u64> {
        reports.iter().map(|(id, _)| *id).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Killed after any byte: every append before it is there whole, and what comes after goes on from it.
        #[test]
        fn any_cut_leaves_whole_appends(
            steps in prop::collection::vec((0_usize..4, any::<bool>()), 1..12), cut in 0.0_f64..1.0
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal");
            let (mut journal, _) = Journal::open(&path).unwrap();
            // After each append: its end, the version, the reports that wait.
            let mut stages = vec![(journal.len, 0, Vec::new())];
            let mut waiting = BTreeSet::new();
            for (version, (count, acknowledges)) in (1..).zip(steps) {
                let new: Vec<_> = (0..count).map(|_| journal.next_id()).map(|id| (id, report(id))).collect();
                if acknowledges && let Some(first) = waiting.pop_first() {
                    journal.finish(&[first]);
                }
                journal.append(&new, &memory(version)).unwrap();
                waiting.extend(ids(&new));
                stages.push((journal.len, version, waiting.iter().copied().collect()));
            }
            let end = (journal.len as f64 * cut) as u64;
            drop(journal);
            OpenOptions::new().write(true).open(&path).unwrap().set_len(end).unwrap();
            let (mut journal, recovered) = Journal::open(&path).unwrap();
            let whole = stages.iter().rev().find(|(len, ..)| *len <= end);
            let Some((_, version, expected)) = whole else {
                prop_assert!(recovered.reports.is_empty());
                return Ok(());
            };
            prop_assert_eq!(recovered.memory.desired.version, *version);
            prop_assert_eq!(&ids(&recovered.reports), expected);
            let id = journal.next_id();
            journal.append(&[(id, report(id))], &memory(99)).unwrap();
            let (_, again) = Journal::open(&path).unwrap();
            prop_assert_eq!(again.memory.desired.version, 99);
            prop_assert!(ids(&again.reports).contains(&id));
        }

        #[test]
        fn any_bytes_are_set_aside_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal");
            fs::write(&path, &bytes).unwrap();
            let (_, recovered) = Journal::open(&path).unwrap();
            prop_assert_eq!(recovered.trouble.is_some(), !bytes.is_empty());
            let aside = path.with_extension("unreadable");
            prop_assert!(bytes.is_empty() || fs::read(aside).unwrap() == bytes);
        }
    }

    #[test]
    fn it_is_written_anew_when_most_of_it_is_of_no_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
        let kept = journal.next_id();
        journal.append(&[(kept, report(kept))], &memory(1)).unwrap();
        for version in 2..60 {
            let new: Vec<_> = (0..200).map(|_| journal.next_id()).map(|id| (id, report(id))).collect();
            journal.append(&new, &memory(version)).unwrap();
            journal.finish(&ids(&new));
        }
        assert!(fs::metadata(&path).unwrap().len() < 2 * SMALL);
        assert_eq!(journal.len(), 1);
        journal.append(&[], &memory(60)).unwrap();
        drop(journal);
        let (_, recovered) = Journal::open(&path).unwrap();
        assert_eq!(recovered.memory, memory(60));
        assert_eq!(recovered.reports, [(kept, report(kept))]);
    }
}
