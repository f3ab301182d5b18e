//! Where all questions about tenants' standings are answered, whichever way they come.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use reeve_policy::{InterfaceSelector, TenantId, Timestamp};
use reeve_proto::status::v1::GetStatusResponse;

use super::super::House;
use super::places::Places;
use super::wire::{View, told};
use crate::clock;
use crate::directory::Snapshot;
use crate::refusal::Reason;

/// What one peer may ask: a portal's worth, not a fleet's.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(5_000).unwrap();
const BURST: NonZeroU32 = NonZeroU32::new(10_000).unwrap();
/// How often the bouncers of one address may ask for what changed: that is written down each time.
const PULLS_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).unwrap();
const PULLS_BURST: NonZeroU32 = NonZeroU32::new(100).unwrap();

/// Whom a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Tenant(TenantId),
    Address(IpAddr),
    Interface(InterfaceSelector),
}

impl Subject {
    pub fn tenant(text: &str) -> Result<Self, Missing> {
        text.parse().map(Self::Tenant).map_err(Missing::unsound)
    }

    pub fn address(text: &str) -> Result<Self, Missing> {
        let bad = |_| {
            Missing::Unsound(format!(
                "`{}` is no IPv4 or IPv6 address",
                text.escape_debug().take(64).collect::<String>()
            ))
        };
        text.parse().map(Self::Address).map_err(bad)
    }

    pub fn interface(text: &str) -> Result<Self, Missing> {
        text.parse().map(Self::Interface).map_err(Missing::unsound)
    }
}

impl Subject {
    /// Why there is no answer where nobody has it.
    pub const fn absence(&self) -> Reason {
        match self {
            Self::Tenant(_) => Reason::TenantNotFound,
            Self::Address(_) | Self::Interface(_) => Reason::SubjectNotFound,
        }
    }

    /// It as it was asked for.
    pub fn key(&self) -> String {
        match self {
            Self::Tenant(key) => key.to_string(),
            Self::Address(address) => address.to_string(),
            Self::Interface(name) => name.to_string(),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(key) => write!(f, "there is no tenant {key}"),
            Self::Address(address) => write!(f, "{address} is no tenant's"),
            Self::Interface(name) => write!(f, "{name} is no tenant's"),
        }
    }
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    /// The text is none of what it was given for.
    #[error("{0}")]
    Unsound(String),
    /// Nobody has it.
    #[error("{0}")]
    Nobody(Subject),
}

impl Missing {
    fn unsound(error: impl fmt::Display) -> Self {
        Self::Unsound(error.to_string())
    }
}

/// A peer asks more than its share, or more watch than can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

/// Where questions are answered. Clones are the same desk, with one measure of how often who asks.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub house: House,
    limiter: Arc<DefaultKeyedRateLimiter<IpAddr>>,
    pulls: Arc<DefaultKeyedRateLimiter<IpAddr>>,
    pub(super) watchers: Places,
}

impl Desk {
    pub fn new(house: House) -> Self {
        let limiter = RateLimiter::keyed(Quota::per_second(PER_SECOND).allow_burst(BURST));
        let pulls = RateLimiter::keyed(Quota::per_second(PULLS_PER_SECOND).allow_burst(PULLS_BURST));
        let (limiter, pulls) = (Arc::new(limiter), Arc::new(pulls));
        Self { house, limiter, pulls, watchers: Places::default() }
    }

    /// Whether a bouncer may ask now for what changed.
    pub fn admit_pull(&self, peer: IpAddr) -> Result<(), TooMany> {
        self.pulls.check_key(&peer.to_canonical()).map_err(|_| TooMany)
    }

    /// Whether a peer may ask so many questions now.
    pub fn admit(&self, peer: Option<IpAddr>, questions: usize) -> Result<(), TooMany> {
        let Some(count) = u32::try_from(questions).ok().and_then(NonZeroU32::new) else {
            return Err(TooMany);
        };
        let is_refused = peer
            .is_some_and(|peer| !matches!(self.limiter.check_key_n(&peer.to_canonical(), count), Ok(Ok(()))));
        self.house.metrics.see_lookups(count.get(), !is_refused);
        if is_refused { Err(TooMany) } else { Ok(()) }
    }

    /// Forgets the peers that have their whole share again.
    pub fn forget_peers(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
        self.pulls.retain_recent();
        self.pulls.shrink_to_fit();
    }

    /// Where one tenant stands.
    pub fn look_up(&self, subject: &Subject, view: View) -> Result<GetStatusResponse, Missing> {
        self.find(&self.house.directory.glance(), subject, view, clock::now())
    }

    /// Where some stand, all at one moment.
    pub fn look_up_all(
        &self,
        subjects: impl IntoIterator<Item = Result<Subject, Missing>>,
        view: View,
    ) -> Vec<Result<GetStatusResponse, Missing>> {
        let (snapshot, now) = (self.house.directory.glance(), clock::now());
        subjects.into_iter().map(|subject| self.find(&snapshot, &subject?, view, now)).collect()
    }

    fn find(
        &self,
        snapshot: &Snapshot,
        subject: &Subject,
        view: View,
        now: Timestamp,
    ) -> Result<GetStatusResponse, Missing> {
        let tenants = &snapshot.tenants;
        let tenant = match subject {
            Subject::Tenant(id) => tenants.by_id(id),
            Subject::Address(address) => tenants.by_address(*address),
            Subject::Interface(name) => tenants.by_interface(name),
        };
        let id = match (tenant, subject) {
            (Some(tenant), _) => &tenant.id,
            // One that has left the inventory may still be held somewhere.
            (None, Subject::Tenant(id)) if snapshot.standings.contains_key(id) => id,
            (None, _) => return Err(Missing::Nobody(subject.clone())),
        };
        Ok(self.tell(snapshot, id, view, now))
    }

    /// Where a tenant stands, be it known or not.
    pub(super) fn tell(
        &self,
        snapshot: &Snapshot,
        id: &TenantId,
        view: View,
        now: Timestamp,
    ) -> GetStatusResponse {
        told(snapshot, id, view, now, |node| self.house.streams.is_connected(node))
    }
}
