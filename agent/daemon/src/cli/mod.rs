//! The command line of `reeve-agent`.

pub mod bench;
pub mod cases;
pub mod check;
pub mod doctor;
pub mod enroll;
pub mod exit;
pub mod pause;
pub mod play;
pub mod table;
pub mod thresholds;
pub mod trial;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use reeve_policy::language::Policy;
use reeve_policy::reader::{ConfigErrors, parse_duration};
use reeve_telemetry::logs::LogFormat;

use crate::config;
use crate::enforce::Ownership;

/// Watches what tenants send, recognises abuse, and answers with the mildest measure that stops it.
///
/// A fresh install observes only: it recognises, decides and reports what it would have done, and touches nothing. Set
/// `mode = "enforce"` in the settings once what it reports is right.
#[derive(Debug, Parser)]
#[command(name = "reeve-agent", version, max_term_width = 100, after_long_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    /// What to do.
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes:
  0  it is done
  1  it failed for another reason than those below; somebody would be hit otherwise (try)
  2  the command line is wrong
 65  a capture, manifest, blocklist or state file holds what it must not
 69  the kernel has no nftables, an interface is not there, or another agent is running
 74  reading or writing failed
 77  not permitted: capturing takes CAP_NET_RAW, measures take CAP_NET_ADMIN
 78  the settings, the policy or the tenants hold what they must not, or name a file that is not there";

