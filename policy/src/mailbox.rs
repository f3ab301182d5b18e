//! An address of mail, as far as it can stand in an SMTP command.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::tenant::Domain;

/// `LOCAL@DOMAIN`: letters, digits and what RFC 5322 calls `atext`, with points between (RFC 5321, section 4.1.2; no quotes).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mailbox(Box<str>);

/// A text that is no mailbox.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no address of mail")]
pub struct ParseMailboxError(String);

impl FromStr for Mailbox {
    type Err = ParseMailboxError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseMailboxError(text.chars().take(80).collect());
        let (local, domain) = text.rsplit_once('@').ok_or_else(bad)?;
        let is_atom = |atom: &str| {
            let is_text = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
            !atom.is_empty() && atom.bytes().all(is_text)
        };
        let is_domain = domain.is_ascii() && domain.parse::<Domain>().is_ok();
        let good = local.len() <= 64 && local.split('.').all(is_atom) && is_domain;
        if good { Ok(Self(text.into())) } else { Err(bad()) }
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<Mailbox> for String {
    fn from(mailbox: Mailbox) -> Self {
        mailbox.0.into()
    }
}

impl TryFrom<String> for Mailbox {
    type Error = ParseMailboxError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_be_smuggled_into_a_command() {
        for good in ["probe@example.net", "a.b+c@x-y.example"] {
            assert_eq!(good.parse::<Mailbox>().map(String::from), Ok(good.to_owned()));
        }
        let long = format!("{}@a.example", "x".repeat(65));
        for bad in [
            "",
            "a",
            "@a.example",
            "a@",
            "a b@c.example",
            "a>\r\nDATA@c.example",
            "a@c.example>\r\n",
            ".a@c.example",
            &long,
        ] {
            assert!(bad.parse::<Mailbox>().is_err(), "{bad:?}");
        }
    }
}
