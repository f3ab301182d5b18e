//! Records: what is played again gives what ran live, from headers alone; and what is no record, or not the same, is told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reeve_agent::record::{RecordError, Recorded, play};
use reeve_core::detect::quota::Tally;
use reeve_core::engine::{EngineConfig, Input, Output};
use reeve_core::stream::StreamEvent;
use reeve_core::stream::smtp::MailEvent;
use reeve_core::topology::{TenantIx, Vantage, VantageKind};
use reeve_core::{Frame, LinkType, Passage, VantageId};
use reeve_policy::language::Policy;
use reeve_policy::{CheckVerdict, Mode, Tenant, TenantId, Timestamp, Usage};
use reeve_replay::json_line;
use reeve_replay::{FileSource, Progress};

fn config() -> EngineConfig {
    EngineConfig {
        node: "n1".parse().unwrap(),
        mode: Mode::Enforce,
        policy: Arc::new(Policy::preset("baseline").unwrap()),
        flow_bytes: 4 << 20,
        seed: 7,
        shards: 1,
    }
}

fn net(text: &str) -> IpNet {
    text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).unwrap()
}

fn topology(addresses: &str) -> Input {
    let tenant =
        Tenant { addresses: addresses.split(';').map(net).collect(), ..Tenant::new("a".parse().unwrap()) };
    let vantage =
        Vantage { id: VantageId(0), interface: "any".into(), kind: VantageKind::Mirror, sampling: 1 };
    Input::Topology { tenants: vec![Arc::new(tenant)], vantages: vec![vantage], at: Timestamp::EPOCH }
}

/// Records a capture and what came of it; how many outputs there were.
fn record(capture: &Path, addresses: &str, path: &Path, limit: u64) -> usize {
    let mut core = Recorded::recording(config(), path, limit).unwrap();
    core.handle(topology(addresses));
    let mut source = FileSource::open(capture).unwrap();
    let (mut outputs, mut last) = (0, Timestamp::EPOCH);
    loop {
        let progress = source.poll(&mut |frame| {
            core.handle_frame(&frame);
            last = last.max(frame.at);
        });
        while core.poll().is_some() {
            outputs += 1;
        }
        match progress {
            Ok(Progress::Ended) | Err(_) => break,
            Ok(_) => {}
        }
    }
    core.handle(Input::Tick { at: last + Duration::from_secs(5) });
    while core.poll().is_some() {
        outputs += 1;
    }
    outputs
}

/// Captures beside the repository, with their tenants; none where they are not there.
fn captures() -> Vec<(PathBuf, String)> {
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus"));
    let corpus = std::env::var_os("REEVE_CORPUS").map_or(beside, PathBuf::from);
    let Ok(mut manifest) = csv::Reader::from_path(corpus.join("manifest.csv")) else {
        assert!(std::env::var_os("REEVE_REQUIRE_CORPUS").is_none(), "no corpus at {}", corpus.display());
        return Vec::new();
    };
    let rows = manifest.records().map(Result::unwrap);
    let rows = rows.map(|row| (corpus.join(&row[0]), row[2].to_owned()));
    rows.filter(|(path, tenant)| !tenant.is_empty() && path.exists()).collect()
}

#[test]
fn a_replay_from_headers_gives_what_ran_live() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("record");
    let mut all = 0;
    // One of nine: every kind of traffic is among them. Of mail all, since what is read in payload is not in the record.
    let is_mail = |path: &Path| ["postfix", "bot_"].iter().any(|word| path.to_string_lossy().contains(word));
    let chosen = captures().into_iter().enumerate().filter(|(n, (path, _))| n % 9 == 0 || is_mail(path));
    for (capture, tenant) in chosen.map(|(_, chosen)| chosen) {
        let outputs = record(&capture, &tenant, &path, u64::MAX);
        let played = play(&path, None, |_| {}).unwrap();
        assert_eq!(
            (played.equal, played.beyond, played.is_cut),
            (outputs, 0, false),
            "{}",
            capture.display()
        );
        all += outputs;
    }
    assert!(captures().is_empty() || all > 0, "some of them are abuse");
}

