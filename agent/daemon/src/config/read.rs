//! `agent.toml`, read.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use reeve_core::blocklist::{Blocklists, ListKind};
use reeve_core::ruleset::Garden;
use reeve_core::topology::VantageKind;
use reeve_policy::language::Policy;
use reeve_policy::reader::Section;
use reeve_policy::{Mode, NodeId};

use crate::blocklists::BlocklistSettings;

use super::{ControllerSettings, Limits, LocalSettings, PolicyFrom, PolicySource, Settings, VantageRule};

/// Where the agent keeps its state, if nobody says otherwise.
const DEFAULT_STATE_DIR: &str = "/var/lib/reeve/agent";

pub(super) fn settings(root: &Section<'_, '_>, base: &Path) -> Option<Settings> {
    let node: Option<NodeId> = root
        .required("node", "a name: 1 to 64 letters, digits, `.`, `_` or `-`, the first a letter or digit");
    let mode = root.one_of("mode", &[("observe", Mode::Observe), ("enforce", Mode::Enforce)]);
    let policy = policy(root, base);
    let froms = [("local", PolicyFrom::Local), ("controller", PolicyFrom::Controller)];
    let policy_from = root.one_of("policy_from", &froms).unwrap_or_default();
    let tenants = root.text("tenants").map(|path| base.join(path));
    let state_dir =
        root.text("state_dir").map_or_else(|| PathBuf::from(DEFAULT_STATE_DIR), |path| base.join(path));
    let local = root.section("local").map(|section| local(&section));
    let vantages = vantages(root, local.is_some());
    let (conntrack, garden) =
        root.section("enforcement").map(|section| enforcement(&section)).unwrap_or_default();
    let (mut sources, mut destinations): (Vec<_>, Vec<IpNet>) = (Vec::new(), Vec::new());
    if let Some(protected) = root.section("protected") {
        sources = protected.parsed_list("sources", "tenant ids").unwrap_or_default();
        destinations = prefixes(&protected, "destinations");
        for (index, source) in sources.iter().enumerate() {
            // An address would be a valid name, and protect nobody.
            let text = NodeId::as_str(source);
            if text.parse::<IpAddr>().is_ok() {
                protected.reject_item("sources", index, "tenant ids; addresses are for `destinations`");
            }
        }
        for (index, _) in destinations.iter().enumerate().filter(|(_, net)| net.prefix_len() == 0) {
            protected.reject_item(
                "destinations",
                index,
                "prefixes from /1 on: this one would switch enforcement off",
            );
        }
        protected.finish();
    }
    let controller = root.section("controller").map(|section| controller(&section, base));
    if tenants.is_none() && controller.is_none() && !root.has("controller") {
        root.reject("tenants", "the path of a file of tenants, unless there is a [controller]");
    }
    if policy_from == PolicyFrom::Controller && !root.has("controller") {
        root.reject("policy_from", "\"local\", unless there is a [controller]");
    }
    let blocklists = blocklists(root, base);
    let limits = root.section("limits").map_or_else(Limits::default, |section| limits(&section));
    let history = root.section("history").map(|section| history(&section));
    let metrics = root.section("metrics").and_then(|section| metrics(&section));
    Some(Settings {
        node: node?,
        mode: mode.unwrap_or_default(),
        policy: policy?,
        policy_from,
        tenants,
        state_dir,
        vantages,
        local,
        conntrack,
        garden,
        protected_sources: sources.into_iter().collect(),
        protected_destinations: destinations,
        controller: match controller {
            Some(controller) => Some(controller?),
            None => None,
        },
        blocklists,
        limits,
        history,
        metrics,
    })
}

fn policy(root: &Section<'_, '_>, base: &Path) -> Option<PolicySource> {
    let Some(text) = root.text("policy") else { return Some(PolicySource::Preset("baseline".into())) };
    let source = policy_source(text, base);
    if source.is_none() {
        root.reject("policy", &policies());
    }
    source
}

