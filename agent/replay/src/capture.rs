//! Capture files, read: pcap and pcapng, packed with gzip or not.
//!
//! Purpose: replay. A file is read forward once, in any length, from a path or a pipe.
//!
//! Model: `input` is the bytes, `pcap` and `pcapng` say where in a buffer of bytes the next record is, and
//! [`FileSource`] drives the one with the other. Records are handed out as they stand, times out of order
//! included. A file that was cut short yields every whole record before it yields [`FileError::Truncated`], so
//! that the caller may decide whether that is enough.
//!
//! The formats are read by own code. Of the libraries, `pcap-parser` 0.17 comes nearest, but it reads time offsets of
//! big-endian sections as little-endian, leaves obsolete packet blocks and the lengths of simple ones to its
//! caller, and turns every read error into one without a cause.
//!
//! Which way a frame went is said where the file says it: by a "cooked" header's packet type, or by a pcapng packet's
//! flags. Everything else is [`Passage::Unknown`].
//!
//! Left out: writing, seeking, name resolution, decryption secrets, and every packet option but the direction.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use reeve_core::{Frame, LinkType, Passage, VantageId};

mod input;
mod pcap;
mod pcapng;

use input::Input;

/// The longest record or block that is read: far above any frame, and what a hostile file can make us allocate.
const RECORD_LEN_MAX: u32 = 16 * 1024 * 1024;

/// A capture file is no use, from some byte on.
#[derive(Debug, thiserror::Error)]
#[error("cannot read capture {}", path.display())]
pub struct CaptureFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub source: FileError,
}

/// What a call of [`FileSource::poll`] brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many frames, at least one.
    Frames(usize),
    /// Nothing, and nothing will come.
    Ended,
}

/// What is wrong with a capture file. Offsets are bytes from its beginning, after unpacking.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It begins as no capture does.
    #[error("it is no capture file: it begins neither as pcap nor as pcapng, packed with gzip or not")]
    NotACapture,
    /// It is of a version that nobody writes any more, or yet.
    #[error("its format version {major}.{minor} is not supported")]
    UnsupportedVersion {
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
    /// Frames were captured on a link layer that is not supported.
    #[error("interface {interface} has link type {number}; 0, 1, 101, 113 and 276 are supported")]
    UnsupportedLink {
        /// Which of the file's interfaces.
        interface: u32,
        /// The number in the LINKTYPE registry of the Tcpdump Group.
        number: u32,
    },
    /// It ends in the middle. Everything before has been delivered, so that the caller may go on with that.
    #[error(
        "it is truncated: it ends at byte {offset}, in the middle of a record, after {frames} whole frames"
    )]
    Truncated {
        /// Where it ends.
        offset: u64,
        /// How many frames stood before the cut.
        frames: u64,
    },
    /// It says what cannot be.
    #[error("it is malformed at byte {offset}")]
    Malformed {
        /// Where the record begins.
        offset: u64,
        /// What cannot be.
        #[source]
        defect: Defect,
    },
    /// It cannot be unpacked further.
    #[error("its gzip stream is damaged after {offset} unpacked bytes")]
    Gzip {
        /// How much was unpacked.
        offset: u64,
        /// What the unpacker said.
        #[source]
        source: io::Error,
    },
    /// The system could not read it.
    #[error("it could not be read at byte {offset}")]
    Read {
        /// How far reading came.
        offset: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What can be wrong with a record. (Lengths are in bytes.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// A record claims to be longer than any can be.
    #[error("a record of {len} bytes, of which {RECORD_LEN_MAX} are allowed")]
    RecordTooLong {
        /// What it claims.
        len: u32,
    },
    /// A block's length is below its smallest or no multiple of four.
    #[error("a block of {len} bytes")]
    BlockLength {
        /// What it claims.
        len: u32,
    },
    /// A block's length at its end is another than at its beginning.
    #[error("a block of {len} bytes that says {trailer} at its end")]
    BlockTrailer {
        /// What it claims at its beginning.
        len: u32,
        /// What it claims at its end.
        trailer: u32,
    },
    /// A block ends before its fields do.
    #[error("a block that is shorter than what it has to hold")]
    BlockTooShort,
    /// A section's byte-order magic is none.
    #[error("a section with byte-order magic {magic:#010x}")]
    ByteOrder {
        /// What stands there, read as little-endian.
        magic: u32,
    },
    /// A packet is of an interface that was not described.
    #[error("a packet of interface {interface}, which the section does not describe")]
    UnknownInterface {
        /// The interface.
        interface: u32,
    },
    /// A section describes more interfaces than are allowed.
    #[error("a section with more than 65,536 interfaces")]
    TooManyInterfaces,
}

/// What lies at the beginning of the unread bytes.
enum Step<'a> {
    /// A frame, in a record of so many bytes.
    Frame(Frame<'a>, usize),
    /// So many bytes without a frame.
    Skip(u64),
    /// The beginning of a record that needs so many bytes in all before it can be read.
    Need(usize),
}

/// Why the bytes at hand are no use.
#[derive(Debug)]
enum Refusal {
    Defect(Defect),
    Version { major: u16, minor: u16 },
    Link { interface: u32, number: u32 },
}

impl From<Defect> for Refusal {
    fn from(defect: Defect) -> Self {
        Self::Defect(defect)
    }
}

impl Refusal {
    /// As told to the caller, for the record at `offset`.
    fn at(self, offset: u64) -> FileError {
        match self {
            Self::Defect(defect) => FileError::Malformed { offset, defect },
            Self::Version { major, minor } => FileError::UnsupportedVersion { major, minor },
            Self::Link { interface, number } => FileError::UnsupportedLink { interface, number },
        }
    }
}

/// A format: finds records in bytes.
trait Records {
    /// What lies at the beginning of `data`.
    ///
    /// It may be asked again about a frame, a lack, a refusal, and a `Skip` beyond `data`; a `Skip` within
    /// `data` may have taught it something and is gone over at once.
    fn step<'a>(&mut self, data: &'a [u8]) -> Result<Step<'a>, Refusal>;
}

