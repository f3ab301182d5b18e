//! Whether an open relay was closed: who is asked again, and what the answers lead to.
//!
//! The answer of a stranger's question alone counts, and only about the server that is meant. A refusal lifts what stands until a check finds it
//! mended, and ends the episode unless somebody is to release what is behind it. An acceptance bears a warning out, so that its next step is taken
//! when its time is over. Every answer is told.

use std::net::IpAddr;

use ipnet::IpNet;
use reeve_policy::{
    CheckVerdict, Class, Measure, Origin, RelayAnswer, RelayChecked, TenantId, Timestamp, Until,
};

use super::checks::Conclusion;
use super::recheck::Cause;
use super::{Engine, Output, is_present};

/// Why a tenant's mail server is not asked though an operator wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unasked {
    /// The policy does not say how.
    #[error("the policy has no [relay_check]: nobody knows in whose name to ask")]
    NotSaid,
    /// No mail server of the tenant's is known.
    #[error("no mail server of the tenant's is known here")]
    NoServer,
    /// It was asked a moment ago.
    #[error("it was asked a moment ago; wait 20 seconds")]
    TooSoon,
}

impl Engine {
    /// Takes what a tenant's mail server said when it was asked whether it takes strangers' mail for others: the verdict, and whether a stranger
    /// asked. `by` is the operator who asked, or had it asked.
    pub fn handle_relay_checked(
        &mut self,
        tenant: &TenantId,
        (verdict, is_outside): (CheckVerdict, bool),
        server: Option<IpAddr>,
        by: String,
        at: Timestamp,
    ) {
        self.advance(at);
        let meant = self.server_of(tenant);
        let server = server.or(meant);
        if let Some(server) = server.filter(|_| verdict != CheckVerdict::NotAsked) {
            let answer = RelayAnswer { server, verdict, is_outside };
            let is_meant = meant.is_none_or(|meant| meant == server);
            let (mended, open) = (is_meant && answer.is_mended(), is_meant && answer.is_open());
            let checked = RelayChecked { tenant: tenant.clone(), answer, by, at: self.now };
            self.outputs.push_back(Output::RelayChecked(checked));
            if mended {
                self.end_what_is_mended(tenant);
            } else if let Some(alert) = self.judge.still_open(tenant, self.now).filter(|_| open) {
                self.take_alert(alert);
            }
        }
        if let Some(every) = self.judge.recheck()
            && matches!(verdict, CheckVerdict::NotAsked | CheckVerdict::Deferred)
        {
            self.rechecks.put_off(tenant, every, self.now);
        }
        match self.checks.answered(tenant, verdict, is_outside, self.now) {
            Conclusion::Confirmed(alert) => self.take_alert(alert),
            Conclusion::Refuted => {
                self.judge.handle_refuted(tenant, Class::SmtpRelay, self.now);
                self.drain();
            }
            Conclusion::Open => self.refresh_slow_due(),
        }
    }

    /// Why a tenant's mail server is not to be asked for an operator at `now`, or which server is.
    ///
    /// # Errors
    /// Where nobody can be asked, or was a moment ago.
    pub fn may_verify(&self, tenant: &TenantId, now: Timestamp) -> Result<IpAddr, Unasked> {
        self.judge.recheck().ok_or(Unasked::NotSaid)?;
        let server = self.server_of(tenant).ok_or(Unasked::NoServer)?;
        if self.rechecks.may_by_hand(tenant, now) { Ok(server) } else { Err(Unasked::TooSoon) }
    }

    /// An operator has a tenant's mail server asked now, whatever the hour and whoever has paused.
    pub fn handle_verify(&mut self, tenant: &TenantId, at: Timestamp) {
        self.advance(at);
        if let Ok(server) = self.may_verify(tenant, self.now) {
            self.rechecks.by_hand(tenant, self.now);
            let tenant = tenant.clone();
            self.outputs.push_back(Output::CheckRelay { tenant, server, at: self.now });
        }
    }