/// Whether connection tracking may be used, and where the suspended are led.
fn enforcement(section: &Section<'_, '_>) -> (bool, Garden) {
    const KEY: &str = "walled_garden";
    let conntrack = section.boolean("conntrack").unwrap_or_default();
    let places: Vec<SocketAddr> = section
        .parsed_list(KEY, "ADDRESS:PORT, such as 192.0.2.80:8080 or [2001:db8::80]:8080")
        .unwrap_or_default();
    let mut garden = Garden::default();
    for (index, place) in places.into_iter().enumerate() {
        let is_reached = match place.ip() {
            IpAddr::V4(v4) => {
                !(v4.is_unspecified()
                    || v4.is_loopback()
                    || v4.is_multicast()
                    || v4.is_broadcast()
                    || v4.is_link_local())
            }
            IpAddr::V6(v6) => {
                !(v6.is_unspecified()
                    || v6.is_loopback()
                    || v6.is_multicast()
                    || v6.is_unicast_link_local()
                    || v6.to_ipv4_mapped().is_some())
            }
        };
        if place.port() == 0 || !is_reached {
            section.reject_item(KEY, index, "a port from 1 on of an address that packets are routed to");
        }
        let is_second = match place {
            SocketAddr::V4(v4) => garden.v4.replace(v4).is_some(),
            SocketAddr::V6(v6) => garden.v6.replace(v6).is_some(),
        };
        if is_second {
            section.reject_item(KEY, index, "one place of IPv4 and one of IPv6");
        }
    }
    if !conntrack && !garden.is_empty() {
        section.reject(KEY, "none without `conntrack = true`: leading connections elsewhere takes the kernel's connection tracking");
    }
    section.finish();
    (conntrack, garden)
}

/// A preset's name, or what looks like a path.
pub(super) fn policy_source(text: &str, base: &Path) -> Option<PolicySource> {
    if Policy::PRESETS.iter().any(|(name, _)| *name == text) {
        return Some(PolicySource::Preset(text.to_owned()));
    }
    let is_path =
        text.contains('/') || Path::new(text).extension().is_some_and(|extension| extension == "toml");
    is_path.then(|| PolicySource::File(base.join(text)))
}

/// What a policy may be called.
pub(super) fn policies() -> String {
    let all: Vec<&str> = Policy::PRESETS.iter().map(|(name, _)| *name).collect();
    format!("{}, or the path of a file", all.join(", "))
}

/// How the node's own processes are looked at.
fn local(section: &Section<'_, '_>) -> LocalSettings {
    let mut local = LocalSettings::default();
    if let Some(group) = section.integer("group", 1..=65_535) {
        local.group = u16::try_from(group).expect("the range fits");
    }
    if let Some(bytes) = section.integer("snap_len", 96..=2_048) {
        local.snap_len = u32::try_from(bytes).expect("the range fits");
    }
    if let Some(uid) = section.integer("first_user", 1..=4_000_000_000) {
        local.first_user = u32::try_from(uid).expect("the range fits");
    }
    local.mailers = section.parsed_list("mailers", "user ids, as that of postfix").unwrap_or_default();
    if local.mailers.contains(&0) {
        section.reject("mailers", "users but 0: root's processes are the node itself");
    }
    local.cgroup_root = section.text("cgroup_root").map(PathBuf::from);
    section.finish();
    local
}

fn vantages(root: &Section<'_, '_>, is_local: bool) -> Vec<VantageRule> {
    let sections = root.sections("vantage");
    if sections.is_empty() && !is_local {
        root.reject("vantage", "at least one [[vantage]] with kind and interfaces, or [local]");
    }
    let mut rules = Vec::new();
    for section in &sections {
        let kinds = [("port", VantageKind::Port), ("uplink", VantageKind::Uplink)];
        if !section.has("kind") {
            section.reject("kind", "port, uplink");
        }
        let kind = section.one_of("kind", &kinds);
        let allowed = "names of interfaces, `*`, `?` and `[...]` as in a shell";
        let interfaces: Vec<glob::Pattern> = section.parsed_list("interfaces", allowed).unwrap_or_default();
        if interfaces.is_empty() && !section.has("interfaces") {
            section.reject("interfaces", allowed);
        } else if section.parsed_list::<String>("interfaces", allowed).is_some_and(|list| list.is_empty()) {
            section.reject("interfaces", "at least one name");
        }
        section.finish();
        rules.extend(kind.map(|kind| VantageRule { kind, interfaces }));
    }
    rules
}

/// How many addresses of controllers there may be.
const MAX_CONTROLLERS: usize = 8;

fn controller(section: &Section<'_, '_>, base: &Path) -> Option<ControllerSettings> {
    let addresses = addresses(section);
    let path = |key| section.text(key).map(|path| base.join(path));
    let (ca, certificate, key) = (path("ca"), path("certificate"), path("key"));
    let is_over_tls = |address: &String| address.starts_with("https://");
    if addresses.iter().flatten().any(is_over_tls) {
        for (name, value) in [("ca", &ca), ("certificate", &certificate), ("key", &key)] {
            if value.is_none() && !section.has(name) {
                section.reject(name, "the path of a PEM file, made by `reeve-controller init`");
            }
        }
    }
    if addresses.iter().flatten().any(|address| !is_over_tls(address) && !is_on_this_machine(address)) {
        let allowed = "https://HOST:PORT; http:// only to 127.0.0.1 or [::1], where nobody listens in";
        section.reject("address", allowed);
    }
    section.finish();
    Some(ControllerSettings { addresses: addresses?, ca, certificate, key })
}

