//! What decisions rest on is kept, whatever is seen later, and of violations from before as far as they tell.

use crate::common::{self, Agent, Running};
use reeve_policy::{
    Action, Alert, Class, Decision, DecisionId, HeaderSample, Loss, Mode, Name, Origin, Report, Scope,
    Timestamp, Until, Violation, ViolationId, ViolationState, Window,
};
use reeve_proto::operator::v1::audit_service_client::AuditServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{ExportEvidenceRequest, GetViolationRequest, ListAuditRequest};
use tonic::transport::Channel;
use tonic::{Code, Status};

fn at(second: u64) -> Timestamp {
    Timestamp::from_secs(1_000 + second)
}

/// A violation that was opened at second 0, as of an alert with so many samples.
fn violation(second: u64, samples: u8) -> Violation {
    let (node, tenant, rule): (_, _, Name) =
        ("n1".parse().unwrap(), "alice".parse().unwrap(), "portscan".parse().unwrap());
    let headers = |number| HeaderSample {
        at: at(0),
        wire_len: 40,
        headers: vec![0x45, number],
        is_forged: number == 1,
    };
    Violation {
        id: ViolationId::new(&node, &tenant, &rule, at(0)),
        node,
        tenant: tenant.clone(),
        rule,
        clause: "p/c".into(),
        opened: at(0),
        last_seen: at(second),
        closed: None,
        state: ViolationState::Open,
        strike: 1,
        alerts: 1 + second,
        evidence: Alert {
            class: Class::PortscanVertical,
            tenant,
            at: at(second),
            window: Window { start: at(0), end: at(second) },
            metrics: Vec::new(),
            confidence_percent: 90,
            targets: Vec::new(),
            samples: (0..samples).map(headers).collect(),
            loss: Loss::default(),
            is_suspicion: false,
        },
    }
}

fn decision(second: u64, number: u32) -> Report {
    let violation = violation(second, 0);
    Report::Decision(Decision {
        id: DecisionId(format!("{}.{number}", violation.id).parse().unwrap()),
        tenant: violation.tenant,
        violation: Some(violation.id),
        clause: "p/c".into(),
        origin: Origin::Policy {
            policy: "p".parse().unwrap(),
            version: 1,
            rule: violation.rule,
            step: number,
        },
        action: Action::Notify,
        scope: Scope::All,
        rate: None,
        until: Until::Released,
        at: at(second),
        mode: Mode::Observe,
        reason: String::new(),
        connections: None,
        softened: None,
        reckoning: None,
    })
}

/// Of each alert that is kept: its second, its samples, the number of its decision.
async fn kept(channel: &Channel) -> Vec<(u64, usize, String)> {
    let id = violation(0, 0).id.to_string();
    let mut client = OperatorServiceClient::new(channel.clone());
    let answer = client.get_violation(GetViolationRequest { id }).await.unwrap().into_inner();
    let told = |one: reeve_proto::operator::v1::Evidence| {
        let alert = Alert::try_from(one.alert.unwrap()).unwrap();
        assert!(alert.samples.iter().all(|sample| sample.is_forged == (sample.headers[1] == 1)));
        let number = one.decision.rsplit_once('.').map_or("", |(_, number)| number).to_owned();
        (alert.at.since(at(0)).as_secs(), alert.samples.len(), number)
    };
    answer.evidence.into_iter().map(told).collect()
}

