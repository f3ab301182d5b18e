//! Enforcement: the kernel made to hold what is desired, and looked at to see that it does.
//!
//! [`Enforcer`] keeps tables `inet reeve` and `bridge reeve`, and touches nothing else. Each change is one transaction; what it was
//! about is read back and compared, whatever else there is. That nobody else has changed anything is known by the ruleset's generation,
//! which counts transactions: where it is not what ours come to, all is read and compared. A change that the kernel refuses, or a table that somebody else has touched, is answered by laying the tables
//! down anew, again in one transaction: packets meet the old ones or the new ones, never none.
//!
//! **Ownership.** From Linux 6.9 on a table may belong to a netlink socket (`OWNER`) and outlive it (`PERSIST`): nobody else
//! can change it, it stands when the agent is killed, and whoever comes next takes it over. Never the one without the
//! other: such a table would go with its owner. Elsewhere the tables are plain, and what others do to them is noticed and mended.
//!
//! Every measure has a kernel timeout, so that a dead agent holds nobody for ever; measures without an end of their own
//! have a lease that is renewed ([`RENEW_EVERY`]).
//!
//! Left out: which elements there are to be (`reeve_core::ruleset::elements`), and when to look ([`crate::run`]).

mod change;
pub mod netlink;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use reeve_core::engine::MailWord;
use reeve_core::ruleset::elements::{LEASE, objects};
use reeve_core::ruleset::{Element, Elements, Extras, Family, Hold, Lasting, OwnerSet, Ruleset, SetId};
use reeve_policy::{DecisionId, MeasureCounters, Timestamp};

use netlink::read::{self, Observed};
use netlink::{Batch, NetlinkError, Socket, print};
use told::Told;

/// How often leases are renewed.
pub const RENEW_EVERY: Duration = Duration::from_secs(3_600);

/// How far a timeout in the kernel may be from what it should be: ticks, and the time between telling and looking.
const TIMEOUT_TOLERANCE: Duration = Duration::from_secs(5);

/// Whether our tables are to belong to our socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Ownership {
    /// If the kernel knows how.
    #[default]
    Auto,
    /// Yes, or not at all.
    Owner,
    /// No: others may touch them, and it is mended.
    Plain,
}

/// `NFT_TABLE_F_OWNER` and `NFT_TABLE_F_PERSIST` (linux/netfilter/nf_tables.h).
const OWNED: u32 = 2 | 4;

