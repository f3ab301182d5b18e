//! Live capture on real interfaces, each test in a network namespace of its own.
//!
//! A namespace belongs to the thread that a test runs on and ends with it, whatever happens to the test.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on is to fail, and a skipped one to say so"
)]

mod common;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::UdpSocket;
use std::ops::RangeInclusive;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::in_namespace;
use nix::sched::{CloneFlags, unshare};
use pnet_datalink::{Channel, DataLinkSender};
use reeve_agent::capture::ring::RingOptions;
use reeve_agent::capture::{CaptureError, Clock, Progress, RingSet, Source};
use reeve_agent::links::{LinkEvent, Links};
use reeve_core::interest::Interest;
use reeve_core::packet::{self, Body, Transport};
use reeve_core::{Frame, LinkType, Passage, VantageId};

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A veth pair, both up, that is silent by itself: no IPv6 address is made up and announced.
fn silent_pair(name: &str, peer: &str) {
    ip(&format!("link add {name} type veth peer name {peer}"));
    for name in [name, peer] {
        ip(&format!("link set {name} addrgenmode none up"));
    }
}

/// `tap0` with an address, and its peer.
fn pair() {
    ip("link set lo up");
    silent_pair("tap0", "peer0");
    ip("addr add 192.0.2.1/24 dev tap0");
    ip("neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev tap0");
}

/// Sends whole frames out of an interface.
fn wire(interface: &str) -> Box<dyn DataLinkSender> {
    let interface = pnet_datalink::interfaces().into_iter().find(|found| found.name == interface).unwrap();
    match pnet_datalink::channel(&interface, pnet_datalink::Config::default()).unwrap() {
        Channel::Ethernet(sender, _) => sender,
        _ => panic!("no Ethernet"),
    }
}

/// An Ethernet frame. `marker` is what [`marker`] finds again.
fn frame(marker: u8, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 1, marker, 2, 0, 0, 0, 0, 1][..], &ethertype.to_be_bytes(), payload].concat()
}

fn marker(frame: &Frame<'_>) -> Option<u8> {
    frame.data.strip_prefix(&[2, 0, 0, 0, 1]).and_then(|rest| rest.first()).copied()
}

const SIZE: RingOptions = RingOptions { block_bytes: 64 << 10, blocks: 4 };
const PATIENCE: Duration = Duration::from_secs(10);

fn whole() -> Interest {
    Interest { sampling: 1, ..Interest::default() }
}

fn rings_on(interfaces: &[&str], interest: &Interest) -> RingSet {
    let mut rings = RingSet::new(Clock::start()).unwrap();
    for (vantage, interface) in interfaces.iter().enumerate() {
        rings.add(VantageId(vantage as u16), interface, interest, SIZE).unwrap();
    }
    rings
}

/// Polls until `done`, ten seconds at most.
fn until(rings: &mut RingSet, mut each: impl FnMut(Frame<'_>), mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "it did not happen within ten seconds");
        rings.poll(Duration::from_millis(50), &mut each).unwrap();
    }
}

/// Polls until a vantage is told to be gone: which, under which name, and what came before.
fn until_gone(rings: &mut RingSet) -> (VantageId, String, usize) {
    let (end, mut frames) = (Instant::now() + PATIENCE, 0);
    loop {
        assert!(Instant::now() < end, "nothing was told");
        match rings.poll(Duration::from_millis(50), &mut |_| frames += 1) {
            Err(CaptureError::InterfaceGone { vantage, interface }) => return (vantage, interface, frames),
            other => drop(other.unwrap()),
        }
    }
}

