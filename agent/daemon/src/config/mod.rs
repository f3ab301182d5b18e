//! The agent's settings: `agent.toml` as types that cannot hold nonsense.
//!
//! Reading is pure ([`parse`]); [`load`] opens what the settings name (policy, tenants) as well, so that `check` and `run`
//! find the same errors. Relative paths are relative to the file that names them.
//!
//! Left out: tenants' and policies' own grammar (`reeve_policy::language`), and what the node itself protects
//! ([`crate::node`]).

mod read;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use reeve_core::ruleset::{Extras, Garden, Local};
use reeve_core::topology::VantageKind;
use reeve_policy::language::{Policy, Rule, parse_tenants_from};
use reeve_policy::local::FIRST_USER;
use reeve_policy::reader::{ConfigErrors, Document, Schema, Trace};
use reeve_policy::{Mode, NodeId, Tenant, TenantId};
use reeve_replay::history;

use crate::blocklists::BlocklistSettings;

/// Where the settings are, if nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/reeve/agent.toml";

/// What `agent.toml` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// This node's name.
    pub node: NodeId,
    /// How far it may go.
    pub mode: Mode,
    /// The policy: a preset's name, or a file.
    pub policy: PolicySource,
    /// Whether a controller may assign another one.
    pub policy_from: PolicyFrom,
    /// Tenants for running alone; with a controller, those that hold until it has sent its own.
    pub tenants: Option<PathBuf>,
    /// Where the agent keeps what it must remember.
    pub state_dir: PathBuf,
    /// Which interfaces are watched, as what.
    pub vantages: Vec<VantageRule>,
    /// How the node's own processes are looked at, where tenants are users or control groups of it.
    pub local: Option<LocalSettings>,
    /// Whether measures may use the kernel's connection tracking, which it is then made to load.
    pub conntrack: bool,
    /// Where plain HTTP of the suspended is led.
    pub garden: Garden,
    /// Tenants to whom nothing is done, on this node.
    pub protected_sources: BTreeSet<TenantId>,
    /// Destinations that are never cut off, beside the node's own, its gateways, resolvers and controller.
    pub protected_destinations: Vec<IpNet>,
    /// Where to report; `None` to run alone.
    pub controller: Option<ControllerSettings>,
    /// Lists of harmful destinations.
    pub blocklists: Vec<BlocklistSettings>,
    /// How capture and tables are sized.
    pub limits: Limits,
    /// How much is kept of what happened, so that policies can be tried on it; nothing if left out.
    pub history: Option<history::Limits>,
    /// Where Prometheus reads the metrics; nowhere if left out.
    pub metrics: Option<SocketAddr>,
}

impl Settings {
    /// What the tables have on this node beside what they have on all.
    #[must_use]
    pub fn extras(&self) -> Extras {
        // Who only observes holds nobody, and loads nothing for it.
        let conntrack = self.conntrack && self.mode == Mode::Enforce;
        let local = self.local.as_ref().map(LocalSettings::ruleset);
        Extras { local, conntrack, garden: self.garden }
    }
}

impl Settings {
    /// Where the history is, if one is kept.
    #[must_use]
    pub fn history_dir(&self) -> PathBuf {
        self.state_dir.join("history")
    }

    /// Adds to what a policy protects what is protected on this node.
    pub fn protect(&self, policy: &mut Policy) {
        policy.protected_sources.extend(self.protected_sources.iter().cloned());
        policy.protected_destinations.extend(self.protected_destinations.iter().copied());
    }
}

/// Where a policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicySource {
    /// Compiled in.
    Preset(String),
    /// A file.
    File(PathBuf),
}

/// Who says which policy holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyFrom {
    /// The settings, whatever a controller says.
    #[default]
    Local,
    /// The controller; the one of the settings holds until it has assigned one, and when it takes that back.
    Controller,
}

/// Interfaces by name, and what they are.
#[derive(Clone, Debug, PartialEq)]
pub struct VantageRule {
    /// What they are to the node.
    pub kind: VantageKind,
    /// Their names; `*`, `?` and `[...]` as in a shell.
    pub interfaces: Vec<glob::Pattern>,
}

