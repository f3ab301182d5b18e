//! One interface's frames through a ring that is shared with the kernel (AF_PACKET, TPACKET_V3).
//!
//! The kernel fills blocks of memory and hands each over when it is full or [`RETIRE_MS`] old; frames are read where they
//! lie and the block is given back. The socket is made for protocol 0, which receives nothing, and asks for frames (all of
//! them, ETH_P_ALL) in the very call that binds it to its interface, when filter and ring stand: no frame of another
//! interface and none without interest ever gets in, and nothing has to be drained. What the node sends out of the
//! interface is seen too (PACKET_IGNORE_OUTGOING is not set): on a tenant's port those are the answers.
//!
//! An interface that is down keeps its ring; the kernel resumes when it is up. One that is gone is told by the index that
//! the kernel says the socket is bound to ([`Ring::is_gone`]), in whichever namespace it was and whoever asks.
//!
//! This is one of the two modules of the agent with `unsafe` in it. Packet(7) and the kernel's
//! Documentation/networking/packet_mmap.rst are its sources. Left out: waiting (see [`super::set`]) and meaning.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use reeve_core::interest::{FilterLink, Interest, program};
use reeve_core::{Frame, LinkType, Passage, VantageId};
use reeve_policy::Timestamp;

use super::CaptureError;
use super::clock::StampScale;
use crate::links::Hardware;

/// A block is handed over this long after its first frame at the latest, in milliseconds.
pub const RETIRE_MS: u32 = 20;

/// The kernel wants a frame size that divides the block; with TPACKET_V3 it means nothing more.
const FRAME_BYTES: u32 = 2_048;

/// How a ring is sized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingOptions {
    /// Bytes of one block: a power of two, at least 16 KiB.
    pub block_bytes: u32,
    /// How many blocks; at least 2.
    pub blocks: u32,
}

impl Default for RingOptions {
    /// 16 blocks of 1 MiB: what a port with a flood on it fills in some tens of milliseconds.
    fn default() -> Self {
        Self { block_bytes: 1 << 20, blocks: 16 }
    }
}

impl RingOptions {
    /// A ring of about `bytes`: four blocks at least, none above 1 MiB.
    #[must_use]
    pub fn of_bytes(bytes: usize) -> Self {
        let quarter = u32::try_from(bytes / 4).unwrap_or(u32::MAX).clamp(16 << 10, 1 << 20);
        let block_bytes = if quarter.is_power_of_two() { quarter } else { quarter.next_power_of_two() / 2 };
        let blocks = u32::try_from(bytes / block_bytes as usize).unwrap_or(u32::MAX).clamp(4, 4_096);
        Self { block_bytes, blocks }
    }

    const fn bytes(self) -> usize {
        self.block_bytes as usize * self.blocks as usize
    }

    /// As the kernel wants to be asked; `None` for more frames than it counts.
    fn request(self) -> Option<Request> {
        Some(Request {
            block_size: self.block_bytes,
            block_count: self.blocks,
            frame_size: FRAME_BYTES,
            frame_count: (self.block_bytes / FRAME_BYTES).checked_mul(self.blocks)?,
            retire_ms: RETIRE_MS,
            private_bytes: 0,
            features: 0,
        })
    }
}

/// What the kernel counted since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingStatistics {
    /// Frames that passed the filter, dropped ones included.
    pub packets: u32,
    /// Of those, frames that the ring had no room for.
    pub drops: u32,
}

/// A ring on one interface.
#[derive(Debug)]
pub struct Ring {
    socket: OwnedFd,
    memory: NonNull<u8>,
    options: RingOptions,
    /// The block that the kernel hands over next.
    next: u32,
    link: LinkType,
    vantage: VantageId,
    interface: String,
}

// SAFETY: the memory belongs to this value alone and is reached through `&mut self` only.
unsafe impl Send for Ring {}

/// Offsets within a block (struct tpacket_block_desc, linux/if_packet.h).
const BLOCK_STATUS: usize = 8;
const BLOCK_PACKETS: usize = 12;
const BLOCK_FIRST: usize = 16;
/// Offsets within a frame's header (struct tpacket3_hdr), and its aligned length, behind which a sockaddr_ll stands.
const FRAME_NEXT: usize = 0;
const FRAME_SEC: usize = 4;
const FRAME_NSEC: usize = 8;
const FRAME_SNAPLEN: usize = 12;
const FRAME_LEN: usize = 16;
const FRAME_STATUS: usize = 20;
const FRAME_MAC: usize = 24;
const FRAME_VLAN_TCI: usize = 32;
const FRAME_ADDRESS: usize = 48;
/// The packet type within a sockaddr_ll.
const ADDRESS_PACKET_TYPE: usize = 10;
const STATUS_VLAN_VALID: u32 = 1 << 4;
const PACKET_OUTGOING: u8 = 4;
/// struct tpacket_req3.
#[repr(C)]
struct Request {
    block_size: u32,
    block_count: u32,
    frame_size: u32,
    frame_count: u32,
    retire_ms: u32,
    private_bytes: u32,
    features: u32,
}

