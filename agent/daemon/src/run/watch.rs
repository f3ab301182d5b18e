//! Interfaces that come and go: which of them are watched, under which vantage.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use reeve_core::VantageId;
use reeve_core::interest::Interest;
use reeve_core::topology::{Vantage, VantageKind};

use super::kind_name;
use crate::capture::ring::RingOptions;
use crate::capture::{self, CaptureError, RingSet, ring_bytes_each};
use crate::config::{Loaded, Settings};
use crate::links::{LinkEvent, Links, LinksError};
use crate::node;

/// At least this many rings share the room for captured frames, so that the first of many does not take it all.
const RINGS_EXPECTED: usize = 4;

/// How often routes are looked at for a way out, where no interface has changed.
const LOOK_OUT_EVERY: Duration = Duration::from_secs(5);

/// The interfaces of the node that the settings name.
#[derive(Debug)]
pub struct Watch {
    links: Links,
    settings: Settings,
    interest: Interest,
    watched: BTreeMap<String, Vantage>,
    /// Where the node's own processes are seen.
    local: Option<Vantage>,
    /// The interfaces that lead out, as last seen while one of them did.
    ways_out: BTreeSet<String>,
    has_way_out: bool,
    /// When to look for a way out next; at once after news of an interface.
    look_out: Instant,
}

impl Watch {
    /// Begins to look. Nothing is captured yet.
    pub fn new(loaded: &Loaded) -> Result<Self, LinksError> {
        let (settings, interest) = (&loaded.settings, interest(loaded));
        Ok(Self {
            links: Links::open()?,
            settings: settings.clone(),
            interest,
            watched: BTreeMap::new(),
            local: settings.local.is_some().then(local_vantage),
            ways_out: BTreeSet::new(),
            has_way_out: true,
            look_out: Instant::now(),
        })
    }

    /// What is watched, in the order of the vantages' keys.
    pub fn vantages(&self) -> Vec<Vantage> {
        let mut vantages: Vec<Vantage> = self.watched.values().chain(&self.local).cloned().collect();
        vantages.sort_by_key(|vantage| vantage.id);
        vantages
    }

    /// The names without wildcards that no interface has.
    pub fn missing(&self) -> Vec<String> {
        let links = self.links.list();
        let patterns = self.settings.vantages.iter().flat_map(|rule| &rule.interfaces);
        let literal = patterns.map(glob::Pattern::as_str).filter(|name| !name.contains(['*', '?', '[']));
        literal.filter(|name| !links.iter().any(|link| link.name == *name)).map(str::to_owned).collect()
    }

    /// Whether any name has wildcards, so that interfaces may yet come.
    pub fn has_wildcards(&self) -> bool {
        let mut patterns = self.settings.vantages.iter().flat_map(|rule| &rule.interfaces);
        patterns.any(|pattern| pattern.as_str().contains(['*', '?', '[']))
    }

    /// Whether the node has a way to the outside: an interface that is an uplink, or has a gateway behind it, is up and has
    /// somebody at its other end. A node of which no such interface is known has one.
    pub fn has_way_out(&mut self) -> bool {
        if Instant::now() >= self.look_out {
            self.look_out = Instant::now() + LOOK_OUT_EVERY;
            self.has_way_out = self.find_way_out();
        }
        self.has_way_out
    }

    fn find_way_out(&mut self) -> bool {
        let links = self.links.list();
        let is_uplink = |name: &str| self.settings.kind_of(name) == Some(VantageKind::Uplink);
        let mut names: BTreeSet<String> =
            links.iter().filter(|link| is_uplink(&link.name)).map(|link| link.name.clone()).collect();
        names.extend(node::ways_out());
        // The kernel forgets the routes of an interface that is taken down.
        let is_live = |name: &String| links.iter().any(|link| link.name == *name && link.up && link.carrier);
        if names.iter().any(is_live) {
            self.ways_out = names;
            return true;
        }
        self.ways_out.extend(names);
        self.ways_out.is_empty() || self.ways_out.iter().any(is_live)
    }

    /// Goes on with other settings.
    pub fn set_settings(&mut self, loaded: &Loaded, rings: &mut RingSet) {
        self.settings = loaded.settings.clone();
        // A ring's filter is made with it.
        let is_other = std::mem::replace(&mut self.interest, interest(loaded)) != interest(loaded);
        let before: Vec<String> = self.watched.keys().cloned().collect();
        for name in before {
            if is_other || self.settings.kind_of(&name) != self.watched.get(&name).map(|vantage| vantage.kind)
            {
                self.forget(&name, rings);
            }
        }
    }

