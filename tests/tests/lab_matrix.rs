//! Every measure on every way through the node, over both versions, looked at from the far side: what is meant is stopped or slowed,
//! and nothing else is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use reeve_tests::house::House;
use reeve_tests::lab::addresses::{
    ALICE, ALICE_V4, ALICE_V6, BOB, BOB_V4, INTERNET_INTERFACE, OTHER_V4, TENANT_INTERFACE, VICTIM_V4,
    WEB_V4, WEB_V6,
};
use reeve_tests::lab::{Header, Lab, Namespace, Shape, Sniffer};
use reeve_tests::wait::wait_until;

const OTHER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf000, 0, 0, 0, 0, 0x81);
/// The destinations that measures are about, and those that they are not about.
const MEANT: [IpAddr; 2] = [IpAddr::V4(WEB_V4), IpAddr::V6(WEB_V6)];
const OTHERS: [IpAddr; 2] = [IpAddr::V4(OTHER_V4), IpAddr::V6(OTHER_V6)];
/// The same for ports.
const MEANT_PORT: u16 = 5_001;
const OTHER_PORT: u16 = 5_002;
/// How many packets go to each port of each destination.
const PACKETS: usize = 100;
/// Of IPv4 and UDP, without and with payload.
const PACKET_BYTES: usize = 28 + PAYLOAD;
const PAYLOAD: usize = 72;
const UDP: u8 = 17;
const TCP: u8 = 6;
const SYN: u8 = 2;
const PATIENCE: Duration = Duration::from_secs(10);

/// What is to come of packets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expect {
    All,
    Nothing,
    /// Together so many at once and so many a second.
    Limited(f64, f64),
}

/// What a sending came to, by destination and port.
struct Arrived {
    headers: Vec<Header>,
    took: Duration,
}

impl Arrived {
    fn count(&self, to: &[IpAddr], ports: &[u16]) -> usize {
        let is_it = |header: &&Header| to.contains(&header.destination) && ports.contains(&header.port);
        self.headers.iter().filter(is_it).count()
    }

    fn check(&self, what: &str, to: &[IpAddr], ports: &[u16], expect: Expect) {
        let (count, all) = (self.count(to, ports), to.len() * ports.len() * PACKETS);
        match expect {
            Expect::All => assert_eq!(count, all, "{what}: to {to:?} {ports:?}"),
            Expect::Nothing => assert_eq!(count, 0, "{what}: to {to:?} {ports:?}"),
            Expect::Limited(burst, per_second) => {
                // The kernel's clock and ours differ a little, and one packet is on the edge.
                let most = burst + per_second * self.took.as_secs_f64() * 1.1 + 2.0;
                let least = burst.min(all as f64) * 0.7;
                let count = count as f64;
                assert!(
                    least <= count && count <= most,
                    "{what}: {count} of {all}, at most {most:.1} in {:?}",
                    self.took
                );
            }
        }
    }
}

