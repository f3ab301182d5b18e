//! Where a tenant stands, as it is sent, and what of that is for whom.

use reeve_policy::{NodeId, Origin, TenantId};
use reeve_proto::status::v1::{GetStatusResponse, Hold, PausedNode, State as WireState, hold};
use reeve_proto::{time_to_wire, types};

use crate::auth::Role;
use crate::directory::{Snapshot, State, Status as Standing};
use crate::store::Sight;

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// Everything, also what is sealed.
    Everything,
    /// Everything but what is sealed.
    Whole,
    /// What may be told to the customer itself: no names of nodes and people, no numbers of what was seen, and nothing of what was only
    /// observed.
    Customer,
}

impl View {
    /// Whether names of nodes and people, and what was only observed, are told.
    pub const fn is_of_operators(self) -> bool {
        matches!(self, Self::Everything | Self::Whole)
    }

    /// How much a role is told.
    pub const fn of(role: Role) -> Self {
        match role {
            Role::Admin => Self::Everything,
            Role::Viewer | Role::Operator => Self::Whole,
            Role::Stranger | Role::Node | Role::Status | Role::Billing => Self::Customer,
        }
    }
}

/// Where `id` stands, as much of it as is told.
pub(crate) fn told(
    snapshot: &Snapshot,
    id: &TenantId,
    view: View,
    now: reeve_policy::Timestamp,
    is_connected: impl Fn(&NodeId) -> bool,
) -> GetStatusResponse {
    let tenant = snapshot.tenants.by_id(id);
    let name = tenant.map(|tenant| tenant.name.clone()).unwrap_or_default();
    let sight = if view == View::Everything { Sight::Whole } else { Sight::Unsealed };
    let standing = snapshot.seen_status(id, sight, now);
    let stale = match view {
        View::Everything | View::Whole => standing.nodes.iter().filter(|node| !is_connected(node)).collect(),
        View::Customer => Vec::new(),
    };
    let stale = stale.into_iter().map(ToString::to_string).collect();
    let mut answer = answer(id, name, standing, stale);
    if let (Some(tenant), View::Everything | View::Whole) = (tenant, view) {
        let around = snapshot.paused.around(tenant);
        let around =
            around.map(|(node, pause)| PausedNode { node: node.to_string(), pause: Some(pause.into()) });
        answer.paused = around.collect();
    }
    match view {
        View::Everything | View::Whole => answer,
        View::Customer => for_customer(answer),
    }
}

/// Leaves what may be told to the customer itself.
fn for_customer(whole: GetStatusResponse) -> GetStatusResponse {
    let GetStatusResponse { tenant, tenant_name, state, .. } = whole;
    if state == i32::from(WireState::Clear) {
        // What is told beside it is of what was only observed.
        return GetStatusResponse { tenant, tenant_name, state, ..Default::default() };
    }
    let holds = whole.holds.into_iter().map(|hold| Hold {
        reason: String::new(),
        nodes: Vec::new(),
        ordered_by: String::new(),
        ..hold
    });
    GetStatusResponse {
        tenant,
        tenant_name,
        state,
        scope: whole.scope,
        clause: whole.clause,
        since: whole.since,
        until: whole.until,
        violation: whole.violation,
        customer_reason: whole.customer_reason,
        customer_lifted_by: whole.customer_lifted_by,
        customer_language: whole.customer_language,
        holds: holds.collect(),
        // Named one by one, so that a field that is added is an operator's until somebody decides otherwise.
        reason: String::new(),
        lifted_by: String::new(),
        nodes: Vec::new(),
        observed: false,
        observed_action: types::v1::Action::Unspecified.into(),
        stale_nodes: Vec::new(),
        paused: Vec::new(),
    }
}

/// The state as it is sent.
pub(crate) fn state_to_wire(state: State) -> WireState {
    match state {
        State::Clear => WireState::Clear,
        State::Warned => WireState::Warned,
        State::Limited => WireState::Limited,
        State::Blocked => WireState::Blocked,
        State::Suspended => WireState::Suspended,
    }
}

fn answer(
    id: &TenantId,
    tenant_name: String,
    standing: Standing,
    stale_nodes: Vec<String>,
) -> GetStatusResponse {
    let lifted_by = standing.lifted_by();
    let (reason, customer_lifted_by, language) = match standing.words {
        Some(words) => (words.reason, words.lifted_by, words.language.to_string()),
        None => Default::default(),
    };
    let observed_action = standing.observed.map(types::v1::Action::from);
    GetStatusResponse {
        tenant: id.to_string(),
        tenant_name,
        state: state_to_wire(standing.state).into(),
        scope: standing.scope.as_ref().map(Into::into),
        clause: standing.clause,
        reason: standing.reason,
        since: standing.since.map(time_to_wire),
        until: standing.until.map(time_to_wire),
        lifted_by,
        violation: standing.violation.map(|id| id.to_string()).unwrap_or_default(),
        nodes: standing.nodes.iter().map(ToString::to_string).collect(),
        observed: observed_action.is_some(),
        observed_action: observed_action.unwrap_or(types::v1::Action::Unspecified).into(),
        stale_nodes,
        paused: Vec::new(),
        customer_reason: reason,
        customer_lifted_by,
        customer_language: language,
        holds: standing.holds.iter().map(hold).collect(),
    }
}

