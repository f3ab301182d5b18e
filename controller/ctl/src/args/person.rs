//! The command line about accounts of people, and about logging in.

use clap::Subcommand;
use reeve_policy::Name;

use super::RoleArg;

/// What is done with accounts.
#[derive(Debug, Subcommand)]
pub enum PersonCommand {
    /// Adds an account, and prints the invitation by which its holder sets it up: it cannot be asked for again
    ///
    /// Hand it over so that nobody else sees it. It is good once, within 24 hours: reevectl set-up.
    Add {
        /// Whose; orders and the log have this name. A certificate of the same name is the same person's.
        #[arg(value_name = "NAME")]
        name: Name,
        /// What they may do: docs/access.md has the table.
        #[arg(long, value_enum)]
        role: RoleArg,
        /// Let them call from this address or prefix alone. May be given several times.
        #[arg(long = "from", value_name = "ADDRESS|PREFIX")]
        addresses: Vec<String>,
    },
    /// Lists accounts
    List,
    /// Takes password, second factor, recovery codes and sessions from an account, and prints a new invitation
    ///
    /// For whoever lost their phone, or whose password somebody else may know.
    Reset {
        /// Whose.
        #[arg(value_name = "NAME")]
        name: Name,
    },
    /// Removes an account, and ends its sessions at once
    Remove {
        /// Whose.
        #[arg(value_name = "NAME")]
        name: Name,
    },
}

/// What is done with sessions.
#[derive(Debug, Subcommand)]
pub enum SessionsCommand {
    /// Lists those that go on
    List,
    /// Ends one at once, and the connections over which it was shown
    Revoke {
        /// Its key, as the list has it.
        #[arg(value_name = "SESSION")]
        id: String,
    },
}
