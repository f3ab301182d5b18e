//! Enforcement: the kernel made to hold what is desired, and looked at to see that it does.
//!
//! [`Enforcer`] owns table `inet reeve`, and touches nothing else. Each change is one transaction, read back and compared.
//! A change that the kernel refuses, or a table that somebody else has touched, is answered by laying the whole table down
//! anew, again in one transaction: packets meet the old one or the new one, never none.
//!
//! Every measure has a kernel timeout, so that a dead agent holds nobody for ever; measures without an end of their own
//! have a lease that is renewed ([`RENEW_EVERY`]).
//!
//! Left out: which elements there are to be (`reeve_core::ruleset::elements`), and when to look ([`crate::run`]).

pub mod netlink;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reeve_core::ruleset::elements::LEASE;
use reeve_core::ruleset::{Element, Elements, Lasting, Ruleset};
use reeve_policy::{DecisionId, MeasureCounters, Timestamp};

use netlink::read::{self, Observed};
use netlink::{Batch, NetlinkError, Socket, print};

/// How often leases are renewed.
pub const RENEW_EVERY: Duration = Duration::from_secs(3_600);

/// How far a timeout in the kernel may be from what it should be: ticks, and the time between telling and looking.
const TIMEOUT_TOLERANCE: Duration = Duration::from_secs(5);

/// Why the kernel does not hold what is desired.
#[derive(Debug, thiserror::Error)]
pub enum EnforceError {
    /// The kernel has no nftables.
    #[error("the kernel has no nftables (module nf_tables): {0}")]
    NoNftables(#[source] NetlinkError),
    /// The process lacks CAP_NET_ADMIN.
    #[error("changing the ruleset is not permitted (CAP_NET_ADMIN is missing): {0}")]
    NotPermitted(#[source] NetlinkError),
    /// A set is full.
    #[error("a set is full, so a measure does not stand: {0}")]
    Full(#[source] NetlinkError),
    /// Anything else that the kernel refused.
    #[error(transparent)]
    Netlink(NetlinkError),
    /// The kernel took the change, but holds something else.
    #[error("read back from the kernel: {missing} elements are missing and {surplus} too many")]
    NotAsTold {
        /// How many are missing.
        missing: usize,
        /// How many nobody told it.
        surplus: usize,
    },
}

impl From<NetlinkError> for EnforceError {
    fn from(error: NetlinkError) -> Self {
        match error.errno() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted(error),
            Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT | libc::EOPNOTSUPP) => Self::NoNftables(error),
            Some(libc::ENFILE | libc::ENOSPC) => Self::Full(error),
            _ => Self::Netlink(error),
        }
    }
}

/// What [`Enforcer::check`] found and mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tampering {
    /// Elements that had gone.
    pub missing: usize,
    /// Members that nobody of ours added.
    pub surplus: usize,
    /// Whether chains, rules or sets had been changed.
    pub skeleton: bool,
}

/// The keeper of our table, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Enforcer {
    socket: Socket,
    ruleset: Ruleset,
    held: Elements,
    /// What elements counted before they were laid down anew.
    carried: BTreeMap<Element, MeasureCounters>,
    skeleton: BTreeSet<String>,
    generation: Option<u32>,
    renewed: Timestamp,
}

impl Enforcer {
    /// Opens the way to the kernel. Nothing is changed yet.
    ///
    /// # Errors
    /// Where the kernel has no nftables, or the process may not.
    pub fn open() -> Result<Self, EnforceError> {
        Ok(Self {
            socket: Socket::open()?,
            ruleset: Ruleset::new(),
            held: Elements::new(),
            carried: BTreeMap::new(),
            skeleton: BTreeSet::new(),
            generation: None,
            renewed: Timestamp::EPOCH,
        })
    }

