//! Opening mail that is encrypted to the abuse desk (OpenPGP, RFC 9580 and 4880).
//!
//! The keys are read, and their passphrase taken off, when the settings are: what is wrong with them is said at the start. Anybody may send
//! what is opened here, so all of it has a bound: the attempts at a session key, the layers, the signatures, and what a layer unpacks to.
//! Nothing is handed over before the whole was found unchanged.
//!
//! Deliberately absent: whether signatures are good (who it is from decides nothing), passwords instead of keys, and fetching keys.

use std::io::Read;
use std::path::Path;

use pgp::composed::{DecryptionOptions, Deserializable as _, Esk, Message, SignedSecretKey, TheRing};
use pgp::packet::Signature;
use pgp::types::{KeyDetails as _, Password, Seipdv1ReadMode};
use reeve_reports::{Reason, Refused};

/// The largest file with keys, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// The most keys in it.
const MAX_KEYS: usize = 8;
/// What is encrypted is opened up to this, in bytes, layer by layer: four times what is read of a mail.
const MAX_OPENED: usize = 4 << 20;
/// Layers, one in the other: what is encrypted is mostly compressed, and then signed.
const MAX_LAYERS: usize = 4;
/// Of a mail to many so many of its session keys are tried, which may be ours: each costs milliseconds.
const MAX_ATTEMPTS: usize = 8;
/// The most signatures of one layer: each costs another sum over all of it.
const MAX_SIGNATURES: usize = 8;

/// Secret keys without a passphrase.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    keys: Vec<SignedSecretKey>,
}

impl std::fmt::Debug for Keys {
    /// Keys are for nobody's log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.fingerprints())
    }
}

impl Keys {
    /// Reads the keys of a file.
    ///
    /// # Errors
    /// Where there is none that mail can be opened with: what is wrong, and what to do.
    pub fn load(path: &Path, passphrase: Option<&str>) -> Result<Self, String> {
        let wrong = |reason: String| format!("{}: {reason}", path.display());
        let read = || {
            let mut text = Vec::new();
            std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut text).map(|_| text)
        };
        let text = read().map_err(|error| wrong(error.to_string()))?;
        if text.len() as u64 > MAX_FILE {
            return Err(wrong(format!("it is larger than {MAX_FILE} bytes, and so no key")));
        }
        Self::parse(&text, passphrase).map_err(wrong)
    }

    fn parse(text: &[u8], passphrase: Option<&str>) -> Result<Self, String> {
        const EXPORT: &str = "export it with `gpg --armor --export-secret-keys ADDRESS`";
        let holds = |mark: &[u8]| text.windows(mark.len()).any(|window| window == mark);
        if holds(b"-----BEGIN PGP PUBLIC KEY BLOCK-----") && !holds(b"-----BEGIN PGP PRIVATE KEY BLOCK-----")
        {
            return Err(format!("it holds a public key, and mail is opened with the secret one: {EXPORT}"));
        }
        if !holds(b"-----BEGIN PGP PRIVATE KEY BLOCK-----") {
            return Err(format!("it holds no secret key in armour: {EXPORT}"));
        }
        let broken = |error: pgp::errors::Error| format!("its key cannot be read ({error}): {EXPORT}");
        let (read, _) = SignedSecretKey::from_armor_many(text).map_err(broken)?;
        let mut keys = read.take(MAX_KEYS + 1).collect::<Result<Vec<_>, _>>().map_err(broken)?;
        if keys.len() > MAX_KEYS {
            return Err(format!("it holds more than {MAX_KEYS} keys"));
        }
        for key in &keys {
            key.verify_bindings().map_err(|error| {
                format!("the parts of its key do not belong together ({error}): {EXPORT}")
            })?;
        }
        let password = passphrase.map(Password::from);
        let is_locked =
            keys.iter_mut().map(|key| unlock(key, password.as_ref())).fold(false, |any, one| any | one);
        keys.retain(opens_mail);
        match (keys.is_empty(), is_locked, passphrase) {
            (false, ..) => Ok(Self { keys }),
            (true, true, None) => Err(
                "its key has a passphrase: name a file that holds it (complaints.openpgp_passphrase_file)"
                    .to_owned(),
            ),
            (true, true, Some(_)) => Err(
                "the passphrase is another one, or the key's secret is not in it (on a card, or left out)"
                    .to_owned(),
            ),
            (true, false, _) => Err("it holds no key that mail is encrypted to: it can only sign".to_owned()),
        }
    }

    /// By what the keys are known.
    #[must_use]
    pub fn fingerprints(&self) -> String {
        let all: Vec<String> =
            self.keys.iter().map(|key| format!("{:X}", key.primary_key.fingerprint())).collect();
        all.join(", ")
    }

    /// Opens what is encrypted, in armour or without.
    ///
    /// # Errors
    /// Where it is to others, was changed or cut off, or grows beyond what is read.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, Refused> {
        let (message, _) =
            Message::from_reader(std::io::Cursor::new(sealed.to_vec())).map_err(|_| broken())?;
        let Message::Encrypted { esk, .. } = &message else {
            return Err(refused("it is not encrypted, whatever it says"));
        };
        self.is_worth_trying(esk)?;
        let options = DecryptionOptions::new()
            // GnuPG writes that to keys that it has made itself since 2.3.
            .enable_gnupg_aead()
            .set_seipdv1_read_mode(Seipdv1ReadMode::CheckFirst { max_message_size: MAX_OPENED });
        let none = Password::empty();
        let ring = TheRing {
            secret_keys: self.keys.iter().collect(),
            key_passwords: vec![&none],
            decrypt_options: options,
            ..TheRing::default()
        };
        let (message, _) = message.decrypt_the_ring(ring, true).map_err(|error| match error {
            pgp::errors::Error::MissingKey => refused("none of its session keys can be read with it"),
            _ => broken(),
        })?;
        unpack(message)
    }

    /// Whether some of the session keys may be ours, and no more than are tried.
    fn is_worth_trying(&self, esk: &[Esk]) -> Result<(), Refused> {
        let is_ours = |esk: &&Esk| {
            let Esk::PublicKeyEncryptedSessionKey(esk) = esk else { return false };
            self.keys.iter().any(|key| {
                esk.match_identity(key.primary_key.public_key())
                    || key.secret_subkeys.iter().any(|sub| esk.match_identity(sub.key.public_key()))
            })
        };
        let attempts = esk.iter().filter(is_ours).count();
        match attempts {
            0 if esk.iter().all(|esk| matches!(esk, Esk::SymKeyEncryptedSessionKey(_))) => {
                Err(refused("it is encrypted with a password, and to no key"))
            }
            0 => Err(refused(format!("it is to another one than {}", self.fingerprints()))),
            1..=MAX_ATTEMPTS => Ok(()),
            _ => Err(refused("it has more session keys without a name than are tried")),
        }
    }
}

