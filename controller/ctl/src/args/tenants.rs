//! Tenants on the command line.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use reeve_policy::Name;
use reeve_policy::language::TenantsFormat;

use super::Narrow;

/// What can be done with tenants.
#[derive(Debug, Subcommand)]
pub enum TenantsCommand {
    /// Lists them
    List(Narrow),
    /// Shows one
    Show {
        /// The tenant's id.
        tenant: Name,
    },
    /// Takes tenants over from a file: [[tenant]] tables, JSON or CSV
    ///
    /// All of the file is taken over or nothing. Importing the same again changes nothing. Tenants that the file does not name stay,
    /// unless --replace is given. JSON is a list of objects with the keys of the tables; CSV a line of headings, which are the same keys, and a
    /// line a tenant, with `;` between the values of a list: id,addresses,profile. An entry is taken over whole: a key or a column
    /// that is not there is as if it were empty. What is wrong is told with its line, its column and what is allowed.
    Import {
        /// The file; - is standard input.
        file: PathBuf,
        /// How it is written; by default what the end of its name says, and else toml.
        #[arg(long, value_enum, value_name = "FORMAT")]
        format: Option<FormatArg>,
        /// Forget tenants that the file does not name.
        #[arg(long)]
        replace: bool,
        /// Only tell what would change: who is new, who is gone, and who is another, key by key. The controller is asked, and does nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// How a file of tenants is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum FormatArg {
    /// [[tenant]] tables.
    Toml,
    /// A list of objects.
    Json,
    /// A line of headings, and a line a tenant.
    Csv,
}

impl From<FormatArg> for TenantsFormat {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Toml => Self::Toml,
            FormatArg::Json => Self::Json,
            FormatArg::Csv => Self::Csv,
        }
    }
}
