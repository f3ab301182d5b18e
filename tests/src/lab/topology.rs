//! How the four namespaces are wired: links, addresses, routes, kernel settings, and which hosts exist.
//!
//! Model: tables of text for `ip` and `nft`, applied once. There is no connection tracking anywhere in the lab, so that the node under
//! test is the only one that could bring it.

use std::path::Path;

use anyhow::Context;

use super::namespace::Namespace;
use super::{Lab, Shape};

/// What the router's operator had in nftables before the agent came; it must be there unchanged afterwards.
const FOREIGN_RULES: &str = "
table inet operator {
  set trusted { type ipv4_addr; flags interval; elements = { 198.51.100.0/28, 198.51.100.77 }; }
  chain forward { type filter hook forward priority 10; policy accept;
    ip saddr @trusted tcp dport 179 accept
    meta l4proto 132 ip daddr 192.0.2.1 drop
  }
}
table netdev operator_edge {
  chain edge { type filter hook ingress device \"up0\" priority 5; policy accept; ip saddr 192.0.2.99 drop; }
}
";

/// Which hosts of the internet exist, and what closed ports there do.
const INTERNET_RULES: &str = "
table inet internet {
  chain input { type filter hook input priority 0; policy accept;
    ip daddr 185.0.0.0/8 drop
    ip daddr 51.0.0.0/8 ip daddr & 0.0.0.3 != 1 drop
    ip daddr 104.0.0.0/8 tcp dport { 22, 80, 8080 } accept
    ip daddr 104.0.0.0/8 icmp type echo-request accept
    ip daddr 104.0.0.0/8 drop
    ip6 daddr 2001:db8:fdea::/48 drop
  }
}
";

const INTERNET_V4: [&str; 5] = ["20.0.0.0/8", "51.0.0.0/8", "104.0.0.0/8", "185.0.0.0/8", "198.51.100.0/24"];
const INTERNET_V6: [&str; 1] = ["2001:db8:f000::/36"];

/// Kernel settings of every namespace; the value for the router is the last.
///
/// Error and reset messages are not rate-limited: a scan of the lab must be answered as a network of real hosts would.
const SETTINGS: [(&str, &str, &str); 8] = [
    ("ipv4/ip_forward", "0", "1"),
    ("ipv6/conf/all/forwarding", "0", "1"),
    ("ipv4/icmp_ratelimit", "0", "0"),
    ("ipv4/conf/all/rp_filter", "0", "0"),
    ("ipv4/conf/default/rp_filter", "0", "0"),
    ("ipv4/conf/all/accept_redirects", "0", "0"),
    ("ipv4/conf/all/send_redirects", "0", "0"),
    ("ipv6/conf/default/accept_dad", "0", "0"),
];

/// Wires the namespaces of a lab. `offloads` leaves segmentation offload on, as it is on a real node.
pub(super) fn wire(lab: &Lab, offloads: bool) -> anyhow::Result<()> {
    for namespace in lab.namespaces() {
        set_kernel(namespace, namespace.name() == lab.rt.name())?;
    }
    let (alice, bob, net) = (lab.alice.name(), lab.bob.name(), lab.net.name());
    lab.rt.ip(&format!(
        "link add tap1 type veth peer name eth0 netns {alice}\n\
         link add tap2 type veth peer name eth0 netns {bob}\n\
         link add up0 type veth peer name net0 netns {net}\n"
    ))?;
    if !offloads {
        for (namespace, interface) in lab.interfaces() {
            switch_offloads_off(namespace, interface)?;
        }
    }
    match lab.shape() {
        Shape::Routed => wire_router(&lab.rt, ["tap1", "tap2"])?,
        Shape::Gateway => {
            bridge(&lab.rt, &["tap1", "tap2"])?;
            wire_router(&lab.rt, ["br0"; 2])?;
        }
        Shape::Local => {
            wire_router(&lab.rt, ["tap1", "tap2"])?;
            lab.rt.ip("addr add 203.0.113.10/32 dev lo\naddr add 2001:db8:10::10/128 dev lo nodad\n")?;
        }
        Shape::Bridged { netfilter } => wire_bridge(&lab.rt, netfilter)?,
    }
    wire_tenant(&lab.alice, "203.0.113.10/25", "203.0.113.1", "2001:db8:10::")?;
    wire_tenant(&lab.bob, "203.0.113.138/25", "203.0.113.129", "2001:db8:20::")?;
    wire_internet(&lab.net, lab.shape())?;
    lab.rt.nft(FOREIGN_RULES).context("the router's own rules")?;
    lab.net.nft(INTERNET_RULES).context("the internet's rules")
}

/// Turns off what would bundle packets on one interface.
pub(super) fn switch_offloads_off(namespace: &Namespace, interface: &str) -> anyhow::Result<()> {
    let argv =
        ["ethtool", "-K", interface, "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off"];
    namespace.run(&argv, std::time::Duration::from_secs(10))?.success().map(drop)
}

fn set_kernel(namespace: &Namespace, router: bool) -> anyhow::Result<()> {
    namespace.enter(|| {
        for (key, host, forwarder) in SETTINGS {
            let value = if router { forwarder } else { host };
            std::fs::write(format!("/proc/sys/net/{key}"), value)
                .with_context(|| format!("cannot set {key}"))?;
        }
        Ok(())
    })
}

fn wire_router(rt: &Namespace, [alice, bob]: [&str; 2]) -> anyhow::Result<()> {
    let mut lines = format!(
        "link set tap1 up\nlink set tap2 up\nlink set up0 up\n\
         addr add 203.0.113.1/25 dev {alice}\naddr add 2001:db8:10::1/64 dev {alice} nodad\n\
         addr add 203.0.113.129/25 dev {bob}\naddr add 2001:db8:20::1/64 dev {bob} nodad\n\
         addr add 169.254.9.1/30 dev up0\naddr add 2001:db8:9::1/64 dev up0 nodad\n",
    );
    for prefix in INTERNET_V4 {
        lines += &format!("route add {prefix} via 169.254.9.2\n");
    }
    for prefix in INTERNET_V6 {
        lines += &format!("route add {prefix} via 2001:db8:9::2\n");
    }
    rt.ip(&lines)
}

/// Makes ports of one bridge of them.
fn bridge(rt: &Namespace, ports: &[&str]) -> anyhow::Result<()> {
    let ports = ports.iter().map(|port| format!("link set {port} master br0 up\n"));
    let bridge = "link add br0 up type bridge stp_state 0 forward_delay 0\n".to_owned();
    rt.ip(&std::iter::once(bridge).chain(ports).collect::<String>())
}

fn wire_bridge(rt: &Namespace, netfilter: bool) -> anyhow::Result<()> {
    bridge(rt, &["tap1", "tap2", "up0"])?;
    rt.enter(|| {
        for key in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
            let path = Path::new("/proc/sys/net/bridge").join(key);
            // Without the kernel's module there is nothing that would hand packets over.
            if path.exists() || netfilter {
                std::fs::write(&path, if netfilter { "1" } else { "0" })
                    .with_context(|| format!("cannot set {key}: is the module br_netfilter there?"))?;
            }
        }
        Ok(())
    })
}

