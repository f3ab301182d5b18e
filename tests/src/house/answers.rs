//! What `reevectl --json` answers, as far as the tests look at it. Names of fields are known here and nowhere else.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

/// Where a tenant stands.
#[derive(Clone, Debug)]
pub struct Status {
    /// `clear`, `warned`, `limited`, `blocked` or `suspended`.
    pub state: String,
    /// The tenant's id.
    pub tenant: String,
    /// Which of its traffic is held; empty where none is.
    pub scope: String,
    /// The clause; empty where there is none.
    pub clause: String,
    /// The reason; empty where there is none.
    pub reason: String,
    /// Since when, as text.
    pub since: String,
    /// Until when, as text.
    pub until: String,
    /// The violation's id; empty where there is none.
    pub violation: String,
}

/// A violation.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Its id.
    pub id: String,
    /// Who.
    pub tenant: String,
    /// `open`, `quiet` or `released`.
    pub state: String,
    /// The class of the newest alert.
    pub class: String,
    /// When it was opened, since the Unix epoch.
    pub opened: Duration,
}

fn field(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl Status {
    pub(super) fn read(value: &Value) -> anyhow::Result<Self> {
        let state = field(value, "state");
        if state.is_empty() {
            bail!("no state in {value}");
        }
        Ok(Self {
            state,
            tenant: field(value, "tenant"),
            scope: field(value, "scope"),
            clause: field(value, "clause"),
            reason: field(value, "reason"),
            since: field(value, "since"),
            until: field(value, "until"),
            violation: field(value, "violation"),
        })
    }
}

impl Violation {
    pub(super) fn read_all(value: &Value) -> anyhow::Result<Vec<Self>> {
        let list =
            value.get("violations").and_then(Value::as_array).context("no violations in the answer")?;
        list.iter().map(Self::read).collect()
    }

    fn read(value: &Value) -> anyhow::Result<Self> {
        let evidence = value.get("evidence").unwrap_or(&Value::Null);
        let opened = field(value, "opened");
        Ok(Self {
            id: field(value, "id"),
            tenant: field(value, "tenant"),
            state: field(value, "state"),
            class: field(evidence, "class"),
            opened: since_epoch(&opened).with_context(|| format!("`{opened}` is no time"))?,
        })
    }
}

/// Reads RFC 3339 in UTC, as `date` does.
pub(crate) fn since_epoch(text: &str) -> anyhow::Result<Duration> {
    let output = std::process::Command::new("date").args(["+%s.%N", "--date", text]).output()?;
    let seconds: f64 = String::from_utf8_lossy(&output.stdout).trim().parse()?;
    Ok(Duration::from_secs_f64(seconds))
}
