//! Reading a history: segments in their order, block by block.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use reeve_core::Frame;
use reeve_core::engine::Input;
use reeve_policy::{TenantId, Timestamp};
use serde::Deserialize;

use super::block::{Entry, unpack};
use super::writer::{begin_of, next_block, segments};
use super::{HistoryError, MAGIC, SUFFIX, Start};

/// What stands in a history.
#[derive(Debug)]
pub enum Event<'a> {
    /// A segment begins. If `continues`, it goes on where the one before ended, and there is nothing to be done.
    Start {
        /// With what.
        start: Box<Start>,
        /// Whether nothing is missing between it and the one before.
        continues: bool,
    },
    /// Where the engine keeps its tenants from here on.
    Places(Vec<TenantId>),
    /// A frame.
    Frame(Frame<'a>),
    /// Anything else that goes into an engine.
    Input(Input),
}

/// One file of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    path: PathBuf,
    /// The run of the agent and the number within it.
    place: (u64, u32),
    /// When it begins.
    pub first: Timestamp,
    /// Its length in bytes.
    pub bytes: u64,
}

/// A history that is read.
#[derive(Debug)]
pub struct History {
    segments: Vec<Segment>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Json {
    Start(Box<Start>),
    Input(Input),
    Places(Vec<TenantId>),
}

impl History {
    /// The history of a folder, from the segment on in which `since` lies.
    ///
    /// # Errors
    /// When there is none, or the folder cannot be read.
    pub fn open(folder: &Path, since: Option<Timestamp>) -> Result<Self, HistoryError> {
        let nothing = || HistoryError::Nothing { path: folder.to_owned(), since };
        let files = match segments(folder) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(nothing()),
            Err(source) => return Err(HistoryError::Io { path: folder.to_owned(), source }),
        };
        let mut segments: Vec<Segment> =
            files.into_iter().filter_map(|(path, bytes)| segment(path, bytes)).collect();
        if let Some(since) = since {
            // The last one that began before it, and all after that.
            let from = segments.iter().rposition(|segment| segment.first <= since).unwrap_or(0);
            segments.drain(..from);
        }
        if segments.is_empty() {
            return Err(nothing());
        }
        Ok(Self { segments })
    }

    /// Its segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Hands over all that stands in it, in order. What is torn is passed over: the segment after it does not continue.
    ///
    /// # Errors
    /// When a segment cannot be read, or holds what it cannot. One that was removed meanwhile is passed over.
    pub fn play(&self, sink: &mut dyn FnMut(Event<'_>)) -> Result<(), HistoryError> {
        let mut before: Option<(u64, u32)> = None;
        for segment in &self.segments {
            let follows = before == segment.place.1.checked_sub(1).map(|number| (segment.place.0, number));
            let failed = |source| HistoryError::Io { path: segment.path.clone(), source };
            let file = match File::open(&segment.path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(failed(source)),
            };
            let mut file = BufReader::with_capacity(1 << 16, file);
            let mut magic = vec![0; MAGIC.len()];
            file.read_exact(&mut magic).map_err(failed)?;
            let mut wrong = None;
            while let Some((head, packed)) = next_block(&mut file).map_err(failed)? {
                let is_good = unpack(&head, &packed, &mut |entry| match event(entry, follows) {
                    Ok(event) => {
                        sink(event);
                        true
                    }
                    Err(error) => {
                        wrong = Some(error.to_string());
                        false
                    }
                });
                if !is_good {
                    let reason = wrong.unwrap_or_else(|| "a block that holds what it cannot".to_owned());
                    return Err(HistoryError::Unreadable { path: segment.path.clone(), reason });
                }
            }
            before = Some(segment.place);
        }
        Ok(())
    }
}

fn event(entry: Entry<'_>, follows: bool) -> serde_json::Result<Event<'_>> {
    Ok(match entry {
        Entry::Frame(frame) => Event::Frame(frame),
        Entry::Tick(at) => Event::Input(Input::Tick { at }),
        Entry::Json(_, json) => match serde_json::from_slice(json)? {
            Json::Start(start) => {
                let continues = follows && !start.is_first && start.lost == 0;
                Event::Start { start, continues }
            }
            Json::Input(input) => Event::Input(input),
            Json::Places(places) => Event::Places(places),
        },
    })
}

/// A file as a segment; `None` if it is none, or has no whole block yet.
fn segment(path: PathBuf, bytes: u64) -> Option<Segment> {
    let name = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
    let (run, number) = name.split_once('-')?;
    let place = (run.parse().ok()?, number.parse().ok()?);
    let first = begin_of(&path)?;
    Some(Segment { path, place, first, bytes })
}
