//! `StatusService`: where a tenant stands, answered from memory.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use reeve_policy::{InterfaceSelector, Origin, Tenant, TenantId};
use reeve_proto::status::v1::get_status_request::Subject;
use reeve_proto::status::v1::status_service_server::StatusService;
use reeve_proto::status::v1::{
    GetStatusRequest, GetStatusResponse, Hold, PausedNode, State as WireState, hold,
};
use reeve_proto::{time_to_wire, types};
use tonic::{Request, Response, Status};

use super::House;
use crate::clock;
use crate::directory::{State, Status as Standing, Tenants};

/// What one peer may ask: a portal's worth, not a fleet's.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(5_000).unwrap();
const BURST: NonZeroU32 = NonZeroU32::new(10_000).unwrap();

#[derive(Clone, Debug)]
pub(crate) struct Service {
    house: House,
    limiter: Arc<DefaultKeyedRateLimiter<IpAddr>>,
}

impl Service {
    pub fn new(house: House) -> Self {
        let limiter = RateLimiter::keyed(Quota::per_second(PER_SECOND).allow_burst(BURST));
        Self { house, limiter: Arc::new(limiter) }
    }
}

#[tonic::async_trait]
impl StatusService for Service {
    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        self.house.protection.operator(&request)?;
        if let Some(peer) = request.remote_addr()
            && self.limiter.check_key(&peer.ip()).is_err()
        {
            self.house.metrics.see_lookup(false);
            return Err(Status::resource_exhausted("too many questions; ask again in a second"));
        }
        self.house.metrics.see_lookup(true);
        let snapshot = self.house.directory.snapshot();
        let subject = request.into_inner().subject;
        let subject =
            subject.ok_or_else(|| Status::invalid_argument("ask by tenant, address or interface"))?;
        let tenant = find(&snapshot.tenants, &subject)?;
        let id = match (&tenant, &subject) {
            (Some(tenant), _) => tenant.id.clone(),
            // One that has left the inventory may still be held somewhere.
            (None, Subject::Tenant(key)) => key.parse().map_err(not_sound)?,
            (None, _) => return Err(not_found(&subject)),
        };
        if tenant.is_none() && !snapshot.standings.contains_key(&id) {
            return Err(not_found(&subject));
        }
        let standing = snapshot.status(&id, clock::now());
        let is_stale = |node: &&reeve_policy::NodeId| !self.house.streams.is_connected(node);
        let stale = standing.nodes.iter().filter(is_stale).map(ToString::to_string).collect();
        let name = tenant.map(|tenant| tenant.name.clone()).unwrap_or_default();
        let paused = tenant.map(|tenant| {
            let around = snapshot.paused.around(tenant);
            around
                .map(|(node, pause)| PausedNode { node: node.to_string(), pause: Some(pause.into()) })
                .collect()
        });
        let answer = answer(&id, name, standing, stale);
        Ok(Response::new(GetStatusResponse { paused: paused.unwrap_or_default(), ..answer }))
    }
}

fn find<'t>(tenants: &'t Tenants, subject: &Subject) -> Result<Option<&'t Arc<Tenant>>, Status> {
    Ok(match subject {
        Subject::Tenant(key) => tenants.by_id(&key.parse::<TenantId>().map_err(not_sound)?),
        Subject::Address(address) => tenants.by_address(address.parse::<IpAddr>().map_err(not_sound)?),
        Subject::Interface(name) => {
            tenants.by_interface(&name.parse::<InterfaceSelector>().map_err(not_sound)?)
        }
    })
}

fn not_sound(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

fn not_found(subject: &Subject) -> Status {
    Status::not_found(match subject {
        Subject::Tenant(key) => format!("there is no tenant {key}"),
        Subject::Address(address) => format!("{address} is no tenant's"),
        Subject::Interface(name) => format!("{name} is no tenant's"),
    })
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
