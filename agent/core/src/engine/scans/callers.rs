//! Who called first, as frames through the whole engine: what a server does because it was called is no scan, and a call excuses
//! no scan of anybody else.

use super::*;

/// The tenant's answer that it sends without a call that was seen.
fn answer(traffic: &mut Traffic, millis: u64, local_port: u16, to: [u8; 4], port: u16, flags: u8) {
    traffic.raw(millis, ip(6, ME, to, &segment((local_port, port), flags, (7, 8), b"")));
}

/// The peer's reset.
fn reset(traffic: &mut Traffic, millis: u64, local_port: u16, from: [u8; 4], port: u16) {
    traffic.0.push((millis, false, ip(6, from, ME, &segment((port, local_port), RST, (8, 0), b""))));
}

#[test]
fn servers_that_dial_their_callers_are_no_scanners() {
    check_silent("active FTP to closed ports of the client", |traffic| {
        traffic.called(500, host(1), 21);
        for number in 0..60_u16 {
            traffic.tcp(2_000 + u64::from(number) * 900, 20, host(1), 40_000 + number, Refused);
        }
    });
    check_silent("ident, asked of every client", |traffic| {
        for number in 0..60 {
            let when = 1_000 + u64::from(number) * 1_500;
            traffic.called(when, host(number), 6_667);
            traffic.tcp(when + 100, 50_000 + number as u16, host(number), 113, Refused);
        }
    });
    check_silent("media to ports that a caller named", |traffic| {
        traffic.called_udp(500, host(1), 5_060, 5_060);
        for number in 0..60_u16 {
            let when = 1_000 + u64::from(number) * 900;
            traffic.udp(when, 10_000 + 2 * number, host(1), 40_000 + 2 * number, Refused);
        }
    });
    check_silent("a node that is told of many peers at one address", |traffic| {
        swarm(traffic, 10_000, 51_000);
        for number in 0..60_u16 {
            traffic.udp(10_000 + u64::from(number) * 500, 51_000, host(900), 30_000 + number * 7, Silent);
        }
    });
}

#[test]
fn a_call_excuses_no_scan() {
    check_found("a host that was never heard of", |traffic| {
        traffic.called(500, host(1), 80);
        for number in 0..25_u16 {
            traffic.tcp(1_000 + u64::from(number) * 100, 40_000, host(2), 1_000 + number, Refused);
        }
    });
    check_found("a host in whose name somebody sent a SYN", |traffic| {
        traffic.0.push((500, false, ip(6, host(2), ME, &segment((9, 80), SYN, (5, 0), b""))));
        traffic.raw(501, ip(6, ME, host(2), &segment((80, 9), SYN | ACK, (77, 6), b"")));
        for number in 0..25_u16 {
            traffic.tcp(1_000 + u64::from(number) * 100, 40_000, host(2), 1_000 + number, Refused);
        }
    });
    check_found("a host in whose name somebody sent datagrams, all its ports", |traffic| {
        traffic.called_udp(500, host(2), 9, 53);
        for number in 0..1_000_u16 {
            traffic.tcp(1_000 + u64::from(number) * 20, 40_000, host(2), 1_000 + number, Refused);
        }
    });
    check_found("hosts that sent datagrams, one port", |traffic| {
        for number in 0..40 {
            traffic.called_udp(500 + u64::from(number), host(number), 9, 53);
            traffic.tcp(2_000 + u64::from(number) * 100, 40_000, host(number), 80, Silent);
        }
    });
    // Told, though a customer is not accused of it: whoever called names the ports.
    check_found("all ports of a caller", |traffic| {
        traffic.called(500, host(1), 21);
        for number in 0..1_000_u16 {
            traffic.tcp(1_000 + u64::from(number) * 20, 40_000, host(1), 1_000 + number, Refused);
        }
    });
}

#[test]
fn answers_from_elsewhere_are_no_scan() {
    check_silent("TFTP, to a host that refuses and to many that say nothing", |traffic| {
        for number in 0..60_u32 {
            let when = 1_000 + u64::from(number) * 300;
            let (peer, port) =
                if number < 30 { (host(1), 40_000 + number as u16) } else { (host(number), 4_444) };
            let mut datagram = Vec::new();
            [port, 69, 8, 0].iter().for_each(|word| datagram.extend(word.to_be_bytes()));
            traffic.0.push((when, false, ip(17, peer, ME, &datagram)));
            let fate = if number < 30 { Refused } else { Silent };
            traffic.udp(when + 1, 50_000 + number as u16, peer, port, fate);
        }
    });
}

/// Clients called a port of the tenant's and vanished; two hours later its keepalives find out.
fn vanished(traffic: &mut Traffic, local_port: u16, clients: u32, is_one_host: bool, is_refused: bool) {
    for number in 0..clients {
        let client = if is_one_host { host(1) } else { host(number) };
        let opened = 1_000 + u64::from(number) * 500;
        traffic.called(opened, client, local_port);
        let port = 30_000 + (opened % 30_000) as u16;
        for again in 0..3 {
            let when = 7_200_000 + opened + again * 75_000;
            answer(traffic, when, local_port, client, port, ACK);
            if is_refused {
                reset(traffic, when + 20, local_port, client, port);
                break;
            }
        }
    }
}

#[test]
fn keepalives_to_clients_that_are_gone_are_no_probes() {
    for (local_port, is_one_host, is_refused) in
        [(22, false, false), (8_883, true, false), (5_432, true, true), (443, false, true)]
    {
        check_silent(&format!("keepalives from {local_port}"), |traffic| {
            vanished(traffic, local_port, 40, is_one_host, is_refused);
        });
    }
}

#[test]
fn probes_for_filters_are_found_whatever_the_tenant_serves() {
    check_found("ports of one host from one port", |traffic| {
        vanished(traffic, 22, 5, false, false);
        for number in 0..25_u16 {
            answer(traffic, 100_000 + u64::from(number) * 50, 51_234, host(800), 1_000 + number, ACK);
        }
    });
    check_found("many hosts at one port, from a port that serves", |traffic| {
        vanished(traffic, 443, 5, false, false);
        for number in 0..25 {
            answer(traffic, 100_000 + u64::from(number) * 50, 443, host(100 + number), 8_080, ACK);
        }
    });
    check_found("many hosts by SYN-ACK, which some refuse", |traffic| {
        for number in 0..300_u32 {
            let when = 100_000 + u64::from(number) * 10;
            answer(traffic, when, 40_000, host(number), 443, SYN | ACK);
            if number % 7 == 0 {
                reset(traffic, when + 20, 40_000, host(number), 443);
            }
        }
    });
    check_found("all ports of a host by SYN-ACK, in silence", |traffic| {
        traffic.called(1_000, host(1), 80);
        for number in 0..300_u16 {
            answer(traffic, 100_000 + u64::from(number) * 10, 40_000, host(2), 1 + number, SYN | ACK);
        }
    });
}

#[test]
fn a_server_that_is_flooded_from_forged_addresses_is_no_scanner() {
    check_silent("SYN flood, half of which refuse the answer, some of it missed by the sensor", |traffic| {
        for number in 0..3_000_u32 {
            let when = 1_000 + u64::from(number) * 2;
            if number % 50 != 49 {
                let call = segment((2_000, 80), SYN, (number, 0), b"");
                traffic.0.push((when, false, ip(6, host(number), ME, &call)));
            }
            answer(traffic, when, 80, host(number), 2_000, SYN | ACK);
            if number % 2 == 0 {
                reset(traffic, when + 20, 80, host(number), 2_000);
            }
        }
    });
}
