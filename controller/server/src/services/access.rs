//! `AccessService`: who may call.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use ipnet::IpNet;
use reeve_policy::pause::is_plain;
use reeve_policy::{Name, Timestamp};
use reeve_proto::operator::v1::access_service_server::AccessService;
use reeve_proto::operator::v1::{
    CreateEnrolmentTokenRequest, CreateEnrolmentTokenResponse, CreateTokenRequest, CreateTokenResponse,
    ListRevocationsRequest, ListRevocationsResponse, ListTokensRequest, ListTokensResponse,
    Revocation as WireRevocation, RevokeRequest, RevokeResponse, RevokeTokenRequest, RevokeTokenResponse,
    Role as WireRole, Token as WireToken, WhoAmIRequest, WhoAmIResponse, revoke_request,
};
use reeve_proto::{MAX_TEXT_BYTES, duration, time_to_wire};
use tonic::{Request, Response, Status};

use super::{House, unsound, unwritable};
use crate::auth::{Caller, Change, Enrolment, Hash, Revocation, Role, Secret, Subject, Taken, Token};
use crate::clock;
use crate::pki::Authority;
use crate::writer::Job;

/// How long a token holds, if nobody says otherwise, and at most and least.
const USUAL_LIFE: Duration = Duration::from_secs(365 * 86_400);
const LONGEST_LIFE: Duration = Duration::from_secs(731 * 86_400);
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
/// The same of enrolment tokens.
const USUAL_ENROLMENT: Duration = Duration::from_secs(3_600);
const LONGEST_ENROLMENT: Duration = Duration::from_secs(7 * 86_400);
/// The most prefixes of one token.
const MAX_ADDRESSES: usize = 64;

#[derive(Clone, Debug)]
pub(crate) struct Service(pub House);

/// Writes a change of who may call; it is in force when this returns.
pub(super) async fn change(house: &House, change: Change) -> Result<Taken, Status> {
    let book = house.book.clone();
    let asked = house.writer.ask(|reply| Job::Access { change: Box::new(change), book, reply });
    asked.await.map_err(unwritable)
}

#[tonic::async_trait]
impl AccessService for Service {
    async fn who_am_i(&self, request: Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
        let caller = Caller::of(request.extensions())?;
        Ok(Response::new(WhoAmIResponse {
            role: role_to_wire(caller.role).into(),
            name: caller.name.to_string(),
            shown: caller.shown.as_str().to_owned(),
            address: caller.from.map(|from| from.to_string()).unwrap_or_default(),
            time: Some(time_to_wire(clock::now())),
        }))
    }

    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        let name = token_name(&request.name)?;
        let role = role(request.role())?;
        let life = match request.life {
            Some(life) => duration("life", life).map_err(unsound)?,
            None => USUAL_LIFE,
        };
        if !(SHORTEST_LIFE..=LONGEST_LIFE).contains(&life) {
            return Err(Status::invalid_argument("life: one minute to 731 days"));
        }
        let addresses = prefixes("addresses", &request.addresses)?;
        let secret =
            Secret::new(Secret::TOKEN).map_err(|_| Status::internal("the system has no randomness"))?;
        let now = clock::now();
        let token = Token {
            hash: secret.hash(),
            name: name.clone(),
            role,
            beginning: secret.beginning(),
            created: now,
            created_by: caller.name.to_string(),
            owner: caller.owner.clone(),
            expires: now + life,
            revoked: None,
            addresses,
        };
        let entry = token_to_wire(&token);
        match change(&self.0, Change::TokenMade(token)).await? {
            Taken::Done => {}
            Taken::Full => return Err(Status::resource_exhausted("there are too many tokens: revoke some")),
            Taken::Gone => {
                return Err(Status::permission_denied("whoever makes it was revoked meanwhile"));
            }
            Taken::Exists => {
                let text = format!("there is a token {name}: revoke it first, or choose another name");
                return Err(Status::already_exists(text));
            }
        }
        tracing::info!(%caller, %name, %role, beginning = entry.beginning, "a token was made");
        Ok(Response::new(CreateTokenResponse { token: secret.into_text(), entry: Some(entry) }))
    }

    async fn list_tokens(
        &self,
        _: Request<ListTokensRequest>,
    ) -> Result<Response<ListTokensResponse>, Status> {
        let tokens = self.0.book.tokens().iter().map(|token| token_to_wire(token)).collect();
        Ok(Response::new(ListTokensResponse { tokens }))
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let name = token_name(&request.into_inner().name)?;
        let now = clock::now();
        let gone = || Status::not_found(format!("there is no good token {name}"));
        let tokens = self.0.book.tokens();
        let token = tokens.iter().find(|token| token.name == name && token.is_good(now)).ok_or_else(gone)?;
        let revoked = Change::TokenRevoked { hash: token.hash, at: now };
        if change(&self.0, revoked).await? != Taken::Done {
            return Err(gone());
        }
        tracing::info!(%caller, %name, "a token was revoked");
        let entry = self.0.book.token(&token.hash).map(|token| token_to_wire(&token));
        Ok(Response::new(RevokeTokenResponse { entry }))
    }

    async fn create_enrolment_token(
        &self,
        request: Request<CreateEnrolmentTokenRequest>,
    ) -> Result<Response<CreateEnrolmentTokenResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        let node = name("node", &request.node)?;
        let life = match request.life {
            Some(life) => duration("life", life).map_err(unsound)?,
            None => USUAL_ENROLMENT,
        };
        if !(SHORTEST_LIFE..=LONGEST_ENROLMENT).contains(&life) {
            return Err(Status::invalid_argument("life: one minute to seven days"));
        }
        let Some(fingerprint) = self.0.access.fingerprint else {
            let text = "the controller has no certificates: make them with `reeve-controller init`";
            return Err(Status::failed_precondition(text));
        };
        if let Err(error) = Authority::load(&self.0.access.dir) {
            return Err(Status::failed_precondition(format!("the controller cannot sign: {error}")));
        }
        let secret =
            Secret::new(Secret::ENROLMENT).map_err(|_| Status::internal("the system has no randomness"))?;
        let token = format!("{}.{}", secret.into_text(), BASE64URL_NOPAD.encode(&fingerprint));
        let now = clock::now();
        let expires = now + life;
        let enrolment = Enrolment {
            hash: Hash::of(&token),
            node: node.clone(),
            created: now,
            created_by: caller.name.to_string(),
            expires,
        };
        change(&self.0, Change::EnrolmentMade(enrolment)).await?;
        tracing::info!(%caller, %node, "an enrolment token was made");
        Ok(Response::new(CreateEnrolmentTokenResponse { token, expire_time: Some(time_to_wire(expires)) }))
    }

    async fn revoke(&self, request: Request<RevokeRequest>) -> Result<Response<RevokeResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        let subject = match request.subject {
            Some(revoke_request::Subject::Node(node)) => Subject::Node(name("node", &node)?),
            Some(revoke_request::Subject::Person(person)) => Subject::Person(name("person", &person)?),
            None => return Err(Status::invalid_argument("subject: a node or a person")),
        };
        let is_plain = request.reason.len() <= MAX_TEXT_BYTES && request.reason.chars().all(is_plain);
        if !is_plain {
            return Err(Status::invalid_argument(format!(
                "reason: at most {MAX_TEXT_BYTES} bytes on one line"
            )));
        }
        let by = caller.name.to_string();
        let revocation = Revocation { subject, at: clock::now(), by, reason: request.reason };
        let connections = self.0.book.connections().shown_by(&revocation.subject);
        change(&self.0, Change::Revoked(revocation.clone())).await?;
        tracing::warn!(%caller, subject = %revocation.subject, reason = revocation.reason, "certificates were revoked");
        Ok(Response::new(RevokeResponse {
            revocation: Some(revocation_to_wire(&revocation)),
            connections_cut: u32::try_from(connections).unwrap_or(u32::MAX),
        }))
    }

    async fn list_revocations(
        &self,
        _: Request<ListRevocationsRequest>,
    ) -> Result<Response<ListRevocationsResponse>, Status> {
        let revocations = self.0.book.revocations().iter().map(revocation_to_wire).collect();
        Ok(Response::new(ListRevocationsResponse { revocations }))
    }
}

