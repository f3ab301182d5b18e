//! The controller's key for what it keeps in the database and must be able to read, or to know for its own: `secrets.key`
//! beside `ca.key`.
//!
//! Of it are derived (HKDF, RFC 5869) a key for seals over what somebody else is not to change, and one to encrypt what
//! somebody else is not to read. Whoever has the database and not the controller's folder can do neither. Controllers on one database
//! have the same one in their folders.

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{self, HKDF_SHA256, KeyType, Salt};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::files;

/// The key's name in the controller's folder.
pub const FILE_NAME: &str = "secrets.key";
const KEY_BYTES: usize = 32;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// Its file cannot be made or read.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{path} holds {found} bytes, not a key of {KEY_BYTES}", path = path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// How many bytes.
        found: usize,
    },
    /// The system gave no random bytes.
    #[error("the system has no randomness")]
    Random,
}

/// Seals and encrypts.
pub struct Vault {
    sealing: hmac::Key,
    hiding: LessSafeKey,
}

impl fmt::Debug for Vault {
    /// Keys are for nobody's log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

impl Vault {
    /// Reads the key in a folder, or makes one there that only this user can read.
    ///
    /// # Errors
    /// Where the file cannot be made or read, or holds no key.
    pub fn open(dir: &Path) -> Result<Self, VaultError> {
        let path = dir.join(FILE_NAME);
        let failed = |source| VaultError::File { path: path.clone(), source };
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut made = [0; KEY_BYTES];
                SystemRandom::new().fill(&mut made).map_err(|_| VaultError::Random)?;
                write_new(&path, &made).map_err(failed)?;
                made.to_vec()
            }
            read => read.map_err(failed)?,
        };
        match <[u8; KEY_BYTES]>::try_from(bytes.as_slice()) {
            Ok(key) => Self::new(&key),
            Err(_) => Err(VaultError::Key { path, found: bytes.len() }),
        }
    }

    fn new(key: &[u8; KEY_BYTES]) -> Result<Self, VaultError> {
        let drawn = Salt::new(HKDF_SHA256, b"reeve-secrets-v1").extract(key);
        let sealing = derived(&drawn, b"seal")?;
        let hiding = UnboundKey::new(&AES_256_GCM, &derived(&drawn, b"hide")?);
        Ok(Self {
            sealing: hmac::Key::new(hmac::HMAC_SHA256, &sealing),
            hiding: LessSafeKey::new(hiding.map_err(|_| VaultError::Random)?),
        })
    }

    /// By what the key is known, and which does not tell it.
    #[must_use]
    pub fn fingerprint(&self) -> Vec<u8> {
        self.seal("fingerprint", &[])
    }

    /// The key in a folder, where there is one.
    ///
    /// # Errors
    /// Where it cannot be read, or the file holds none.
    pub fn look(dir: &Path) -> Result<Option<Self>, VaultError> {
        if dir.join(FILE_NAME).exists() { Self::open(dir).map(Some) } else { Ok(None) }
    }

    /// A seal over texts and bytes, each behind its length, for a purpose.
    #[must_use]
    pub fn seal(&self, purpose: &str, parts: &[&[u8]]) -> Vec<u8> {
        hmac::sign(&self.sealing, &laid_out(purpose, parts)).as_ref().to_vec()
    }

    /// Whether a seal is ours, over exactly these.
    #[must_use]
    pub fn is_sealed(&self, purpose: &str, parts: &[&[u8]], seal: &[u8]) -> bool {
        hmac::verify(&self.sealing, &laid_out(purpose, parts), seal).is_ok()
    }

    /// Encrypts something that belongs to somebody, and is of no use to anybody else.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn hide(&self, whose: &str, secret: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| VaultError::Random)?;
        let mut hidden = secret.to_vec();
        let aad = Aad::from(whose.as_bytes());
        let sealed =
            self.hiding.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut hidden);
        sealed.map_err(|_| VaultError::Random)?;
        Ok([nonce.as_slice(), &hidden].concat())
    }

    /// Reads what was hidden; `None` if it was by another key, for somebody else, or changed.
    #[must_use]
    pub fn show(&self, whose: &str, hidden: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = hidden.split_at_checked(NONCE_LEN)?;
        let mut rest = rest.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let shown = self.hiding.open_in_place(nonce, Aad::from(whose.as_bytes()), &mut rest).ok()?;
        Some(shown.to_vec())
    }
}

fn laid_out(purpose: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut message = Vec::new();
    for part in std::iter::once(&purpose.as_bytes()).chain(parts) {
        message.extend_from_slice(&(part.len() as u64).to_be_bytes());
        message.extend_from_slice(part);
    }
    message
}

fn derived(drawn: &hkdf::Prk, purpose: &[u8]) -> Result<[u8; KEY_BYTES], VaultError> {
    struct Bytes;
    impl KeyType for Bytes {
        fn len(&self) -> usize {
            KEY_BYTES
        }
    }
    let mut key = [0; KEY_BYTES];
    let expanded = drawn.expand(&[purpose], Bytes).and_then(|all| all.fill(&mut key));
    expanded.map_err(|_| VaultError::Random)?;
    Ok(key)
}

/// Under another name first, so that a key is whole or not there.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension(format!("key.{}", std::process::id()));
    let write = || {
        let mut file = files::make(&beside)?;
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
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_is_kept_and_another_key_knows_nothing_of_it() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let vault = Vault::open(folder.path()).unwrap();
        let path = folder.path().join(FILE_NAME);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        let (seal, hidden) = (vault.seal("x", &[b"a", b"b"]), vault.hide("alice", b"secret").unwrap());
        let again = Vault::open(folder.path()).unwrap();
        assert!(again.is_sealed("x", &[b"a", b"b"], &seal));
        assert_eq!(again.show("alice", &hidden).as_deref(), Some(&b"secret"[..]));
        let stranger = Vault::open(other.path()).unwrap();
        assert!(!stranger.is_sealed("x", &[b"a", b"b"], &seal));
        assert_eq!(stranger.show("alice", &hidden), None);
        std::fs::write(&path, b"short").unwrap();
        assert!(Vault::open(folder.path()).unwrap_err().to_string().contains("5 bytes"));
    }

    #[test]
    fn what_was_moved_or_changed_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path()).unwrap();
        let seal = vault.seal("x", &[b"ab", b"c"]);
        for (purpose, parts) in [("y", [&b"ab"[..], b"c"]), ("x", [b"a", b"bc"]), ("x", [b"ab", b"d"])] {
            assert!(!vault.is_sealed(purpose, &parts, &seal), "{purpose} {parts:?}");
        }
        let hidden = vault.hide("alice", b"secret").unwrap();
        assert!(!hidden.windows(6).any(|window| window == b"secret"));
        assert_ne!(hidden, vault.hide("alice", b"secret").unwrap());
        assert_eq!(vault.show("bob", &hidden), None);
        for place in 0..hidden.len() {
            let mut changed = hidden.clone();
            changed[place] ^= 1;
            assert_eq!(vault.show("alice", &changed), None, "byte {place}");
        }
        for length in 0..NONCE_LEN + 16 {
            assert_eq!(vault.show("alice", &hidden[..length]), None);
        }
    }
}
