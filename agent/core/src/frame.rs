//! Frames: bytes as they were captured, with what the capture knows about them.

use reeve_policy::Timestamp;
use serde::{Deserialize, Serialize};

/// How a frame's bytes begin. The numbers are those of capture files (LINKTYPE registry of the Tcpdump Group).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkType {
    /// BSD loopback: four bytes of address family in the writer's byte order. LINKTYPE_NULL, 0.
    Null,
    /// Ethernet. LINKTYPE_ETHERNET, 1.
    Ethernet,
    /// An IPv4 or IPv6 header at once. LINKTYPE_RAW, 101 (and 12, 14, 228, 229, which some writers use).
    RawIp,
    /// Linux "cooked" capture. LINKTYPE_LINUX_SLL, 113.
    LinuxSll,
    /// Linux "cooked" capture, version 2. LINKTYPE_LINUX_SLL2, 276.
    LinuxSll2,
}

impl LinkType {
    /// From the number in a capture file; `None` for one that is not supported.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Null),
            1 => Some(Self::Ethernet),
            12 | 14 | 101 | 228 | 229 => Some(Self::RawIp),
            113 => Some(Self::LinuxSll),
            276 => Some(Self::LinuxSll2),
            _ => None,
        }
    }

    /// The number in a capture file.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Null => 0,
            Self::Ethernet => 1,
            Self::RawIp => 101,
            Self::LinuxSll => 113,
            Self::LinuxSll2 => 276,
        }
    }
}

/// Which vantage a frame was seen at: an index into [`crate::topology::Topology::vantages`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VantageId(pub u16);

/// Which way a frame went through the interface, as the node's kernel sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Passage {
    /// Into the node. On a tenant's port that is what the tenant sent.
    In,
    /// Out of the node (`PACKET_OUTGOING`).
    Out,
    /// A capture file does not say: direction is decided by addresses alone.
    Unknown,
}

/// By whose process of the node itself a packet was sent, or to whose it came: a number that stands for one tenant there
/// ([`crate::topology::local`]). It is never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner(pub u32);

impl Owner {
    /// The mail server that all customers of the node share: what it sends is on behalf of somebody else.
    pub const MAILER: Self = Self(1);
}

/// One captured frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// When the kernel, or the capture file, says it was seen.
    pub at: Timestamp,
    /// Where it was seen.
    pub vantage: VantageId,
    /// Which way it went.
    pub passage: Passage,
    /// By whose process, or to whose, where the capture knows it.
    pub owner: Option<Owner>,
    /// How `data` begins.
    pub link: LinkType,
    /// The VLAN tag that the kernel took out of the frame, if it did (`TP_STATUS_VLAN_VALID`): the 12-bit id.
    pub vlan: Option<u16>,
    /// As much of the frame as was captured.
    pub data: &'a [u8],
    /// The length of the whole frame in bytes; not less than `data.len()`.
    pub wire_len: u32,
}
