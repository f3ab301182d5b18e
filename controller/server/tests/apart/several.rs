//! Several controllers on one PostgreSQL database: what comes in at one is known at the others, and one that is killed
//! takes nothing with it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::{self, Agent, Running};
use reeve_cluster::Cluster;
use reeve_controller::settings;
use reeve_policy::{
    Action, Alert, Class, Decision, DecisionId, Loss, Measure, Mode, NodeEvent, NodeEventKind, Order, Origin,
    PolicyVersion, Report, Scope, Timestamp, Until, Violation, ViolationId, ViolationState, Window,
};
use reeve_proto::operator::v1::access_service_client::AccessServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::policy_service_client::PolicyServiceClient;
use reeve_proto::operator::v1::standing_service_client::StandingServiceClient;
use reeve_proto::operator::v1::{
    ActivatePolicyRequest, CreateExemptionRequest, CreateTokenRequest, GetStandingRequest,
    ImportTenantsRequest, ListEventsRequest, ListNodesRequest, ListTokensRequest, PauseRequest, PauseTarget,
    ReleaseRequest, RevokeExemptionRequest, RevokeTokenRequest, Role, RollbackPolicyRequest, SuspendRequest,
    UploadPolicyRequest, WatchRequest, WatchResponse, node_order, pause_target, watch_response::Event,
};
use reeve_proto::session::{Down, PolicyHeld, ProtocolVersion};
use reeve_proto::status::v1::status_service_client::StatusServiceClient;
use reeve_proto::status::v1::{GetStatusRequest, State, get_status_request::Subject};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

const PATIENCE: Duration = Duration::from_secs(60);

/// Two folders on one database that is new, the second told to look or to listen.
fn folders(listen: bool) -> [tempfile::TempDir; 2] {
    let url = Cluster::of_this_process().database().unwrap();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for folder in &folders {
        let text = format!("[database]\nurl = \"{url}\"\nlisten = {listen}\n");
        std::fs::write(folder.path().join(settings::FILE_NAME), text).unwrap();
    }
    folders
}

async fn watch(channel: &Channel) -> Streaming<WatchResponse> {
    OperatorServiceClient::new(channel.clone()).watch(WatchRequest::default()).await.unwrap().into_inner()
}

