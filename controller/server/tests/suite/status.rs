//! Where tenants stand, asked for many at a time and followed over interruptions, over real streams.

use std::time::Duration;

use crate::common::{Agent, Running, alice, import};
use reeve_policy::{
    Action, Alert, Class, Decision, DecisionId, Loss, Measure, Mode, Origin, Report, Scope, Timestamp, Until,
    Violation, ViolationId, ViolationState, Window,
};
use reeve_proto::status::v1::batch_get_status_response::{answer::Answer, problem::Kind};
use reeve_proto::status::v1::get_status_request::Subject;
use reeve_proto::status::v1::status_service_client::StatusServiceClient;
use reeve_proto::status::v1::watch_status_response::Event;
use reeve_proto::status::v1::{
    BatchGetStatusRequest, GetStatusRequest, State, WatchStatusRequest, WatchStatusResponse,
};
use reeve_proto::types::v1::Tenant;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

fn tenant(id: &str) -> Tenant {
    Tenant { id: id.into(), interfaces: vec![format!("n1/{id}")], ..Default::default() }
}

fn ask(subject: Subject) -> GetStatusRequest {
    GetStatusRequest { subject: Some(subject) }
}

/// A watch, and what came of it.
struct Watch(Streaming<WatchStatusResponse>);

/// Something that was told: of whom, or what.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Reset,
    Status(String, State),
    Synced,
}

impl Watch {
    async fn open(channel: &Channel, token: &str, only: &[&str]) -> Result<Self, tonic::Status> {
        let tenants = only.iter().map(ToString::to_string).collect();
        let request = WatchStatusRequest { resume_token: token.into(), tenants };
        Ok(Self(StatusServiceClient::new(channel.clone()).watch_status(request).await?.into_inner()))
    }

    async fn next(&mut self) -> (Seen, String) {
        let message = tokio::time::timeout(Duration::from_secs(20), self.0.message());
        let told = message.await.expect("an event in time").unwrap().unwrap();
        let seen = match told.event.unwrap() {
            Event::Reset(_) => Seen::Reset,
            Event::Status(status) => Seen::Status(status.tenant.clone(), status.state()),
            Event::Synced(_) => Seen::Synced,
        };
        (seen, told.resume_token)
    }

    /// The next event, which is to be this one; its token.
    async fn expect(&mut self, expected: Seen) -> String {
        let (seen, token) = self.next().await;
        assert_eq!(seen, expected);
        token
    }
}

