//! Services that die under a tenant, and what goes on though a measure of ours stops it.

use reeve_policy::Action;

use super::*;

/// What a service does with a connection request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Serve,
    Refuse,
    Ignore,
    /// It answers, and the tenant leaves it at that.
    HalfOpen,
}

/// `rate` connections a second to `port` of the host for `seconds`, from where the stage stands.
fn play(stage: &mut Stage, (rate, seconds): (u64, u64), port: u16, does: Does) {
    let begin = stage.now + 1_000;
    for number in 0..rate * seconds {
        let at = begin + number * 1_000_000 / rate;
        let ports = (10_000 + (number % 50_000) as u16, port);
        let sequence = |mut data: Vec<u8>, number: u32| {
            data[24..28].copy_from_slice(&number.to_be_bytes());
            data
        };
        // Another connection from the same port begins elsewhere.
        let isn = (at / 7) as u32;
        stage.packet(at, true, &sequence(tcp(HOST, ports, SYN, 0), isn));
        match does {
            Does::Refuse => stage.packet(at + 200, false, &tcp_in(HOST, ports, RST | ACK)),
            Does::Ignore => {}
            Does::Serve | Does::HalfOpen => stage.packet(at + 200, false, &tcp_in(HOST, ports, SYN_ACK)),
        }
        if does == Does::Serve {
            stage.packet(at + 210, true, &sequence(tcp(HOST, ports, 0x18, 300), isn.wrapping_add(1)));
            let last = sequence(tcp(HOST, ports, FIN_ACK, 0), isn.wrapping_add(301));
            stage.packet(at + 400, true, &last);
            stage.packet(at + 500, false, &tcp_in(HOST, ports, FIN_ACK));
        }
    }
}

/// Business with port 8080, and then something at a port.
fn check_outage(business: (u64, u64), then: (u64, u64), port: u16, does: Does, expect: &[Class]) {
    let mut stage = Stage::new();
    play(&mut stage, business, 8_080, Does::Serve);
    play(&mut stage, then, port, does);
    assert_eq!(stage.classes(), expect, "{business:?}, then {then:?} at {port}: {does:?}");
}

#[test]
fn a_service_that_dies_is_no_flood_up_to_several_times_its_business() {
    for does in [Does::Refuse, Does::Ignore] {
        check_outage((240, 20), (240, 30), 8_080, does, &[]);
        // It is tried again and again.
        check_outage((240, 20), (960, 5), 8_080, does, &[]);
        check_outage((240, 20), (1_500, 3), 8_080, does, &[Class::FloodSyn]);
        // Without business, or with little, it is what it was.
        check_outage((1, 1), (240, 2), 8_080, does, &[Class::FloodSyn]);
        check_outage((30, 30), (240, 2), 8_080, does, &[Class::FloodSyn]);
        // A burst of business buys little.
        check_outage((300, 1), (240, 2), 8_080, does, &[Class::FloodSyn]);
        // Nor does business with one port of a host speak for another.
        check_outage((240, 20), (240, 2), 81, does, &[Class::FloodSyn]);
    }
    // A service that answers is alive.
    check_outage((240, 20), (500, 3), 8_080, Does::HalfOpen, &[Class::FloodSyn]);
}

#[test]
fn what_is_excused_is_excused_in_its_network_and_in_all() {
    check_outage((1_300, 12), (1_300, 4), 8_080, Does::Refuse, &[]);
}

#[test]
fn a_balancer_that_takes_connections_and_has_no_servers_is_down_as_well() {
    let empty = |stage: &mut Stage, seconds: u64| {
        let begin = stage.now + 1_000;
        for number in 0..240 * seconds {
            let (at, ports) = (begin + number * 1_000_000 / 240, (10_000 + number as u16, 8_080));
            let mut ack = tcp(HOST, ports, ACK, 0);
            ack[24..28].copy_from_slice(&101_u32.to_be_bytes());
            stage.packet(at, true, &tcp(HOST, ports, SYN, 0));
            stage.packet(at + 200, false, &tcp_in(HOST, ports, SYN_ACK));
            stage.packet(at + 210, true, &ack);
            stage.packet(at + 300, false, &tcp_in(HOST, ports, RST));
        }
    };
    for (business, expect) in [(20, [].as_slice()), (0, &[Class::FloodConnect])] {
        let mut stage = Stage::new();
        play(&mut stage, (240, business), 8_080, Does::Serve);
        empty(&mut stage, 5);
        assert_eq!(stage.classes(), expect, "after {business} s of business");
    }
}

/// What policy decides while a flood of `rate` goes on for 75 s, in spite of what is decided.
fn check_held(rate: u64, packet: impl Fn(u64) -> Vec<u8>, expect: &[Action]) {
    let mut stage = Stage::with(1, Mode::Enforce);
    for number in 0..rate * 75 {
        stage.packet(number * 1_000_000 / rate, true, &packet(number));
    }
    let decided: Vec<Action> = stage.decisions.iter().map(|decision| decision.action).collect();
    assert_eq!(decided, expect, "{rate}/s");
    let certain = stage.alerts.iter().filter(|alert| !alert.is_suspicion).count();
    assert!(expect.len() > 1 || certain == 1, "what goes on is told as a suspicion: {certain}");
}

#[test]
fn trying_again_what_we_block_is_no_second_offence_and_flooding_on_is() {
    use Action::{Block, Suspend};
    let syn = |number| tcp(HOST, (high(number), 80), SYN, 0);
    check_held(250, syn, &[Block]);
    check_held(2_000, syn, &[Block, Suspend]);
    let ack = |number| tcp(HOST, (high(number), 443), ACK, 0);
    check_held(1_000, ack, &[Block]);
    let datagram = |number| udp(HOST, (high(number), 53), 100);
    check_held(1_100, datagram, &[Block]);
    check_held(150, |_| icmp(HOST, 8), &[Block]);
    check_held(450, |_| icmp(HOST, 8), &[Block, Suspend]);
}

#[test]
fn going_on_elsewhere_is_another_matter() {
    let mut stage = Stage::with(1, Mode::Enforce);
    for number in 0..250 * 70 {
        let host = if number < 250 * 60 { HOST } else { "20.0.0.9" };
        stage.packet(number * 4_000, true, &tcp(host, (high(number), 80), SYN, 0));
    }
    let decided: Vec<Action> = stage.decisions.iter().map(|decision| decision.action).collect();
    assert_eq!(decided, [Action::Block, Action::Suspend]);
}

#[test]
fn a_measure_that_is_only_played_makes_nothing_of_what_a_capture_shows() {
    let mut stage = Stage::with(1, Mode::Enforce);
    stage.engine.pretend_measures();
    play(&mut stage, (240, 4), 8_080, Does::Refuse);
    assert_eq!(stage.decisions.len(), 1);
    let told = stage.alerts.len();
    // What is served in spite of the block, which nobody imposed, is served.
    play(&mut stage, (600, 62), 8_080, Does::Serve);
    stage.classes();
    stage.now += 6_000_000;
    assert_eq!(stage.alerts.len(), told, "{:?}", stage.alerts.last());
    assert_eq!(stage.decisions.len(), 1);
    // The same flood goes on: live, the block would hold it.
    play(&mut stage, (250, 5), 99, Does::Refuse);
    stage.classes();
    assert!(stage.alerts[told..].iter().all(|alert| alert.is_suspicion) && stage.alerts.len() > told);
    assert_eq!(stage.decisions.len(), 1);
}
