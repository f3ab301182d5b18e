//! What the node's own processes send and get, as our table logs it to a netlink group (NFLOG).
//!
//! The kernel says of a packet that leaves which tenant's it is: the number that our table gives it as its mark. Of one that arrives it does
//! not, so [`talks`] remembers who speaks with whom. Both come through one socket in the order in which the kernel saw them, so an
//! answer never comes before what it answers. A packet that is nobody's is let go here.
//!
//! Loss: the kernel numbers what it logs. A gap in the numbers is what found no room in the socket, and is told as the capture's loss.
//!
//! Left out: what is logged at all (`reeve_core::ruleset::local`). The kernel has no stamp for what it logs on its way out, so the time
//! is that of reading.

mod message;
mod talks;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use reeve_core::packet::{self, Body};
use reeve_core::{Frame, LinkType, Passage, VantageId};
use reeve_policy::Loss;
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::clock::Clock;
use super::{CaptureError, Progress, Source};
use message::Logged;
use talks::Talks;

/// What is said of it in place of an interface's name.
pub const NAME: &str = "(local)";
/// Room for what was logged and not read yet: some 100,000 packets with their headers.
const BUFFER_BYTES: usize = 32 << 20;
/// The kernel hands over so much at once.
const DATAGRAM_BYTES: u32 = 64 << 10;
/// ... or so many packets, or after so many hundredths of a second.
const BATCH: u32 = 64;
const FLUSH_CENTISECONDS: u32 = 1;
/// One call reads no further datagram when it has delivered so many packets.
const MOST_FRAMES: usize = 16_384;
/// A packet is about so much older than the moment at which it is read: waiting, and the kernel's batch.
const AGE: Duration = Duration::from_millis(15);

/// The log of one group.
#[derive(Debug)]
pub struct LocalSource {
    socket: OwnedFd,
    buffer: Vec<u8>,
    vantage: VantageId,
    clock: Clock,
    talks: Talks,
    loss: Loss,
    /// The number of the next packet, if none is lost.
    next: Option<u32>,
    /// Packets of nobody's.
    others: u64,
}

impl LocalSource {
    /// Listens to `group` in the calling thread's network namespace. At most `copy` bytes of a packet are handed over, whatever the rules say.
    ///
    /// # Errors
    /// When the process may not, the kernel has no NFLOG, or another program listens to the group.
    pub fn open(group: u16, copy: u32, vantage: VantageId, clock: Clock) -> Result<Self, CaptureError> {
        let failed = |call: &'static str| {
            move |errno: Errno| {
                let (interface, source) = (format!("NFLOG group {group}"), io::Error::from(errno));
                match errno {
                    Errno::PERM | Errno::ACCESS => CaptureError::NotPermitted { interface, source },
                    _ => CaptureError::System { call, interface, source },
                }
            }
        };
        let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
        let socket = net::socket_with(AddressFamily::NETLINK, kind, flags, Some(netlink::NETFILTER))
            .map_err(failed("socket"))?;
        net::bind(&socket, &SocketAddrNetlink::new(0, 0)).map_err(failed("bind"))?;
        if sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES).is_err() {
            let _ = sockopt::set_socket_recv_buffer_size(&socket, BUFFER_BYTES);
        }
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_secs(5)))
            .map_err(failed("setsockopt"))?;
        let mut source = Self {
            socket,
            buffer: vec![0; 2 * DATAGRAM_BYTES as usize],
            vantage,
            clock,
            talks: Talks::default(),
            loss: Loss { received: 0, dropped: 0 },
            next: None,
            others: 0,
        };
        let settings = message::Settings {
            copy,
            datagram_bytes: DATAGRAM_BYTES,
            batch: BATCH,
            flush_centiseconds: FLUSH_CENTISECONDS,
        };
        for request in [message::listen(group), message::configure(group, settings)] {
            source.ask(&request).map_err(failed("NFULNL_MSG_CONFIG"))?;
        }
        Ok(source)
    }

    /// Sends a request and waits until it was carried out.
    fn ask(&mut self, request: &[u8]) -> Result<(), Errno> {
        net::sendto(&self.socket, request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        loop {
            let (len, _) = net::recv(&self.socket, &mut self.buffer[..], RecvFlags::empty())?;
            match message::answer(&self.buffer[..len]) {
                Some(0) => return Ok(()),
                Some(errno) => return Err(Errno::from_raw_os_error(errno)),
                // A packet that was logged meanwhile.
                None => {}
            }
        }
    }

    /// How many packets that were logged were nobody's.
    #[must_use]
    pub fn others(&self) -> u64 {
        self.others
    }

    fn take(&mut self, logged: &Logged<'_>, sink: &mut dyn FnMut(Frame<'_>)) -> bool {
        if let Some(number) = logged.number {
            let expected = self.next.replace(number.wrapping_add(1)).unwrap_or(number);
            self.loss.dropped += u64::from(number.wrapping_sub(expected));
        }
        self.loss.received += 1;
        let data = logged.payload;
        let wire_len = wire_len(data);
        let parsed = packet::parse(LinkType::RawIp, data, wire_len);
        let Some(Body::Ip(ip)) = parsed.as_ref().ok().map(|packet| &packet.body) else { return false };
        let now = self.clock.now();
        let owner = match logged.passage {
            Passage::Out => logged.owner.filter(|owner| self.talks.sent(*owner, ip, now)),
            _ => self.talks.owner_of(ip, now),
        };
        let Some(owner) = owner else {
            self.others += 1;
            return false;
        };
        sink(Frame {
            at: now.minus(AGE),
            vantage: self.vantage,
            passage: logged.passage,
            owner: Some(owner),
            link: LinkType::RawIp,
            vlan: None,
            data,
            wire_len,
        });
        true
    }
}

impl Source for LocalSource {
    fn poll(&mut self, _wait: Duration, sink: &mut dyn FnMut(Frame<'_>)) -> Result<Progress, CaptureError> {
        let (mut frames, mut read) = (0, 0);
        let mut buffer = std::mem::take(&mut self.buffer);
        while read < MOST_FRAMES {
            match net::recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((len, _)) => {
                    for logged in message::packets(&buffer[..len]) {
                        read += 1;
                        frames += usize::from(self.take(&logged, sink));
                    }
                }
                // Some found no room; the numbers tell how many.
                Err(Errno::INTR | Errno::NOBUFS) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => {
                    self.buffer = buffer;
                    let interface = NAME.to_owned();
                    return Err(CaptureError::System { call: "recv", interface, source: errno.into() });
                }
            }
        }
        self.buffer = buffer;
        Ok(if frames > 0 { Progress::Frames(frames) } else { Progress::Idle })
    }

    fn loss(&mut self) -> Vec<(VantageId, Loss)> {
        vec![(self.vantage, std::mem::take(&mut self.loss))]
    }
}

impl AsFd for LocalSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How long the packet is by its own header: what is logged is cut off, and nothing says behind how much.
fn wire_len(data: &[u8]) -> u32 {
    let half = |at: usize| match data.get(at..at + 2) {
        Some(&[high, low]) => u32::from(u16::from_be_bytes([high, low])),
        _ => 0,
    };
    let told = match data.first().map(|byte| byte >> 4) {
        Some(4) => half(2),
        Some(6) if half(4) > 0 => half(4) + 40,
        _ => 0,
    };
    told.max(u32::try_from(data.len()).unwrap_or(u32::MAX))
}
