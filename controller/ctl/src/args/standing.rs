//! The command line about exemptions that operators grant.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, Subcommand};
use ipnet::IpNet;
use reeve_policy::{ClausePattern, Exemption, Name, Timestamp};

use super::{Repeat, span};

/// An exemption to be granted.
#[derive(Debug, Args)]
pub struct ExemptArgs {
    /// The tenant's id, one of its addresses, or one of its interfaces as NODE/IFNAME.
    pub tenant: String,
    /// From what: a clause as POLICY/CLAUSE, or POLICY/* for all of a policy's.
    #[arg(long, value_name = "CLAUSE")]
    pub clause: ClausePattern,
    /// The written permission, such as "letter of 3 May, ticket 4711".
    #[arg(long, value_name = "TEXT", value_parser = reference)]
    pub reference: String,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Whom it may be done to: an address or a prefix; may be given several times. By default whoever it is.
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    pub to: Vec<IpNet>,
    /// On which port; may be given several times. By default on any.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Vec<u16>,
    /// Since when: a day, such as 2026-12-01, or RFC 3339; by default at once.
    #[arg(long, value_name = "TIME", value_parser = begin)]
    pub from: Option<Timestamp>,
    #[command(flatten)]
    pub end: EndArg,
    #[command(flatten)]
    pub repeat: Repeat,
}

/// How long it holds.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct EndArg {
    /// Until when: a day, all of which it holds (UTC), or RFC 3339; or `revoked`, where it holds until it is taken back.
    #[arg(long, value_name = "TIME", value_parser = end)]
    pub until: Option<End>,
    /// For how long, such as 12h or 30d.
    ///
    /// With --request-key give --until: so long from now is another time at each repetition, and so another act.
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub span: Option<Duration>,
}

/// When it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Then.
    At(Timestamp),
    /// When it is taken back.
    Revoked,
}

impl EndArg {
    /// When it ends, seen from `now`; `None` where it is to be taken back.
    pub fn at(&self, now: Timestamp) -> Option<Timestamp> {
        match (self.until, self.span) {
            (Some(End::At(at)), _) => Some(at),
            (None, Some(span)) => Some(now + span),
            (Some(End::Revoked) | None, _) => None,
        }
    }
}

/// What is done with exemptions.
#[derive(Debug, Subcommand)]
pub enum ExemptionsCommand {
    /// Takes an exemption back: what it permitted counts from now on, on every node
    Revoke {
        /// Its key, as `reevectl exemptions` lists it.
        #[arg(value_name = "EXEMPTION")]
        id: Name,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
}

fn reference(text: &str) -> Result<String, String> {
    let is_one = Exemption::is_reference(text);
    is_one
        .then(|| text.to_owned())
        .ok_or_else(|| format!("1 to {} bytes on one line", Exemption::MAX_REFERENCE))
}

fn prefix(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse()
        .or_else(|_| address())
        .map_err(|_| "an address or a prefix, such as 198.51.100.0/24".to_owned())
}

fn begin(text: &str) -> Result<Timestamp, String> {
    Exemption::parse_time(text, false)
        .ok_or_else(|| "a day like 2026-12-01, or 2026-12-01T12:00:00Z".to_owned())
}

fn end(text: &str) -> Result<End, String> {
    if text == Exemption::REVOKED {
        return Ok(End::Revoked);
    }
    let wrong = || "a day like 2026-12-31, or 2026-12-31T12:00:00Z, or revoked".to_owned();
    Exemption::parse_time(text, true).map(End::At).ok_or_else(wrong)
}
