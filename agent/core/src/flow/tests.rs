//! Flow tests: a script of packets, and the outcomes that it must give.

use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::{
    Action, Decision, DecisionId, Measure, Mode, Origin, Outcome, Protocol, Scope, Timestamp, Until,
};

use super::{Called, FlowEvent, Flows, ProbeKind, Restrictions};
use crate::packet::{Fragment, Icmp, IcmpKind, Ip, Quoted, Tcp, TcpFlags, Transport, Udp};
use crate::topology::TenantIx;

const TENANT: &str = "203.0.113.10";
const PEER: &str = "20.0.0.1";
const ME: TenantIx = TenantIx(0);

/// One step of a script: a TCP segment with (flags, sequence, acknowledgment, payload bytes), or another packet.
enum Step {
    Sent(&'static str, u32, u32, u32),
    Received(&'static str, u32, u32, u32),
    SentUdp,
    ReceivedUdp,
    Error(IcmpKind),
    Wait(u64),
}
use Step::{Error, Received, ReceivedUdp, Sent, SentUdp, Wait};

fn flags(text: &str) -> TcpFlags {
    TcpFlags(text.chars().fold(0, |bits, flag| {
        bits | match flag {
            'S' => TcpFlags::SYN,
            'A' => TcpFlags::ACK,
            'R' => TcpFlags::RST,
            'F' => TcpFlags::FIN,
            'P' => TcpFlags::PSH,
            'U' => TcpFlags::URG,
            other => panic!("no flag {other}"),
        }
    }))
}

fn ip<'a>(from: &str, to: &str, protocol: Protocol, transport: Transport<'a>) -> Ip<'a> {
    Ip {
        source: from.parse().unwrap(),
        destination: to.parse().unwrap(),
        protocol,
        ttl: 64,
        fragment: Fragment::No,
        extensions: 0,
        length: 60,
        segments: 1,
        headers: &[],
        transport,
    }
}

fn tcp(
    ports: (u16, u16),
    text: &str,
    (sequence, acknowledgment, payload_len): (u32, u32, u32),
) -> Transport<'static> {
    Transport::Tcp(Tcp {
        source_port: ports.0,
        destination_port: ports.1,
        sequence,
        acknowledgment,
        flags: flags(text),
        window: 1024,
        has_options: false,
        payload_len,
        payload: &[],
    })
}

fn udp(ports: (u16, u16)) -> Transport<'static> {
    Transport::Udp(Udp { source_port: ports.0, destination_port: ports.1, payload_len: 10, payload: &[] })
}

/// Plays a script between port 40000 of the tenant and port 22 (UDP: 53) of the peer, a millisecond a step, from
/// two minutes after the start on, and returns what the flow stage told.
fn play(script: &[Step], restrictions: &Restrictions) -> Vec<FlowEvent> {
    let mut flows = Flows::new(1_024, 1, 7);
    let mut events = Vec::new();
    let mut now = Timestamp::from_secs(1_000);
    flows.handle_received(ME, &ip("20.9.9.9", TENANT, Protocol::Udp, udp((1, 1))), now, &mut events);
    now += Duration::from_secs(120);
    for step in script {
        now += Duration::from_millis(1);
        match step {
            Sent(text, sequence, acknowledgment, payload) => {
                let segment = tcp((40_000, 22), text, (*sequence, *acknowledgment, *payload));
                flows.handle_sent(
                    ME,
                    &ip(TENANT, PEER, Protocol::Tcp, segment),
                    now,
                    restrictions,
                    &mut events,
                );
            }
            Received(text, sequence, acknowledgment, payload) => {
                let segment = tcp((22, 40_000), text, (*sequence, *acknowledgment, *payload));
                flows.handle_received(ME, &ip(PEER, TENANT, Protocol::Tcp, segment), now, &mut events);
            }
            SentUdp => {
                let packet = ip(TENANT, PEER, Protocol::Udp, udp((40_000, 53)));
                flows.handle_sent(ME, &packet, now, restrictions, &mut events);
            }
            ReceivedUdp => {
                let packet = ip(PEER, TENANT, Protocol::Udp, udp((53, 40_000)));
                flows.handle_received(ME, &packet, now, &mut events);
            }
            Error(kind) => {
                let quoted = |protocol, port| Quoted {
                    source: TENANT.parse().unwrap(),
                    destination: PEER.parse().unwrap(),
                    protocol,
                    source_port: 40_000,
                    destination_port: port,
                };
                for quoted in [quoted(Protocol::Tcp, 22), quoted(Protocol::Udp, 53)] {
                    let icmp = Icmp {
                        kind: *kind,
                        icmp_type: 3,
                        code: 3,
                        identifier: 0,
                        quoted: Some(quoted),
                        body_len: 0,
                    };
                    let packet = ip("10.9.9.9", TENANT, Protocol::Icmp, Transport::Icmp(icmp));
                    flows.handle_received(ME, &packet, now, &mut events);
                }
            }
            Wait(millis) => {
                now += Duration::from_millis(*millis);
                flows.handle_timeout(now, &mut events);
            }
        }
    }
    events
}