/// The format of an opened file.
enum Format {
    Pcap(pcap::Reader),
    Pcapng(pcapng::Reader),
}

/// A capture file, read from its beginning to its end.
pub struct FileSource {
    path: PathBuf,
    input: Input,
    format: Format,
    vantage: VantageId,
    ended: bool,
    /// Frames delivered in all.
    frames: u64,
}

impl FileSource {
    /// Opens a capture file, or a pipe that yields one.
    ///
    /// # Errors
    /// [`CaptureFileError`] if it cannot be read, is no capture, or is one of a link type that is not supported.
    pub fn open(path: &Path) -> Result<Self, CaptureFileError> {
        let file = File::open(path);
        let in_file = |source| CaptureFileError { path: path.to_owned(), source };
        let file = file.map_err(|source| in_file(FileError::Read { offset: 0, source }))?;
        Self::from_reader(file, path)
    }

    /// Takes the capture that `reader` yields; errors will name it `path`.
    ///
    /// # Errors
    /// As [`FileSource::open`].
    pub fn from_reader(reader: impl Read + Send + 'static, path: &Path) -> Result<Self, CaptureFileError> {
        let opened = Input::new(reader).and_then(|mut input| {
            let format = recognise(&mut input)?;
            Ok((input, format))
        });
        let (input, format) = opened.map_err(|source| CaptureFileError { path: path.to_owned(), source })?;
        let vantage = VantageId(0);
        Ok(Self { path: path.to_owned(), input, format, vantage, ended: false, frames: 0 })
    }

    /// The same capture, seen at `vantage` instead of vantage 0.
    #[must_use]
    pub fn at_vantage(self, vantage: VantageId) -> Self {
        Self { vantage, ..self }
    }