#[test]
fn frames_are_seen_with_their_direction_time_and_length() {
    in_namespace(|| {
        pair();
        let clock = Clock::start();
        let mut rings = RingSet::new(clock).unwrap();
        rings.add(VantageId(0), "tap0", &whole(), SIZE).unwrap();
        rings.add(VantageId(1), "peer0", &whole(), SIZE).unwrap();
        let socket = UdpSocket::bind("192.0.2.1:4000").unwrap();
        let before = clock.now();
        socket.send_to(&[7; 1_000], "192.0.2.2:5000").unwrap();
        let after = clock.now();
        let seen = RefCell::new(Vec::new());
        until(
            &mut rings,
            |frame| {
                assert_eq!((frame.link, frame.vlan), (LinkType::Ethernet, None));
                let packet = packet::parse(frame.link, frame.data, frame.wire_len).unwrap();
                if let Body::Ip(ip) = packet.body
                    && let Transport::Udp(udp) = ip.transport
                    && udp.destination_port == 5_000
                {
                    assert_eq!((frame.wire_len, udp.payload_len), (1_042, 1_000));
                    assert_eq!(frame.data.len(), 192, "only so much is taken");
                    // The clocks are read one after the other, so they agree to some microseconds only.
                    let blur = Duration::from_micros(100);
                    assert!(frame.at + blur >= before, "{} is before {before}", frame.at);
                    // The other end may have been reached after the call had returned.
                    let latest = if frame.passage == Passage::Out { after + blur } else { clock.now() };
                    assert!(frame.at <= latest, "{} is after {latest}", frame.at);
                    seen.borrow_mut().push((frame.vantage.0, frame.passage));
                }
            },
            || seen.borrow().len() == 2,
        );
        let mut seen = seen.into_inner();
        seen.sort_by_key(|(vantage, _)| *vantage);
        assert_eq!(seen, [(0, Passage::Out), (1, Passage::In)]);
        assert!(rings.loss().iter().all(|(_, loss)| loss.received > 0 && loss.dropped == 0));
    });
}

#[test]
fn a_tag_that_the_kernel_took_out_is_told() {
    in_namespace(|| {
        silent_pair("tap0", "peer0");
        let mut rings = rings_on(&["tap0", "peer0"], &whole());
        let mut wire = wire("peer0");
        // Priority 3, VLAN 100.
        let tagged = frame(1, 0x8100, &[&[0x60, 100, 0x08, 0x00][..], &[0x45; 60]].concat());
        let bare = frame(2, 0x0800, &[0x45; 60]);
        for bytes in [&tagged, &bare] {
            wire.send_to(bytes, None).unwrap().unwrap();
        }
        let seen = RefCell::new(BTreeMap::new());
        until(
            &mut rings,
            |frame| {
                let Some(marker) = marker(&frame) else { return };
                let told = (frame.passage, frame.vlan, frame.data.to_vec(), frame.wire_len);
                seen.borrow_mut().insert((frame.vantage.0, marker), told);
            },
            || seen.borrow().len() == 4,
        );
        let seen = seen.into_inner();
        let without = [&tagged[..12], &tagged[16..]].concat();
        assert_eq!(seen[&(0, 1)], (Passage::In, Some(100), without, 74));
        assert_eq!(seen[&(0, 2)], (Passage::In, None, bare.clone(), 74));
        assert_eq!(seen[&(1, 1)], (Passage::Out, None, tagged, 78), "as it was sent");
        assert_eq!(seen[&(1, 2)], (Passage::Out, None, bare, 74));
    });
}

#[test]
fn what_the_ring_has_no_room_for_is_counted() {
    in_namespace(|| {
        pair();
        let mut rings = RingSet::new(Clock::start()).unwrap();
        let tiny = RingOptions { block_bytes: 16 << 10, blocks: 2 };
        rings.add(VantageId(0), "tap0", &whole(), tiny).unwrap();
        let socket = UdpSocket::bind("192.0.2.1:4000").unwrap();
        for _ in 0..2_000 {
            socket.send_to(&[7; 100], "192.0.2.2:5000").unwrap();
        }
        let mut count = 0;
        while let Progress::Frames(frames) = rings.poll(Duration::from_millis(200), &mut |_| {}).unwrap() {
            count += frames as u64;
        }
        let loss = rings.loss()[0].1;
        assert_eq!(loss.received, count);
        assert!(loss.dropped > 0 && loss.received + loss.dropped >= 2_000, "{loss:?}");
        assert_eq!(rings.loss()[0].1.dropped, 0, "told once");
        // What was not told yet is told when the ring is no more.
        socket.send_to(&[7; 100], "192.0.2.2:5000").unwrap();
        let received = Cell::new(0);
        until(&mut rings, |_| received.set(received.get() + 1), || received.get() > 0);
        rings.remove(VantageId(0));
        let told: Vec<_> = rings.loss().into_iter().map(|(id, loss)| (id.0, loss.received)).collect();
        assert_eq!(told, [(0, received.get())]);
        assert_eq!(rings.loss(), []);
    });
}

