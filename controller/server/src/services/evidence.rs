//! What a violation rests on, and its packet headers as a file.
//!
//! The file is written by the same code as that of `reeve-agent` and `reevectl` (`reeve_policy::evidence`): headers as they were recorded, and of
//! payload nothing, since there is none.

use reeve_policy::{Decision, Dossier, Name, ViolationId};
use reeve_proto::operator::v1::export_evidence_request::Format;
use reeve_proto::operator::v1::{ExportEvidenceRequest, ExportEvidenceResponse};
use tokio_stream::Stream;
use tonic::Status;

use super::operator::parsed;
use super::{House, no_violation, unreadable};
use crate::store::{MeasureRow, Sight};

/// The most bytes of one chunk.
const CHUNK_BYTES: usize = 64 << 10;

/// A violation with all that belongs to it.
pub(super) struct Whole {
    pub id: ViolationId,
    pub dossier: Dossier,
    pub decisions: Vec<Decision>,
    pub measures: Vec<MeasureRow>,
    /// Empty if the tenant has no name or is gone.
    pub tenant_name: String,
}

/// Reads a violation whose key stands in this field of a request.
pub(super) async fn whole(house: &House, field: &str, key: &str, sight: Sight) -> Result<Whole, Status> {
    let id: Option<Name> = parsed(field, key)?;
    let missing = || Status::invalid_argument(format!("{field}: a violation's key"));
    let id = ViolationId::from(id.ok_or_else(missing)?);
    let dossier = house.store.dossier(&id).await.map_err(unreadable)?;
    let mut dossier = dossier.ok_or_else(|| no_violation(&id))?;
    check_sight(house, &id, sight).await?;
    let (decisions, measures) = house.store.answers(&id).await.map_err(unreadable)?;
    // Of what was stored when nothing was kept beside a violation the latest alert may be one that a decision rests on.
    decisions.iter().for_each(|decision| dossier.decide(decision));
    let snapshot = house.directory.snapshot();
    let tenant = snapshot.tenants.by_id(&dossier.violation.tenant);
    let tenant_name = tenant.map(|tenant| tenant.name.clone()).unwrap_or_default();
    Ok(Whole { id, dossier, decisions, measures, tenant_name })
}

/// A violation of a case that is sealed is there for administrators alone.
pub(super) async fn check_sight(house: &House, id: &ViolationId, sight: Sight) -> Result<(), Status> {
    if sight == Sight::Unsealed && house.store.is_under_seal(id).await.map_err(unreadable)? {
        return Err(no_violation(id));
    }
    Ok(())
}

/// The file, in chunks.
pub(super) async fn export(
    house: &House,
    sight: Sight,
    request: ExportEvidenceRequest,
) -> Result<impl Stream<Item = Result<ExportEvidenceResponse, Status>> + Send + use<>, Status> {
    match Format::try_from(request.format) {
        Ok(Format::Unspecified | Format::Pcapng) => {}
        Err(_) => return Err(Status::invalid_argument("format: pcapng")),
    }
    let Whole { dossier, tenant_name, .. } = whole(house, "violation", &request.violation, sight).await?;
    let chosen = match request.decision {
        0 => dossier.all(),
        number => vec![dossier.behind(number).ok_or_else(|| {
            Status::not_found(format!("nothing is kept that decision {number} upon this violation rests on"))
        })?],
    };
    let name = Some(tenant_name.as_str()).filter(|name| !name.is_empty());
    let file = dossier.capture(&chosen, name);
    let chunks: Vec<_> =
        file.chunks(CHUNK_BYTES).map(|chunk| Ok(ExportEvidenceResponse { chunk: chunk.to_vec() })).collect();
    Ok(tokio_stream::iter(chunks))
}
