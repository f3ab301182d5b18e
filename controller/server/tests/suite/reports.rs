//! Violations as reports to others: of every class as the controller writes them, held against the schemas of those who read them.

#[path = "../../../reports/tests/common/mod.rs"]
mod python;

use crate::common::{self, Agent, Running, alice, import};
use data_encoding::BASE64;
use reeve_policy::{
    Alert, Class, HeaderSample, Loss, Metric, Outcome, Protocol, Report, Target, TargetSeen, Timestamp,
    Violation, ViolationId, ViolationState, Window,
};
use reeve_proto::operator::v1::audit_service_client::AuditServiceClient;
use reeve_proto::operator::v1::export_report_request::Format;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{ExportReportRequest, ListAuditRequest};
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Status};

const SETTINGS: &str =
    "[reports]\norganization = \"Example Høsting B.V.\"\ncontact = \"abuse@example.net\"\n";

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_700_000_000 + secs)
}

/// From 203.0.113.10, port 40000, to port 25 of 198.51.100.7, by TCP; the flags are the last that is kept.
fn headers() -> Vec<u8> {
    let mut headers = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 203, 0, 113, 10, 198, 51, 100, 7];
    headers.extend([0x9c, 0x40, 0, 25, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
    headers
}

/// A violation of a class, with headers and targets, or with nothing but numbers.
fn violation(class: Class, is_whole: bool) -> Violation {
    let (node, tenant) = ("n1".parse().unwrap(), "alice".parse().unwrap());
    let rule = format!("{class}-{is_whole}").parse().unwrap();
    let sample = HeaderSample { at: at(11), wire_len: 40, headers: headers(), is_forged: false };
    let target = Target { address: [198, 51, 100, 7].into(), protocol: Protocol::Tcp, port: Some(25) };
    let seen = TargetSeen { target, first: at(10), last: at(60), outcome: Outcome::Silent };
    let metric = |name: &'static str, value: f64| Metric { name: name.into(), value, threshold: Some(20.0) };
    Violation {
        id: ViolationId::new(&node, &tenant, &rule, at(10)),
        node,
        rule,
        clause: "p/c".into(),
        opened: at(10),
        last_seen: at(60),
        closed: None,
        state: ViolationState::Open,
        strike: 1,
        alerts: 1,
        evidence: Alert {
            class,
            tenant: tenant.clone(),
            at: at(60),
            window: Window { start: at(10), end: at(60) },
            metrics: vec![metric("requests", 4_000.0), metric("messages", 300.0)],
            confidence_percent: 90,
            targets: if is_whole { vec![seen] } else { Vec::new() },
            samples: if is_whole { vec![sample] } else { Vec::new() },
            loss: Loss::default(),
            is_suspicion: false,
        },
        tenant,
    }
}

async fn export(channel: &Channel, id: &str, format: Format) -> Result<(Vec<u8>, String), Status> {
    let request = ExportReportRequest { violation: id.into(), format: format.into() };
    let answer = OperatorServiceClient::new(channel.clone()).export_report(request).await?.into_inner();
    Ok((answer.report, answer.media_type))
}

async fn start(dir: &std::path::Path, settings: &str) -> (Running, Channel, Agent) {
    common::set(dir, settings);
    let controller = Running::start(dir).await;
    let channel = controller.plain().await;
    import(&channel, vec![alice()], true).await;
    let (agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    (controller, channel, agent)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_class_is_reported_as_those_who_read_it_require() {
    let dir = tempfile::tempdir().unwrap();
    let (controller, channel, mut agent) = start(dir.path(), SETTINGS).await;
    let all: Vec<Violation> =
        Class::ALL.into_iter().flat_map(|class| [true, false].map(|whole| violation(class, whole))).collect();
    for (number, violation) in (1..).zip(&all) {
        agent.report(number, Report::Violation(violation.clone())).await;
    }
    agent.acknowledged(all.len() as u64).await;

    let mut cases = Vec::new();
    for violation in &all {
        let (class, id) = (violation.evidence.class, violation.id.to_string());
        let is_whole = !violation.evidence.samples.is_empty();
        // What a forged packet says of itself is not whose it is, and where nothing was kept the tenant's first address stands for it.
        let is_seen = is_whole && class != Class::SpoofSource;
        let source = if is_seen { "203.0.113.10" } else { "203.0.113.0" };
        let is_mail = matches!(class, Class::Spam | Class::SpamMailbomb | Class::SmtpRelay);
        if is_mail {
            let (mail, media_type) = export(&channel, &id, Format::Arf).await.unwrap();
            assert_eq!(media_type, "message/rfc822");
            let read = reeve_reports::read_mail(&mail, at(100)).unwrap().complaints.remove(0);
            assert_eq!(read.source.unwrap().addr().to_string(), source);
            assert_eq!(read.reporter.email, "abuse@example.net");
            assert!(!String::from_utf8_lossy(&mail).to_lowercase().contains("alice"));
        } else {
            let refused = export(&channel, &id, Format::Arf).await.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition, "{class}");
        }
        if class == Class::Quota {
            let refused = export(&channel, &id, Format::Xarf).await.unwrap_err();
            assert!(refused.message().contains("nobody is told of `quota`"), "{refused}");
            continue;
        }
        let (text, media_type) = export(&channel, &id, Format::Unspecified).await.unwrap();
        assert_eq!(media_type, "application/json");
        let report: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(report["source_identifier"], source, "{class}");
        assert_eq!(report["reporter"]["org"], "Example Høsting B.V.");
        let port = is_seen.then_some(40_000);
        assert_eq!(report["source_port"].as_u64(), port, "{class}");
        // Who the customer is stands neither in the report nor in its evidence; nor does a packet.
        let evidence = BASE64.decode(report["evidence"][0]["payload"].as_str().unwrap().as_bytes()).unwrap();
        let evidence = String::from_utf8(evidence).unwrap();
        assert!(evidence.contains("of ours"), "{evidence}");
        assert_eq!(evidence.contains("No packet of the customer's own"), !is_seen, "{evidence}");
        for told in [&evidence, &String::from_utf8(text).unwrap()] {
            assert!(!told.to_lowercase().contains("alice"), "{told}");
        }
        cases.push(json!({ "name": format!("{class} {is_whole}"), "lacks": null, "report": report }));
    }
    assert_eq!(cases.len(), 52);
    let input = serde_json::to_vec(&cases).unwrap();
    let (is_content, said) =
        tokio::task::spawn_blocking(move || python::script("check", &input)).await.unwrap();
    assert!(is_content && said.contains("52 checked"), "{said}");

    // Whoever looks is on the record; what is not there is not found.
    let id = all[0].id.to_string();
    let list = ListAuditRequest {
        act: "ExportReport".into(),
        subject: format!("violation/{id}"),
        ..Default::default()
    };
    let entries =
        AuditServiceClient::new(channel.clone()).list_audit(list).await.unwrap().into_inner().entries;
    assert_eq!(entries.len(), 2);
    for (id, code) in [("nothing", Code::NotFound), ("", Code::InvalidArgument)] {
        assert_eq!(export(&channel, id, Format::Xarf).await.unwrap_err().code(), code);
    }
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reports_who_is_not_named() {
    let dir = tempfile::tempdir().unwrap();
    let (controller, channel, mut agent) = start(dir.path(), "").await;
    let violation = violation(Class::PortscanVertical, true);
    agent.report(1, Report::Violation(violation.clone())).await;
    agent.acknowledged(1).await;
    let refused = export(&channel, &violation.id.to_string(), Format::Xarf).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("[reports]"), "{refused}");
    controller.stop().await;
}
