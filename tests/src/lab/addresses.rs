//! The lab's address plan: documentation prefixes for the tenants, whole /8s for the internet.
//!
//! The internet's prefixes are public ones, because private addresses are bogons to the agent; they exist in the lab's namespaces only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Alice's address; her link is 203.0.113.0/25.
pub const ALICE_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// Alice's address in her prefix 2001:db8:10::/64.
pub const ALICE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, 0x10);
/// Bob's address; his link is 203.0.113.128/25.
pub const BOB_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 138);
/// Bob's address in his prefix 2001:db8:20::/64.
pub const BOB_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x20, 0, 0, 0, 0, 0x10);

/// Both of Alice's addresses.
pub const ALICE: [IpAddr; 2] = [IpAddr::V4(ALICE_V4), IpAddr::V6(ALICE_V6)];
/// Both of Bob's addresses.
pub const BOB: [IpAddr; 2] = [IpAddr::V4(BOB_V4), IpAddr::V6(BOB_V6)];

/// A web server in 20.0.0.0/8, where every address answers and closed ports refuse.
pub const WEB_V4: Ipv4Addr = Ipv4Addr::new(20, 80, 7, 7);
/// A web server in 2001:db8:f000::/36, where every address answers.
pub const WEB_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf000, 0, 0, 0, 0, 0x80);
/// Another host that answers, for what must stay reachable.
pub const OTHER_V4: Ipv4Addr = Ipv4Addr::new(20, 99, 1, 2);
/// The host that scans and floods are sent to.
pub const VICTIM_V4: Ipv4Addr = Ipv4Addr::new(20, 66, 6, 6);
/// The host that runs iperf3.
pub const SPEED_V4: Ipv4Addr = Ipv4Addr::new(20, 52, 1, 1);
/// The host that serves names, where there is one.
pub const NAMES_V4: Ipv4Addr = Ipv4Addr::new(20, 53, 0, 53);
/// A protected service on port 8090, and another.
pub const API_V4: Ipv4Addr = Ipv4Addr::new(20, 90, 0, 1);
/// See [`API_V4`].
pub const SLOW_API_V4: Ipv4Addr = Ipv4Addr::new(20, 90, 0, 2);
/// A host in 185.0.0.0/8, where nobody answers at all.
pub const DEAD_V4: Ipv4Addr = Ipv4Addr::new(185, 1, 2, 3);
/// A host in 2001:db8:fdea::/48, where nobody answers at all.
pub const DEAD_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xfdea, 0, 0, 0, 0, 1);

/// The router's interface towards Alice, towards Bob and towards the internet.
pub const ALICE_PORT: &str = "tap1";
/// See [`ALICE_PORT`].
pub const BOB_PORT: &str = "tap2";
/// See [`ALICE_PORT`].
pub const UPLINK: &str = "up0";
/// A tenant's only interface.
pub const TENANT_INTERFACE: &str = "eth0";
/// The internet's only interface.
pub const INTERNET_INTERFACE: &str = "net0";
