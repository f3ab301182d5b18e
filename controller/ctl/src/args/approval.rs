//! The command line about acts that wait for a second person.

use clap::{Args, Subcommand};

/// What is shown of approvals.
#[derive(Debug, Subcommand)]
pub enum ApprovalsCommand {
    /// Lists those that wait, newest first
    List {
        /// Those that are over, too: they are known for 30 days.
        #[arg(long)]
        all: bool,
    },
    /// Shows one: what was asked for, by whom, why it waits, and what became of it
    Show {
        /// Its key.
        #[arg(value_name = "APPROVAL", value_parser = key)]
        id: String,
    },
}

/// Which approval, and what is said about it.
#[derive(Debug, Args)]
pub struct Decide {
    /// Its key, as `reevectl approvals` lists it.
    #[arg(value_name = "APPROVAL", value_parser = key)]
    pub id: String,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
}

fn key(text: &str) -> Result<String, String> {
    let is_key = (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_key
        .then(|| text.to_owned())
        .ok_or_else(|| "a key of letters and digits, such as A0199F3C2A5B1D2E3F40".into())
}
