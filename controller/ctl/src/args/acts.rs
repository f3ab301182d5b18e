//! Whom an act is about, and how it may be repeated.

use std::path::PathBuf;

use clap::Args;

/// How an act may be repeated.
#[derive(Clone, Debug, Default, Args)]
pub struct Repeat {
    /// A key of your choice for this act, at most 200 bytes, so that a script may repeat it: the same act with the same key is done once.
    ///
    /// Make one anew for each act (uuidgen) and keep it until the act has succeeded. Where the line broke and nobody knows whether it was
    /// done, the same command with the same key does it or finds it done, at whichever controller, and tells the same order; another act
    /// with the same key is refused. Keys are remembered as long as what is over is kept ([retention]).
    #[arg(long, value_name = "KEY", default_value = "", hide_default_value = true)]
    pub request_key: String,
}

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
