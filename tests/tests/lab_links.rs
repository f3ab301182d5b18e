//! What is said on a tenant's link and is not the tenant's to say, by real tools, and what is fetched from the internet: the table of tool, verdict
//! and time. `--nocapture` shows it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::io::Write as _;
use std::time::Duration;

use reeve_tests::lab::Process;
use reeve_tests::street::{Expected, LISTED, Row, Street, run_table};

/// A crawl takes a minute to be one, and two cores are shared by all.
const AT_ONCE: usize = 24;
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
    row("advertise-gateway", "timeout 5 atk6-fake_advertise6 eth0 @net61", ND),
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

/// On the link of the home that plays a server somebody asks for an address.
fn ask(street: &Street) -> anyhow::Result<Vec<Process>> {
    let asked = street.homes.iter().filter(|home| home.id == "dnsmasq-dhcp");
    let ask = |home: &reeve_tests::street::Home| {
        let port = home.port();
        street.lab.rt.spawn(&[
            "udhcpc",
            "-f",
            "-n",
            "-q",
            "-t",
            "8",
            "-T",
            "2",
            "-i",
            &port,
            "-s",
            "/bin/true",
        ])
    };
    asked.map(ask).collect()
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