/// Both rings have more than a block; whichever comes first, the other is not kept waiting for more than a block.
#[test]
fn a_flood_on_one_ring_does_not_starve_another() {
    in_namespace(|| {
        silent_pair("tap0", "peer0");
        silent_pair("tap1", "peer1");
        let mut rings = rings_on(&["tap0", "tap1"], &whole());
        let flood = |interface: &str, count: usize| {
            let mut wire = wire(interface);
            for _ in 0..count {
                wire.send_to(&frame(0, 0x0800, &[0x45; 200]), None).unwrap().unwrap();
            }
        };
        // Some 240 fit in a block.
        flood("peer0", 2_000);
        flood("peer1", 300);
        let mut runs: Vec<(u16, usize)> = Vec::new();
        rings
            .poll(PATIENCE, &mut |frame| match runs.last_mut() {
                Some((vantage, count)) if *vantage == frame.vantage.0 => *count += 1,
                _ => runs.push((frame.vantage.0, 1)),
            })
            .unwrap();
        assert!(runs.len() >= 3, "{runs:?}");
        assert_eq!([runs[0].0, runs[1].0, runs[2].0], [0, 1, 0], "{runs:?}");
        assert!(runs[..2].iter().all(|(_, count)| *count < 250), "{runs:?}");
    });
}

#[test]
fn an_interface_that_goes_is_told_and_others_go_on() {
    in_namespace(|| {
        silent_pair("tap0", "peer0");
        silent_pair("tap1", "peer1");
        silent_pair("tap2", "peer2");
        let mut rings = rings_on(&["tap0", "tap1", "tap2"], &whole());
        // Down first, and found to be so, and with frames that nobody has read yet: the error is then told long before.
        wire("peer0").send_to(&frame(0, 0x0800, &[0x45; 60]), None).unwrap().unwrap();
        ip("link set tap0 down");
        for _ in 0..5 {
            let is_there = rings.poll(Duration::from_millis(50), &mut |_| {});
            is_there.expect("an interface that is down is still there");
        }
        ip("link del tap0");
        let (vantage, interface, _) = until_gone(&mut rings);
        assert_eq!((vantage, interface.as_str()), (VantageId(0), "tap0"));
        // At once, and what was sent last is read before.
        wire("peer1").send_to(&frame(0, 0x0800, &[0x45; 60]), None).unwrap().unwrap();
        ip("link del tap1");
        let (vantage, interface, frames) = until_gone(&mut rings);
        assert_eq!((vantage, interface.as_str(), frames), (VantageId(1), "tap1", 1));
        assert_eq!(rings.vantages().collect::<Vec<_>>(), [(VantageId(2), "tap2")]);
        wire("peer2").send_to(&frame(9, 0x0800, &[0x45; 60]), None).unwrap().unwrap();
        let seen = Cell::new(false);
        until(&mut rings, |frame| seen.set(marker(&frame) == Some(9)), || seen.get());
    });
}

#[test]
fn an_interface_that_moves_to_another_namespace_is_gone() {
    in_namespace(|| {
        silent_pair("tap0", "peer0");
        let mut rings = rings_on(&["tap0"], &whole());
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            ready.send(nix::unistd::gettid()).unwrap();
            let _ = stopped.recv();
        });
        ip(&format!("link set tap0 netns {}", is_ready.recv_timeout(PATIENCE).unwrap()));
        assert_eq!(until_gone(&mut rings).1, "tap0");
        drop(stop);
        other.join().unwrap();
    });
}

#[test]
fn an_interface_that_was_down_is_seen_when_it_is_up() {
    in_namespace(|| {
        ip("link add tap0 type veth peer name peer0");
        // Down when the ring is made, and down again later.
        let mut rings = rings_on(&["tap0"], &whole());
        for round in [1, 2] {
            rings.poll(Duration::from_millis(50), &mut |_| {}).unwrap();
            ip("link set tap0 addrgenmode none up");
            ip("link set peer0 addrgenmode none up");
            wire("peer0").send_to(&frame(round, 0x0800, &[0x45; 60]), None).unwrap().unwrap();
            let seen = Cell::new(false);
            until(&mut rings, |frame| seen.set(seen.get() || marker(&frame) == Some(round)), || seen.get());
            ip("link set tap0 down");
        }
    });
}

#[test]
fn a_ring_sees_nothing_of_other_interfaces() {
    in_namespace(|| {
        ip("link set lo up");
        silent_pair("tap0", "peer0");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                // As long as anybody waits for it, on however fast a machine.
                let end = Instant::now() + 2 * PATIENCE;
                while !done.load(Ordering::Relaxed) && Instant::now() < end {
                    for _ in 0..100 {
                        let _ = socket.send_to(&[7; 10], "127.0.0.1:9");
                    }
                }
            });
            let mut rings = RingSet::new(Clock::start()).unwrap();
            let mut frames = 0;
            for _ in 0..30 {
                rings.add(VantageId(0), "tap0", &whole(), SIZE).unwrap();
                rings.poll(Duration::from_millis(30), &mut |_| frames += 1).unwrap();
                rings.remove(VantageId(0));
            }
            // The noise is heard where it is.
            rings.add(VantageId(1), "lo", &whole(), SIZE).unwrap();
            let heard = Cell::new(false);
            until(&mut rings, |_| heard.set(true), || heard.get());
            done.store(true, Ordering::Relaxed);
            assert_eq!(frames, 0);
        });
    });
}

