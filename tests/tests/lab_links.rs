//! What is said on a tenant's link and is not the tenant's to say, by real tools, and what is fetched from the internet: the table of tool, verdict
//! and time. `--nocapture` shows it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::io::Write as _;
use std::time::Duration;

use reeve_tests::lab::Process;
use reeve_tests::street::{Expected, LISTED, Row, Street, run_table};

/// A crawl takes a minute to be one, and two cores are shared by all.
const AT_ONCE: usize = 32;
const LONGEST: Duration = Duration::from_secs(100);

const fn row(id: &'static str, line: &'static str, expected: Expected) -> Row {
    Row { id, line, expected, profile: "" }
}

const ARP: Expected = Expected::Any(&["spoof.arp"]);
const ND: Expected = Expected::Any(&["spoof.nd"]);
const ROUTING: Expected = Expected::Any(&["spoof.routing"]);

const ON_THE_LINK: &[Row] = &[
    row("arpspoof-gateway", "timeout 6 arpspoof -i eth0 @gw", ARP),
    row(
        "arping-gateway",
        "ip addr add @gw/32 dev eth0 && arping -q -U -c 3 -I eth0 -s @gw @gw; ip addr del @gw/32 dev eth0",
        ARP,
    ),
    row("advertise-gateway", "timeout 15 atk6-fake_advertise6 -n 4 -w 1 eth0 @net61", ND),
    // What it sends beside has one address as source and destination.
    row(
        "router6",
        "timeout 6 atk6-fake_router6 eth0 2001:db8:bad::/64",
        Expected::AnyBeside(&["spoof.routing"], &["crash"]),
    ),
    row(
        "dnsmasq-router",
        "ip addr add 2001:db8:bad::1/64 dev eth0 nodad; timeout 15 dnsmasq -k -C /dev/null -p 0 -x $PWD/dn-@n.pid -i eth0 --enable-ra --dhcp-range=2001:db8:bad::,ra-only -l /dev/null",
        ROUTING,
    ),
    // Somebody on the link asks, the node here.
    row(
        "dnsmasq-dhcp",
        "timeout 15 dnsmasq -k -C /dev/null -p 0 -x $PWD/dn-@n.pid -i eth0 -l /dev/null --dhcp-authoritative \
         --dhcp-range=@net4.100,@net4.110",
        ROUTING,
    ),
    // No client looks where an answer comes from.
    row(
        "dhcp-from-another-port",
        "for i in 1 2 3; do { printf '\\002\\001\\006\\000'; head -c 232 /dev/zero; printf '\\143\\202\\123\\143'; } | \
         socat -u - UDP4-DATAGRAM:255.255.255.255:68,sourceport=1067,broadcast; done",
        ROUTING,
    ),
    row("redirect-as-gateway", "hping3 -q -1 -C 5 -K 1 -a @gw -c 3 20.66.@n.1; true", ROUTING),
    row(
        "router26-behind-a-fragment",
        "timeout 6 atk6-fake_router26 -E 1 -A 2001:db8:bad::/64 -i 1 eth0",
        Expected::AnyBeside(&["spoof.routing"], &["crash"]),
    ),
    row(
        "router26-in-the-second-fragment",
        "timeout 6 atk6-fake_router26 -E D -A 2001:db8:bad::/64 -i 1 eth0",
        Expected::AnyBeside(&["spoof.routing", "crash"], &["crash"]),
    ),
    row("ospf-hello", "hping3 -q --rawip --ipproto 89 -c 3 -d 44 224.0.0.5", ROUTING),
    row(
        "keepalived-gateway",
        "printf 'vrrp_instance v { interface eth0\\nvirtual_router_id 7\\npriority 200\\nadvert_int 1\\nvirtual_ipaddress { @gw } }' >ka-@n.conf; \
         timeout 15 keepalived -n -l -P -f $PWD/ka-@n.conf -p ka-@n.pid -r ka-@n.vrrp",
        Expected::AnyBeside(&["spoof.routing", "spoof.arp"], &["spoof."]),
    ),
];

