//! The services, each a thin layer between messages and the directory, the store and the writer.

pub(crate) mod access;
pub(crate) mod agent;
pub(crate) mod approval;
pub(crate) mod audit;
mod batch;
mod brakes;
mod bundle;
pub(crate) mod cases;
mod complaints;
mod deliveries;
pub(crate) mod enrolment;
mod evidence;
mod exemptions;
mod holds;
mod lists;
mod notices;
pub(crate) mod operator;
pub(crate) mod orders;
pub(crate) mod pending;
pub(crate) mod person;
pub(crate) mod policies;
mod reports;
pub(crate) mod standing;
pub(crate) mod status;
mod tenants;
mod trials;
mod usage;
pub(crate) mod watch;

use std::sync::Arc;

use reeve_audit::Signer;
use reeve_proto::operator::v1::access_service_server::AccessServiceServer;
use reeve_proto::operator::v1::case_service_server::CaseServiceServer;
use reeve_proto::operator::v1::complaint_service_server::ComplaintServiceServer;
use reeve_proto::operator::v1::operator_service_server::OperatorServiceServer;
use reeve_proto::operator::v1::person_service_server::PersonServiceServer;
use reeve_proto::operator::v1::policy_service_server::PolicyServiceServer;
use reeve_proto::operator::v1::standing_service_server::StandingServiceServer;
use reeve_proto::{MAX_MESSAGE_BYTES, WireError};
use reeve_reports::Contact;
use tonic::Status;
use tonic::service::Routes;

use crate::auth::{Book, Doorkeeper, Gate, Vault};
use crate::config::Signing;
use crate::directory::Directory;
use crate::events::Events;
use crate::identity::Protection;
use crate::listing::Pages;
use crate::metrics::Metrics;
use crate::refusal::Reason;
use crate::settings::{Complaints, Sessions};
use crate::store::{Store, StoreError};
use crate::streams::Streams;
use crate::writer::{WriteError, Writer};
pub(crate) use batch::{MAX_BATCH, check_batch};
use pending::Pending;
pub(crate) use policies::MAX_MESSAGE_BYTES as MAX_POLICY_MESSAGE_BYTES;

/// What the services share.
#[derive(Clone, Debug)]
pub(crate) struct House {
    pub protection: Protection,
    pub vault: Arc<Vault>,
    pub door: Arc<Doorkeeper>,
    pub sessions: Sessions,
    pub book: Book,
    pub gate: Gate,
    pub access: Arc<Signing>,
    pub directory: Arc<Directory>,
    pub store: Store,
    pub writer: Writer,
    pub pending: Pending,
    pub events: Events,
    pub streams: Streams,
    pub metrics: Metrics,
    /// Seals the tokens of pages.
    pub pages: Pages,
    /// Who reports to others what was found, if that is set.
    pub reporter: Option<Arc<Contact>>,
}

pub(crate) fn policy_server(house: &House) -> PolicyServiceServer<policies::Service> {
    PolicyServiceServer::new(policies::Service(house.clone()))
        .max_decoding_message_size(policies::MAX_MESSAGE_BYTES)
}

pub(crate) fn access_server(house: &House) -> AccessServiceServer<access::Service> {
    AccessServiceServer::new(access::Service(house.clone()))
}

pub(crate) fn operator_server(house: &House) -> OperatorServiceServer<operator::Service> {
    OperatorServiceServer::new(operator::Service(house.clone())).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

pub(crate) fn person_server(house: &House) -> PersonServiceServer<person::Service> {
    let service = PersonServiceServer::new(person::Service { house: house.clone() });
    service.max_decoding_message_size(enrolment::MAX_MESSAGE_BYTES)
}

pub(crate) fn case_server(house: &House, signer: &Arc<Signer>) -> CaseServiceServer<cases::Service> {
    CaseServiceServer::new(cases::Service(house.clone(), Arc::clone(signer)))
}

/// The service of complaints.
pub(crate) fn complaint_server(
    house: &House,
    settings: Complaints,
) -> ComplaintServiceServer<complaints::Service> {
    ComplaintServiceServer::new(complaints::Service { house: house.clone(), settings })
}

pub(crate) fn standing_server(house: &House) -> StandingServiceServer<standing::Service> {
    StandingServiceServer::new(standing::Service(house.clone()))
}

/// The services whose acts may have waited for a second person (`approval::rules::RULES`).
pub(crate) fn approvable(house: &House) -> Routes {
    let first = Routes::new(operator_server(house)).add_service(access_server(house));
    first.add_service(person_server(house)).add_service(policy_server(house))
}

pub(crate) fn unwritable(error: WriteError) -> Status {
    match error {
        WriteError::Clash(clash) => Reason::TenantsClash.status(clash),
        WriteError::Held(ref held) => {
            Reason::TenantsHeld.about(error.to_string(), [("tenants", held.replace(", ", ","))])
        }
        WriteError::Decided => Reason::PreconditionFailed.status(error.to_string()),
        WriteError::Stopping => Reason::ControllerStopping.status("the controller stops"),
        WriteError::Store(error) => {
            tracing::error!(%error, "the database failed");
            Reason::DatabaseUnavailable.status("the database failed; the controller's log tells more")
        }
    }
}

pub(crate) fn unreadable(error: StoreError) -> Status {
    tracing::error!(%error, "the database failed");
    Status::internal("the database failed; the controller's log tells more")
}

/// There is no such tenant.
pub(crate) fn no_tenant(tenant: &impl std::fmt::Display) -> Status {
    Reason::TenantNotFound.about(format!("there is no tenant {tenant}"), [("tenant", tenant.to_string())])
}

/// There is no such node.
pub(crate) fn no_node(node: &impl std::fmt::Display) -> Status {
    Reason::NodeNotFound.about(format!("there is no node {node}"), [("node", node.to_string())])
}

/// There is no such exemption that operators granted.
pub(crate) fn no_exemption(id: &impl std::fmt::Display) -> Status {
    let text =
        format!("operators granted no exemption {id}; what stands in a tenant's own entry is changed there");
    Reason::ExemptionNotFound.about(text, [("exemption", id.to_string())])
}

/// There is no such violation.
pub(crate) fn no_violation(id: &impl std::fmt::Display) -> Status {
    Reason::ViolationNotFound.about(format!("there is no violation {id}"), [("violation", id.to_string())])
}

pub(crate) fn unsound(error: WireError) -> Status {
    Status::invalid_argument(error.to_string())
}