/// A TCP segment over IPv4 (or, with `six`, IPv6): flags, destination port, payload.
fn tcp(six: bool, flags: u8, port: u16, payload: usize) -> Vec<u8> {
    let mut segment = vec![0; 20 + payload];
    segment[0..2].copy_from_slice(&40_000_u16.to_be_bytes());
    segment[2..4].copy_from_slice(&port.to_be_bytes());
    segment[12] = 0x50;
    segment[13] = flags;
    let mut header = if six { vec![0; 40] } else { vec![0; 20] };
    if six {
        (header[0], header[6], header[7]) = (0x60, 6, 64);
        header[4..6].copy_from_slice(&(segment.len() as u16).to_be_bytes());
    } else {
        (header[0], header[8], header[9]) = (0x45, 64, 6);
        header[2..4].copy_from_slice(&(20 + segment.len() as u16).to_be_bytes());
    }
    [header, segment].concat()
}

/// The program is in the kernel what it is in its own tests: every kind of frame is sent [`EACH`] times.
#[test]
fn the_kernel_keeps_samples_and_drops_as_the_filter_says() {
    const EACH: usize = 200;
    const ACK: u8 = 0x10;
    const SYN: u8 = 0x02;
    // What of them has to come through: all, a quarter within seven standard deviations, none.
    const ALL: RangeInclusive<usize> = EACH..=EACH;
    const QUARTER: RangeInclusive<usize> = 7..=93;
    const NONE: RangeInclusive<usize> = 0..=0;
    let mut fragment = tcp(false, ACK, 443, 100);
    fragment[6] = 0x20;
    let mut extended = tcp(true, ACK, 443, 100);
    extended[6] = 0;
    let tagged = [&[0, 7, 0x08, 0x00][..], &tcp(false, ACK, 443, 100)].concat();
    let mut udp = tcp(false, ACK, 443, 100);
    udp[9] = 17;
    let kinds = [
        ("bulk", 0x0800, tcp(false, ACK, 443, 100), QUARTER),
        ("bulk over IPv6", 0x86dd, tcp(true, ACK, 443, 100), QUARTER),
        ("bulk with a tag", 0x8100, tagged.clone(), QUARTER),
        ("bulk with two tags", 0x88a8, [&[0, 9, 0x81, 0x00][..], &tagged].concat(), QUARTER),
        ("opening", 0x0800, tcp(false, SYN, 443, 0), ALL),
        ("opening over IPv6", 0x86dd, tcp(true, SYN, 443, 0), ALL),
        ("a bare acknowledgment", 0x0800, tcp(false, ACK, 443, 0), ALL),
        ("mail", 0x0800, tcp(false, ACK, 25, 100), ALL),
        ("a fragment", 0x0800, fragment, ALL),
        ("an extension header", 0x86dd, extended, ALL),
        ("not TCP", 0x0800, udp, ALL),
        ("ARP", 0x0806, vec![0; 28], ALL),
        ("LLDP", 0x88cc, vec![0; 40], NONE),
    ];
    in_namespace(move || {
        silent_pair("tap0", "peer0");
        let interest = Interest { sampling: 4, ..Interest::default() };
        let mut rings = RingSet::new(Clock::start()).unwrap();
        // What comes in has lost its outermost tag; what goes out has it.
        for (vantage, interface) in [(0, "tap0"), (1, "peer0")] {
            rings.add(VantageId(vantage), interface, &interest, RingOptions::of_bytes(16 << 20)).unwrap();
        }
        let mut wire = wire("peer0");
        for _ in 0..EACH {
            for (kind, (_, ethertype, payload, _)) in kinds.iter().enumerate() {
                wire.send_to(&frame(kind as u8, *ethertype, payload), None).unwrap().unwrap();
            }
        }
        wire.send_to(&frame(99, 0x0806, &[0; 28]), None).unwrap().unwrap();
        let (mut counts, last) = (BTreeMap::new(), Cell::new(0));
        until(
            &mut rings,
            |frame| match marker(&frame) {
                Some(99) => last.set(last.get() + 1),
                Some(kind) => *counts.entry((frame.vantage.0, kind)).or_insert(0) += 1,
                None => panic!("nobody sent this"),
            },
            || last.get() == 2,
        );
        for (kind, (name, _, _, expect)) in kinds.iter().enumerate() {
            for vantage in [0, 1] {
                let count = counts.get(&(vantage, kind as u8)).copied().unwrap_or(0);
                assert!(expect.contains(&count), "{name} at {vantage}: {count}");
            }
        }
        assert!(rings.loss().iter().all(|(_, loss)| loss.dropped == 0));
    });
}

