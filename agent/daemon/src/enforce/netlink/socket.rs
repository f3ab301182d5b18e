//! The netlink socket: whole transactions out, errors and listings in.
//!
//! A transaction is one datagram, however long: the kernel takes a batch whole or not at all, and it must see all of it at
//! once. Errors come back by message number, so each is told with what it was about.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::object::{Head, Received, Scratch};

/// Room for what is sent and received: a batch of a hundred thousand elements, the acknowledgements of a large one.
const BUFFER_BYTES: usize = 64 << 20;
/// Room for one read; the kernel fills up to 32 KiB of it with a listing, more with errors that quote.
const READ_BYTES: usize = 1 << 20;
/// How often a listing that changed under the kernel's hands is asked for anew.
const DUMP_TRIES: usize = 16;
/// The kernel answers at once; a longer silence is a fault.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Message types and flags of linux/netlink.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_DUMP_INTR: u16 = 0x10;
const HEADER_BYTES: usize = 16;

/// What went wrong between us and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket cannot be had or used.
    #[error("{call} on the netlink socket failed: {source}")]
    Socket {
        /// What was called.
        call: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused a message.
    #[error("the kernel refused {what}: {source}")]
    Refused {
        /// What the message was about.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A listing changed each time that it was read.
    #[error("the ruleset changed during each of {DUMP_TRIES} attempts to read it")]
    Unsteady,
}

impl NetlinkError {
    /// The error number, where the kernel gave one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Socket { source, .. } | Self::Refused { source, .. } => source.raw_os_error(),
            Self::Unsteady => None,
        }
    }

    /// What the kernel refused, and the error number.
    #[must_use]
    pub fn refused(&self) -> Option<(&str, i32)> {
        match self {
            Self::Refused { what, source } => Some((what, source.raw_os_error()?)),
            Self::Socket { .. } | Self::Unsteady => None,
        }
    }
}

/// A transaction being written.
#[derive(Debug, Default)]
pub struct Batch {
    scratch: Scratch,
    bytes: Vec<u8>,
    /// What each message is about, by its number counted from the first.
    about: Vec<String>,
    /// Where the last message begins.
    last: usize,
}

impl Batch {
    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.about.is_empty()
    }

    /// Adds messages, each with a head from `head` and about `what`.
    pub fn add(
        &mut self,
        what: &str,
        kind: i32,
        flags: i32,
        family: u16,
        write: impl FnOnce(&mut Scratch, &mut dyn FnMut() -> Head, &mut Vec<u8>),
    ) {
        let (about, first) = (&mut self.about, self.bytes.len());
        let mut head = || {
            about.push(what.to_owned());
            // Number 0 is the message that begins the batch.
            Head { kind, flags, sequence: about.len() as u32, family }
        };
        write(&mut self.scratch, &mut head, &mut self.bytes);
        self.last = last_message(&self.bytes, first).unwrap_or(self.last);
    }

    /// The whole datagram. The last message asks for an acknowledgement, which comes when all are done.
    fn finish(mut self) -> (Vec<u8>, Vec<String>) {
        const NLM_F_ACK: u16 = 4;
        if let Some(flags) = self.bytes.get_mut(self.last + 6..self.last + 8) {
            let asked = u16::from_ne_bytes([flags[0], flags[1]]) | NLM_F_ACK;
            flags.copy_from_slice(&asked.to_ne_bytes());
        }
        let mut all = Vec::with_capacity(self.bytes.len() + 64);
        self.scratch.begin(0, &mut all);
        all.append(&mut self.bytes);
        self.scratch.end(self.about.len() as u32 + 1, &mut all);
        (all, self.about)
    }
}

/// Questions about single things, each a message that is answered for itself.
#[derive(Debug, Default)]
pub struct Questions {
    scratch: Scratch,
    bytes: Vec<u8>,
    /// What each is about.
    about: Vec<String>,
}

impl Questions {
    /// Adds one message about `what`.
    pub fn add(
        &mut self,
        what: &str,
        kind: i32,
        family: u16,
        write: impl FnOnce(&mut Scratch, Head, &mut Vec<u8>),
    ) {
        self.about.push(what.to_owned());
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK;
        let head = Head { kind, flags, sequence: self.about.len() as u32, family };
        write(&mut self.scratch, head, &mut self.bytes);
    }
}