fn revocation_to_wire(revocation: &Revocation) -> WireRevocation {
    WireRevocation {
        subject: revocation.subject.to_string(),
        revoke_time: Some(time_to_wire(revocation.at)),
        revoked_by: revocation.by.clone(),
        reason: revocation.reason.clone(),
    }
}

pub(super) fn name(field: &str, text: &str) -> Result<Name, Status> {
    text.parse().map_err(|error| Status::invalid_argument(format!("{field}: {error}")))
}

/// A token's name, which fits into a caller's.
fn token_name(text: &str) -> Result<Name, Status> {
    let most = Name::MAX_LEN - Caller::TOKEN.len();
    if text.len() > most {
        return Err(Status::invalid_argument(format!("name: {} characters, at most {most}", text.len())));
    }
    name("name", text)
}

pub(super) fn prefixes(field: &str, texts: &[String]) -> Result<Vec<IpNet>, Status> {
    if texts.len() > MAX_ADDRESSES {
        return Err(Status::invalid_argument(format!("{field}: {}, at most {MAX_ADDRESSES}", texts.len())));
    }
    let prefix = |text: &String| {
        let address = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
        let wrong =
            || Status::invalid_argument(format!("{field}: found {text:.80?}, not an address or a prefix"));
        text.parse::<IpNet>().ok().or_else(address).map(|prefix| prefix.trunc()).ok_or_else(wrong)
    };
    texts.iter().map(prefix).collect()
}

pub(super) fn role(wire: WireRole) -> Result<Role, Status> {
    match wire {
        WireRole::Unspecified => {
            Err(Status::invalid_argument("role: status, billing, viewer, operator or admin"))
        }
        WireRole::Status => Ok(Role::Status),
        WireRole::Billing => Ok(Role::Billing),
        WireRole::Viewer => Ok(Role::Viewer),
        WireRole::Operator => Ok(Role::Operator),
        WireRole::Admin => Ok(Role::Admin),
    }
}

pub(super) fn role_to_wire(role: Role) -> WireRole {
    match role {
        Role::Stranger | Role::Node => WireRole::Unspecified,
        Role::Status => WireRole::Status,
        Role::Billing => WireRole::Billing,
        Role::Viewer => WireRole::Viewer,
        Role::Operator => WireRole::Operator,
        Role::Admin => WireRole::Admin,
    }
}

fn token_to_wire(token: &Token) -> WireToken {
    let at = |time: Timestamp| Some(time_to_wire(time));
    WireToken {
        name: token.name.to_string(),
        role: role_to_wire(token.role).into(),
        create_time: at(token.created),
        expire_time: at(token.expires),
        revoke_time: token.revoked.map(time_to_wire),
        addresses: token.addresses.iter().map(ToString::to_string).collect(),
        created_by: token.created_by.clone(),
        beginning: token.beginning.clone(),
    }
}