/// Reads on until an event is what is looked for.
async fn until(watched: &mut Streaming<WatchResponse>, is_it: impl Fn(&Event) -> bool) {
    let found = async {
        loop {
            let event = watched.message().await.unwrap().unwrap().event.unwrap();
            if is_it(&event) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("the event comes");
}

async fn import(channel: &Channel, id: &str, node: &str) -> u64 {
    let tenant = reeve_proto::types::v1::Tenant {
        id: id.into(),
        interfaces: vec![format!("{node}/tap-{id}")],
        ..Default::default()
    };
    let request = ImportTenantsRequest { tenants: vec![tenant], method: 2, ..Default::default() };
    OperatorServiceClient::new(channel.clone()).import_tenants(request).await.unwrap().into_inner().version
}

async fn state(channel: &Channel, tenant: &str) -> Result<State, Code> {
    let request = GetStatusRequest { subject: Some(Subject::Tenant(tenant.into())) };
    let answer = StatusServiceClient::new(channel.clone()).get_status(request).await;
    answer.map(|answer| answer.into_inner().state()).map_err(|status| status.code())
}

async fn connected(channel: &Channel) -> Vec<String> {
    let list = OperatorServiceClient::new(channel.clone()).list_nodes(ListNodesRequest::default()).await;
    let nodes = list.unwrap().into_inner().nodes;
    nodes.into_iter().filter(|node| node.connected).map(|node| node.name).collect()
}

/// A violation of alice on n1, what was decided upon it, and the measure.
fn suspended() -> [Report; 3] {
    let at = Timestamp::from_secs(1_000);
    let (node, tenant, rule) = ("n1".parse().unwrap(), "alice".parse().unwrap(), "portscan".parse().unwrap());
    let violation = Violation {
        id: ViolationId::new(&node, &tenant, &rule, at),
        node,
        tenant: tenant.clone(),
        rule: rule.clone(),
        clause: "p/c".into(),
        opened: at,
        last_seen: at,
        closed: None,
        state: ViolationState::Open,
        strike: 1,
        alerts: 1,
        evidence: Alert {
            class: Class::PortscanVertical,
            tenant: tenant.clone(),
            at,
            window: Window { start: at, end: at },
            metrics: Vec::new(),
            confidence_percent: 90,
            targets: Vec::new(),
            samples: Vec::new(),
            loss: Loss::default(),
            is_suspicion: false,
        },
    };
    let decision = Decision {
        id: DecisionId(format!("{}.1", violation.id).parse().unwrap()),
        tenant,
        violation: Some(violation.id.clone()),
        clause: "p/c".into(),
        origin: Origin::Policy { policy: "p".parse().unwrap(), version: 1, rule, step: 1 },
        action: Action::Suspend,
        scope: Scope::All,
        rate: None,
        until: Until::Released,
        at,
        mode: Mode::Enforce,
        reason: "scan".into(),
        connections: None,
        softened: None,
        reckoning: None,
    };
    let measure = Measure { decision: decision.clone(), expires: None };
    [Report::Violation(violation), Report::Decision(decision), Report::Standing { measure, at }]
}

/// What an agent tells one controller the other knows, and what an operator orders at one reaches an agent of the other.
async fn follows(listen: bool) {
    let dirs = folders(listen);
    let (one, other) = (Running::start(dirs[0].path()).await, Running::start(dirs[1].path()).await);
    let (here, there) = (one.plain().await, other.plain().await);
    let mut watched = watch(&there).await;
    import(&here, "alice", "n1").await;
    let (mut agent, _) = Agent::greet(here.clone(), "n1", 1).await.unwrap();
    until(&mut watched, |event| matches!(event, Event::NodeUp(node) if node.node == "n1")).await;
    assert_eq!(state(&there, "alice").await, Ok(State::Clear));
    assert_eq!(connected(&there).await, ["n1"]);
    for (number, report) in (1..).zip(suspended()) {
        agent.report(number, report).await;
    }
    agent.acknowledged(3).await;
    until(&mut watched, |event| matches!(event, Event::ViolationOpened(opened) if opened.tenant == "alice"))
        .await;
    until(&mut watched, |event| matches!(event, Event::MeasureStands(stands) if stands.node == "n1")).await;
    assert_eq!(state(&there, "alice").await, Ok(State::Suspended));
    assert_eq!(state(&here, "alice").await, Ok(State::Suspended));

    // An order given there is carried out here, and whoever waits for it there is told.
    let mut client = OperatorServiceClient::new(there.clone());
    let request = ReleaseRequest { tenant: "alice".into(), wait: true, ..Default::default() };
    let asked = tokio::spawn(async move { client.release(request).await });
    let order = agent.order().await;
    agent.done(&order).await;
    let answer = asked.await.unwrap().unwrap().into_inner();
    assert_eq!(answer.nodes[0].state(), node_order::State::Done);
    assert_eq!(state(&there, "alice").await, Ok(State::Clear));

    // A tenant that comes in there is known here, and told to the agent.
    let version = import(&there, "bob", "n1").await;
    let told = async {
        loop {
            if let Down::Order(Order::TenantsChanged { version, changed, .. }) = agent.next().await.unwrap()
                && changed.iter().any(|tenant| tenant.id.as_str() == "bob")
            {
                return version;
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, told).await.unwrap(), version);
    assert_eq!(state(&here, "bob").await, Ok(State::Clear));

    // A pause as well.
    let pause = PauseRequest {
        target: Some(PauseTarget { target: Some(pause_target::Target::Fleet(true)) }),
        ..Default::default()
    };
    OperatorServiceClient::new(there.clone()).pause(pause).await.unwrap();
    assert!(matches!(agent.order().await, Order::Pause { .. }));
    let nodes =
        OperatorServiceClient::new(here.clone()).list_nodes(ListNodesRequest::default()).await.unwrap();
    assert!(nodes.into_inner().fleet_pause.is_some());

    // And who may call: a token that is made there and ended here.
    let request =
        CreateTokenRequest { name: "portal".into(), role: Role::Status.into(), ..Default::default() };
    AccessServiceClient::new(there.clone()).create_token(request).await.unwrap();
    let pause = PauseRequest {
        target: Some(PauseTarget { target: Some(pause_target::Target::Node("n1".into())) }),
        ..Default::default()
    };
    // Whoever writes has taken in what was written before.
    OperatorServiceClient::new(here.clone()).pause(pause).await.unwrap();
    let tokens = AccessServiceClient::new(here.clone()).list_tokens(ListTokensRequest {}).await.unwrap();
    assert_eq!(tokens.into_inner().tokens[0].name, "portal");
    let revoke = RevokeTokenRequest { name: "portal".into() };
    AccessServiceClient::new(here.clone()).revoke_token(revoke).await.unwrap();

    // The newest stream wins, wherever it is; the other ends, and does not disconnect the node.
    let (newer, acknowledged) = Agent::greet(there.clone(), "n1", 1).await.unwrap();
    assert_eq!(acknowledged, 3);
    let ended = async {
        loop {
            if let Err(status) = agent.next().await {
                return status.code();
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, ended).await.unwrap(), Code::Aborted);
    assert_eq!((connected(&here).await, connected(&there).await), (vec!["n1".into()], vec!["n1".into()]));

    // Who goes takes its nodes along.
    let mut watched = watch(&here).await;
    drop(newer);
    until(&mut watched, |event| matches!(event, Event::NodeDown(node) if node.node == "n1")).await;
    let (_third, _) = Agent::greet(there.clone(), "n1", 1).await.unwrap();
    until(&mut watched, |event| matches!(event, Event::NodeUp(node) if node.node == "n1")).await;
    other.stop().await;
    until(&mut watched, |event| matches!(event, Event::NodeDown(node) if node.node == "n1")).await;
    assert_eq!(connected(&here).await, Vec::<String>::new());
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_learns_the_other_is_told() {
    follows(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_learns_the_other_sees_where_nobody_tells() {
    follows(false).await;
}

/// What an agent is told next of alice's exemptions, by their references.
async fn exempt(agent: &mut Agent) -> Vec<String> {
    let told = async {
        loop {
            let tenants = match agent.next().await.unwrap() {
                Down::Order(Order::Tenants { tenants, .. }) => tenants,
                Down::Order(Order::TenantsChanged { changed, .. }) => changed,
                _ => continue,
            };
            if let Some(alice) = tenants.iter().find(|tenant| tenant.id.as_str() == "alice") {
                return alice.exemptions.iter().map(|one| one.reference.clone()).collect();
            }
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap()
}

/// An exemption that is granted at one controller goes to the agents of the other, is not lost to an import there, and is taken back there.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_granted_at_one_holds_at_the_other() {
    let dirs = folders(true);
    let (one, other) = (Running::start(dirs[0].path()).await, Running::start(dirs[1].path()).await);
    let (here, there) = (one.plain().await, other.plain().await);
    import(&here, "alice", "n1").await;
    let (mut agent, _) = Agent::greet(there.clone(), "n1", 1).await.unwrap();
    assert_eq!(exempt(&mut agent).await, Vec::<String>::new());
    let request = CreateExemptionRequest {
        tenant: "alice".into(),
        exemption: Some(reeve_proto::types::v1::Exemption {
            clause: "p/scan".into(),
            reference: "letter 7".into(),
            ..Default::default()
        }),
        until_revoked: true,
        reason: "a tester".into(),
        idempotency_key: "k".into(),
    };
    let mut standing = StandingServiceClient::new(here.clone());
    let granted = standing.create_exemption(request.clone()).await.unwrap().into_inner();
    assert_eq!(exempt(&mut agent).await, ["letter 7"]);
    let mut standing = StandingServiceClient::new(there.clone());
    let told = standing.get_standing(GetStandingRequest { tenant: "alice".into() }).await.unwrap();
    assert_eq!(told.into_inner().exemptions.len(), 1);
    // The same request is the same at whichever controller.
    let again = standing.create_exemption(request).await.unwrap().into_inner();
    assert_eq!(again, granted);
    // An import at the other one leaves it.
    import(&there, "alice", "n2").await;
    assert_eq!(exempt(&mut agent).await, ["letter 7"]);
    let id = granted.exemption.unwrap().exemption.unwrap().id;
    standing.revoke_exemption(RevokeExemptionRequest { id, reason: String::new() }).await.unwrap();
    assert_eq!(exempt(&mut agent).await, Vec::<String>::new());
    import(&here, "bob", "n1").await;
    let mut standing = StandingServiceClient::new(here.clone());
    let told = standing.get_standing(GetStandingRequest { tenant: "alice".into() }).await.unwrap();
    assert!(told.into_inner().exemptions.is_empty());
    one.stop().await;
    other.stop().await;
}

/// A policy that is activated at one controller goes to the agents of the other, and a rollback too.
async fn assigns(listen: bool) {
    let dirs = folders(listen);
    let (one, other) = (Running::start(dirs[0].path()).await, Running::start(dirs[1].path()).await);
    let (here, there) = (one.plain().await, other.plain().await);
    let running = PolicyVersion { name: "baseline".parse().unwrap(), version: 1 };
    let held = PolicyHeld { assignment: 0, running, is_assigned: false, refused: String::new() };
    let protocol = ProtocolVersion::CURRENT;
    let mut agent = Agent::greet_holding(here.clone(), "n1", protocol, Some(held)).await.unwrap();
    let mut desk = PolicyServiceClient::new(there.clone());
    let source = "[policy]\nname = \"ours\"\nversion = 1\nextends = \"baseline\"\n".to_owned();
    desk.upload_policy(UploadPolicyRequest { source, ..Default::default() }).await.unwrap();
    let request = ActivatePolicyRequest { name: "ours".into(), policy_version: 1, reason: String::new() };
    let number = desk.activate_policy(request).await.unwrap().into_inner().assignment;
    let assignment = tokio::time::timeout(PATIENCE, agent.assignment()).await.unwrap();
    assert_eq!(
        (assignment.number, assignment.policy.unwrap().version.to_string()),
        (number, "ours@1".to_owned())
    );
    // What was ordered there is gone back from here.
    let mut desk = PolicyServiceClient::new(here.clone());
    let request = RollbackPolicyRequest { assignment: number, reason: String::new() };
    assert!(desk.rollback_policy(request).await.unwrap().into_inner().assignment > number);
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_reaches_the_nodes_of_all_controllers() {
    assigns(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_reaches_the_nodes_of_all_controllers_where_nobody_tells() {
    assigns(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_write_as_if_there_were_one() {
    let dirs = folders(true);
    let (one, other) = (Running::start(dirs[0].path()).await, Running::start(dirs[1].path()).await);
    let (here, there) = (one.plain().await, other.plain().await);
    let import_many = |channel: Channel, who: &'static str| async move {
        let mut versions = Vec::new();
        for number in 0..15 {
            versions.push(import(&channel, &format!("{who}{number}"), who).await);
        }
        versions
    };
    let (mine, yours) = tokio::join!(
        tokio::spawn(import_many(here.clone(), "a")),
        tokio::spawn(import_many(there.clone(), "b"))
    );
    let mut versions = [mine.unwrap(), yours.unwrap()].concat();
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), 30, "each import is a version of its own");
    // Neither's import undid the other's. Whoever writes next has taken in all that was before.
    import(&here, "last", "n").await;
    import(&there, "last2", "n").await;
    for who in ["a0", "a14", "b0", "b14", "last"] {
        assert_eq!(state(&there, who).await, Ok(State::Clear), "{who}");
    }
    for who in ["a0", "a14", "b0", "b14", "last"] {
        assert_eq!(state(&here, who).await, Ok(State::Clear), "{who}");
    }
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_missed_too_much_reads_everything_anew() {
    let dirs = folders(false);
    let text = std::fs::read_to_string(dirs[0].path().join(settings::FILE_NAME)).unwrap();
    let database = text.split('"').nth(1).unwrap().rsplit('/').next().unwrap().to_owned();
    let (one, other) = (Running::start(dirs[0].path()).await, Running::start(dirs[1].path()).await);
    let (here, there) = (one.plain().await, other.plain().await);
    // Both are at work.
    import(&here, "first", "n2").await;
    import(&there, "second", "n2").await;
    // What the next commit changes is forgotten as soon as it is there.
    let forget = "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                  UPDATE meta SET value = NEW.number WHERE key = 'changes_forgotten'; RETURN NULL; END $$; \
                  CREATE TRIGGER forget BEFORE INSERT ON changes FOR EACH ROW EXECUTE FUNCTION forget();";
    Cluster::of_this_process().sql(&database, forget).unwrap();
    import(&here, "alice", "n1").await;
    let (mut agent, _) = Agent::greet(here.clone(), "n1", 1).await.unwrap();
    for (number, report) in (1..).zip(suspended()) {
        agent.report(number, report).await;
    }
    agent.acknowledged(3).await;
    // Whoever writes has taken in what was written before.
    import(&there, "bob", "n2").await;
    assert_eq!(state(&there, "alice").await, Ok(State::Suspended));
    assert_eq!(connected(&there).await, ["n1"]);
    let (newer, _) = Agent::greet(there.clone(), "n1", 1).await.unwrap();
    import(&there, "carol", "n2").await;
    import(&here, "dave", "n2").await;
    let ended = async {
        loop {
            if let Err(status) = agent.next().await {
                return status.code();
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, ended).await.unwrap(), Code::Aborted);
    assert_eq!(connected(&here).await, ["n1"]);
    drop(newer);
    one.stop().await;
    other.stop().await;
}

/// A controller in a process of its own, killed when it is dropped.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    async fn start(dir: &Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let child = Command::new(env!("CARGO_BIN_EXE_reeve-controller"))
            .args(["run", "--listen", &address, "--log", "warn", "--dir"])
            .arg(dir)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, address }
    }

    async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            match endpoint.connect().await {
                Ok(channel) => return channel,
                Err(error) => assert!(tokio::time::Instant::now() < end, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// `kill -9`.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn event(number: u64) -> Report {
    let at = Timestamp::from_secs(number);
    Report::Event(NodeEvent::new(at, NodeEventKind::RulesetChanged, &format!("event {number}")))
}

/// All events of a node, oldest first.
async fn events(channel: &Channel, node: &str) -> Vec<String> {
    let mut client = OperatorServiceClient::new(channel.clone());
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request =
            ListEventsRequest { node: node.into(), page_size: 1_000, page_token, ..Default::default() };
        let page = client.list_events(request).await.unwrap().into_inner();
        all.extend(page.events.into_iter().map(|entry| entry.event.unwrap().detail));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            all.reverse();
            return all;
        }
    }
}

/// Reports up to a number, each until it is acknowledged, to whichever controller is there: as an agent with a spool does.
async fn report_all(node: &str, last: u64, channels: &[Channel], mut on_ack: impl FnMut(u64)) {
    let mut acknowledged = 0;
    let mut turn = 0;
    while acknowledged < last {
        let channel = channels[turn % channels.len()].clone();
        turn += 1;
        let Ok((mut agent, known)) = Agent::greet(channel, node, 1).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        assert!(known >= acknowledged, "{acknowledged} was acknowledged, but only {known} is known");
        let up = agent.up.clone();
        let sending = tokio::spawn(async move {
            for number in known + 1..=last {
                let report = reeve_proto::session::Up::Report {
                    sequence: number,
                    report: Ok(Box::new(event(number))),
                };
                if up.send((&report).into()).await.is_err() {
                    return;
                }
            }
        });
        while acknowledged < last {
            match agent.next().await {
                Ok(reeve_proto::session::Down::Ack(number)) => {
                    acknowledged = acknowledged.max(number);
                    on_ack(acknowledged);
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        sending.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_in_mid_act_loses_nothing_and_doubles_nothing() {
    const REPORTS: u64 = 3_000;
    let dirs = folders(true);
    let mut one = Process::start(dirs[0].path()).await;
    let other = Process::start(dirs[1].path()).await;
    let (here, there) = (one.channel().await, other.channel().await);
    // This node stays with the one that is killed, and goes with it.
    let (_lost, _) = Agent::greet(here.clone(), "n2", 1).await.unwrap();
    let mut watched = watch(&there).await;
    let mut killed_at = None;
    report_all("n1", REPORTS, &[here, there.clone()], |acknowledged| {
        if acknowledged >= 200 && killed_at.is_none() {
            one.kill();
            killed_at = Some(acknowledged);
        }
    })
    .await;
    let killed_at = killed_at.unwrap();
    assert!(killed_at < REPORTS, "it was killed in mid-act, not at {killed_at}");
    let expected: Vec<String> = (1..=REPORTS).map(|number| format!("event {number}")).collect();
    assert_eq!(events(&there, "n1").await, expected);
    until(&mut watched, |event| matches!(event, Event::NodeDown(node) if node.node == "n2")).await;
    assert_eq!(connected(&there).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_costs_streams_and_no_report() {
    const REPORTS: u64 = 3_000;
    // One of its own: it is not the other tests' to lose.
    let cluster = Cluster::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    common::share(dir.path(), &cluster.database().unwrap());
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let mut is_done = false;
    report_all("n1", REPORTS, std::slice::from_ref(&channel), |acknowledged| {
        if acknowledged >= 200 && !is_done {
            is_done = true;
            assert!(acknowledged < REPORTS);
            cluster.crash().unwrap();
            cluster.resume().unwrap();
        }
    })
    .await;
    assert!(is_done);
    let expected: Vec<String> = (1..=REPORTS).map(|number| format!("event {number}")).collect();
    assert_eq!(events(&channel, "n1").await, expected);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_more_is_waited_for_and_then_given_up() {
    let cluster = Cluster::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    common::share(dir.path(), &cluster.database().unwrap());
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    agent.report(1, event(1)).await;
    agent.acknowledged(1).await;
    cluster.freeze(true).unwrap();
    // No connection ends, and all the same nobody waits for ever: neither the stream nor a person.
    agent.report(2, event(2)).await;
    let import = ImportTenantsRequest { tenants: vec![common::alice()], ..Default::default() };
    let mut operator = OperatorServiceClient::new(channel.clone());
    let asked = tokio::spawn(async move { operator.import_tenants(import).await });
    // Each of them waits for silence to be long enough, one after the other, and then for a connection that does not come about.
    let ended = tokio::time::timeout(Duration::from_secs(400), async {
        while agent.down.message().await.is_ok_and(|message| message.is_some()) {}
        asked.await.unwrap().unwrap_err()
    });
    let refused = ended.await;
    cluster.freeze(false).unwrap();
    assert_eq!(refused.unwrap().code(), Code::Unavailable);
    let mut known = None;
    while known.is_none() {
        known = Agent::greet(channel.clone(), "n1", 1).await.ok();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (mut agent, known) = known.unwrap();
    assert!(known <= 2);
    agent.report(known + 1, event(known + 1)).await;
    agent.acknowledged(known + 1).await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_sent_to_both_is_carried_out_once() {
    let [here, there] = folders(true);
    let (first, second) = (Running::start(here.path()).await, Running::start(there.path()).await);
    let channels = [first.plain().await, second.plain().await];
    import(&channels[0], "alice", "n1").await;
    let ask = |channel: &Channel, reason: &str| {
        let request = SuspendRequest {
            tenant: "alice".into(),
            reason: reason.into(),
            idempotency_key: "4f1c7e0a-8d3b-4c55-9a53-0c8f4e1c2b7d".into(),
            ..Default::default()
        };
        let mut client = OperatorServiceClient::new(channel.clone());
        async move { client.suspend(request).await.map(tonic::Response::into_inner) }
    };
    // At the same time, as a caller does whose connection broke before the answer came.
    let both: Vec<_> = (0..8).map(|number| tokio::spawn(ask(&channels[number % 2], "unpaid"))).collect();
    let mut orders = Vec::new();
    for one in both {
        let answer = one.await.unwrap().unwrap();
        orders.push((answer.order, answer.decision));
    }
    assert!(orders.iter().all(|one| *one == orders[0]), "{orders:?}");
    // Another request under the same key is refused, whoever is asked.
    for channel in &channels {
        assert_eq!(ask(channel, "something else").await.unwrap_err().code(), Code::AlreadyExists);
    }
    first.stop().await;
    second.stop().await;
    let again = Running::start(there.path()).await;
    let channel = again.plain().await;
    let answer = ask(&channel, "unpaid").await.unwrap();
    assert_eq!((answer.order, answer.decision), orders[0]);
    assert_eq!(ask(&channel, "something else").await.unwrap_err().code(), Code::AlreadyExists);
    // There is one order, and one alone, for a node that comes.
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let order = agent.order().await;
    assert_eq!(order.id().unwrap().to_string(), orders[0].0);
    agent.done(&order).await;
    let release = ReleaseRequest { tenant: "alice".into(), ..Default::default() };
    OperatorServiceClient::new(channel).release(release).await.unwrap();
    assert!(matches!(agent.order().await, Order::Release { .. }), "nothing else was ordered before");
    again.stop().await;
}
