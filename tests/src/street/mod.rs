//! A street: a lab with many tenants on one node that observes, and nothing but that.
//!
//! ```text
//!  home 1 ── eth0 ═ tap11 ─┐
//!  home 2 ── eth0 ═ tap12 ─┤ rt (the node) ── up0 ═ net0 ── net (the internet)
//!  ...                     ┘
//! ```
//! Model: each [`Home`] is a namespace with a port of its own, so that as many tools run at once as there are homes, and
//! each of them is judged by itself. The agent runs alone, from a tenants' file, and writes a record; what it saw is read from a replay of that,
//! which must give what ran live. A witness on every port tells when a tool began, and with how much it was named. Left out: measures, which
//! other tests walk through.

mod table;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

pub use table::{Expected, Row, run_table};

use crate::house::{binary, since_epoch, text};
use crate::lab::{Header, Lab, Namespace, Process, Sniffer};
use crate::wait::wait_until;

/// The most that the agent may take to be ready, or to end, on a busy machine.
const READY: Duration = Duration::from_secs(40);
/// The most that a replay may take.
const REPLAY: Duration = Duration::from_secs(1_800);

/// What stands on the agent's blocklist.
pub const LISTED: &str = "20.90.250.0/24";

/// A tenant's machine.
#[derive(Debug)]
pub struct Home {
    /// Its number, from 1 on.
    pub number: u8,
    /// The tenant's id.
    pub id: String,
    /// What the tenant is expected to do, as a plan says it; nothing in particular if empty.
    pub profile: String,
    /// Where its programs run.
    pub namespace: Namespace,
}

impl Home {
    /// Its address; its link is the /24 around it.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        Ipv4Addr::new(45, 10, self.number, 2)
    }

    /// Its gateway.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(45, 10, self.number, 1)
    }

    /// Its address in its prefix of 64 bits.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0xa000 + u16::from(self.number), 0, 0, 0, 0, 2)
    }

    /// The node's interface towards it.
    #[must_use]
    pub fn port(&self) -> String {
        format!("tap{}", u16::from(self.number) + 10)
    }

    /// The hardware address of that.
    #[must_use]
    pub fn gateway_mac(&self) -> String {
        format!("02:00:00:00:01:{:02x}", self.number)
    }

    /// Its own hardware address.
    #[must_use]
    pub fn mac(&self) -> String {
        format!("02:00:00:00:02:{:02x}", self.number)
    }
}

/// What the agent told of a tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Who.
    pub tenant: String,
    /// The class of the alert.
    pub class: String,
    /// The alert's time, since the Unix epoch.
    pub at: Duration,
    /// Whether it is a suspicion only.
    pub is_suspicion: bool,
    /// Its numbers.
    pub metrics: String,
}

/// Many tenants and a node.
#[derive(Debug)]
pub struct Street {
    // Dropped before the namespaces that they run in.
    agent: Option<Process>,
    witnesses: Vec<Sniffer>,
    /// Who lives here.
    pub homes: Vec<Home>,
    /// The lab that it is built in.
    pub lab: Lab,
}

impl Street {
    /// Builds a street for tenants with these ids and profiles, and starts the agent. `policy` is a policy's text; without it
    /// the baseline holds.
    ///
    /// # Errors
    /// When the user is not root, or something does not come up.
    pub fn build(tenants: &[(&str, &str)], policy: Option<&str>) -> anyhow::Result<Self> {
        let lab = Lab::up()?;
        let mut street = Self { agent: None, witnesses: Vec::new(), homes: Vec::new(), lab };
        for (index, (id, profile)) in tenants.iter().enumerate() {
            let number = u8::try_from(index + 1).context("a street has at most 255 homes")?;
            let name = street.lab.rt.name().replace("-rt", &format!("-h{number}"));
            let namespace = Namespace::create(name, street.lab.dir())?;
            let home = Home { number, id: (*id).to_owned(), profile: (*profile).to_owned(), namespace };
            street.wire(&home)?;
            street.witnesses.push(Sniffer::start_on_all(&street.lab.rt, &home.port())?);
            street.homes.push(home);
        }
        street.start_agent(policy)?;
        Ok(street)
    }

    fn wire(&self, home: &Home) -> anyhow::Result<()> {
        let (port, there) = (home.port(), home.namespace.name());
        let (near, far) = (home.gateway_mac(), home.mac());
        self.lab.rt.ip(&format!(
            "link add {port} address {near} type veth peer name eth0 address {far} netns {there}\n"
        ))?;
        self.lab.switch_offloads_off(&self.lab.rt, &port)?;
        self.lab.switch_offloads_off(&home.namespace, "eth0")?;
        let (v4, gateway, v6) = (home.v4(), home.gateway(), home.v6());
        let router = Ipv6Addr::from(u128::from(v6) - 1);
        self.lab.rt.ip(&format!(
            "link set {port} up\naddr add {gateway}/24 dev {port}\naddr add {router}/64 dev {port} nodad\n"
        ))?;
        home.namespace.ip(&format!(
            "link set eth0 up\naddr add {v4}/24 dev eth0\naddr add {v6}/64 dev eth0 nodad\n\
             route add default via {gateway}\nroute add default via {router}\n"
        ))
    }