fn outcomes(events: &[FlowEvent]) -> Vec<Outcome> {
    events
        .iter()
        .filter_map(|event| match event {
            FlowEvent::Outcome { outcome, .. } => Some(*outcome),
            _ => None,
        })
        .collect()
}

fn probes(events: &[FlowEvent]) -> Vec<ProbeKind> {
    events
        .iter()
        .filter_map(|event| match event {
            FlowEvent::Probe { kind, .. } => Some(*kind),
            _ => None,
        })
        .collect()
}

fn check(script: &[Step], expect: &[Outcome]) {
    let events = play(script, &Restrictions::default());
    assert_eq!(outcomes(&events), expect);
    assert_eq!(probes(&events), []);
}

fn check_probes(script: &[Step], expect: &[ProbeKind]) {
    assert_eq!(probes(&play(script, &Restrictions::default())), expect);
}

#[test]
fn a_connection_that_is_used_is_productive() {
    use Outcome::{Answered, Productive};
    let open = || [Sent("S", 100, 0, 0), Received("SA", 500, 101, 0), Sent("A", 101, 501, 0)];
    let with = |rest: Vec<Step>| open().into_iter().chain(rest).collect::<Vec<_>>();
    check(&with(vec![Sent("PA", 101, 501, 20)]), &[Answered, Productive]);
    // Without the data having been captured: the close, the reset and the peer's acknowledgment all tell.
    check(&with(vec![Sent("FA", 121, 501, 0)]), &[Answered, Productive]);
    check(&with(vec![Sent("R", 121, 0, 0)]), &[Answered, Productive]);
    check(&with(vec![Received("A", 501, 121, 0)]), &[Answered, Productive]);
    // The sequence number wraps.
    check(
        &[Sent("S", u32::MAX, 0, 0), Received("SA", 5, 0, 0), Sent("PA", 0, 6, 9)],
        &[Answered, Productive],
    );
}

#[test]
fn a_connection_that_is_not_used_is_empty_or_aborted() {
    use Outcome::{Aborted, Answered, Empty};
    check(&[Sent("S", 100, 0, 0), Received("SA", 500, 101, 0), Sent("R", 101, 0, 0)], &[Answered, Aborted]);
    check(&[Sent("S", 100, 0, 0), Received("SA", 500, 101, 0), Sent("FA", 101, 501, 0)], &[Answered, Empty]);
    // The server says its banner and closes; the tenant never spoke.
    check(
        &[
            Sent("S", 100, 0, 0),
            Received("SA", 500, 101, 0),
            Sent("A", 101, 501, 0),
            Received("PA", 501, 101, 30),
            Received("FA", 531, 101, 0),
            Sent("FA", 101, 532, 0),
        ],
        &[Answered, Empty],
    );
    // The peer repeats its SYN-ACK because the handshake was never completed.
    check(
        &[Sent("S", 100, 0, 0), Received("SA", 500, 101, 0), Wait(1_000), Received("SA", 500, 101, 0)],
        &[Answered, Aborted],
    );
}

