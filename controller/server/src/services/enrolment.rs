//! `EnrolmentService`: nodes' certificates.

use reeve_policy::{NodeId, Timestamp};
use reeve_proto::agent::v1::enrolment_service_server::EnrolmentService;
use reeve_proto::agent::v1::{EnrollRequest, EnrollResponse, RenewRequest, RenewResponse};
use tonic::{Request, Response, Status};

use super::{House, access};
use crate::auth::{Caller, Change, Hash, Role, Taken};
use crate::clock;
use crate::pki::{Authority, PkiError};

/// The longest message: a certificate request of an RSA key of 8192 bits has 3 KiB.
pub(crate) const MAX_MESSAGE_BYTES: usize = 16 << 10;

#[derive(Clone, Debug)]
pub(crate) struct Service(pub House);

impl Service {
    /// Signs a node's request, if the authority's key is here.
    fn sign(&self, node: &NodeId, request: &[u8], began: Timestamp) -> Result<(String, String), Status> {
        let authority = Authority::load(&self.0.access.dir).map_err(|error| {
            tracing::error!(%error, "the authority cannot sign");
            Status::failed_precondition("the controller cannot sign certificates: its log tells why")
        })?;
        let life = self.0.access.certificate_life;
        let signed = authority.sign(request, Role::Node, node, began, life).map_err(|error| match error {
            PkiError::Request(_) => Status::invalid_argument(error.to_string()),
            error => {
                tracing::error!(%error, "a certificate could not be made");
                Status::internal("a certificate could not be made: the controller's log tells why")
            }
        })?;
        Ok((signed, authority.into_certificate()))
    }
}

#[tonic::async_trait]
impl EnrolmentService for Service {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let EnrollRequest { token, certificate_request } = request.into_inner();
        let refused = || {
            self.0.gate.see_failure(caller.from);
            Status::unauthenticated("the enrolment token is not known, has ended, or was used before")
        };
        let (hash, now) = (Hash::of(token.trim()), clock::now());
        let enrolment = self.0.book.enrolment(&hash).filter(|enrolment| now < enrolment.expires);
        let node = enrolment.ok_or_else(refused)?.node.clone();
        // Whatever can go wrong does so before the token is spent.
        let (certificate, authority) = self.sign(&node, &certificate_request, now)?;
        match access::change(&self.0, Change::EnrolmentUsed { hash, at: now }).await? {
            Taken::Done => {}
            Taken::Gone | Taken::Exists | Taken::Full => return Err(refused()),
        }
        tracing::info!(%node, %caller, "a node was enrolled");
        Ok(Response::new(EnrollResponse { node: node.to_string(), certificate, authority }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let Some(node) = self.0.protection.check_node(&request)? else {
            return Err(Status::failed_precondition("the controller has no certificates, and gives none"));
        };
        // A line of certificates keeps the time at which it began, by which it is revoked: what was renewed in the very moment of a
        // revocation is revoked, too.
        let began = caller.began.unwrap_or(Timestamp::EPOCH);
        let (certificate, authority) = self.sign(&node, &request.into_inner().certificate_request, began)?;
        tracing::info!(%node, "a node's certificate was renewed");
        Ok(Response::new(RenewResponse { certificate, authority }))
    }
}
