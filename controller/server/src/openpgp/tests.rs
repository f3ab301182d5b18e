use std::io::Write as _;
use std::sync::OnceLock;

use pgp::composed::{
    ArmorOptions, EncryptionCaps, KeyType, RawSessionKey, SecretKeyParamsBuilder, SubkeyParamsBuilder,
};
use pgp::crypto::ecc_curve::ECCCurve;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::{PacketTrait as _, PublicKeyEncryptedSessionKey, SymEncryptedProtectedData};
use proptest::prelude::Strategy as _;

use super::*;

const CIPHER: SymmetricKeyAlgorithm = SymmetricKeyAlgorithm::AES128;
const BROKEN: &str = "it was changed or cut off";

fn made(encrypts: bool) -> SignedSecretKey {
    let mut key = SecretKeyParamsBuilder::default();
    key.key_type(KeyType::Ed25519Legacy).can_sign(true).primary_user_id("abuse@example.net".into());
    if encrypts {
        let mut sub = SubkeyParamsBuilder::default();
        sub.key_type(KeyType::ECDH(ECCCurve::Curve25519Legacy)).can_encrypt(EncryptionCaps::All);
        key.subkey(sub.build().unwrap());
    }
    key.build().unwrap().generate(rand::thread_rng()).unwrap()
}

fn armoured(key: &SignedSecretKey) -> String {
    key.to_armored_string(ArmorOptions::default()).unwrap()
}

/// One key for all, since it is never written to.
fn key() -> &'static (SignedSecretKey, Keys) {
    static KEY: OnceLock<(SignedSecretKey, Keys)> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = made(true);
        let keys = Keys::parse(armoured(&key).as_bytes(), None).unwrap();
        (key, keys)
    })
}

fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[0xc0 | tag, 0xff], len.as_slice(), body].concat()
}

fn literal(content: &[u8]) -> Vec<u8> {
    packet(11, &[b"b\0\0\0\0\0", content].concat())
}

fn compressed(packets: &[u8]) -> Vec<u8> {
    let mut zlib = flate2::write::ZlibEncoder::new(vec![2], flate2::Compression::fast());
    zlib.write_all(packets).unwrap();
    packet(8, &zlib.finish().unwrap())
}

/// A signature that is to come, of which there may be many.
fn one_pass() -> Vec<u8> {
    packet(4, &[3, 0, 8, 22, 1, 2, 3, 4, 5, 6, 7, 8, 0])
}

/// A session key to ours: under its name, or under none.
fn session_key(secret: &RawSessionKey, is_named: bool) -> Vec<u8> {
    let sub = key().0.secret_subkeys[0].key.public_key().clone();
    let esk =
        PublicKeyEncryptedSessionKey::from_session_key_v3(rand::thread_rng(), secret, CIPHER, &sub).unwrap();
    let mut bytes = Vec::new();
    esk.to_writer_with_header(&mut bytes).unwrap();
    if !is_named {
        let name = esk.id().unwrap().as_ref().to_vec();
        let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
        bytes[at..at + name.len()].fill(0);
    }
    bytes
}

/// What anybody who knows the public key can send: these packets, encrypted to it.
fn sealed(packets: &[u8]) -> Vec<u8> {
    let secret = CIPHER.new_session_key(rand::thread_rng());
    let mut bytes = session_key(&secret, true);
    bytes.extend(data(&secret, packets));
    bytes
}

fn data(secret: &RawSessionKey, packets: &[u8]) -> Vec<u8> {
    let data =
        SymEncryptedProtectedData::encrypt_seipdv1(rand::thread_rng(), CIPHER, secret.as_ref(), packets)
            .unwrap();
    let mut bytes = Vec::new();
    data.to_writer_with_header(&mut bytes).unwrap();
    bytes
}

fn opened(bytes: &[u8]) -> Result<Vec<u8>, String> {
    key().1.open(bytes).map_err(|refused| {
        assert_eq!(refused.reason, Reason::NotOpened);
        refused.detail
    })
}

#[test]
fn what_is_to_us_is_opened_and_what_is_not_is_refused_with_why() {
    assert_eq!(opened(&sealed(&literal(b"hello"))).unwrap(), b"hello");
    assert_eq!(opened(&sealed(&compressed(&literal(b"hello")))).unwrap(), b"hello");
    let secret = CIPHER.new_session_key(rand::thread_rng());
    let nameless = [session_key(&secret, false), data(&secret, &literal(b"hello"))].concat();
    assert_eq!(opened(&nameless).unwrap(), b"hello");
    for (bytes, why) in [
        (literal(b"hello"), "it is not encrypted"),
        (b"what is this".to_vec(), BROKEN),
        (b"-----BEGIN PGP MESSAGE-----\n\nhQ".to_vec(), BROKEN),
        (Vec::new(), BROKEN),
        (sealed(b""), BROKEN),
        (sealed(&sealed(&literal(b"hello"))), "encrypted once more"),
        // Without a sum over it: whoever changes it is not noticed (RFC 9580, section 13.7).
        ([session_key(&secret, true), packet(9, &[0; 100])].concat(), BROKEN),
        (packet(18, &[1; 100]), "with a password"),
    ] {
        let refused = opened(&bytes).unwrap_err();
        assert!(refused.contains(why), "{refused:?} instead of {why:?}");
    }
    let other = Keys::parse(armoured(&made(true)).as_bytes(), None).unwrap();
    let refused = other.open(&sealed(&literal(b"hello"))).unwrap_err();
    assert!(
        refused.detail.contains(&other.fingerprints()) && refused.detail.contains("to another one"),
        "{refused}"
    );
}

