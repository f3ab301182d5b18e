//! Evidence that a person keeps past its time.

use reeve_policy::{Name, ViolationId};
use reeve_proto::operator::v1::{EvidenceHold, HoldEvidenceRequest, HoldEvidenceResponse};
use reeve_proto::time_to_wire;
use tonic::Status;

use super::evidence::check_sight;
use super::operator::parsed;
use super::orders::check_reason;
use super::{House, no_violation, unreadable, unwritable};
use crate::store::Sight;
use crate::store::write::HoldAsked;
use crate::writer::Job;

/// Keeps a violation past its time, or ends that.
pub(super) async fn hold(
    house: &House,
    operator: Name,
    sight: Sight,
    request: HoldEvidenceRequest,
) -> Result<HoldEvidenceResponse, Status> {
    let id: Option<Name> = parsed("violation", &request.violation)?;
    let id = id.ok_or_else(|| Status::invalid_argument("violation: a violation's key"))?;
    check_reason(&request.reason, !request.end)?;
    let id = ViolationId::from(id);
    check_sight(house, &id, sight).await?;
    let reason = (!request.end).then_some(request.reason);
    let asked = HoldAsked { violation: id, by: operator.to_string(), reason };
    let done = house.writer.ask(|reply| Job::Hold { asked: Box::new(asked), reply }).await;
    match done.map_err(unwritable)? {
        Some(changed) => Ok(HoldEvidenceResponse { changed }),
        None => Err(no_violation(&request.violation)),
    }
}

/// Who keeps a violation past its time.
pub(super) async fn of(house: &House, id: &ViolationId) -> Result<Option<EvidenceHold>, Status> {
    let hold = house.store.hold(id).await.map_err(unreadable)?;
    let told =
        |(operator, reason, since)| EvidenceHold { operator, reason, since_time: Some(time_to_wire(since)) };
    Ok(hold.map(told))
}
