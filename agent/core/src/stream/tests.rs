use super::*;
use crate::frame::LinkType;
use crate::packet::{self, Body};
use proptest::prelude::*;

const TENANT: [u8; 4] = [203, 0, 113, 10];
const PEER: [u8; 4] = [34, 0, 0, 7];

/// An IPv4 packet with TCP in it.
fn frame(
    from: ([u8; 4], u16),
    to: ([u8; 4], u16),
    (sequence, acknowledgment): (u32, u32),
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![0x45, 0];
    bytes.extend(u16::try_from(40 + payload.len()).unwrap().to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, 6, 0, 0]);
    bytes.extend(from.0.iter().chain(&to.0));
    bytes.extend(from.1.to_be_bytes());
    bytes.extend(to.1.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(acknowledgment.to_be_bytes());
    bytes.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

/// One end of a connection between the tenant's port and the peer's.
struct Play {
    streams: Streams,
    events: Vec<StreamEvent>,
    at: Timestamp,
    /// The last number of each side's, and what is behind it, by the tenant's port.
    next: BTreeMap<(u16, bool), u32>,
}

impl Play {
    fn new(tenants: usize) -> Self {
        let mut streams = Streams::new(1);
        streams.set_tenants(vec![Arc::default(); tenants]);
        Self { streams, events: Vec::new(), at: Timestamp::from_secs(1_000), next: BTreeMap::new() }
    }

    fn packet(
        &mut self,
        tenant: u32,
        is_sent: bool,
        ports: (u16, u16),
        sequence: u32,
        flags: u8,
        payload: &[u8],
    ) {
        let (local, remote) = ((TENANT, ports.0), (PEER, ports.1));
        let (from, to) = if is_sent { (local, remote) } else { (remote, local) };
        let acknowledged = self.next.get(&(ports.0, !is_sent)).copied().unwrap_or_default();
        let len = payload.len() as u32 + u32::from(flags & TcpFlags::SYN != 0);
        self.next.insert((ports.0, is_sent), sequence.wrapping_add(len));
        let bytes = frame(from, to, (sequence, acknowledged), flags, payload);
        let packet = packet::parse(LinkType::RawIp, &bytes, bytes.len() as u32).unwrap();
        let Body::Ip(ip) = packet.body else { panic!("it is IP") };
        self.streams.handle(TenantIx(tenant), is_sent, &ip, self.at, &mut self.events);
    }

    /// Opens a connection from the tenant.
    fn open(&mut self, tenant: u32, ports: (u16, u16)) {
        self.packet(tenant, true, ports, 0, TcpFlags::SYN, b"");
        self.packet(tenant, false, ports, 0, TcpFlags::SYN | TcpFlags::ACK, b"");
    }
}

#[test]
fn a_tenant_is_client_or_server_by_the_port() {
    let mut play = Play::new(1);
    for (is_client, ports) in [(true, (40_000, 25)), (false, (25, 40_000))] {
        play.events.clear();
        let server_says =
            |play: &mut Play, seq, text: &[u8]| play.packet(0, !is_client, ports, seq, TcpFlags::ACK, text);
        server_says(&mut play, 1, b"220 mx\r\n");
        play.packet(0, is_client, ports, 1, TcpFlags::ACK, b"RCPT TO:<a@b.example>\r\n");
        server_says(&mut play, 9, b"250 ok\r\n");
        let [StreamEvent::Mail { is_client: told, port: 25, event: MailEvent::Recipient { .. }, .. }] =
            play.events.as_slice()
        else {
            panic!("{:?}", play.events)
        };
        assert_eq!(*told, is_client);
    }
}

#[test]
fn a_connection_that_begins_anew_or_ends_takes_its_calls_along() {
    let mut play = Play::new(1);
    let endpoint = Endpoint {
        name: "api".parse().unwrap(),
        addresses: vec!["34.0.0.7/32".parse().unwrap()],
        kind: Default::default(),
        hosts: Vec::new(),
        paths: Vec::new(),
        ports: vec![80],
        numbers: Default::default(),
    };
    play.streams.set_endpoints(&[endpoint]);
    let ports = (40_000, 80);
    play.open(0, ports);
    play.packet(0, true, ports, 1, TcpFlags::ACK, b"GET / HTTP/1.1\r\n\r\n");
    // The opening sent again changes nothing, another one does.
    play.packet(0, true, ports, 0, TcpFlags::SYN, b"");
    play.packet(0, true, ports, 900, TcpFlags::SYN, b"");
    play.packet(0, true, ports, 901, TcpFlags::RST, b"");
    let calls: Vec<Call> = play
        .events
        .iter()
        .map(|event| match event {
            StreamEvent::Call { call, .. } => *call,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(calls, [Call::Opened, Call::Began { counts: false }, Call::Dropped(1)]);
    assert!(play.streams.is_empty());
}

/// A session of mail with a packet of the client's, so far off its number, before each message; the messages that are told.
fn messages_beside(flags: u8, off: u32, payload: &[u8]) -> Vec<MailEvent> {
    let (mut play, ports) = (Play::new(1), (40_000, 25));
    let mut next = [900_u32, 70];
    let mut say = |play: &mut Play, is_sent: bool, said: &str| {
        let place = &mut next[usize::from(is_sent)];
        if is_sent {
            let held = play.next.clone();
            play.packet(0, true, ports, place.wrapping_add(off), flags, payload);
            play.next = held;
        }
        play.packet(0, is_sent, ports, *place, TcpFlags::ACK, said.as_bytes());
        *place += said.len() as u32;
    };
    play.packet(0, true, ports, 69, TcpFlags::SYN, b"");
    play.packet(0, false, ports, 899, TcpFlags::SYN | TcpFlags::ACK, b"");
    say(&mut play, false, "220 mx\r\n");
    for _ in 0..3 {
        say(&mut play, true, "MAIL  FROM:<a@b.example>\r\nRCPT\tTO : <c@d.example>\r\nDATA\r\n");
        say(&mut play, false, "250 ok\r\n250 ok\r\n354 go\r\n");
        say(&mut play, true, "x\r\n.\r\n");
        say(&mut play, false, "250 ok\r\n");
    }
    play.events
        .into_iter()
        .filter_map(|event| match event {
            StreamEvent::Mail { event: event @ MailEvent::Message { .. }, .. } => Some(event),
            _ => None,
        })
        .collect()
}

#[test]
fn what_reaches_nobody_hides_no_message() {
    for off in [0, 1, 1_000, 3_000_000, 1 << 30, 1 << 31, u32::MAX - 3_000_000] {
        for flags in [TcpFlags::RST, TcpFlags::RST | TcpFlags::ACK, TcpFlags::SYN] {
            let told = messages_beside(flags, off, b"");
            assert_eq!(told.len(), 3, "flags {flags:x} at {off}");
            assert!(told.iter().all(
                |event| matches!(event, MailEvent::Message { recipients, .. } if recipients.len() == 1)
            ));
        }
    }
    for off in [1 << 30, 1 << 31, u32::MAX - 90_000_000] {
        assert_eq!(messages_beside(TcpFlags::ACK, off, b"QUIT\r\n").len(), 3, "words at {off}");
    }
}

#[test]
fn words_in_two_versions_are_in_doubt() {
    let is_doubtful = |event: &MailEvent| matches!(event, MailEvent::Message { is_doubtful: true, .. });
    let ghost = messages_beside(TcpFlags::ACK, 0, b"MAIL FROM:<a@b.example>\r\nRCPT TO:<e@f.example>\r\n");
    assert!(!ghost.is_empty() && ghost.iter().all(is_doubtful), "{ghost:?}");
    // The same again, and an end at the wrong place, are no other version.
    let same = messages_beside(TcpFlags::ACK, 0, b"");
    assert!(same.len() == 3 && !same.iter().any(is_doubtful), "{same:?}");
}

#[test]
fn a_connection_on_ports_used_before_begins_when_the_server_takes_it() {
    let (mut play, ports) = (Play::new(1), (40_000, 25));
    for isn in [7, 1 << 30, 1 << 31] {
        play.packet(0, true, ports, isn, TcpFlags::SYN, b"");
        play.packet(0, false, ports, isn, TcpFlags::SYN | TcpFlags::ACK, b"");
        play.packet(0, false, ports, isn + 1, TcpFlags::ACK, b"220 mx\r\n");
        play.packet(0, true, ports, isn + 1, TcpFlags::ACK, b"RCPT TO:<a@b.example>\r\n");
        play.packet(0, false, ports, isn + 9, TcpFlags::ACK, b"250 ok\r\n");
    }
    assert_eq!((play.events.len(), play.streams.len()), (3, 1));
    // Of two openings before an answer, it is the one that is answered.
    for (first, second) in [(50, 1 << 29), (1 << 29, 50)] {
        let ports = (40_001 + u16::from(first == 50), 25);
        play.events.clear();
        play.packet(0, true, ports, second, TcpFlags::SYN, b"");
        play.packet(0, true, ports, 1 << 31, TcpFlags::SYN, b"");
        play.next.insert((ports.0, true), second + 1);
        play.packet(0, false, ports, first, TcpFlags::SYN | TcpFlags::ACK, b"");
        play.packet(0, false, ports, first + 1, TcpFlags::ACK, b"220 mx\r\n");
        play.packet(0, true, ports, second + 1, TcpFlags::ACK, b"RCPT TO:<a@b.example>\r\n");
        play.packet(0, false, ports, first + 9, TcpFlags::ACK, b"250 ok\r\n");
        assert_eq!(play.events.len(), 1);
    }
}

#[test]
fn room_is_bounded_and_shared() {
    let mut play = Play::new(1_000);
    for number in 0..200_u16 {
        play.open(7, (10_000 + number, 25));
        play.open(8, (10_000 + number, 25));
    }
    assert_eq!(play.streams.len(), 2 * LEAST_EACH);
    assert_eq!(play.streams.evictions(), 2 * (200 - LEAST_EACH as u64));
    for tenant in 0..1_000 {
        for number in 0..LEAST_EACH as u16 {
            play.open(tenant, (10_000 + number, 25));
        }
    }
    assert_eq!(play.streams.len(), Streams::CAPACITY);
    let mut events = Vec::new();
    play.streams.sweep(play.at + IDLE, &mut events);
    assert!(play.streams.is_empty());
    assert!(play.streams.order.is_empty() && play.streams.unproven.is_empty());
    assert!(play.streams.counts.iter().all(|count| *count == 0));
}

#[test]
fn strangers_who_knock_do_not_push_out_what_is_being_said() {
    let mut play = Play::new(1_000);
    let talking = LEAST_EACH as u16 - 1;
    for number in 0..talking {
        let ports = (25, 10_000 + number);
        play.packet(7, false, ports, 0, TcpFlags::SYN, b"");
        play.packet(7, true, ports, 0, TcpFlags::SYN | TcpFlags::ACK, b"");
        play.packet(7, true, ports, 1, TcpFlags::ACK, b"220 mx\r\n");
    }
    for number in 0..5_000 {
        play.packet(7, false, (25, 20_000 + number), 0, TcpFlags::SYN, b"");
    }
    // All of the room is taken, by others' knocks too; somebody who comes then is heard as well.
    for tenant in 10..300 {
        for number in 0..LEAST_EACH as u16 {
            play.packet(tenant, false, (25, 30_000 + number), 0, TcpFlags::SYN, b"");
        }
    }
    assert_eq!(play.streams.len(), Streams::CAPACITY);
    play.packet(500, false, (25, 9), 0, TcpFlags::SYN, b"");
    play.packet(500, true, (25, 9), 0, TcpFlags::SYN | TcpFlags::ACK, b"");
    play.packet(500, true, (25, 9), 1, TcpFlags::ACK, b"220 mx\r\n");
    play.events.clear();
    for (tenant, port) in (0..talking).map(|number| (7, 10_000 + number)).chain([(500, 9)]) {
        play.packet(tenant, false, (25, port), 1, TcpFlags::ACK, b"RCPT TO:<a@b.example>\r\n");
        play.packet(tenant, true, (25, port), 9, TcpFlags::ACK, b"250 ok\r\n");
    }
    let is_recipient =
        |event: &&StreamEvent| matches!(event, StreamEvent::Mail { event: MailEvent::Recipient { .. }, .. });
    assert_eq!(play.events.iter().filter(is_recipient).count(), usize::from(talking) + 1);
}

proptest! {
    /// Whatever a network sends, nothing panics and room stays bounded.
    #[test]
    fn any_bytes_are_read(
        segments in prop::collection::vec(
            (any::<bool>(), 0_u16..3, 0_u32..4_000, any::<u8>(), prop::collection::vec(any::<u8>(), 0..200)), 1..200),
        ports in prop::sample::select(vec![25_u16, 465, 80]),
    ) {
        let mut play = Play::new(2);
        let endpoint = Endpoint {
            name: "api".parse().unwrap(),
            addresses: vec!["34.0.0.0/8".parse().unwrap()],
            kind: Default::default(),
            hosts: Vec::new(),
            paths: Vec::new(),
            ports: vec![80],
            numbers: Default::default(),
        };
        play.streams.set_endpoints(&[endpoint]);
        for (is_sent, port, sequence, flags, payload) in segments {
            play.packet(u32::from(port) % 2, is_sent, (40_000 + port, ports), sequence, flags, &payload);
        }
        prop_assert!(play.streams.len() <= 6);
    }

    /// However a session is cut into segments, and in whatever order a few of them come, the same is told.
    #[test]
    fn cuts_and_order_do_not_matter(cuts in prop::collection::vec(1_usize..40, 1..60), swaps in prop::collection::vec(any::<bool>(), 60)) {
        let said: &[u8] = b"EHLO a\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<x@c.example>\r\nRCPT TO:<y@d.example>\r\nDATA\r\n";
        let mut play = Play::new(1);
        let ports = (40_000, 25);
        play.open(0, ports);
        play.packet(0, false, ports, 1, TcpFlags::ACK, b"220 mx\r\n");
        let (mut parts, mut from) = (Vec::new(), 0);
        for len in cuts {
            let to = (from + len).min(said.len());
            if to > from {
                parts.push((from, to));
            }
            from = to;
        }
        parts.push((from, said.len()));
        for place in 1..parts.len() {
            if swaps[place % swaps.len()] && place % 2 == 1 {
                parts.swap(place - 1, place);
            }
        }
        for (from, to) in parts.into_iter().filter(|(from, to)| to > from) {
            play.packet(0, true, ports, 1 + from as u32, TcpFlags::ACK, &said[from..to]);
        }
        play.packet(0, false, ports, 9, TcpFlags::ACK, b"250 hi\r\n250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n");
        prop_assert_eq!(play.events.len(), 3, "it is met, and two recipients are answered for");
    }
}
