//! `AgentService`: one task a stream.

use std::collections::HashSet;
use std::pin::Pin;
use std::time::Duration;

use reeve_policy::{NodeId, Order, OrderId, Tenant, TenantId};
use reeve_proto::agent::v1::agent_service_server::AgentService;
use reeve_proto::agent::v1::{ConnectRequest, ConnectResponse};
use reeve_proto::session::{Down, Hello, PolicyHeld, ProtocolVersion, Up, Welcome};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::{House, unsound, unwritable};
use crate::clock;
use crate::directory::{Snapshot, Tenants};
use crate::streams::Place;
use crate::writer::{Job, Numbered, Progress};

/// A peer that connects says who it is within this time.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// How often an idle stream is pinged, and its node noted as seen.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Messages between the task and the transport.
const WINDOW: usize = 256;
/// Tenants in one message about what follows them: with all that is kept of each it is far below the largest message.
const STANDINGS: usize = 16;

#[derive(Clone, Debug)]
pub(crate) struct Service(pub House);

/// One node's stream.
struct Session {
    house: House,
    node: NodeId,
    epoch: u64,
    place: Place,
    out: mpsc::Sender<Result<ConnectResponse, Status>>,
    progress: watch::Sender<Progress>,
    tenants_version: u64,
    /// Up to which change it was told what follows tenants.
    told: u64,
    /// What the agent speaks.
    protocol: ProtocolVersion,
    /// Which policy it runs; `None` of one that takes none from here.
    policy_held: Option<PolicyHeld>,
    /// Orders that were sent on this stream.
    sent: HashSet<OrderId>,
    pings: u64,
    unanswered: u32,
}

#[tonic::async_trait]
impl AgentService for Service {
    type ConnectStream = Pin<Box<dyn Stream<Item = Result<ConnectResponse, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<ConnectRequest>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let certified = self.0.protection.check_node(&request)?;
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(HELLO_PATIENCE, incoming.message());
        let first = first.await.map_err(|_| Status::invalid_argument("no hello came"))??;
        let first = first.ok_or_else(|| Status::invalid_argument("no hello came"))?;
        let Up::Hello(hello) = Up::try_from(first).map_err(unsound)? else {
            return Err(Status::invalid_argument("the first message is to be a hello"));
        };
        if !ProtocolVersion::CURRENT.is_compatible(hello.protocol) {
            let ours = ProtocolVersion::CURRENT;
            let text = format!("the agent speaks protocol {}, this controller {ours}", hello.protocol);
            return Err(Status::failed_precondition(text));
        }
        if let Some(name) = certified.filter(|name| *name != hello.node) {
            let text = format!("the certificate is node {name}'s, the hello is node {}'s", hello.node);
            return Err(Status::permission_denied(text));
        }
        let out = self.begin(hello, incoming).await?;
        Ok(Response::new(Box::pin(ReceiverStream::new(out))))
    }
}

impl Service {
    async fn begin(
        &self,
        hello: Hello,
        incoming: Streaming<ConnectRequest>,
    ) -> Result<mpsc::Receiver<Result<ConnectResponse, Status>>, Status> {
        let (node, epoch, tenants_version) = (hello.node.clone(), hello.epoch, hello.tenants_version);
        let (version, protocol) = (hello.agent_version.clone(), hello.protocol);
        let policy_held = hello.policy_held.clone();
        let greeted = self.0.writer.ask(|reply| Job::Greet { hello: Box::new(hello), reply });
        let greeting = greeted.await.map_err(unwritable)?;
        let (out, receiver) = mpsc::channel(WINDOW);
        let welcome = Down::Welcome(Welcome {
            controller_version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: ProtocolVersion::CURRENT,
            acknowledged: greeting.acknowledged,
        });
        // The channel is new and has room.
        let _ = out.try_send(Ok((&welcome).into()));
        let place = self.0.streams.enter(&node);
        tracing::info!(%node, version, "a node connected");
        let session = Session {
            house: self.0.clone(),
            node,
            epoch,
            place,
            out,
            progress: watch::Sender::new(Progress { acknowledged: greeting.acknowledged, is_broken: false }),
            tenants_version,
            told: 0,
            protocol,
            policy_held,
            sent: HashSet::new(),
            pings: 0,
            unanswered: 0,
        };
        tokio::spawn(session.run(incoming));
        Ok(receiver)
    }
}

