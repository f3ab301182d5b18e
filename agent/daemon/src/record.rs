//! Records: everything that went into an engine, in order, and what came out, so that a replay can be held against it.
//!
//! A file of entries, each a kind, a length and so many bytes: frames cut off behind their headers in binary, all else as
//! JSON. What was read in payload (that a mail was sent, that a call began) stands beside the frame that it was read in, with
//! hashes in place of addresses. It begins with a line that says what it is. It is bounded: at its limit it ends, and the agent goes on. One that is
//! cut short, as by a kill, is played as far as it goes.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reeve_core::blocklist::Blocklists;
use reeve_core::engine::{Engine, EngineConfig, Input, MailWord, Output};
use reeve_core::shard::Hearing;
use reeve_core::{Frame, LinkType, Owner, Passage, VantageId, packet};
use reeve_policy::Timestamp;
use reeve_replay::history::{self, Historian};
use reeve_replay::json_line;

const MAGIC: &str = "reeve-record 2\n";
const CONFIG: u8 = b'C';
const INPUT: u8 = b'I';
const FRAME: u8 = b'F';
/// A frame with its owner, whose number stands before the rest.
const OWNED: u8 = b'W';
const OUTPUT: u8 = b'O';
/// Bytes of a frame's entry before its data.
const FRAME_HEAD: usize = 8 + 2 + 1 + 2 + 4 + 4;
/// No entry is longer: ten thousand tenants take some megabytes.
const MAX_ENTRY: u32 = 256 << 20;

/// Why a record cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system refused.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// It is no record, or one of another version, or damaged.
    #[error("{path}: {reason}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The replay does not give what ran live.
    #[error("{path}: output {number} differs from what ran live:\n  live    {live}\n  replay  {replay}", path = path.display())]
    Differs {
        /// The file.
        path: PathBuf,
        /// Which, counted from 1.
        number: usize,
        /// What ran live; empty where there was nothing more.
        live: String,
        /// What the replay gave; empty where it gave nothing more.
        replay: String,
    },
}

/// An engine that writes down what goes in and what comes out, if it is asked to.
#[derive(Debug)]
pub struct Recorded {
    engine: Engine,
    recorder: Option<Recorder>,
    historian: Option<Historian>,
}

#[derive(Debug)]
struct Recorder {
    path: PathBuf,
    out: BufWriter<File>,
    left: u64,
}