    /// Lays the table down with `elements`, in place of any that there was: one transaction.
    ///
    /// # Errors
    /// What the kernel refused; the table before stands then.
    pub fn install(&mut self, elements: Elements, now: Timestamp) -> Result<(), EnforceError> {
        let before = read::observe(&mut self.socket)?;
        let mut batch = Batch::default();
        print::remove(&mut batch);
        print::install(&mut batch, &self.ruleset);
        print::add(&mut batch, &elements, now);
        self.socket.transact(batch)?;
        self.carry(&before, |element| elements.contains_key(element));
        self.held = elements;
        self.renewed = now;
        self.skeleton = read::skeleton(&mut self.socket)?;
        self.verify(now)
    }

    /// Makes the kernel hold `wanted` and nothing else.
    ///
    /// # Errors
    /// What the kernel refused, even of a table laid down anew.
    pub fn apply(&mut self, wanted: Elements, now: Timestamp) -> Result<(), EnforceError> {
        match self.apply_difference(&wanted, now) {
            Ok(()) => Ok(()),
            Err(EnforceError::NotPermitted(error)) => Err(EnforceError::NotPermitted(error)),
            Err(error) => {
                tracing::warn!(%error, "a change of the ruleset failed; the table is laid down anew");
                self.install(wanted, now)
            }
        }
    }

    fn apply_difference(&mut self, wanted: &Elements, now: Timestamp) -> Result<(), EnforceError> {
        let stays = |element: &Element| {
            let (held, wanted) = (self.held.get(element), wanted.get(element));
            held.zip(wanted).is_some_and(|(held, wanted)| held.lasting == wanted.lasting)
        };
        let gone: Vec<Element> = self.held.keys().filter(|element| !stays(element)).cloned().collect();
        let new: Elements = wanted
            .iter()
            .filter(|(element, _)| !stays(element))
            .map(|(element, hold)| (element.clone(), hold.clone()))
            .collect();
        if gone.is_empty() && new.is_empty() {
            self.held = wanted.clone();
            return Ok(());
        }
        if !gone.is_empty() {
            let before = read::observe(&mut self.socket)?;
            // What has run out is gone already, or will be within a tick.
            let there = |element: &&Element| before.elements.contains_key(*element);
            let mut batch = Batch::default();
            print::delete(&mut batch, gone.iter().filter(there));
            print::add(&mut batch, &new, now);
            self.socket.transact(batch)?;
            self.carry(&before, |element| new.contains_key(element));
            self.carried.retain(|element, _| wanted.contains_key(element));
        } else {
            let mut batch = Batch::default();
            print::add(&mut batch, &new, now);
            self.socket.transact(batch)?;
        }
        self.held = wanted.clone();
        self.verify(now)
    }

    /// Looks whether anybody touched the table, and mends it if so.
    ///
    /// # Errors
    /// When the kernel cannot be asked, or refuses the mending.
    pub fn check(&mut self, now: Timestamp) -> Result<Option<Tampering>, EnforceError> {
        let generation = read::generation(&mut self.socket)?;
        if generation.is_some() && generation == self.generation {
            return Ok(None);
        }
        let observed = read::observe(&mut self.socket)?;
        let (missing, surplus) = self.difference(&observed, now);
        let skeleton = read::skeleton(&mut self.socket)? != self.skeleton;
        if missing == 0 && surplus == 0 && !skeleton {
            self.generation = generation;
            return Ok(None);
        }
        self.install(self.held.clone(), now)?;
        Ok(Some(Tampering { missing, surplus, skeleton }))
    }