    /// Watches every interface that is there and is named; whether that changed anything.
    ///
    /// # Errors
    /// When the process may not capture. What cannot be captured for another reason is told and left out.
    pub fn open_all(&mut self, rings: &mut RingSet) -> Result<bool, CaptureError> {
        let names: Vec<String> = self.links.list().into_iter().map(|link| link.name).collect();
        let named = names.iter().filter(|name| self.settings.kind_of(name).is_some()).count();
        let mut changed = false;
        for name in names {
            changed |= self.open(&name, named, rings)?;
        }
        Ok(changed)
    }

    /// Takes the kernel's news; whether it changed what is watched.
    ///
    /// # Errors
    /// As [`Watch::open_all`].
    pub fn follow(&mut self, rings: &mut RingSet) -> Result<bool, CaptureError> {
        let mut changed = false;
        loop {
            match self.links.try_next() {
                Ok(None) => return Ok(changed),
                Ok(Some(LinkEvent::Appeared(link) | LinkEvent::Changed(link))) => {
                    self.look_out = Instant::now();
                    let expected = self.watched.len() + 1;
                    changed |= self.drop_renamed(rings);
                    changed |= self.open(&link.name, expected, rings)?;
                }
                Ok(Some(LinkEvent::Vanished { name, .. })) => {
                    self.look_out = Instant::now();
                    changed |= self.forget(&name, rings);
                }
                Err(error) => {
                    tracing::error!(%error, "news of the interfaces cannot be had");
                    return Ok(changed);
                }
            }
        }
    }

    /// A vantage's ring told that its interface went away; whether that changed what is watched.
    pub fn lost(&mut self, vantage: VantageId) -> bool {
        let before = self.watched.len();
        self.watched.retain(|_, watched| watched.id != vantage);
        self.watched.len() != before
    }

    /// An interface that goes by another name now is another one to the settings.
    fn drop_renamed(&mut self, rings: &mut RingSet) -> bool {
        let names: Vec<String> = self.links.list().into_iter().map(|link| link.name).collect();
        let stale: Vec<String> = self.watched.keys().filter(|name| !names.contains(name)).cloned().collect();
        for name in &stale {
            self.forget(name, rings);
        }
        !stale.is_empty()
    }

    fn open(&mut self, name: &str, expected: usize, rings: &mut RingSet) -> Result<bool, CaptureError> {
        let Some(kind) = self.settings.kind_of(name) else { return Ok(false) };
        if self.watched.contains_key(name) {
            return Ok(false);
        }
        let all = || self.watched.values().chain(&self.local);
        let taken = |id: u16| all().any(|vantage| vantage.id.0 == id);
        let Some(id) = (0..u16::MAX).find(|id| !taken(*id)).map(VantageId) else { return Ok(false) };
        let total = (self.settings.limits.ring_mib as usize) << 20;
        let options = RingOptions::of_bytes(ring_bytes_each(total, expected.max(RINGS_EXPECTED)));
        // A ring of a vantage whose interface went may still be there.
        rings.remove(id);
        match rings.add(id, name, &self.interest, options) {
            Ok(()) => {}
            Err(error @ CaptureError::NotPermitted { .. }) => return Err(error),
            Err(CaptureError::NoInterface { .. }) => return Ok(false),
            Err(error) => {
                tracing::error!(interface = name, error = %Chain(&error), "the interface cannot be watched");
                return Ok(false);
            }
        }
        let bytes = u64::from(options.block_bytes) * u64::from(options.blocks);
        tracing::info!(interface = name, kind = kind_name(kind), ring_bytes = bytes, "watching");
        let sampling = u32::from(self.interest.sampling.max(1));
        self.watched.insert(name.to_owned(), Vantage { id, interface: name.into(), kind, sampling });
        Ok(true)
    }

    fn forget(&mut self, name: &str, rings: &mut RingSet) -> bool {
        let Some(vantage) = self.watched.remove(name) else { return false };
        rings.remove(vantage.id);
        tracing::info!(interface = name, "no longer watching");
        true
    }
}

/// The vantage that sees the node's own processes. It has no interface, and nothing is left out there.
pub fn local_vantage() -> Vantage {
    let (id, interface) = (VantageId(0), capture::local::NAME.into());
    Vantage { id, interface, kind: VantageKind::Local, sampling: 1 }
}

/// What the rings are to see by these settings and this policy.
pub(super) fn interest(loaded: &Loaded) -> Interest {
    Interest::of(loaded.settings.limits.sampling, &loaded.policy.thresholds.endpoints)
}

/// An error with what caused it.
struct Chain<'e>(&'e dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
