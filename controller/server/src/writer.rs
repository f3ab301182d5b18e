//! The writer: the one task that changes the database.
//!
//! Jobs that wait are taken together into one transaction, each in a savepoint of its own, so that one that fails does
//! not take the others with it. Only when the transaction is on disk is anything told: acknowledgements, replies, the
//! directory, events, orders for streams. So everything happens in one order, and nothing that was told can be lost.

use std::sync::Arc;

use reeve_policy::{Decision, NodeId, OrderId, OrderResult, Report, Tenant, TenantId};
use reeve_proto::WireError;
use reeve_proto::session::Hello;
use sqlx::{Connection as _, Executor as _};
use tokio::sync::{mpsc, oneshot, watch};

use crate::auth::{Book, Change, Taken};
use crate::clock;
use crate::directory::{Directory, Snapshot};
use crate::events::{Event, Events, What};
use crate::store::write::{
    self, Asked, Desk, Effects, Greeting, ImportMethod, Imported, LiftAsked, LiftTaken, OrderTaken, PaidFor,
    Released, Requested, VerifyAsked,
};
use crate::store::{Connection, Policies, StoreError, access};
use crate::streams::Streams;

/// How many jobs may wait; those who have more wait with them.
const QUEUE: usize = 1_024;
/// How many jobs one transaction takes.
const BATCH: usize = 512;

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
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// Where the answer to a job goes.
type Reply<T> = oneshot::Sender<Result<T, WriteError>>;

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
    NodeChange {
        what: What,
    },
    /// Who may call. The book has it before whoever asked is answered, whether or not they still wait.
    Access {
        change: Box<Change>,
        book: Book,
        reply: Reply<Taken>,
    },
}

/// A report with its number, and whom to tell when it is on disk.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub node: NodeId,
    pub epoch: u64,
    pub sequence: u64,
    pub report: Result<Report, WireError>,
    pub acknowledge: watch::Sender<u64>,
}

/// The way to the writer.
#[derive(Clone, Debug)]
pub struct Writer(mpsc::Sender<Job>);

impl Writer {
    /// Hands a job over, waiting for room.
    pub(crate) async fn submit(&self, job: Job) -> Result<(), WriteError> {
        self.0.send(job).await.map_err(|_| WriteError::Stopping)
    }

    /// Hands a job over and waits until it is on disk.
    pub(crate) async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.submit(job(reply)).await?;
        answer.await.map_err(|_| WriteError::Stopping)?
    }
}

/// The task.
#[derive(Debug)]
pub(crate) struct Task {
    jobs: mpsc::Receiver<Job>,
    connection: Connection,
    directory: Arc<Directory>,
    events: Events,
    streams: Streams,
    policies: Policies,
}

/// What is told once the transaction is on disk.
type Told = Box<dyn FnOnce(Result<(), WriteError>) + Send>;

impl Task {
    /// The task and the way to it. The directory is filled from the database.
    pub async fn new(
        mut connection: Connection,
        directory: Arc<Directory>,
        events: Events,
        streams: Streams,
    ) -> Result<(Self, Writer), StoreError> {
        let policies = Policies::default();
        directory.publish(crate::store::snapshot(&mut connection, &policies).await?);
        let (sender, jobs) = mpsc::channel(QUEUE);
        Ok((Self { jobs, connection, directory, events, streams, policies }, Writer(sender)))
    }

