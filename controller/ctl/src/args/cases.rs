//! The command line about cases.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use reeve_policy::Name;
use reeve_policy::language::Grace;

use super::{AuditKey, Narrow, Repeat};

/// Which cases are listed.
#[derive(Clone, Debug, Default, Args)]
pub struct CaseFilter {
    /// Only of this tenant.
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<Name>,
    /// Those that are closed, too.
    #[arg(long)]
    pub all: bool,
    /// Only those in which these words stand: in the case's key or clause, its tenant's key or name, or what people wrote about it; an address finds its
    /// tenant's cases.
    #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true)]
    pub search: String,
    #[command(flatten)]
    pub narrow: Narrow,
}

/// What is done with cases.
#[derive(Debug, Subcommand)]
pub enum CasesCommand {
    /// Lists them, those first that were opened last
    List {
        #[command(flatten)]
        filter: CaseFilter,
    },
    /// Shows one with its story: what happened, what was decided and carried out, who was told, and what was said and done about it
    Show {
        /// Its key, as `reevectl cases` lists it.
        #[arg(value_name = "CASE")]
        id: Name,
    },
    /// Writes something down for colleagues; it stays
    Note {
        /// The case's key.
        #[arg(value_name = "CASE")]
        id: Name,
        /// What; from standard input if it is -.
        #[arg(value_name = "TEXT", allow_hyphen_values = true)]
        text: String,
        #[command(flatten)]
        repeat: Repeat,
    },
    /// Waits for the customer, until a deadline; when that is over, the case is open again by itself
    Wait {
        /// The case's key.
        #[arg(value_name = "CASE")]
        id: Name,
        /// How long, from now: a time such as 24h or 14d, or "2 working days" by the calendar of the active policy.
        #[arg(long = "for", value_name = "TIME", value_parser = grace)]
        time_limit: String,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
        #[command(flatten)]
        repeat: Repeat,
    },
    /// Has the people on call work on it: waits no longer, or is not closed any more
    Open {
        /// The case's key.
        #[arg(value_name = "CASE")]
        id: Name,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
        #[command(flatten)]
        repeat: Repeat,
    },
    /// Closes it, unless a violation of it is open or a measure stands: `reevectl release` comes first
    Close {
        /// The case's key.
        #[arg(value_name = "CASE")]
        id: Name,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Also where a violation is open or a measure stands, such as on a node that never comes back. Nothing is lifted by it.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        repeat: Repeat,
    },
    /// Keeps it with all its evidence, also what comes yet, past the time after which what is over is forgotten
    Hold {
        /// The case's key.
        #[arg(value_name = "CASE")]
        id: Name,
        /// Why, for the record.
        #[arg(
            long,
            value_name = "TEXT",
            required_unless_present = "end",
            default_value = "",
            hide_default_value = true
        )]
        reason: String,
        /// Ends it.
        #[arg(long, conflicts_with = "reason")]
        end: bool,
    },
    /// Seals it, as a court or the police may order: nobody is told of it, and only administrators see it and what is its; for administrators
    Seal {
        /// The case's key.
        #[arg(value_name = "CASE")]
        id: Name,
        /// Why, for the record, such as the order's number.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Ends a seal: who may see cases sees it again. What was not sent meanwhile is not sent; for administrators
    Unseal {
        /// The case's key.
        #[arg(value_name = "CASE")]
        id: Name,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Writes one out as a signed file that can be given away: its story, evidence, policies, and what the audit log says; for administrators
    Export {
        /// The case's key.
        #[arg(value_name = "CASE")]
        id: Name,
        /// Where to; a file that is there is not written over.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Verifies what was written out, without asking the controller, and names the first file in it that does not fit
    ///
    /// Exit codes: 0 all of it holds, 1 something does not fit, or it is signed by no key that was named; 74 the file cannot be read.
    Verify {
        /// What `reevectl cases export` wrote.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// A controller's key (`reevectl audit key`), in hex or as a file that holds it. May be given several times.
        #[arg(long = "key", value_name = "HEX|FILE")]
        keys: Vec<AuditKey>,
    },
}

fn grace(text: &str) -> Result<String, String> {
    Grace::parse(text).map(|_| text.to_owned()).ok_or_else(|| Grace::SYNTAX.to_owned())
}
