//! The writer: the one task that changes the database.
//!
//! Jobs that wait are taken together into one transaction. Where one fails, all are done again with a savepoint for each,
//! so that it does not take the others with it. Only when the transaction is on disk is anything told: acknowledgements, replies, the
//! directory, events, orders for streams. So everything happens in one order, and nothing that was told can be lost. With
//! other controllers on the same database it is one order for all of them (`store::share`).
//!
//! What people order, and wait for, goes before what nodes tell, so that a fleet's thousand answers do not hold up the next act.
//!
//! A report that could not be stored ends the stream that it came by, and nothing after it is taken from there: the agent
//! connects again and sends it again.

mod pulse;
mod run;
mod task;
mod thread;

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use reeve_audit::Signer;
use reeve_policy::{Decision, NodeId, OrderId, OrderResult, Report, Tenant, TenantId};
use reeve_proto::WireError;
use reeve_proto::session::Hello;
use tokio::sync::{mpsc, oneshot, watch};

use crate::approval::{Asked as AskedToApprove, Claim, Count, Decided, Once};
use crate::audit::{Also, Draft};
use crate::auth::{Book, Change, Taken};
use crate::store::approvals::Kept;
use crate::store::write::{
    Asked, Attempted, BatchTaken, CaseAsked, CaseTaken, DeleteAsked, DeleteTaken, ForgiveAsked, GrantAsked,
    GrantTaken, Greeting, HoldAsked, ImportMethod, Imported, LiftAsked, LiftTaken, Limits, MendAsked, Mended,
    OrderTaken, PaidFor, Place, Pulled, ReleaseAsked, Released, Requested, ResendAsked, ResendTaken,
    RevokeAsked, RolloutAsked, RolloutTaken, SettleAsked, SettleTaken, Submission, SubmissionTaken, Upload,
    UploadTaken, VerifyAsked,
};
use crate::store::{Channels, GrantRow, Outgoing, StoreError};

pub(crate) use pulse::Pulse;
pub(crate) use task::Task;
pub(crate) use thread::Thread;

/// Why a job was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// The database failed: the disk is full, the file is gone.
    #[error("the database failed: {0}")]
    Store(Arc<StoreError>),
    /// The controller stops.
    #[error("the controller stops")]
    Stopping,
    /// Tenants that would be forgotten while measures hold them, which would end with them.
    #[error("measures hold {0}: release them before they are forgotten")]
    Held(String),
    /// Tenants that are not disjoint.
    #[error("{0}")]
    Clash(String),
    /// Whoever else decided about it, or its time, was faster.
    #[error("it waits no more: somebody else decided about it, or its time is over")]
    Decided,
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// Where the answer to a job goes, and what it will be when the transaction is on disk.
#[derive(Debug)]
pub(crate) struct Reply<T> {
    to: oneshot::Sender<Result<T, WriteError>>,
    answer: Option<Result<T, WriteError>>,
}

impl<T> Reply<T> {
    /// Takes what a change came to; an error is whoever's it is who runs the job.
    fn put(&mut self, done: Result<T, StoreError>) -> Result<(), StoreError> {
        self.answer = Some(Ok(done?));
        Ok(())
    }

    /// Whether whoever asked has given up waiting.
    fn is_abandoned(&self) -> bool {
        self.to.is_closed()
    }

    /// It is not done, for a reason that is the caller's.
    fn refuse(&mut self, error: WriteError) {
        self.answer = Some(Err(error));
    }

    /// Answers: what was put, if the transaction is on disk.
    fn send(self, result: Result<(), WriteError>) {
        let answer = match result {
            Ok(()) => self.answer.unwrap_or(Err(WriteError::Stopping)),
            Err(error) => Err(error),
        };
        // Whoever asked may have given up waiting.
        let _ = self.to.send(answer);
    }
}

/// How far a stream's reports are stored.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Up to this number.
    pub acknowledged: u64,
    /// One could not be stored, so none after it is.
    pub is_broken: bool,
}