    /// Asks those whose turn it is: who has put it off, and what stands or runs that a check may end.
    pub(super) fn ask_again(&mut self, at: Timestamp) {
        let (topology, judge) = (&self.topology, &self.judge);
        let present = |id: &TenantId| {
            let tenant = topology.index_of(id).map(|ix| topology.tenant(ix));
            tenant.filter(|tenant| is_present(tenant))
        };
        let may_ask = |id: &TenantId| present(id).is_some_and(|one| judge.may_ask(Class::SmtpRelay, one));
        let mut asked = self.checks.due(at, may_ask);
        if let Some(every) = judge.recheck() {
            let may_check = |id: &TenantId| present(id).is_some_and(|one| judge.may_check(one));
            asked.extend(self.rechecks.due(at, every, may_check));
        }
        for (tenant, server) in asked {
            self.outputs.push_back(Output::CheckRelay { tenant, server, at });
        }
    }

    /// Begins or ends to watch a tenant, by what stands and runs against it.
    pub(super) fn watch(&mut self, tenant: &TenantId) {
        let (every, cause) = match self.judge.recheck() {
            Some(every) => (every, self.cause(tenant)),
            None => (std::time::Duration::MAX, None),
        };
        let server = cause.and_then(|_| self.server_of(tenant));
        self.rechecks.watch(tenant, cause, server, every, self.now);
        self.refresh_slow_due();
    }

    /// The same for everybody: the policy, or who is here, is another.
    pub(super) fn watch_all(&mut self) {
        let mut all = self.rechecks.tenants();
        all.extend(self.judge.relaying());
        let measures = self.ledger.desired().measures.values();
        let held = measures.filter(|measure| self.is_checkable(measure));
        all.extend(held.map(|measure| measure.decision.tenant.clone()));
        all.sort();
        all.dedup();
        for tenant in &all {
            self.watch(tenant);
        }
    }

    /// Whether a check can tell that what a measure answers was mended.
    pub(super) fn is_checkable(&self, measure: &Measure) -> bool {
        match &measure.decision.origin {
            Origin::Policy { rule, .. } => {
                measure.decision.until == Until::Verified || self.judge.is_checkable(rule)
            }
            Origin::Operator { .. } => false,
        }
    }

    fn cause(&self, tenant: &TenantId) -> Option<Cause> {
        let measures = self.ledger.desired().measures.values();
        let of_tenant = measures.filter(|measure| measure.decision.tenant == *tenant);
        let held = of_tenant.filter(|measure| self.is_checkable(measure)).map(|measure| measure.decision.at);
        let warning = self.judge.relay_warning(tenant);
        let since = held.chain(warning.map(|warning| warning.at)).min()?;
        Some(Cause { since, deadline: warning.map(|warning| warning.deadline) })
    }

    /// The mail server of a tenant's that is meant: the one that was seen last, was noted, was asked; or its only address.
    fn server_of(&self, tenant: &TenantId) -> Option<IpAddr> {
        let ix = self.topology.index_of(tenant)?;
        let only = || match self.topology.tenant(ix).addresses.as_slice() {
            [only] if only.prefix_len() == only.max_prefix_len() => Some(IpNet::addr(only)),
            _ => None,
        };
        let noted = self.judge.server(tenant).or_else(|| self.checks.server(tenant));
        noted.or_else(|| self.shards.mail_server(ix)).or_else(only)
    }

    /// A check has found closed what stands against a tenant's open relay.
    fn end_what_is_mended(&mut self, tenant: &TenantId) {
        let lifted = self.ledger.lift_verified(tenant);
        let measures = self.ledger.desired().measures.values();
        let is_its = |one: &&Measure| one.decision.tenant == *tenant && self.is_checkable(one);
        let of_tenant = measures.filter(is_its);
        let held: Vec<_> = of_tenant.filter_map(|measure| measure.decision.violation.clone()).collect();
        if let Some(ix) = self.topology.index_of(tenant).filter(|_| held.is_empty()) {
            // What went through it before is not held against it again.
            self.shards.forget_passing(ix);
        }
        self.judge.handle_mended(tenant, &held, self.now);
        self.drain();
        self.publish(lifted);
    }
}
