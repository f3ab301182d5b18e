//! What holds although the world around the agent changes: interfaces go and come back, strangers flush the ruleset, the way out is gone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use reeve_tests::house::{House, TENANTS};
use reeve_tests::lab::addresses::{ALICE, ALICE_V4, BOB, INTERNET_INTERFACE, OTHER_V4, VICTIM_V4, WEB_V4};
use reeve_tests::lab::{Lab, Namespace, Sniffer, Visitor};
use reeve_tests::wait::wait_until;

const TOOL: Duration = Duration::from_secs(60);

/// How many times, or for how many seconds: few in every run, `./dev soak` says more.
fn length(variable: &str, short: u32) -> u32 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}

fn fetch(from: &Namespace, address: &str) -> bool {
    let argv =
        ["curl", "--silent", "--max-time", "2", "--output", "/dev/null", &format!("http://{address}/")];
    from.run(&argv, TOOL).unwrap().code() == Some(0)
}

#[test]
fn a_port_that_is_made_anew_is_held_from_its_first_packet_and_watched() {
    let mut house = House::open(Lab::up().unwrap()).unwrap();
    house.reevectl(&["suspend", "alice", "--reason", "test"]).unwrap().success().unwrap();
    let witness = Sniffer::start(&house.lab.net, INTERNET_INTERFACE, &[&ALICE[..], &BOB].concat()).unwrap();
    for _ in 0..3 {
        house.lab.rt.ip("link del tap1\n").unwrap();
        let alice = house.lab.alice.name();
        house.lab.rt.ip(&format!("link add tap1 type veth peer name eth0 netns {alice}\n")).unwrap();
        house
            .lab
            .rt
            .ip("link set tap1 up\naddr add 203.0.113.1/25 dev tap1\naddr add 2001:db8:10::1/64 dev tap1 nodad\n")
            .unwrap();
        house
            .lab
            .alice
            .ip(
                "link set eth0 up\naddr add 203.0.113.10/25 dev eth0\naddr add 2001:db8:10::10/64 dev eth0 nodad\n\
                 route add default via 203.0.113.1\nroute add default via 2001:db8:10::1\n",
            )
            .unwrap();
        // At once, with her own source and another's.
        let web = WEB_V4.to_string();
        for source in [&[][..], &["-a", "198.51.100.9"]] {
            let argv =
                [&["hping3", "-q", "-S", "-p", "80", "-i", "u1000", "-c", "100"], source, &[&web]].concat();
            house.lab.alice.run(&argv, TOOL).unwrap();
        }
    }
    assert!(fetch(&house.lab.bob, &WEB_V4.to_string()), "the witness has somebody to see");
    assert_eq!(witness.count(&ALICE).unwrap(), 0);
    assert_eq!(witness.count(&["198.51.100.9".parse().unwrap()]).unwrap(), 0);
    assert!(witness.count(&BOB).unwrap() > 0);
    house.reevectl(&["release", "alice", "--reason", "test"]).unwrap().success().unwrap();
    assert!(fetch(&house.lab.alice, &WEB_V4.to_string()));
    let target = VICTIM_V4.to_string();
    let scan = ["nmap", "-n", "-Pn", "-sS", "-p", "1-300", "--max-retries", "0", &target];
    house.lab.alice.run(&scan, TOOL).unwrap();
    house.wait_for_violation("alice", "portscan.vertical", Duration::from_secs(10)).unwrap();
    house.check_parity().unwrap();
}

#[test]
fn a_suspended_tenant_keeps_its_lifeline() {
    let house = House::open(Lab::up().unwrap()).unwrap();
    let with_lifeline = TENANTS.replacen(
        "interfaces = [\"rt/tap1\"]",
        &format!("interfaces = [\"rt/tap1\"]\nlifeline = [\"{OTHER_V4}\"]"),
        1,
    );
    std::fs::write(house.path("tenants.toml"), with_lifeline).unwrap();
    let file = house.path("tenants.toml").display().to_string();
    house.reevectl(&["tenants", "import", &file]).unwrap().success().unwrap();
    house.reevectl(&["suspend", "alice", "--reason", "test"]).unwrap().success().unwrap();
    wait_until("the lifeline to be there", Duration::from_secs(5), || {
        Ok(fetch(&house.lab.alice, &OTHER_V4.to_string()))
    })
    .unwrap();
    assert!(!fetch(&house.lab.alice, &WEB_V4.to_string()));
}

#[test]
fn a_dead_agent_holds_nobody_beyond_the_time() {
    for ownership in ["auto", "plain"] {
        let mut house = House::open(Lab::up().unwrap()).unwrap();
        house.stop_agent().unwrap();
        house.agent_arguments = vec!["--ownership".into(), ownership.into()];
        house.start_agent().unwrap();
        let until = Instant::now() + Duration::from_secs(4);
        house.reevectl(&["suspend", "alice", "--reason", "test", "--for", "4s"]).unwrap().success().unwrap();
        house.kill_agent().unwrap();
        assert!(!fetch(&house.lab.alice, &WEB_V4.to_string()), "it stands without the agent");
        wait_until("the kernel to let her go", Duration::from_secs(15), || {
            Ok(fetch(&house.lab.alice, &WEB_V4.to_string()))
        })
        .unwrap();
        assert!(Instant::now() >= until, "not before its time");
    }
}

