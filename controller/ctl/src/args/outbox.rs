//! The command line about what is sent.

use clap::{Args, Subcommand};

use super::Repeat;

/// What is listed of what is sent.
#[derive(Clone, Debug, Args)]
pub struct OutboxFilter {
    /// Only of the notice with this number, as `reevectl notices` lists it.
    #[arg(long, value_name = "NUMBER")]
    pub notice: Option<u64>,
    /// At most so many.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(i32).range(1..=1000))]
    pub limit: i32,
    /// Only those that this is true of, such as 'state = dead AND channel = mail'.
    ///
    /// What may be compared: number, notice, complaint, tenant, recipient, channel (mail, webhook, file), target, state (pending, sent, dead), made_time.
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    pub filter: String,
}

/// What is done with what is sent.
#[derive(Debug, Subcommand)]
pub enum OutboxCommand {
    /// Lists it, newest first
    List {
        #[command(flatten)]
        filter: OutboxFilter,
    },
    /// Sends something again that was given up, or does not wait for its next attempt
    ///
    /// Of what had no address, it is sent to the addresses that its recipient has now.
    Resend {
        /// Its number, as `reevectl outbox` lists it; several may be named.
        #[arg(value_name = "NUMBER", required = true)]
        numbers: Vec<u64>,
        /// Also what was sent: whoever has it gets it twice.
        #[arg(long)]
        again: bool,
        #[command(flatten)]
        repeat: Repeat,
    },
}
