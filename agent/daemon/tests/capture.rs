//! Live capture on real interfaces, each test in a network namespace of its own.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on is to fail, and a skipped one to say so"
)]

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use reeve_agent::capture::ring::RingOptions;
use reeve_agent::capture::{CaptureError, Clock, Progress, RingSet, Source};
use reeve_agent::links::{LinkEvent, Links};
use reeve_core::interest::Interest;
use reeve_core::packet::{self, Body, Transport};
use reeve_core::{LinkType, Passage, VantageId};

/// Runs `test` on a thread with a fresh network namespace, which ends with it.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => test(),
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("SKIPPED: a network namespace takes root ({error})");
        }
        Err(error) => panic!("a network namespace takes root: {error}"),
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A veth pair, `tap0` with an address and its peer, both up.
fn pair() {
    ip("link set lo up");
    ip("link add tap0 type veth peer name peer0");
    ip("addr add 192.0.2.1/24 dev tap0");
    ip("neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev tap0");
    ip("link set tap0 up");
    ip("link set peer0 up");
}

const SIZE: RingOptions = RingOptions { block_bytes: 64 << 10, blocks: 4 };

fn whole() -> Interest {
    Interest { sampling: 1, ..Interest::default() }
}

/// Polls until `done`, ten seconds at most.
fn until(rings: &mut RingSet, mut each: impl FnMut(reeve_core::Frame<'_>), mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < end, "it did not happen within ten seconds");
        rings.poll(Duration::from_millis(50), &mut each).unwrap();
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
        let before = clock.now();
        let socket = std::net::UdpSocket::bind("192.0.2.1:4000").unwrap();
        socket.send_to(&[7; 1_000], "192.0.2.2:5000").unwrap();
        let seen = std::cell::RefCell::new(Vec::new());
        until(
            &mut rings,
            |frame| {
                assert_eq!(frame.link, LinkType::Ethernet);
                assert!(frame.at >= before && frame.at <= clock.now());
                let Ok(packet) = packet::parse(frame.link, frame.data, frame.wire_len) else {
                    panic!("malformed")
                };
                if let Body::Ip(ip) = packet.body
                    && let Transport::Udp(udp) = ip.transport
                    && udp.destination_port == 5_000
                {
                    assert_eq!((frame.wire_len, udp.payload_len), (1_042, 1_000));
                    assert_eq!(frame.data.len(), 192, "only so much is taken");
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
fn what_the_ring_has_no_room_for_is_counted() {
    in_namespace(|| {
        pair();
        let mut rings = RingSet::new(Clock::start()).unwrap();
        let tiny = RingOptions { block_bytes: 16 << 10, blocks: 2 };
        rings.add(VantageId(0), "tap0", &whole(), tiny).unwrap();
        let socket = std::net::UdpSocket::bind("192.0.2.1:4000").unwrap();
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
    });
}

#[test]
fn an_interface_that_goes_is_told_and_others_go_on() {
    in_namespace(|| {
        pair();
        ip("link add other0 type veth peer name other1");
        let mut rings = RingSet::new(Clock::start()).unwrap();
        rings.add(VantageId(3), "tap0", &whole(), SIZE).unwrap();
        rings.add(VantageId(4), "other0", &whole(), SIZE).unwrap();
        ip("link set tap0 down");
        rings.poll(Duration::from_millis(50), &mut |_| {}).expect("an interface that is down is still there");
        ip("link del tap0");
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            match rings.poll(Duration::from_millis(50), &mut |_| {}) {
                Err(CaptureError::InterfaceGone { vantage, interface }) => {
                    assert_eq!((vantage, interface.as_str()), (VantageId(3), "tap0"));
                    break;
                }
                other => drop(other.unwrap()),
            }
            assert!(Instant::now() < end, "nothing was told");
        }
        assert_eq!(rings.vantages().collect::<Vec<_>>(), [(VantageId(4), "other0")]);
    });
}

#[test]
fn bulk_is_left_in_the_kernel_and_missing_interfaces_are_named() {
    in_namespace(|| {
        ip("link set lo up");
        let mut rings = RingSet::new(Clock::start()).unwrap();
        let error = rings.add(VantageId(0), "nowhere0", &whole(), SIZE).unwrap_err();
        assert!(matches!(&error, CaptureError::NoInterface { interface } if interface == "nowhere0"));
        let interest = Interest { sampling: 1_000, ..Interest::default() };
        rings.add(VantageId(0), "lo", &interest, SIZE).unwrap();
        assert!(matches!(
            rings.add(VantageId(0), "lo", &interest, SIZE),
            Err(CaptureError::VantageTaken { .. })
        ));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        for _ in 0..200 {
            std::io::Write::write_all(&mut client, &[7; 1_000]).unwrap();
            std::io::Read::read_exact(&mut server, &mut [0; 1_000]).unwrap();
        }
        drop(client);
        let (mut opening, mut bulk) = (0, 0);
        while let Progress::Frames(_) = rings
            .poll(Duration::from_millis(200), &mut |frame| {
                let packet = packet::parse(frame.link, frame.data, frame.wire_len).unwrap();
                let Body::Ip(ip) = packet.body else { return };
                let Transport::Tcp(tcp) = ip.transport else { return };
                opening += usize::from(tcp.flags.any(packet::TcpFlags::SYN));
                bulk += usize::from(tcp.payload_len > 0);
            })
            .unwrap()
        {}
        assert!(opening >= 2, "the handshake is seen");
        assert!(bulk < 100, "{bulk} of 200 or more segments");
    });
}

#[test]
fn interfaces_that_come_go_and_change_are_news() {
    in_namespace(|| {
        let mut links = Links::open().unwrap();
        assert!(links.list().iter().any(|link| link.name == "lo"));
        ip("link add tap0 type veth peer name peer0");
        ip("link set tap0 name tap1");
        ip("link del tap1");
        let (mut appeared, mut renamed, mut vanished) = (false, false, false);
        while let Some(event) = links.wait(Duration::from_secs(5)).unwrap() {
            match event {
                LinkEvent::Appeared(link) => appeared |= link.name == "tap0",
                LinkEvent::Changed(link) => renamed |= link.name == "tap1",
                LinkEvent::Vanished { name, .. } => {
                    vanished |= name == "tap1";
                    break;
                }
            }
        }
        assert!(appeared && renamed && vanished);
    });
}