/// What somebody who flushes the ruleset once a second gets of a suspended tenant's traffic.
fn flushed_every_second(ownership: &str) -> (usize, Duration, u32) {
    let mut house = House::open(Lab::up().unwrap()).unwrap();
    house.stop_agent().unwrap();
    house.agent_arguments = vec!["--ownership".into(), ownership.into()];
    house.start_agent().unwrap();
    house.reevectl(&["suspend", "alice", "--reason", "test"]).unwrap().success().unwrap();
    let witness = Sniffer::start(&house.lab.net, INTERNET_INTERFACE, &[&ALICE[..], &BOB].concat()).unwrap();
    let (times, stop) = (length("REEVE_FLUSHES", 5), AtomicBool::new(false));
    let mut flushes = Vec::new();
    std::thread::scope(|scope| {
        // A packet every millisecond, so that a gap is seen to the millisecond.
        let (house, stop) = (&house, &stop);
        let sender = scope.spawn(move || {
            house.lab.alice.enter(|| {
                let socket = UdpSocket::bind((ALICE_V4, 0))?;
                while !stop.load(Ordering::Relaxed) {
                    let _ = socket.send_to(b"x", SocketAddr::from((WEB_V4, 5_001)));
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            })
        });
        for _ in 0..times {
            let began = Instant::now();
            flushes.push(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap());
            house.lab.rt.nft("flush ruleset").unwrap();
            std::thread::sleep(Duration::from_secs(1).saturating_sub(began.elapsed()));
        }
        stop.store(true, Ordering::Relaxed);
        sender.join().unwrap().unwrap();
    });
    let headers = witness.headers().unwrap();
    let leaked: Vec<Duration> =
        headers.iter().filter(|header| ALICE.contains(&header.source)).map(|header| header.at).collect();
    let gap = |packet: &Duration| {
        let since = flushes.iter().filter(|flush| *flush <= packet).max().copied().unwrap_or_default();
        packet.saturating_sub(since)
    };
    let longest = leaked.iter().map(gap).max().unwrap_or_default();
    // It stands at the end.
    wait_until("the last flush to be mended", Duration::from_secs(2), || {
        Ok(house.lab.rt.ruleset()?.contains("203.0.113.10"))
    })
    .unwrap();
    (leaked.len(), longest, times)
}

#[test]
fn a_flush_has_no_effect_on_owned_tables() {
    let (leaked, _, times) = flushed_every_second("auto");
    let _ = writeln!(std::io::stderr(), "owned tables: {times} flushes, {leaked} packets came through");
    assert_eq!(leaked, 0);
}

#[test]
fn a_flush_of_plain_tables_is_mended() {
    let (leaked, longest, times) = flushed_every_second("plain");
    let _ = writeln!(
        std::io::stderr(),
        "plain tables: {times} flushes, {leaked} packets came through, the longest gap {} ms",
        longest.as_millis()
    );
    assert!(longest < Duration::from_secs(1), "{longest:?}");
}

#[test]
fn nobody_is_a_scanner_because_the_way_out_is_gone() {
    let mut house = House::open(Lab::up().unwrap()).unwrap();
    let seconds = length("REEVE_OUTAGE_SECONDS", 12);
    let visitor = Visitor::start(&house.lab.bob).unwrap();
    // Somebody who speaks with many hosts, as a mail server or a crawler does.
    let busy = |seconds: u32| {
        house.lab.alice.enter(move || {
            let end = Instant::now() + Duration::from_secs(seconds.into());
            let mut number = 0_u32;
            while Instant::now() < end {
                let [.., c, d] = number.to_be_bytes();
                number += 1;
                let address = SocketAddr::from(([20, 70, c, d.max(1)], 80));
                let patience = Duration::from_millis(150);
                if let Ok(mut stream) = std::net::TcpStream::connect_timeout(&address, patience) {
                    let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
                }
            }
            Ok(number)
        })
    };
    busy(3).unwrap();
    for how in ["link set up0 down", "link set net0 down"] {
        let (down, up) = (how, how.replace("down", "up"));
        let side = if how.contains("up0") { &house.lab.rt } else { &house.lab.net };
        side.ip(&format!("{down}\n")).unwrap();
        let tried = busy(seconds / 2).unwrap();
        assert!(tried > 25, "{tried} attempts are enough for a scan");
        side.ip(&format!("{up}\n")).unwrap();
        if how.contains("up0") {
            let mut lines = String::from("addr add 2001:db8:9::1/64 dev up0 nodad\n");
            for prefix in ["20.0.0.0/8", "51.0.0.0/8", "104.0.0.0/8", "185.0.0.0/8", "198.51.100.0/24"] {
                lines += &format!("route replace {prefix} via 169.254.9.2\n");
            }
            house.lab.rt.ip(&lines).unwrap();
        } else {
            let _ = house.lab.net.ip("addr add 2001:db8:9::2/64 dev net0 nodad\n");
            let _ = house.lab.net.ip("route add default via 169.254.9.1\n");
        }
        wait_until("the way out to be back", Duration::from_secs(10), || {
            Ok(fetch(&house.lab.bob, &WEB_V4.to_string()))
        })
        .unwrap();
    }
    // What was tried when the way was gone has had its time to be silent.
    std::thread::sleep(Duration::from_secs(4));
    assert!(house.violations().unwrap().is_empty(), "{:#?}", house.violations().unwrap());
    for tenant in ["alice", "bob"] {
        assert_eq!(house.status(tenant).unwrap().state, "clear");
    }
    assert!(!visitor.report().failures.is_empty(), "bob noticed");
    // And a scanner is one again.
    let target = VICTIM_V4.to_string();
    let scan = ["nmap", "-n", "-Pn", "-sS", "-p", "1-300", "--max-retries", "0", &target];
    house.lab.alice.run(&scan, TOOL).unwrap();
    house.wait_for_violation("alice", "portscan.vertical", Duration::from_secs(10)).unwrap();
    drop(visitor);
    house.check_parity().unwrap();
}
