//! What a window is asked, and what it answers.

use reeve_policy::{Outcome, Protocol, Timestamp};

/// Why a target may be no evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Excuse(u8);

impl Excuse {
    /// None.
    pub const NONE: Self = Self(0);
    /// Nobody can have the address: a leak.
    pub const LEAK: Self = Self(1);
    /// It answered before: no first contact. It excuses failures, and that nothing is said.
    pub const KNOWN: Self = Self(2);
    /// The tenant's peer-to-peer node dialled it.
    pub const PEER: Self = Self(4);
    /// The host completed a connection to the tenant before. It excuses failures only.
    pub const CALLER: Self = Self(8);
    /// The host sent the tenant datagrams, and was answered, before; or somebody did in its name. It excuses failures only.
    pub const SPOKE: Self = Self(16);
    /// None at all: its port is one that intruders love, and what was tried there does not make room for noise.
    pub const LOVED: Self = Self(32);

    /// Either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it has any of `others`.
    #[must_use]
    pub const fn is_any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Whether a target with this excuse and `outcome` is left out by one who heeds `heeded`.
    pub(super) const fn excuses(self, outcome: Outcome, heeded: Self) -> bool {
        let all = Self(self.0 & heeded.0);
        let of_failures = Self::KNOWN.or(Self::CALLER).or(Self::SPOKE);
        all.is_any(Self::LEAK.or(Self::PEER)) || (all.is_any(of_failures) && outcome.is_unanswered())
    }
}

/// What a new note was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// What was known of the target before, within the window; `None` of a new one.
    pub before: Option<Outcome>,
}

/// The targets on ports that several hosts were tried on, and their hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crowd {
    /// Distinct targets.
    pub targets: u32,
    /// Of those, refused or silent.
    pub unanswered: u32,
    /// Of those, refused outright.
    pub refused: u32,
    /// Distinct hosts.
    pub hosts: u32,
    /// Of those, hosts of which no target answered.
    pub unanswered_hosts: u32,
    /// When the first of them was tried.
    pub first: Option<Timestamp>,
}

/// Which targets a count is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// One port of one protocol, on any host of what counts with one version of IP.
    Port(Protocol, Option<u16>, Version),
    /// One host, any port of one protocol.
    Host(std::net::IpAddr, Protocol),
}

/// The version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 4.
    Four,
    /// 6.
    Six,
}

impl Version {
    /// That of an address.
    #[must_use]
    pub const fn of(address: std::net::IpAddr) -> Self {
        if address.is_ipv4() { Self::Four } else { Self::Six }
    }

    /// Whether a target at an address of 128 bits counts with those of this version. Addresses of IPv6 cost nothing, so what answers there
    /// says nothing of IPv4; hosts that answer over IPv4 do cost, and whoever has a broken IPv6 falls back to them (RFC 8305).
    pub(super) const fn counts(self, bits: u128) -> bool {
        matches!((self, Self::of_bits(bits)), (Self::Six, _) | (_, Self::Four))
    }

    /// That of an address in 128 bits, where IPv4 stands in the mapped range (RFC 4291, section 2.5.5.2).
    pub(super) const fn of_bits(bits: u128) -> Self {
        if bits >> 32 == 0xffff { Self::Four } else { Self::Six }
    }
}

/// What a group of targets comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Distinct targets whose outcome is known.
    pub targets: u32,
    /// Of those, refused or silent.
    pub unanswered: u32,
    /// Of those, refused outright.
    pub refused: u32,
    /// Of those, answered, but the tenant said nothing: empty or aborted.
    pub mute: u32,
    /// Of the mute ones, those that the tenant did not come back to and had no business with before.
    pub mute_once: u32,
    /// Of the targets, with a port below 1024 over which the tenant said nothing.
    pub idle_low_ports: u32,
    /// When the first of them was tried.
    pub first: Option<Timestamp>,
}

impl Tally {
    /// The share of targets that did not answer, 0 to 1.
    #[must_use]
    pub fn unanswered_share(&self) -> f64 {
        if self.targets == 0 { 0.0 } else { f64::from(self.unanswered) / f64::from(self.targets) }
    }
}
