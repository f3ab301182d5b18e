//! `StandingService`: what is held against tenants, and what they may do by written permission.

use std::collections::BTreeMap;

use reeve_policy::{Name, NodeId, Order, Timestamp};
use reeve_proto::operator::v1::standing_service_server::StandingService;
use reeve_proto::operator::v1::{
    CreateExemptionRequest, CreateExemptionResponse, ForgiveStrikesRequest, ForgiveStrikesResponse,
    GetStandingRequest, GetStandingResponse, ListExemptionsRequest, ListExemptionsResponse,
    RevokeExemptionRequest, RevokeExemptionResponse, StandingExemption, StandingHold, StrikeOnNode,
    StrikesByRule, WaitingOrder,
};
use reeve_proto::time_to_wire;
use tonic::{Request, Response, Status};

use super::orders::{self, tenant};
use super::status::state_to_wire;
use super::{House, exemptions, no_tenant, unreadable};
use crate::auth::Caller;
use crate::clock;
use crate::directory::{Hold, Record, Strike, veiled};
use crate::store::Sight;

/// Of one rule so many episodes are told.
const EPISODES: usize = 100;
/// So many orders that wait are told.
const WAITING: u32 = 100;

#[derive(Clone, Debug)]
pub(crate) struct Service(pub House);

#[tonic::async_trait]
impl StandingService for Service {
    async fn create_exemption(
        &self,
        request: Request<CreateExemptionRequest>,
    ) -> Result<Response<CreateExemptionResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        let exemption = Some(exemptions::grant(&self.0, operator, request.into_inner()).await?);
        Ok(Response::new(CreateExemptionResponse { exemption }))
    }

    async fn list_exemptions(
        &self,
        request: Request<ListExemptionsRequest>,
    ) -> Result<Response<ListExemptionsResponse>, Status> {
        self.0.protection.operator(&request)?;
        exemptions::list(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn revoke_exemption(
        &self,
        request: Request<RevokeExemptionRequest>,
    ) -> Result<Response<RevokeExemptionResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        let exemption = Some(exemptions::revoke(&self.0, operator, request.into_inner()).await?);
        Ok(Response::new(RevokeExemptionResponse { exemption }))
    }

    async fn forgive_strikes(
        &self,
        request: Request<ForgiveStrikesRequest>,
    ) -> Result<Response<ForgiveStrikesResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        let request = request.into_inner();
        tracing::info!(%operator, tenant = request.tenant, rule = request.rule, reason = request.reason, "an operator takes strikes back");
        orders::forgive(&self.0, operator, request).await.map(Response::new)
    }

    async fn get_standing(
        &self,
        request: Request<GetStandingRequest>,
    ) -> Result<Response<GetStandingResponse>, Status> {
        self.0.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        let id = tenant(&request.into_inner().tenant)?;
        let (snapshot, now) = (self.0.directory.snapshot(), clock::now());
        let tenant = snapshot.tenants.by_id(&id).ok_or_else(|| no_tenant(&id))?;
        let waiting = self.0.store.orders_about(&id, WAITING).await.map_err(unreadable)?;
        let status = snapshot.seen_status(&id, sight, now);
        let standing = snapshot.standings.get(&id).filter(|_| sight == Sight::Unsealed);
        let is_sealed = |clause: &str| standing.is_some_and(|standing| standing.is_sealed(clause));
        // Which of the strikes come of what is sealed they do not say.
        let is_whole = sight == Sight::Whole || !self.0.store.has_seals(&id).await.map_err(unreadable)?;
        let record = snapshot.records.get(&id).filter(|_| is_whole);
        let exemptions = tenant.exemptions.iter().map(|exemption| StandingExemption {
            exemption: Some(exemption.into()),
            state: exemptions::state(exemption, now).into(),
        });
        Ok(Response::new(GetStandingResponse {
            tenant: id.to_string(),
            name: tenant.name.clone(),
            parent: tenant.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
            state: state_to_wire(status.state).into(),
            holds: status.holds.iter().map(hold).collect(),
            strikes: record.map(|record| strikes(record)).unwrap_or_default(),
            known_offender: tenant.known_offender.iter().map(ToString::to_string).collect(),
            exemptions: exemptions.collect(),
            waiting_orders: waiting.into_iter().map(|waiting| waiting_order(waiting, is_sealed)).collect(),
        }))
    }
}

fn waiting_order(
    (node, kind, order, given): (NodeId, String, Order, Timestamp),
    is_sealed: impl Fn(&str) -> bool,
) -> WaitingOrder {
    WaitingOrder {
        order: order.id().map(ToString::to_string).unwrap_or_default(),
        node: node.to_string(),
        kind,
        order_time: Some(time_to_wire(given)),
        decision: match &order {
            Order::Impose { decision, .. } if is_sealed(&decision.clause) => Some((&veiled(decision)).into()),
            Order::Impose { decision, .. } => Some(decision.as_ref().into()),
            _ => None,
        },
    }
}

fn hold(hold: &Hold) -> StandingHold {
    StandingHold {
        decision: Some((&hold.decision).into()),
        since_time: Some(time_to_wire(hold.since)),
        until_time: hold.until.map(time_to_wire),
        nodes: hold.nodes.iter().map(ToString::to_string).collect(),
    }
}

fn strikes(record: &Record) -> Vec<StrikesByRule> {
    let mut by_rule: BTreeMap<&Name, Vec<&Strike>> = BTreeMap::new();
    for strike in &record.strikes {
        by_rule.entry(&strike.rule).or_default().push(strike);
    }
    let counts = record.counts();
    let told = by_rule.into_iter().map(|(rule, all)| {
        let skipped = all.len().saturating_sub(EPISODES);
        StrikesByRule {
            rule: rule.to_string(),
            strikes: counts.get(rule).and_then(|count| u32::try_from(*count).ok()).unwrap_or_default(),
            episodes: all.into_iter().skip(skipped).map(episode).collect(),
        }
    });
    told.collect()
}

fn episode(strike: &Strike) -> StrikeOnNode {
    let when = |at: Timestamp| Some(time_to_wire(at));
    StrikeOnNode {
        node: strike.node.to_string(),
        open_time: when(strike.opened),
        close_time: strike.closed.and_then(when),
        number: strike.number,
    }
}