/// The controller's address, or those of several.
fn addresses(section: &Section<'_, '_>) -> Option<Vec<String>> {
    const KEY: &str = "address";
    const ALLOWED: &str = "https://HOST:PORT";
    if section.is_text(KEY) || !section.has(KEY) {
        return section.required(KEY, ALLOWED).map(|address| vec![address]);
    }
    let all: Vec<String> = section.parsed_list(KEY, ALLOWED)?;
    let is_repeated = |(place, address): (usize, &String)| all[..place].contains(address);
    if !(1..=MAX_CONTROLLERS).contains(&all.len()) || all.iter().enumerate().any(is_repeated) {
        section.reject(KEY, "one address of a controller, or a list of one to 8 that differ");
        return None;
    }
    Some(all)
}

/// Whether `http://ADDRESS:PORT` names a loopback address.
fn is_on_this_machine(address: &str) -> bool {
    let Some(authority) = address.strip_prefix("http://") else { return false };
    let host = authority.trim_end_matches('/').rsplit_once(':').map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn metrics(section: &Section<'_, '_>) -> Option<SocketAddr> {
    let listen = section.required("listen", "ADDRESS:PORT, such as 127.0.0.1:9464");
    section.finish();
    listen
}

/// Lists of harmful destinations. Whether their files can be read is found out when they are.
fn blocklists(root: &Section<'_, '_>, base: &Path) -> Vec<BlocklistSettings> {
    let mut lists: Vec<BlocklistSettings> = Vec::new();
    for section in root.sections("blocklist") {
        let name = section.required(
            "name",
            "a name: 1 to 64 letters, digits, `.`, `_` or `-`, the first a letter or digit",
        );
        let file = section.required_text("file", "the path of a file").map(|path| base.join(path));
        let kind = section.one_of("kind", &ListKind::ALL).unwrap_or_default();
        let (Some(name), Some(file)) = (name, file) else {
            section.finish();
            continue;
        };
        if lists.iter().any(|list| list.name == name) {
            section.reject("name", "a name that no blocklist above has");
        }
        section.finish();
        let place = section.place("file");
        lists.push(BlocklistSettings { name, file, kind, place });
    }
    if lists.len() > Blocklists::MAX {
        root.reject("blocklist", "at most 32 blocklists");
    }
    lists
}

fn limits(section: &Section<'_, '_>) -> Limits {
    let mut limits = Limits::default();
    let fit = |number: u64| u32::try_from(number).expect("the range fits");
    if let Some(number) = section.integer("ring_mib", 4..=4_096) {
        limits.ring_mib = fit(number);
    }
    if let Some(number) = section.integer("flow_mib", 1..=16_384) {
        limits.flow_mib = fit(number);
    }
    if let Some(number) = section.integer("sampling", 1..=1_000) {
        limits.sampling = u16::try_from(number).expect("the range fits");
    }
    section.finish();
    limits
}

/// How much is kept of what happened.
fn history(section: &Section<'_, '_>) -> reeve_replay::history::Limits {
    /// 1 TiB: more than any disk is asked for.
    const MOST: u64 = 1 << 40;
    let mut limits = reeve_replay::history::Limits::default();
    let (hour, year) = (Duration::from_secs(3_600), Duration::from_secs(366 * 86_400));
    if let Some(keep) =
        section.span("keep", "a time such as 7d, from 1h to 366d", |keep| (hour..=year).contains(keep))
    {
        limits.keep = keep;
    }
    let least = reeve_replay::history::Limits::LEAST_BYTES;
    if let Some(bytes) = section.integer("max_bytes", least..=MOST) {
        limits.max_bytes = bytes;
    }
    section.finish();
    limits
}

/// Addresses and prefixes.
fn prefixes(section: &Section<'_, '_>, key: &str) -> Vec<IpNet> {
    let allowed = "addresses like 192.0.2.1 or prefixes like 2001:db8::/48 without bits behind their length";
    section.looks_like(
        key,
        "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$",
        "an address like 192.0.2.1 or a prefix like 2001:db8::/48",
    );
    let texts: Vec<String> = section.parsed_list(key, allowed).unwrap_or_default();
    let mut nets = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            Ok(net) if net == net.trunc() => nets.push(net),
            _ => section.reject_item(key, index, allowed),
        }
    }
    nets
}