impl Recorded {
    /// An engine without a record.
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        Self { engine: Engine::new(config), recorder: None, historian: None }
    }

    /// An engine whose record goes to `path`, of at most `limit` bytes. A file that is there already is replaced.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn recording(config: EngineConfig, path: &Path, limit: u64) -> Result<Self, RecordError> {
        let failed = |source| RecordError::Io { path: path.to_owned(), source };
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        let mut out = BufWriter::with_capacity(1 << 18, file.map_err(failed)?);
        out.write_all(MAGIC.as_bytes()).map_err(failed)?;
        let mut recorder = Recorder { path: path.to_owned(), out, left: limit };
        recorder.json(CONFIG, &config).map_err(failed)?;
        recorder.out.flush().map_err(failed)?;
        let mut engine = Engine::new(config);
        engine.set_hearing(Hearing::Keeps);
        Ok(Self { engine, recorder: Some(recorder), historian: None })
    }

    /// Keeps a history, too, from now on: before anything has gone into the engine.
    pub fn keep_history(&mut self, historian: Historian) {
        self.historian = Some(historian);
        self.engine.set_hearing(Hearing::Keeps);
    }

    /// How the history goes, if one is kept.
    #[must_use]
    pub fn history(&self) -> Option<history::Status> {
        self.historian.as_ref().map(Historian::status)
    }

    /// The engine, to look at.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Takes a frame.
    pub fn handle_frame(&mut self, frame: &Frame<'_>) {
        self.note(|recorder| recorder.frame(frame));
        if let Some(historian) = &mut self.historian {
            historian.frame(&self.engine, frame);
        }
        self.engine.handle_frame(frame);
        if self.recorder.is_some() || self.historian.is_some() {
            let said = self.engine.take_said();
            if !said.is_empty() {
                let input = Input::Said { said, at: frame.at };
                if let Some(historian) = &mut self.historian {
                    historian.input(&self.engine, &input);
                }
                self.note(|recorder| recorder.json(INPUT, &input));
            }
        }
    }

    /// What is to become of connections of the shared mail server's. It is in no record: it follows from what is.
    pub fn take_mail(&mut self) -> Vec<MailWord> {
        self.engine.take_mail()
    }

    /// Goes on with other blocklists. The record holds what is found on them, and not them.
    pub fn set_blocklists(&mut self, blocklists: &Arc<Blocklists>) {
        self.engine.set_blocklists(blocklists);
    }

    /// Takes anything else.
    pub fn handle(&mut self, input: Input) {
        self.note(|recorder| recorder.json(INPUT, &input));
        if let Some(historian) = &mut self.historian {
            historian.input(&self.engine, &input);
        }
        let is_topology = matches!(input, Input::Topology { .. });
        self.engine.handle(input);
        if let Some(historian) = self.historian.as_mut().filter(|_| is_topology) {
            historian.places(&self.engine);
        }
    }

    /// The next output.
    pub fn poll(&mut self) -> Option<Output> {
        let output = self.engine.poll()?;
        // What led to it is worth having even if the agent is killed next.
        self.note(|recorder| {
            recorder.entry(OUTPUT, json_line(&output)?.as_bytes())?;
            recorder.out.flush()
        });
        Some(output)
    }

    /// A record is a help, not a duty: when it cannot be written it ends, and the agent goes on.
    fn note(&mut self, write: impl FnOnce(&mut Recorder) -> io::Result<()>) {
        let Some(recorder) = &mut self.recorder else { return };
        if let Err(error) = write(recorder) {
            tracing::error!(file = %recorder.path.display(), %error, "the record ends here");
            self.recorder = None;
            if self.historian.is_none() {
                self.engine.set_hearing(Hearing::Reads);
            }
        }
    }
}

impl Recorder {
    fn json(&mut self, kind: u8, value: &impl serde::Serialize) -> io::Result<()> {
        self.entry(kind, &serde_json::to_vec(value)?)
    }

