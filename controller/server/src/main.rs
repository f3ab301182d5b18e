//! `reeve-controller`: reads the command line, does what it says, and tells by its exit code how it went.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use reeve_controller::auth::Role;
use reeve_controller::config::{Config, DEFAULT_DIR, DEFAULT_LISTEN};
use reeve_controller::error::ControllerError;
use reeve_controller::pki::{self, Wanted};
use reeve_controller::server::{Controller, claim_folder};
use reeve_controller::settings::{Database, Settings};
use reeve_controller::store;
use reeve_manual::findings;
use reeve_policy::Name;
use reeve_telemetry::logs::LogFormat;
use tokio::signal::unix::{SignalKind, signal};

/// Where agents report, operators steer, and billing and portals ask where a customer stands.
#[derive(Debug, Parser)]
#[command(name = "reeve-controller", version, max_term_width = 100, after_long_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes:
  0  it is done
  1  it failed for another reason than those below
  2  the command line is wrong
 65  the database is damaged or of a newer version
 69  the port is in use, or the database's server cannot be reached
 74  reading or writing failed
 77  not permitted
 78  the folder or its certificates are not as they must be

Those of `doctor` are its own.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes the folder, the authority, and certificates for the controller, its nodes and its people
    ///
    /// Running it again adds what is missing and changes nothing else: name new nodes and people as they come. Copy
    /// ca.crt and nodes/NAME.crt and .key to the node NAME, ca.crt and operators/NAME.crt and .key to whoever is NAME.
    /// Programs do better with tokens, which an administrator makes: reevectl token create.
    /// ca.key is needed for signing only; keep it safe.
    Init(InitArgs),
    /// Runs the controller until SIGTERM or SIGINT
    ///
    /// Without certificates in the folder it listens on a loopback address only, says so loudly, and takes everybody on
    /// this machine for an operator.
    Run(RunArgs),
    /// Says whether the folder, the settings, the certificates and the database can be used, and changes nothing
    Check(DirArgs),
    /// Looks over the folder, the certificates, the clock, the disk, the database and the nodes, with what to do where something is wrong
    ///
    /// It changes nothing, goes on to the end, and works while the controller runs and while it does not. Point by point: who can read
    /// the keys, when certificates end, whether the clock went back or differs from the database server's, free disk, whether a
    /// controller runs here, the database's layout, size and integrity; orders that wait, nodes that are silent, of another version,
    /// or lose frames.
    ///
    /// The exit code is 0 if all is well, 1 if there are warnings, 2 if something does not work.
    Doctor(DoctorArgs),
    /// Writes a copy of the database to a new file, while the controller runs or not
    ///
    /// The copy is the database at one moment. What is beside it does not change, and is to be copied once: controller.toml, ca.crt,
    /// ca.key, server.crt, server.key, audit.key (which signs the audit log) and secrets.key (without which nobody's second factor
    /// is known); and ca.crt, server.crt and server.key again after another `init --host`.
    /// A database on a server is copied with pg_dump.
    Backup(FileArgs),
    /// Puts a copy in the place of the database, while the controller does not run
    ///
    /// What was there is kept beside it. What happened since the copy was made is not known to it: agents tell again what
    /// they hold when they connect, and orders given since are to be given again. Whoever was revoked or removed since may call again, and
    /// tokens that were revoked are good again: who that is, is printed, and is to be ended anew.
    Restore(FileArgs),
    /// Prints the completions of a shell
    Completion {
        /// The shell.
        shell: reeve_manual::Shell,
    },
    /// Writes the man pages into a folder
    #[command(hide = true)]
    Man {
        /// The folder; it is made if it is not there.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
struct DirArgs {
    /// Where the controller keeps everything.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR, env = "REEVE_CONTROLLER_DIR")]
    dir: PathBuf,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct FileArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// The copy.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Args)]
struct InitArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// A name or address by which the controller is reached, beside localhost. May be given several times.
    #[arg(long, value_name = "HOST", value_parser = host)]
    host: Vec<String>,
    /// A node to make a certificate for. May be given several times.
    #[arg(long, value_name = "NAME")]
    node: Vec<Name>,
    /// Somebody to make an administrator's certificate for: everything, and who else may call. May be given several times.
    #[arg(long, value_name = "NAME")]
    admin: Vec<Name>,
    /// Somebody to make an operator's certificate for: reading and ordering. May be given several times.
    #[arg(long, value_name = "NAME")]
    operator: Vec<Name>,
    /// Somebody to make a certificate for who reads everything and orders nothing. May be given several times.
    #[arg(long, value_name = "NAME")]
    viewer: Vec<Name>,
    /// A program to make a certificate for that suspends until an invoice is paid, tells that it is, and reads where tenants
    /// stand. May be given several times.
    #[arg(long, value_name = "NAME")]
    billing: Vec<Name>,
    /// A program to make a certificate for that reads where tenants stand, as customers may know it. May be given several times.
    #[arg(long, value_name = "NAME")]
    status: Vec<Name>,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = DEFAULT_LISTEN, env = "REEVE_CONTROLLER_LISTEN")]
    listen: SocketAddr,
    /// Where billing and portals ask over HTTP where tenants stand, as JSON, and programs hand in complaints; nowhere if left out.
    #[arg(long, value_name = "ADDRESS:PORT", env = "REEVE_CONTROLLER_HTTP")]
    http: Option<SocketAddr>,
    /// Where Prometheus reads the metrics; nowhere if left out.
    #[arg(long, value_name = "ADDRESS:PORT", env = "REEVE_CONTROLLER_METRICS")]
    metrics: Option<SocketAddr>,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t, env = "REEVE_LOG_FORMAT")]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "REEVE_LOG")]
    log: String,
}

