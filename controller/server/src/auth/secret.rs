//! What is shown to get in, and what is kept of it.
//!
//! A secret is 256 bits of the system's randomness, so a plain SHA-256 is all that has to be kept of it: there is nothing that
//! a slow hash would have to protect from guessing (OWASP ASVS 5.0, 11.4.2 asks for slow ones for passwords).

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

/// How many random bytes a secret has.
const BYTES: usize = 32;

/// What is kept of a secret: its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// Of what was shown, whatever it is.
    #[must_use]
    pub fn of(shown: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, shown.as_bytes()).as_ref());
        Self(hash)
    }

    /// As it was kept; `None` if that is no hash.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// To be kept.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash")
    }
}

/// A new secret. It is told once.
pub struct Secret(String);

impl Secret {
    /// What tokens of programs begin with, so that whoever finds one in a file or a log knows what it is.
    pub const TOKEN: &'static str = "reeve_";
    /// What enrolment tokens begin with.
    pub const ENROLMENT: &'static str = "reeve_enrol_";
    /// What sessions' tokens begin with.
    pub const SESSION: &'static str = "reeve_session_";
    /// What invitations begin with.
    pub const INVITATION: &'static str = "reeve_invitation_";
    /// How many characters beside that are kept to tell one by: 24 bits, which leave 232.
    const KEPT: usize = 4;

    /// Makes one.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn new(prefix: &str) -> Result<Self, ring::error::Unspecified> {
        let mut bytes = [0; BYTES];
        SystemRandom::new().fill(&mut bytes)?;
        Ok(Self(format!("{prefix}{}", BASE64URL_NOPAD.encode(&bytes))))
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(&self.0)
    }

    /// Its first characters.
    #[must_use]
    pub fn beginning(&self) -> String {
        let prefix = self.0.find('_').map_or(0, |at| at + 1);
        self.0.chars().take(prefix + Self::KEPT).collect()
    }

    /// To be told, once.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }
}

impl fmt::Debug for Secret {
    /// Secrets are for nobody's log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_alike_and_their_text_is_in_no_debug_output() {
        let (one, other) = (Secret::new(Secret::TOKEN).unwrap(), Secret::new(Secret::TOKEN).unwrap());
        assert_ne!(one.hash(), other.hash());
        assert_eq!(format!("{one:?} {:?}", one.hash()), "Secret Hash");
        assert_eq!(one.beginning().len(), "reeve_".len() + 4);
        let (hash, text) = (one.hash(), one.into_text());
        assert_eq!((text.len(), &text[..6]), (6 + 43, "reeve_"));
        assert_eq!(Hash::of(&text), hash);
    }
}