#[test]
fn an_attempt_in_vain_is_refused_or_silent() {
    use Outcome::{Answered, Refused, Silent, Unknown};
    check(&[Sent("S", 100, 0, 0), Received("RA", 0, 101, 0), Wait(4_000)], &[Refused]);
    check(&[Sent("S", 100, 0, 0), Error(IcmpKind::Unreachable), Wait(4_000)], &[Refused]);
    check(&[Sent("S", 100, 0, 0), Wait(2_990)], &[]);
    check(&[Sent("S", 100, 0, 0), Wait(3_000)], &[Silent]);
    // Retransmissions are the same attempt; another sequence number is another.
    check(&[Sent("S", 100, 0, 0), Wait(1_000), Sent("S", 100, 0, 0), Wait(3_000), Wait(3_000)], &[Silent]);
    check(&[Sent("S", 100, 0, 0), Wait(3_000), Sent("S", 900, 0, 0), Wait(3_000)], &[Silent, Silent]);
    check(&[Sent("S", 100, 0, 0), Wait(3_000), Received("SA", 500, 101, 0)], &[Silent, Answered]);
    check(&[Sent("S", 100, 0, 0), Error(IcmpKind::TimeExceeded), Wait(4_000)], &[Unknown]);
    check(&[Sent("S", 100, 0, 0), Error(IcmpKind::PacketTooBig), Wait(4_000)], &[Silent]);
}

#[test]
fn datagrams_are_productive_once_answered() {
    use Outcome::{Productive, Refused, Silent};
    check(&[SentUdp, ReceivedUdp, SentUdp, ReceivedUdp], &[Productive]);
    check(&[SentUdp, SentUdp, Wait(3_000)], &[Silent]);
    check(&[SentUdp, Error(IcmpKind::Unreachable), Wait(3_000)], &[Refused]);
    check(&[SentUdp, Wait(3_000), ReceivedUdp], &[Silent, Productive]);
}

#[test]
fn answers_are_never_attempts() {
    check(&[Received("S", 1, 0, 0), Sent("RA", 0, 2, 0), Wait(9_000)], &[]);
    check(&[Received("S", 1, 0, 0), Sent("SA", 7, 2, 0), Received("R", 2, 0, 0), Wait(9_000)], &[]);
    check(&[Sent("R", 7, 2, 0), Sent("RA", 7, 2, 0), Wait(9_000)], &[]);
    check(&[ReceivedUdp, SentUdp, Wait(9_000)], &[]);
}

#[test]
fn odd_packets_outside_any_connection_are_probes() {
    check_probes(&[Sent("", 1, 0, 0)], &[ProbeKind::Null]);
    check_probes(&[Sent("F", 1, 0, 0)], &[ProbeKind::Fin]);
    check_probes(&[Sent("FPU", 1, 0, 0)], &[ProbeKind::Xmas]);
    check_probes(&[Sent("FA", 1, 9, 0), Received("R", 9, 0, 0)], &[ProbeKind::Maimon]);
    check_probes(&[Sent("A", 1, 9, 0), Received("R", 9, 0, 0)], &[ProbeKind::Ack]);
    check_probes(&[Sent("A", 1, 9, 0), Wait(3_000)], &[ProbeKind::Ack]);
    // Nobody has called for it, nor at its port before.
    check_probes(&[Sent("SA", 7, 2, 0), Received("R", 2, 0, 0)], &[ProbeKind::SynAck]);
    check_probes(&[Sent("SA", 7, 2, 0), Wait(3_000)], &[ProbeKind::SynAck]);
}

#[test]
fn a_handshake_that_is_half_seen_is_no_probe() {
    check_probes(&[Sent("SA", 7, 2, 0), Sent("PA", 8, 2, 30), Wait(9_000)], &[]);
    check_probes(&[Sent("SA", 7, 2, 0), Received("A", 2, 8, 0), Wait(9_000)], &[]);
    check_probes(&[Received("S", 1, 0, 0), Sent("SA", 7, 2, 0), Received("R", 2, 0, 0)], &[]);
}

/// How many packets seemed of no connection, less those that were taken back.
fn strays(script: Vec<Step>) -> u32 {
    let mut count = 0;
    for event in play(&script, &Restrictions::default()) {
        match event {
            FlowEvent::Stray { packets, .. } => count += packets,
            FlowEvent::Vouched { packets, .. } => count -= packets,
            _ => {}
        }
    }
    count
}

