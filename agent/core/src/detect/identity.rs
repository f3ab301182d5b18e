//! What is held against one tenant for saying that it is somebody else: `spoof.source`, `spoof.arp`, `spoof.nd` and `spoof.routing`.
//!
//! It is made when there is first something to hold. What is seen comes from [`crate::shard`], which knows whose addresses are whose; the numbers and
//! what stays silent stand with each class: [`source`], [`claims`], [`routing`].

use std::net::IpAddr;

use reeve_policy::Timestamp;
use reeve_policy::language::thresholds::Thresholds;

use super::claims::{self, Minute};
use super::routing::{self, Speech};
use super::source::{self, Sources};
use super::{Finding, REPEAT};
use reeve_policy::Target;

/// Something that a tenant did or met on its link.
#[derive(Clone, Copy, Debug)]
pub enum Sign {
    /// It sent a packet from an address that is not its own.
    Forged {
        /// The address.
        source: IpAddr,
        /// Whom to.
        target: Target,
        /// Whether the address is another tenant's.
        is_assigned: bool,
    },
    /// A packet to an address that is not its own was delivered to it.
    Delivered(IpAddr),
    /// It claimed another's address.
    Claimed(IpAddr),
    /// It and another claim an address that nobody is known to have, in so many turns since then.
    Contested(IpAddr, u32, Timestamp),
    /// It said what only a router may.
    Said(Speech, Target),
}

/// The signs of one tenant.
#[derive(Debug, Default)]
pub struct Identity {
    sources: Sources,
    arp: Minute,
    neighbours: Minute,
    routing: Minute,
}

impl Identity {
    /// The most bytes that one takes.
    pub const BYTES: usize = size_of::<Self>() + Sources::BYTES + 3 * Minute::BYTES;

    /// Takes a sign; what is to be told at once.
    pub fn handle(&mut self, numbers: &Thresholds, sign: Sign, at: Timestamp) -> Option<Finding> {
        match sign {
            Sign::Forged { source, target, is_assigned } => {
                self.sources.sent(&numbers.spoof_source, source, target, is_assigned, at);
                None
            }
            Sign::Delivered(destination) => {
                self.sources.delivered(destination, at);
                None
            }
            Sign::Claimed(address @ IpAddr::V4(_)) => {
                claims::judge(&mut self.arp, &numbers.spoof_arp, address, at)
            }
            Sign::Claimed(address @ IpAddr::V6(_)) => {
                claims::judge(&mut self.neighbours, &numbers.spoof_nd, address, at)
            }
            Sign::Contested(address, turns, since) => Some(claims::contested(address, turns, (since, at))),
            Sign::Said(speech, target) => {
                routing::judge(&mut self.routing, &numbers.spoof_routing, speech, target, at)
            }
        }
    }

    /// When [`Identity::handle_timeout`] next has something to do.
    #[must_use]
    pub const fn next_deadline(&self) -> Option<Timestamp> {
        self.sources.next_deadline()
    }

    /// Judges what was to wait.
    pub fn handle_timeout(&mut self, numbers: &Thresholds, now: Timestamp) -> Option<Finding> {
        self.sources.handle_timeout(&numbers.spoof_source, now)
    }

    /// Whether nothing here matters any more.
    #[must_use]
    pub fn is_idle(&self, now: Timestamp) -> bool {
        let later = now.minus(REPEAT);
        self.sources.is_idle(now)
            && [&self.arp, &self.neighbours, &self.routing].iter().all(|one| one.is_idle(later))
    }
}

// It exists for those who pretend, and for those to whom foreign addresses are routed.
const _: () = assert!(Identity::BYTES <= 24 * 1024);
const _: () = assert!(source::PATIENCE.as_secs() < REPEAT.as_secs());