fn refused(why: impl AsRef<str>) -> Refused {
    Reason::NotOpened.with(why)
}

fn broken() -> Refused {
    refused("it was changed or cut off on the way, or is in a form that is not read")
}

/// Takes the passphrase off what mail may be opened with; whether there was one.
fn unlock(key: &mut SignedSecretKey, password: Option<&Password>) -> bool {
    let mut is_locked = key.primary_key.secret_params().is_encrypted();
    if let Some(password) = password {
        // What only signs may lie elsewhere; whether enough is open is seen afterwards.
        let _ = key.primary_key.remove_password(password);
    }
    for sub in &mut key.secret_subkeys {
        is_locked |= sub.key.secret_params().is_encrypted();
        if let Some(password) = password {
            let _ = sub.key.remove_password(password);
        }
    }
    is_locked
}

/// Whether a key has a part that others encrypt to, and that is open.
fn opens_mail(key: &SignedSecretKey) -> bool {
    let is_for_mail = |signature: &Signature| {
        let flags = signature.key_flags();
        flags.encrypt_comms() || flags.encrypt_storage()
    };
    let mut own =
        key.details.users.iter().flat_map(|user| &user.signatures).chain(&key.details.direct_signatures);
    let own = !key.primary_key.secret_params().is_encrypted() && own.any(is_for_mail);
    let sub = key
        .secret_subkeys
        .iter()
        .any(|sub| !sub.key.secret_params().is_encrypted() && sub.signatures.iter().any(is_for_mail));
    own || sub
}

/// What lies in the innermost layer.
fn unpack(message: Message<'_>) -> Result<Vec<u8>, Refused> {
    let mut layer = unwrap_layer(message)?;
    for _ in 0..MAX_LAYERS {
        match layer {
            Layer::Content(content) => return Ok(content),
            Layer::Packets(packets) => {
                let message = Message::from_bytes(std::io::Cursor::new(packets)).map_err(|_| broken())?;
                layer = unwrap_layer(message)?;
            }
        }
    }
    Err(refused("it has too many layers, one in the other"))
}

enum Layer {
    Content(Vec<u8>),
    /// What was compressed. It is looked at when it is here whole, and so bounded.
    Packets(Vec<u8>),
}

fn unwrap_layer(message: Message<'_>) -> Result<Layer, Refused> {
    match message {
        Message::Compressed { reader, .. } => {
            Ok(Layer::Packets(bounded(reader.decompress().map_err(|_| broken())?)?))
        }
        Message::Literal { reader, .. } => Ok(Layer::Content(bounded(reader)?)),
        Message::Signed { reader, is_nested } => {
            if reader.num_signatures() > MAX_SIGNATURES {
                return Err(refused("it has too many signatures"));
            }
            let message = Message::Signed { reader, is_nested };
            if message.literal_data_header().is_none() {
                return Err(refused("what is signed in it is compressed or encrypted once more"));
            }
            Ok(Layer::Content(bounded(message)?))
        }
        Message::Encrypted { .. } => Err(refused("what is in it is encrypted once more")),
    }
}

/// All of it, unless it is more than is read. Where it was changed or cut off it ends with an error.
fn bounded(mut from: impl Read) -> Result<Vec<u8>, Refused> {
    let mut all = Vec::new();
    from.by_ref().take(MAX_OPENED as u64 + 1).read_to_end(&mut all).map_err(|_| broken())?;
    if all.len() > MAX_OPENED {
        return Err(refused(format!("opened it is larger than {MAX_OPENED} bytes")));
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