/// Why the kernel does not hold what is desired.
#[derive(Debug, thiserror::Error)]
pub enum EnforceError {
    /// The kernel has no nftables.
    #[error("the kernel has no nftables (module nf_tables): {0}")]
    NoNftables(#[source] NetlinkError),
    /// The process lacks CAP_NET_ADMIN.
    #[error("changing the ruleset is not permitted (CAP_NET_ADMIN is missing): {0}")]
    NotPermitted(#[source] NetlinkError),
    /// Somebody else owns one of our tables.
    #[error("table {family} reeve belongs to another process, which must end first")]
    Owned {
        /// Which.
        family: &'static str,
    },
    /// A set is full.
    #[error("a set is full, so a measure does not stand: {0}")]
    Full(#[source] NetlinkError),
    /// Anything else that the kernel refused.
    #[error(transparent)]
    Netlink(NetlinkError),
    /// The kernel changes no limit that it has.
    #[error("a limit that stands already is to have another rate")]
    OtherRate,
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
    /// Elements and limits that had gone.
    pub missing: usize,
    /// Members that nobody of ours added.
    pub surplus: usize,
    /// Whether chains, rules or sets had been changed.
    pub skeleton: bool,
}

/// Looking costs at most one part in so many of the time, however often others change their own tables.
const LOOKING_SHARE: u32 = 10;

/// The keeper of our tables, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Enforcer {
    socket: Socket,
    ownership: Ownership,
    /// What the tables are made with, as far as the kernel takes it.
    flags: u32,
    rulesets: Vec<Ruleset>,
    told: Told,
    /// Limits that nothing leads to any more, and that the kernel may not have let go yet.
    stale: BTreeSet<String>,
    /// What elements counted before they were laid down anew.
    carried: BTreeMap<Element, MeasureCounters>,
    skeletons: Vec<BTreeSet<String>>,
    generation: Option<u32>,
    look_again: Option<Instant>,
    renewed: Timestamp,
}

impl Enforcer {
    /// Opens the way to the kernel. Nothing is changed yet.
    ///
    /// # Errors
    /// Where the kernel has no nftables, or the process may not.
    pub fn open(ownership: Ownership) -> Result<Self, EnforceError> {
        Self::open_with(ownership, Extras::default())
    }

    /// The same with what there is on some nodes only.
    ///
    /// # Errors
    /// As [`Enforcer::open`].
    pub fn open_with(ownership: Ownership, extras: impl Into<Extras>) -> Result<Self, EnforceError> {
        let extras = extras.into();
        Ok(Self {
            socket: Socket::open()?,
            ownership,
            flags: if ownership == Ownership::Plain { 0 } else { OWNED },
            rulesets: Family::ALL.map(|family| Ruleset::with_local(family, extras)).to_vec(),
            told: Told::default(),
            stale: BTreeSet::new(),
            carried: BTreeMap::new(),
            skeletons: Vec::new(),
            generation: None,
            look_again: None,
            renewed: Timestamp::EPOCH,
        })
    }

    /// Whether our tables belong to our socket, so that nobody else can change them.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        self.flags == OWNED
    }

    /// Lays the tables down with `elements`, in place of any that there were: one transaction.
    ///
    /// # Errors
    /// What the kernel refused; the tables before stand then.
    pub fn install(&mut self, elements: Elements, now: Timestamp) -> Result<(), EnforceError> {
        let before = self.observe()?;
        self.replace(elements, before, now)
    }

    fn replace(
        &mut self,
        elements: Elements,
        before: Vec<Observed>,
        now: Timestamp,
    ) -> Result<(), EnforceError> {
        while let Err(error) = self.lay_down(&elements, now) {
            self.yield_to(error)?;
        }
        self.carry(&before, |element| elements.contains_key(element));
        self.carried.retain(|element, _| elements.contains_key(element));
        self.told = Told::of(elements);
        self.stale.clear();
        self.renewed = now;
        self.skeletons = self.skeletons()?;
        self.verify(now)
    }

    fn lay_down(&mut self, elements: &Elements, now: Timestamp) -> Result<(), EnforceError> {
        let mut batch = Batch::default();
        let limits = objects(elements);
        for ruleset in &self.rulesets {
            let family = ruleset.family;
            let seen = read::table(&mut self.socket, family)?;
            if seen.is_some_and(|seen| seen.owner.is_some_and(|owner| owner != self.socket.port())) {
                return Err(EnforceError::Owned { family: family.name() });
            }
            if seen.is_some() {
                print::remove(&mut batch, family);
            }
            print::install(&mut batch, ruleset, self.flags);
            print::add_limits(&mut batch, family, limits.iter());
            print::add(&mut batch, family, elements, now);
        }
        Ok(self.transact(batch)?)
    }

    /// Goes on with less where the kernel does not know something that can be done without.
    fn yield_to(&mut self, error: EnforceError) -> Result<(), EnforceError> {
        let refused = match &error {
            EnforceError::Netlink(cause) | EnforceError::NoNftables(cause) => cause.refused(),
            _ => None,
        };
        let Some((what, errno)) = refused else { return Err(error) };
        let is_unknown =
            matches!(errno, libc::EOPNOTSUPP | libc::EINVAL | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT);
        let is_bridge = what == "table bridge reeve" && errno != libc::EINVAL && self.rulesets.len() > 1;
        if is_unknown && self.flags != 0 && self.ownership == Ownership::Auto && what.starts_with("table ") {
            tracing::debug!(
                "the kernel knows no tables with owners that persist (Linux 6.9 does); ours are plain"
            );
            self.flags = 0;
            return Ok(());
        }
        if is_unknown && is_bridge {
            tracing::warn!(
                "the kernel has no nftables for bridges: what is bridged is held only where it passes as routed"
            );
            self.rulesets.retain(|ruleset| ruleset.family != Family::Bridge);
            return Ok(());
        }
        Err(error)
    }

    /// Looks whether anybody touched the tables, and mends them if so.
    ///
    /// # Errors
    /// When the kernel cannot be asked, or refuses the mending.
    pub fn check(&mut self, now: Timestamp) -> Result<Option<Tampering>, EnforceError> {
        let generation = read::generation(&mut self.socket)?;
        if generation.is_some() && generation == self.generation {
            return Ok(None);
        }
        // A flush takes the tables away, and then every packet counts: they are laid down first and looked at after.
        if self.is_gone()? {
            let elements = self.held().clone();
            let missing = elements.len();
            self.replace(elements, Vec::new(), now)?;
            return Ok(Some(Tampering { missing, surplus: 0, skeleton: true }));
        }
        if self.look_again.is_some_and(|again| Instant::now() < again) {
            return Ok(None);
        }
        let began = Instant::now();
        let found = self.look(now)?;
        if found == (Tampering { missing: 0, surplus: 0, skeleton: false }) {
            self.generation = generation;
            self.look_again = Some(Instant::now() + began.elapsed() * LOOKING_SHARE);
            return Ok(None);
        }
        self.install(self.held().clone(), now)?;
        Ok(Some(found))
    }

    /// Whether one of our tables is not there, or is no longer ours.
    fn is_gone(&mut self) -> Result<bool, EnforceError> {
        for ruleset in &self.rulesets {
            let seen = read::table(&mut self.socket, ruleset.family)?;
            let is_ours = |seen: read::TableSeen| self.flags == 0 || seen.owner == Some(self.socket.port());
            if !seen.is_some_and(is_ours) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn look(&mut self, now: Timestamp) -> Result<Tampering, EnforceError> {
        if self.is_owner() {
            // Nobody else can have changed what is ours.
            return Ok(Tampering { missing: 0, surplus: 0, skeleton: false });
        }
        let observed = self.observe()?;
        let (missing, surplus) = self.difference(&observed, now);
        let skeleton = self.skeletons()? != self.skeletons;
        Ok(Tampering { missing, surplus, skeleton })
    }

    /// Renews leases, if it is time.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn renew(&mut self, now: Timestamp) -> Result<(), EnforceError> {
        self.drop_stale();
        if now.since(self.renewed) < RENEW_EVERY {
            return Ok(());
        }
        let leases: Elements = self
            .held()
            .iter()
            .filter(|(_, hold)| hold.lasting == Lasting::Lease)
            .map(|(element, hold)| (element.clone(), hold.clone()))
            .collect();
        self.renewed = now;
        if leases.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        for ruleset in &self.rulesets {
            print::add(&mut batch, ruleset.family, &leases, now);
        }
        self.transact(batch)?;
        let observed = self.observe()?;
        let is_renewed = |element: &Element| {
            let tables = observed.iter().zip(&self.rulesets);
            tables.filter(|(_, ruleset)| element.set().is_in(ruleset.family)).all(|(table, _)| {
                let remaining = table.elements.get(element).and_then(|standing| standing.remaining);
                remaining.is_some_and(|remaining| remaining + TIMEOUT_TOLERANCE >= LEASE)
            })
        };
        if leases.keys().all(is_renewed) {
            return self.verify(now);
        }
        // Before Linux 6.12 an element that is added again keeps its timeout: lay it down anew.
        self.install(self.held().clone(), now)
    }

    /// Whether senders of mail are looked at.
    #[must_use]
    pub fn weighs_mail(&self) -> bool {
        self.told.counts().get(&SetId::Owner(OwnerSet::MailWeighed)).is_some_and(|count| *count > 0)
    }

    /// Lets connections of the shared mail server's go on, or cuts them. Unless senders are looked at there is nothing to be done.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn pass_mail(&mut self, words: &[MailWord]) -> Result<(), EnforceError> {
        if !self.weighs_mail() {
            return Ok(());
        }
        let mut batch = Batch::default();
        print::add_connections(&mut batch, words);
        Ok(self.transact(batch)?)
    }

    /// What each measure has stopped. Where one element serves several, each is told all of it.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn counters(&mut self) -> Result<BTreeMap<DecisionId, MeasureCounters>, EnforceError> {
        let observed = self.observe()?;
        let mut by_decision = BTreeMap::new();
        for (element, hold) in self.held() {
            self.count(&observed, element, &hold.decisions, &mut by_decision);
        }
        Ok(by_decision)
    }

