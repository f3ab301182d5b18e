//! Who is told what: notices made of what nodes report, each once, whatever comes twice and whatever restarts.

use crate::common::{Agent, Running};
use reeve_policy::language::{Policy, parse_tenants};
use reeve_policy::{
    Action, Alert, Class, Decision, DecisionId, LiftReason, Loss, Measure, MeasureCounters, Metric, Mode,
    Name, Notice, NoticeKind, Order, OrderFailure, Origin, Report, Scope, Timestamp, Until, Usage, Violation,
    ViolationId, ViolationState, Window,
};
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::policy_service_client::PolicyServiceClient;
use reeve_proto::operator::v1::watch_response::Event;
use reeve_proto::operator::v1::{
    ActivatePolicyRequest, ImportTenantsRequest, ListNoticesRequest, PaidRequest, ReleaseRequest,
    SuspendRequest, UploadPolicyRequest, WatchRequest,
};
use reeve_proto::status::v1::status_service_client::StatusServiceClient;
use reeve_proto::status::v1::{GetStatusRequest, GetStatusResponse, State, get_status_request, hold};
use tonic::transport::Channel;

const POLICY: &str = "[policy]\nname = \"ours\"\nversion = 3\nextends = \"baseline\"\nmode = \"enforce\"\n\
    [notices]\ntell = [\"parent\"]\nurgent = [\"portscan.*\"]\nprovider = \"Example Hosting\"\n\
    [thresholds.quota]\nbytes_per_month = 10_000\n\
    [[rule]]\nid = \"portscan\"\non = [\"portscan.*\"]\nladder = [\n\
    { action = \"block\", scope = \"dst\", until = \"1h\" },\n\
    { action = \"suspend\", until = \"released\", notice = \"final\" } ]\n";

const TENANTS: &str = "[[tenant]]\nid = \"shop\"\nname = \"Shop B.V.\"\nparent = \"reseller\"\nlanguage = \"nl\"\n\
    addresses = [\"203.0.113.1\"]\n\
    [[tenant]]\nid = \"reseller\"\naddresses = []\nlanguage = \"da\"\n\
    [[tenant]]\nid = \"alone\"\naddresses = [\"203.0.113.2\"]\nquota_bytes = 1_000\n";

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn written() -> String {
    Policy::parse("p.toml", POLICY).unwrap().written()
}

async fn import(channel: &Channel) {
    let tenants = parse_tenants("t.toml", TENANTS).unwrap();
    let request = ImportTenantsRequest {
        tenants: tenants.iter().map(Into::into).collect(),
        method: 1,
        ..Default::default()
    };
    OperatorServiceClient::new(channel.clone()).import_tenants(request).await.unwrap();
}

fn violation(tenant: &str, class: Class, secs: u64) -> Violation {
    let (node, rule, at) = (name("n1"), name("portscan"), Timestamp::from_secs(secs));
    let evidence = Alert {
        class,
        tenant: name(tenant),
        at,
        window: Window { start: at, end: at },
        metrics: vec![Metric { name: "ports".into(), value: 20.0, threshold: Some(20.0) }],
        confidence_percent: 95,
        targets: Vec::new(),
        samples: Vec::new(),
        loss: Loss::default(),
        is_suspicion: false,
    };
    Violation {
        id: ViolationId::new(&node, &name(tenant), &rule, at),
        node,
        tenant: name(tenant),
        rule,
        clause: "ours/portscan".into(),
        opened: at,
        last_seen: at,
        closed: None,
        state: ViolationState::Open,
        strike: 1,
        alerts: 1,
        evidence,
    }
}

fn decision(violation: &Violation, number: u32, step: u32, action: Action, mode: Mode) -> Decision {
    let until = if action == Action::Suspend {
        Until::Released
    } else {
        Until::After(std::time::Duration::from_secs(4_000_000_000))
    };
    let scope = if action == Action::Suspend {
        Scope::All
    } else {
        Scope::Destinations { addresses: vec!["198.51.100.7".parse().unwrap()] }
    };
    Decision {
        id: DecisionId(name(&format!("{}.{number}", violation.id))),
        tenant: violation.tenant.clone(),
        violation: Some(violation.id.clone()),
        clause: violation.clause.clone(),
        origin: Origin::Policy { policy: name("ours"), version: 3, rule: name("portscan"), step },
        action,
        scope,
        rate: None,
        until,
        at: violation.opened,
        mode,
        reason: "portscan.vertical: ports 20 (limit 20)".into(),
        connections: None,
        softened: None,
        reckoning: None,
    }
}

