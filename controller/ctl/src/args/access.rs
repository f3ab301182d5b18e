//! The command line about who may call.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use reeve_policy::Name;

use super::span;

/// What is done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes a token for a program, and prints it: it cannot be asked for again
    ///
    /// The program shows it as `authorization: Bearer TOKEN` (reevectl: --token-file). The controller keeps its hash alone.
    Create {
        /// What it is for; in orders and logs it appears as token.NAME.
        #[arg(value_name = "NAME")]
        name: Name,
        /// What it may do: docs/access.md has the table.
        #[arg(long, value_enum)]
        role: RoleArg,
        /// How long it holds, up to 731d.
        #[arg(long = "expires", value_name = "TIME", default_value = "365d", value_parser = span)]
        life: Duration,
        /// Take it from this address or prefix alone. May be given several times.
        #[arg(long = "from", value_name = "ADDRESS|PREFIX")]
        addresses: Vec<String>,
    },
    /// Lists tokens, those that ended lately too, newest first
    List,
    /// Ends a token at once, and every connection over which it was shown
    Revoke {
        /// Its name.
        #[arg(value_name = "NAME")]
        name: Name,
    },
}

/// What is done with enrolment tokens.
#[derive(Debug, Subcommand)]
pub enum EnrollTokenCommand {
    /// Makes a token by which a node fetches its first certificate, once, and prints it
    ///
    /// On the node: reeve-agent enroll --token-file FILE. It carries the fingerprint of the controller's authority, so nothing else
    /// has to be copied. One that was made for the node before and not used is of no use any more.
    Create {
        /// The node.
        #[arg(long, value_name = "NAME")]
        node: Name,
        /// How long it holds, up to 7d.
        #[arg(long = "expires", value_name = "TIME", default_value = "1h", value_parser = span)]
        life: Duration,
    },
}

/// Whose certificates.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Whose {
    /// A node's.
    #[arg(long, value_name = "NAME")]
    pub node: Option<Name>,
    /// Those of somebody with a role.
    #[arg(long, value_name = "NAME")]
    pub person: Option<Name>,
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Reads where tenants stand.
    Status,
    /// That, and sets and lifts suspensions until an invoice is paid.
    Billing,
    /// Reads everything but who may call.
    Viewer,
    /// That, and orders.
    Operator,
    /// Everything.
    Admin,
}