impl Session {
    async fn run(mut self, mut incoming: Streaming<ConnectRequest>) {
        let writer = self.house.writer.clone();
        let (node, stream) = (self.node.clone(), self.place.number());
        let _ = writer.submit(Job::Up { node, stream }).await;
        let reason = self.serve(&mut incoming).await;
        let is_current = self.place.is_current();
        // First, since the writer may be waiting for its database. The peer may be gone.
        let told = reason.message().to_owned();
        let _ = self.out.try_send(Err(reason));
        tracing::info!(node = %self.node, reason = told, "a node's stream ended");
        if is_current {
            let _ = writer.submit(Job::Down { node: self.node.clone(), stream, reason: told }).await;
        }
    }

    /// Serves the stream until it ends, and says why it did.
    async fn serve(&mut self, incoming: &mut Streaming<ConnectRequest>) -> Status {
        let mut progress = self.progress.subscribe();
        // What is to be written, and waits for room. Meanwhile nothing more is read, and orders go out all the same.
        let mut waiting: Option<Job> = None;
        let writer = self.house.writer.clone();
        // One place in the queue for room, kept while other things are done.
        let mut room = std::pin::pin!(writer.room());
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.reset();
        self.place.wake.notify_one();
        loop {
            let served = tokio::select! {
                message = incoming.next(), if waiting.is_none() => match message {
                    Some(Ok(message)) => self.read(message).map(|job| waiting = Some(job)),
                    Some(Err(_)) => Err(Status::unavailable("the connection broke off")),
                    None => Err(Status::cancelled("the agent hung up")),
                },
                found = room.as_mut(), if waiting.is_some() => {
                    room.set(writer.room());
                    match (found, waiting.take()) {
                        (Ok(found), Some(job)) => {
                            found.send(job);
                            Ok(())
                        }
                        (Err(error), _) => Err(unwritable(error)),
                        (_, None) => Ok(()),
                    }
                }
                Ok(()) = progress.changed() => {
                    let Progress { acknowledged, is_broken } = *progress.borrow_and_update();
                    if is_broken {
                        Err(Status::unavailable("a report could not be stored; it is to be sent again"))
                    } else {
                        self.send(Down::Ack(acknowledged)).await
                    }
                }
                () = async { self.place.wake.notified().await } => self.send_orders().await,
                _ = &mut self.place.taken_over => {
                    Err(Status::aborted("a newer stream of the same node has taken over"))
                }
                _ = ping.tick() => self.ping().await,
            };
            if let Err(status) = served {
                return status;
            }
        }
    }

    /// What is to be written of a message.
    fn read(&mut self, message: ConnectRequest) -> Result<Job, Status> {
        Ok(match Up::try_from(message).map_err(unsound)? {
            Up::Hello(_) => return Err(Status::invalid_argument("a second hello")),
            Up::Pong(_) => {
                self.unanswered = 0;
                Job::Saw { node: self.node.clone() }
            }
            Up::OrderResult(result) => Job::OrderResult { node: self.node.clone(), result },
            Up::Report { sequence, report } => Job::Report(Box::new(Numbered {
                node: self.node.clone(),
                epoch: self.epoch,
                sequence,
                report: report.map(|report| *report),
                progress: self.progress.clone(),
                is_refused: false,
            })),
        })
    }