#[test]
fn a_syn_in_vain_hides_no_flood() {
    let acks = |many: u32| (0..many).map(|number| Sent("A", 5_000 + number, 7, 0)).collect::<Vec<_>>();
    let after = |first: Vec<Step>, many| first.into_iter().chain(acks(many)).collect::<Vec<_>>();
    assert_eq!(strays(after(vec![Sent("S", 100, 0, 0)], 100)), 92);
    assert_eq!(strays(after(vec![Sent("S", 100, 0, 0), Wait(4_000)], 100)), 92);
    assert_eq!(strays(after(vec![Sent("S", 100, 0, 0), Received("RA", 0, 101, 0)], 100)), 92);
    // SYNs in between do not help, nor does the target's refusing each.
    let both = |number| [Sent("S", 100, 0, 0), Sent("A", number, 7, 0), Received("R", 7, 0, 0)];
    assert_eq!(strays((0..100).flat_map(both).collect()), 92);
}

#[test]
fn what_ends_or_is_told_after_all_is_no_flood() {
    let acks = || (0..500).map(|number| Sent("A", 102, 501 + number, 0));
    // Nothing to say, much to be told: the tenant closes its side at once and the peer goes on.
    let mut script = vec![Sent("S", 100, 0, 0), Received("SA", 500, 101, 0), Sent("FA", 101, 501, 0)];
    script.push(Received("PA", 501, 102, 1_000));
    script.extend(acks());
    assert_eq!(strays(script), 0);
    // The SYN-ACK was missed.
    let mut script = vec![Sent("S", 100, 0, 0), Wait(4_000)];
    script.extend((0..40).map(|number| Sent("PA", 101 + number, 501, 1)));
    script.push(Received("A", 501, 141, 0));
    script.extend(acks());
    assert_eq!(strays(script), 0);
    // The close is sent again and again.
    let mut script = vec![Sent("S", 100, 0, 0), Received("SA", 500, 101, 0)];
    script.extend((0..8).map(|_| Sent("FA", 101, 501, 0)));
    assert_eq!(strays(script), 0);
}

/// Plays datagrams (sent by the tenant, its address's last byte and port, the peer's address and port) a second apart, and returns
/// what became of attempts.
fn datagrams(script: &[(bool, u8, u16, &str, u16)]) -> Vec<Outcome> {
    let (mut flows, mut events) = (Flows::new(1_024, 1, 7), Vec::new());
    let mut now = Timestamp::from_secs(1_000);
    for (is_sent, last, local_port, peer, port) in script {
        now += Duration::from_secs(1);
        let own = format!("203.0.113.{last}");
        if *is_sent {
            let packet = ip(&own, peer, Protocol::Udp, udp((*local_port, *port)));
            flows.handle_sent(ME, &packet, now, &Restrictions::default(), &mut events);
        } else {
            let packet = ip(peer, &own, Protocol::Udp, udp((*port, *local_port)));
            flows.handle_received(ME, &packet, now, &mut events);
        }
        flows.handle_timeout(now, &mut events);
    }
    flows.handle_timeout(now + Duration::from_secs(4), &mut events);
    outcomes(&events)
}

#[test]
fn an_answer_from_elsewhere_is_no_attempt() {
    // Another address of the host; a port of its own for each transfer, as TFTP has it.
    assert_eq!(datagrams(&[(false, 11, 53, PEER, 40_000), (true, 10, 53, PEER, 40_000)]), []);
    assert_eq!(datagrams(&[(false, 10, 69, PEER, 40_000), (true, 10, 50_001, PEER, 40_000)]), []);
    // Who asks on and on is heard on and on, though its flow is an old one.
    let asks = (0..900).map(|_| (false, 10, 69, PEER, 40_000));
    let all: Vec<_> = asks.chain([(true, 10, 50_001, PEER, 40_000)]).collect();
    assert_eq!(datagrams(&all), []);
    // Nobody else is answered, nor another port of whoever asked.
    assert_eq!(
        datagrams(&[(false, 10, 69, PEER, 40_000), (true, 10, 50_001, PEER, 40_001)]),
        [Outcome::Silent]
    );
    assert_eq!(
        datagrams(&[(false, 10, 69, PEER, 40_000), (true, 10, 50_001, "20.0.0.2", 40_000)]),
        [Outcome::Silent]
    );
}

