//! Whoever is told says that it is mended: what was silent for long enough is let go of, and nothing else.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use reeve_policy::{
    Action, Class, Decision, DecisionId, Measure, MeasureCounters, Mode, NodeHealth, Order, Origin, Protocol,
    Report, Scope, Timestamp, Violation, ViolationId, ViolationState,
};
use reeve_proto::operator::v1::audit_service_client::AuditServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::policy_service_client::PolicyServiceClient;
use reeve_proto::operator::v1::{ListAuditRequest, ReleaseRequest, UploadPolicyRequest};

use super::outbox::{
    Follower, House, LINKS, Program, alice, entries, name, until, violation, warning, webhook,
};
use crate::common::{Agent, Running, execute, set};

/// Scans are let go of after a silence, spam by people alone.
fn policy(silence: &str) -> String {
    let rule = |id: &str, class: &str, more: &str| {
        format!(
            "[[rule]]\nid = \"{id}\"\nclause = \"ours/{id}\"\non = [\"{class}\"]\nquiet = \"1s\"\n{more}\
             ladder = [{{ action = \"suspend\", until = \"released\" }}]\n"
        )
    };
    let scans = rule("portscan", "portscan.*", &format!("release_after_silence = \"{silence}\"\n"));
    let spam = rule("spam", "spam.*", "");
    format!("[policy]\nname = \"ours\"\nversion = 3\nextends = \"baseline\"\n{scans}{spam}")
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::EPOCH + since
}

/// A violation under a rule that was seen last so long ago, and is not open any more.
fn seen(rule: &str, class: Class, ago: Duration) -> Violation {
    let at = now().minus(ago);
    let like = violation(1, class, ViolationState::Quiet);
    let rule = name(rule);
    let id = ViolationId::new(&like.node, &like.tenant, &rule, at);
    let clause = format!("ours/{rule}");
    Violation { id, rule, clause, opened: at, last_seen: at, closed: Some(at), ..like }
}

/// What the policy did upon it.
fn held(violation: &Violation, action: Action, scope: Scope) -> Measure {
    let origin = Origin::Policy { policy: name("ours"), version: 3, rule: violation.rule.clone(), step: 1 };
    let id = DecisionId(name(&format!("{}.1", violation.id)));
    Measure { decision: Decision { id, origin, action, scope, ..warning(violation) }, expires: None }
}

/// How the node fares at a time: all that it had to tell until then is told.
fn health(at: Timestamp) -> Report {
    Report::Health(NodeHealth {
        at,
        mode: Mode::Enforce,
        policy: None,
        tenants: 1,
        measures: 1,
        vantages: 1,
        frames_received: 0,
        frames_dropped: 0,
        malformed: 0,
        flows: 0,
        evictions: 0,
        agent_version: "test".into(),
        paused: None,
        brakes: None,
    })
}

async fn hold(house: &mut House, violation: &Violation, measure: &Measure) {
    house.report(Report::Violation(violation.clone())).await;
    house.report(Report::Decision(measure.decision.clone())).await;
    house.report(Report::Standing { measure: measure.clone(), at: measure.decision.at }).await;
    house.report(health(now())).await;
}

async fn start(dir: &Path, silence: &str) -> (House, Program) {
    let (program, port) = Program::start(&[]).await;
    set(dir, &format!("{}{LINKS}", webhook(dir, port)));
    let house = House::start(dir, alice("Alice", &[])).await;
    let request = UploadPolicyRequest { source: policy(silence), ..Default::default() };
    PolicyServiceClient::new(house.channel.clone()).upload_policy(request).await.unwrap();
    (house, program)
}

/// By which link the notice of a decision is answered, and its case.
async fn link(program: &Program, measure: &Measure) -> (String, String) {
    let id = measure.decision.id.to_string();
    until(|| async {
        let mut told = program.called(1).await.into_iter().map(|heard| heard.event()["data"].clone());
        let ours = told.rfind(|data| data.to_string().contains(&id))?;
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        Some((text(&ours["links"]["fixed"])?, text(&ours["case"])?))
    })
    .await
}

async fn texts(house: &House, case: &str) -> String {
    let (_, entries) = entries(&house.channel, case).await;
    entries.into_iter().map(|(_, author, text)| format!("{author}: {text}\n")).collect()
}

/// Waits until the case says so often that it was seen again.
async fn was_seen_again(house: &House, case: &str, times: usize) {
    until(|| async {
        let told = texts(house, case).await;
        (told.matches("it was seen again").count() == times).then_some(())
    })
    .await;
}