    /// Sends the tenants if they are newer than what the agent has, and the orders that wait for it.
    async fn send_orders(&mut self) -> Result<(), Status> {
        let snapshot = self.house.directory.snapshot();
        let version = snapshot.tenants.version();
        if version > self.tenants_version {
            let order = self.tenants_order(&snapshot.tenants);
            self.tenants_version = version;
            self.send(Down::Order(order)).await?;
        }
        let pending = self.house.pending.of(&self.node).await.map_err(unwritable)?;
        for order in pending {
            if !self.protocol.knows(&order) {
                // It is older than the order, and waits for a newer agent.
                continue;
            }
            let is_new = order.id().is_some_and(|id| self.sent.insert(id.clone()));
            if is_new {
                self.send(Down::Order(order)).await?;
            }
        }
        self.send_policy(&snapshot).await?;
        // Last: what people order waits for nothing.
        self.send_standings(&snapshot).await
    }

    /// Sends the policy that the node is to run, if that is another than it has. The agent greets anew with what became of it.
    async fn send_policy(&mut self, snapshot: &Snapshot) -> Result<(), Status> {
        let Some(held) = &mut self.policy_held else { return Ok(()) };
        let has_refused = !held.refused.is_empty();
        let news = snapshot.rollout.news_for(&self.node, held.assignment, held.assigned(), has_refused);
        let Some(assignment) = news else { return Ok(()) };
        held.assignment = assignment.number;
        let order = Order::Policy(assignment);
        if !self.protocol.knows(&order) {
            return Ok(());
        }
        self.send(Down::Order(order)).await
    }

    /// The tenants as they are now: what changed since the agent's version, or all of them where that is not known any more, or is not to be
    /// understood by the agent.
    fn tenants_order(&self, tenants: &Tenants) -> Order {
        let (from, version) = (self.tenants_version, tenants.version());
        let whole = || Order::Tenants {
            version,
            tenants: tenants.all().values().map(|tenant| told(tenant)).collect(),
        };
        // One that has none from a controller may have others of its own, which these take the place of.
        let since = (from > 0).then(|| tenants.changed_since(from)).flatten();
        let Some(whom) = since else { return whole() };
        let known = whom.iter().filter_map(|id| tenants.by_id(id));
        let changed = known.map(|tenant| told(tenant)).collect();
        let removed =
            whom.iter().filter(|id| tenants.by_id(id).is_none()).map(|id| TenantId::clone(id)).collect();
        let change = Order::TenantsChanged { from, version, changed, removed };
        if self.protocol.knows(&change) { change } else { whole() }
    }

    /// Sends what follows the tenants that are on the node, or may be: what changed since it was told.
    async fn send_standings(&mut self, snapshot: &Snapshot) -> Result<(), Status> {
        if !self.protocol.knows(&Order::Standings { standings: Vec::new() }) {
            return Ok(());
        }
        let after = std::mem::replace(&mut self.told, snapshot.records.last());
        let now = clock::now();
        let changed = snapshot.records.since(after, &snapshot.tenants, &self.node);
        let here = changed.filter(|(tenant, _)| tenant.has_selectors());
        let mut standings = Vec::new();
        for (tenant, record) in here {
            standings.push(record.told(tenant, &self.node, now));
            if standings.len() == STANDINGS {
                let full = std::mem::take(&mut standings);
                self.send(Down::Order(Order::Standings { standings: full })).await?;
            }
        }
        if standings.is_empty() {
            return Ok(());
        }
        self.send(Down::Order(Order::Standings { standings })).await
    }

    async fn ping(&mut self) -> Result<(), Status> {
        self.unanswered += 1;
        if self.unanswered > 2 {
            return Err(Status::deadline_exceeded("the agent does not answer"));
        }
        self.pings += 1;
        self.send(Down::Ping(self.pings)).await
    }

    async fn send(&self, down: Down) -> Result<(), Status> {
        let sent = self.out.send(Ok((&down).into())).await;
        sent.map_err(|_| Status::cancelled("the agent hung up"))
    }
}

/// A tenant as agents are told of it: who is told what is none of theirs.
fn told(tenant: &Tenant) -> Tenant {
    Tenant { contacts: Vec::new(), ..tenant.clone() }
}
