//! What programs at servers are to do about tenants' addresses: what stands against a tenant, as CrowdSec's bouncers understand it.
//!
//! A prefix is held once, by the harshest that stands: bouncers know addresses, not traffic. Nothing is told of what is only observed, since
//! nothing of that stands. Tenants' prefixes are disjoint, so one tenant's never reach another's addresses.
//!
//! Who asks for changes is told what lies between two commits of the database (`store::write::pull`); [`keep`] writes down what begins and
//! ends, once a second at most, and only where somebody ever asked.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reeve_policy::{Action, Decision, Measure, Scope, Tenant, Timestamp};

use crate::directory::Directory;
use crate::store::{Store, StoreError};
use crate::writer::{Job, Writer};

/// How often is looked whether anything began or ended.
const BEAT: Duration = Duration::from_secs(1);
/// The longest clause that is told, in letters.
const MAX_CLAUSE: usize = 100;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Little is let through.
    Throttle,
    /// Nothing is taken from there.
    Ban,
}

impl Kind {
    /// Bouncers know no ports and no targets: what stands against a part of the traffic is no reason to take nothing at all.
    fn of(decision: &Decision) -> Option<Self> {
        match decision.action {
            Action::Observe | Action::Notify => None,
            Action::Block if decision.scope != Scope::All => Some(Self::Throttle),
            Action::Limit => Some(Self::Throttle),
            Action::Block | Action::Suspend => Some(Self::Ban),
        }
    }

    /// Its name, as bouncers know it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Throttle => "throttle",
            Self::Ban => "ban",
        }
    }

    /// Reads its name.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        [Self::Throttle, Self::Ban].into_iter().find(|kind| kind.name() == text)
    }
}

/// What is to be done about one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// The prefix.
    pub value: IpNet,
    /// What is done.
    pub kind: Kind,
    /// For what it is held: `reeve`, or `reeve-billing` until an invoice is paid.
    pub origin: String,
    /// The action, and the clause that it rests on: `reeve/suspend:aup/scanning`.
    pub scenario: String,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// The decision behind it.
    pub decision: String,
}

/// For abuse.
const ABUSE: &str = "reeve";
/// Until an invoice is paid.
const BILLING: &str = "reeve-billing";

/// What is to be done about the prefixes of a tenant that these measures hold at `now`.
pub fn remedies<'m>(
    tenant: &Tenant,
    measures: impl Iterator<Item = &'m Measure>,
    now: Timestamp,
) -> Vec<Remedy> {
    let standing = measures.filter(|measure| measure.expires.is_none_or(|end| now < end));
    // Abuse goes before an invoice, which some bouncers leave out. Of several as harsh the one that lasts longest; and always the same
    // one of those, whatever order they come in.
    let lasting = |measure: &Measure| measure.expires.unwrap_or(Timestamp::from_nanos(u64::MAX));
    let worst = standing.max_by(|one, other| {
        let key = |measure: &Measure| {
            let decision = &measure.decision;
            (Kind::of(decision), !decision.is_billing(), decision.action, lasting(measure))
        };
        key(one).cmp(&key(other)).then_with(|| other.decision.id.cmp(&one.decision.id))
    });
    let Some(Measure { decision, expires }) = worst else { return Vec::new() };
    let Some(kind) = Kind::of(decision) else { return Vec::new() };
    let action = decision.action;
    let clause: String =
        decision.clause.chars().filter(|letter| !letter.is_control()).take(MAX_CLAUSE).collect();
    let colon = if clause.is_empty() { "" } else { ":" };
    let remedy = |prefix: &IpNet| Remedy {
        value: prefix.trunc(),
        kind,
        origin: if decision.is_billing() { BILLING } else { ABUSE }.to_owned(),
        scenario: format!("reeve/{action}{colon}{clause}"),
        until: *expires,
        decision: decision.id.to_string(),
    };
    tenant.addresses.iter().map(remedy).collect()
}

/// What is to be done now about all prefixes that `is_wanted`, by prefix; at most `most`.
pub fn now_in_force(
    directory: &Directory,
    now: Timestamp,
    most: usize,
    is_wanted: impl Fn(&Remedy) -> bool,
) -> BTreeMap<IpNet, Remedy> {
    let snapshot = directory.snapshot();
    let held = snapshot.standings.iter().filter_map(|(id, standing)| {
        let tenant = snapshot.tenants.by_id(id)?;
        Some(remedies(tenant, standing.unsealed().held.iter().map(|held| &held.measure), now))
    });
    let all = held.flatten().filter(is_wanted).take(most);
    all.map(|remedy| (remedy.value, remedy)).collect()
}

