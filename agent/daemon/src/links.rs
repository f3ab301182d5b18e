//! Links: which network interfaces there are, and news of them as the kernel tells it.
//!
//! Purpose: a tenant's port appears when its machine starts and vanishes when it stops; it must have its ring and
//! its hooks at once. The kernel multicasts every change (rtnetlink, `RTNLGRP_LINK`); [`Links`] listens.
//!
//! Model: [`Links`] holds what it last knew. Every message is compared with that, so an event is always a change,
//! however often the kernel repeats itself. If the kernel had to drop messages (ENOBUFS), what is left of them is
//! thrown away and everything is listed anew: the events then are the differences. An interface that moves to
//! another network namespace vanishes here.
//!
//! The messages are read by own code ([`message`]) rather than by a netlink library's types, which decode every
//! attribute and refuse the whole message when a newer kernel has one of a length that they do not know; an
//! interface would go unseen. Four fields are needed.
//!
//! Left out: addresses, routes, bridges and everything else that rtnetlink knows, and changing anything.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use macaddr::MacAddr6;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

mod message;

use message::Message;

/// What kind of frames an interface carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hardware {
    /// Ethernet, and whatever behaves so: taps, veth, bridges, bonds, VLANs.
    Ethernet,
    /// The loopback interface; its frames have an Ethernet header too.
    Loopback,
    /// IP without a link header: tun, WireGuard, PPP, IP-in-IP and GRE tunnels.
    RawIp,
    /// Anything else, by its number (`ARPHRD_*` in `linux/if_arp.h`).
    Other(u16),
}

impl Hardware {
    /// From the kernel's number, `ARPHRD_*` in `linux/if_arp.h`.
    #[must_use]
    pub const fn from_number(number: u16) -> Self {
        match number {
            1 => Self::Ethernet,
            772 => Self::Loopback,
            // PPP, RAWIP, TUNNEL, TUNNEL6, SIT, IPGRE, IP6GRE, NONE.
            512 | 519 | 768 | 769 | 776 | 778 | 823 | 0xfffe => Self::RawIp,
            other => Self::Other(other),
        }
    }
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index: unique in its network namespace, and not given again soon.
    pub index: u32,
    /// Its name. It can be renamed.
    pub name: String,
    /// Whether it is administratively up (`IFF_UP`).
    pub up: bool,
    /// Whether what is below it is up too (`IFF_LOWER_UP`): a cable with somebody at its other end.
    pub carrier: bool,
    /// Its hardware address, if it has one of six bytes.
    pub mac: Option<MacAddr6>,
    /// What its frames are.
    pub hardware: Hardware,
}

/// News of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// It is there now.
    Appeared(Link),
    /// It is not there any more.
    Vanished {
        /// Its index.
        index: u32,
        /// Its last name.
        name: String,
    },
    /// It has another name, state or hardware address.
    Changed(Link),
}