#[test]
fn what_cannot_be_watched_says_why() {
    in_namespace(|| {
        ip("link set lo up");
        let mut rings = RingSet::new(Clock::start()).unwrap();
        let error = rings.add(VantageId(0), "nowhere0", &whole(), SIZE).unwrap_err();
        assert!(matches!(&error, CaptureError::NoInterface { interface } if interface == "nowhere0"));
        rings.add(VantageId(0), "lo", &whole(), SIZE).unwrap();
        let error = rings.add(VantageId(0), "lo", &whole(), SIZE).unwrap_err();
        assert!(matches!(error, CaptureError::VantageTaken { vantage: VantageId(0) }));
        let odd = RingOptions { block_bytes: 1_000, blocks: 4 };
        let error = rings.add(VantageId(1), "lo", &whole(), odd).unwrap_err();
        assert!(
            matches!(error, CaptureError::System { call: "setsockopt(PACKET_RX_RING)", .. }),
            "{error:?}"
        );
        // The kernel takes the program for bare IP as well.
        ip("tuntap add tun0 mode tun");
        rings.add(VantageId(1), "tun0", &whole(), SIZE).unwrap();
        assert_eq!(rings.vantages().map(|(_, name)| name).collect::<Vec<_>>(), ["lo", "tun0"]);
    });
}

#[test]
fn interfaces_that_come_go_and_change_are_news() {
    in_namespace(|| {
        let mut links = Links::open().unwrap();
        assert!(links.list().iter().any(|link| link.name == "lo"));
        ip("link add tap0 type veth peer name peer0");
        ip("link set tap0 up");
        ip("link set tap0 down");
        ip("link set tap0 name tap1");
        ip("link del tap1");
        let mut told = Vec::new();
        while let Some(event) = links.wait(PATIENCE).unwrap() {
            match event {
                LinkEvent::Appeared(link) => told.push((link.name, "appeared", link.up)),
                LinkEvent::Changed(link) => told.push((link.name, "changed", link.up)),
                LinkEvent::Vanished { name, .. } => {
                    let is_last = name == "tap1";
                    told.push((name, "vanished", false));
                    if is_last {
                        break;
                    }
                }
            }
        }
        told.retain(|(name, ..)| name != "peer0");
        told.dedup();
        let expect = [
            ("tap0", "appeared", false),
            ("tap0", "changed", true),
            ("tap0", "changed", false),
            ("tap1", "changed", false),
            ("tap1", "vanished", false),
        ];
        assert_eq!(told, expect.map(|(name, what, up)| (name.to_owned(), what, up)));
    });
}

/// More news than the kernel keeps for us: in the end we know what is there, as if all had been heard.
#[test]
fn lost_news_are_made_up_for() {
    in_namespace(|| {
        let mut links = Links::open().unwrap();
        let before = links.list();
        let mut batch = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut lines = String::from("link add tap0 type veth peer name peer0\n");
        for _ in 0..4_000 {
            lines += "link set tap0 up\nlink set tap0 down\n";
        }
        lines += "link add tap1 type veth peer name peer1\nlink set lo up\nlink del tap0\n";
        batch.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(batch.wait().unwrap().success());
        let mut events = 0;
        while links.try_next().unwrap().is_some() {
            events += 1;
        }
        assert!(events < 4_000, "{events}: nothing was lost, so this tried nothing");
        let now = links.list();
        let names: Vec<&str> = now.iter().map(|link| link.name.as_str()).collect();
        assert_eq!(names, ["lo", "peer1", "tap1"]);
        assert!(now[0].up && !before[0].up);
        // And news are heard as before.
        ip("link del tap1");
        let mut gone = 0;
        while gone < 2 {
            let event = links.wait(PATIENCE).unwrap().expect("news within ten seconds");
            gone += usize::from(matches!(event, LinkEvent::Vanished { .. }));
        }
        assert_eq!(links.list().len(), 1);
    });
}