    fn frame(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let data = &frame.data[..packet::headers_len(frame.link, frame.data, frame.wire_len)];
        let mut bytes = Vec::with_capacity(FRAME_HEAD + data.len());
        bytes.extend(frame.at.as_nanos().to_le_bytes());
        bytes.extend(frame.vantage.0.to_le_bytes());
        bytes.push(match frame.passage {
            Passage::In => 0,
            Passage::Out => 1,
            Passage::Unknown => 2,
        });
        bytes.extend(u16::try_from(frame.link.number()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend(frame.vlan.map_or(-1_i32, i32::from).to_le_bytes());
        bytes.extend(frame.wire_len.max(u32::try_from(frame.data.len()).unwrap_or(u32::MAX)).to_le_bytes());
        bytes.extend(data);
        match frame.owner {
            None => self.entry(FRAME, &bytes),
            Some(Owner(number)) => {
                bytes.splice(0..0, number.to_le_bytes());
                self.entry(OWNED, &bytes)
            }
        }
    }

    fn entry(&mut self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let Some(left) = self.left.checked_sub(u64::from(len) + 5) else {
            return Err(io::Error::other("it has reached its limit"));
        };
        self.left = left;
        self.out.write_all(&[kind])?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(bytes)
    }
}

/// What a record came to.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Played {
    /// Frames that went in.
    pub frames: u64,
    /// Outputs that were the same as live, byte for byte.
    pub equal: usize,
    /// Outputs at the end that live had not handed on yet when the record ended.
    pub beyond: usize,
    /// Whether the record ends within an entry.
    pub is_cut: bool,
}

/// Plays a record through an engine of its own, with as many shards as live or as `shards` says, hands every output to `sink`, and holds it against what ran live.
///
/// # Errors
/// When it is no record, or the outputs differ.
pub fn play(path: &Path, shards: Option<u32>, mut sink: impl FnMut(Output)) -> Result<Played, RecordError> {
    let failed = |source| RecordError::Io { path: path.to_owned(), source };
    let unreadable =
        |reason: &str| RecordError::Unreadable { path: path.to_owned(), reason: reason.to_owned() };
    let mut reader = BufReader::with_capacity(1 << 18, File::open(path).map_err(failed)?);
    let mut magic = Vec::new();
    reader.by_ref().take(MAGIC.len() as u64).read_until(b'\n', &mut magic).map_err(failed)?;
    if magic != MAGIC.as_bytes() {
        return Err(unreadable("it is no record of `reeve-agent run --record`, or one of another version"));
    }
    let (mut engine, mut played) = (None, Played::default());
    let (mut live, mut ours) = (std::collections::VecDeque::new(), std::collections::VecDeque::new());
    loop {
        let (kind, bytes) = match entry(&mut reader) {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                played.is_cut = true;
                break;
            }
            Err(error) => return Err(failed(error)),
        };
        let wrong = |error: serde_json::Error| unreadable(&format!("a damaged entry: {error}"));
        match (kind, &mut engine) {
            (CONFIG, None) => {
                let mut config = serde_json::from_slice::<EngineConfig>(&bytes).map_err(wrong)?;
                config.shards = shards.unwrap_or(config.shards);
                let mut told = Engine::new(config);
                told.set_hearing(Hearing::Told);
                engine = Some(told);
            }
            (INPUT, Some(engine)) => engine.handle(serde_json::from_slice(&bytes).map_err(wrong)?),
            (FRAME, Some(engine)) => {
                let frame = frame(&bytes).ok_or_else(|| unreadable("a damaged frame"))?;
                played.frames += 1;
                engine.handle_frame(&frame);
            }
            (OWNED, Some(engine)) => {
                let frame = owned(&bytes).ok_or_else(|| unreadable("a damaged frame"))?;
                played.frames += 1;
                engine.handle_frame(&frame);
            }
            (OUTPUT, Some(_)) => live.push_back(String::from_utf8_lossy(&bytes).into_owned()),
            _ => return Err(unreadable("an entry of unknown kind, or out of order")),
        }
        while let Some(output) = engine.as_mut().and_then(Engine::poll) {
            ours.push_back(json_line(&output).map_err(wrong)?);
            sink(output);
        }
        while let (Some(live_line), Some(our_line)) = (live.front(), ours.front()) {
            if live_line != our_line {
                let (live, replay) = (live_line.clone(), our_line.clone());
                return Err(RecordError::Differs {
                    path: path.to_owned(),
                    number: played.equal + 1,
                    live,
                    replay,
                });
            }
            live.pop_front();
            ours.pop_front();
            played.equal += 1;
        }
    }
    if let Some(live) = live.pop_front() {
        let number = played.equal + 1;
        return Err(RecordError::Differs { path: path.to_owned(), number, live, replay: String::new() });
    }
    played.beyond = ours.len();
    Ok(played)
}

fn entry(reader: &mut impl Read) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut head = [0; 5];
    if reader.read(&mut head[..1])? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut head[1..])?;
    let len = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    if len > MAX_ENTRY {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "an entry that is too long to be one"));
    }
    let mut bytes = Vec::new();
    reader.take(len.into()).read_to_end(&mut bytes)?;
    if bytes.len() < len as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some((head[0], bytes)))
}

fn owned(bytes: &[u8]) -> Option<Frame<'_>> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some(Frame { owner: Some(Owner(u32::from_le_bytes(*number))), ..frame(rest)? })
}

fn frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let (head, data) = bytes.split_at_checked(FRAME_HEAD)?;
    Some(Frame {
        at: Timestamp::from_nanos(u64::from_le_bytes(*head.first_chunk()?)),
        vantage: VantageId(u16::from_le_bytes([head[8], head[9]])),
        passage: match head[10] {
            0 => Passage::In,
            1 => Passage::Out,
            2 => Passage::Unknown,
            _ => return None,
        },
        owner: None,
        link: LinkType::from_number(u16::from_le_bytes([head[11], head[12]]).into())?,
        vlan: u16::try_from(i32::from_le_bytes([head[13], head[14], head[15], head[16]])).ok(),
        data,
        wire_len: u32::from_le_bytes([head[17], head[18], head[19], head[20]]),
    })
}