/// Everything that the agent does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the agent until SIGTERM or SIGINT
    ///
    /// Measures stand when it stops, until their time: `reeve-agent clear` takes them away. SIGHUP reads the settings, the
    /// policy and the tenants anew; if they are wrong, those before stay.
    Run(RunArgs),
    /// Says whether the settings, the policy, the tenants and the blocklists can be used, and whether the node has what they take
    ///
    /// A blocklist of which more than a tenth of the lines cannot be read is an error (65); fewer are told as warnings.
    Check(CheckArgs),
    /// Looks the node over: settings, kernel, rights, interfaces, blocklists, state, controller, certificates
    ///
    /// Each point is ok, a warning (the agent works, but not all that it could) or an error (it does not, or leaves out what the settings ask for), with what to do.
    /// Nothing is changed. Run it as the agent runs, or as root. The exit code is 0 without errors, else that of the first one.
    Doctor(DoctorArgs),
    /// Fetches the node's first certificate from its controller, for a token that an administrator made there
    ///
    /// (reevectl enroll-token create --node NAME.) The key is made here and stays here. The authority's certificate, the node's and its key are
    /// written where `[controller]` in the settings says, readable by whoever their folder belongs to. The running agent renews the
    /// certificate at two thirds of its life, for which it must be able to write in that folder: one below its state folder.
    Enroll(EnrollArgs),
    /// Plays captures through the engine and tells what it would have decided
    ///
    /// The same engine runs live: the same packets give the same alerts and decisions. Each file is pcap or pcapng, packed
    /// with gzip or not. Deadlines fire up to 5 s past the last packet. Nothing is changed on this machine.
    Replay(ReplayArgs),
    /// Plays labelled captures and tells which were recognised
    ///
    /// The manifest is a CSV file with the columns file, tenant, vantage, label, class, also and must; see the corpus'
    /// README. Abuse found only under another class is the wrong class and missed; a `suspect` row is found when it is at least
    /// suspected. The time to detect is the capture's, from the tenant's first packet to the first right alert; attempts are
    /// the number that the class is named for in that alert. With --json: {"summary": {"found", "missed", "wrong_class",
    /// "only_suspected", "false_alarms", "benign_suspected", "optional_found", "classes": {...}}, "rows": [...]}.
    Score(ScoreArgs),
    /// Tells whom a policy would have hit, and how, against the one that runs: nothing is enforced, and nobody is told
    ///
    /// Both are played on captures, or on what the agent has kept of the last days. Listed are, by tenant and family of classes, who would be newly hit, who no longer, and who otherwise
    /// (other steps, times, clauses, or another amount of traffic cut), by which clause, with the steps, their times and what they would
    /// cut: packets, bytes and targets that were seen while a measure would have stood. What is recorded went on as it did; what a sender
    /// would have done after a measure nobody can tell. The exit code is 0 if nobody is hit otherwise and 1 if somebody is.
    Try(TryArgs),
    /// Prints the numbers that a tenant is held to, after its profile and what the policy says of it alone
    ///
    /// Each number says whether it is the policy's, its profile's or the tenant's own. Without a tenant, those of a profile.
    Thresholds(ThresholdsArgs),
    /// Lists the last violations of a node without a controller, newest first, each with a line fit for a mail
    ///
    /// The last 64 are kept in the state folder; no agent need run. With a controller, it keeps them: reevectl violations.
    Violations(ViolationsArgs),
    /// Tells what a violation of a node without a controller rests on, in one line fit for a mail, and writes its packet headers
    ///
    /// What opened it and what is behind each decision is kept, and the latest alert. With a controller: reevectl evidence.
    Evidence(EvidenceArgs),
    /// Explains a violation of a node without a controller: the number and whose it is, standing, why this step of the ladder
    ///
    /// And what would have changed it. All of it was written down when each decision was made. With a controller: reevectl explain.
    Explain(ExplainArgs),
    /// Prints the ruleset that the agent keeps in the kernel, as nft text
    ///
    /// With the settings, its protected addresses and the measures of the state folder are in it; without, the bare skeleton.
    Ruleset(RulesetArgs),
    /// Takes every trace of the agent from the kernel's ruleset
    ///
    /// Table `inet reeve` goes, and the measures in the state folder with it; nobody else's table is touched. Stop the agent
    /// before: a running one would put it back.
    Clear(ClearArgs),
    /// Ends what policy does by itself on this node: the stop button
    ///
    /// Policy takes no new measure: what would be one becomes a notice that says who paused. What stands, stands, unless --lift
    /// is given; operators' orders are carried out all the same. It takes no controller and no running agent; one that runs
    /// notices within a second. It lasts, over restarts too, until `reeve-agent resume`. A pause of the controller's is apart from
    /// this one: the node is paused while either is.
    Pause(PauseArgs),
    /// Releases the brakes: you have looked at those who are held
    ///
    /// The brakes are set when so many of the node's tenants are held that something may be wrong; policy then holds nobody else until
    /// somebody releases them, here or with `reevectl brakes release`. As many again may be held before they are set once more.
    ReleaseBrakes(ReleaseBrakesArgs),
    /// Lets policy act by itself again on this node
    ///
    /// A step that was held back is taken if the abuse is still seen. A pause of the controller's stays: `reevectl resume`.
    Resume(ResumeArgs),
    /// Prints the completions of a shell
    ///
    /// For bash: reeve-agent completion bash > /etc/bash_completion.d/reeve-agent
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
    /// Measures parts of the agent on this machine; prints JSON
    #[command(hide = true)]
    Bench {
        /// What to measure.
        #[command(subcommand)]
        what: bench::What,
    },
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The settings.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH, env = "REEVE_AGENT_CONFIG")]
    pub config: PathBuf,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t, env = "REEVE_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or directives such as reeve_agent::control=debug.
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "REEVE_LOG")]
    pub log: String,
    /// Writes down what goes into the engine and what comes out, to be played again by `replay --recorded`.
    ///
    /// Of packets it holds the headers, of tenants what the agent knows of them. Only the agent's user may read the file.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// The most that the record may take, in MiB; then it ends, and the agent goes on.
    #[arg(long, value_name = "MIB", default_value_t = 1_024, requires = "record")]
    pub record_limit: u64,
    /// Whether the tables are to belong to the agent, so that nobody else can change them.
    ///
    /// `auto` does it where the kernel knows how (Linux 6.9 and newer); where it does not, or with `plain`, what others change is
    /// mended at once. `owner` ends the agent where the kernel does not know how.
    #[arg(long, value_enum, default_value_t, value_name = "HOW", env = "REEVE_OWNERSHIP")]
    pub ownership: Ownership,
}

