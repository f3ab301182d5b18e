//! What an agent wrote down of a story: replayed, and looked through for what must not be in it.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::House;

/// The record's name in the lab's folder.
pub(super) const RECORD: &str = "record";

/// A record that gave, when it was replayed, what had run live.
#[derive(Clone, Debug)]
pub struct Played {
    /// The events that were told, in their order.
    pub events: Vec<Value>,
}

impl Played {
    /// The classes of all alerts, in their order, without repetition.
    #[must_use]
    pub fn alerts(&self) -> Vec<String> {
        let class = |event: &Value| {
            let class = event.pointer("/alert/class").or_else(|| event.get("class"))?;
            class.as_str().map(str::to_owned)
        };
        let is_alert = |event: &&Value| event.get("event").and_then(Value::as_str) == Some("alert");
        let mut all: Vec<String> = self.events.iter().filter(is_alert).filter_map(class).collect();
        all.dedup();
        all
    }

    /// How many events of a kind there are.
    #[must_use]
    pub fn count(&self, kind: &str) -> usize {
        self.events.iter().filter(|event| event.get("event").and_then(Value::as_str) == Some(kind)).count()
    }
}

impl House {
    /// Stops the agent and replays its record. Every output must be what it was live, and neither the record nor anything else that
    /// agent and controller keep may hold any of `private`: text of the mails that were sent.
    ///
    /// # Errors
    /// When something differs or private text is found.
    pub fn close_and_replay(&mut self, private: &[&str]) -> anyhow::Result<Played> {
        self.stop_agent()?;
        let record = self.text(RECORD);
        for place in [RECORD, "agent-state", "controller"] {
            ensure_none_of(private, &self.path(place))?;
        }
        let finished = self.reeve_agent(&["replay", "--recorded", "--json", &record])?.success()?;
        let mut events: Vec<Value> =
            finished.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let end = events.pop().context("a replay ends with what was played")?;
        let played = end.get("played").unwrap_or(&Value::Null);
        let number = |name: &str| played.get(name).and_then(Value::as_u64);
        if (number("equal"), number("beyond")) != (Some(events.len() as u64), Some(0))
            || played.get("is_cut") != Some(&Value::from(false))
        {
            bail!("of {} events not all are what ran live: {end}", events.len());
        }
        Ok(Played { events })
    }
}

/// Looks through a file, or all files of a folder.
fn ensure_none_of(private: &[&str], path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            ensure_none_of(private, &entry?.path())?;
        }
        return Ok(());
    }
    let bytes = match std::fs::read(path) {
        // A database has files beside it that come and go.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        read => read?,
    };
    for text in private {
        let is_there = bytes.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text.as_bytes()));
        ensure!(!is_there, "`{text}` stands in {}", path.display());
    }
    Ok(())
}
