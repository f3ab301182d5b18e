//! The table: each tool in a home of its own, what was told of it, when, and whether that is right.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::ensure;

use super::{Home, Street, Told, tried_until};
use crate::lab::{Header, Process};

/// How long after the last tool's end silence may still tell.
const SETTLING: Duration = Duration::from_secs(9);

/// What a tool is to be taken for.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// At least one alert of these classes (or families, by `name.`), and none of others.
    Any(&'static [&'static str]),
    /// One of the first, and none beside the second.
    AnyBeside(&'static [&'static str], &'static [&'static str]),
    /// Nothing at all.
    Silence,
}

/// A tool and what it is to be taken for.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The tenant's id; also the row's name.
    pub id: &'static str,
    /// A line of shell. `@n` is the home's number, `@ip` its address, `@gw` its gateway, `@net4` its link up to the last number, `@net6` its prefix of 64 bits up to the last
    /// group, `@mac` its hardware address and `@gwmac` its gateway's.
    pub line: &'static str,
    /// What is expected.
    pub expected: Expected,
    /// The tenant's profile; empty for none.
    pub profile: &'static str,
}

impl Row {
    fn line(&self, home: &Home) -> String {
        let v6 = home.v6().to_string();
        let net6 = v6.strip_suffix('2').unwrap_or(&v6);
        // The longer names first, since the shorter ones begin them.
        let places = [
            ("@net6", net6.to_owned()),
            ("@net4", format!("45.10.{}", home.number)),
            ("@gwmac", home.gateway_mac()),
            ("@mac", home.mac()),
            ("@gw", home.gateway().to_string()),
            ("@ip", home.v4().to_string()),
            ("@n", home.number.to_string()),
        ];
        places.iter().fold(self.line.to_owned(), |line, (place, value)| line.replace(place, value))
    }

    /// What is wrong with what was told of it; `None` where nothing is.
    fn complaint(&self, told: &[&Told]) -> Option<String> {
        let is_of = |class: &str, names: &[&str]| {
            names.iter().any(|name| class == *name || name.ends_with('.') && class.starts_with(name))
        };
        let (wanted, beside): (&[&str], &[&str]) = match self.expected {
            Expected::Any(wanted) => (wanted, &[]),
            Expected::AnyBeside(wanted, beside) => (wanted, beside),
            Expected::Silence => (&[], &[]),
        };
        let wrong: Vec<&str> = told
            .iter()
            .map(|told| told.class.as_str())
            .filter(|class| !is_of(class, wanted) && !is_of(class, beside))
            .collect();
        if !wrong.is_empty() {
            return Some(format!("taken for {}", wrong.join(", ")));
        }
        let is_named = told.iter().any(|told| is_of(&told.class, wanted) && !told.is_suspicion);
        (!wanted.is_empty() && !is_named).then(|| format!("missed: {}", wanted.join(" or ")))
    }
}

/// Lets every row's tool run at the same time as `at_once` others, for at most `longest` each, and gives the table as text, and what was wrong.
///
/// # Errors
/// When the street cannot be built or fails.
pub fn run_table(
    rows: &[Row],
    policy: Option<&str>,
    at_once: usize,
    longest: Duration,
    prepare: impl FnOnce(&Street) -> anyhow::Result<Vec<Process>>,
) -> anyhow::Result<(String, Vec<String>)> {
    let tenants: Vec<(&str, &str)> = rows.iter().map(|row| (row.id, row.profile)).collect();
    let mut street = Street::build(&tenants, policy)?;
    let servers = prepare(&street)?;
    let seconds = longest.as_secs().to_string();
    let mut logs = Vec::new();
    for chunk in rows.iter().zip(&street.homes).collect::<Vec<_>>().chunks(at_once.max(1)) {
        let spawn = |(row, home): &(&Row, &Home)| {
            home.namespace.spawn(&["timeout", &seconds, "sh", "-c", &row.line(home)])
        };
        let tools: Vec<Process> = chunk.iter().map(spawn).collect::<Result<_, _>>()?;
        for tool in tools {
            let finished = tool.finish(longest + Duration::from_secs(20))?;
            logs.push(finished.text());
        }
    }
    std::thread::sleep(SETTLING);
    let sent: Vec<Vec<Header>> =
        street.homes.iter().map(|home| street.sent_by(home)).collect::<Result<_, _>>()?;
    drop(servers);
    let told = street.close()?;
    let mut text =
        format!("{:<34} {:<34} {:>8} {:>9} {:>8}\n", "tool", "verdict", "after s", "packets", "targets");
    let mut wrong = Vec::new();
    for (((row, home), headers), log) in rows.iter().zip(&street.homes).zip(&sent).zip(&logs) {
        let of_home: Vec<&Told> = told.iter().filter(|told| told.tenant == row.id).collect();
        describe(&mut text, row, &of_home, headers)?;
        if let Some(complaint) = row.complaint(&of_home) {
            let last: Vec<&str> = log.lines().rev().take(6).collect();
            wrong.push(format!("{}: {complaint}\n  {}\n  {of_home:?}\n  {last:?}", row.id, row.line(home)));
        } else if headers.is_empty() && of_home.is_empty() {
            wrong.push(format!("{}: it sent nothing: {log}", row.id));
        }
    }
    ensure!(rows.len() == street.homes.len(), "each row has a home");
    Ok((text, wrong))
}

/// A line of the table.
fn describe(text: &mut String, row: &Row, told: &[&Told], headers: &[Header]) -> anyhow::Result<()> {
    let Some(first) = told.iter().min_by_key(|told| told.at) else {
        let (packets, targets) = tried_until(headers, Duration::MAX);
        writeln!(text, "{:<34} {:<34} {:>8} {packets:>9} {targets:>8}", row.id, "-", "-")?;
        return Ok(());
    };
    let mut classes: Vec<String> = Vec::new();
    for told in told {
        let name = if told.is_suspicion { format!("({})", told.class) } else { told.class.clone() };
        if !classes.contains(&name) {
            classes.push(name);
        }
    }
    let (packets, targets) = tried_until(headers, first.at);
    let began = headers.first().map_or(first.at, |header| header.at);
    let after = first.at.saturating_sub(began).as_secs_f64();
    writeln!(text, "{:<34} {:<34} {after:>8.1} {packets:>9} {targets:>8}", row.id, classes.join(" "))?;
    Ok(())
}