    /// What some measures have stopped. Of those without elements nothing is said.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn counters_of(
        &mut self,
        decisions: &[&DecisionId],
    ) -> Result<BTreeMap<DecisionId, MeasureCounters>, EnforceError> {
        let of = |id: &&DecisionId| self.told.of_decision(id).cloned().collect::<Vec<_>>();
        let elements: BTreeSet<Element> = decisions.iter().flat_map(of).collect();
        let observed = self.seen_of(elements.iter())?;
        let mut by_decision = BTreeMap::new();
        for id in decisions {
            for element in self.told.of_decision(id) {
                self.count(&observed, element, std::slice::from_ref(*id), &mut by_decision);
            }
        }
        Ok(by_decision)
    }

    /// Adds what an element has counted to what these decisions have stopped.
    fn count(
        &self,
        observed: &[Observed],
        element: &Element,
        decisions: &[DecisionId],
        sums: &mut BTreeMap<DecisionId, MeasureCounters>,
    ) {
        let before = self.carried.get(element).copied().unwrap_or_default();
        let now = observed.iter().filter_map(|table| table.elements.get(element));
        for id in decisions {
            let sum = sums.entry(id.clone()).or_default();
            sum.packets += before.packets;
            sum.bytes += before.bytes;
            for standing in now.clone() {
                sum.packets += standing.counters.packets;
                sum.bytes += standing.counters.bytes;
            }
        }
    }

    /// The bytes of the last transaction, and how long it took from the first sent to the last acknowledged.
    #[must_use]
    pub fn last_transaction(&self) -> (usize, Duration) {
        self.socket.last_transaction()
    }

    /// The elements that the kernel was told last.
    #[must_use]
    pub fn held(&self) -> &Elements {
        self.told.elements()
    }

    /// The set that has least room left, and which share of its room is taken, 0 to 1. A measure that finds a full set does not
    /// stand, so people must hear of it before.
    #[must_use]
    pub fn fullest(&self) -> Option<(SetId, f64)> {
        let share = |(set, count): (&SetId, &u32)| (*set, f64::from(*count) / f64::from(set.capacity()));
        self.told.counts().iter().map(share).max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// What the kernel holds, a value for each of our tables.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn observe(&mut self) -> Result<Vec<Observed>, EnforceError> {
        let socket = &mut self.socket;
        let tables = self.rulesets.iter().map(|ruleset| read::observe(socket, ruleset));
        Ok(tables.collect::<Result<_, _>>()?)
    }

    /// Whether one of our tables is there, whoever made it.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn is_installed(&mut self) -> Result<bool, EnforceError> {
        for ruleset in &self.rulesets {
            if read::table(&mut self.socket, ruleset.family)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes our tables away, with everything in them. It is no error if there is none.
    ///
    /// # Errors
    /// What the kernel refused; and where another process owns one.
    pub fn clear(&mut self) -> Result<(), EnforceError> {
        let mut batch = Batch::default();
        for ruleset in &self.rulesets {
            let Some(seen) = read::table(&mut self.socket, ruleset.family)? else { continue };
            if seen.owner.is_some_and(|owner| owner != self.socket.port()) {
                return Err(EnforceError::Owned { family: ruleset.family.name() });
            }
            print::remove(&mut batch, ruleset.family);
        }
        self.transact(batch)?;
        (self.told, self.carried) = (Told::default(), BTreeMap::new());
        Ok(())
    }

    /// Carries a transaction out. The generation that it makes is ours.
    fn transact(&mut self, batch: Batch) -> Result<(), NetlinkError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.socket.transact(batch)?;
        // The kernel leaves 0 out.
        self.generation = self.generation.map(|generation| generation.wrapping_add(1).max(1));
        Ok(())
    }

    fn skeletons(&mut self) -> Result<Vec<BTreeSet<String>>, EnforceError> {
        let socket = &mut self.socket;
        let tables = self.rulesets.iter().map(|ruleset| read::skeleton(socket, ruleset.family));
        Ok(tables.collect::<Result<_, _>>()?)
    }

    /// Reads back and compares.
    fn verify(&mut self, now: Timestamp) -> Result<(), EnforceError> {
        // Taken before: what somebody changes while we look is noticed the next time.
        let generation = read::generation(&mut self.socket)?;
        let observed = self.observe()?;
        let (missing, surplus) = self.difference(&observed, now);
        if missing + surplus > 0 {
            return Err(EnforceError::NotAsTold { missing, surplus });
        }
        self.generation = generation;
        Ok(())
    }

    /// How many elements and limits the kernel lacks, or holds for too short a time, and how many members it has too many.
    fn difference(&self, observed: &[Observed], now: Timestamp) -> (usize, usize) {
        let limits = objects(self.held());
        let (mut missing, mut surplus) = (0, 0);
        for (table, ruleset) in observed.iter().zip(&self.rulesets) {
            let here = self.held().iter().filter(|(element, _)| element.set().is_in(ruleset.family));
            missing += here.filter(|(element, hold)| !stands(table, element, hold, now)).count();
            missing += limits.keys().filter(|name| !table.limits.contains(*name)).count();
            let is_ours = |element: &&Element| self.held().contains_key(*element);
            surplus += table.elements.keys().filter(|element| !is_ours(element)).count() + table.foreign;
        }
        (missing, surplus)
    }

    /// Remembers what elements counted that begin anew.
    fn carry(&mut self, before: &[Observed], begins_anew: impl Fn(&Element) -> bool) {
        for (element, standing) in before.iter().flat_map(|table| &table.elements) {
            if begins_anew(element) {
                let carried = self.carried.entry(element.clone()).or_default();
                carried.packets += standing.counters.packets;
                carried.bytes += standing.counters.bytes;
            }
        }
    }
}

/// Whether an element stands in a table as it is to.
fn stands(table: &Observed, element: &Element, hold: &Hold, now: Timestamp) -> bool {
    let standing = table.elements.get(element);
    let is_in_time = match hold.lasting {
        Lasting::Always => standing.is_some_and(|standing| standing.remaining.is_none()),
        Lasting::Lease => standing.is_some_and(|standing| standing.remaining.is_some()),
        Lasting::Until(end) => {
            let left = end.since(now);
            let remaining = standing.and_then(|standing| standing.remaining);
            // What ends about now may be there or not.
            left <= TIMEOUT_TOLERANCE
                || remaining.is_some_and(|remaining| remaining + TIMEOUT_TOLERANCE >= left)
        }
    };
    is_in_time && standing.is_none_or(|standing| standing.object == hold.object(element))
}
