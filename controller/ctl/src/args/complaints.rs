//! The command line about complaints of people outside.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use reeve_policy::Name;

use super::Repeat;

/// Which complaints are listed.
#[derive(Clone, Debug, Default, Args)]
pub struct ComplaintFilter {
    /// Only those that wait for a person: whose matter they are is not known, or they could not be read.
    #[arg(long)]
    pub waiting: bool,
    /// At most so many.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(i32).range(1..=500))]
    pub limit: i32,
    /// Only those that this is true of, such as 'kind = spam AND tenant = alice'.
    ///
    /// What may be compared: number, state (filed, unmatched, unreadable, dismissed), tenant, case_id, violation, kind, format, source, reporter,
    /// via, receive_time, deadline.
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    pub filter: String,
}

/// What is done with complaints.
#[derive(Debug, Subcommand)]
pub enum ComplaintsCommand {
    /// Lists them, those first that came last
    List {
        #[command(flatten)]
        filter: ComplaintFilter,
    },
    /// Shows one in the words of whoever complains
    Show {
        /// Its number, as `reevectl complaints` lists it.
        #[arg(value_name = "NUMBER")]
        number: u64,
    },
    /// Hands in messages that hold complaints: mails (ARF, X-ARF, or in somebody's own words) or JSON (XARF 4 and 3)
    ///
    /// Which of them a file is its first letter says. What is known already is counted and nothing else; what cannot be read is kept, with the reason.
    /// A complaint opens a case or goes to one, and never acts by itself.
    Submit {
        /// The files; `-` for what comes in.
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    /// Says whose matter a complaint is, where its address did not
    Assign {
        /// Its number.
        #[arg(value_name = "NUMBER")]
        number: u64,
        /// Whose.
        #[arg(value_name = "TENANT")]
        tenant: Name,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        repeat: Repeat,
    },
    /// Says that nobody has anything to do about a complaint
    Dismiss {
        /// Its number.
        #[arg(value_name = "NUMBER")]
        number: u64,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        repeat: Repeat,
    },
}