    fn start_agent(&mut self, policy: Option<&str>) -> anyhow::Result<()> {
        let mut tenants = String::new();
        for home in &self.homes {
            let network = Ipv6Addr::from(u128::from(home.v6()) - 2);
            write!(
                tenants,
                "[[tenant]]\nid = \"{}\"\naddresses = [\"{}\", \"{network}/64\"]\ninterfaces = [\"rt/{}\"]\nmacs = [\"{}\"]\n",
                home.id,
                home.v4(),
                home.port(),
                home.mac(),
            )?;
            if !home.profile.is_empty() {
                writeln!(tenants, "profile = \"{}\"", home.profile)?;
            }
        }
        let dir = self.lab.dir();
        std::fs::write(dir.join("street-tenants.toml"), tenants)?;
        if let Some(policy) = policy {
            std::fs::write(dir.join("street-policy.toml"), policy)?;
        }
        let policy = if policy.is_some() { "street-policy.toml" } else { "baseline" };
        let settings = format!(
            "node = \"rt\"\nmode = \"observe\"\npolicy = \"{policy}\"\ntenants = \"street-tenants.toml\"\n\
             state_dir = \"street-state\"\n\n[[vantage]]\nkind = \"port\"\ninterfaces = [\"tap1?\", \"tap[2-9]?\", \"tap???\"]\n\n\
             [limits]\nring_mib = 4\n\n[[blocklist]]\nname = \"street\"\nfile = \"street-list.txt\"\nkind = \"hosts\"\n"
        );
        std::fs::write(dir.join("street-list.txt"), format!("{LISTED}\n"))?;
        std::fs::write(dir.join("street.toml"), settings)?;
        let (program, config, record) =
            (binary("reeve-agent")?, dir.join("street.toml"), dir.join("street-record"));
        let argv = [text(&program), "run", "--config", text(&config), "--record", text(&record)];
        let mut agent = self.lab.rt.spawn(&[&argv[..], &["--record-limit", "4096"]].concat())?;
        wait_until("the agent to watch", READY, || {
            ensure!(agent.is_running()?, "{}", agent.last_lines(10));
            Ok(agent.stderr().contains("watching"))
        })?;
        self.agent = Some(agent);
        Ok(())
    }

    /// What came from a home so far, in the order of its coming: but for what every host tells its link, and asks of its
    /// gateway.
    ///
    /// # Errors
    /// When packets were lost.
    pub fn sent_by(&self, home: &Home) -> anyhow::Result<Vec<Header>> {
        let witness = self.witnesses.get(usize::from(home.number) - 1).context("each home has a witness")?;
        let is_upkeep = |header: &Header| match (header.source, header.destination) {
            (_, IpAddr::V4(to)) => header.protocol == 0 && to == home.gateway(),
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let router = Ipv6Addr::from(u128::from(home.v6()) - 1);
                let of_router =
                    to == router || to.octets()[13..] == router.octets()[13..] && to.is_multicast();
                from.is_unspecified() || from.is_unicast_link_local() || header.protocol == 58 && of_router
            }
            _ => false,
        };
        let mut headers = witness.headers()?;
        headers.retain(|header| !is_upkeep(header));
        Ok(headers)
    }

    /// Whether more came from a home than its witness keeps.
    #[must_use]
    pub fn was_very_busy(&self, home: &Home) -> bool {
        self.witnesses.get(usize::from(home.number) - 1).is_some_and(Sniffer::is_full)
    }

    /// Stops the agent, replays its record with one shard and with three, which both must give what ran live, and tells the alerts.
    ///
    /// # Errors
    /// When the agent did not stop well, or a replay differs.
    pub fn close(&mut self) -> anyhow::Result<Vec<Told>> {
        let agent = self.agent.take().context("the agent is not running")?;
        agent.terminate(READY)?.success()?;
        let record = self.lab.dir().join("street-record");
        let program = binary("reeve-agent")?;
        let mut told = Vec::new();
        for shards in ["3", "1"] {
            let argv = [text(&program), "replay", "--recorded", "--json", "--shards", shards, text(&record)];
            let replayed = self.lab.rt.run(&argv, REPLAY)?.success()?;
            let events: Vec<Value> =
                replayed.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
            let (end, events) = events.split_last().context("a replay ends with what was played")?;
            ensure!(
                end.pointer("/played/equal").and_then(Value::as_u64) == Some(events.len() as u64),
                "of {} events not all are what ran live: {end}",
                events.len()
            );
            told =
                events.iter().filter_map(|event| Told::read(event).transpose()).collect::<Result<_, _>>()?;
        }
        Ok(told)
    }
}

impl Told {
    fn read(event: &Value) -> anyhow::Result<Option<Self>> {
        let field = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        if field("event") != "alert" {
            return Ok(None);
        }
        let metric = |metric: &Value| {
            let name = metric.get("name").and_then(Value::as_str)?;
            Some(format!("{name} {:.6}", metric.get("value").and_then(Value::as_f64)?))
        };
        let metrics: Vec<String> =
            event.get("metrics").and_then(Value::as_array).into_iter().flatten().filter_map(metric).collect();
        Ok(Some(Self {
            tenant: field("tenant"),
            class: field("class"),
            at: since_epoch(&field("at"))?,
            is_suspicion: event.get("is_suspicion").and_then(Value::as_bool).unwrap_or_default(),
            metrics: metrics.join(", "),
        }))
    }
}

/// How many packets, and how many distinct targets (address, protocol, port), were sent up to `end`.
#[must_use]
pub fn tried_until(headers: &[Header], end: Duration) -> (usize, usize) {
    let before: Vec<&Header> = headers.iter().filter(|header| header.at <= end).collect();
    let targets: BTreeSet<(IpAddr, u8, u16)> =
        before.iter().map(|header| (header.destination, header.protocol, header.port)).collect();
    (before.len(), targets.len())
}