/// How the node's own processes are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalSettings {
    /// The netlink group that our table logs to.
    pub group: u16,
    /// How many bytes of a packet are logged, from its IP header on.
    pub snap_len: u32,
    /// Users below this are the system's own.
    pub first_user: u32,
    /// The users that the mail server runs as which customers share.
    pub mailers: Vec<u32>,
    /// Where control groups are; found by itself if left out.
    pub cgroup_root: Option<PathBuf>,
}

impl Default for LocalSettings {
    fn default() -> Self {
        let (mailers, cgroup_root) = (Vec::new(), None);
        Self { group: 30, snap_len: 128, first_user: FIRST_USER, mailers, cgroup_root }
    }
}

impl LocalSettings {
    /// What there is of it in the ruleset.
    #[must_use]
    pub fn ruleset(&self) -> Local {
        let read_len = READ_LEN.max(self.snap_len);
        Local { group: self.group, snap_len: self.snap_len, read_len, has_mailer: !self.mailers.is_empty() }
    }
}

/// How much is logged of a packet whose payload is read: a bundle of segments begins with the commands that stand in it.
pub const READ_LEN: u32 = 2_048;

/// How to reach the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerSettings {
    /// One or more, each `https://HOST:PORT`, or `http://` to the machine itself: controllers of one fleet.
    pub addresses: Vec<String>,
    /// The authority that signed the controller's certificate.
    pub ca: Option<PathBuf>,
    /// This node's certificate.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// Sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Room for captured frames in all rings together, in MiB.
    pub ring_mib: u32,
    /// Room for flows, in MiB.
    pub flow_mib: u32,
    /// Of established TCP connections' bulk, one packet in this many is looked at.
    pub sampling: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self { ring_mib: 64, flow_mib: 64, sampling: 16 }
    }
}

impl Loaded {
    /// What is probably a slip, in words. Not an error: a tenant may come later.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let idle = |rule: &Rule| {
            let (policy, rule) = (&self.policy.name, &rule.id);
            format!(
                "rule `{rule}` of policy `{policy}` protects the provider's own networks, and [networks] `own` names none"
            )
        };
        let mut all: Vec<String> = self.policy.rules_without_networks().map(idle).collect();
        if !self.settings.conntrack {
            let name = &self.policy.name;
            all.extend(self.policy.rules_with_connections().map(|(rule, most)| {
                format!(
                    "rule `{}` of policy `{name}` lets {most} connections at a time through, which this node does not count: \
                     the rate holds alone without `conntrack = true` under [enforcement]",
                    rule.id
                )
            }));
        }
        // Only the controller knows all tenants.
        if self.settings.tenants.is_some() && self.settings.controller.is_none() {
            let told =
                |id| format!("the policy has numbers for tenant `{id}`, which is not in the file of tenants");
            all.extend(self.policy.unknown_tenants(&self.tenants).into_iter().map(told));
        }
        all.extend(self.policy.idle_exemptions(&self.tenants));
        all.extend(self.policy.protected_within(&self.tenants));
        all.extend(self.garden_within());
        all.extend(self.policy.covered_tenants(&self.tenants));
        if self.settings.local.is_none() {
            let node = &self.settings.node;
            let local = self.tenants.iter().filter(|tenant| tenant.is_local_on(node));
            all.extend(local.map(|tenant| {
                format!(
                    "tenant `{}` is users or control groups of this node, which are not watched: [local] is missing",
                    tenant.id
                )
            }));
        }
        all
    }
}

impl Loaded {
    /// Places of the walled garden that are a tenant's, in words: whoever is suspended would be led to that tenant.
    fn garden_within(&self) -> impl Iterator<Item = String> {
        let within = |address: IpAddr| {
            let covers = |tenant: &&Tenant| tenant.addresses.iter().any(|prefix| prefix.contains(&address));
            let tenant = &self.tenants.iter().find(covers)?.id;
            Some(format!(
                "{address}, the walled garden, is an address of tenant `{tenant}`: all other tenants' plain HTTP would be led to it while they are suspended"
            ))
        };
        self.settings.garden.addresses().filter_map(within)
    }
}

