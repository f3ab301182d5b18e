//! Memory of an agent with a thousand tenants under a flood of random sources.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::Figure;
use super::capture::NOBODY;
use crate::house::{binary, text};
use crate::lab::addresses::{ALICE_PORT, ALICE_V4, TENANT_INTERFACE, VICTIM_V4};
use crate::lab::{Generator, Lab, Spread};
use crate::wait::wait_until;

const TENANTS: u32 = 1_000;
const RATE_PPS: u32 = 1_000_000;

pub(super) fn run() -> anyhow::Result<Vec<Figure>> {
    let lab = Lab::up()?;
    // A thousand tenants behind one port, told apart by address.
    let mut tenants = String::new();
    for number in 0..TENANTS {
        let address = Ipv4Addr::from(0x0a00_0001 + number);
        writeln!(tenants, "[[tenant]]\nid = \"t{number}\"\naddresses = [\"{address}\"]")?;
    }
    std::fs::write(lab.dir().join("tenants.toml"), tenants)?;
    let settings = format!(
        "node = \"rt\"\ntenants = \"tenants.toml\"\nstate_dir = \"state\"\n\
         [[vantage]]\nkind = \"port\"\ninterfaces = [\"{ALICE_PORT}\"]\n"
    );
    std::fs::write(lab.dir().join("agent.toml"), settings)?;
    let (program, config) = (binary("reeve-agent")?, lab.dir().join("agent.toml"));
    let mut agent = lab.rt.spawn(&[text(&program), "run", "--config", text(&config)])?;
    wait_until("the agent to watch", Duration::from_secs(20), || {
        ensure!(agent.is_running()?, "{}", agent.last_lines(5));
        Ok(agent.stderr().contains("watching"))
    })?;
    let idle = memory_mib(agent.pid(), "VmRSS:")?;
    let flood = |spread| {
        let (duration, source) = (Duration::from_secs(5), ALICE_V4);
        Generator { rate_pps: RATE_PPS, duration, spread, source, destination: VICTIM_V4 }
    };
    flood(Spread::Hosts(TENANTS)).run(&lab.alice, TENANT_INTERFACE, NOBODY)?;
    let tenants_active = memory_mib(agent.pid(), "VmRSS:")?;
    flood(Spread::SourceAddresses).run(&lab.alice, TENANT_INTERFACE, NOBODY)?;
    let after_first = memory_mib(agent.pid(), "VmRSS:")?;
    flood(Spread::SourceAddresses).run(&lab.alice, TENANT_INTERFACE, NOBODY)?;
    let after_second = memory_mib(agent.pid(), "VmRSS:")?;
    let peak = memory_mib(agent.pid(), "VmHWM:")?;
    ensure!(agent.is_running()?, "the agent died: {}", agent.last_lines(5));
    let what = "memory, 1,000 tenants, 1 M random sources/s asked";
    let seen = format!("{peak:.0} MiB peak (idle {idle:.0})");
    let course = format!("{tenants_active:.0}, {after_first:.0}, {after_second:.0} MiB");
    let flat = after_second <= after_first * 1.05;
    Ok(vec![
        Figure::new(what, seen, "<= 256 MiB", peak <= 256.0),
        Figure::new("  after a flood by all tenants, and two of random sources", course, "flat", flat),
    ])
}

fn memory_mib(pid: u32, name: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(name)).context("the kernel tells memory")?;
    let kib: f64 = line.split_whitespace().nth(1).context("in KiB")?.parse()?;
    Ok(kib / 1_024.0)
}