/// Sends from alice to every destination and port in turn, over both versions; what arrives in the internet.
fn send(house: &House) -> Arrived {
    let sources = [&ALICE[..], &BOB].concat();
    let witness = Sniffer::start(&house.lab.net, INTERNET_INTERFACE, &sources).unwrap();
    let took = house
        .lab
        .home_of_alice()
        .enter(|| {
            let socket = |source: IpAddr| UdpSocket::bind(SocketAddr::new(source, 0));
            let (v4, v6) = (socket(ALICE_V4.into())?, socket(ALICE_V6.into())?);
            let began = Instant::now();
            for _ in 0..PACKETS {
                for to in MEANT.iter().chain(&OTHERS) {
                    for port in [MEANT_PORT, OTHER_PORT] {
                        let socket = if to.is_ipv4() { &v4 } else { &v6 };
                        // A sender on the node itself is told that it may not.
                        let _ = socket.send_to(&[0; PAYLOAD], SocketAddr::new(*to, port));
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(began.elapsed())
        })
        .unwrap();
    Arrived { headers: after_bob(house, &witness, UDP), took }
}

/// What alice's packets of a protocol came to, once one of bob's that was sent after them has come by: nobody else is held.
fn after_bob(house: &House, witness: &Sniffer, protocol: u8) -> Vec<Header> {
    let bob = |headers: &[Header]| headers.iter().any(|header| header.source == IpAddr::V4(BOB_V4));
    wait_until("bob to be heard", PATIENCE, || {
        house.lab.bob.enter(|| {
            let socket = UdpSocket::bind((BOB_V4, 0))?;
            Ok(socket.send_to(b"x", (WEB_V4, OTHER_PORT))?)
        })?;
        Ok(bob(&witness.headers()?))
    })
    .unwrap();
    let headers = witness.headers().unwrap().into_iter();
    headers.filter(|header| ALICE.contains(&header.source) && header.protocol == protocol).collect()
}

/// Opens connections from alice, one every few milliseconds; how many distinct ones knock at the far side, and how long it took.
fn knock(house: &House, to: Ipv4Addr, port: u16, number: usize) -> (usize, Duration) {
    let witness = Sniffer::start(&house.lab.net, INTERNET_INTERFACE, &[&ALICE[..], &BOB].concat()).unwrap();
    let (to, port_text, source) = (to.to_string(), port.to_string(), ALICE_V4.to_string());
    let number = number.to_string();
    let began = Instant::now();
    let argv = ["hping3", "-q", "-S", "-a", &source, "-p", &port_text, "-i", "u5000", "-c", &number, &to];
    house.lab.home_of_alice().run(&argv, PATIENCE).unwrap();
    let took = began.elapsed();
    let headers = after_bob(house, &witness, TCP);
    (headers.iter().filter(|header| header.flags & SYN != 0 && header.port == port).count(), took)
}

/// Carries an order out, looks, and takes it back.
fn cell(house: &House, order: &[&str], meant: &[(&[IpAddr], &[u16], Expect)]) {
    let what = format!("{:?}: {}", house.lab.shape(), order.join(" "));
    let all = [order, &["alice", "--reason", "test"]].concat();
    house.reevectl(&all).unwrap().success().unwrap();
    let state = match order[0] {
        "suspend" => "suspended",
        "block" => "blocked",
        _ => "limited",
    };
    assert_eq!(house.status("alice").unwrap().state, state, "{what}");
    let arrived = send(house);
    for (to, ports, expect) in meant {
        arrived.check(&what, to, ports, *expect);
    }
    house.reevectl(&["release", "alice", "--reason", "test"]).unwrap().success().unwrap();
}

/// The gateway's hardware address is found, although nothing else goes through.
fn keeps_her_link(alice: &Namespace) {
    let neighbours = |version: &str, gateway: &str| {
        alice.run(&["ip", version, "neigh", "flush", "dev", "eth0"], PATIENCE).unwrap();
        let ping = ["ping", version, "-c", "1", "-W", "1", gateway];
        assert_ne!(alice.run(&ping, PATIENCE).unwrap().code(), Some(0), "she is suspended");
        alice.run(&["ip", version, "neigh", "show", gateway], PATIENCE).unwrap().success().unwrap().stdout
    };
    for (version, gateway) in [("-4", "203.0.113.1"), ("-6", "2001:db8:10::1")] {
        let entry = neighbours(version, gateway);
        assert!(entry.contains("lladdr"), "{entry}");
    }
}

/// Whether packets with sources that are neither hers nor anybody's come through from alice's port: from a suspended one they do not.
fn speaks_for_nobody_else(house: &House, expected: bool) {
    let (from, to) = (Ipv4Addr::new(203, 0, 113, 77), WEB_V4.to_string());
    let sources = [&[IpAddr::V4(from)][..], &BOB].concat();
    let witness = Sniffer::start(&house.lab.net, INTERNET_INTERFACE, &sources).unwrap();
    let argv = ["hping3", "-q", "-S", "-a", &from.to_string(), "-p", "80", "-i", "u5000", "-c", "10", &to];
    house.lab.alice.run(&argv, PATIENCE).unwrap();
    after_bob(house, &witness, TCP);
    let headers = witness.headers().unwrap();
    let came = headers.iter().any(|header| header.source == IpAddr::V4(from));
    assert_eq!(came, expected, "{:?}", house.lab.shape());
}

/// A tenant of whom something is blocked sends nothing behind tags that nobody looks behind.
fn hides_nothing_behind_tags(house: &House) {
    let (alice, net) = (&house.lab.alice, &house.lab.net);
    let counter = format!(
        "table netdev hidden {{\nchain seen {{\ntype filter hook ingress device \"{INTERNET_INTERFACE}\" priority 0;\n\
         ether type {{ 8021ad, 0x8864 }} counter\n}}\n}}\n"
    );
    net.nft(&counter).unwrap();
    let count = || -> u64 {
        let argv = ["nft", "list", "table", "netdev", "hidden"];
        let listed = net.run(&argv, PATIENCE).unwrap().success().unwrap().stdout;
        let mut words = listed.split_whitespace().skip_while(|word| *word != "packets");
        words.nth(1).unwrap().parse().unwrap()
    };
    // To everybody; two tags (IEEE 802.1ad) before IPv4, and IPv4 in a PPPoE session (RFC 2516).
    let frame = |behind: &[u8]| {
        let mut frame = [0; 60];
        frame[..6].fill(0xff);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 7]);
        frame[12..12 + behind.len()].copy_from_slice(behind);
        frame
    };
    let tagged = frame(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0, 0x45]);
    let in_session = frame(&[0x88, 0x64, 0x11, 0, 0, 1, 0, 42, 0, 0x21, 0x45]);
    let came = |frame| {
        let before = count();
        alice.send_frame(TENANT_INTERFACE, frame, 5).unwrap();
        after_bob(house, &Sniffer::start(net, INTERNET_INTERFACE, &BOB).unwrap(), UDP);
        count() - before
    };
    assert_eq!([came(tagged), came(in_session)], [5, 5], "a bridge takes them as they are");
    for order in [&["block", "--port", "tcp/25"][..], &["limit", "--rate", "10/minute"], &["suspend"]] {
        let order = [order, &["alice", "--reason", "test"]].concat();
        house.reevectl(&order).unwrap().success().unwrap();
        assert_eq!([came(tagged), came(in_session)], [0, 0], "{:?}: {order:?}", house.lab.shape());
        house.reevectl(&["release", "alice", "--reason", "test"]).unwrap().success().unwrap();
    }
    net.nft("delete table netdev hidden\n").unwrap();
}

