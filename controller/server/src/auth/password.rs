//! Passwords, and the second factor.
//!
//! A password is kept as Argon2id (RFC 9106) with 19 MiB and two passes, which OWASP's cheat sheet on storing passwords asks for at least. The
//! second factor is a code of RFC 6238 as every app has it: SHA-1, six digits, 30 seconds.

use std::sync::LazyLock;

use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::BASE32_NOPAD;
use reeve_policy::Timestamp;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::secret::Hash;

/// The shortest password, in bytes: NIST SP 800-63B-4 asks for eight beside a second factor; longer is better.
pub const SHORTEST: usize = 12;
/// The longest.
pub const LONGEST: usize = 1_024;
/// How many recovery codes are made.
pub const RECOVERY_CODES: usize = 10;
/// How many bytes the second factor's secret has: as many as SHA-1 (RFC 4226, 4, R6).
pub const SECRET_BYTES: usize = 20;

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// How long a code is good, in seconds, and how many before and after are taken: clocks differ, and people type.
const STEP_SECS: u64 = 30;
const STEPS_AROUND: u64 = 1;
const DIGITS: usize = 6;

/// What is kept of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Password([u8; SALT_BYTES + HASH_BYTES]);

impl std::fmt::Debug for Password {
    /// Also its hash is for nobody's log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// What is compared with where there is nobody, so that nobody sees by the time it takes that there is not.
pub static NOBODY: LazyLock<Password> = LazyLock::new(|| Password([0x5a; SALT_BYTES + HASH_BYTES]));

impl Password {
    /// Of a new password. It takes a while and 19 MiB: never on an async thread.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn new(text: &str) -> Result<Self, ring::error::Unspecified> {
        let mut kept = [0; SALT_BYTES + HASH_BYTES];
        let (salt, hash) = kept.split_at_mut(SALT_BYTES);
        SystemRandom::new().fill(salt)?;
        hash.copy_from_slice(&hashed(text, salt).ok_or(ring::error::Unspecified)?);
        Ok(Self(kept))
    }

    /// Whether it is of this text. It takes a while and 19 MiB: never on an async thread.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        let (salt, hash) = self.0.split_at(SALT_BYTES);
        hashed(text, salt).is_some_and(|found| is_same(&found, hash))
    }

    /// To be kept.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As it was kept; `None` if that is none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

fn hashed(text: &str, salt: &[u8]) -> Option<[u8; HASH_BYTES]> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES)).ok()?;
    let mut hash = [0; HASH_BYTES];
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_into(text.as_bytes(), salt, &mut hash).ok()?;
    Some(hash)
}

/// In a time that does not tell where they differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// The step of a code that is good now and was not used before: later than `last`.
#[must_use]
pub fn step_of(secret: &[u8], code: &str, now: Timestamp, last: u64) -> Option<u64> {
    let current = now.as_nanos() / 1_000_000_000 / STEP_SECS;
    let mut found = None;
    // All are compared, whichever fits.
    for step in current.saturating_sub(STEPS_AROUND)..=current + STEPS_AROUND {
        if is_same(code_at(secret, step).as_bytes(), code.as_bytes()) && step > last {
            found = Some(step);
        }
    }
    found
}

/// The code of a step (RFC 4226, 5.3).
#[must_use]
pub fn code_at(secret: &[u8], step: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let bytes = tag.as_ref();
    let at = usize::from(bytes[bytes.len() - 1] & 0x0f);
    let word = u32::from_be_bytes([bytes[at] & 0x7f, bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    format!("{:0width$}", word % 10_u32.pow(DIGITS as u32), width = DIGITS)
}

/// The step of a time.
#[must_use]
pub const fn step_at(now: Timestamp) -> u64 {
    now.as_nanos() / 1_000_000_000 / STEP_SECS
}

/// A secret, to be typed and to be shown as a QR code.
#[must_use]
pub fn told(name: &str, secret: &[u8]) -> (String, String) {
    let text = BASE32_NOPAD.encode(secret);
    // Names are letters, digits, `.`, `_` and `-`, which a URI takes as they are.
    let uri =
        format!("otpauth://totp/Reeve:{name}?secret={text}&issuer=Reeve&algorithm=SHA1&digits=6&period=30");
    (text, uri)
}

/// New recovery codes of 80 random bits each, as they are told and as they are kept.
///
/// # Errors
/// When the system has no randomness to give.
pub fn recovery_codes() -> Result<Vec<(String, Hash)>, ring::error::Unspecified> {
    let code = |_| {
        let mut bytes = [0; 10];
        SystemRandom::new().fill(&mut bytes)?;
        let text = BASE32_NOPAD.encode(&bytes).to_lowercase();
        let parts: Vec<&str> = (0..4).map(|part| &text[part * 4..part * 4 + 4]).collect();
        let told = parts.join("-");
        let hash = recovery_hash(&told);
        Ok((told, hash))
    };
    (0..RECOVERY_CODES).map(code).collect()
}

/// What is kept of a recovery code, however it is typed.
#[must_use]
pub fn recovery_hash(typed: &str) -> Hash {
    let plain: String = typed.chars().filter(char::is_ascii_alphanumeric).collect();
    Hash::of(&plain.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_rfc_6238() {
        // Appendix B, the last six of its eight digits.
        let secret = b"12345678901234567890";
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000_u64, "353130"),
        ] {
            assert_eq!(code_at(secret, seconds / 30), code, "{seconds}");
        }
    }

    #[test]
    fn a_code_is_good_once_and_around_its_time() {
        let (secret, now) = (b"12345678901234567890", Timestamp::from_secs(3_000));
        for (step, is_good) in [(98, false), (99, true), (100, true), (101, true), (102, false)] {
            let found = step_of(secret, &code_at(secret, step), now, 0);
            assert_eq!(found, is_good.then_some(step), "{step}");
        }
        assert_eq!(step_of(secret, &code_at(secret, 100), now, 100), None, "used before");
        assert_eq!(step_of(secret, &code_at(secret, 99), now, 100), None, "older than what was used");
        for code in ["", "1", "1234567", "ä12345"] {
            assert_eq!(step_of(secret, code, now, 0), None, "{code}");
        }
    }

    #[test]
    fn a_password_is_kept_with_a_salt_and_known_again() {
        let (one, other) = (Password::new("correct horse").unwrap(), Password::new("correct horse").unwrap());
        assert_ne!(one, other);
        assert!(one.is("correct horse") && !one.is("correct horsf") && !NOBODY.is("correct horse"));
        assert_eq!(Password::from_bytes(one.as_bytes()), Some(one));
        assert_eq!(Password::from_bytes(b""), None);
    }

    #[test]
    fn recovery_codes_differ_and_are_known_however_they_are_typed() {
        let codes = recovery_codes().unwrap();
        let hashes: std::collections::BTreeSet<Hash> = codes.iter().map(|(_, hash)| *hash).collect();
        assert_eq!(hashes.len(), RECOVERY_CODES);
        let (told, hash) = &codes[0];
        assert_eq!(told.len(), 19);
        assert_eq!(recovery_hash(&told.replace('-', " ").to_uppercase()), *hash);
    }
}