const FETCHED: &[Row] = &[
    row("curl-walks-a-site", "curl -s -o /dev/null --rate 20/s 'http://20.88.@n.1/page[1-1600]'", CRAWL),
    row("curl-listed", "sleep 2; curl -s -m 5 http://20.90.250.@n/; true", Expected::Any(&["malware"])),
    row(
        "curl-listed-refused",
        "sleep 2; for i in 1 2 3 4 5; do curl -s -m 1 http://20.90.250.10$i:81/; done; true",
        Expected::Any(&["malware"]),
    ),
];
const CRAWL: Expected = Expected::Any(&["crawl"]);

const HONEST: &[Row] = &[
    row(
        "own-address",
        "arping -q -U -c 5 -I eth0 @ip; arping -q -A -c 5 -I eth0 @ip; true",
        Expected::Silence,
    ),
    row(
        "is-it-taken",
        "arping -q -D -c 3 -I eth0 @gw; arping -q -c 5 -I eth0 @gw; curl -s http://20.66.@n.1/; true",
        Expected::Silence,
    ),
    row(
        "own-addresses-v6",
        "for i in 11 12 13; do ip addr add @net6$i/64 dev eth0; done; sleep 3; for i in 11 12 13; do curl -s --interface @net6$i http://[2001:db8:9::1]/; done; true",
        Expected::Silence,
    ),
    // Somebody asks from a gateway's address and a router's port, the node here.
    row(
        "answers-whoever-asks",
        "timeout 25 socat -T 3 UDP4-RECVFROM:5300,fork,reuseaddr EXEC:cat; true",
        Expected::Silence,
    ),
    // Somebody on the link has it pass on what is for elsewhere, the node here.
    row("forwards", "sysctl -qw net.ipv4.ip_forward=1; sleep 25", Expected::Silence),
    row("dhcp-client", "udhcpc -n -q -t 4 -T 2 -i eth0 -s /bin/true; true", Expected::Silence),
    row(
        "keepalived-own",
        "printf 'vrrp_instance v { interface eth0\\nvirtual_router_id 7\\npriority 200\\nadvert_int 1\\nvirtual_ipaddress { @ip } }' >ka-@n.conf; \
         timeout 15 keepalived -n -l -P -f $PWD/ka-@n.conf -p ka-@n.pid -r ka-@n.vrrp",
        Expected::Silence,
    ),
    row(
        "curl-in-no-hurry",
        "curl -s -o /dev/null --rate 4/s 'http://20.88.@n.1/page[1-300]'",
        Expected::Silence,
    ),
    row(
        "curl-polls",
        "curl -s -o /dev/null --rate 20/s 'http://20.88.@n.1/status?[1-1500]'",
        Expected::Silence,
    ),
];

/// On the links of homes that play a server somebody asks them, for an address or in a gateway's name, and has one forward.
fn ask(street: &Street) -> anyhow::Result<Vec<Process>> {
    let line = |home: &reeve_tests::street::Home| {
        let (port, address) = (home.port(), home.v4());
        match home.id.as_str() {
            "dnsmasq-dhcp" => Some(format!("exec udhcpc -f -n -q -t 8 -T 2 -i {port} -s /bin/true")),
            "answers-whoever-asks" => Some(format!(
                "for i in 1 2 3; do for p in 520 521 1985 3222; do echo q | socat -t 1 - UDP4:{address}:5300,sourceport=$p,reuseaddr; done; done"
            )),
            "forwards" => {
                let elsewhere = format!("20.77.{}.9", home.number);
                Some(format!(
                    "ip route add {elsewhere}/32 via {address}; exec ping -q -c 150 -i 0.1 -W 1 {elsewhere}"
                ))
            }
            _ => None,
        }
    };
    let asked = street.homes.iter().filter_map(line);
    asked.map(|line| street.lab.rt.spawn(&["sh", "-c", &line])).collect()
}

#[test]
fn what_is_not_a_tenants_to_say_is_named() {
    assert!(LISTED.starts_with("20.90.250."), "the rows dial what is listed");
    let only = std::env::var("REEVE_ROWS").unwrap_or_default();
    let rows: Vec<Row> = [ON_THE_LINK, FETCHED, HONEST]
        .concat()
        .into_iter()
        .filter(|row| only.split(',').any(|only| row.id.contains(only)))
        .collect();
    let (table, wrong) = run_table(&rows, None, AT_ONCE, LONGEST, ask).unwrap();
    let _ = write!(std::io::stderr(), "{table}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
