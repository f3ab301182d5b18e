//! A case as one signed file: what is in it, that it holds, and that whatever is changed is named.

use std::collections::BTreeMap;

use crate::common::{Agent, Running, alice, import};
use reeve_audit::bundle::{self, Manifest};
use reeve_audit::{Line, PublicKey, Signer};
use reeve_policy::{
    Action, Alert, Class, Decision, DecisionId, HeaderSample, Loss, Measure, Mode, Origin, Report, Scope,
    Timestamp, Until, Violation, ViolationId, ViolationState, Window, language::Policy,
};
use reeve_proto::operator::v1::audit_service_client::AuditServiceClient;
use reeve_proto::operator::v1::case_service_client::CaseServiceClient;
use reeve_proto::operator::v1::{AddCaseNoteRequest, ExportCaseRequest, ListAuditRequest, ListCasesRequest};
use serde_json::Value;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// An archive is made of blocks.
const BLOCK: usize = 512;

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_700_000_000 + secs)
}

fn violation() -> Violation {
    let (node, tenant, rule) = ("n1".parse().unwrap(), "alice".parse().unwrap(), "portscan".parse().unwrap());
    let mut headers = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 203, 0, 113, 10, 198, 51, 100, 7];
    headers.extend([0x9c, 0x40, 0, 25, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
    Violation {
        id: ViolationId::new(&node, &tenant, &rule, at(10)),
        node,
        rule,
        clause: "baseline/scan".into(),
        opened: at(10),
        last_seen: at(60),
        closed: None,
        state: ViolationState::Open,
        strike: 1,
        alerts: 1,
        evidence: Alert {
            class: Class::PortscanVertical,
            tenant: tenant.clone(),
            at: at(60),
            window: Window { start: at(10), end: at(60) },
            metrics: Vec::new(),
            confidence_percent: 90,
            targets: Vec::new(),
            samples: vec![HeaderSample { at: at(11), wire_len: 40, headers, is_forged: false }],
            loss: Loss::default(),
            is_suspicion: false,
        },
        tenant,
    }
}

fn decision(violation: &Violation) -> Decision {
    let baseline = Policy::preset("baseline").unwrap();
    Decision {
        id: DecisionId(format!("{}.1", violation.id).parse().unwrap()),
        tenant: violation.tenant.clone(),
        violation: Some(violation.id.clone()),
        clause: violation.clause.clone(),
        origin: Origin::Policy {
            policy: baseline.name.clone(),
            version: baseline.version,
            rule: violation.rule.clone(),
            step: 1,
        },
        action: Action::Suspend,
        scope: Scope::All,
        rate: None,
        until: Until::Released,
        at: violation.last_seen,
        mode: Mode::Enforce,
        reason: "25 ports".into(),
        connections: None,
        softened: None,
        reckoning: None,
    }
}

async fn export(channel: &Channel, id: &str) -> Result<Vec<u8>, Status> {
    let request = ExportCaseRequest { id: id.into() };
    let mut chunks = CaseServiceClient::new(channel.clone()).export_case(request).await?.into_inner();
    let mut file = Vec::new();
    while let Some(part) = chunks.message().await? {
        assert!(part.chunk.len() <= 64 << 10);
        file.extend(part.chunk);
    }
    Ok(file)
}

/// What is in an archive, by an own reading of its headers: names and sizes in octal, content in blocks.
fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let (mut rest, mut files) = (archive, BTreeMap::new());
    while rest[0] != 0 {
        let text = |from: usize, to: usize| {
            String::from_utf8(rest[from..to].iter().copied().take_while(|byte| *byte != 0).collect()).unwrap()
        };
        let size = usize::from_str_radix(&text(124, 136), 8).unwrap();
        assert!(files.insert(text(0, 100), rest[BLOCK..BLOCK + size].to_vec()).is_none());
        rest = &rest[BLOCK + size.next_multiple_of(BLOCK)..];
    }
    files
}

