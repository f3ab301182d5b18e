//! The dashboard and the alerts that are handed out, wired to the daemons of a house by a real Prometheus.
//!
//! Prometheus runs on the node beside the daemons and asks both every second. What a panel of the dashboard asks is asked of it as Grafana
//! would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::house::{AGENT_METRICS, House, METRICS, READY};
use crate::lab::Process;
use crate::wait::wait_until;

/// Where it answers; the node has a network of its own.
pub const LISTEN: &str = "127.0.0.1:9090";
const COMMAND: Duration = Duration::from_secs(30);
/// What Grafana puts in the place of its variable where is asked once in a second.
const RATE_INTERVAL: &str = "10s";

/// What the repository hands out for whoever watches.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/monitoring")
}

/// A series: its labels, and a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// By name, without the metric's own.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// What a panel asks.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Its title.
    pub title: String,
    /// Its questions, one for each line of its legend.
    pub expressions: Vec<String>,
}

/// The panels of the dashboard that ask something.
///
/// # Errors
/// When the dashboard cannot be read.
pub fn panels() -> anyhow::Result<Vec<Panel>> {
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(folder().join("grafana.json"))?)?;
    let panels = dashboard["panels"].as_array().context("a dashboard has panels")?;
    let panel = |panel: &Value| {
        let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        let expression = |target: &Value| target["expr"].as_str().unwrap_or_default().to_owned();
        Panel {
            title: panel["title"].as_str().unwrap_or_default().to_owned(),
            expressions: targets.iter().map(expression).collect(),
        }
    };
    Ok(panels.iter().map(panel).filter(|panel| !panel.expressions.is_empty()).collect())
}

/// A Prometheus on a house's node.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
}

impl Prometheus {
    /// Starts it and waits until it has asked both daemons.
    ///
    /// # Errors
    /// When it does not come up, with what it said.
    pub fn start(house: &House) -> anyhow::Result<Self> {
        let rules = std::fs::canonicalize(folder().join("alerts.yaml"))?;
        let settings = serde_json::json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [rules],
            "scrape_configs": [
                { "job_name": "reeve-controller", "static_configs": [{ "targets": [METRICS] }] },
                { "job_name": "reeve-agent", "static_configs": [{ "targets": [AGENT_METRICS] }] },
            ],
        });
        // JSON is YAML.
        let path = house.path("prometheus.yml");
        std::fs::write(&path, settings.to_string())?;
        let (config, data) = (path.display().to_string(), house.path("prometheus").display().to_string());
        let process = house.lab.rt.spawn(&[
            "prometheus",
            "--config.file",
            &config,
            "--storage.tsdb.path",
            &data,
            "--web.listen-address",
            LISTEN,
        ])?;
        let mut own = Self { process };
        wait_until("Prometheus to have asked both daemons", READY, || {
            ensure!(own.process.is_running()?, "{}", own.process.last_lines(10));
            let up = own.ask(house, "up == 1").unwrap_or_default();
            Ok(up.len() == 2)
        })?;
        Ok(own)
    }

    /// What an expression comes to now.
    ///
    /// # Errors
    /// When it cannot be asked, or the expression is none.
    pub fn ask(&self, house: &House, expression: &str) -> anyhow::Result<Vec<Series>> {
        let answer = self.get(house, "query", &format!("query={expression}"))?;
        let found = answer["result"].as_array().context("an answer has a result")?;
        let series = |one: &Value| {
            let labels = one["metric"].as_object().into_iter().flatten();
            let labels = labels.filter(|(name, _)| *name != "__name__");
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let value = one["value"][1].as_str().and_then(|value| value.parse().ok());
            Ok(Series {
                labels: labels.map(|(name, value)| (name.clone(), text(value))).collect(),
                value: value.context("a series has a value")?,
            })
        };
        found.iter().map(series).collect()
    }

    /// The most that a panel's question came to in the last minutes.
    ///
    /// # Errors
    /// As [`Prometheus::ask`].
    pub fn most(&self, house: &House, expression: &str) -> anyhow::Result<Vec<Series>> {
        let expression = expression.replace("$__rate_interval", RATE_INTERVAL);
        self.ask(house, &format!("max_over_time(({expression})[5m:1s])"))
    }

    /// The alerts that wait or are told, by name.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn alerts(&self, house: &House) -> anyhow::Result<Vec<String>> {
        let answer = self.get(house, "alerts", "")?;
        let alerts = answer["alerts"].as_array().context("an answer has alerts")?;
        Ok(alerts.iter().filter_map(|one| one["labels"]["alertname"].as_str().map(str::to_owned)).collect())
    }

    fn get(&self, house: &House, what: &str, question: &str) -> anyhow::Result<Value> {
        let url = format!("http://{LISTEN}/api/v1/{what}");
        let argv = [
            "curl",
            "--silent",
            "--show-error",
            "--max-time",
            "10",
            "--get",
            "--data-urlencode",
            question,
            &url,
        ];
        let answer = house.lab.rt.run(&argv, COMMAND)?.success()?;
        let mut answer: Value = serde_json::from_str(&answer.stdout)?;
        ensure!(answer["status"] == "success", "{question}: {answer}");
        Ok(answer["data"].take())
    }
}
