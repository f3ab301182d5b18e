//! The command line about the audit log.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Subcommand;
use reeve_audit::PublicKey;
use reeve_policy::Timestamp;

use super::since;

/// What is done with the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Lists who did what, and who looked at evidence, newest first
    ///
    /// Of every act there are two entries: that it was asked for, made before it was done, and what came of it.
    List {
        /// Only of this operator or token.NAME.
        #[arg(long, value_name = "NAME")]
        who: Option<String>,
        /// Only of this method, such as Suspend.
        #[arg(long, value_name = "METHOD")]
        act: Option<String>,
        /// Only about this, such as tenant/customer-17, node/web3 or violation/ID.
        #[arg(long = "about", value_name = "KIND/ID")]
        subject: Option<String>,
        /// Only at this time or later: RFC 3339, or how long ago, such as 2h.
        #[arg(long, value_name = "TIME", value_parser = since)]
        since: Option<Timestamp>,
        /// At most so many.
        #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(i32).range(1..=1000))]
        limit: i32,
    },
    /// Writes the whole log out, with a new checkpoint at its end
    ///
    /// One JSON object a line: entries, each with the hash of the one before, and checkpoints that the controller signed over them. What is
    /// written is kept where the controller's administrators cannot change it.
    Export {
        /// Where to; a file that is there is not written over. Standard output if left out.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// From this entry on.
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        from: u64,
    },
    /// Verifies what was written out, without asking the controller, and names the first thing that does not fit
    ///
    /// Exit codes: 0 all of it holds, 1 something does not fit, or no checkpoint is of a key that was named; 74 the file cannot be read.
    Verify {
        /// What `reevectl audit export` wrote; - for standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// A controller's key, in hex or as a file that holds it. May be given several times.
        #[arg(long = "key", value_name = "HEX|FILE")]
        keys: Vec<AuditKey>,
    },
    /// Prints the key by which this controller's checkpoints are verified
    ///
    /// Keep it elsewhere: whoever could change the log could tell another key.
    Key,
}

/// A controller's key, as it is or in a file.
#[derive(Clone, Copy, Debug)]
pub struct AuditKey(pub PublicKey);

impl FromStr for AuditKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(key) = text.parse() {
            return Ok(Self(key));
        }
        let held = std::fs::read_to_string(text)
            .map_err(|error| format!("neither 64 hexadecimal digits nor a file that can be read: {error}"))?;
        held.parse().map(Self).map_err(|error| error.to_string())
    }
}
