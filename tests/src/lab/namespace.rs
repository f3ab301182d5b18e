//! One network namespace: made, entered and deleted.
//!
//! Model: a [`Namespace`] has a name that no other lab has (process id and random number), runs programs inside by
//! `ip netns exec`, so that they see the `/sys` that belongs to it, and closures on a thread of their own that has moved inside. It is
//! deleted in `Drop`.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};

use super::process::{Finished, Process};
use super::registry;
use super::sys::{self, PacketSocket};

/// A network namespace that this process made.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    logs: PathBuf,
}

impl Namespace {
    /// Makes a namespace with its loopback interface up. What runs inside writes into files in `logs`.
    ///
    /// # Errors
    /// When `ip` cannot do it: mostly because the user is not root.
    pub fn create(name: String, logs: &Path) -> anyhow::Result<Self> {
        registry::add_namespace(&name)?;
        let namespace = Self { name, logs: logs.to_owned() };
        run_ip(&["netns", "add", &namespace.name], "")?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs lines of `ip` inside, in one go.
    ///
    /// # Errors
    /// When one of them fails, with what `ip` said.
    pub fn ip(&self, lines: &str) -> anyhow::Result<()> {
        run_ip(&["-n", &self.name, "-batch", "-"], lines)
    }

    /// Loads nft text inside.
    ///
    /// # Errors
    /// When nft refuses it, with what it said.
    pub fn nft(&self, text: &str) -> anyhow::Result<()> {
        run_with_input(Command::new("ip").args(["netns", "exec", &self.name, "nft", "-f", "-"]), text)
    }

    /// Puts a frame on the wire as it is, from its link header on, so many times.
    ///
    /// # Errors
    /// When the interface does not exist or takes none.
    pub fn send_frame<const N: usize>(
        &self,
        interface: &str,
        frame: [u8; N],
        times: usize,
    ) -> anyhow::Result<()> {
        self.enter(|| {
            let socket = PacketSocket::open(interface, false)?;
            let sent = socket.send_batch(&mut vec![frame; times])?;
            anyhow::ensure!(sent == times, "{interface} took {sent} frames of {times}");
            Ok(())
        })
    }

    /// What `nft --stateless list ruleset` shows inside.
    ///
    /// # Errors
    /// When nft cannot list it.
    pub fn ruleset(&self) -> anyhow::Result<String> {
        Ok(self.run(&["nft", "--stateless", "list", "ruleset"], Duration::from_secs(10))?.success()?.stdout)
    }

    /// Starts a program inside, and lets it die with this thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, argv: &[&str]) -> anyhow::Result<Process> {
        let program = argv.first().context("a command line needs a program")?;
        let base =
            Path::new(program).file_name().map_or_else(|| (*program).into(), |name| name.to_string_lossy());
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "setpriv", "--pdeathsig", "KILL", "--"]).args(argv);
        command.current_dir(&self.logs);
        Process::start(&mut command, &base, &self.logs)
    }

    /// Runs a program inside until it ends, at most for `deadline`.
    ///
    /// # Errors
    /// When it cannot be started or does not end in time. An exit code other than 0 is no error here.
    pub fn run(&self, argv: &[&str], deadline: Duration) -> anyhow::Result<Finished> {
        let mut finished = self.spawn(argv)?.finish(deadline)?;
        finished.command = argv.join(" ");
        Ok(finished)
    }

    /// Runs `work` on a new thread inside and waits for what it gives.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or `work` fails or panics.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        let door = self.open()?;
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                sys::enter_network_namespace(door.as_fd()).context("cannot enter the network namespace")?;
                work()
            });
            inside.join().map_err(|_| anyhow!("the thread inside {} panicked", self.name))?
        })
    }

    /// The namespace as a file, for threads that move in and stay.
    ///
    /// # Errors
    /// When it is gone.
    pub fn open(&self) -> anyhow::Result<File> {
        let path = Path::new("/run/netns").join(&self.name);
        File::open(&path).with_context(|| format!("cannot open {}", path.display()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        registry::remove_namespace(&self.name);
    }
}

/// Runs `ip` with lines on its standard input.
fn run_ip(args: &[&str], input: &str) -> anyhow::Result<()> {
    run_with_input(Command::new("ip").args(args), input)
}

fn run_with_input(command: &mut Command, input: &str) -> anyhow::Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start `ip`: is iproute2 installed?")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).context("cannot write to `ip`")?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
