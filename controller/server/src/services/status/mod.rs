//! `StatusService`: where tenants stand, answered from memory.

mod desk;
mod follow;
mod places;
mod wire;

use std::pin::Pin;

use reeve_policy::TenantId;
use reeve_proto::status::v1::batch_get_status_response::{Answer, Problem, answer, problem};
use reeve_proto::status::v1::get_status_request::Subject as WireSubject;
use reeve_proto::status::v1::status_service_server::StatusService;
use reeve_proto::status::v1::{
    BatchGetStatusRequest, BatchGetStatusResponse, GetStatusRequest, GetStatusResponse, WatchStatusRequest,
    WatchStatusResponse,
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use crate::auth::Caller;
use crate::refusal::Reason;

pub(crate) use desk::{Desk, Missing, Subject, TooMany};
pub(crate) use follow::{Following, Told};
pub(crate) use wire::{View, state_to_wire};

/// The most subjects of one question.
pub(crate) const BATCH: usize = 1_000;
/// The most tenants that one watch is narrowed to.
pub(crate) const WATCHED: usize = 1_000;

#[derive(Clone, Debug)]
pub(crate) struct Service(pub Desk);

impl Service {
    /// What of the answers the caller is told.
    fn view<T>(request: &Request<T>) -> Result<View, Status> {
        Ok(View::of(Caller::of(request.extensions())?.role))
    }

    fn admit<T>(&self, request: &Request<T>, questions: usize) -> Result<(), Status> {
        let peer = Caller::of(request.extensions())?.from;
        self.0.admit(peer, questions).map_err(|TooMany| too_many())
    }
}

fn too_many() -> Status {
    Reason::TooManyCalls.status("too many questions; ask again in a second")
}

#[tonic::async_trait]
impl StatusService for Service {
    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let view = Self::view(&request)?;
        self.admit(&request, 1)?;
        let subject = request.into_inner().subject.map(subject).transpose();
        let missing = |missing: Missing| match missing {
            Missing::Unsound(_) => Status::invalid_argument(missing.to_string()),
            Missing::Nobody(ref subject) => {
                subject.absence().about(missing.to_string(), [("subject", subject.key())])
            }
        };
        let subject = subject.map_err(missing)?;
        let subject =
            subject.ok_or_else(|| Status::invalid_argument("ask by tenant, address or interface"))?;
        self.0.look_up(&subject, view).map(Response::new).map_err(missing)
    }

    async fn batch_get_status(
        &self,
        request: Request<BatchGetStatusRequest>,
    ) -> Result<Response<BatchGetStatusResponse>, Status> {
        let view = Self::view(&request)?;
        let asked = request.get_ref().subjects.len();
        if !(1..=BATCH).contains(&asked) {
            return Err(Status::invalid_argument(format!("subjects: {asked}; 1 to {BATCH} are allowed")));
        }
        self.admit(&request, asked)?;
        let subjects = request.into_inner().subjects.into_iter().map(|one| match one.subject {
            Some(one) => subject(one),
            None => Err(Missing::Unsound("ask by tenant, address or interface".to_owned())),
        });
        let answers = self.0.look_up_all(subjects, view).into_iter().map(|found| {
            let found = match found {
                Ok(status) => answer::Answer::Status(status),
                Err(missing) => {
                    let kind = match missing {
                        Missing::Unsound(_) => problem::Kind::Invalid,
                        Missing::Nobody(_) => problem::Kind::NotFound,
                    };
                    answer::Answer::Problem(Problem { kind: kind.into(), detail: missing.to_string() })
                }
            };
            Answer { answer: Some(found) }
        });
        Ok(Response::new(BatchGetStatusResponse { answers: answers.collect() }))
    }

    type WatchStatusStream = Pin<Box<dyn Stream<Item = Result<WatchStatusResponse, Status>> + Send>>;

    async fn watch_status(
        &self,
        request: Request<WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        let view = Self::view(&request)?;
        self.admit(&request, 1)?;
        let caller = Caller::of(request.extensions())?.clone();
        let WatchStatusRequest { resume_token, tenants } = request.into_inner();
        let following = following(&resume_token, &tenants, view).map_err(Status::invalid_argument)?;
        let told = self.0.follow(following, &caller);
        let told =
            told.map_err(|TooMany| Status::resource_exhausted("too many watch already; ask again later"))?;
        Ok(Response::new(Box::pin(told.map(|told| Ok(told.into())))))
    }
}

/// What is to be followed, from texts of a caller.
pub(crate) fn following<T: AsRef<str>>(
    resume_token: &str,
    tenants: &[T],
    view: View,
) -> Result<Following, String> {
    if tenants.len() > WATCHED {
        return Err(format!("tenants: {}; at most {WATCHED} are allowed", tenants.len()));
    }
    let seen = match resume_token {
        "" => None,
        text => Some(text.parse().map_err(|error| format!("resume_token: {error}"))?),
    };
    let only =
        tenants.iter().map(|id| id.as_ref().parse::<TenantId>().map_err(|error| format!("tenants: {error}")));
    Ok(Following { seen, only: only.collect::<Result<_, _>>()?, view })
}

fn subject(wire: WireSubject) -> Result<Subject, Missing> {
    match wire {
        WireSubject::Tenant(key) => Subject::tenant(&key),
        WireSubject::Address(address) => Subject::address(&address),
        WireSubject::Interface(name) => Subject::interface(&name),
    }
}