fn standing(decision: &Decision) -> Report {
    let measure = Measure { decision: decision.clone(), expires: decision.until.expiry(decision.at) };
    Report::Standing { measure, at: decision.at }
}

fn lifted(decision: &Decision, reason: LiftReason) -> Report {
    let (id, tenant, at) =
        (decision.id.clone(), decision.tenant.clone(), Timestamp::from_secs(2_000_000_000));
    Report::Lifted { decision: id, tenant, reason, at, counters: MeasureCounters::default() }
}

async fn notices(channel: &Channel, request: ListNoticesRequest) -> Vec<(u64, Notice)> {
    let list = OperatorServiceClient::new(channel.clone()).list_notices(request).await.unwrap().into_inner();
    let one = |entry: reeve_proto::operator::v1::NoticeEntry| {
        assert!(entry.made_time.is_some());
        (entry.number, Notice::try_from(entry.notice.unwrap()).unwrap())
    };
    list.notices.into_iter().map(one).collect()
}

/// All of them, oldest first, as `RECIPIENT LANGUAGE KIND`.
async fn told(channel: &Channel) -> Vec<String> {
    let all = notices(channel, ListNoticesRequest { after: Some(0), ..Default::default() }).await;
    all.iter().map(|(_, one)| format!("{} {} {}", one.recipient, one.language, one.kind)).collect()
}