impl Settings {
    /// What an interface is to the node, by the first rule that names it.
    #[must_use]
    pub fn kind_of(&self, interface: &str) -> Option<VantageKind> {
        let names = |rule: &&VantageRule| rule.interfaces.iter().any(|pattern| pattern.matches(interface));
        self.vantages.iter().find(names).map(|rule| rule.kind)
    }
}

/// Settings with everything that they name.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The policy, with the node's protected tenants in it.
    pub policy: Arc<Policy>,
    /// The tenants of the local file.
    pub tenants: Vec<Tenant>,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Neither a preset nor a file is called that.
    #[error("`--policy`: found {found:?}; allowed: {}", read::policies())]
    NoSuchPolicy {
        /// What was said.
        found: String,
    },
    /// A file holds what it must not.
    #[error(transparent)]
    Content(#[from] ConfigErrors),
}

/// The settings of a text.
///
/// # Errors
/// All that is wrong with it, with places.
pub fn parse(file: &Path, text: &str) -> Result<Settings, ConfigErrors> {
    let base = file.parent().unwrap_or(Path::new(""));
    Document::read(&file.display().to_string(), text, |root| read::settings(root, base))
}

/// What settings may hold, by what is asked for where `samples` are read. See [`Trace`].
///
/// # Errors
/// The tables that no sample holds.
pub fn schema(samples: &[&str]) -> Result<Schema, Vec<String>> {
    let trace = Trace::default();
    for sample in samples {
        // Those that lack something show what is required.
        let _ = trace.read(sample, |root| read::settings(root, Path::new("")));
    }
    trace.schema("Settings of reeve-agent")
}

/// The settings of a file, with the policy and the tenants that it names.
///
/// # Errors
/// When a file cannot be read, or holds what it must not.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let settings = parse(path, &read_file(path)?)?;
    let mut policy = load_policy(&settings.policy)?;
    settings.protect(&mut policy);
    let tenants = match &settings.tenants {
        Some(path) => {
            let first_user = settings.local.as_ref().map_or(FIRST_USER, |local| local.first_user);
            parse_tenants_from(&path.display().to_string(), &read_file(path)?, first_user)?
        }
        None => Vec::new(),
    };
    Ok(Loaded { settings, policy: Arc::new(policy), tenants })
}

/// The policy of a preset or file.
///
/// # Errors
/// When the file cannot be read, or is no policy.
pub fn load_policy(source: &PolicySource) -> Result<Policy, ConfigError> {
    match source {
        PolicySource::Preset(name) => {
            Ok(Policy::preset(name).expect("a preset's name was checked when it was read"))
        }
        PolicySource::File(path) => Ok(Policy::parse(&path.display().to_string(), &read_file(path)?)?),
    }
}