/// A key of this controller's life, by which others know it: made anew at each start.
fn controller_key() -> String {
    // A fresh hasher is keyed at random.
    let random = || std::hash::RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

/// Something to be written.
#[derive(Debug)]
pub(crate) enum Job {
    Greet {
        hello: Box<Hello>,
        reply: Reply<Greeting>,
    },
    Report(Box<Numbered>),
    OrderResult {
        node: NodeId,
        result: OrderResult,
    },
    Saw {
        node: NodeId,
    },
    Import {
        tenants: Vec<Tenant>,
        method: ImportMethod,
        is_dry: bool,
        reply: Reply<Imported>,
    },
    Suspend {
        requested: Requested,
        decision: Box<Decision>,
        reply: Reply<OrderTaken>,
    },
    Release {
        requested: Requested,
        id: OrderId,
        tenant: TenantId,
        by: String,
        reason: String,
        forgive: bool,
        reply: Reply<(OrderTaken, Option<Released>)>,
    },
    SuspendAll {
        requested: Requested,
        decisions: Vec<Decision>,
        reply: Reply<BatchTaken>,
    },
    ReleaseAll {
        requested: Requested,
        releases: Vec<ReleaseAsked>,
        reply: Reply<BatchTaken>,
    },
    Verify {
        requested: Requested,
        asked: Box<VerifyAsked>,
        reply: Reply<OrderTaken>,
    },
    Paid {
        requested: Requested,
        id: OrderId,
        tenant: TenantId,
        by: String,
        reason: String,
        reply: Reply<(OrderTaken, Option<PaidFor>)>,
    },
    Pause {
        requested: Requested,
        asked: Box<Asked>,
        reply: Reply<OrderTaken>,
    },
    Resume {
        requested: Requested,
        asked: Box<Asked>,
        reply: Reply<(OrderTaken, Option<bool>)>,
    },
    Lift {
        requested: Requested,
        asked: Box<LiftAsked>,
        reply: Reply<LiftTaken>,
    },
    ReleaseBrakes {
        requested: Requested,
        id: OrderId,
        node: NodeId,
        by: String,
        reason: String,
        reply: Reply<OrderTaken>,
    },
    /// A node is connected by a stream.
    Up {
        node: NodeId,
        stream: u64,
    },
    /// An entry of the audit log, and one for each of those that the same call is about besides.
    Enter {
        draft: Box<Draft>,
        also: Vec<Also>,
        reply: Reply<u64>,
    },
    /// A checkpoint over its last one.
    Seal {
        signer: Arc<Signer>,
        reply: Reply<()>,
    },
    /// Who may call. The book has it before whoever asked is answered, whether or not they still wait.
    Access {
        change: Box<Change>,
        book: Book,
        reply: Reply<Taken>,
    },
    /// A stream ended.
    Down {
        node: NodeId,
        stream: u64,
        reason: String,
    },
    /// Another controller has not beaten since.
    Bury {
        controller: String,
        beat: i64,
    },
    /// This one goes.
    Leave {
        reply: Reply<()>,
    },
    /// Evidence is kept past its time, or no longer.
    Hold {
        asked: Box<HoldAsked>,
        reply: Reply<Option<bool>>,
    },
    /// Something is done about a case.
    Case {
        requested: Requested,
        asked: Box<CaseAsked>,
        reply: Reply<CaseTaken>,
    },
    /// Complaints came in.
    Complaints {
        submission: Submission,
        reply: Reply<SubmissionTaken>,
    },
    /// Somebody says whose matter a complaint is.
    SettleComplaint {
        requested: Requested,
        asked: Box<SettleAsked>,
        reply: Reply<SettleTaken>,
    },
    /// Somebody says that it is mended.
    Mend {
        asked: MendAsked,
        reply: Reply<Mended>,
    },
    /// What was said to be mended is looked at again; of how many that is over.
    LookAgain {
        reply: Reply<u64>,
    },
    /// Cases are open again whose deadline is over; how many.
    EndWaiting {
        reply: Reply<u64>,
    },
    /// Cases are closed of which nothing goes on; how many, and behind which the next are.
    CloseQuiet {
        quiet: Duration,
        behind: Place,
        reply: Reply<(u64, Option<Place>)>,
    },
    /// What is to be sent now is taken, for whoever sends.
    ClaimDeliveries {
        channels: Arc<Channels>,
        most: usize,
        reply: Reply<Vec<Outgoing>>,
    },
    /// What came of it.
    Attempted {
        all: Vec<Attempted>,
        reply: Reply<()>,
    },
    /// Something is sent again.
    Resend {
        requested: Requested,
        asked: ResendAsked,
        reply: Reply<ResendTaken>,
    },
    /// What bouncers are to be told is written down.
    Remedies {
        reply: Reply<()>,
    },
    /// A bouncer is told what changed, or at its start everything.
    Pull {
        name: String,
        is_start: bool,
        reply: Reply<Pulled>,
    },
    /// Some of what is older is forgotten; whether there is more.
    Retain {
        limits: Limits,
        reply: Reply<(u64, bool)>,
    },
    /// A policy is kept.
    Upload {
        upload: Box<Upload>,
        reply: Reply<UploadTaken>,
    },
    /// A policy is deleted.
    DeletePolicy {
        asked: Box<DeleteAsked>,
        reply: Reply<DeleteTaken>,
    },
    /// Nodes are to run something else.
    RollOut {
        asked: Box<RolloutAsked>,
        reply: Reply<RolloutTaken>,
    },
    /// A tenant is granted an exemption.
    Grant {
        requested: Requested,
        asked: Box<GrantAsked>,
        reply: Reply<GrantTaken>,
    },
    /// Strikes are taken back; how many, of a request that is new.
    Forgive {
        requested: Requested,
        asked: Box<ForgiveAsked>,
        reply: Reply<(OrderTaken, Option<u32>)>,
    },
    /// One is taken back; nothing where there is none.
    RevokeExemption {
        asked: RevokeAsked,
        reply: Reply<Option<GrantRow>>,
    },
    /// Changes that all have read are of no more use.
    Forget,
    /// Nothing, to see whether something could be written.
    Probe {
        reply: Reply<()>,
    },
    /// An act that was approved: what it writes, if nobody else took it.
    Claimed {
        claim: Claim,
        is_lost: bool,
        job: Box<Self>,
    },
    /// An act waits for a second person.
    Keep {
        asked: Box<AskedToApprove>,
        seal: Vec<u8>,
        reply: Reply<Kept>,
    },
    /// An act is rejected; whether it waited.
    Reject {
        decided: Box<Decided>,
        reply: Reply<bool>,
    },
    /// What came of an act that was approved.
    Outcome {
        id: String,
        outcome: String,
        reply: Reply<()>,
    },
    /// What somebody does is counted; whether they may do it alone.
    Count {
        count: Box<Count>,
        reply: Reply<bool>,
    },
}

impl Job {
    /// Whether it goes before what nodes tell: somebody looks at the clock. How nodes come, tell and go stays in its order.
    const fn is_awaited_by_people(&self) -> bool {
        !matches!(
            self,
            Self::Greet { .. }
                | Self::Report(_)
                | Self::OrderResult { .. }
                | Self::Saw { .. }
                | Self::Up { .. }
                | Self::Down { .. }
                | Self::Bury { .. }
                | Self::Leave { .. }
                | Self::Retain { .. }
                | Self::Remedies { .. }
                | Self::Pull { .. }
                | Self::LookAgain { .. }
                | Self::EndWaiting { .. }
                | Self::CloseQuiet { .. }
                | Self::ClaimDeliveries { .. }
                | Self::Attempted { .. }
                | Self::Forget
        )
    }

    /// The node whose report or greeting it is.
    fn reporter(&self) -> Option<&NodeId> {
        match self {
            Self::Report(numbered) => Some(&numbered.node),
            Self::Greet { hello, .. } => Some(&hello.node),
            _ => None,
        }
    }

    /// What a node reports, where it can be read.
    fn report(&self) -> Option<(&NodeId, &Report)> {
        match self {
            Self::Report(numbered) => Some((&numbered.node, numbered.report.as_ref().ok()?)),
            _ => None,
        }
    }

    /// The node that answers an order, and what.
    fn answer(&self) -> Option<(&NodeId, &OrderResult)> {
        match self {
            Self::OrderResult { node, result } => Some((node, result)),
            _ => None,
        }
    }

    /// Whether it looks at no order but the one that it answers.
    const fn is_told(&self) -> bool {
        matches!(self, Self::Report(_) | Self::OrderResult { .. } | Self::Saw { .. } | Self::Up { .. })
    }

    /// Whether it can wait for a database that is away: nobody waits for an answer, or it is an agent that goes on meanwhile.
    const fn is_patient(&self) -> bool {
        matches!(self, Self::Report(_) | Self::Saw { .. }) || self.is_told_once()
    }

    /// Whether nobody tells it again if it is not done.
    const fn is_told_once(&self) -> bool {
        matches!(self, Self::OrderResult { .. } | Self::Up { .. } | Self::Down { .. } | Self::Bury { .. })
    }

    /// What could not be stored is not acknowledged, and nothing after it by the same stream.
    fn give_up(&self) {
        if let Self::Report(numbered) = self {
            numbered.progress.send_modify(|progress| progress.is_broken = true);
        }
    }

    /// Takes a report for one that can never be stored; whether it is a report, and new as such.
    fn refuse(&mut self) -> bool {
        match self {
            Self::Report(numbered) => !std::mem::replace(&mut numbered.is_refused, true),
            _ => false,
        }
    }

    /// Tells whoever waits.
    fn tell(self, result: Result<(), WriteError>) {
        if result.is_err() {
            self.give_up();
        }
        match self {
            Self::Report(numbered) => {
                let Numbered { progress, sequence, .. } = *numbered;
                progress.send_if_modified(|progress| {
                    let newer = result.is_ok() && !progress.is_broken && sequence > progress.acknowledged;
                    if newer {
                        progress.acknowledged = sequence;
                    }
                    newer
                });
            }
            Self::Greet { reply, .. } => reply.send(result),
            Self::Import { reply, .. } => reply.send(result),
            Self::Suspend { reply, .. } => reply.send(result),
            Self::Release { reply, .. } => reply.send(result),
            Self::SuspendAll { reply, .. } => reply.send(result),
            Self::ReleaseAll { reply, .. } => reply.send(result),
            Self::Verify { reply, .. } => reply.send(result),
            Self::Paid { reply, .. } => reply.send(result),
            Self::Pause { reply, .. } => reply.send(result),
            Self::Resume { reply, .. } => reply.send(result),
            Self::Lift { reply, .. } => reply.send(result),
            Self::ReleaseBrakes { reply, .. } => reply.send(result),
            Self::Enter { reply, .. } => reply.send(result),
            Self::Seal { reply, .. } => reply.send(result),
            Self::Access { change, book, reply } => {
                if result.is_ok() && matches!(reply.answer, Some(Ok(Taken::Done))) {
                    book.enter(&change);
                }
                reply.send(result);
            }
            Self::Leave { reply } => reply.send(result),
            Self::Hold { reply, .. } => reply.send(result),
            Self::Case { reply, .. } => reply.send(result),
            Self::Complaints { reply, .. } => reply.send(result),
            Self::SettleComplaint { reply, .. } => reply.send(result),
            Self::Mend { reply, .. } => reply.send(result),
            Self::LookAgain { reply } => reply.send(result),
            Self::EndWaiting { reply } => reply.send(result),
            Self::CloseQuiet { reply, .. } => reply.send(result),
            Self::ClaimDeliveries { reply, .. } => reply.send(result),
            Self::Attempted { reply, .. } => reply.send(result),
            Self::Resend { reply, .. } => reply.send(result),
            Self::Remedies { reply } => reply.send(result),
            Self::Pull { reply, .. } => reply.send(result),
            Self::Retain { reply, .. } => reply.send(result),
            Self::Upload { reply, .. } => reply.send(result),
            Self::DeletePolicy { reply, .. } => reply.send(result),
            Self::RollOut { reply, .. } => reply.send(result),
            Self::Grant { reply, .. } => reply.send(result),
            Self::Forgive { reply, .. } => reply.send(result),
            Self::RevokeExemption { reply, .. } => reply.send(result),
            Self::Probe { reply } => reply.send(result),
            Self::Claimed { is_lost: true, job, .. } => job.tell(result.and(Err(WriteError::Decided))),
            Self::Claimed { claim, job, .. } => {
                if result.is_ok() {
                    claim.taken();
                }
                job.tell(result);
            }
            Self::Keep { reply, .. } => reply.send(result),
            Self::Reject { reply, .. } => reply.send(result),
            Self::Outcome { reply, .. } => reply.send(result),
            Self::Count { reply, .. } => reply.send(result),
            Self::OrderResult { .. }
            | Self::Saw { .. }
            | Self::Up { .. }
            | Self::Down { .. }
            | Self::Bury { .. }
            | Self::Forget => {}
        }
    }
}

/// A report with its number, and whom to tell when it is on disk.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub node: NodeId,
    pub epoch: u64,
    pub sequence: u64,
    pub report: Result<Report, WireError>,
    pub progress: watch::Sender<Progress>,
    /// It was tried, and what it holds does not fit the database.
    pub is_refused: bool,
}