fn status(tenant: &str, state: State) -> Seen {
    Seen::Status(tenant.into(), state)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_told_at_once_and_none_fails_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel, vec![alice(), tenant("bob")], true).await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    agent.suspend(&channel, "alice").await;
    let mut client = StatusServiceClient::new(channel.clone());
    let subjects = vec![
        ask(Subject::Address("203.0.113.9".into())),
        ask(Subject::Tenant("nobody".into())),
        ask(Subject::Interface("n1/bob".into())),
        ask(Subject::Address("here".into())),
        GetStatusRequest { subject: None },
        ask(Subject::Address("::ffff:203.0.113.9".into())),
    ];
    let answers = client.batch_get_status(BatchGetStatusRequest { subjects }).await.unwrap().into_inner();
    let told: Vec<_> = answers
        .answers
        .into_iter()
        .map(|answer| match answer.answer.unwrap() {
            Answer::Status(status) => Ok((status.tenant.clone(), status.state())),
            Answer::Problem(problem) => Err(problem.kind()),
        })
        .collect();
    let expected = [
        Ok(("alice".to_owned(), State::Suspended)),
        Err(Kind::NotFound),
        Ok(("bob".to_owned(), State::Clear)),
        Err(Kind::Invalid),
        Err(Kind::Invalid),
        Ok(("alice".to_owned(), State::Suspended)),
    ];
    assert_eq!(told, expected);

    let mut many = async |count: usize| {
        let subjects = vec![ask(Subject::Tenant("bob".into())); count];
        client.batch_get_status(BatchGetStatusRequest { subjects }).await
    };
    assert_eq!(many(1_000).await.unwrap().into_inner().answers.len(), 1_000);
    for count in [0, 1_001] {
        let refused = many(count).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(refused.message(), format!("subjects: {count}; 1 to 1000 are allowed"));
    }
    // Each subject is a question: who asks for all that its share allows is refused the rest.
    let mut refused = None;
    for _ in 0..40 {
        if let Err(status) = many(1_000).await {
            refused = Some(status.code());
        }
    }
    assert_eq!(refused, Some(Code::ResourceExhausted));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_where_it_was_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel, vec![tenant("a"), tenant("b"), tenant("c")], true).await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    agent.suspend(&channel, "a").await;

    // At first everything that is not clear, and live from there on.
    let mut watch = Watch::open(&channel, "", &[]).await.unwrap();
    assert_eq!(watch.expect(Seen::Reset).await, "");
    assert_eq!(watch.expect(status("a", State::Suspended)).await, "", "not whole yet");
    assert!(!watch.expect(Seen::Synced).await.is_empty());
    agent.suspend(&channel, "b").await;
    let token = watch.expect(status("b", State::Suspended)).await;
    assert!(!token.is_empty());
    drop(watch);

    // What happens meanwhile is told to who comes back with the token, each once and as it stands now; what it saw before is not.
    agent.release(&channel, "a").await;
    agent.suspend(&channel, "c").await;
    agent.release(&channel, "c").await;
    agent.suspend(&channel, "c").await;
    let mut watch = Watch::open(&channel, &token, &[]).await.unwrap();
    assert_eq!(watch.expect(status("a", State::Clear)).await, "");
    let token = watch.expect(status("c", State::Suspended)).await;
    assert_eq!(watch.expect(Seen::Synced).await, token);

    // Some alone.
    let mut narrow = Watch::open(&channel, &token, &["b"]).await.unwrap();
    narrow.expect(Seen::Synced).await;
    agent.release(&channel, "c").await;
    agent.release(&channel, "b").await;
    narrow.expect(status("b", State::Clear)).await;
    watch.expect(status("c", State::Clear)).await;
    let token = watch.expect(status("b", State::Clear)).await;
    controller.stop().await;

    // Another life of the controller does not know what was told before, and says so.
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let mut watch = Watch::open(&channel, &token, &[]).await.unwrap();
    watch.expect(Seen::Reset).await;
    watch.expect(Seen::Synced).await;
    for (token, only) in [("nonsense", vec![]), ("", vec!["x"; 1_001]), ("", vec!["a b"])] {
        let refused = Watch::open(&channel, token, &only).await.err().unwrap();
        assert_eq!(refused.code(), Code::InvalidArgument, "{token} {}", only.len());
    }
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_and_the_end_of_a_measures_time_are_changes_too() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel, vec![tenant("a"), tenant("b")], true).await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let mut watch = Watch::open(&channel, "", &[]).await.unwrap();
    watch.expect(Seen::Reset).await;
    watch.expect(Seen::Synced).await;
    import(&channel, vec![Tenant { name: "Bob".into(), ..tenant("b") }], false).await;
    watch.expect(status("b", State::Clear)).await;

    // The node tells of a measure that ends in two seconds, and never again of it.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let at = Timestamp::from_nanos(u64::try_from(now.as_nanos()).unwrap());
    let (node, tenant, rule) = ("n1".parse().unwrap(), "a".parse().unwrap(), "r".parse().unwrap());
    let violation = Violation {
        id: ViolationId::new(&node, &tenant, &rule, at),
        node,
        tenant: tenant.clone(),
        rule,
        clause: "p/c".into(),
        opened: at,
        last_seen: at,
        closed: None,
        state: ViolationState::Open,
        strike: 1,
        alerts: 1,
        evidence: Alert {
            class: Class::PortscanVertical,
            tenant,
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
        id: DecisionId("n1.a.1".parse().unwrap()),
        tenant: "a".parse().unwrap(),
        violation: Some(violation.id.clone()),
        clause: "p/c".into(),
        origin: Origin::Policy {
            policy: "p".parse().unwrap(),
            version: 1,
            rule: "r".parse().unwrap(),
            step: 1,
        },
        action: Action::Block,
        scope: Scope::All,
        rate: None,
        connections: None,
        until: Until::After(Duration::from_secs(2)),
        at,
        mode: Mode::Enforce,
        reason: "scanned".into(),
        softened: None,
        reckoning: None,
    };
    agent.report(1, Report::Violation(violation)).await;
    agent.report(2, Report::Decision(decision.clone())).await;
    let measure = Measure { decision, expires: Some(at + Duration::from_secs(2)) };
    agent.report(3, Report::Standing { measure, at }).await;
    agent.acknowledged(3).await;
    // A warning before, if the three were not on disk at once; and one after, since the episode is still open.
    while watch.next().await.0 != status("a", State::Blocked) {}
    watch.expect(status("a", State::Warned)).await;
    controller.stop().await;
}
