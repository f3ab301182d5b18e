//! Whose a domain is: those that a tenant takes mail in for, and which tenant senders of one are.

use std::collections::BTreeMap;

use reeve_policy::Domain;

use super::words::{hash, inner, parameter};
use crate::ruleset::local::NAMES_SENDER;
use crate::topology::{TenantIx, Topology};

/// The domains that a tenant takes mail in for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnDomains(Vec<u64>);

impl OwnDomains {
    /// From the domains that are delivered to and those that are passed on.
    #[must_use]
    pub fn new(mail: &[Domain], relay: &[Domain]) -> Self {
        let mut all: Vec<u64> =
            mail.iter().chain(relay).map(|domain| hash(domain.as_str().as_bytes())).collect();
        all.sort_unstable();
        Self(all)
    }

    /// Whether none is known.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `domain`, in lower case, is one of them or below one.
    pub(super) fn hold(&self, domain: &[u8]) -> bool {
        !self.is_empty() && with_parents(domain).any(|name| self.0.binary_search(&hash(name)).is_ok())
    }
}

/// Which tenant senders of a domain are, where customers share a mail server: by the domains that they take mail in for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Senders(BTreeMap<u64, TenantIx>);

impl Senders {
    /// Those of the tenants that are on the node itself.
    #[must_use]
    pub fn of(topology: &Topology) -> Self {
        let tenants = topology.tenants().iter().enumerate();
        let all = tenants.map(|(index, tenant)| {
            (TenantIx(u32::try_from(index).expect("tenants fit 32 bits")), &tenant.mail_domains)
        });
        let local = all.filter(|(ix, _)| topology.is_local(*ix));
        Self(
            local
                .flat_map(|(ix, domains)| {
                    domains.iter().map(move |domain| (hash(domain.as_str().as_bytes()), ix))
                })
                .collect(),
        )
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose the sender in a path is, by its domain or one above it.
    pub(super) fn find(&self, path: &[u8]) -> Option<TenantIx> {
        let address = inner(path).trim_ascii().to_ascii_lowercase();
        let at = address.iter().rposition(|byte| *byte == b'@')?;
        with_parents(&address[at + 1..]).find_map(|name| self.0.get(&hash(name)).copied())
    }
}

/// If what a client says begins by naming a sender: whose that is, `None` for nobody's here.
#[must_use]
pub fn named_sender(said: &[u8], senders: &Senders) -> Option<Option<TenantIx>> {
    if !said.starts_with(NAMES_SENDER) {
        return None;
    }
    let line = said.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let path = parameter(line.trim_ascii(), b"MAIL", b"FROM")?;
    Some(senders.find(path))
}

/// A name and all that it is below, itself first: `a.b.c`, `b.c`, `c`.
fn with_parents(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(name), |name| {
        name.iter().position(|byte| *byte == b'.').map(|dot| &name[dot + 1..])
    })
}