/// Arguments of `enroll`.
#[derive(Debug, Args)]
pub struct EnrollArgs {
    /// The settings.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH, env = "REEVE_AGENT_CONFIG")]
    pub config: PathBuf,
    /// A file that holds the token and nothing else. It is spent by this; remove it then.
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
    /// Replace the certificate and the key that are there.
    #[arg(long)]
    pub again: bool,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The settings.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH, env = "REEVE_AGENT_CONFIG")]
    pub config: PathBuf,
    /// Look at the files only, not at this machine's interfaces, permissions and kernel.
    #[arg(long)]
    pub files_only: bool,
    /// One JSON object instead of text: {"good": true, "node", "mode", "policy", "tenants", "interfaces", "controllers",
    /// "blocklists", "warnings"} or {"good": false, "errors": [...]}.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The settings.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH, env = "REEVE_AGENT_CONFIG")]
    pub config: PathBuf,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Captures, played one after the other through one engine; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A tenant's addresses: ADDRESS[,ADDRESS...] or NAME=ADDRESS[,ADDRESS...]. May be given several times.
    #[arg(long, value_name = "ADDRESSES", required_unless_present_any = ["tenants", "recorded"])]
    pub tenant: Vec<reeve_replay::TenantArg>,
    /// A file of tenants, as for `run`.
    #[arg(long, value_name = "FILE")]
    pub tenants: Option<PathBuf>,
    /// FILE is what `run --record` wrote: tenants, policy and measures are in it, and every output is compared with what ran
    /// live.
    #[arg(long, conflicts_with_all = ["tenant", "tenants"])]
    pub recorded: bool,
    /// Where the captures were taken: at the one tenant's port, where foreign sources are spoofed, or anywhere.
    #[arg(long, value_enum, default_value_t = play::VantageArg::Mirror)]
    pub vantage: play::VantageArg,
    /// A preset's name (baseline, anycloud, cloudprovider, extin, intermax, oxygis), or a policy file.
    #[arg(long, value_name = "POLICY", default_value = "baseline", value_parser = presets(), hide_possible_values = true)]
    pub policy: String,
    /// Divides the tenants among so many shards, as a node with several cores would: the same comes out. By default one, or as
    /// many as there were live.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub shards: Option<u32>,
    /// A JSON object a line instead of text.
    #[arg(long)]
    pub json: bool,
    /// Write the packet headers behind each violation into this folder, as VIOLATION.pcapng.
    ///
    /// Raw IP with the lengths that the packets had; the file's comment says what it is evidence of. Payload is never kept.
    #[arg(long, value_name = "DIR")]
    pub pcapng: Option<PathBuf>,
}

/// Arguments of `score`.
#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// The manifest; captures are found beside it.
    #[arg(value_name = "MANIFEST")]
    pub manifest: PathBuf,
    /// A preset's name (baseline, anycloud, cloudprovider, extin, intermax, oxygis), or a policy file.
    #[arg(long, value_name = "POLICY", default_value = "baseline", value_parser = presets(), hide_possible_values = true)]
    pub policy: String,
    /// JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    /// A file of marks; the exit code is 1 if they are not reached.
    ///
    /// TOML: false_alarms and wrong_class are the most there may be, [found] has the least by class.
    #[arg(long, value_name = "FILE")]
    pub fail_below: Option<PathBuf>,
}

