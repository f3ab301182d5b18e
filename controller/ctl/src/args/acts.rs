//! Whom an act is about.

use std::path::PathBuf;

use clap::Args;

/// One tenant or several.
#[derive(Clone, Debug, Args)]
pub struct Whom {
    /// Whom: tenants' ids, addresses of theirs, or interfaces of theirs as NODE/IFNAME.
    ///
    /// Several are one act in one step, of 500 at most: whoever is named twice is meant once, whoever is not there does not hold up the
    /// others, and what became of each is told. The exit code is 1 if it was not done for somebody.
    #[arg(value_name = "TENANT", required_unless_present = "from")]
    pub tenants: Vec<String>,
    /// Also those of this file, one a line; - is standard input. Empty lines, and those that begin with #, say nothing.
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
}

impl Whom {
    /// The one who is meant, where no list is.
    pub fn only(&self) -> Option<&String> {
        match (self.tenants.as_slice(), &self.from) {
            ([one], None) => Some(one),
            _ => None,
        }
    }
}