    /// Hands the next frames to `sink`, in the file's order: a bounded batch, at least one while there are any.
    ///
    /// # Errors
    /// What is wrong with the file from here on; that it ends in the middle comes after all whole frames. It ends with that.
    pub fn poll(&mut self, sink: &mut dyn FnMut(Frame<'_>)) -> Result<Progress, CaptureFileError> {
        if self.ended {
            return Ok(Progress::Ended);
        }
        let (vantage, frames) = (self.vantage, self.frames);
        let mut sink = |frame: Frame<'_>| sink(Frame { vantage, ..frame });
        let progress = match &mut self.format {
            Format::Pcap(reader) => deliver(reader, &mut self.input, frames, &mut sink),
            Format::Pcapng(reader) => deliver(reader, &mut self.input, frames, &mut sink),
        };
        match progress {
            Ok(Progress::Frames(count)) => self.frames += count as u64,
            Ok(Progress::Ended) | Err(_) => self.ended = true,
        }
        progress.map_err(|source| CaptureFileError { path: self.path.clone(), source })
    }
}

/// Reads as much as tells the format; a pcap's header is consumed.
fn recognise(input: &mut Input) -> Result<Format, FileError> {
    input.have(pcap::HEADER_LEN)?;
    if pcapng::is_pcapng(input.data()) {
        return Ok(Format::Pcapng(pcapng::Reader::default()));
    }
    match pcap::Reader::new(input.data()) {
        Some(reader) => {
            let reader = reader.map_err(|refusal| refusal.at(0))?;
            input.consume(pcap::HEADER_LEN);
            Ok(Format::Pcap(reader))
        }
        None if pcap::byte_order(input.data()).is_some() => {
            Err(FileError::Truncated { offset: input.data().len() as u64, frames: 0 })
        }
        None => Err(FileError::NotACapture),
    }
}

/// Why no more frames can be had from the buffer.
enum Stop {
    Skip(u64),
    Need(usize),
    Refused(Refusal),
}

/// Delivers the frames that lie whole in the buffer, at least one if there is one more in the file. So many `frames`
/// came before.
fn deliver(
    records: &mut impl Records,
    input: &mut Input,
    frames: u64,
    sink: &mut dyn FnMut(Frame<'_>),
) -> Result<Progress, FileError> {
    loop {
        let data = input.data();
        let (mut at, mut count) = (0, 0);
        let stop = loop {
            match records.step(&data[at..]) {
                Ok(Step::Frame(frame, len)) => {
                    sink(frame);
                    at += len;
                    count += 1;
                }
                Ok(Step::Skip(len)) => match usize::try_from(len) {
                    Ok(len) if len <= data.len() - at => at += len,
                    _ => break Stop::Skip(len),
                },
                Ok(Step::Need(len)) => break Stop::Need(len),
                Err(refusal) => break Stop::Refused(refusal),
            }
        };
        input.consume(at);
        // What stopped us is met again in the next call: first the frames are accounted for.
        if count > 0 {
            return Ok(Progress::Frames(count));
        }
        match stop {
            Stop::Skip(len) => {
                if !input.skip(len)? {
                    return Err(FileError::Truncated { offset: input.offset(), frames });
                }
            }
            Stop::Need(len) => {
                if !input.have(len)? {
                    return at_end(input, frames);
                }
            }
            Stop::Refused(refusal) => return Err(refusal.at(input.offset())),
        }
    }
}

/// The file has no whole record more: that is its end only if it has nothing more.
fn at_end(input: &Input, frames: u64) -> Result<Progress, FileError> {
    if input.data().is_empty() && !input.is_broken_off() {
        return Ok(Progress::Ended);
    }
    Err(FileError::Truncated { offset: input.offset() + input.data().len() as u64, frames })
}

/// Which way a frame went, as far as its link header says: the packet type of a "cooked" one, whose numbers are those
/// of `linux/if_packet.h` (LINKTYPE_LINUX_SLL and LINKTYPE_LINUX_SLL2 of the Tcpdump Group).
fn cooked_passage(link: LinkType, data: &[u8]) -> Passage {
    let packet_type = match link {
        LinkType::LinuxSll => data.first_chunk().copied().map(u16::from_be_bytes),
        LinkType::LinuxSll2 => data.get(10).copied().map(u16::from),
        LinkType::Null | LinkType::Ethernet | LinkType::RawIp => None,
    };
    match packet_type {
        // To this host, to all, to many, to another host.
        Some(0..=3) => Passage::In,
        Some(4) => Passage::Out,
        _ => Passage::Unknown,
    }
}

#[cfg(test)]
mod tests;
