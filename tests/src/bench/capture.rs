//! The ring under floods of small packets: loss and processor time of the whole agent.

use std::time::Duration;

use anyhow::Context as _;

use super::{Figure, cpu_seconds};
use crate::house::House;
use crate::lab::addresses::{ALICE_V4, TENANT_INTERFACE, VICTIM_V4};
use crate::lab::{Generator, Lab, Spread};
use crate::wait::wait_for;

/// A hardware address that is nobody's: the frames are for whoever watches the port, and the node's stack drops them at once, so
/// that the one core that sends them is not spent on forwarding.
pub(super) const NOBODY: [u8; 6] = [2, 0, 0, 0, 0, 9];
const DURATION: Duration = Duration::from_secs(4);
/// The agent tells its health every ten seconds.
const HEALTH: Duration = Duration::from_secs(25);

pub(super) fn run() -> anyhow::Result<Vec<Figure>> {
    let house = House::open_in_mode(Lab::up()?, "observe")?;
    let pid = house.agent().context("the agent runs")?.pid();
    let mut figures = Vec::new();
    for (rate_pps, target) in [(250_000, "no loss"), (500_000, "no loss"), (1_000_000, "no loss at 1 Mpps")] {
        let before = settled(&house)?;
        let cpu_before = cpu_seconds(pid)?;
        let spread = Spread::SourcePorts;
        let generator =
            Generator { rate_pps, duration: DURATION, spread, source: ALICE_V4, destination: VICTIM_V4 };
        let sent = generator.run(&house.lab.alice, TENANT_INTERFACE, NOBODY)?;
        let cpu = (cpu_seconds(pid)? - cpu_before) / sent.took.as_secs_f64();
        let after = settled(&house)?;
        let (received, dropped) = (after.0 - before.0, after.1 - before.1);
        let loss = dropped as f64 / (received + dropped).max(1) as f64;
        let seen = format!("{:.2} Mpps sent, {:.2} % lost", sent.rate_pps() / 1e6, loss * 100.0);
        let what = format!("ring, 60-byte SYN, {} kpps asked", rate_pps / 1_000);
        figures.push(Figure::new(what, seen, target, loss < 0.000_1));
        let per_mpps = cpu / (sent.rate_pps() / 1e6);
        let seen = format!("{:.0} % of a core ({:.0} % per Mpps)", cpu * 100.0, per_mpps * 100.0);
        figures.push(Figure::new(
            "  agent's processor time, parsing and judging all of it",
            seen,
            "one core",
            cpu <= 1.0,
        ));
    }
    Ok(figures)
}

/// Frames received and dropped, once two samples of health agree that nothing more comes.
fn settled(house: &House) -> anyhow::Result<(u64, u64)> {
    let sample = || -> anyhow::Result<(String, u64, u64)> {
        let nodes = house.ask(&["nodes"])?;
        let health = nodes["nodes"][0]["health"].clone();
        let number = |name: &str| health[name].as_u64().unwrap_or(0);
        let at = health["at"].as_str().unwrap_or_default().to_owned();
        Ok((at, number("frames_received"), number("frames_dropped")))
    };
    let (first, ..) = sample()?;
    let (second, _) =
        wait_for("the agent's health", HEALTH, || Ok(Some(sample()?).filter(|now| now.0 != first)))?;
    Ok((second.1, second.2))
}