async fn status(channel: &Channel, tenant: &str) -> GetStatusResponse {
    let subject = Some(get_status_request::Subject::Tenant(tenant.into()));
    let request = GetStatusRequest { subject };
    StatusServiceClient::new(channel.clone()).get_status(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn customer_and_reseller_are_told_once_in_their_languages_whatever_comes_twice() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel).await;
    let mut watching = OperatorServiceClient::new(channel.clone());
    let mut events = watching.watch(WatchRequest { tenant: "shop".into() }).await.unwrap().into_inner();

    let scan = violation("shop", Class::PortscanVertical, 1_900_000_000);
    let block = decision(&scan, 1, 1, Action::Block, Mode::Enforce);
    let wider = decision(&scan, 2, 1, Action::Block, Mode::Enforce);
    let suspension = decision(&scan, 3, 2, Action::Suspend, Mode::Enforce);
    let observed =
        decision(&violation("alone", Class::Spam, 1_900_000_001), 1, 1, Action::Block, Mode::Observe);
    let reports = [
        Report::Violation(scan.clone()),
        Report::Decision(block.clone()),
        standing(&block),
        // It only reaches farther.
        Report::Decision(wider.clone()),
        standing(&wider),
        Report::Decision(suspension.clone()),
        standing(&suspension),
        Report::Decision(observed),
    ];
    // Twice under two lives of the spool: the agent was killed before it heard that they had arrived.
    for epoch in [1, 2] {
        let (mut agent, _) = Agent::greet_by(channel.clone(), "n1", epoch, &written()).await.unwrap();
        for (sequence, report) in (1..).zip(&reports) {
            agent.report(sequence, report.clone()).await;
        }
        agent.acknowledged(8).await;
    }
    let expect = ["shop nl immediate", "reseller da immediate", "shop nl final", "reseller da final"];
    assert_eq!(told(&channel).await, expect);
    let all = notices(&channel, ListNoticesRequest::default()).await;
    let (_, latest) = &all[0];
    assert_eq!(latest.subject, "Sidste meddelelse om Shop B.V.: en portscanning");
    assert!(
        latest.text.contains("er kunde hos dig") && latest.text.ends_with("Example Hosting"),
        "{}",
        latest.text
    );
    assert!(all.windows(2).all(|two| two[0].0 > two[1].0), "newest first");
    let to_reseller = ListNoticesRequest { recipient: "reseller".into(), ..Default::default() };
    assert_eq!(notices(&channel, to_reseller).await.len(), 2);
    // Whatever sends them reads on from where it was, page by page.
    let client = &mut OperatorServiceClient::new(channel.clone());
    let page = ListNoticesRequest { after: Some(all[3].0), page_size: 2, ..Default::default() };
    let first = client.list_notices(page.clone()).await.unwrap().into_inner();
    let rest = ListNoticesRequest { page_token: first.next_page_token, ..page };
    let second = client.list_notices(rest).await.unwrap().into_inner();
    assert_eq!((first.notices.len(), second.notices.len(), second.next_page_token.as_str()), (2, 1, ""));

    let mut watched = 0;
    while watched < 4 {
        let event = tokio::time::timeout(std::time::Duration::from_secs(10), events.message()).await;
        if let Some(Event::Notice(_)) = event.unwrap().unwrap().unwrap().event {
            watched += 1;
        }
    }
    let told_so = status(&channel, "shop").await;
    assert_eq!((told_so.state(), told_so.customer_language.as_str()), (State::Suspended, "nl"));
    assert!(
        told_so.customer_reason.contains("probeerde poorten")
            && told_so.customer_reason.contains("alles tegen")
    );
    assert!(told_so.customer_lifted_by.contains("gesproken"), "{}", told_so.customer_lifted_by);
    assert!(told_so.reason.starts_with("portscan.vertical"), "operators read numbers: {}", told_so.reason);

    // The end is told when nothing stands any more, also after a restart, and once.
    controller.stop().await;
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    assert_eq!(told(&channel).await, expect);
    let (mut agent, acknowledged) = Agent::greet_by(channel.clone(), "n1", 2, &written()).await.unwrap();
    assert_eq!(acknowledged, 8);
    for (sequence, report) in (9..).zip([
        standing(&block),
        standing(&suspension),
        lifted(&block, LiftReason::Released),
        lifted(&suspension, LiftReason::Released),
        lifted(&suspension, LiftReason::Released),
    ]) {
        agent.report(sequence, report).await;
    }
    agent.acknowledged(13).await;
    let now = told(&channel).await;
    assert_eq!(now[4..], ["shop nl lifted", "reseller da lifted"], "{now:?}");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_told_of_at_80_and_100_percent_once_a_month_over_all_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel).await;
    let usage = |tenant: &str, month: &str, received, sent| {
        let usage = Usage { tenant: name(tenant), month: month.parse().unwrap(), received, sent };
        Report::Usage { tallies: vec![usage] }
    };
    let (mut first, _) = Agent::greet_by(channel.clone(), "n1", 1, &written()).await.unwrap();
    let (mut second, _) = Agent::greet_by(channel.clone(), "n2", 1, &written()).await.unwrap();
    first.report(1, usage("alone", "2026-11", 400, 0)).await;
    first.acknowledged(1).await;
    second.report(1, usage("alone", "2026-11", 0, 399)).await;
    second.acknowledged(1).await;
    assert!(told(&channel).await.is_empty());
    second.report(2, usage("alone", "2026-11", 0, 400)).await;
    second.report(3, usage("alone", "2026-11", 0, 450)).await;
    second.acknowledged(3).await;
    assert_eq!(told(&channel).await, ["alone en information"]);
    controller.stop().await;

    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    // An agent that lost its state begins anew, and tells what it told before.
    let (mut second, _) = Agent::greet_by(channel.clone(), "n2", 2, &written()).await.unwrap();
    second.report(1, usage("alone", "2026-11", 0, 451)).await;
    second.report(2, usage("alone", "2026-11", 0, 600)).await;
    second.report(3, usage("alone", "2026-11", 0, 700)).await;
    // The policy's plan, to the reseller; one leap over both is told as the last.
    second.report(4, usage("shop", "2026-11", 20_000, 0)).await;
    // A new month.
    second.report(5, usage("alone", "2026-12", 800, 0)).await;
    second.report(6, usage("nobody", "2026-12", 800_000, 0)).await;
    second.acknowledged(6).await;
    let all = notices(&channel, ListNoticesRequest { after: Some(0), ..Default::default() }).await;
    let subjects: Vec<&str> = all.iter().map(|(_, one)| one.subject.as_str()).collect();
    let expect = [
        "alone: 80 % of this month's traffic is used",
        "alone: 100 % of this month's traffic is used",
        "Shop B.V.: 200 % af månedens trafik er brugt",
        "alone: 80 % of this month's traffic is used",
    ];
    assert_eq!(subjects, expect);
    assert!(all.iter().all(|(_, one)| one.kind == NoticeKind::Information && one.decision.is_none()));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unpaid_invoice_and_abuse_hold_a_tenant_each_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel).await;
    let mut operator = OperatorServiceClient::new(channel.clone());
    let (mut agent, _) = Agent::greet_by(channel.clone(), "n1", 1, &written()).await.unwrap();
    let wrong = SuspendRequest {
        tenant: "shop".into(),
        reason: "billing".into(),
        until_paid: true,
        duration: Some(reeve_proto::duration_to_wire(std::time::Duration::from_secs(60))),
        ..Default::default()
    };
    assert_eq!(operator.suspend(wrong.clone()).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    for _ in 0..2 {
        let request = SuspendRequest { duration: None, idempotency_key: "k".into(), ..wrong.clone() };
        operator.suspend(request).await.unwrap();
    }
    let imposed = agent.order().await;
    agent.done(&imposed).await;
    let abuse =
        SuspendRequest { tenant: "shop".into(), reason: "scans, ticket 1".into(), ..Default::default() };
    operator.suspend(abuse).await.unwrap();
    let second = agent.order().await;
    agent.done(&second).await;
    let causes = async |expect: &[hold::Cause]| {
        for _ in 0..100 {
            let told = status(&channel, "shop").await;
            let mut causes: Vec<hold::Cause> = told.holds.iter().map(|hold| hold.cause()).collect();
            causes.sort_unstable();
            if causes == expect {
                return told;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("never {expect:?}: {:?}", status(&channel, "shop").await);
    };
    causes(&[hold::Cause::Abuse, hold::Cause::Billing]).await;

    let both = status(&channel, "shop").await.holds;
    assert!(both.iter().all(|hold| !hold.ordered_by.is_empty() && hold.rate.is_empty()), "{both:?}");
    let release = ReleaseRequest { tenant: "shop".into(), ..Default::default() };
    let answer = operator.release(release).await.unwrap().into_inner();
    assert_eq!((answer.ended, answer.forgiven), (Some(1), Some(0)), "the invoice stays");
    let released = agent.order().await;
    agent.done(&released).await;
    let left = causes(&[hold::Cause::Billing]).await;
    assert_eq!(left.state(), State::Suspended);
    assert_eq!(left.lifted_by, "the payment of an invoice, as billing tells");
    assert!(
        left.customer_lifted_by.contains("betaling") && left.customer_reason.contains("rekening"),
        "{left:?}"
    );

    let paid = PaidRequest { tenant: "shop".into(), reason: "invoice 12".into(), ..Default::default() };
    assert_eq!(operator.paid(paid.clone()).await.unwrap().into_inner().decisions, 1);
    let order = agent.order().await;
    assert!(matches!(&order, reeve_policy::Order::Paid { tenant, .. } if *tenant == name("shop")));
    agent.done(&order).await;
    let clear = causes(&[]).await;
    assert_eq!(clear.state(), State::Clear);
    let again = operator.paid(paid).await.unwrap().into_inner();
    assert_eq!((again.decisions, again.ended), (0, Some(0)), "once");
    let release = ReleaseRequest { tenant: "shop".into(), forgive: true, ..Default::default() };
    let again = operator.release(release).await.unwrap().into_inner();
    assert_eq!((again.ended, again.forgiven), (Some(0), Some(0)), "nothing holds it any more");
    // Everything that was told went to the reseller, as the policy says of what is not urgent.
    let kinds: Vec<String> = told(&channel).await;
    assert_eq!(
        kinds,
        ["reseller da immediate", "reseller da immediate", "reseller da lifted", "reseller da lifted"]
    );

    // A node that comes later is told of nothing that is over.
    let (late, _) = Agent::greet_by(channel.clone(), "n2", 1, "").await.unwrap();
    drop(late);
    assert_eq!(status(&channel, "shop").await.state(), State::Clear);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_told_of_when_a_node_has_done_it_and_not_when_it_failed_or_never_ran() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel).await;
    let operator = &mut OperatorServiceClient::new(channel.clone());
    let (mut first, _) = Agent::greet_by(channel.clone(), "n1", 1, &written()).await.unwrap();
    let suspend =
        SuspendRequest { tenant: "alone".into(), reason: "scans, ticket 1".into(), ..Default::default() };
    let release = ReleaseRequest { tenant: "alone".into(), ..Default::default() };
    let waiting = |request: &SuspendRequest| {
        let (mut operator, request) = (operator.clone(), SuspendRequest { wait: true, ..request.clone() });
        tokio::spawn(async move { operator.suspend(request).await.unwrap().into_inner().nodes })
    };

    // Refused by the only node: nothing was done, and nobody hears of it, nor of its end.
    let failing = waiting(&suspend);
    let order = first.order().await;
    first.answer(&order, Err(OrderFailure::Protected)).await;
    assert_eq!(failing.await.unwrap()[0].detail, "the tenant is protected");
    operator.release(release.clone()).await.unwrap();
    let order = first.order().await;
    first.done(&order).await;
    assert!(told(&channel).await.is_empty());

    // Taken back before the node came back.
    drop(first);
    operator.suspend(suspend.clone()).await.unwrap();
    operator.release(release.clone()).await.unwrap();
    let (mut first, _) = Agent::greet_by(channel.clone(), "n1", 1, &written()).await.unwrap();
    let order = first.order().await;
    assert!(matches!(order, Order::Release { .. }), "{order:?}");
    first.done(&order).await;
    assert!(told(&channel).await.is_empty());

    // One of two nodes fails, the other does it: told once, and its end once; whatever is answered twice.
    let (mut second, _) = Agent::greet_by(channel.clone(), "n2", 1, &written()).await.unwrap();
    operator.suspend(suspend).await.unwrap();
    let order = first.order().await;
    first.answer(&order, Err(OrderFailure::Protected)).await;
    assert_eq!(second.order().await.id(), order.id());
    assert!(told(&channel).await.is_empty());
    second.done(&order).await;
    second.done(&order).await;
    first.done(&order).await;
    let wait_for = async |expect: &[&str]| {
        for _ in 0..100 {
            if told(&channel).await == expect {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(told(&channel).await, expect);
    };
    wait_for(&["alone en immediate"]).await;
    operator.release(release).await.unwrap();
    for agent in [&mut first, &mut second] {
        let order = agent.order().await;
        agent.done(&order).await;
    }
    wait_for(&["alone en immediate", "alone en lifted"]).await;
    controller.stop().await;
}

/// What a node may tell as its policy: another's name and version over words of its own.
fn forged(name: &str) -> String {
    let text = POLICY.replace("Example Hosting", "Pay Me Ltd").replace("\"ours\"", &format!("\"{name}\""));
    Policy::parse("p.toml", &text).unwrap().written()
}

/// Whose words each notice is in, oldest first.
async fn words(channel: &Channel) -> Vec<&'static str> {
    let all = notices(channel, ListNoticesRequest { after: Some(0), ..Default::default() }).await;
    let whose = |notice: &Notice| match notice.text.as_str() {
        text if text.ends_with("Example Hosting") => "ours",
        text if text.ends_with("Pay Me Ltd") => "forged",
        _ => "others",
    };
    all.iter().map(|(_, one)| whose(one)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_a_node_makes_up_reach_nobody_of_whom_another_decides() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel).await;
    let (mut first, _) = Agent::greet_by(channel.clone(), "n1", 1, &written()).await.unwrap();
    let (stolen, _) = Agent::greet_by(channel.clone(), "n9", 1, &forged("ours")).await.unwrap();
    let scan = violation("shop", Class::PortscanVertical, 1_900_000_000);
    let block = decision(&scan, 1, 1, Action::Block, Mode::Enforce);
    let reports = [
        Report::Violation(scan),
        Report::Decision(block.clone()),
        standing(&block),
        lifted(&block, LiftReason::Released),
    ];
    for (number, report) in (1..).zip(reports) {
        first.report(number, report).await;
    }
    first.acknowledged(4).await;
    assert_eq!(words(&channel).await, ["ours"; 4]);

    // What is kept here under that name and version goes before what even the node itself has.
    let mut policies = PolicyServiceClient::new(channel.clone());
    let request = UploadPolicyRequest { source: POLICY.into(), ..Default::default() };
    policies.upload_policy(request).await.unwrap();
    let (mut first, _) = Agent::greet_by(channel.clone(), "n1", 2, &forged("ours")).await.unwrap();
    let scan = violation("shop", Class::PortscanVertical, 1_900_000_100);
    let suspension = decision(&scan, 1, 2, Action::Suspend, Mode::Enforce);
    let reports = [
        Report::Violation(scan),
        Report::Decision(suspension.clone()),
        standing(&suspension),
        lifted(&suspension, LiftReason::Released),
    ];
    for (number, report) in (1..).zip(reports) {
        first.report(number, report).await;
    }
    first.acknowledged(4).await;
    assert_eq!(words(&channel).await, ["ours"; 8]);

    // Of what a person orders is told in the words of the policy that is active.
    let request = ActivatePolicyRequest { name: "ours".into(), policy_version: 3, reason: "words".into() };
    policies.activate_policy(request).await.unwrap();
    drop((first, stolen));
    let (mut last, _) = Agent::greet_by(channel.clone(), "n9", 2, &forged("another")).await.unwrap();
    last.suspend(&channel, "shop").await;
    assert_eq!(words(&channel).await, ["ours"; 9]);
    controller.stop().await;
}