/// What is to be done now about an address.
pub fn about(directory: &Directory, address: IpAddr, now: Timestamp) -> Option<Remedy> {
    let (snapshot, address) = (directory.glance(), address.to_canonical());
    let tenant = snapshot.tenants.by_address(address)?;
    // Who asks is not known to be an administrator.
    let standing = snapshot.standings.get(&tenant.id)?.unsealed();
    let all = remedies(tenant, standing.held.iter().map(|held| &held.measure), now);
    all.into_iter()
        .filter(|remedy| remedy.value.contains(&address))
        .max_by_key(|remedy| remedy.value.prefix_len())
}

/// Writes down what begins and ends, for as long as it is polled.
pub(crate) async fn keep(directory: Arc<Directory>, store: Store, writer: Writer) {
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut written = None;
    loop {
        beat.tick().await;
        let seen = (directory.changes().now(), directory.snapshot().tenants.version());
        if written == Some(seen) {
            continue;
        }
        match note(&store, &writer).await {
            Ok(()) => written = Some(seen),
            Err(error) => tracing::warn!(%error, "what bouncers are to be told cannot be written"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum NoteError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Write(#[from] crate::writer::WriteError),
}

async fn note(store: &Store, writer: &Writer) -> Result<(), NoteError> {
    if store.has_bouncers().await? {
        writer.ask(|reply| Job::Remedies { reply }).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use reeve_policy::{DecisionId, Mode, Origin, Protocol, Until};

    use super::*;

    fn measure(id: &str, action: Action, expires: Option<u64>, until: Until) -> Measure {
        let decision = Decision {
            id: DecisionId(id.parse().unwrap()),
            tenant: "t".parse().unwrap(),
            violation: None,
            clause: "aup/x\n".to_owned(),
            origin: Origin::Operator { name: "o".to_owned() },
            action,
            scope: Scope::All,
            rate: None,
            until,
            at: Timestamp::EPOCH,
            mode: Mode::Enforce,
            reason: String::new(),
            connections: None,
            softened: None,
            reckoning: None,
        };
        Measure { decision, expires: expires.map(Timestamp::from_secs) }
    }

    fn check(measures: &[Measure], now: u64, expect: &[(&str, &str, &str, Option<u64>)]) {
        let mut tenant = Tenant::new("t".parse().unwrap());
        tenant.addresses =
            ["192.0.2.7/32", "2001:db8::/48"].iter().map(|text| text.parse().unwrap()).collect();
        for order in [false, true] {
            let mut measures: Vec<&Measure> = measures.iter().collect();
            if order {
                measures.reverse();
            }
            let found = remedies(&tenant, measures.into_iter(), Timestamp::from_secs(now));
            let told: Vec<_> = found
                .iter()
                .map(|one| {
                    let until = one.until.map(|until| until.as_nanos() / 1_000_000_000);
                    (one.kind.name(), one.origin.as_str(), one.scenario.as_str(), until)
                })
                .collect();
            let twice: Vec<_> = expect.iter().flat_map(|one| [*one, *one]).collect();
            assert_eq!(told, twice);
        }
    }

    #[test]
    fn a_prefix_is_held_by_the_harshest_that_stands() {
        let limit = || measure("a", Action::Limit, None, Until::Released);
        let block = || measure("b", Action::Block, Some(20), Until::Released);
        let longer = || measure("c", Action::Block, Some(30), Until::Released);
        let unpaid = || measure("d", Action::Suspend, Some(10), Until::Paid);
        check(&[], 0, &[]);
        check(&[measure("n", Action::Notify, None, Until::Released)], 0, &[]);
        check(&[limit()], 0, &[("throttle", "reeve", "reeve/limit:aup/x", None)]);
        check(&[limit(), block(), longer()], 0, &[("ban", "reeve", "reeve/block:aup/x", Some(30))]);
        check(&[limit(), unpaid()], 9, &[("ban", "reeve-billing", "reeve/suspend:aup/x", Some(10))]);
        check(&[limit(), unpaid()], 10, &[("throttle", "reeve", "reeve/limit:aup/x", None)]);
        check(&[block(), unpaid()], 9, &[("ban", "reeve", "reeve/block:aup/x", Some(20))]);
        check(&[block(), unpaid()], 20, &[]);
        // No mail from there is no reason to take nothing from there.
        let mut mail = block();
        mail.decision.scope = Scope::Port { protocol: Protocol::Tcp, port: 25 };
        check(&[mail], 0, &[("throttle", "reeve", "reeve/block:aup/x", Some(20))]);
    }
}