/// Where the last message begins that stands at or behind `from`.
fn last_message(bytes: &[u8], from: usize) -> Option<usize> {
    let (mut at, mut last) = (from, None);
    while let Some(header) = bytes.get(at..at + 4) {
        last = Some(at);
        let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        at += len.max(HEADER_BYTES).next_multiple_of(4);
    }
    last
}

/// A socket of the nftables family. It belongs to the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket {
    socket: OwnedFd,
    buffer: Vec<u8>,
    scratch: Scratch,
    last: (usize, std::time::Duration),
    /// Its address among netlink sockets, by which the kernel names owners.
    port: u32,
}

impl Socket {
    /// Opens it.
    ///
    /// # Errors
    /// Where the kernel has no nftables, or the process may not.
    pub fn open() -> Result<Self, NetlinkError> {
        let failed =
            |call| move |errno: rustix::io::Errno| NetlinkError::Socket { call, source: errno.into() };
        let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
        let socket = net::socket_with(AddressFamily::NETLINK, kind, flags, Some(netlink::NETFILTER))
            .map_err(failed("socket"))?;
        // Only with CAP_NET_ADMIN, and without that the first transaction says so more clearly.
        let _ = sockopt::set_socket_send_buffer_size_force(&socket, BUFFER_BYTES);
        let _ = sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES);
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))
            .map_err(failed("setsockopt"))?;
        net::bind(&socket, &SocketAddrNetlink::new(0, 0)).map_err(failed("bind"))?;
        let bound = net::getsockname(&socket).map_err(failed("getsockname"))?;
        let port = SocketAddrNetlink::try_from(bound).map_err(failed("getsockname"))?.pid();
        let last = (0, std::time::Duration::ZERO);
        Ok(Self { socket, buffer: vec![0; READ_BYTES], scratch: Scratch::default(), last, port })
    }

    /// Its address among netlink sockets.
    #[must_use]
    pub const fn port(&self) -> u32 {
        self.port
    }

    /// Carries a transaction out, whole or not at all.
    ///
    /// # Errors
    /// What the kernel refused, with what it was about. Nothing has changed then.
    pub fn transact(&mut self, batch: Batch) -> Result<(), NetlinkError> {
        if batch.is_empty() {
            return Ok(());
        }
        let (bytes, about) = batch.finish();
        let began = std::time::Instant::now();
        self.send(&bytes)?;
        let last = about.len() as u32;
        loop {
            let len = self.receive()?;
            for message in Messages(&self.buffer[..len]) {
                if message.kind != NLMSG_ERROR {
                    continue;
                }
                match message.error() {
                    0 if message.sequence == last => {
                        self.last = (bytes.len(), began.elapsed());
                        return Ok(());
                    }
                    0 => {}
                    errno => {
                        let what = match message.sequence.checked_sub(1).and_then(|n| about.get(n as usize)) {
                            Some(what) => what.clone(),
                            None => "the transaction".to_owned(),
                        };
                        self.drain();
                        return Err(NetlinkError::Refused {
                            what,
                            source: io::Error::from_raw_os_error(errno),
                        });
                    }
                }
            }
        }
    }

    /// The bytes of the last transaction, and how long it took.
    #[must_use]
    pub fn last_transaction(&self) -> (usize, std::time::Duration) {
        self.last
    }

    /// Reads a listing; `write` writes the request, `each` is handed every message of the answer.
    ///
    /// # Errors
    /// When the kernel refuses it; `ENOENT` where there is no such table or set.
    pub fn dump(
        &mut self,
        what: &str,
        mut write: impl FnMut(&mut Scratch, &mut Vec<u8>),
        mut each: impl FnMut(&Received),
        mut restart: impl FnMut(),
    ) -> Result<(), NetlinkError> {
        let mut received = Received::default();
        'again: for _ in 0..DUMP_TRIES {
            restart();
            let mut request = Vec::new();
            write(&mut self.scratch, &mut request);
            self.send(&request)?;
            let mut interrupted = false;
            loop {
                let len = self.receive()?;
                for message in Messages(&self.buffer[..len]) {
                    interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                    match message.kind {
                        NLMSG_DONE if interrupted => continue 'again,
                        NLMSG_DONE => return Ok(()),
                        NLMSG_ERROR if message.error() == libc::EINTR => continue 'again,
                        NLMSG_ERROR if message.error() != 0 => {
                            let source = io::Error::from_raw_os_error(message.error());
                            return Err(NetlinkError::Refused { what: what.to_owned(), source });
                        }
                        NLMSG_ERROR => return Ok(()),
                        _ => {
                            received.load(message.bytes);
                            each(&received);
                            // A single answer is not followed by "done".
                            if message.flags & 2 == 0 {
                                return Ok(());
                            }
                        }
                    }
                }
            }
        }
        Err(NetlinkError::Unsteady)
    }

    /// Asks for single things; `each` is handed the number of the question, counted from 0, and the answer. What is not there has
    /// none.
    ///
    /// # Errors
    /// When the kernel refuses a question, with what it was about.
    pub fn ask(
        &mut self,
        questions: Questions,
        mut each: impl FnMut(usize, &Received),
    ) -> Result<(), NetlinkError> {
        let Questions { bytes, about, .. } = questions;
        let mut waiting = about.len();
        if waiting == 0 {
            return Ok(());
        }
        self.send(&bytes)?;
        let (mut received, mut refused) = (Received::default(), None);
        while waiting > 0 {
            let len = self.receive()?;
            for message in Messages(&self.buffer[..len]) {
                let number = (message.sequence as usize).wrapping_sub(1);
                if message.kind != NLMSG_ERROR {
                    received.load(message.bytes);
                    each(number, &received);
                    continue;
                }
                // Each question is acknowledged, answered or not.
                waiting = waiting.saturating_sub(1);
                let errno = message.error();
                if errno != 0 && errno != libc::ENOENT && refused.is_none() {
                    let what = about.get(number).cloned().unwrap_or_else(|| "a question".to_owned());
                    refused = Some((what, errno));
                }
            }
        }
        refused.map_or(Ok(()), |(what, errno)| {
            Err(NetlinkError::Refused { what, source: io::Error::from_raw_os_error(errno) })
        })
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), NetlinkError> {
        let kernel = SocketAddrNetlink::new(0, 0);
        let sent = net::sendto(&self.socket, bytes, SendFlags::empty(), &kernel);
        sent.map(drop).map_err(|errno| NetlinkError::Socket { call: "sendto", source: errno.into() })
    }

    fn receive(&mut self) -> Result<usize, NetlinkError> {
        loop {
            match net::recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((len, _)) => return Ok(len),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(NetlinkError::Socket { call: "recv", source: errno.into() }),
            }
        }
    }

    /// Throws away what is left of the answers to a transaction that failed.
    fn drain(&mut self) {
        while net::recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT).is_ok() {}
    }
}

/// A message as received.
struct Message<'b> {
    kind: u16,
    flags: u16,
    sequence: u32,
    /// The whole of it, header included.
    bytes: &'b [u8],
}

impl Message<'_> {
    /// The error number of an error message; 0 is an acknowledgement.
    fn error(&self) -> i32 {
        match self.bytes.get(HEADER_BYTES..HEADER_BYTES + 4) {
            Some(&[a, b, c, d]) => i32::from_ne_bytes([a, b, c, d]).saturating_neg(),
            _ => libc::EBADMSG,
        }
    }
}

/// The messages of one read.
struct Messages<'b>(&'b [u8]);

impl<'b> Iterator for Messages<'b> {
    type Item = Message<'b>;

    fn next(&mut self) -> Option<Message<'b>> {
        let header: &[u8; HEADER_BYTES] = self.0.first_chunk()?;
        let word =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let len = word(0) as usize;
        let bytes = self.0.get(..len).filter(|bytes| bytes.len() >= HEADER_BYTES)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        Some(Message { kind: half(4), flags: half(6), sequence: word(8), bytes })
    }
}