impl Ring {
    /// A ring on `interface`, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// Where there is no such interface, the process may not capture, or the interface's frames are of no known kind.
    pub fn open(
        vantage: VantageId,
        interface: &str,
        interest: &Interest,
        options: RingOptions,
    ) -> Result<Self, CaptureError> {
        let failed = |call: &'static str| {
            let interface = interface.to_owned();
            move |source: io::Error| match source.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => CaptureError::NotPermitted { interface, source },
                Some(libc::ENODEV | libc::ENXIO) => CaptureError::NoInterface { interface },
                _ => CaptureError::System { call, interface, source },
            }
        };
        // Protocol 0: nothing is received before the last bind below.
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: the call takes numbers only.
        let socket = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) }).map_err(failed("socket"))?;
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let index = index_of(interface)?;
        bind(&socket, index, 0).map_err(failed("bind"))?;
        let hardware = bound(&socket).map_err(failed("getsockname"))?.sll_hatype;
        let (link, filter_link) = match Hardware::from_number(hardware) {
            Hardware::Ethernet | Hardware::Loopback => (LinkType::Ethernet, FilterLink::Ethernet),
            Hardware::RawIp => (LinkType::RawIp, FilterLink::RawIp),
            Hardware::Other(_) => {
                return Err(CaptureError::UnsupportedHardware { interface: interface.to_owned(), hardware });
            }
        };
        attach(&socket, filter_link, interest).map_err(failed("setsockopt(SO_ATTACH_FILTER)"))?;
        let version = libc::tpacket_versions::TPACKET_V3 as i32;
        set_option(&socket, libc::PACKET_VERSION, &version).map_err(failed("setsockopt(PACKET_VERSION)"))?;
        let request = options.request().ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL));
        request
            .and_then(|request| set_option(&socket, libc::PACKET_RX_RING, &request))
            .map_err(failed("setsockopt(PACKET_RX_RING)"))?;
        let memory = map(&socket, options.bytes()).map_err(failed("mmap"))?;
        let ring = Self { socket, memory, options, next: 0, link, vantage, interface: interface.to_owned() };
        bind(&ring.socket, index, libc::ETH_P_ALL as u16).map_err(failed("bind"))?;
        Ok(ring)
    }

    /// Where its frames are seen.
    #[must_use]
    pub fn vantage(&self) -> VantageId {
        self.vantage
    }

    /// The interface's name when the ring was made.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Whether the kernel has handed a block over.
    #[must_use]
    pub fn has_block(&self) -> bool {
        self.status().load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    /// The frames of the next block, if the kernel has handed one over. How many, or `None` where there is no block.
    pub fn read_block(&mut self, scale: &mut StampScale, sink: &mut dyn FnMut(Frame<'_>)) -> Option<usize> {
        if !self.has_block() {
            return None;
        }
        let len = self.options.block_bytes as usize;
        // SAFETY: the block lies within the mapping, and is ours until its status says otherwise: the kernel does not
        // write to it, and nobody else has the mapping.
        let block = unsafe { std::slice::from_raw_parts(self.block().as_ptr(), len) };
        let count = self.read_frames(block, scale, sink);
        self.status().store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % self.options.blocks;
        Some(count)
    }

    /// Where the next block begins.
    fn block(&self) -> NonNull<u8> {
        let start = self.next as usize * self.options.block_bytes as usize;
        // SAFETY: `next` is below the number of blocks, so the block lies within the mapping.
        unsafe { self.memory.add(start) }
    }

    /// The next block's status word, which both sides write.
    fn status(&self) -> &AtomicU32 {
        // SAFETY: the word lies within the block, is aligned because blocks begin at pages, is only ever written
        // atomically, and lives as long as the mapping, which is as long as the ring.
        unsafe { AtomicU32::from_ptr(self.block().as_ptr().add(BLOCK_STATUS).cast()) }
    }

    /// Every offset is checked: a kernel that is wrong costs frames, nothing worse.
    fn read_frames(&self, block: &[u8], scale: &mut StampScale, sink: &mut dyn FnMut(Frame<'_>)) -> usize {
        let mut batch = scale.batch();
        let packets = word(block, BLOCK_PACKETS).unwrap_or(0);
        let mut at = word(block, BLOCK_FIRST).unwrap_or(0) as usize;
        let mut count = 0;
        for _ in 0..packets {
            let Some(header) =
                block.get(at..).filter(|rest| rest.len() > FRAME_ADDRESS + ADDRESS_PACKET_TYPE)
            else {
                break;
            };
            let field = |offset: usize| word(header, offset).unwrap_or(0);
            let passage = match header[FRAME_ADDRESS + ADDRESS_PACKET_TYPE] {
                PACKET_OUTGOING => Some(Passage::Out),
                // To this host, to all, to many, to another host.
                0..=3 => Some(Passage::In),
                // Looped back or from user space: seen a second time.
                _ => None,
            };
            let mac = usize::from(u16::from_ne_bytes([header[FRAME_MAC], header[FRAME_MAC + 1]]));
            let data = header.get(mac..mac + field(FRAME_SNAPLEN) as usize);
            if let (Some(passage), Some(data)) = (passage, data) {
                let nanos = u64::from(field(FRAME_SEC)) * 1_000_000_000 + u64::from(field(FRAME_NSEC));
                let tagged = field(FRAME_STATUS) & STATUS_VLAN_VALID != 0;
                sink(Frame {
                    at: batch.place(Timestamp::from_nanos(nanos)),
                    vantage: self.vantage,
                    passage,
                    owner: None,
                    link: self.link,
                    vlan: tagged.then(|| (field(FRAME_VLAN_TCI) & 0x0fff) as u16),
                    data,
                    wire_len: field(FRAME_LEN).max(data.len() as u32),
                });
                count += 1;
            }
            match field(FRAME_NEXT) {
                0 => break,
                next => at += next as usize,
            }
        }
        count
    }

    /// What the kernel counted since it was last asked.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn statistics(&self) -> io::Result<RingStatistics> {
        // struct tpacket_stats_v3: packets, drops, freezes.
        let mut numbers = [0_u32; 3];
        let mut len = size_of_val(&numbers) as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes, which is what is there.
        check(unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                numbers.as_mut_ptr().cast(),
                &raw mut len,
            )
        })?;
        Ok(RingStatistics { packets: numbers[0], drops: numbers[1] })
    }

    /// Clears the error that made the socket readable, so that it is not told again.
    pub fn take_error(&self) {
        let _ = rustix::net::sockopt::socket_error(&self.socket);
    }

    /// Whether the interface that the ring was made on was removed, or moved to another namespace: nothing more will come
    /// than what the kernel hands over within [`RETIRE_MS`]. An interface that is down is not gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        // On NETDEV_UNREGISTER the kernel binds the socket to -1, in words: to nothing.
        bound(&self.socket).is_ok_and(|address| address.sll_ifindex < 0)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length and nothing borrows from it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.options.bytes()) };
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn index_of(interface: &str) -> Result<u32, CaptureError> {
    let none = || CaptureError::NoInterface { interface: interface.to_owned() };
    let name = CString::new(interface).map_err(|_| none())?;
    // SAFETY: the name ends with NUL and is only read.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(none()),
        index => Ok(index),
    }
}