fn expect(list: &[(u64, usize, &str)]) -> Vec<(u64, usize, String)> {
    list.iter().map(|(second, samples, number)| (*second, *samples, (*number).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_decision_rests_on_outlives_what_is_seen_later() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 7).await.unwrap();
    let reports = [
        Report::Violation(violation(0, 15)),
        decision(0, 1),
        Report::Violation(violation(5, 2)),
        Report::Violation(violation(65, 3)),
        decision(65, 2),
        Report::Violation(violation(70, 0)),
    ];
    for (number, report) in (1..).zip(&reports) {
        agent.report(number, report.clone()).await;
    }
    agent.acknowledged(6).await;
    let whole = expect(&[(0, 15, "1"), (65, 3, "2"), (70, 0, "")]);
    assert_eq!(kept(&channel).await, whole);
    // The same again, as after a life of the spool that was lost.
    drop(agent);
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 8).await.unwrap();
    for (number, report) in (1..).zip(&reports) {
        agent.report(number, report.clone()).await;
    }
    agent.acknowledged(6).await;
    assert_eq!(kept(&channel).await, whole);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_violation_from_before_is_kept_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let (mut agent, _) = Agent::greet(controller.plain().await, "n1", 7).await.unwrap();
    agent.report(1, Report::Violation(violation(0, 15))).await;
    agent.report(2, decision(0, 1)).await;
    agent.acknowledged(2).await;
    drop(agent);
    controller.stop().await;
    // As a controller left it that kept nothing beside the violation.
    assert_eq!(common::execute(dir.path(), "DELETE FROM evidence").await, 1);

    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    assert_eq!(kept(&channel).await, expect(&[(0, 15, "1")]));
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 7).await.unwrap();
    agent.report(3, Report::Violation(violation(5, 2))).await;
    agent.acknowledged(3).await;
    assert_eq!(kept(&channel).await, expect(&[(0, 15, "1"), (5, 2, "")]));
    controller.stop().await;
}

/// The file that a violation's headers are written to.
async fn export(channel: &Channel, request: ExportEvidenceRequest) -> Result<Vec<u8>, Status> {
    let mut chunks = OperatorServiceClient::new(channel.clone()).export_evidence(request).await?.into_inner();
    let mut file = Vec::new();
    while let Some(part) = chunks.message().await? {
        assert!(part.chunk.len() <= 64 << 10);
        file.extend(part.chunk);
    }
    Ok(file)
}

#[tokio::test(flavor = "multi_thread")]
async fn its_headers_are_written_out_as_a_file_and_whoever_looks_is_on_the_record() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    common::import(&channel, vec![common::alice()], true).await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 7).await.unwrap();
    let reports = [
        Report::Violation(violation(0, 15)),
        decision(0, 1),
        Report::Violation(violation(65, 3)),
        decision(65, 2),
    ];
    for (number, report) in (1..).zip(&reports) {
        agent.report(number, report.clone()).await;
    }
    agent.acknowledged(4).await;

    // The same bytes as whoever is told of the violation writes with what all programs write them with.
    let mut dossier = reeve_policy::Dossier::new(violation(0, 15));
    for report in &reports[1..] {
        match report {
            Report::Violation(violation) => dossier.see(violation),
            Report::Decision(decision) => dossier.decide(decision),
            other => panic!("{other:?}"),
        }
    }
    let key = violation(0, 0).id.to_string();
    let asked = |decision| ExportEvidenceRequest { violation: key.clone(), decision, ..Default::default() };
    let all = export(&channel, asked(0)).await.unwrap();
    assert_eq!(all, dossier.capture(&dossier.all(), Some("Alice")));
    assert_eq!(all[..4], [0x0a, 0x0d, 0x0d, 0x0a], "a section header block");
    let second = export(&channel, asked(2)).await.unwrap();
    assert_eq!(second, dossier.capture(&[dossier.behind(2).unwrap()], Some("Alice")));
    assert!(second.len() < all.len());

    let none = export(&channel, asked(3)).await.unwrap_err();
    assert_eq!(none.code(), Code::NotFound);
    let other = ExportEvidenceRequest { violation: "nothing".into(), ..Default::default() };
    assert_eq!(export(&channel, other).await.unwrap_err().code(), Code::NotFound);
    let empty = ExportEvidenceRequest::default();
    assert_eq!(export(&channel, empty).await.unwrap_err().code(), Code::InvalidArgument);
    let format = ExportEvidenceRequest { format: 9, ..asked(0) };
    assert_eq!(export(&channel, format).await.unwrap_err().code(), Code::InvalidArgument);

    let list = ListAuditRequest {
        act: "ExportEvidence".into(),
        subject: format!("violation/{key}"),
        ..Default::default()
    };
    let entries =
        AuditServiceClient::new(channel.clone()).list_audit(list).await.unwrap().into_inner().entries;
    assert_eq!(entries.len(), 4, "each look at it, also in vain");
    assert!(entries.iter().all(|entry| entry.who == "local" && entry.outcome == "asked"), "{entries:?}");
    controller.stop().await;
}