    /// Works until every way to it is gone.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.jobs.recv_many(&mut batch, BATCH).await > 0 {
            self.write(std::mem::take(&mut batch)).await;
        }
        if let Err(error) = self.connection.close().await {
            tracing::error!(%error, "closing the database failed");
        }
    }

    async fn write(&mut self, jobs: Vec<Job>) {
        let people = Arc::clone(&self.directory.snapshot().tenants);
        let desk = Desk { people, policies: self.policies.clone() };
        let mut effects = Effects::new(clock::now(), desk);
        let mut told: Vec<Told> = Vec::with_capacity(jobs.len());
        let result = self.transaction(jobs, &mut effects, &mut told).await;
        let result = match result {
            Ok(snapshot) => {
                self.tell(snapshot, effects);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "a transaction failed; nothing of it was acknowledged");
                Err(WriteError::from(error))
            }
        };
        told.into_iter().for_each(|tell| tell(result.clone()));
    }

    async fn transaction(
        &mut self,
        jobs: Vec<Job>,
        effects: &mut Effects,
        told: &mut Vec<Told>,
    ) -> Result<Option<Snapshot>, StoreError> {
        let mut transaction = self.connection.begin().await?;
        for job in jobs {
            transaction.execute("SAVEPOINT job").await?;
            let mut own = Effects::new(effects.now, effects.desk.clone());
            let tell = match run(&mut transaction, job, &mut own).await {
                Ok(tell) => {
                    merge(effects, own);
                    tell
                }
                Err((error, tell)) => {
                    transaction.execute("ROLLBACK TO job").await?;
                    tracing::error!(%error, "a change could not be stored");
                    let error = WriteError::from(error);
                    Box::new(move |_| tell(Err(error)))
                }
            };
            transaction.execute("RELEASE job").await?;
            told.push(tell);
        }
        let snapshot = self.directory.snapshot();
        let mut changed = None;
        if effects.tenants_changed {
            let mut next = Snapshot::clone(&snapshot);
            next.tenants = Arc::new(write::tenants(&mut transaction).await?);
            // Who reads why it is held may read another language now.
            effects.desk.people = Arc::clone(&next.tenants);
            effects.touched.extend(snapshot.standings.keys().cloned());
            changed = Some(next);
        }
        write::tell_ends(&mut transaction, effects).await?;
        if effects.pauses_changed {
            let next = changed.get_or_insert_with(|| Snapshot::clone(&snapshot));
            next.paused = Arc::new(write::paused(&mut transaction).await?);
        }
        for tenant in &std::mem::take(&mut effects.touched) {
            let standing = write::standing(&mut transaction, tenant, &effects.desk).await?;
            let next = changed.get_or_insert_with(|| Snapshot::clone(&snapshot));
            if standing.is_empty() {
                next.standings.remove(tenant);
            } else {
                next.standings.insert(tenant.clone(), Arc::new(standing));
            }
            let record = write::record(&mut transaction, tenant, effects.now).await?;
            let before = next.records.get(tenant);
            if before.map_or(!record.is_empty(), |before| **before != record) {
                Arc::make_mut(&mut next.records).set(tenant.clone(), record);
                effects.followed.insert(tenant.clone());
            }
        }
        transaction.commit().await?;
        Ok(changed)
    }

    fn tell(&self, snapshot: Option<Snapshot>, effects: Effects) {
        if let Some(snapshot) = snapshot {
            let people = Arc::clone(&snapshot.tenants);
            self.directory.publish(snapshot);
            for tenant in effects.followed.iter().filter_map(|id| people.by_id(id)) {
                self.streams.wake_where(|node| tenant.may_be_on(node));
            }
        }
        for what in effects.events {
            self.events.publish(Event { at: effects.now, what });
        }
        if effects.tenants_changed {
            self.streams.wake_all();
        }
        effects.ordered.iter().for_each(|node| self.streams.wake(node));
    }
}

fn merge(all: &mut Effects, mut own: Effects) {
    all.events.append(&mut own.events);
    all.ended.append(&mut own.ended);
    all.touched.append(&mut own.touched);
    all.ordered.append(&mut own.ordered);
    all.tenants_changed |= own.tenants_changed;
    all.pauses_changed |= own.pauses_changed;
}

/// An answer that is sent when the transaction is on disk, or an error in its place.
fn answer<T: Send + 'static>(reply: Reply<T>, value: T) -> Told {
    // Whoever asked may have given up waiting.
    Box::new(move |result| _ = reply.send(result.map(|()| value)))
}

fn failed<T: Send + 'static>(reply: Reply<T>) -> Told {
    Box::new(move |result| {
        if let Err(error) = result {
            let _ = reply.send(Err(error));
        }
    })
}

fn nobody() -> Told {
    Box::new(|_| {})
}

