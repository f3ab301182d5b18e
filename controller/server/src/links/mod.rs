//! Links in letters, by which whoever is told can say that it is mended, or what they have to say.
//!
//! A link is a token: the notice's number, an end, and a seal of the controller's over both. Nobody is logged in: who has the letter may answer for whom it was
//! written to, sees what the letter said and whether it still holds, and nothing else. To look changes nothing, since programs that read mail look at
//! every link; to do something takes a button ([`page`]).
//!
//! Left out: what a person decides. A link lifts only what a check from outside finds mended, or what was silent for as long as its rule asks.

mod desk;
mod form;
pub(crate) mod kinds;
mod page;
mod words;

use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use reeve_policy::notice::Notice;
use reeve_policy::{NoticeKind, Timestamp};

use crate::auth::Vault;

pub(crate) use desk::Desk;
pub(crate) use words::Words;

/// The pages of those who follow links.
pub(crate) fn router(desk: Desk) -> axum::Router {
    page::router(desk)
}

/// For how long a link is of use after its notice was made.
const LIFE: Duration = Duration::from_secs(30 * 24 * 3_600);
/// What the seal is for.
const PURPOSE: &str = "link in a notice";
/// Bytes of the notice's number, and of the end.
const NUMBER: usize = 8;

/// What somebody can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// That it is mended.
    Fixed,
    /// Something else.
    Statement,
}

impl What {
    /// In the address of the page.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Statement => "statement",
        }
    }

    /// What can be said to a notice: nothing where there is no case, that it is mended where something was seen.
    pub fn of(notice: &Notice, has_case: bool) -> &'static [Self] {
        match (has_case, notice.violation.is_some() && notice.kind != NoticeKind::Lifted) {
            (false, _) => &[],
            (true, false) => &[Self::Statement],
            (true, true) => &[Self::Fixed, Self::Statement],
        }
    }
}

/// Makes links, and reads those that come back.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    vault: Arc<Vault>,
    base: String,
}

impl Links {
    /// Links that begin with this: a scheme, a host, perhaps a path, and no slash at the end.
    pub const fn new(vault: Arc<Vault>, base: String) -> Self {
        Self { vault, base }
    }

    /// The link of a notice that was made at this time.
    pub fn url(&self, number: u64, made: Timestamp, what: What) -> String {
        format!("{}/n/{}/{}", self.base, self.token(number, made + LIFE), what.name())
    }

    fn token(&self, number: u64, end: Timestamp) -> String {
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.extend((end.as_nanos() / 1_000_000_000).to_be_bytes());
        let seal = self.vault.seal(PURPOSE, &[&bytes]);
        bytes.extend(seal);
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// The notice of a link; nothing of one that is not ours, or whose time is over.
    pub fn read(&self, token: &str, now: Timestamp) -> Option<u64> {
        let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).ok()?;
        let (said, seal) = bytes.split_at_checked(2 * NUMBER)?;
        let (number, end) = said.split_at_checked(NUMBER)?;
        let number = u64::from_be_bytes(number.try_into().ok()?);
        let end = Timestamp::from_secs(u64::from_be_bytes(end.try_into().ok()?));
        let is_ours = self.vault.is_sealed(PURPOSE, &[said], seal);
        (is_ours && now < end).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_back_until_its_end_and_none_can_be_made_up() {
        let folder = tempfile::tempdir().unwrap();
        let vault = || Arc::new(Vault::open(folder.path()).unwrap());
        let links = Links::new(vault(), "https://abuse.example.net".to_owned());
        let made = Timestamp::from_secs(1_700_000_000);
        let url = links.url(7, made, What::Fixed);
        let token = url.strip_prefix("https://abuse.example.net/n/").unwrap().strip_suffix("/fixed").unwrap();
        assert_eq!(links.read(token, made), Some(7));
        // Another controller with the same key reads it, too.
        assert_eq!(Links::new(vault(), String::new()).read(token, made), Some(7));
        let end = made + LIFE;
        assert_eq!(links.read(token, end.minus(Duration::from_secs(1))), Some(7));
        assert_eq!(links.read(token, end), None);
        let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).unwrap();
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut other = bytes.clone();
                other[place] ^= 1 << bit;
                assert_eq!(links.read(&BASE64URL_NOPAD.encode(&other), made), None, "{place}.{bit}");
            }
        }
        for text in ["", "AA", "é", &token[..token.len() - 2], &format!("{token}AA"), &format!("{token}=")] {
            assert_eq!(links.read(text, made), None, "{text}");
        }
        let other = tempfile::tempdir().unwrap();
        let stranger = Links::new(Arc::new(Vault::open(other.path()).unwrap()), String::new());
        assert_eq!(stranger.read(token, made), None);
    }
}