fn changed(archive: &[u8], from: &str, to: &str) -> Vec<u8> {
    let at = archive.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    assert_eq!(from.len(), to.len());
    [&archive[..at], to.as_bytes(), &archive[at + from.len()..]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_is_written_out_whole_signed_and_whatever_is_changed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel, vec![alice()], true).await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let violation = violation();
    let decided = decision(&violation);
    let standing = Measure { decision: decided.clone(), expires: None };
    let reports = [
        Report::Violation(violation.clone()),
        Report::Decision(decided.clone()),
        Report::Standing { measure: standing, at: at(61) },
    ];
    let told = reports.len() as u64;
    for (number, report) in (1..).zip(reports) {
        agent.report(number, report).await;
    }
    agent.acknowledged(told).await;
    let mut client = CaseServiceClient::new(channel.clone());
    let id = client.list_cases(ListCasesRequest::default()).await.unwrap().into_inner().cases[0].id.clone();
    let text = "called her, she calls back".to_owned();
    let note = AddCaseNoteRequest { id: id.clone(), text, ..Default::default() };
    client.add_case_note(note).await.unwrap();

    let archive = export(&channel, &id).await.unwrap();
    let mut audit = AuditServiceClient::new(channel.clone());
    let key = audit.list_audit(ListAuditRequest::default()).await.unwrap().into_inner().key;
    let key: PublicKey = key.parse().unwrap();
    let verify = |archive: &[u8], known: &[PublicKey]| bundle::verify(&mut &archive[..], known);
    let manifest: Manifest = verify(&archive, &[key]).unwrap();
    assert_eq!((manifest.case.as_str(), manifest.key), (id.as_str(), key));

    // All of it is there, and says what was reported.
    let files = files(&archive);
    let baseline = Policy::preset("baseline").unwrap();
    let policy = format!("policies/baseline@{}.toml", baseline.version);
    let own = [format!("headers/{}.pcapng", violation.id), format!("violations/{}.json", violation.id)];
    let mut expected: Vec<&str> = vec![
        "audit.jsonl",
        "case.json",
        "decisions.jsonl",
        "manifest.json",
        "manifest.sig",
        "measures.jsonl",
    ];
    expected.extend(["notices.jsonl", &policy, &own[0], &own[1]]);
    expected.sort_unstable();
    assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>(), expected);
    let json = |name: &str| serde_json::from_slice::<Value>(&files[name]).unwrap();
    let case = json("case.json");
    assert_eq!((case["id"].as_str(), case["tenant"].as_str()), (Some(id.as_str()), Some("alice")));
    assert_eq!(case["entries"][0]["text"], "called her, she calls back");
    assert_eq!((&case["story_is_whole"], &case["audit_is_whole"]), (&true.into(), &true.into()));
    assert_eq!(case["policies_missing"], serde_json::json!([]));
    assert_eq!(files[&own[0]][..4], [0x0a, 0x0d, 0x0d, 0x0a], "a section header block");
    assert_eq!(json(&own[1])["violation"]["id"], violation.id.to_string());
    assert_eq!(json("decisions.jsonl")["id"], decided.id.to_string());
    assert_eq!(json("measures.jsonl")["counters"]["packets"], 0);
    assert!(String::from_utf8_lossy(&files["notices.jsonl"]).contains("\"recipient\":\"alice\""));
    let text = String::from_utf8(files[&policy].clone()).unwrap();
    assert_eq!(Policy::parse("policy", &text).unwrap().version, baseline.version);
    // The log's entries about it, this look as well, and behind them a checkpoint.
    let log = String::from_utf8(files["audit.jsonl"].clone()).unwrap();
    let lines: Vec<Line> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let acts: Vec<&str> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Entry(link) => {
                assert_eq!(link.entry.subject, format!("case/{id}"));
                Some(link.entry.act.as_str())
            }
            Line::Checkpoint(_) => None,
        })
        .collect();
    assert_eq!(acts, ["AddCaseNote", "AddCaseNote", "ExportCase"]);
    assert!(matches!(lines.last(), Some(Line::Checkpoint(point)) if point.key == key && point.is_signed()));

    // A file, the manifest, and the key that it names, each changed.
    let check = |archive: &[u8], known: &[PublicKey], file: &str| {
        let error = verify(archive, known).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{file}:")), "{error}");
    };
    check(&changed(&archive, "she calls back", "she pays twice"), &[key], "case.json");
    let (from, to) = (format!("\"case\": \"{id}\""), format!("\"case\": \"{}\"", "X".repeat(id.len())));
    check(&changed(&archive, &from, &to), &[key], "manifest.json");
    let stranger = Signer::open(&dir.path().join("stranger.key")).unwrap();
    let (from, to) = (format!("\"key\": \"{key}\""), format!("\"key\": \"{}\"", stranger.public()));
    check(&changed(&archive, &from, &to), &[], "manifest.json");
    // One that a stranger signs anew holds for whoever names no key, and for nobody else.
    let mut forged = bundle::Bundle::new(&id, at(100), &stranger);
    let mut bytes = forged.file("case.json", &files["case.json"]).unwrap();
    bytes.extend(forged.finish(&stranger).unwrap());
    assert_eq!(verify(&bytes, &[]).unwrap().key, stranger.public());
    check(&bytes, &[key], "manifest.json");

    for (id, code) in [("C0199F3C2A5B1D2E3F40", Code::NotFound), ("", Code::InvalidArgument)] {
        assert_eq!(export(&channel, id).await.unwrap_err().code(), code);
    }
    controller.stop().await;
}