#[test]
fn nothing_that_was_changed_or_cut_off_is_taken() {
    let good = sealed(&compressed(&literal(&b"203.0.113.7 ".repeat(20))));
    assert!(opened(&good).is_ok());
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 0x10;
        // The name of the key and the form of a header may be other ones: what comes of it is what was sent, or nothing.
        let content = opened(&changed);
        assert!(content.is_err() || content == opened(&good), "changed at {at}");
        let cut = opened(&good[..at]);
        assert!(cut.is_err(), "cut at {at}: {cut:?}");
    }
}

#[test]
fn what_is_made_to_cost_much_is_refused_before_it_does() {
    let since = std::time::Instant::now();
    let zeros = vec![0; 64 << 20];
    let bomb = compressed(&literal(&zeros));
    let mut nested = literal(b"x");
    (0..40).for_each(|_| nested = compressed(&nested));
    let secret = CIPHER.new_session_key(rand::thread_rng());
    let crowd = session_key(&secret, false).repeat(MAX_ATTEMPTS + 1);
    let signatures = |count: usize| [one_pass().repeat(count), literal(b"x")].concat();
    for (bytes, why) in [
        (sealed(&bomb), "larger than"),
        (sealed(&compressed(&bomb)), "larger than"),
        (sealed(&nested), "too many layers"),
        (sealed(&compressed(&one_pass().repeat(1_000_000))), "larger than"),
        (sealed(&signatures(MAX_SIGNATURES + 1)), "too many signatures"),
        (sealed(&compressed(&signatures(50_000))), "too many signatures"),
        (sealed(&[one_pass(), compressed(&literal(b"x"))].concat()), "compressed or encrypted once more"),
        ([crowd, data(&secret, &literal(b"x"))].concat(), "more session keys"),
    ] {
        let refused = opened(&bytes).unwrap_err();
        assert!(refused.contains(why), "{refused:?} instead of {why:?}");
    }
    assert!(since.elapsed() < std::time::Duration::from_secs(60), "{:?}", since.elapsed());
}

#[test]
fn of_a_key_that_does_not_open_mail_it_is_said_why() {
    let whole = armoured(&key().0);
    let public = key().0.to_public_key().to_armored_string(ArmorOptions::default()).unwrap();
    let mut locked = key().0.clone();
    let password = Password::from("geheim");
    locked.primary_key.set_password(rand::thread_rng(), &password).unwrap();
    locked.secret_subkeys[0].key.set_password(rand::thread_rng(), &password).unwrap();
    let locked = armoured(&locked);
    let cut = &whole[..whole.len() / 2];
    for (text, passphrase, why) in [
        ("", None, "no secret key in armour"),
        ("-----BEGIN RSA PRIVATE KEY-----\n", None, "no secret key in armour"),
        (public.as_str(), None, "it holds a public key"),
        (armoured(&made(false)).as_str(), None, "it can only sign"),
        (locked.as_str(), None, "openpgp_passphrase_file"),
        (locked.as_str(), Some("geheim?"), "the passphrase is another one"),
        (cut, None, "--export-secret-keys"),
    ] {
        let wrong = Keys::parse(text.as_bytes(), passphrase).unwrap_err();
        assert!(wrong.contains(why), "{wrong:?} instead of {why:?}");
        assert!(!wrong.contains("geheim"), "{wrong}");
    }
    let keys = Keys::parse(locked.as_bytes(), Some("geheim")).unwrap();
    assert_eq!(keys.open(&sealed(&literal(b"hello"))).unwrap(), b"hello");
    assert!(!Keys::parse(whole.as_bytes(), Some("not needed")).unwrap().fingerprints().is_empty());
    let missing = Keys::load(Path::new("/nowhere/abuse.asc"), None).unwrap_err();
    assert!(missing.starts_with("/nowhere/abuse.asc: "), "{missing}");
}

proptest::proptest! {
    /// The sender of a mail writes all that is in the box, too.
    #[test]
    fn no_packets_break_it(
        pieces in proptest::collection::vec(proptest::prop_oneof![
            proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
            proptest::sample::select(vec![literal(b"x"), compressed(&literal(b"y")), compressed(b"z"), one_pass(), packet(10, b"PGP"),
                packet(21, &[0; 9]), packet(2, &[4, 0, 22, 8, 0, 0, 0, 0, 1, 2, 0, 1, 1]), packet(18, &[1, 2, 3]), packet(63, b"?"),
                vec![0xcb, 0xe1], vec![0xa3, 1], vec![0xc8, 0xff, 0xff, 0xff, 0xff, 0xff, 1]]),
            (0_u8..64, proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)).prop_map(|(tag, body)| packet(tag, &body)),
        ], 0..6),
        packs in proptest::prelude::any::<bool>(),
    ) {
        let packets = pieces.concat();
        let _ = opened(&sealed(&if packs { compressed(&packets) } else { packets.clone() }));
        let _ = opened(&packets);
    }
}
