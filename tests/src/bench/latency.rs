//! From the packet that crosses a threshold to the measure that was read back from the kernel.
//!
//! A decision carries the kernel's stamp of the packet whose outcome crossed the threshold, a measure the time at which it was
//! read back; both are on the agent's one scale. The ring hands a block over after 20 ms at the latest, which is in it.

use std::time::Duration;

use anyhow::Context as _;

use super::{Figure, LIMIT, median};
use crate::house::House;
use crate::lab::Lab;
use crate::lab::addresses::VICTIM_V4;

const ROUNDS: usize = 20;

pub(super) fn run() -> anyhow::Result<Vec<Figure>> {
    let house = House::open(Lab::up()?)?;
    let victim = VICTIM_V4.to_string();
    let argv = ["nmap", "-n", "-Pn", "-sS", "-p", "1-60", "--max-retries", "0", victim.as_str()];
    let mut spans = Vec::new();
    for _ in 0..ROUNDS {
        let nmap = house.lab.alice.spawn(&argv)?;
        let (status, _) = house.wait_for_state("alice", "suspended", Duration::from_secs(10))?;
        let shown = house.ask(&["violations", "show", &status.violation])?;
        let decided = shown["decisions"][0]["at"].as_str().context("a decision has a time")?.to_owned();
        let standing = shown["measures"][0]["since"].as_str().context("a measure has a time")?.to_owned();
        spans.push((seconds(&standing)? - seconds(&decided)?) * 1_000.0);
        drop(nmap);
        house.reevectl(&["release", "alice"])?.success()?;
        house.wait_for_state("alice", "clear", LIMIT)?;
    }
    let worst = spans.iter().copied().fold(0.0, f64::max);
    let middle = median(spans);
    let seen = format!("{middle:.0} ms median, {worst:.0} ms worst of {ROUNDS}");
    Ok(vec![Figure::new(
        "threshold crossed -> measure read back from the kernel",
        seen,
        "p99 <= 300 ms",
        worst <= 300.0,
    )])
}

/// Seconds within the day of an RFC 3339 time; midnight is not worth a library here.
fn seconds(text: &str) -> anyhow::Result<f64> {
    let clock = text.split_once('T').map_or(text, |(_, clock)| clock).trim_end_matches('Z');
    let mut parts = clock.split(':');
    let mut next = || -> anyhow::Result<f64> { Ok(parts.next().context("a time has three parts")?.parse()?) };
    Ok(next()? * 3_600.0 + next()? * 60.0 + next()?)
}