fn hold(hold: &crate::directory::Hold) -> Hold {
    let decision = &hold.decision;
    let cause = if decision.is_billing() { hold::Cause::Billing } else { hold::Cause::Abuse };
    Hold {
        cause: cause.into(),
        action: types::v1::Action::from(decision.action).into(),
        scope: Some((&decision.scope).into()),
        clause: decision.clause.clone(),
        reason: decision.reason.clone(),
        since: Some(time_to_wire(hold.since)),
        until: hold.until.map(time_to_wire),
        decision: decision.id.to_string(),
        violation: decision.violation.as_ref().map(ToString::to_string).unwrap_or_default(),
        nodes: hold.nodes.iter().map(ToString::to_string).collect(),
        decided_until: Some(decision.until.into()),
        rate: decision.rate.map(|rate| rate.to_string()).unwrap_or_default(),
        connections: decision.connections.map_or(0, u32::from),
        ordered_by: match &decision.origin {
            Origin::Operator { name } => name.clone(),
            Origin::Policy { .. } => String::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{Held, Standing};
    use reeve_policy::{Action, Decision, DecisionId, Measure, Mode, Scope, Tenant, Timestamp, Until};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    const SECRETS: [&str; 4] = ["30 hosts on port 22", "secret-node", "secret-operator", "paused for a test"];

    fn decision(action: Action, mode: Mode) -> Decision {
        Decision {
            id: DecisionId("d1".parse().unwrap()),
            tenant: "t".parse().unwrap(),
            violation: None,
            clause: "p/c".into(),
            origin: Origin::Operator { name: "secret-operator".into() },
            action,
            scope: Scope::All,
            rate: None,
            connections: None,
            until: Until::Released,
            at: Timestamp::from_secs(1),
            mode,
            reason: "30 hosts on port 22".into(),
            softened: None,
            reckoning: None,
        }
    }

    fn snapshot(action: Action, mode: Mode) -> Snapshot {
        let (node, decision) = ("secret-node".parse::<NodeId>().unwrap(), decision(action, mode));
        let mut standing = Standing { decided: vec![decision.clone()], ..Standing::default() };
        if mode == Mode::Enforce && action > Action::Notify {
            let measure = Measure { decision, expires: None };
            standing.held = vec![Held { node: node.clone(), measure, since: Timestamp::from_secs(1) }];
        }
        let pause = reeve_policy::Pause {
            by: "secret-operator".into(),
            at: Timestamp::from_secs(1),
            reason: "paused for a test".into(),
        };
        let paused =
            crate::directory::Paused { nodes: BTreeMap::from([(node, pause)]), ..Default::default() };
        let tenant = Tenant { name: "Tess".into(), ..Tenant::new("t".parse().unwrap()) };
        let mut snapshot = Snapshot {
            tenants: Arc::new(crate::directory::Tenants::new(1, [tenant])),
            paused: Arc::new(paused),
            ..Snapshot::default()
        };
        snapshot.standings.insert("t".parse().unwrap(), Arc::new(standing));
        snapshot
    }

    fn seen(snapshot: &Snapshot, view: View) -> GetStatusResponse {
        told(snapshot, &"t".parse().unwrap(), view, Timestamp::from_secs(2), |_| false)
    }

    #[test]
    fn others_than_operators_get_no_evidence_and_no_names() {
        let snapshot = snapshot(Action::Suspend, Mode::Enforce);
        let whole = format!("{:?}", seen(&snapshot, View::Whole));
        for secret in SECRETS {
            assert!(whole.contains(secret), "{secret} in {whole}");
        }
        let customer = seen(&snapshot, View::Customer);
        let text = format!("{customer:?}");
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert_eq!((customer.state(), customer.clause.as_str()), (WireState::Suspended, "p/c"));
        assert_eq!((customer.tenant_name.as_str(), customer.holds.len()), ("Tess", 1));
    }

    #[test]
    fn what_is_only_observed_is_told_to_operators_alone() {
        let snapshot = snapshot(Action::Suspend, Mode::Observe);
        assert!(seen(&snapshot, View::Whole).observed);
        let bare = GetStatusResponse {
            tenant: "t".into(),
            tenant_name: "Tess".into(),
            state: WireState::Clear.into(),
            ..Default::default()
        };
        assert_eq!(seen(&snapshot, View::Customer), bare);
    }
}