async fn standing(dir: &Path) -> u64 {
    execute(dir, "UPDATE measures SET packets = packets WHERE lifted IS NULL").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_silent_for_long_enough_is_let_go_of_and_all_else_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (mut house, program) = start(dir.path(), "10m").await;
    let twenty = Duration::from_secs(1_200);
    let (scan, spam) = (seen("portscan", Class::PortscanVertical, twenty), seen("spam", Class::Spam, twenty));
    let suspended = held(&scan, Action::Suspend, Scope::All);
    let blocked = held(&spam, Action::Block, Scope::Port { protocol: Protocol::Tcp, port: 25 });
    hold(&mut house, &scan, &suspended).await;
    hold(&mut house, &spam, &blocked).await;
    let channel = house.channel.clone();
    house.agent.suspend(&channel, "alice").await;
    until(|| async { (standing(dir.path()).await == 3).then_some(()) }).await;
    let follower = Follower::new(&house);
    // Of another case's link nothing comes to this one, and its own rule names no time.
    let (other, other_case) = link(&program, &blocked).await;
    let (status, text) = follower.post(&other, "").await;
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("noted on the case"), "{text}");
    let (fixed, case) = link(&program, &suspended).await;
    assert_ne!(case, other_case);
    let (status, text) = follower.post(&fixed, "").await;
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("silent for long enough"), "{text}");
    let order = house.agent.order().await;
    let Order::LetGo { tenant, decisions, by, reason, .. } = &order else { panic!("{order:?}") };
    assert_eq!((tenant.as_str(), by.as_str()), ("alice", "alice"));
    assert_eq!(decisions.iter().collect::<Vec<_>>(), [&suspended.decision.id]);
    assert!(reason.contains("nothing was seen since"), "{reason}");
    // Once more before the node has answered, and once after: there is nothing to let go of.
    let (_, text) = follower.post(&fixed, "").await;
    assert!(text.contains("noted on the case"), "{text}");
    house.agent.done(&order).await;
    until(|| async { (standing(dir.path()).await == 2).then_some(()) }).await;
    let (_, text) = follower.post(&fixed, "").await;
    assert!(text.contains("noted on the case"), "{text}");
    let release = ReleaseRequest { tenant: "alice".into(), ..Default::default() };
    OperatorServiceClient::new(channel.clone()).release(release).await.unwrap();
    assert!(matches!(house.agent.order().await, Order::Release { .. }), "nothing else was ordered before");
    // Strikes are as they were, and it is on the record, under the name of whom the letter was written to.
    assert_eq!(execute(dir.path(), "UPDATE violations SET counts = counts WHERE counts = 1").await, 2);
    assert!(texts(&house, &case).await.contains("1 of the case's measures is lifted"));
    assert!(!texts(&house, &other_case).await.contains("lifted"));
    let request = ListAuditRequest { page_size: 100, ..Default::default() };
    let told = AuditServiceClient::new(channel).list_audit(request).await.unwrap().into_inner();
    let done = |entry: &&reeve_proto::operator::v1::AuditEntry| entry.act == "/links/fixed/release";
    let done: Vec<_> = told.entries.iter().filter(done).collect();
    // Under the tenant and, behind it, the case: a case's bundle has it.
    let subjects: Vec<&str> = done.iter().map(|entry| entry.subject.as_str()).collect();
    let of_case = format!("case/{case}");
    assert!(
        subjects.len() == 2 && subjects.contains(&"tenant/alice") && subjects.contains(&&*of_case),
        "{subjects:?}"
    );
    assert!(done.iter().all(|entry| (entry.who.as_str(), entry.role.as_str()) == ("alice", "link")));
    assert!(done.iter().any(|entry| entry.asked.contains(&case)), "{done:?}");
    house.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_loud_again_is_not_let_go_of_and_a_claim_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut house, program) = start(dir.path(), "8s").await;
    let mut scan = seen("portscan", Class::PortscanVertical, Duration::ZERO);
    let blocked = held(&scan, Action::Block, Scope::Port { protocol: Protocol::Tcp, port: 22 });
    hold(&mut house, &scan, &blocked).await;
    let (fixed, case) = link(&program, &blocked).await;
    let follower = Follower::new(&house);
    let (_, text) = follower.post(&fixed, "").await;
    assert!(text.contains("portscan.vertical, 1 times seen in all"), "{text}");
    assert!(text.contains("we look again by ourselves at"), "{text}");
    let (_, _, page) = follower.get(&fixed).await;
    assert!(page.contains("You told us that it is mended. We look again by ourselves at"), "{page}");
    // It is seen again between.
    (scan.last_seen, scan.alerts) = (now(), 2);
    house.report(Report::Violation(scan.clone())).await;
    was_seen_again(&house, &case, 1).await;
    let (_, _, page) = follower.get(&fixed).await;
    assert!(page.contains("but we saw it again"), "{page}");
    // The measure stops something: nothing is detected, and it is no silence either.
    let (_, text) = follower.post(&fixed, "").await;
    assert!(text.contains("portscan.vertical, 2 times"), "{text}");
    let counted = MeasureCounters { packets: 5, bytes: 300 };
    house.report(Report::Counters(BTreeMap::from([(blocked.decision.id.clone(), counted)]))).await;
    was_seen_again(&house, &case, 2).await;
    // The same count again is silence. The controller is restarted meanwhile.
    (scan.last_seen, scan.alerts) = (now(), 3);
    house.report(Report::Violation(scan.clone())).await;
    let (_, text) = follower.post(&fixed, "").await;
    assert!(text.contains("portscan.vertical, 3 times"), "{text}");
    house.running.stop().await;
    let running = Running::start(dir.path()).await;
    let channel = running.plain().await;
    let (mut agent, _) = Agent::greet_naming(channel, "n1", 2, vec![blocked.clone()]).await.unwrap();
    agent.report(1, Report::Counters(BTreeMap::from([(blocked.decision.id.clone(), counted)]))).await;
    agent.report(2, health(scan.last_seen + Duration::from_secs(8))).await;
    let order = agent.order().await;
    let Order::LetGo { decisions, .. } = &order else { panic!("{order:?}") };
    assert!(decisions.contains(&blocked.decision.id));
    assert!(now() >= scan.last_seen + Duration::from_secs(8));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_measure_stops_is_no_silence() {
    let dir = tempfile::tempdir().unwrap();
    let (mut house, program) = start(dir.path(), "10m").await;
    let twenty = Duration::from_secs(1_200);
    let (scan, spam) = (seen("portscan", Class::PortscanVertical, twenty), seen("spam", Class::Spam, twenty));
    let blocked = held(&scan, Action::Block, Scope::Port { protocol: Protocol::Tcp, port: 22 });
    let suspended = held(&spam, Action::Suspend, Scope::All);
    hold(&mut house, &scan, &blocked).await;
    hold(&mut house, &spam, &suspended).await;
    // The block is behind the suspension, and stops nothing any more.
    let counted = MeasureCounters { packets: 5, bytes: 300 };
    house.report(Report::Counters(BTreeMap::from([(suspended.decision.id.clone(), counted)]))).await;
    let (fixed, _) = link(&program, &blocked).await;
    let (_, text) = Follower::new(&house).post(&fixed, "").await;
    assert!(text.contains("we look again by ourselves at"), "{text}");
    house.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_node_that_is_away_silence_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut house, program) = start(dir.path(), "5s").await;
    let scan = seen("portscan", Class::PortscanVertical, Duration::from_secs(1_200));
    let suspended = held(&scan, Action::Suspend, Scope::All);
    hold(&mut house, &scan, &suspended).await;
    let (fixed, case) = link(&program, &suspended).await;
    let follower = Follower::new(&house);
    let House { running, channel, agent, .. } = house;
    drop(agent);
    let dir = dir.path();
    until(|| async { (execute(dir, "UPDATE presence SET stream = stream").await == 0).then_some(()) }).await;
    let (_, text) = follower.post(&fixed, "").await;
    assert!(text.contains("we look again by ourselves at"), "{text}");
    let (mut agent, _) = Agent::greet_naming(channel.clone(), "n1", 2, vec![suspended]).await.unwrap();
    // It is back, and has not told yet what it kept: that it was seen meanwhile.
    let (_, text) = follower.post(&fixed, "").await;
    assert!(text.contains("we look again by ourselves at"), "{text}");
    let meanwhile = now().minus(Duration::from_secs(1));
    agent.report(1, Report::Violation(Violation { last_seen: meanwhile, alerts: 2, ..scan.clone() })).await;
    agent.report(2, health(now())).await;
    let (_, text) = follower.post(&fixed, "").await;
    assert!(text.contains("portscan.vertical, 2 times seen in all"), "{text}");
    agent.report(3, health(meanwhile + Duration::from_secs(5))).await;
    until(|| async {
        let (_, told) = entries(&channel, &case).await;
        let is_let_go = |text: &str| text.contains("measures is lifted");
        told.iter().any(|(_, author, text)| author.is_empty() && is_let_go(text)).then_some(())
    })
    .await;
    assert!(matches!(agent.order().await, Order::LetGo { .. }));
    running.stop().await;
}
