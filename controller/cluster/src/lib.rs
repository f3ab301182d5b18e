//! A PostgreSQL server of the tests' own: Debian's programs, a folder that goes with it, a Unix socket and no port.
//!
//! It belongs to whoever runs the tests, or to `nobody` where that is root, as whom PostgreSQL refuses to work. A guardian, a
//! shell that reads from us until there is nobody to read from, ends the server and takes the folder away: when the tests are through, when
//! they panic, and when they are killed.
//!
//! Left out: speed that costs truth. `fsync` stays on, since what is acknowledged is to be on the disk here as well.

use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Where Debian has the programs of PostgreSQL 15.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// The one user of the server.
const USER: &str = "reeve";
/// A server that is not there by then never will be.
const PATIENCE: Duration = Duration::from_secs(60);
/// `nobody` of Debian (base-passwd): the user and the group.
const NOBODY: u32 = 65_534;

/// A server at work.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    server: Mutex<Option<Child>>,
    /// Whoever ends the server when this process is gone. Its input is what it waits on.
    _guardian: Child,
}

impl Cluster {
    /// The server of this process, started by whoever asks first.
    ///
    /// # Panics
    /// Where it cannot be started: the tests need it.
    pub fn of_this_process() -> &'static Self {
        static CLUSTER: OnceLock<Cluster> = OnceLock::new();
        CLUSTER.get_or_init(|| {
            Self::start().unwrap_or_else(|error| panic!("PostgreSQL (Debian: postgresql-15): {error}"))
        })
    }

    /// Makes a server and starts it.
    ///
    /// # Errors
    /// Where Debian's PostgreSQL 15 is not installed or does not start.
    pub fn start() -> io::Result<Self> {
        // A socket's path is short (unix(7): 108 bytes), so the folder lies under /tmp whatever TMPDIR says.
        let folder = tempfile::Builder::new().prefix("reeve-pg-").tempdir_in("/tmp")?.keep();
        let is_root =
            std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755))?;
        if is_root {
            chown(&folder, Some(NOBODY), Some(NOBODY))?;
        }
        let data = folder.join("data");
        let mut initdb = program("initdb", is_root);
        initdb.args([
            "--username",
            USER,
            "--auth",
            "trust",
            "--encoding",
            "UTF8",
            "--locale",
            "C.UTF-8",
            "--no-sync",
            "-D",
        ]);
        let made = initdb.arg(&data).output()?;
        if !made.status.success() {
            return Err(failure("initdb", &made));
        }
        let guardian = Command::new("/bin/sh")
            .args(["-c", GUARDIAN, "guardian"])
            .args([&data.join("postmaster.pid"), &folder])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A signal to the tests' group is not for it.
            .process_group(0)
            .spawn()?;
        let cluster = Self { folder, server: Mutex::new(None), _guardian: guardian };
        cluster.resume()?;
        Ok(cluster)
    }

    /// Starts the server again after [`Self::crash`].
    ///
    /// # Errors
    /// Where it does not start.
    pub fn resume(&self) -> io::Result<()> {
        let is_root =
            std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        let log = std::fs::File::create(self.folder.join("log"))?;
        let server = program("postgres", is_root)
            .arg("-D")
            .arg(self.folder.join("data"))
            .arg("-k")
            .arg(&self.folder)
            .args(["-c", "listen_addresses=", "-c", "max_connections=200", "-c", "log_min_messages=warning"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        let end = Instant::now() + PATIENCE;
        loop {
            match self.sql("postgres", "SELECT 1") {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > end => {
                    let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                    return Err(io::Error::other(format!("{error}\n{log}")));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Breaks every connection at once, as the server's end does (`immediate`: no goodbye, and what was not on the disk is gone).
    ///
    /// # Errors
    /// Where there is nothing to end.
    pub fn crash(&self) -> io::Result<()> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut server = server.ok_or_else(|| io::Error::other("the server does not run"))?;
        let ended = Command::new("/bin/kill").args(["-QUIT", &server.id().to_string()]).status()?;
        if !ended.success() {
            return Err(io::Error::other("the server cannot be told to end"));
        }
        server.wait()?;
        Ok(())
    }

    /// Has the server say nothing more, as one does whose machine is gone, or go on.
    ///
    /// # Errors
    /// Where there is nothing to stop, or it cannot be.
    pub fn freeze(&self, is_frozen: bool) -> io::Result<()> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Child::id);
        let server = server.ok_or_else(|| io::Error::other("the server does not run"))?;
        // Those that answer are children of the one that takes connections.
        let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children"))?;
        let all = std::iter::once(server.to_string()).chain(children.split_whitespace().map(str::to_owned));
        let told =
            Command::new("/bin/kill").arg(if is_frozen { "-STOP" } else { "-CONT" }).args(all).status()?;
        if told.success() { Ok(()) } else { Err(io::Error::other("the server cannot be told")) }
    }

    /// A new database that is empty; its URL.
    ///
    /// # Errors
    /// Where the server does not make it.
    pub fn database(&self) -> io::Result<String> {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let name = format!("reeve{}", LAST.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(self.url(&name))
    }

    /// The URL of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let socket = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://{USER}@{socket}/{database}")
    }

    /// The folder of the server's socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.folder
    }

    /// What `psql` prints of statements, rows alone.
    ///
    /// # Errors
    /// Where a statement fails.
    pub fn sql(&self, database: &str, statements: &str) -> io::Result<String> {
        let mut psql = Command::new(Path::new(PROGRAMS).join("psql"))
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", USER, "-d", database, "-h"])
            .arg(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut input) = psql.stdin.take() {
            input.write_all(statements.as_bytes())?;
        }
        let output = psql.wait_with_output()?;
        if !output.status.success() {
            return Err(failure("psql", &output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// Reads until whoever started it is gone, ends the server (`INT` is "fast": clients are not waited for; `KILL` if it does not listen), and
/// takes the folder away.
const GUARDIAN: &str = r#"
cat >/dev/null
pid=$(head -n 1 "$1" 2>/dev/null)
if [ -n "$pid" ]; then
  kill -INT "$pid"
  for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2>/dev/null || break; sleep 0.5; done
  kill -KILL "$pid" 2>/dev/null
fi
rm -rf -- "$2"
"#;

/// One of PostgreSQL's programs, as somebody whom it works for.
fn program(name: &str, is_root: bool) -> Command {
    let mut command = Command::new(Path::new(PROGRAMS).join(name));
    if is_root {
        command.uid(NOBODY).gid(NOBODY);
    }
    // The folder we are in may not be theirs to enter.
    command.current_dir("/");
    command
}

fn failure(name: &str, output: &Output) -> io::Error {
    io::Error::other(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
