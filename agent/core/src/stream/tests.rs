use super::*;
use crate::frame::LinkType;
use crate::packet::{self, Body};
use proptest::prelude::*;

const TENANT: [u8; 4] = [203, 0, 113, 10];
const PEER: [u8; 4] = [34, 0, 0, 7];

/// An IPv4 packet with TCP in it.
fn frame(from: ([u8; 4], u16), to: ([u8; 4], u16), sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0];
    bytes.extend(u16::try_from(40 + payload.len()).unwrap().to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, 6, 0, 0]);
    bytes.extend(from.0.iter().chain(&to.0));
    bytes.extend(from.1.to_be_bytes());
    bytes.extend(to.1.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

/// One end of a connection between the tenant's port and the peer's.
struct Play {
    streams: Streams,
    events: Vec<StreamEvent>,
    at: Timestamp,
}

impl Play {
    fn new(tenants: usize) -> Self {
        let mut streams = Streams::new(1);
        streams.set_tenants(vec![Arc::default(); tenants]);
        Self { streams, events: Vec::new(), at: Timestamp::from_secs(1_000) }
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
        let bytes = frame(from, to, sequence, flags, payload);
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