#[test]
fn who_completes_a_connection_has_called_and_a_forged_syn_has_not() {
    let called = |acknowledgment: Option<u32>| {
        let (mut flows, mut events) = (Flows::new(1_024, 1, 7), Vec::new());
        let mut now = Timestamp::from_secs(1_000);
        let free = Restrictions::default();
        let back = |text, numbers| ip(PEER, TENANT, Protocol::Tcp, tcp((45_000, 21), text, numbers));
        let own = |ports, text, numbers| ip(TENANT, PEER, Protocol::Tcp, tcp(ports, text, numbers));
        flows.handle_received(ME, &back("S", (100, 0, 0)), now, &mut events);
        flows.handle_sent(ME, &own((21, 45_000), "SA", (7_000_000, 101, 0)), now, &free, &mut events);
        if let Some(acknowledgment) = acknowledgment {
            flows.handle_received(ME, &back("A", (101, acknowledgment, 0)), now, &mut events);
        }
        now += Duration::from_secs(60);
        flows.handle_sent(ME, &own((20, 40_001), "S", (5, 0, 0)), now, &free, &mut events);
        flows.handle_timeout(now + Duration::from_secs(3), &mut events);
        events.iter().find_map(|event| match event {
            FlowEvent::Outcome { called, .. } => Some(*called),
            _ => None,
        })
    };
    assert_eq!(called(Some(7_000_001)), Some(Called::Connected));
    assert_eq!(called(Some(7_000_401)), Some(Called::Connected), "it was greeted first");
    for forged in [None, Some(7_000_000), Some(7_100_000), Some(0)] {
        assert_eq!(called(forged), Some(Called::No), "{forged:?}");
    }
}

#[test]
fn answers_to_those_who_were_pushed_out_are_no_flood() {
    let (mut flows, mut events) = (Flows::new(1_000, 1, 7), Vec::new());
    let at = |millis| Timestamp::from_secs(1_000) + Duration::from_millis(millis);
    let mut called = |from: std::ops::Range<u32>, events: &mut Vec<FlowEvent>| {
        for number in from {
            let peer = format!("20.0.{}.{}", number >> 8, number & 255);
            let call = ip(&peer, TENANT, Protocol::Tcp, tcp((2_000, 80), "S", (number, 0, 0)));
            flows.handle_received(ME, &call, at(number.into()), events);
        }
        let answer = ip(TENANT, "20.0.0.1", Protocol::Tcp, tcp((80, 2_000), "SA", (7, 1, 0)));
        flows.handle_sent(ME, &answer, at(5_000), &Restrictions::default(), events);
        flows.handle_sent(
            ME,
            &ip(TENANT, "20.9.9.9", Protocol::Tcp, tcp((80, 2_000), "SA", (7, 1, 0))),
            at(5_000),
            &Restrictions::default(),
            events,
        );
        events.iter().filter(|event| matches!(event, FlowEvent::Stray { .. })).count()
    };
    assert_eq!(called(0..900, &mut events), 1, "nobody was pushed out: the second answers nobody");
    events.clear();
    assert_eq!(called(900..3_000, &mut events), 0);
}

#[test]
fn packets_of_a_connection_met_in_the_middle_are_none() {
    check_probes(&[Sent("A", 1, 9, 0), Received("A", 9, 1, 0), Wait(9_000)], &[]);
    check_probes(&[Received("PA", 9, 1, 5), Sent("A", 1, 14, 0), Sent("FA", 1, 14, 0), Wait(9_000)], &[]);
    check_probes(&[Sent("PA", 1, 9, 5), Wait(9_000)], &[]);
    check_probes(
        &[Sent("S", 100, 0, 0), Received("SA", 500, 101, 0), Sent("A", 101, 501, 0), Sent("F", 101, 0, 0)],
        &[],
    );
}

#[test]
fn in_the_first_minute_silence_about_the_middle_proves_nothing() {
    let mut flows = Flows::new(64, 1, 7);
    let (mut events, now) = (Vec::new(), Timestamp::from_secs(1_000));
    for (from, text) in [(1, "A"), (2, "FA"), (3, "F")] {
        let segment = tcp((from, 22), text, (1, 9, 0));
        let packet = ip(TENANT, PEER, Protocol::Tcp, segment);
        flows.handle_sent(ME, &packet, now, &Restrictions::default(), &mut events);
    }
    flows.handle_timeout(now + Duration::from_secs(3), &mut events);
    let is_early = |event: &FlowEvent| match event {
        FlowEvent::Probe { is_early, .. } => Some(*is_early),
        _ => None,
    };
    assert_eq!(probes(&events), [ProbeKind::Fin, ProbeKind::Ack, ProbeKind::Maimon]);
    assert_eq!(
        events.iter().filter_map(is_early).collect::<Vec<_>>(),
        [false, true, true],
        "a FIN alone is never honest"
    );
}