fn host(text: &str) -> Result<String, String> {
    if pki::is_host(text) {
        Ok(text.to_owned())
    } else {
        Err("a host's name or address, without scheme and port".to_owned())
    }
}

fn main() -> ExitCode {
    match execute(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = String::new();
            for cause in error.chain().map(ToString::to_string) {
                if text.is_empty() {
                    text = cause;
                } else if !text.contains(&cause) {
                    text = format!("{text}: {cause}");
                }
            }
            // With stderr gone there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "reeve-controller: {text}");
            if let Some(unwell) = error.downcast_ref::<Unwell>() {
                return ExitCode::from(unwell.code);
            }
            let code = error.chain().find_map(|cause| cause.downcast_ref::<ControllerError>());
            ExitCode::from(code.map_or(1, ControllerError::exit_code))
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Init(args) => init(&args),
        Command::Run(args) => run(&args),
        Command::Check(args) => check(&args),
        Command::Doctor(args) => doctor(&args),
        Command::Backup(args) => backup(&args),
        Command::Restore(args) => restore(&args),
        Command::Completion { shell } => {
            Ok(reeve_manual::completions(Cli::command(), shell, &mut std::io::stdout())?)
        }
        Command::Man { folder } => {
            Ok(reeve_manual::pages(Cli::command(), reeve_manual::SYSTEM_ADMINISTRATION, &folder)?)
        }
    }
}

fn init(args: &InitArgs) -> anyhow::Result<()> {
    let of = |role, names: &[Name]| names.iter().map(|name| (role, name.clone())).collect::<Vec<_>>();
    let mut people = of(Role::Admin, &args.admin);
    people.extend(of(Role::Operator, &args.operator));
    people.extend(of(Role::Viewer, &args.viewer));
    people.extend(of(Role::Billing, &args.billing));
    people.extend(of(Role::Status, &args.status));
    let wanted = Wanted { hosts: args.host.clone(), nodes: args.node.clone(), people };
    let made = pki::init(&args.dir.dir, &wanted).map_err(ControllerError::from)?;
    let mut out = std::io::stdout().lock();
    for path in &made {
        writeln!(out, "made {}", path.display())?;
    }
    if made.is_empty() {
        writeln!(out, "everything is there already")?;
    }
    if !args.host.is_empty() {
        writeln!(
            out,
            "restart the controller if it is running: its certificate is a new one, with the hosts of before and these"
        )?;
    }
    Ok(())
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

fn run(args: &RunArgs) -> anyhow::Result<()> {
    reeve_telemetry::logs::init(&args.log, args.log_format)?;
    let config = Config::load(&args.dir.dir, args.listen)?;
    runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(ControllerError::Signal)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(ControllerError::Signal)?;
        let mut controller = Controller::bind(config).await?;
        if let Some(address) = args.metrics {
            (controller, _) = controller.with_metrics(address).await?;
        }
        if let Some(address) = args.http {
            (controller, _) = controller.with_http(address).await?;
        }
        let alive = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero()).map(|patience| {
            tokio::spawn(async move {
                let mut feeding = tokio::time::interval(patience / 3);
                loop {
                    feeding.tick().await;
                    tell_manager(&[sd_notify::NotifyState::Watchdog]);
                }
            })
        });
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tell_manager(&[sd_notify::NotifyState::Stopping]);
            tracing::info!("stopping");
        };
        let served = controller.serve(stop, || tell_manager(&[sd_notify::NotifyState::Ready])).await;
        if let Some(alive) = alive {
            alive.abort();
        }
        served
    })?;
    Ok(())
}

