//! Benchmarks: whole processes on the lab's packets, figures beside the design's targets.
//!
//! Machines are shared and noisy: each figure is the median of a few runs, ratios compare runs that were interleaved, and
//! nothing here fails for being slow. What a figure means and where it was taken stands beside it.

mod capture;
mod core;
mod latency;
mod memory;
mod speed;

use std::io::Write as _;
use std::time::Duration;

/// The most that one measured command may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A figure beside its target.
struct Figure {
    what: String,
    seen: String,
    target: &'static str,
    reached: bool,
}

impl Figure {
    fn new(what: impl Into<String>, seen: String, target: &'static str, reached: bool) -> Self {
        Self { what: what.into(), seen, target, reached }
    }
}

type Part = fn() -> anyhow::Result<Vec<Figure>>;

const PARTS: [(&str, Part); 8] = [
    ("core", core::run),
    ("history", core::history),
    ("elements", core::elements),
    ("measures", core::measures),
    ("capture", capture::run),
    ("speed", speed::run),
    ("latency", latency::run),
    ("memory", memory::run),
];

/// The names of the parts, in the order in which they are run.
pub fn parts() -> impl Iterator<Item = &'static str> {
    PARTS.iter().map(|(name, _)| *name)
}

/// Runs those named, or all if none is, and prints a line a figure.
///
/// # Errors
/// When one cannot be run.
pub fn run(chosen: &[String]) -> anyhow::Result<()> {
    line("figure", "measured", "target", "")?;
    for (_, part) in
        PARTS.iter().filter(|(name, _)| chosen.is_empty() || chosen.iter().any(|one| one == name))
    {
        for Figure { what, seen, target, reached } in part()? {
            line(&what, &seen, target, if reached { "reached" } else { "SHORT" })?;
        }
    }
    Ok(())
}

fn line(what: &str, seen: &str, target: &str, verdict: &str) -> anyhow::Result<()> {
    let text = format!("{what:<58}  {seen:<34}  {target:<22}  {verdict}");
    Ok(writeln!(std::io::stdout(), "{}", text.trim_end())?)
}

/// The middle one; of an even number the lower of the two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// User and system time of a process so far, in seconds.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold anything; times are the 14th and 15th field.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / crate::lab::clock_ticks_per_second())
}