/// The policy of a command line: a preset's name, or a file.
///
/// # Errors
/// When it is neither, the file cannot be read, or is no policy.
pub fn named_policy(name: &str) -> Result<Policy, ConfigError> {
    match read::policy_source(name, Path::new("")) {
        Some(source) => load_policy(&source),
        None if Path::new(name).is_file() => load_policy(&PolicySource::File(name.into())),
        None => Err(ConfigError::NoSuchPolicy { found: name.to_owned() }),
    }
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "node = \"n1\"\ntenants = \"t.toml\"\n[[vantage]]\nkind = \"port\"\ninterfaces = [\"tap*\"]\n";

    fn check(text: &str, expect: &[&str]) {
        let told: Vec<String> = match parse(Path::new("/etc/reeve/a.toml"), text) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.0.iter().map(|e| e.to_string().replace("/etc/reeve/a.toml:", "")).collect(),
        };
        assert_eq!(told.len(), expect.len(), "{text}\n{told:#?}");
        for (told, expect) in told.iter().zip(expect) {
            assert!(told.starts_with(expect), "{told}\nis not\n{expect}");
        }
    }

    #[test]
    fn a_fresh_install_observes_only() {
        let settings = parse(Path::new("/etc/reeve/a.toml"), GOOD).unwrap();
        assert_eq!(settings.mode, Mode::Observe);
        assert_eq!(settings.policy, PolicySource::Preset("baseline".into()));
        assert_eq!(settings.tenants.as_deref(), Some(Path::new("/etc/reeve/t.toml")));
        assert_eq!(settings.kind_of("tap7"), Some(VantageKind::Port));
        assert_eq!(settings.kind_of("eth0"), None);
    }

    #[test]
    fn errors_say_what_is_wrong_and_where() {
        check(GOOD, &[]);
        check(
            "",
            &["1:1: `node`: found nothing", "1:1: `vantage`: found nothing", "1:1: `tenants`: found nothing"],
        );
        check(
            &format!("mod = \"enforce\"\n{GOOD}"),
            &[
                "1:1: `mod`: found a key that is not known; allowed: blocklist, controller, enforcement, history, limits, local, metrics",
            ],
        );
        check(&format!("mode = 1\n{GOOD}"), &["1:8: `mode`: found 1; allowed: observe, enforce"]);
        check(&format!("policy = \"strict\"\n{GOOD}"), &["1:10: `policy`: found \"strict\"; allowed: "]);
        check(
            &GOOD.replace("\"port\"", "\"tap\""),
            &["4:8: `vantage[1].kind`: found \"tap\"; allowed: port, uplink"],
        );
        check(&GOOD.replace("[\"tap*\"]", "[\"ta[p\"]"), &["5:15: `vantage[1].interfaces[1]`"]);
        check(&GOOD.replace("[\"tap*\"]", "[]"), &["5:14: `vantage[1].interfaces`"]);
        check(
            &format!("{GOOD}[limits]\nring_mib = 0\n"),
            &["7:12: `limits.ring_mib`: found 0; allowed: a whole number from 4 to 4096"],
        );
        check(&format!("{GOOD}[history]\nkeep = \"30d\"\nmax_bytes = 16777216\n"), &[]);
        check(
            &format!("{GOOD}[history]\nkeep = \"5m\"\nmax_bytes = 1000\n"),
            &[
                "7:8: `history.keep`: found \"5m\"; allowed: a time such as 7d, from 1h to 366d",
                "8:13: `history.max_bytes`: found 1000; allowed: a whole number from 16777216 to 1099511627776",
            ],
        );
        check(&format!("{GOOD}[metrics]\nlisten = \"[::1]:9464\"\n"), &[]);
        check(
            &format!("{GOOD}[metrics]\nlisten = \"9464\"\n"),
            &["7:10: `metrics.listen`: found \"9464\"; allowed: ADDRESS:PORT"],
        );
        check(&format!("{GOOD}[metrics]\n"), &["6:1: `metrics.listen`: found nothing"]);
    }

    #[test]
    fn the_suspended_are_led_only_where_connections_are_tracked() {
        let with = |lines: &str| format!("{GOOD}[enforcement]\n{lines}\n");
        let tracked = |places: &str| with(&format!("conntrack = true\nwalled_garden = {places}"));
        check(&tracked("[\"192.0.2.80:8080\", \"[2001:db8::80]:8080\"]"), &[]);
        check(&tracked("[\"[2001:db8::80]:80\"]"), &[]);
        check(
            &with("walled_garden = [\"192.0.2.80:8080\"]"),
            &["7:17: `enforcement.walled_garden`: found a list; allowed: none without `conntrack = true`"],
        );
        check(
            &tracked("[\"192.0.2.80\"]"),
            &["8:18: `enforcement.walled_garden[1]`: found \"192.0.2.80\"; allowed: ADDRESS:PORT"],
        );
        check(
            &tracked("[\"192.0.2.80:80\", \"192.0.2.81:80\"]"),
            &[
                "8:35: `enforcement.walled_garden[2]`: found \"192.0.2.81:80\"; allowed: one place of IPv4 and one of IPv6",
            ],
        );
        for place in
            ["192.0.2.80:0", "127.0.0.1:80", "0.0.0.0:80", "[::1]:80", "[fe80::1]:80", "[ff02::1]:80"]
        {
            check(
                &tracked(&format!("[\"{place}\"]")),
                &[&format!(
                    "8:18: `enforcement.walled_garden[1]`: found \"{place}\"; allowed: a port from 1 on"
                )],
            );
        }
        // Who only observes leads nobody anywhere, and loads nothing for it.
        let text = tracked("[\"192.0.2.80:8080\"]");
        let settings = parse(Path::new("/etc/reeve/a.toml"), &text).unwrap();
        assert!(!settings.garden.is_empty() && !settings.extras().conntrack);
    }

    #[test]
    fn the_nodes_own_processes_are_watched_where_the_settings_say_so() {
        let with = |lines: &str| format!("node = \"n1\"\ntenants = \"t.toml\"\n[local]\n{lines}\n");
        check(&with(""), &[]);
        check(&with("group = 5\nsnap_len = 256\nfirst_user = 500\nmailers = [104, 105]"), &[]);
        check(&with("group = 0"), &["4:9: `local.group`: found 0; allowed: a whole number from 1 to 65535"]);
        check(&with("snap_len = 64"), &["4:12: `local.snap_len`: found 64"]);
        check(&with("mailers = [0]"), &["4:11: `local.mailers`: found a list; allowed: users but 0"]);
        check(&with("mailers = [\"postfix\"]"), &["4:12: `local.mailers[1]`: found \"postfix\""]);
        let settings = parse(Path::new("/etc/reeve/a.toml"), &with("")).unwrap();
        assert_eq!(settings.local, Some(LocalSettings::default()));
    }

    #[test]
    fn blocklists_are_named_once_and_of_a_kind() {
        let with = |lines: &str| format!("{GOOD}{lines}\n");
        let list = "[[blocklist]]\nname = \"drop\"\nfile = \"drop.txt\"\n";
        check(&with(list), &[]);
        check(&with(&format!("{list}kind = \"hosts\"")), &[]);
        check(
            &with(&format!("{list}kind = \"c2\"")),
            &["9:8: `blocklist[1].kind`: found \"c2\"; allowed: networks, hosts"],
        );
        check(&with(&format!("{list}{list}")), &["10:8: `blocklist[2].name`"]);
        check(&with("[[blocklist]]\n"), &["6:1: `blocklist[1].name`", "6:1: `blocklist[1].file`"]);
        let settings = parse(Path::new("/etc/reeve/a.toml"), &with(list)).unwrap();
        assert_eq!(settings.blocklists[0].file, Path::new("/etc/reeve/drop.txt"));
    }

    #[test]
    fn a_controller_is_reached_safely_or_on_this_machine() {
        let with = |lines: &str| format!("{GOOD}[controller]\n{lines}\n");
        let tls = "ca = \"ca.crt\"\ncertificate = \"n.crt\"\nkey = \"n.key\"";
        check(&with(&format!("address = \"https://c.example:7443\"\n{tls}")), &[]);
        check(&with("address = \"http://127.0.0.1:7443\""), &[]);
        check(&with("address = \"http://[::1]:7443\""), &[]);
        check(
            &with("address = \"http://c.example:7443\""),
            &["7:11: `controller.address`: found \"http://c.example:7443\"; allowed: https://"],
        );
        check(
            &with("address = \"https://c.example:7443\""),
            &["6:1: `controller.ca`", "6:1: `controller.certificate`", "6:1: `controller.key`"],
        );
        check(&with("address = \"c.example\""), &["7:11: `controller.address`"]);
        check(
            &with(&format!("address = [\"https://a.example:7443\", \"https://b.example:7443\"]\n{tls}")),
            &[],
        );
        check(&with("address = [\"http://[::1]:7443\", \"http://127.0.0.1:7443\"]"), &[]);
        for wrong in [
            "[]",
            "[\"http://[::1]:7443\", \"http://[::1]:7443\"]",
            "[\"http://[::1]:1\", \"http://c.example:1\"]",
        ] {
            check(&with(&format!("address = {wrong}")), &["7:11: `controller.address`"]);
        }
        check(&with("address = 7"), &["7:11: `controller.address`"]);
    }
}