/// What alice does is seen as hers on this way through the node, and answered.
fn is_recognised(house: &House) {
    let (source, target) = (ALICE_V4.to_string(), VICTIM_V4.to_string());
    let scan = ["hping3", "-q", "-S", "-a", &source, "-p", "++2000", "-i", "u2000", "-c", "60", &target];
    house.lab.home_of_alice().run(&scan, PATIENCE).unwrap();
    house.wait_for_violation("alice", "portscan.vertical", PATIENCE).unwrap();
    house.wait_for_state("alice", "suspended", PATIENCE).unwrap();
    assert_eq!(send(house).headers, [], "{:?}", house.lab.shape());
    assert_eq!(house.status("bob").unwrap().state, "clear");
}

fn walk(shape: Shape) {
    let mut house = House::open(Lab::up_shaped(shape).unwrap()).unwrap();
    let (both, ports) = ([&MEANT[..], &OTHERS].concat(), [MEANT_PORT, OTHER_PORT]);
    let (meant_port, other_port) = ([MEANT_PORT], [OTHER_PORT]);
    let to = MEANT.map(|address| address.to_string());
    let to = ["--to", &to[0], "--to", &to[1]];
    let order = |words: &[&'static str], more: &[&[&str]]| -> Vec<String> {
        words.iter().copied().chain(more.concat()).map(str::to_owned).collect()
    };
    let run = |house: &House, order: Vec<String>, meant: &[(&[IpAddr], &[u16], Expect)]| {
        cell(house, &order.iter().map(String::as_str).collect::<Vec<_>>(), meant);
    };
    use Expect::{All, Limited, Nothing};

    // The witness sees all of it where nothing is held.
    send(&house).check("at first", &both, &ports, All);

    run(&house, order(&["suspend"], &[]), &[(&both, &ports, Nothing)]);
    run(
        &house,
        order(&["block", "--port", "udp/5001"], &[]),
        &[(&both, &meant_port, Nothing), (&both, &other_port, All)],
    );
    run(&house, order(&["block"], &[&to]), &[(&MEANT, &ports, Nothing), (&OTHERS, &ports, All)]);
    run(
        &house,
        order(&["block", "--port", "udp/5001"], &[&to]),
        &[(&MEANT, &meant_port, Nothing), (&MEANT, &other_port, All), (&OTHERS, &ports, All)],
    );

    let rate = "20 packets/second burst 10";
    let slow = Limited(10.0, 20.0);
    run(&house, order(&["limit", "--rate", rate], &[]), &[(&both, &ports, slow)]);
    run(
        &house,
        order(&["limit", "--rate", rate, "--port", "udp/5001"], &[]),
        &[(&both, &meant_port, slow), (&both, &other_port, All)],
    );
    run(&house, order(&["limit", "--rate", rate], &[&to]), &[(&MEANT, &ports, slow), (&OTHERS, &ports, All)]);
    run(
        &house,
        order(&["limit", "--rate", rate, "--port", "udp/5001"], &[&to]),
        &[(&MEANT, &meant_port, slow), (&MEANT, &other_port, All), (&OTHERS, &ports, All)],
    );
    // What is no connection counts packet by packet.
    run(
        &house,
        order(&["limit", "--rate", "20/second burst 10", "--port", "udp/5001"], &[]),
        &[(&both, &meant_port, slow), (&both, &other_port, All)],
    );
    let bytes = Limited(2_048.0 / PACKET_BYTES as f64, 2_048.0 / PACKET_BYTES as f64);
    run(
        &house,
        order(&["limit", "--rate", "2 kbytes/second burst 2048", "--port", "udp/5001"], &[]),
        &[(&both, &meant_port, bytes), (&both, &other_port, All)],
    );

    for rate in ["20/second burst 10", "20 calls/second burst 10"] {
        let limit = ["limit", "alice", "--rate", rate, "--port", "tcp/80", "--to", to[1], "--reason", "test"];
        house.reevectl(&limit).unwrap().success().unwrap();
        let what = format!("{shape:?}: {rate}");
        let (count, took) = knock(&house, WEB_V4, 80, PACKETS);
        let most = 10.0 + 20.0 * took.as_secs_f64() * 1.1 + 2.0;
        assert!((7.0..=most).contains(&(count as f64)), "{what}: {count}, at most {most:.1}");
        assert_eq!(knock(&house, WEB_V4, 81, PACKETS).0, PACKETS, "{what}");
        assert_eq!(knock(&house, OTHER_V4, 80, PACKETS).0, PACKETS, "{what}");
        house.reevectl(&["release", "alice", "--reason", "test"]).unwrap().success().unwrap();
    }

    if shape != Shape::Local {
        speaks_for_nobody_else(&house, true);
        house.reevectl(&["suspend", "alice", "--reason", "test"]).unwrap().success().unwrap();
        speaks_for_nobody_else(&house, false);
        if matches!(shape, Shape::Bridged { .. }) {
            keeps_her_link(&house.lab.alice);
        }
        house.reevectl(&["release", "alice", "--reason", "test"]).unwrap().success().unwrap();
    }
    if matches!(shape, Shape::Bridged { .. }) {
        hides_nothing_behind_tags(&house);
    }
    send(&house).check("at last", &both, &ports, All);
    is_recognised(&house);
    house.check_parity().unwrap();
}

#[test]
fn what_is_routed() {
    walk(Shape::Routed);
}

#[test]
fn what_is_routed_by_a_bridge() {
    walk(Shape::Gateway);
}

#[test]
fn what_is_bridged() {
    walk(Shape::Bridged { netfilter: false });
}

#[test]
fn what_is_bridged_and_handed_to_the_routed_hooks_as_well() {
    walk(Shape::Bridged { netfilter: true });
}

#[test]
fn what_the_node_itself_sends() {
    walk(Shape::Local);
}
