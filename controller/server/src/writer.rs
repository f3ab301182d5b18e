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
mod task;
mod thread;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;

use reeve_audit::Signer;
use reeve_policy::{Decision, NodeId, OrderId, OrderResult, Report, Tenant, TenantId};
use reeve_proto::WireError;
use reeve_proto::session::Hello;
use tokio::sync::{mpsc, oneshot, watch};

use crate::approval::{Asked as AskedToApprove, Claim, Count, Decided, Once};
use crate::audit::{Also, Draft};
use crate::auth::{Book, Change, Taken};
use crate::store::approvals::{self, Kept};
use crate::store::share;
use crate::store::write::{
    self, Asked, BatchTaken, DeleteAsked, DeleteTaken, Effects, ForgiveAsked, GrantAsked, GrantTaken,
    Greeting, HoldAsked, ImportMethod, Imported, LiftAsked, LiftTaken, Limits, OrderTaken, PaidFor,
    ReleaseAsked, Released, Requested, RevokeAsked, RolloutAsked, RolloutTaken, Told, Upload, UploadTaken,
    VerifyAsked,
};
use crate::store::{Connection, GrantRow, StoreError, access, audit};

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
                | Self::Forget
        )
    }

    /// The node whose report it is.
    fn reporter(&self) -> Option<&NodeId> {
        match self {
            Self::Report(numbered) => Some(&numbered.node),
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
        matches!(self, Self::Report(_) | Self::OrderResult { .. } | Self::Saw { .. })
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

fn merge(all: &mut Effects, mut own: Effects) {
    all.events.append(&mut own.events);
    all.ended.append(&mut own.ended);
    all.touched.append(&mut own.touched);
    all.ordered.append(&mut own.ordered);
    all.tenants_changed |= own.tenants_changed;
    all.pauses_changed |= own.pauses_changed;
    all.pauses_told.append(&mut own.pauses_told);
    all.access_changed |= own.access_changed;
    all.rollout_changed |= own.rollout_changed;
}

/// Does a job; it may be done again, in another transaction.
async fn run(
    conn: &mut Connection,
    job: &mut Job,
    own: &str,
    told: &mut Told,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    match job {
        Job::Greet { hello, reply } => reply.put(write::greet(conn, hello, &mut told.cursors, effects).await),
        Job::Report(numbered) => store_report(conn, numbered, &mut told.cursors, effects).await,
        Job::OrderResult { node, result } => {
            write::order_result(conn, node, result, &mut told.answers, effects).await
        }
        Job::Saw { node } => write::saw(conn, node, effects.now).await,
        Job::Import { tenants, method, is_dry, reply } => {
            import(conn, (tenants, *method, *is_dry), reply, effects).await
        }
        Job::Suspend { requested, decision, reply } => {
            reply.put(write::suspend(conn, requested, decision, effects).await)
        }
        Job::Release { requested, id, tenant, by, reason, forgive, reply } => {
            let what = (&*id, &*tenant, by.as_str(), reason.as_str(), *forgive);
            reply.put(write::release(conn, requested, what, effects).await)
        }
        Job::SuspendAll { requested, decisions, reply } => {
            reply.put(write::suspend_all(conn, requested, decisions, effects).await)
        }
        Job::ReleaseAll { requested, releases, reply } => {
            reply.put(write::release_all(conn, requested, releases, effects).await)
        }
        Job::Verify { requested, asked, reply } => {
            reply.put(write::verify(conn, requested, asked, effects).await)
        }
        Job::Paid { requested, id, tenant, by, reason, reply } => {
            let what = (&*id, &*tenant, by.as_str(), reason.as_str());
            reply.put(write::paid(conn, requested, what, effects).await)
        }
        Job::Pause { requested, asked, reply } => {
            reply.put(write::pause(conn, requested, asked, effects).await)
        }
        Job::Resume { requested, asked, reply } => {
            reply.put(write::resume(conn, requested, asked, effects).await)
        }
        Job::Lift { requested, asked, reply } => {
            reply.put(write::lift(conn, requested, asked, effects).await)
        }
        Job::ReleaseBrakes { requested, id, node, by, reason, reply } => {
            let what = (&*id, &*node, by.as_str(), reason.as_str());
            reply.put(write::release_brakes(conn, requested, what, effects).await)
        }
        Job::Enter { draft, also, reply } => {
            reply.put(audit::enter_all(conn, draft, also, effects.now).await)
        }
        Job::Seal { signer, reply } => reply.put(audit::seal(conn, signer, effects.now).await),
        Job::Access { change, reply, .. } => {
            let taken = access::change(conn, change, effects.now).await?;
            effects.access_changed |= taken == Taken::Done;
            reply.put(Ok(taken))
        }
        Job::Up { node, stream } => share::up(conn, node, (own, *stream), effects).await,
        Job::Down { node, stream, reason } => share::down(conn, node, (own, *stream), reason, effects).await,
        Job::Bury { controller, beat } => {
            if share::bury(conn, controller, Some(*beat), effects).await? {
                tracing::warn!(controller, "another controller is gone");
            }
            Ok(())
        }
        Job::Leave { reply } => reply.put(share::bury(conn, own, None, effects).await.map(|_| ())),
        Job::Hold { asked, reply } => reply.put(write::hold(conn, asked, effects.now).await),
        Job::Retain { limits, reply } => reply.put(write::retain(conn, limits, effects).await),
        Job::Upload { upload, reply } => reply.put(write::upload(conn, upload, effects).await),
        Job::DeletePolicy { asked, reply } => reply.put(write::delete_policy(conn, asked, effects).await),
        Job::RollOut { asked, reply } => reply.put(write::roll_out(conn, asked, effects).await),
        Job::Grant { requested, asked, reply } => {
            reply.put(write::grant(conn, requested, asked, effects).await)
        }
        Job::Forgive { requested, asked, reply } => {
            reply.put(write::forgive(conn, requested, asked, effects).await)
        }
        Job::RevokeExemption { asked, reply } => {
            reply.put(write::revoke_exemption(conn, asked, effects).await)
        }
        Job::Forget => share::forget(conn).await,
        Job::Probe { reply } => reply.put(Ok(())),
        Job::Claimed { claim, is_lost, job } => {
            *is_lost = !approvals::claim(conn, claim, effects.now).await?;
            if *is_lost { Ok(()) } else { Box::pin(run(conn, job, own, told, effects)).await }
        }
        Job::Keep { asked, seal, reply } => reply.put(approvals::keep(conn, asked, seal).await),
        Job::Reject { decided, reply } => reply.put(approvals::reject(conn, decided, effects.now).await),
        Job::Outcome { id, outcome, reply } => reply.put(approvals::outcome(conn, id, outcome).await),
        Job::Count { count, reply } => reply.put(approvals::count(conn, count, effects.now).await),
    }
}

/// Takes over tenants, unless they clash or forget one that is held.
async fn import(
    conn: &mut Connection,
    (tenants, method, is_dry): (&[Tenant], ImportMethod, bool),
    reply: &mut Reply<Imported>,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    // The directory may be behind: another import may be in this very transaction.
    let current = write::tenants(conn, &effects.desk.people).await?;
    let mut wanted: BTreeMap<TenantId, Tenant> = match method {
        ImportMethod::Replace => BTreeMap::new(),
        ImportMethod::Upsert => {
            current.all().iter().map(|(id, tenant)| (id.clone(), Tenant::clone(tenant))).collect()
        }
    };
    wanted.extend(tenants.iter().map(|tenant| {
        let known = current.by_id(&tenant.id).map(|known| &**known);
        (tenant.id.clone(), write::keep_grants(tenant, known))
    }));
    let all: Vec<Tenant> = wanted.into_values().collect();
    if let Err(clash) = reeve_policy::language::check_tenants(&all) {
        reply.refuse(WriteError::Clash(clash.to_string()));
        return Ok(());
    }
    let wanted: BTreeMap<TenantId, Tenant> =
        all.into_iter().map(|tenant| (tenant.id.clone(), tenant)).collect();
    let gone: Vec<&TenantId> = current.all().keys().filter(|id| !wanted.contains_key(*id)).collect();
    let standings = write::standings(conn, &gone, &effects.desk).await?;
    let held = standings.iter().filter(|(_, standing)| !standing.held.is_empty());
    let held: Vec<&str> = held.map(|(id, _)| id.as_str()).collect();
    if !held.is_empty() {
        reply.refuse(WriteError::Held(held.join(", ")));
        return Ok(());
    }
    reply.put(write::import_tenants(conn, &current, &wanted, is_dry, effects).await)
}

/// Stores a report unless it was stored before; one that cannot be read, or that is not the node's to make, is counted
/// and thrown away, since sent again it would be the same.
async fn store_report(
    conn: &mut Connection,
    numbered: &Numbered,
    cursors: &mut write::Cursors,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let Numbered { node, epoch, sequence, report, .. } = numbered;
    if numbered.progress.borrow().is_broken || *sequence <= cursors.of(conn, node, *epoch).await? {
        return Ok(());
    }
    match report {
        _ if numbered.is_refused => {
            tracing::warn!(%node, sequence, "a report that the database does not take was thrown away");
            write::refuse(conn, node, 1).await?;
        }
        Ok(report) => {
            if let Err(refusal) = write::report(conn, node, report, effects).await? {
                tracing::warn!(%node, sequence, %refusal, "a report was thrown away");
                write::refuse(conn, node, 1).await?;
            }
        }
        Err(error) => {
            tracing::warn!(%node, sequence, %error, "an unreadable report was thrown away");
            write::refuse(conn, node, 1).await?;
        }
    }
    cursors.advance(node, *epoch, *sequence);
    Ok(())
}