    /// Renews leases, if it is time.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn renew(&mut self, now: Timestamp) -> Result<(), EnforceError> {
        if now.since(self.renewed) < RENEW_EVERY {
            return Ok(());
        }
        let leases: Elements = self
            .held
            .iter()
            .filter(|(_, hold)| hold.lasting == Lasting::Lease)
            .map(|(element, hold)| (element.clone(), hold.clone()))
            .collect();
        self.renewed = now;
        if leases.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        print::add(&mut batch, &leases, now);
        self.socket.transact(batch)?;
        let observed = read::observe(&mut self.socket)?;
        let is_renewed = |element: &Element| {
            let remaining = observed.elements.get(element).and_then(|standing| standing.remaining);
            remaining.is_some_and(|remaining| remaining + TIMEOUT_TOLERANCE >= LEASE)
        };
        if leases.keys().all(is_renewed) {
            return self.verify(now);
        }
        // Before Linux 6.12 an element that is added again keeps its timeout: lay it down anew.
        self.install(self.held.clone(), now)
    }

    /// What each measure has stopped. Where one element serves several, each is told all of it.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn counters(&mut self) -> Result<BTreeMap<DecisionId, MeasureCounters>, EnforceError> {
        let observed = read::observe(&mut self.socket)?;
        let mut by_decision: BTreeMap<DecisionId, MeasureCounters> = BTreeMap::new();
        for (element, hold) in &self.held {
            let now = observed.elements.get(element).map(|standing| standing.counters).unwrap_or_default();
            let before = self.carried.get(element).copied().unwrap_or_default();
            for id in &hold.decisions {
                let sum = by_decision.entry(id.clone()).or_default();
                sum.packets += now.packets + before.packets;
                sum.bytes += now.bytes + before.bytes;
            }
        }
        Ok(by_decision)
    }

    /// The bytes of the last transaction, and how long it took from the first sent to the last acknowledged.
    #[must_use]
    pub fn last_transaction(&self) -> (usize, Duration) {
        self.socket.last_transaction()
    }

    /// The elements that the kernel was told last.
    #[must_use]
    pub fn held(&self) -> &Elements {
        &self.held
    }

    /// What the kernel holds.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn observe(&mut self) -> Result<Observed, EnforceError> {
        Ok(read::observe(&mut self.socket)?)
    }

    /// Whether our table is there, whoever made it.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn is_installed(&mut self) -> Result<bool, EnforceError> {
        Ok(!read::skeleton(&mut self.socket)?.is_empty())
    }

    /// Takes our table away, with everything in it. It is no error if there is none.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn clear(&mut self) -> Result<(), EnforceError> {
        let mut batch = Batch::default();
        print::remove(&mut batch);
        self.socket.transact(batch)?;
        (self.held, self.carried) = (Elements::new(), BTreeMap::new());
        Ok(())
    }

    /// Reads back and compares.
    fn verify(&mut self, now: Timestamp) -> Result<(), EnforceError> {
        // Taken before: what somebody changes while we look is noticed the next time.
        let generation = read::generation(&mut self.socket)?;
        let observed = read::observe(&mut self.socket)?;
        let (missing, surplus) = self.difference(&observed, now);
        if missing + surplus > 0 {
            return Err(EnforceError::NotAsTold { missing, surplus });
        }
        self.generation = generation;
        Ok(())
    }

    /// How many elements the kernel lacks, or holds for too short a time, and how many it has too many.
    fn difference(&self, observed: &Observed, now: Timestamp) -> (usize, usize) {
        let stands = |(element, hold): &(&Element, &reeve_core::ruleset::Hold)| {
            let standing = observed.elements.get(*element);
            match hold.lasting {
                Lasting::Always => standing.is_some_and(|standing| standing.remaining.is_none()),
                Lasting::Lease => standing.is_some_and(|standing| standing.remaining.is_some()),
                Lasting::Until(end) => {
                    let left = end.since(now);
                    let remaining = standing.and_then(|standing| standing.remaining);
                    // What ends about now may be there or not.
                    left <= TIMEOUT_TOLERANCE
                        || remaining.is_some_and(|remaining| remaining + TIMEOUT_TOLERANCE >= left)
                }
            }
        };
        let missing = self.held.iter().filter(|pair| !stands(pair)).count();
        let is_ours = |element: &&Element| self.held.contains_key(*element);
        let surplus = observed.elements.keys().filter(|element| !is_ours(element)).count() + observed.foreign;
        (missing, surplus)
    }

    /// Remembers what elements counted that begin anew.
    fn carry(&mut self, before: &Observed, begins_anew: impl Fn(&Element) -> bool) {
        for (element, standing) in &before.elements {
            if begins_anew(element) {
                let carried = self.carried.entry(element.clone()).or_default();
                carried.packets += standing.counters.packets;
                carried.bytes += standing.counters.bytes;
            }
        }
    }
}