/// The way to the writer.
#[derive(Clone, Debug)]
pub struct Writer {
    acts: mpsc::Sender<Job>,
    others: mpsc::Sender<Job>,
    claim: Option<Once>,
}

impl Writer {
    /// To the task that reads these.
    pub(crate) const fn new(acts: mpsc::Sender<Job>, others: mpsc::Sender<Job>) -> Self {
        Self { acts, others, claim: None }
    }

    /// The same, for an act that was approved: the first that is written goes with the claim.
    pub(crate) fn claiming(&self, claim: Once) -> Self {
        Self { claim: Some(claim), ..self.clone() }
    }

    /// Hands a job over, waiting for room.
    pub(crate) async fn submit(&self, job: Job) -> Result<(), WriteError> {
        let job = match self.claim.as_ref().and_then(Once::take) {
            Some(claim) => Job::Claimed { claim, is_lost: false, job: Box::new(job) },
            None => job,
        };
        let lane = if job.is_awaited_by_people() { &self.acts } else { &self.others };
        lane.send(job).await.map_err(|_| WriteError::Stopping)
    }

    /// Room for one thing that a node tells.
    pub(crate) async fn room(&self) -> Result<mpsc::Permit<'_, Job>, WriteError> {
        self.others.reserve().await.map_err(|_| WriteError::Stopping)
    }

    /// Whether nobody takes jobs any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.acts.is_closed()
    }

    /// Hands a job over and waits until it is on disk.
    pub(crate) async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, WriteError> {
        let (to, answer) = oneshot::channel();
        self.submit(job(Reply { to, answer: None })).await?;
        answer.await.map_err(|_| WriteError::Stopping)?
    }
}
