//! The few system calls that the standard library does not offer: namespaces, packet sockets, signals to a group.
//!
//! This is the only module of the crate with `unsafe` in it. Every function takes and gives ordinary types and reports
//! failure as [`io::Error`]. Left out: everything that a command of iproute2 does as well and not too slowly.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Moves the calling thread, and no other, into a network namespace (setns(2)).
pub fn enter_network_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the call, and setns touches no memory of ours.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Kills a whole process group by the id of its leader. A group that is gone already is no error.
pub fn kill_group(leader: u32) {
    if let Ok(group @ 2..) = i32::try_from(leader) {
        // SAFETY: kill takes two integers; the group is above 1, so neither init nor our own group is meant.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
}

/// Sends one signal to one process.
pub fn signal_process(pid: u32, signal: i32) -> io::Result<()> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: kill takes two integers and touches no memory of ours.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Whether this process may do what the lab needs: its effective user is root.
pub fn is_root() -> bool {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Clock ticks per second, the unit of the times in `/proc/PID/stat`.
pub fn clock_ticks_per_second() -> f64 {
    // SAFETY: sysconf takes an integer and touches no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

/// Lets blocking reads, and accepts, on a socket give up after `timeout` with `WouldBlock`.
pub fn set_receive_timeout(socket: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    let value = libc::timeval {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_usec: libc::suseconds_t::from(timeout.subsec_micros()),
    };
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &value)
}

/// A raw socket on one interface (packet(7)): whole frames in and out.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
}

/// One frame as it was received.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// How many bytes of it are in the buffer.
    pub len: usize,
    /// The kernel's stamp, since the Unix epoch.
    pub at: Duration,
}

/// The room that the kernel keeps for frames which are not read yet.
const RECEIVE_BUFFER: libc::c_int = 64 << 20;
/// packet(7); linux/if_packet.h.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

impl PacketSocket {
    /// Opens a socket on `interface` in the calling thread's namespace. `listen` says whether frames are to be received.
    pub fn open(interface: &str, listen: bool) -> io::Result<Self> {
        let name = CString::new(interface)?;
        // SAFETY: `name` is a valid C string for the length of the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        // The protocol is given only with bind(), so that no frame of another interface slips in before it.
        // SAFETY: socket takes integers; the descriptor it gives is owned by nobody else.
        let fd = unsafe {
            OwnedFd::from_raw_fd(check(libc::socket(
                libc::AF_PACKET,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                0,
            ))?)
        };
        let socket = Self { fd };
        socket.option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER)?;
        socket.option(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1_i32)?;
        socket.option(libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1_i32)?;
        set_receive_timeout(socket.borrow(), Duration::from_millis(20))?;
        // SAFETY: an all-zero sockaddr_ll is a valid value.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = if listen { (libc::ETH_P_ALL as u16).to_be() } else { 0 };
        address.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
        let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: `address` is a sockaddr_ll and `len` its size.
        check(unsafe { libc::bind(socket.fd.as_raw_fd(), (&raw const address).cast(), len) })?;
        Ok(socket)
    }

    /// Reads one frame, cut to the buffer; `None` when none came within 20 ms.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // Room for one control message with a timespec, aligned.
        let mut control = [0_u64; 8];
        // SAFETY: an all-zero msghdr is a valid value.
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control) as _;
        // SAFETY: the message points to a buffer and control room that are ours alone during the call.
        let read = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, 0) };
        let Ok(len) = usize::try_from(read) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            };
        };
        Ok(Some(Received { len, at: stamp(&message)? }))
    }

    /// How many frames the kernel dropped because nobody read them in time, since the last call.
    pub fn take_drops(&self) -> io::Result<u32> {
        // SAFETY: an all-zero tpacket_stats is a valid value.
        let mut stats: libc::tpacket_stats = unsafe { zeroed() };
        let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: pointer and length belong to `stats`.
        check(unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut len,
            )
        })?;
        Ok(stats.tp_drops)
    }

    /// Sends frames in one call (sendmmsg(2)); gives how many went out.
    pub fn send_batch<const N: usize>(&self, frames: &mut [[u8; N]]) -> io::Result<usize> {
        let mut parts: Vec<libc::iovec> = frames
            .iter_mut()
            .map(|frame| libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: N })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = parts
            .iter_mut()
            .map(|part| {
                // SAFETY: an all-zero mmsghdr is a valid value: no name, no control data.
                let mut message: libc::mmsghdr = unsafe { zeroed() };
                message.msg_hdr.msg_iov = part;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        let count = u32::try_from(messages.len()).map_err(io::Error::other)?;
        // SAFETY: `messages` points into `parts` and that into `frames`; all three live until the call is over.
        let sent = unsafe { libc::sendmmsg(self.fd.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        check(sent).map(|sent| sent.unsigned_abs() as usize)
    }

    /// Hands frames to the driver without a queue in between, as packet generators do.
    pub fn bypass_queue(&self) -> io::Result<()> {
        self.option(libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &1_i32)
    }

    fn option<T>(&self, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
        set_option(self.borrow(), level, name, value)
    }

    fn borrow(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.fd.as_fd()
    }
}

/// The kernel's stamp among a message's control messages (socket(7), SO_TIMESTAMPNS).
fn stamp(message: &libc::msghdr) -> io::Result<Duration> {
    // SAFETY: the kernel has filled in the control messages and their length; each is looked at within it.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(message);
        while !control.is_null() {
            if (*control).cmsg_level == libc::SOL_SOCKET && (*control).cmsg_type == libc::SCM_TIMESTAMPNS {
                let at = libc::CMSG_DATA(control).cast::<libc::timespec>().read_unaligned();
                return Ok(Duration::new(at.tv_sec.unsigned_abs(), at.tv_nsec.unsigned_abs() as u32));
            }
            control = libc::CMSG_NXTHDR(message, control);
        }
    }
    Err(io::Error::other("a frame came without a stamp"))
}

fn set_option<T>(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: pointer and length belong to `value`, which the kernel only reads.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (value as *const T).cast(), len) })
        .map(drop)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
