//! Processes that end when their owner does.
//!
//! Model: a [`Process`] leads its own process group, writes into two files of the lab's directory (a pipe that nobody reads
//! would stop it), and is killed with its group in `Drop`. A [`Finished`] is what one that was waited for left behind.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};

use super::{registry, sys};
use crate::wait::{wait_for, wait_until};

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// What a program that has ended left behind.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its command line, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Process {
    /// Starts a program whose output goes to files in `dir`.
    ///
    /// # Errors
    /// When it cannot be started, with its name.
    pub fn start(command: &mut Command, name: &str, dir: &Path) -> anyhow::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let stdout = dir.join(format!("{number:04}-{name}.out"));
        let stderr = dir.join(format!("{number:04}-{name}.err"));
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).with_context(|| format!("cannot write {}", stdout.display()))?)
            .stderr(File::create(&stderr).with_context(|| format!("cannot write {}", stderr.display()))?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        registry::add_group(child.id());
        Ok(Self { name: name.to_owned(), child, stdout, stderr })
    }

    /// The process id. Commands are started through programs that replace themselves, so it is the program's own.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(registry::poll_child(&mut self.child)?.is_none())
    }

    /// Waits until it ends by itself; kills it when `deadline` has passed.
    ///
    /// # Errors
    /// When the deadline passed, with the end of what it wrote.
    pub fn finish(mut self, deadline: Duration) -> anyhow::Result<Finished> {
        let end = || registry::poll_child(&mut self.child).map_err(anyhow::Error::from);
        let waited = wait_for(&format!("the end of {}", self.name), deadline, end);
        let (status, _) = waited.with_context(|| self.last_lines(20))?;
        Ok(Finished { command: self.name.clone(), status, stdout: self.stdout(), stderr: self.stderr() })
    }

    /// Asks it to stop with SIGTERM and waits for that.
    ///
    /// # Errors
    /// When it did not stop within `deadline`.
    pub fn terminate(self, deadline: Duration) -> anyhow::Result<Finished> {
        self.signal(libc::SIGTERM)?;
        self.finish(deadline)
    }

    /// Kills it with SIGKILL, as a crash would, waits until it is gone, and tells what it had written to standard error.
    ///
    /// # Errors
    /// When it is not gone within five seconds.
    pub fn kill(mut self) -> anyhow::Result<String> {
        self.signal(libc::SIGKILL)?;
        let name = self.name.clone();
        wait_until(&format!("the death of {name}"), Duration::from_secs(5), || Ok(!self.is_running()?))?;
        Ok(self.stderr())
    }

    /// Sends a signal to it, not to its group.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: i32) -> anyhow::Result<()> {
        sys::signal_process(self.pid(), signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// What it has written to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read_text(&self.stdout)
    }

    /// What it has written to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        read_text(&self.stderr)
    }

    /// The last lines of both, with its name above them: what one wants to see when something failed.
    #[must_use]
    pub fn last_lines(&self, count: usize) -> String {
        let written = self.stdout() + &self.stderr();
        let lines: Vec<&str> = written.lines().collect();
        let last = lines.get(lines.len().saturating_sub(count)..).unwrap_or_default();
        format!("last lines of {}:\n  {}", self.name, last.join("\n  "))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        registry::remove_group(&mut self.child);
    }
}

impl Finished {
    /// Itself, if the program said that all went well.
    ///
    /// # Errors
    /// When it ended with another code than 0: the code and what it wrote.
    pub fn success(self) -> anyhow::Result<Self> {
        if !self.status.success() {
            bail!("{} ended with {}:\n{}", self.command, self.status, self.text());
        }
        Ok(self)
    }

    /// The exit code; `None` when a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Everything it wrote, errors last.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

fn read_text(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
