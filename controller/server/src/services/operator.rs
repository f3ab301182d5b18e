//! `OperatorService`.

use std::pin::Pin;
use std::sync::Arc;

use reeve_policy::TenantId;
use reeve_proto::operator::v1::operator_service_server::OperatorService;
use reeve_proto::operator::v1::{
    BatchReleaseRequest, BatchReleaseResponse, BatchSuspendRequest, BatchSuspendResponse, Evidence,
    ExportEvidenceRequest, ExportEvidenceResponse, ExportReportRequest, ExportReportResponse,
    GetViolationRequest, GetViolationResponse, HoldEvidenceRequest, HoldEvidenceResponse,
    ImportTenantsRequest, ImportTenantsResponse, ImposeRequest, ImposeResponse, LiftRequest, LiftResponse,
    ListDeliveriesRequest, ListDeliveriesResponse, ListEventsRequest, ListEventsResponse, ListNodesRequest,
    ListNodesResponse, ListNoticesRequest, ListNoticesResponse, ListSuspensionsRequest,
    ListSuspensionsResponse, ListTenantsRequest, ListTenantsResponse, ListUsageRequest, ListUsageResponse,
    ListViolationsRequest, ListViolationsResponse, MeasureRecord, PaidRequest, PaidResponse, PauseRequest,
    PauseResponse, ReleaseBrakesRequest, ReleaseBrakesResponse, ReleaseRequest, ReleaseResponse,
    ResendDeliveryRequest, ResendDeliveryResponse, ResumeRequest, ResumeResponse, SuspendRequest,
    SuspendResponse, VerifyRequest, VerifyResponse, WatchRequest, WatchResponse,
};
use reeve_proto::time_to_wire;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::{
    House, batch, brakes, deliveries, evidence, holds, lists, notices, orders, reports, tenants, unreadable,
    usage, watch,
};
use crate::auth::{Caller, Role};
use crate::refusal::Reason;
use crate::store::MeasureRow;

#[derive(Clone, Debug)]
pub(crate) struct Service(pub House);

/// Reads a page's size: 0 is `usual`, and more than `most` is wrong.
pub(super) fn page_size(asked: i32, usual: u32, most: u32) -> Result<u32, Status> {
    match u32::try_from(asked) {
        Ok(0) => Ok(usual),
        Ok(size) if size <= most => Ok(size),
        _ => Err(Status::invalid_argument(format!("page_size: 0 to {most}"))),
    }
}

pub(super) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    field: &str,
    text: &str,
) -> Result<Option<T>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| Status::invalid_argument(format!("{field}: {error}")))
}

#[tonic::async_trait]
impl OperatorService for Service {
    async fn list_tenants(
        &self,
        request: Request<ListTenantsRequest>,
    ) -> Result<Response<ListTenantsResponse>, Status> {
        self.0.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        lists::tenants(&self.0, sight, request.into_inner()).map(Response::new)
    }

