//! Checkpoints: what a controller vouches for with its key.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use reeve_policy::Timestamp;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Hash, HexError, unhex};

/// What every signature begins with, so that it is one of nothing else.
const DOMAIN: &[u8] = b"reeve-audit-checkpoint-v1";

/// A controller's public key (Ed25519, RFC 8032), written in hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Whether it has signed this under a word of its own.
    pub(crate) fn has_signed(&self, domain: &[u8], text: &[u8], signature: &str) -> bool {
        // Of digits there is one form, so that of a signature there is one.
        let is_own = !signature.bytes().any(|byte| byte.is_ascii_uppercase());
        let Some(signature) = unhex::<64>(signature).ok().filter(|_| is_own) else { return false };
        let key = UnparsedPublicKey::new(&ED25519, self.0);
        key.verify(&[domain, text].concat(), &signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hash(self.0).fmt(f)
    }
}

impl FromStr for PublicKey {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        unhex(text.trim()).map(Self)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// That the chain had this head at this time, signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The last link's number.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
    /// When it was signed.
    pub at: Timestamp,
    /// By whose key.
    pub key: PublicKey,
    /// The signature, in hex.
    pub signature: String,
}

impl Checkpoint {
    /// Signs that the link `number` has the hash `hash`.
    #[must_use]
    pub fn sign(signer: &Signer, number: u64, hash: Hash, at: Timestamp) -> Self {
        let signature = signer.0.sign(&message(number, &hash, at));
        let signature = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { number, hash, at, key: signer.public(), signature }
    }

    /// Whether its own key has signed it.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        let Ok(signature) = unhex::<64>(&self.signature) else { return false };
        let key = UnparsedPublicKey::new(&ED25519, self.key.0);
        key.verify(&message(self.number, &self.hash, self.at), &signature).is_ok()
    }
}

fn message(number: u64, hash: &Hash, at: Timestamp) -> Vec<u8> {
    [DOMAIN, &number.to_be_bytes(), &hash.0, &at.as_nanos().to_be_bytes()].concat()
}

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file cannot be made or read.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It holds no Ed25519 key.
    #[error("{path} holds no Ed25519 key in PKCS #8", path = path.display())]
    Key {
        /// Which.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes to make a key of")]
    Random,
}

/// A controller's key.
#[derive(Debug)]
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// Reads the key in `path` (PKCS #8), or makes one there that only this user can read.
    ///
    /// # Errors
    /// Where the file cannot be made or read, or holds no key.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let random = ring::rand::SystemRandom::new();
                let made = Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| KeyError::Random)?;
                match write_new(path, made.as_ref()) {
                    Ok(()) => made.as_ref().to_vec(),
                    // Somebody else was faster: theirs counts.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        std::fs::read(path).map_err(failed)?
                    }
                    Err(error) => return Err(failed(error)),
                }
            }
            Err(error) => return Err(failed(error)),
        };
        let pair = Ed25519KeyPair::from_pkcs8(&bytes);
        pair.map(Self).map_err(|_| KeyError::Key { path: path.to_owned() })
    }

    /// Signs something under a word of its own, so that it is a signature of nothing else; in hex.
    pub(crate) fn sign(&self, domain: &[u8], text: &[u8]) -> String {
        let signature = self.0.sign(&[domain, text].concat());
        signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What it is verified by.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }
}

/// Under another name first, so that a key is whole or not there.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(name);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::hard_link(&beside, path)
    };
    let written = write();
    let _ = std::fs::remove_file(&beside);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_only_what_its_key_has_signed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.key");
        let signer = Signer::open(&path).unwrap();
        assert_eq!(Signer::open(&path).unwrap().public(), signer.public(), "it is kept");
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        let good = Checkpoint::sign(&signer, 7, Hash([3; 32]), Timestamp::from_secs(9));
        assert!(good.is_signed());
        let other = Signer::open(&folder.path().join("other.key")).unwrap().public();
        for bad in [
            Checkpoint { number: 8, ..good.clone() },
            Checkpoint { hash: Hash([4; 32]), ..good.clone() },
            Checkpoint { at: Timestamp::from_secs(10), ..good.clone() },
            Checkpoint { key: other, ..good.clone() },
            Checkpoint { signature: "00".repeat(64), ..good.clone() },
            Checkpoint { signature: String::new(), ..good.clone() },
        ] {
            assert!(!bad.is_signed(), "{bad:?}");
        }
        std::fs::write(&path, b"no key").unwrap();
        assert!(Signer::open(&path).unwrap_err().to_string().contains("holds no Ed25519 key"));
    }
}
