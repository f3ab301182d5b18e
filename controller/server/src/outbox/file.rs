//! A line for each notice, at the end of a file that somebody else reads, and may move away.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::store::write::Outcome;

/// Adds a line, and has it on disk. A file that is not there is made for its owner alone.
pub(super) async fn append(path: PathBuf, event: Value) -> Outcome {
    let done = tokio::task::spawn_blocking(move || append_now(&path, &event)).await;
    match done {
        Ok(Ok(())) => Outcome::Sent(String::new()),
        Ok(Err(error)) => Outcome::Later(error.to_string()),
        Err(error) => Outcome::Later(error.to_string()),
    }
}

fn append_now(path: &Path, event: &Value) -> io::Result<()> {
    let mut line = event.to_string();
    line.push('\n');
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    // One write: whoever reads along, or writes besides, sees lines.
    file.write_all(line.as_bytes())?;
    file.sync_data()
}