/// Why the kernel's news cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LinksError {
    /// A system call on the netlink socket failed.
    #[error("netlink: {call} failed")]
    Socket {
        /// What was called.
        call: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused to list the interfaces.
    #[error("the kernel refused to list the network interfaces")]
    Refused {
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The list changed under the kernel's hands each time it was asked for.
    #[error("the list of network interfaces changed during each of {tries} attempts to read it")]
    Unsteady {
        /// How often it was asked for.
        tries: usize,
    },
}

/// The interfaces of a network namespace, kept up to date.
#[derive(Debug)]
pub struct Links {
    /// Receives the multicast messages; does not block.
    news: OwnedFd,
    /// Asks for lists. It belongs to the same namespace, whichever thread uses it.
    lister: OwnedFd,
    known: BTreeMap<u32, Link>,
    events: VecDeque<LinkEvent>,
    buffer: Vec<u8>,
    sequence: u32,
}

/// `RTMGRP_LINK`, the multicast group as a bit in the address.
const GROUP_LINK: u32 = 1;
/// A dump fills what it is given, and the kernel uses up to 32 KiB at once.
const BUFFER_LEN: usize = 64 * 1024;
/// Room for messages that wait: a burst of thousands of interfaces.
const NEWS_BUFFER_LEN: usize = 4 * 1024 * 1024;
/// How often a list is asked for anew when the kernel says that it changed meanwhile.
const LIST_TRIES: usize = 16;
/// How long the kernel may take for a part of a list.
const LIST_PATIENCE: Duration = Duration::from_secs(5);

impl Links {
    /// Begins to listen, and lists the interfaces that are there. The network namespace is the calling thread's.
    ///
    /// # Errors
    /// If the kernel does not let us; no capability is needed.
    pub fn open() -> Result<Self, LinksError> {
        let news = socket(GROUP_LINK, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        let lister = socket(0, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        // Only with CAP_NET_ADMIN; without it the default has to do, and an overrun is mended.
        let forced = net::sockopt::set_socket_recv_buffer_size_force(&news, NEWS_BUFFER_LEN);
        if forced.is_err() {
            net::sockopt::set_socket_recv_buffer_size(&news, NEWS_BUFFER_LEN)
                .map_err(failed("setsockopt(SO_RCVBUF)"))?;
        }
        let mut links = Self {
            news,
            lister,
            known: BTreeMap::new(),
            events: VecDeque::new(),
            buffer: vec![0; BUFFER_LEN],
            sequence: 0,
        };
        links.known = links.dump()?;
        Ok(links)
    }

    /// The interfaces as last known, by index. Events that were not taken yet are in it already.
    #[must_use]
    pub fn list(&self) -> Vec<Link> {
        self.known.values().cloned().collect()
    }

    /// The next event, if one is there. For use with a reactor that watches [`AsFd`] for reading: take events
    /// until there is none.
    ///
    /// # Errors
    /// If the socket fails. What is known stays, and the call may be repeated.
    pub fn try_next(&mut self) -> Result<Option<LinkEvent>, LinksError> {
        while self.events.is_empty() {
            match net::recv(&self.news, &mut self.buffer[..], RecvFlags::TRUNC) {
                Ok((_, len)) if len <= self.buffer.len() => self.take_news(len),
                // The message did not fit: something in it is lost, which is an overrun as well.
                Ok(_) | Err(Errno::NOBUFS) => self.relist()?,
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed("recv")(errno)),
            }
        }
        Ok(self.events.pop_front())
    }

    /// The next event, waiting up to `wait` for one.
    ///
    /// # Errors
    /// As [`Links::try_next`].
    pub fn wait(&mut self, wait: Duration) -> Result<Option<LinkEvent>, LinksError> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(Some(event));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            readable(&self.news, left)?;
        }
    }

    fn take_news(&mut self, len: usize) {
        let buffer = std::mem::take(&mut self.buffer);
        for message in message::messages(&buffer[..len]) {
            match message {
                Message::New(link) => self.update(link),
                Message::Gone { index } => self.forget(index),
                Message::Done { .. } | Message::Failed { .. } | Message::Other => {}
            }
        }
        self.buffer = buffer;
    }

    fn update(&mut self, link: Link) {
        match self.known.insert(link.index, link.clone()) {
            None => self.events.push_back(LinkEvent::Appeared(link)),
            Some(before) if before != link => self.events.push_back(LinkEvent::Changed(link)),
            Some(_) => {}
        }
    }

    fn forget(&mut self, index: u32) {
        if let Some(Link { name, .. }) = self.known.remove(&index) {
            self.events.push_back(LinkEvent::Vanished { index, name });
        }
    }

    /// Makes up for lost messages.
    ///
    /// Those that are left are older than the loss and are thrown away first: a "new" among them whose "gone" was
    /// lost would otherwise bring an interface back for ever. Those that come after are whole.
    fn relist(&mut self) -> Result<(), LinksError> {
        tracing::warn!("news of network interfaces were lost; listing them anew");
        loop {
            match net::recv(&self.news, &mut self.buffer[..], RecvFlags::empty()) {
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(failed("recv")(errno)),
            }
        }
        let now = self.dump()?;
        let vanished: Vec<u32> =
            self.known.keys().filter(|index| !now.contains_key(index)).copied().collect();
        vanished.into_iter().for_each(|index| self.forget(index));
        now.into_values().for_each(|link| self.update(link));
        Ok(())
    }

    /// Asks the kernel for all interfaces.
    fn dump(&mut self) -> Result<BTreeMap<u32, Link>, LinksError> {
        for _ in 0..LIST_TRIES {
            if let Some(links) = self.dump_once()? {
                return Ok(links);
            }
        }
        Err(LinksError::Unsteady { tries: LIST_TRIES })
    }

    /// `None` if the list changed while the kernel wrote it.
    fn dump_once(&mut self) -> Result<Option<BTreeMap<u32, Link>>, LinksError> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = message::dump_request(self.sequence);
        net::send(&self.lister, &request, SendFlags::empty()).map_err(failed("send"))?;
        let (mut links, mut steady) = (BTreeMap::new(), true);
        loop {
            let len = match net::recv(&self.lister, &mut self.buffer[..], RecvFlags::TRUNC) {
                Ok((_, len)) if len <= self.buffer.len() => len,
                Ok(_) | Err(Errno::NOBUFS) => return Ok(None),
                Err(Errno::AGAIN) => {
                    if !readable(&self.lister, LIST_PATIENCE)? {
                        return Err(failed("waiting for a list")(Errno::TIMEDOUT));
                    }
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(failed("recv")(errno)),
            };
            for message in message::messages_of(&self.buffer[..len], self.sequence) {
                match message {
                    Message::New(link) => _ = links.insert(link.index, link),
                    Message::Done { interrupted } => return Ok((steady && !interrupted).then_some(links)),
                    Message::Failed { errno } => {
                        let source = io::Error::from_raw_os_error(errno);
                        return Err(LinksError::Refused { source });
                    }
                    Message::Gone { .. } | Message::Other => {}
                }
            }
            steady &= !message::is_interrupted(&self.buffer[..len]);
        }
    }
}

impl AsFd for Links {
    /// Readable when there may be news; already taken events are not shown by it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

impl AsRawFd for Links {
    fn as_raw_fd(&self) -> RawFd {
        self.news.as_raw_fd()
    }
}

fn socket(groups: u32, flags: SocketFlags) -> Result<OwnedFd, LinksError> {
    let socket = net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)
        .map_err(failed("socket(AF_NETLINK)"))?;
    net::bind(&socket, &SocketAddrNetlink::new(0, groups)).map_err(failed("bind"))?;
    Ok(socket)
}

/// Waits until `socket` is readable or has an error, at most `wait`; whether it is.
fn readable(socket: &OwnedFd, wait: Duration) -> Result<bool, LinksError> {
    let timeout = Timespec::try_from(wait).ok();
    match poll(&mut [PollFd::new(socket, PollFlags::IN)], timeout.as_ref()) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(true),
        Err(errno) => Err(failed("poll")(errno)),
    }
}

fn failed(call: &'static str) -> impl Fn(Errno) -> LinksError {
    move |errno| LinksError::Socket { call, source: errno.into() }
}

#[cfg(test)]
mod tests;
