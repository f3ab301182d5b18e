//! The way to the controller's services, in the name of a session.

use std::convert::Infallible;
use std::net::IpAddr;

use reeve_proto::MAX_MESSAGE_BYTES;
use reeve_proto::operator::v1::access_service_client::AccessServiceClient;
use reeve_proto::operator::v1::approval_service_client::ApprovalServiceClient;
use reeve_proto::operator::v1::audit_service_client::AuditServiceClient;
use reeve_proto::operator::v1::case_service_client::CaseServiceClient;
use reeve_proto::operator::v1::complaint_service_client::ComplaintServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::person_service_client::PersonServiceClient;
use reeve_proto::operator::v1::policy_service_client::PolicyServiceClient;
use reeve_proto::operator::v1::standing_service_client::StandingServiceClient;
use reeve_proto::status::v1::status_service_client::StatusServiceClient;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tower::util::BoxCloneSyncService;

use crate::From;

/// What carries calls to the services.
pub type Transport = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// What each client calls through.
pub(crate) type Channel = InterceptedService<Transport, Pass>;

/// Shows a session's token with each call, and tells from which browser it comes.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    token: Option<AsciiMetadataValue>,
    from: IpAddr,
}

impl Interceptor for Pass {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        request.extensions_mut().insert(From(self.from));
        Ok(request)
    }
}

/// The services' clients.
#[derive(Clone)]
pub(crate) struct Api {
    transport: Transport,
    pass: Pass,
}

macro_rules! clients {
    ($($name:ident: $client:ident;)*) => {
        $(
            pub fn $name(&self) -> $client<Channel> {
                $client::with_interceptor(self.transport.clone(), self.pass.clone())
                    .max_decoding_message_size(MAX_MESSAGE_BYTES)
                    .max_encoding_message_size(MAX_MESSAGE_BYTES)
            }
        )*
    };
}

impl Api {
    /// For a browser at this address, with the session's token; without one nobody is signed in. `None` where the token cannot be one.
    pub fn new(transport: Transport, token: Option<&str>, from: IpAddr) -> Option<Self> {
        let token = match token {
            None => None,
            Some(token) => {
                let mut value: AsciiMetadataValue = format!("Bearer {token}").parse().ok()?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Some(Self { transport, pass: Pass { token, from } })
    }

    clients! {
        access: AccessServiceClient;
        approvals: ApprovalServiceClient;
        audit: AuditServiceClient;
        cases: CaseServiceClient;
        complaints: ComplaintServiceClient;
        operator: OperatorServiceClient;
        people: PersonServiceClient;
        policies: PolicyServiceClient;
        standing: StandingServiceClient;
        status: StatusServiceClient;
    }
}