async fn run(conn: &mut Connection, job: Job, effects: &mut Effects) -> Result<Told, (StoreError, Told)> {
    match job {
        Job::Greet { hello, reply } => match write::greet(conn, &hello, effects).await {
            Ok(greeting) => Ok(answer(reply, greeting)),
            Err(error) => Err((error, failed(reply))),
        },
        Job::Report(numbered) => {
            let stored = store_report(conn, &numbered, effects).await;
            stored.map_err(|error| (error, nobody()))?;
            let (acknowledge, sequence) = (numbered.acknowledge, numbered.sequence);
            Ok(Box::new(move |result| {
                if result.is_ok() {
                    acknowledge.send_if_modified(|last| {
                        let newer = sequence > *last;
                        *last = sequence.max(*last);
                        newer
                    });
                }
            }))
        }
        Job::OrderResult { node, result } => {
            let stored = write::order_result(conn, &node, &result, effects).await;
            stored.map(|()| nobody()).map_err(|error| (error, nobody()))
        }
        Job::Saw { node } => {
            let stored = write::saw(conn, &node, effects.now).await;
            stored.map(|()| nobody()).map_err(|error| (error, nobody()))
        }
        Job::Import { tenants, method, reply } => {
            // The directory may be behind: another import may be in this very transaction.
            let current = match write::tenants(conn).await {
                Ok(current) => current,
                Err(error) => return Err((error, failed(reply))),
            };
            let mut wanted: std::collections::BTreeMap<TenantId, Tenant> = match method {
                ImportMethod::Replace => std::collections::BTreeMap::new(),
                ImportMethod::Upsert => {
                    current.all().iter().map(|(id, tenant)| (id.clone(), Tenant::clone(tenant))).collect()
                }
            };
            wanted.extend(tenants.into_iter().map(|tenant| (tenant.id.clone(), tenant)));
            let all: Vec<Tenant> = wanted.values().cloned().collect();
            if let Err(clash) = reeve_policy::language::check_tenants(&all) {
                let error = WriteError::Clash(clash.to_string());
                return Ok(Box::new(move |_| _ = reply.send(Err(error))));
            }
            let mut held = Vec::new();
            for id in current.all().keys().filter(|id| !wanted.contains_key(*id)) {
                match write::standing(conn, id, &effects.desk).await {
                    Ok(standing) if !standing.held.is_empty() => held.push(id.to_string()),
                    Ok(_) => {}
                    Err(error) => return Err((error, failed(reply))),
                }
            }
            if !held.is_empty() {
                let error = WriteError::Held(held.join(", "));
                return Ok(Box::new(move |_| _ = reply.send(Err(error))));
            }
            match write::import_tenants(conn, &current, &wanted, effects).await {
                Ok(imported) => Ok(answer(reply, imported)),
                Err(error) => Err((error, failed(reply))),
            }
        }
        Job::Suspend { requested, decision, reply } => {
            match write::suspend(conn, &requested, &decision, effects).await {
                Ok(taken) => Ok(answer(reply, taken)),
                Err(error) => Err((error, failed(reply))),
            }
        }
        Job::Release { requested, id, tenant, by, reason, forgive, reply } => {
            let what = (&id, &tenant, by.as_str(), reason.as_str(), forgive);
            match write::release(conn, &requested, what, effects).await {
                Ok(taken) => Ok(answer(reply, taken)),
                Err(error) => Err((error, failed(reply))),
            }
        }
        Job::Verify { requested, asked, reply } => {
            match write::verify(conn, &requested, &asked, effects).await {
                Ok(taken) => Ok(answer(reply, taken)),
                Err(error) => Err((error, failed(reply))),
            }
        }
        Job::Paid { requested, id, tenant, by, reason, reply } => {
            let what = (&id, &tenant, by.as_str(), reason.as_str());
            match write::paid(conn, &requested, what, effects).await {
                Ok(taken) => Ok(answer(reply, taken)),
                Err(error) => Err((error, failed(reply))),
            }
        }
        Job::Pause { requested, asked, reply } => {
            match write::pause(conn, &requested, &asked, effects).await {
                Ok(taken) => Ok(answer(reply, taken)),
                Err(error) => Err((error, failed(reply))),
            }
        }
        Job::Resume { requested, asked, reply } => {
            match write::resume(conn, &requested, &asked, effects).await {
                Ok(taken) => Ok(answer(reply, taken)),
                Err(error) => Err((error, failed(reply))),
            }
        }
        Job::Lift { requested, asked, reply } => match write::lift(conn, &requested, &asked, effects).await {
            Ok(taken) => Ok(answer(reply, taken)),
            Err(error) => Err((error, failed(reply))),
        },
        Job::ReleaseBrakes { requested, id, node, by, reason, reply } => {
            let what = (&id, &node, by.as_str(), reason.as_str());
            match write::release_brakes(conn, &requested, what, effects).await {
                Ok(taken) => Ok(answer(reply, taken)),
                Err(error) => Err((error, failed(reply))),
            }
        }
        Job::Access { change, book, reply } => match access::change(conn, &change, effects.now).await {
            Ok(taken) => Ok(Box::new(move |result: Result<(), WriteError>| {
                if result.is_ok() && taken == Taken::Done {
                    book.enter(&change);
                }
                // Whoever asked may have given up waiting.
                let _ = reply.send(result.map(|()| taken));
            })),
            Err(error) => Err((error, failed(reply))),
        },
        Job::NodeChange { what } => {
            effects.events.push(what);
            Ok(nobody())
        }
    }
}

/// Stores a report unless it was stored before; one that cannot be read, or that is not the node's to make, is counted
/// and thrown away, since sent again it would be the same.
async fn store_report(
    conn: &mut Connection,
    numbered: &Numbered,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let Numbered { node, epoch, sequence, report, .. } = numbered;
    if *sequence <= write::cursor(conn, node, *epoch).await? {
        return Ok(());
    }
    match report {
        Ok(report) => {
            if let Err(refusal) = write::report(conn, node, report, effects).await? {
                tracing::warn!(%node, sequence, %refusal, "a report was thrown away");
                write::refuse(conn, node).await?;
            }
        }
        Err(error) => {
            tracing::warn!(%node, sequence, %error, "an unreadable report was thrown away");
            write::refuse(conn, node).await?;
        }
    }
    write::set_cursor(conn, node, *epoch, *sequence, effects.now).await
}