fn bind(socket: &OwnedFd, index: u32, protocol: u16) -> io::Result<()> {
    // SAFETY: all fields are numbers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = i32::try_from(index).unwrap_or(i32::MAX);
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is of the length given and is only read.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) }).map(drop)
}

/// What the socket is bound to: the interface's index and hardware type (`ARPHRD_*`).
fn bound(socket: &OwnedFd) -> io::Result<libc::sockaddr_ll> {
    // SAFETY: all fields are numbers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, which is what is there.
    check(unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut len) })?;
    Ok(address)
}

fn attach(socket: &OwnedFd, link: FilterLink, interest: &Interest) -> io::Result<()> {
    let code: Vec<libc::sock_filter> = program(link, interest)
        .iter()
        .map(|one| libc::sock_filter { code: one.code, jt: one.jt, jf: one.jf, k: one.k })
        .collect();
    let len = u16::try_from(code.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len, filter: code.as_ptr().cast_mut() };
    set_socket_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

fn set_option<T>(socket: &OwnedFd, name: libc::c_int, value: &T) -> io::Result<()> {
    set_socket_option(socket, libc::SOL_PACKET, name, value)
}

fn set_socket_option<T>(
    socket: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value is of the length given and is only read, what it points to included.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), len) })
        .map(drop)
}

fn map(socket: &OwnedFd, len: usize) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at a place of the kernel's choice touches no memory of ours.
    let memory =
        unsafe { libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, socket.as_raw_fd(), 0) };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(memory.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_of_any_size_are_whole_blocks() {
        for (bytes, block_bytes, blocks) in [
            (0, 16 << 10, 4),
            (64 << 10, 16 << 10, 4),
            (1 << 20, 256 << 10, 4),
            (64 << 20, 1 << 20, 64),
            (3 << 20, 512 << 10, 6),
        ] {
            assert_eq!(RingOptions::of_bytes(bytes), RingOptions { block_bytes, blocks }, "{bytes}");
        }
        assert_eq!(RingOptions::of_bytes(16 << 20), RingOptions::default());
    }

    #[test]
    fn more_frames_than_can_be_counted_are_not_asked_for() {
        assert!(RingOptions::default().request().is_some());
        assert!(RingOptions { block_bytes: 1 << 30, blocks: 1 << 30 }.request().is_none());
    }
}