/// Tells the service manager, if there is one (`sd_notify(3)`).
fn tell_manager(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

/// The folder, if its database is a file.
fn folder_of_file(args: &FileArgs) -> Result<&std::path::Path, ControllerError> {
    let dir = &args.dir.dir;
    if !dir.is_dir() {
        return Err(ControllerError::NoFolder { path: dir.clone() });
    }
    match Settings::load(dir)?.database {
        Database::File => Ok(dir),
        Database::Server(server) => Err(ControllerError::OnServer { place: server.place }),
    }
}

fn backup(args: &FileArgs) -> anyhow::Result<()> {
    let dir = folder_of_file(args)?;
    runtime()?.block_on(store::backup::backup(dir, &args.file)).map_err(ControllerError::from)?;
    writeln!(std::io::stdout(), "{} holds the database as it is now", args.file.display())?;
    Ok(())
}

fn restore(args: &FileArgs) -> anyhow::Result<()> {
    let dir = folder_of_file(args)?;
    let _only = claim_folder(dir)?;
    let restored =
        runtime()?.block_on(store::backup::restore(dir, &args.file)).map_err(ControllerError::from)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} is the database now", args.file.display())?;
    if let Some(kept) = restored.kept {
        writeln!(out, "{} is what it was before", kept.display())?;
    }
    match restored.readmitted.as_deref() {
        Some([]) => {}
        Some(readmitted) => {
            writeln!(
                out,
                "WARNING: these may call again, since that was ended after the copy was made; end it again:"
            )?;
            for one in readmitted {
                writeln!(out, "  {one}")?;
            }
        }
        None => writeln!(
            out,
            "WARNING: what was before cannot be read. Whoever was revoked or removed after the copy was made may call again, \
             as may tokens that were revoked: end it again, by the audit log's last export"
        )?,
    }
    Ok(())
}

/// Something is not as it should be. What, has been told.
#[derive(Debug, thiserror::Error)]
#[error("{points} of {of} points are not as they should be")]
struct Unwell {
    points: usize,
    of: usize,
    code: u8,
}

fn doctor(args: &DoctorArgs) -> anyhow::Result<()> {
    let found = runtime()?.block_on(reeve_controller::doctor::examine(&args.dir.dir));
    let text = if args.json { findings::json(&found).to_string() } else { findings::table(&found) };
    writeln!(std::io::stdout(), "{text}")?;
    match findings::exit_code(&found) {
        0 => Ok(()),
        code => {
            let points = found.iter().filter(|finding| finding.advice.is_some()).count();
            Err(Unwell { points, of: found.len(), code }.into())
        }
    }
}

fn check(args: &DirArgs) -> anyhow::Result<()> {
    let config = Config::load(&args.dir, DEFAULT_LISTEN.parse()?)?;
    let is_there =
        !matches!(config.settings.database, Database::File) || args.dir.join(store::FILE_NAME).exists();
    let database = if is_there {
        let seen = runtime()?.block_on(store::examine(&config.settings.database, &args.dir));
        let seen = seen.map_err(ControllerError::from)?;
        seen.judge().map_err(ControllerError::from)?;
        match seen.layout {
            0 => format!("{}: empty; the controller lays it out when it starts first", seen.place),
            layout if layout < seen.own_layout => {
                let own = seen.own_layout;
                format!(
                    "{}: layout {layout}; the controller makes it {own} when it starts: make a copy first",
                    seen.place
                )
            }
            layout => format!("{}: layout {layout}", seen.place),
        }
    } else {
        "none yet; the controller makes it when it starts first".to_owned()
    };
    let certificates = match &config.credentials {
        Some(credentials) => {
            let path = args.dir.join(pki::SERVER);
            format!(
                "the controller's holds until {}",
                reeve_controller::config::expiry(&path, &credentials.certificate)?
            )
        }
        None => "NONE: this machine only".to_owned(),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}: good\ncertificates  {certificates}\ndatabase      {database}", args.dir.display())?;
    for name in [pki::CA_KEY, pki::SERVER_KEY] {
        use std::os::unix::fs::PermissionsExt as _;
        let path = args.dir.join(name);
        let mode = std::fs::metadata(&path).map(|data| data.permissions().mode()).unwrap_or(0);
        if mode & 0o077 != 0 {
            writeln!(
                out,
                "WARNING       {} can be read by others (mode {:o}): chmod 600",
                path.display(),
                mode & 0o777
            )?;
        }
    }
    Ok(())
}
