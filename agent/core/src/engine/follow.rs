//! What follows a tenant from node to node: what other nodes saw and decided, as the controller tells it.
//!
//! Strikes go to the judge. Decisions by policy that are in force hold the tenant here as well, as they are: with the same key, clause and end. They ask no
//! brake (whoever decided has asked), but neither do they hold where this node would do nothing: where it observes, is paused, or the tenant is protected. What
//! is told no more is over and lets go, but for what this node decided itself, which ends by itself or by an order.
//!
//! A tenant that has left for another node by its ports, users or control groups is let go here. Of one that is known by addresses alone, and may be anywhere,
//! the controller tells strikes and no decisions.

use std::collections::{BTreeMap, BTreeSet};

use reeve_policy::{Decision, DecisionId, TenantId, TenantStanding, Timestamp};

use super::{Engine, Topology};
use crate::ledger::LedgerEvent;

/// The decisions that were told, by tenant. Bounded by what the ledger takes of them.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<TenantId, Vec<Decision>>);

impl Engine {
    /// Takes what other nodes saw of a tenant and decided upon it, in place of what was told of it before.
    pub fn handle_standing(&mut self, standing: TenantStanding, at: Timestamp) {
        self.advance(at);
        self.judge.handle_standing(&standing);
        let TenantStanding { tenant, decisions, .. } = standing;
        let listed: BTreeSet<&DecisionId> = decisions.iter().map(|decision| &decision.id).collect();
        let followed = self.judge.followed(&tenant);
        let over: Vec<DecisionId> = followed.into_iter().filter(|id| !listed.contains(id)).collect();
        if decisions.is_empty() {
            self.told.0.remove(&tenant);
        } else {
            self.told.0.insert(tenant.clone(), decisions);
        }
        over.iter().for_each(|id| self.judge.unfollow(id));
        let events = self.ledger.lift_decisions(&over);
        self.publish(events);
        self.follow(&tenant);
    }

    /// Tenants that had a port, a user or a control group here and have them elsewhere now are let go.
    pub(super) fn let_go_moved(&mut self, before: &Topology) {
        let (now, node) = (&self.topology, &self.node);
        let has_moved = |id: &TenantId| {
            let was_here = before.index_of(id).is_some_and(|ix| before.tenant(ix).is_placed_on(node));
            let tenant = now.index_of(id).map(|ix| now.tenant(ix));
            was_here && tenant.is_some_and(|tenant| !tenant.may_be_on(node))
        };
        let events = self.ledger.lift_moved(has_moved);
        self.publish(events);
        self.follow_all();
    }

    /// Takes over what was told and could not be till now.
    pub(super) fn follow_all(&mut self) {
        let tenants: Vec<TenantId> = self.told.0.keys().cloned().collect();
        tenants.iter().for_each(|tenant| self.follow(tenant));
    }

    fn follow(&mut self, id: &TenantId) {
        let Some(tenant) = self.topology.index_of(id).map(|ix| self.topology.tenant(ix)) else { return };
        if !tenant.may_be_told_on(&self.node) {
            return;
        }
        let mut events = Vec::new();
        for decision in self.told.0.get(id).into_iter().flatten() {
            let is_over = decision.until.expiry(decision.at).is_some_and(|end| end <= self.now);
            if is_over || decision.tenant != *id || !self.judge.may_follow(decision, tenant) {
                continue;
            }
            if let Some(event) = self.ledger.handle_decision(decision) {
                self.judge.follow(decision);
                events.push(event);
            }
        }
        self.publish(events);
    }

    /// What was lifted here does not come back by what was told before.
    pub(super) fn note_lifted(&mut self, event: &LedgerEvent) {
        let LedgerEvent::Lifted(measure, _) = event else { return };
        let Decision { id, tenant, .. } = &measure.decision;
        self.judge.unfollow(id);
        if let Some(told) = self.told.0.get_mut(tenant) {
            told.retain(|decision| decision.id != *id);
        }
    }
}