/// A suspected relay is asked, and its answer is in the record: the replay comes to the same, and only tells whom it would ask.
#[test]
fn a_replay_of_a_question_gives_what_its_answer_gave_live() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("record");
    let policy = "[policy]\nname = \"p\"\nversion = 1\nextends = \"baseline\"\n[relay_check]\nenabled = true\n\
        from = \"probe@asker.example\"\nto = \"probe@elsewhere.example\"\n";
    let policy = Arc::new(Policy::parse("p.toml", policy).unwrap());
    let mut core = Recorded::recording(EngineConfig { policy, ..config() }, &path, u64::MAX).unwrap();
    core.handle(topology("203.0.113.10/32"));
    let at = |millis| Timestamp::from_nanos(1_700_000_000_000_000_000 + millis * 1_000_000);
    for place in 0..10_u32 {
        let mail = |is_client, peer: [u8; 4], size| StreamEvent::Mail {
            tenant: TenantIx(0),
            local: [203, 0, 113, 10].into(),
            peer: peer.into(),
            port: 25,
            is_client,
            event: MailEvent::SealedMessage { size },
        };
        let (size, millis) = (700 + place.wrapping_mul(2_654_435_761) % 9_000, u64::from(place) * 10_000);
        for (millis, said) in [
            (millis, mail(false, [198, 51, 100, 7], size)),
            (millis + 700, mail(true, [20, 0, 0, 10 + (place % 5) as u8], size + 260)),
        ] {
            core.handle(Input::Tick { at: at(millis) });
            core.handle(Input::Said { said: vec![said], at: at(millis) });
        }
    }
    let tenant: TenantId = "a".parse().unwrap();
    let answer = |verdict, millis| Input::RelayChecked {
        tenant: tenant.clone(),
        verdict,
        is_outside: true,
        server: None,
        by: String::new(),
        at: at(millis),
    };
    core.handle(answer(CheckVerdict::Deferred, 100_000));
    core.handle(Input::Tick { at: at(1_100_000) });
    core.handle(answer(CheckVerdict::Accepted, 1_101_000));
    let outputs: Vec<Output> = std::iter::from_fn(|| core.poll()).collect();
    drop(core);
    let asked = outputs.iter().filter(|output| matches!(output, Output::CheckRelay { .. })).count();
    let imposed = outputs.iter().filter(|output| matches!(output, Output::Imposed(_))).count();
    assert_eq!((asked, imposed), (2, 1));
    let mut lines = Vec::new();
    let played = play(&path, None, |output| lines.push(json_line(&output).unwrap())).unwrap();
    assert_eq!((played.equal, played.beyond, played.is_cut), (outputs.len(), 0, false));
    let live: Vec<String> = outputs.iter().map(|output| json_line(output).unwrap()).collect();
    assert_eq!(lines, live);
}

#[test]
fn a_record_holds_no_payload() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, path) = (folder.path().join("one.pcap"), folder.path().join("record"));
    let mut packet = vec![0x45, 0, 0, 60, 0, 0, 0, 0, 64, 6, 0, 0, 203, 0, 113, 10, 20, 0, 0, 1];
    packet.extend([0x9c, 0x40, 0, 25, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 4, 0, 0, 0, 0, 0]);
    packet.extend(b"secret words to bob.");
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101, 1_700_000_000, 0, 60, 60] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(packet);
    std::fs::write(&capture, bytes).unwrap();
    record(&capture, "203.0.113.10/32", &path, u64::MAX);
    let written = std::fs::read(&path).unwrap();
    let has = |what: &[u8]| written.windows(what.len()).any(|window| window == what);
    assert!(has(&[203, 0, 113, 10, 20, 0, 0, 1]) && !has(b"secret"));
    assert_eq!(play(&path, None, |_| {}).unwrap().frames, 1);
}

/// A datagram of a tenant's.
fn datagram(at: Timestamp, data: &[u8]) -> Frame<'_> {
    let (vantage, passage) = (VantageId(0), Passage::Unknown);
    Frame { at, vantage, passage, owner: None, link: LinkType::RawIp, vlan: None, data, wire_len: 1_000 }
}