fn wire_tenant(tenant: &Namespace, address: &str, gateway: &str, prefix: &str) -> anyhow::Result<()> {
    tenant.ip(&format!(
        "link set eth0 up\naddr add {address} dev eth0\naddr add {prefix}10/64 dev eth0 nodad\n\
         route add default via {gateway}\nroute add default via {prefix}1\n"
    ))
}

fn wire_internet(net: &Namespace, shape: Shape) -> anyhow::Result<()> {
    let mut lines = match shape {
        Shape::Routed | Shape::Gateway | Shape::Local => String::from(
            "link set net0 up\naddr add 169.254.9.2/30 dev net0\naddr add 2001:db8:9::2/64 dev net0 nodad\n\
             route add default via 169.254.9.1\nroute add default via 2001:db8:9::1\n",
        ),
        // The tenants' router is here.
        Shape::Bridged { .. } => String::from(
            "link set net0 up\naddr add 203.0.113.1/25 dev net0\naddr add 203.0.113.129/25 dev net0\n\
             addr add 2001:db8:10::1/64 dev net0 nodad\naddr add 2001:db8:20::1/64 dev net0 nodad\n",
        ),
    };
    for prefix in INTERNET_V4.iter().chain(&INTERNET_V6) {
        lines += &format!("route add local {prefix} dev lo\n");
    }
    net.ip(&lines)
}