    async fn import_tenants(
        &self,
        request: Request<ImportTenantsRequest>,
    ) -> Result<Response<ImportTenantsResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        tenants::import(&self.0, operator, request.into_inner()).await.map(Response::new)
    }

    async fn list_nodes(
        &self,
        request: Request<ListNodesRequest>,
    ) -> Result<Response<ListNodesResponse>, Status> {
        self.0.protection.operator(&request)?;
        lists::nodes(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn list_violations(
        &self,
        request: Request<ListViolationsRequest>,
    ) -> Result<Response<ListViolationsResponse>, Status> {
        self.0.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        lists::violations(&self.0, sight, request.into_inner()).await.map(Response::new)
    }

    async fn get_violation(
        &self,
        request: Request<GetViolationRequest>,
    ) -> Result<Response<GetViolationResponse>, Status> {
        self.0.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        let whole = evidence::whole(&self.0, "id", &request.into_inner().id, sight).await?;
        let evidence::Whole { id, dossier, decisions, measures, tenant_name } = whole;
        let is_relay = dossier.violation.evidence.class == reeve_policy::Class::SmtpRelay;
        let checked = match is_relay {
            true => self.0.store.relay_check(&dossier.violation.tenant).await.map_err(unreadable)?,
            false => None,
        };
        let hold = holds::of(&self.0, &id).await?;
        let case = self.0.store.case_of(&id).await.map_err(unreadable)?;
        Ok(Response::new(GetViolationResponse {
            hold,
            case_id: case.map(|case| case.to_string()).unwrap_or_default(),
            relay_checked: checked.map(|(checked, _)| (&checked).into()),
            violation: Some((&dossier.violation).into()),
            evidence: dossier.all().iter().map(evidence_to_wire).collect(),
            tenant_name,
            decisions: decisions.iter().map(Into::into).collect(),
            measures: measures.into_iter().map(measure_record).collect(),
        }))
    }

    async fn impose(&self, request: Request<ImposeRequest>) -> Result<Response<ImposeResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        let request = request.into_inner();
        let (tenant, action) = (&request.tenant, request.action().as_str_name());
        tracing::info!(%operator, tenant, action, reason = request.reason, "an operator limits or blocks");
        orders::impose(&self.0, operator, request).await.map(Response::new)
    }

    async fn suspend(&self, request: Request<SuspendRequest>) -> Result<Response<SuspendResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        let role = Caller::of(request.extensions())?.role;
        let request = request.into_inner();
        check_cashier(role, &request)?;
        tracing::info!(%operator, tenant = request.tenant, reason = request.reason, "an operator suspends");
        orders::suspend(&self.0, operator, request).await.map(Response::new)
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        let request = request.into_inner();
        tracing::info!(%operator, tenant = request.tenant, reason = request.reason, "an operator releases");
        orders::release(&self.0, operator, request).await.map(Response::new)
    }

    async fn verify(&self, request: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        let request = request.into_inner();
        tracing::info!(%operator, tenant = request.tenant, answer = ?request.answer, "an operator has a mail server asked");
        orders::verify(&self.0, operator, request).await.map(Response::new)
    }

    async fn paid(&self, request: Request<PaidRequest>) -> Result<Response<PaidResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        let request = request.into_inner();
        tracing::info!(%operator, tenant = request.tenant, reason = request.reason, "an invoice is paid");
        orders::paid(&self.0, operator, request).await.map(Response::new)
    }

    async fn pause(&self, request: Request<PauseRequest>) -> Result<Response<PauseResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        let request = request.into_inner();
        tracing::warn!(%operator, target = ?request.target, lift = request.lift, reason = request.reason, "an operator pauses");
        brakes::pause(&self.0, operator, request).await.map(Response::new)
    }

    async fn resume(&self, request: Request<ResumeRequest>) -> Result<Response<ResumeResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        let request = request.into_inner();
        tracing::warn!(%operator, target = ?request.target, reason = request.reason, "an operator resumes");
        brakes::resume(&self.0, operator, request).await.map(Response::new)
    }

    async fn lift(&self, request: Request<LiftRequest>) -> Result<Response<LiftResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        let request = request.into_inner();
        if !request.dry_run {
            tracing::warn!(
                %operator, policy = request.policy, version = request.policy_version, node = request.node,
                reason = request.reason, "an operator lifts what a policy did"
            );
        }
        brakes::lift(&self.0, (operator, sight), request).await.map(Response::new)
    }

    async fn release_brakes(
        &self,
        request: Request<ReleaseBrakesRequest>,
    ) -> Result<Response<ReleaseBrakesResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        let request = request.into_inner();
        tracing::warn!(%operator, node = request.node, reason = request.reason, "an operator releases the brakes");
        brakes::release(&self.0, operator, request).await.map(Response::new)
    }

    async fn hold_evidence(
        &self,
        request: Request<HoldEvidenceRequest>,
    ) -> Result<Response<HoldEvidenceResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        let request = request.into_inner();
        tracing::info!(%operator, violation = request.violation, end = request.end, reason = request.reason, "an operator holds evidence");
        holds::hold(&self.0, operator, sight, request).await.map(Response::new)
    }

    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        self.0.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        lists::events(&self.0, sight, request.into_inner()).await.map(Response::new)
    }

    async fn list_usage(
        &self,
        request: Request<ListUsageRequest>,
    ) -> Result<Response<ListUsageResponse>, Status> {
        self.0.protection.operator(&request)?;
        usage::list(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn list_suspensions(
        &self,
        request: Request<ListSuspensionsRequest>,
    ) -> Result<Response<ListSuspensionsResponse>, Status> {
        self.0.protection.operator(&request)?;
        usage::suspensions(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn list_notices(
        &self,
        request: Request<ListNoticesRequest>,
    ) -> Result<Response<ListNoticesResponse>, Status> {
        self.0.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        notices::list(&self.0, sight, request.into_inner()).await.map(Response::new)
    }

    async fn list_deliveries(
        &self,
        request: Request<ListDeliveriesRequest>,
    ) -> Result<Response<ListDeliveriesResponse>, Status> {
        self.0.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        deliveries::list(&self.0, sight, request.into_inner()).await.map(Response::new)
    }

    async fn resend_delivery(
        &self,
        request: Request<ResendDeliveryRequest>,
    ) -> Result<Response<ResendDeliveryResponse>, Status> {
        self.0.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        deliveries::resend(&self.0, sight, request.into_inner()).await.map(Response::new)
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.0.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        let tenant: Option<TenantId> = parsed("tenant", &request.into_inner().tenant)?;
        let events = self.0.events.subscribe();
        let directory = Arc::clone(&self.0.directory);
        Ok(Response::new(Box::pin(watch::stream(events, tenant, directory, sight))))
    }

    async fn batch_suspend(
        &self,
        request: Request<BatchSuspendRequest>,
    ) -> Result<Response<BatchSuspendResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        let role = Caller::of(request.extensions())?.role;
        let request = request.into_inner();
        request.requests.iter().try_for_each(|one| check_cashier(role, one))?;
        tracing::info!(%operator, tenants = request.requests.len(), "an operator suspends several");
        batch::suspend(&self.0, operator, request).await
    }

    async fn batch_release(
        &self,
        request: Request<BatchReleaseRequest>,
    ) -> Result<Response<BatchReleaseResponse>, Status> {
        let operator = self.0.protection.operator(&request)?;
        let request = request.into_inner();
        tracing::info!(%operator, tenants = request.requests.len(), "an operator releases several");
        batch::release(&self.0, operator, request).await
    }

    type ExportEvidenceStream = Pin<Box<dyn Stream<Item = Result<ExportEvidenceResponse, Status>> + Send>>;

    async fn export_evidence(
        &self,
        request: Request<ExportEvidenceRequest>,
    ) -> Result<Response<Self::ExportEvidenceStream>, Status> {
        self.0.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        Ok(Response::new(Box::pin(evidence::export(&self.0, sight, request.into_inner()).await?)))
    }

    async fn export_report(
        &self,
        request: Request<ExportReportRequest>,
    ) -> Result<Response<ExportReportResponse>, Status> {
        self.0.protection.operator(&request)?;
        let sight = Caller::sight(request.extensions())?;
        reports::export(&self.0, sight, request.into_inner()).await.map(Response::new)
    }
}

/// Billing suspends for its own reason alone.
fn check_cashier(role: Role, request: &SuspendRequest) -> Result<(), Status> {
    if role == Role::Billing && !request.until_paid {
        let text = "billing suspends until an invoice is paid (until_paid), and not otherwise";
        return Err(Reason::RoleNotAllowed.status(text));
    }
    Ok(())
}

pub(super) fn measure_record(row: MeasureRow) -> MeasureRecord {
    MeasureRecord {
        node: row.node.to_string(),
        decision: row.decision.to_string(),
        standing_time: Some(time_to_wire(row.since)),
        expire_time: row.expires.map(time_to_wire),
        lift_time: row.lifted.map(time_to_wire),
        lift_reason: row.lift_reason.unwrap_or_default(),
        counters: Some(row.counters.into()),
    }
}

fn evidence_to_wire(one: &reeve_policy::Evidence) -> Evidence {
    Evidence {
        decision: one.decision.as_ref().map(|id| id.0.to_string()).unwrap_or_default(),
        alert: Some((&one.alert).into()),
    }
}
