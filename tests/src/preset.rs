//! What the stories of the presets share: policies that extend one, and what came of a violation.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;

use crate::house::House;
use crate::lab::Namespace;

/// A policy named `story` that extends a preset, with `rest` after its head.
#[must_use]
pub fn extending(preset: &str, rest: &str) -> String {
    format!("[policy]\nname = \"story\"\nversion = 1\nextends = \"{preset}\"\n{rest}\n")
}

/// `[relay_check]`, asking again as often as `recheck` says.
#[must_use]
pub fn asking(recheck: &str) -> String {
    let mailboxes = "from = \"probe@asker.example\"\nto = \"probe@elsewhere.example\"";
    format!("[relay_check]\nenabled = true\n{mailboxes}\nrecheck = \"{recheck}\"\n")
}

/// What was decided upon a violation, oldest first: `ACTION SCOPE` each, and ` until WORD` where no time ends a measure.
///
/// # Errors
/// When the controller cannot be asked.
pub fn decisions(house: &House, violation: &str) -> anyhow::Result<Vec<String>> {
    let told = house.ask(&["violations", "show", violation])?;
    let one = |decision: &Value| {
        let action = decision["action"].as_str().unwrap_or_default();
        let scope = &decision["scope"];
        let what = match scope["kind"].as_str().unwrap_or_default() {
            "port" => format!("{}/{}", scope["protocol"].as_str().unwrap_or_default(), scope["port"]),
            "endpoint" => format!("endpoint {}", scope["name"].as_str().unwrap_or_default()),
            kind => kind.to_owned(),
        };
        match decision["until"].as_str().filter(|_| !matches!(action, "notify" | "observe")) {
            Some(until) => format!("{action} {what} until {until}"),
            None => format!("{action} {what}"),
        }
    };
    Ok(told["decisions"].as_array().map(|all| all.iter().map(one).collect()).unwrap_or_default())
}

/// Whether a connection to a port comes about, as `nmap` makes one: every answer is a yes, a refusal, or nothing.
///
/// # Errors
/// When it cannot be tried.
pub fn connects(from: &Namespace, host: Ipv4Addr, port: u16) -> anyhow::Result<bool> {
    let (host, port) = (host.to_string(), port.to_string());
    let argv = ["nmap", "-n", "-Pn", "-sT", "--max-retries", "1", "-p", &port, &host];
    let told = from.run(&argv, Duration::from_secs(60))?.success()?.stdout;
    Ok(told.contains(&format!("{port}/tcp open")))
}

/// Why the measures upon a violation ended, those that have.
///
/// # Errors
/// When the controller cannot be asked.
pub fn lift_reasons(house: &House, violation: &str) -> anyhow::Result<Vec<String>> {
    let told = house.ask(&["violations", "show", violation])?;
    let reason = |measure: &Value| measure["lift_reason"].as_str().map(str::to_owned);
    Ok(told["measures"].as_array().map(|all| all.iter().filter_map(reason).collect()).unwrap_or_default())
}

/// The lines of the node's events of one kind, newest first.
///
/// # Errors
/// When the controller cannot be asked.
pub fn events(house: &House, kind: &str) -> anyhow::Result<Vec<String>> {
    let told = house.ask(&["events", "--limit", "1000"])?;
    let line = |event: &Value| {
        let is_it = event.to_string().contains(&format!("\"{kind}\""));
        is_it.then(|| event["detail"].as_str().unwrap_or_default().to_owned())
    };
    Ok(told["events"].as_array().map(|all| all.iter().filter_map(line).collect()).unwrap_or_default())
}