#[test]
fn what_was_counted_before_the_record_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("record");
    let tenant = Tenant {
        addresses: vec![net("203.0.113.10")],
        quota_bytes: Some(100_000),
        ..Tenant::new("a".parse().unwrap())
    };
    let vantage =
        Vantage { id: VantageId(0), interface: "any".into(), kind: VantageKind::Mirror, sampling: 1 };
    let start: Timestamp = "2026-11-30T23:59:59Z".parse().unwrap();
    let usage = Usage {
        tenant: "a".parse().unwrap(),
        month: "2026-11".parse().unwrap(),
        received: 60_000,
        sent: 15_000,
    };
    let mut core = Recorded::recording(config(), &path, u64::MAX).unwrap();
    let (tenants, vantages) = (vec![Arc::new(tenant)], vec![vantage]);
    core.handle(Input::Topology { tenants, vantages, at: start });
    core.handle(Input::Usage { tallies: vec![Tally { usage, told: 0 }] });
    let mut data = vec![0x45, 0, 3, 0xe8, 0, 0, 0, 0, 64, 17, 0, 0, 203, 0, 113, 10, 20, 0, 0, 1];
    data.extend([0x9c, 0x40, 0, 99, 3, 0xd4, 0, 0]);
    let mut live = Vec::new();
    for number in 0..120 {
        core.handle_frame(&datagram(start + Duration::from_millis(number * 20), &data));
        live.extend(std::iter::from_fn(|| core.poll()));
    }
    let told: Vec<bool> = live
        .iter()
        .filter_map(|output| match output {
            Output::Alert(alert) => Some(alert.is_suspicion),
            _ => None,
        })
        .collect();
    // Both in November; of the seventy packets in December, less than the plan's early part.
    assert_eq!(told, [true, false]);
    let written = core.engine().usage();
    assert_eq!(written.iter().map(|tally| tally.usage.sent).collect::<Vec<_>>(), [65_000, 70_000]);
    drop(core);
    for shards in [1, 2] {
        let mut replayed = Vec::new();
        let played = play(&path, Some(shards), |output| replayed.push(output)).unwrap();
        assert_eq!((played.equal, played.beyond), (live.len(), 0));
        assert_eq!(replayed, live);
    }
}

#[test]
fn what_is_cut_short_is_played_and_what_differs_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("record");
    let all = captures();
    let Some((capture, tenant)) = all
        .iter()
        .find(|(path, _)| path.ends_with("abuse/nmap_sS.pcap.gz"))
        .or_else(|| all.iter().find(|(path, _)| path.to_string_lossy().contains("/nmap")))
    else {
        assert!(all.is_empty(), "there is no capture of nmap");
        return;
    };
    let outputs = record(capture, tenant, &path, u64::MAX);
    assert!(outputs > 0);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    assert!(play(&path, None, |_| {}).unwrap().is_cut);
    // Live would have told of another class.
    let text = String::from_utf8_lossy(&whole);
    assert!(text.contains("portscan.vertical"));
    let forged: Vec<u8> = {
        let needle = b"portscan.vertical";
        let at = whole.windows(needle.len()).position(|window| window == needle).unwrap();
        let mut bytes = whole.clone();
        // The first one is the policy's; the last is an output's.
        let last = whole.windows(needle.len()).rposition(|window| window == needle).unwrap_or(at);
        bytes[last..last + needle.len()].copy_from_slice(b"portscan.sideways");
        bytes
    };
    std::fs::write(&path, forged).unwrap();
    assert!(matches!(play(&path, None, |_| {}), Err(RecordError::Differs { .. })));
    for rubbish in [&b""[..], b"reeve-record 1\n", b"reeve-record 2\nX\x01\0\0\0x", b"\x1f\x8b"] {
        std::fs::write(&path, rubbish).unwrap();
        let played = play(&path, None, |_| {});
        assert!(matches!(played, Err(RecordError::Unreadable { .. })), "{rubbish:?}: {played:?}");
    }
    // A limit ends the record, not the agent.
    assert_eq!(record(capture, tenant, &path, 20_000), outputs);
    assert!(std::fs::metadata(&path).unwrap().len() < 21_000);
    play(&path, None, |_| {}).unwrap();
}