/// Arguments of `try`.
#[derive(Debug, Args)]
pub struct TryArgs {
    /// The policy to try: a preset's name (baseline, anycloud, cloudprovider, extin, intermax, oxygis), or a file.
    #[arg(value_name = "POLICY", value_parser = presets(), hide_possible_values = true)]
    pub candidate: String,
    /// What the agent kept itself of so much time ([history] in the settings), such as 7d or 12h.
    ///
    /// Held against is what ran then, version by version, unless --against names a policy. Measures that stood then are reckoned with: what
    /// they stopped is no evidence. Both policies are taken as enforced, and as if nobody had paused; tenants are those of the time.
    #[arg(long, value_name = "TIME", value_parser = span, conflicts_with_all = ["pcap", "tenants", "tenant", "vantage"])]
    pub history: Option<std::time::Duration>,
    /// Captures, played one after the other; - is standard input.
    #[arg(long, required_unless_present = "history", num_args = 1.., value_name = "FILE")]
    pub pcap: Vec<PathBuf>,
    /// The policy to hold it against, instead of the one in the settings.
    #[arg(long, value_name = "POLICY", value_parser = presets(), hide_possible_values = true)]
    pub against: Option<String>,
    /// Whose traffic the captures are, instead of the settings' tenants: a file of tenants.
    #[arg(long, value_name = "FILE")]
    pub tenants: Option<PathBuf>,
    /// Likewise, a tenant's addresses: ADDRESS[,ADDRESS...] or NAME=ADDRESS[,ADDRESS...]. May be given several times.
    #[arg(long, value_name = "ADDRESSES")]
    pub tenant: Vec<reeve_replay::TenantArg>,
    /// Where the captures were taken: at the one tenant's port, where foreign sources are spoofed, or anywhere.
    #[arg(long, value_enum, default_value_t = play::VantageArg::Mirror)]
    pub vantage: play::VantageArg,
    /// The settings, for the policy and the tenants that are not given.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH, env = "REEVE_AGENT_CONFIG")]
    pub config: PathBuf,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `thresholds`.
#[derive(Debug, Args)]
pub struct ThresholdsArgs {
    /// The settings.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH, env = "REEVE_AGENT_CONFIG")]
    pub config: PathBuf,
    /// A preset's name, or a policy file, instead of the one in the settings.
    #[arg(long, value_name = "POLICY", value_parser = presets(), hide_possible_values = true)]
    pub policy: Option<String>,
    /// The tenant. One that is not known on this node is taken to have the profile `none`.
    #[arg(long, value_name = "ID")]
    pub tenant: Option<reeve_policy::TenantId>,
    /// A profile, instead of the tenant's.
    #[arg(long, value_enum, value_name = "PROFILE")]
    pub profile: Option<thresholds::ProfileArg>,
    /// A class, or a family of them such as portscan.*; all if left out.
    #[arg(long, value_name = "CLASS")]
    pub class: Option<String>,
    /// JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `violations`.
#[derive(Debug, Args)]
pub struct ViolationsArgs {
    /// The settings, which name the state folder.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH, env = "REEVE_AGENT_CONFIG")]
    pub config: PathBuf,
    /// JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `evidence`.
#[derive(Debug, Args)]
pub struct EvidenceArgs {
    /// The violation's id.
    #[arg(value_name = "VIOLATION")]
    pub id: reeve_policy::Name,
    /// The settings, which name the state folder.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH, env = "REEVE_AGENT_CONFIG")]
    pub config: PathBuf,
    /// What the decision of this number rests on, counted from 1; by default the latest decision.
    #[arg(long, value_name = "NUMBER")]
    pub decision: Option<u32>,
    /// Write the packet headers to this file, as pcapng: of all that is kept, or of --decision alone.
    ///
    /// Raw IP with the lengths that the packets had; payload is never kept. The file's comment names the violation.
    #[arg(long, value_name = "FILE")]
    pub pcapng: Option<PathBuf>,
    /// JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The violation's id.
    #[arg(value_name = "VIOLATION")]
    pub id: reeve_policy::Name,
    /// The settings, which name the state folder.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH, env = "REEVE_AGENT_CONFIG")]
    pub config: PathBuf,
    /// JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ruleset`.
#[derive(Debug, Args)]
pub struct RulesetArgs {
    /// The settings.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Arguments of `clear`.
#[derive(Debug, Args)]
pub struct ClearArgs {
    /// The settings, which name the state folder. Without them, those in the usual place, if there are any.
    #[arg(long, value_name = "FILE", env = "REEVE_AGENT_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Arguments of `pause`.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// Why, for whoever reads the notices and `reevectl nodes`.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Lift the measures that policy made, too, and close the episodes behind them.
    ///
    /// What operators ordered stays, and so do the strikes.
    #[arg(long)]
    pub lift: bool,
    /// The settings, which name the state folder.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH, env = "REEVE_AGENT_CONFIG")]
    pub config: PathBuf,
}

/// Arguments of `release-brakes`.
#[derive(Debug, Args)]
pub struct ReleaseBrakesArgs {
    /// The settings, which name the state folder.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH, env = "REEVE_AGENT_CONFIG")]
    pub config: PathBuf,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
}

/// Arguments of `resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The settings, which name the state folder.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH, env = "REEVE_AGENT_CONFIG")]
    pub config: PathBuf,
}

/// The same for a person: of mistakes in a file the lines are shown.
#[must_use]
pub fn explain(error: &anyhow::Error) -> String {
    let of_cause = |cause: &'_ (dyn std::error::Error + 'static)| -> Option<(String, String)> {
        let errors = match cause.downcast_ref() {
            Some(config::ConfigError::Content(errors)) => Some(errors),
            _ => cause.downcast_ref::<ConfigErrors>(),
        };
        errors.map(|errors| (errors.to_string(), errors.with_excerpts()))
    };
    let in_file = error.chain().find_map(of_cause);
    match in_file {
        Some((plain, shown)) => describe(error).replace(&plain, &shown),
        None => describe(error),
    }
}

/// The error and what caused it; a cause that the line before has named already is not told again.
#[must_use]
pub fn describe(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn span(text: &str) -> Result<std::time::Duration, String> {
    parse_duration(text).ok_or_else(|| "a time such as 7d, 12h or 30m".to_owned())
}

/// The names of policies that are compiled in are completed.
fn presets() -> reeve_manual::Known {
    reeve_manual::Known(Policy::PRESETS.iter().map(|(name, _)| *name).collect())
}
