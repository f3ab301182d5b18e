//! The bytes of a capture file, unpacked if need be, through one buffer.
//!
//! Frames are handed out as slices of the buffer, so bytes are copied once, from the page cache. Mapping the file
//! would spare that copy, but a file that is cut short while it is read would then kill the process (SIGBUS).
//! The buffer is small enough to stay in a core's second-level cache and grows only for a longer record.

use std::io::{self, Cursor, Read};

use flate2::read::MultiGzDecoder;

use super::FileError;

/// The buffer's size as long as no record is longer.
const BUFFER_LEN: usize = 256 * 1024;

/// The first two bytes of a gzip member (RFC 1952, 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A forward-only view of a file's bytes.
pub(super) struct Input {
    reader: Box<dyn Read + Send>,
    packed: bool,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// How many unpacked bytes lie before `start`.
    offset: u64,
    at_end: bool,
    /// The packed stream broke off: what it held may be whole, but the file is not.
    broken_off: bool,
}

impl Input {
    /// Looks at the first two bytes and unpacks if they are gzip's.
    pub fn new(mut reader: impl Read + Send + 'static) -> Result<Self, FileError> {
        let mut magic = Vec::with_capacity(2);
        let failed = |source| FileError::Read { offset: 0, source };
        reader.by_ref().take(2).read_to_end(&mut magic).map_err(failed)?;
        let packed = magic == GZIP_MAGIC;
        let whole = Cursor::new(magic).chain(reader);
        let reader: Box<dyn Read + Send> =
            if packed { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) };
        let buffer = vec![0; BUFFER_LEN];
        Ok(Self { reader, packed, buffer, start: 0, end: 0, offset: 0, at_end: false, broken_off: false })
    }

    /// What is in the buffer and not consumed.
    pub fn data(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// How many (unpacked) bytes have been consumed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the packed stream ended in the middle.
    pub fn is_broken_off(&self) -> bool {
        self.broken_off
    }

    /// Reads until `len` bytes are in the buffer; `false` if the file ends before.
    pub fn have(&mut self, len: usize) -> Result<bool, FileError> {
        while self.end - self.start < len {
            if self.at_end {
                return Ok(false);
            }
            self.read_more(len)?;
        }
        Ok(true)
    }

    /// Moves on by `len` bytes, at most as many as are in the buffer.
    pub fn consume(&mut self, len: usize) {
        let len = len.min(self.end - self.start);
        self.start += len;
        self.offset += len as u64;
    }

    /// Moves on by `len` bytes, buffered or not; `false` if the file ends before.
    pub fn skip(&mut self, mut len: u64) -> Result<bool, FileError> {
        loop {
            let buffered = self.end - self.start;
            let step = usize::try_from(len).map_or(buffered, |len| len.min(buffered));
            self.consume(step);
            len -= step as u64;
            if len == 0 {
                return Ok(true);
            }
            if !self.have(1)? {
                return Ok(false);
            }
        }
    }

    /// Makes room for `len` bytes in all and reads once.
    fn read_more(&mut self, len: usize) -> Result<(), FileError> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
        match self.reader.read(&mut self.buffer[self.end..]) {
            Ok(0) => self.at_end = true,
            Ok(count) => self.end += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if self.packed && error.kind() == io::ErrorKind::UnexpectedEof => {
                (self.at_end, self.broken_off) = (true, true);
            }
            Err(source) => {
                let offset = self.offset + (self.end - self.start) as u64;
                let packed = self.packed
                    && matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput);
                return Err(if packed {
                    FileError::Gzip { offset, source }
                } else {
                    FileError::Read { offset, source }
                });
            }
        }
        Ok(())
    }
}