#[test]
fn what_meets_our_own_measure_is_no_evidence() {
    let decision = Decision {
        id: DecisionId("v.1".parse().unwrap()),
        tenant: "alice".parse().unwrap(),
        violation: None,
        clause: String::new(),
        origin: Origin::Operator { name: "oncall".into() },
        action: Action::Block,
        scope: Scope::Port { protocol: Protocol::Tcp, port: 22 },
        rate: None,
        until: Until::Released,
        at: Timestamp::EPOCH,
        mode: Mode::Enforce,
        reason: String::new(),
        connections: None,
        softened: None,
        reckoning: None,
    };
    let measure = Measure { decision, expires: None };
    let held = Restrictions::of([&measure].into_iter());
    let events = play(&[Sent("S", 100, 0, 0), Sent("F", 5, 0, 0), Wait(4_000), SentUdp, Wait(4_000)], &held);
    assert_eq!(outcomes(&events), [Outcome::Silent], "only the datagram, which is not blocked");
    assert_eq!(probes(&events), []);
}

#[test]
fn multicast_and_local_destinations_are_no_targets() {
    for text in ["224.0.0.251", "255.255.255.255", "169.254.1.1", "ff02::fb", "fe80::1", "0.0.0.0", "::1"] {
        assert!(!super::is_target(text.parse::<IpAddr>().unwrap()), "{text}");
    }
    assert!(super::is_target("20.0.0.1".parse().unwrap()));
    assert!(super::is_target("2001:db8::1".parse().unwrap()));
}

/// Opens `count` flows of a tenant, one a millisecond.
fn open_many(flows: &mut Flows, tenant: TenantIx, count: u32, millis: u64, events: &mut Vec<FlowEvent>) {
    for number in 0..count {
        let [_, a, b, c] = number.to_be_bytes();
        let peer = format!("20.{a}.{b}.{c}");
        let packet = ip(TENANT, &peer, Protocol::Tcp, tcp((40_000, 80), "S", (number, 0, 0)));
        let at = Timestamp::from_secs(1_000) + Duration::from_millis(millis + u64::from(number));
        flows.handle_sent(tenant, &packet, at, &Restrictions::default(), events);
    }
}

#[test]
fn a_flood_evicts_its_own_flows_only() {
    let mut flows = Flows::new(1_000, 4, 7);
    let mut events = Vec::new();
    open_many(&mut flows, TenantIx(1), 100, 0, &mut events);
    open_many(&mut flows, TenantIx(0), 50_000, 100, &mut events);
    assert!(flows.len() <= 1_000);
    assert_eq!(flows.evictions(), 50_000 - 500, "half of the table is the most that one tenant gets");
    open_many(&mut flows, TenantIx(2), 400, 60_000, &mut events);
    assert_eq!(flows.len(), 1_000);
    events.clear();
    flows.handle_timeout(Timestamp::from_secs(1_000) + Duration::from_secs(4), &mut events);
    let kept = |tenant| {
        events
            .iter()
            .filter(|event| matches!(event, FlowEvent::Outcome { tenant: of, .. } if *of == tenant))
            .count()
    };
    assert_eq!(kept(TenantIx(1)), 100, "the quiet tenant's attempts are all told");
    open_many(&mut flows, TenantIx(3), 100, 70_000, &mut events);
    assert_eq!(flows.len(), 1_000, "a tenant below its share takes room from the one that holds most");
}

#[test]
fn idle_flows_are_forgotten_and_their_room_is_used_again() {
    let mut flows = Flows::new(1_000, 1, 7);
    let mut events = Vec::new();
    open_many(&mut flows, ME, 900, 0, &mut events);
    let mut now = Timestamp::from_secs(1_000);
    for _ in 0..200 {
        now += Duration::from_secs(1);
        flows.handle_timeout(now, &mut events);
    }
    assert_eq!(flows.len(), 0);
    assert_eq!(flows.next_deadline(), None);
    assert_eq!(flows.evictions(), 0);
}
