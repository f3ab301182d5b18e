//! A case as one file that can be given away: an archive (ustar, POSIX.1-1988) whose last two files are a manifest, with the SHA-256 of each
//! file before it, and the manifest's signature by the controller's key.
//!
//! Nothing is left that could be changed without being seen: of the archive there is one form only ([`header`]), in which whoever, when and with
//! which permissions is always the same, and [`verify`] refuses all else. It reads file by file, in bounded memory, and names the first that does
//! not fit. Left out: what is in a bundle, which the controller decides.

use std::collections::BTreeSet;
use std::io::{self, Read};

use reeve_policy::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Hash, Line, PublicKey, Signer};

/// What stands in every manifest.
const FORMAT: &str = "reeve-case-bundle-v1";
/// What every signature begins with, so that it is one of nothing else.
const DOMAIN: &[u8] = b"reeve-case-manifest-v1";
/// The manifest's name in the archive.
pub const MANIFEST: &str = "manifest.json";
/// Its signature's: 128 hexadecimal digits and the end of a line.
pub const SIGNATURE: &str = "manifest.sig";
/// The extract of the audit log: entries as they are verified, and a checkpoint behind them.
pub const AUDIT: &str = "audit.jsonl";
/// The most files of a bundle.
pub const MAX_FILES: usize = 20_000;
/// The most bytes of a manifest; one of so many files has fewer.
const MAX_MANIFEST: u64 = 8 << 20;
/// The most bytes of an extract of the audit log.
pub const MAX_AUDIT: usize = 16 << 20;
/// The longest name of a file.
const MAX_NAME: usize = 100;
/// An archive is made of blocks.
const BLOCK: usize = 512;
/// So much of a file is read at once.
const PIECE: usize = 64 << 10;

/// A file of a bundle, as its manifest tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filed {
    /// Its name in the archive.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Hash,
}

/// What a bundle holds, and who vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What kind of file this is.
    pub format: String,
    /// The case's key.
    pub case: String,
    /// When it was written out.
    pub made: Timestamp,
    /// By whose key it is signed.
    pub key: PublicKey,
    /// All files before this one, in their order.
    pub files: Vec<Filed>,
}

/// A bundle while it is written: what each call returns is the next part of the archive.
#[derive(Debug)]
pub struct Bundle {
    manifest: Manifest,
}

impl Bundle {
    /// Begins one, which `signer` is to sign.
    #[must_use]
    pub fn new(case: &str, made: Timestamp, signer: &Signer) -> Self {
        let format = FORMAT.to_owned();
        let manifest =
            Manifest { format, case: case.to_owned(), made, key: signer.public(), files: Vec::new() };
        Self { manifest }
    }

    /// Adds a file; `None` where it has a name that none may have, or there are as many as there may be.
    #[must_use]
    pub fn file(&mut self, name: &str, content: &[u8]) -> Option<Vec<u8>> {
        if self.manifest.files.len() >= MAX_FILES || [MANIFEST, SIGNATURE].contains(&name) {
            return None;
        }
        let part = part(name, content)?;
        let (name, bytes) = (name.to_owned(), content.len() as u64);
        self.manifest.files.push(Filed { name, bytes, sha256: Hash(Sha256::digest(content).into()) });
        Some(part)
    }

    /// Ends it; `None` where the manifest cannot be written.
    #[must_use]
    pub fn finish(self, signer: &Signer) -> Option<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(&self.manifest).ok()?;
        text.push(b'\n');
        let signature = format!("{}\n", signer.sign(DOMAIN, &text));
        let mut end = part(MANIFEST, &text)?;
        end.extend(part(SIGNATURE, signature.as_bytes())?);
        end.extend([0; 2 * BLOCK]);
        Some(end)
    }
}

/// A file in the archive: its header, its content, and zeros up to the next block.
fn part(name: &str, content: &[u8]) -> Option<Vec<u8>> {
    let mut part = header(name, content.len() as u64)?.to_vec();
    part.extend_from_slice(content);
    part.resize(part.len().next_multiple_of(BLOCK), 0);
    Some(part)
}

/// The header of a plain file that its owner alone may read, of user and group 0, from 1970; `None` for a name or size that it has no room for.
fn header(name: &str, bytes: u64) -> Option<[u8; BLOCK]> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@/".contains(&byte);
    let is_sound = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if name.len() > MAX_NAME || !is_sound || !name.bytes().all(is_plain) || bytes >= 1 << 33 {
        return None;
    }
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000600\x000000000\x000000000\0");
    put(124, format!("{bytes:011o}\0{:011o}\0", 0).as_bytes());
    // The sum is made as if there were spaces in its place.
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(329, b"0000000\x000000000\0");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(header)
}

/// Why a bundle was not found good.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// It is no such archive, or not whole.
    #[error("{file}: {what}")]
    Broken {
        /// The first file that does not fit.
        file: String,
        /// What about it.
        what: String,
    },
}

fn broken(file: impl Into<String>, what: impl Into<String>) -> BundleError {
    BundleError::Broken { file: file.into(), what: what.into() }
}

/// Verifies a bundle; `known` are the keys of whom it may be, or anybody's where there are none.
///
/// # Errors
/// Where it cannot be read, and of what does not fit the first.
pub fn verify(input: &mut impl Read, known: &[PublicKey]) -> Result<Manifest, BundleError> {
    let (mut found, mut audit, mut names) = (Vec::<Filed>::new(), None, BTreeSet::new());
    let manifest = loop {
        let Some((name, bytes)) = next(input, found.last().map_or("the archive", |filed| &filed.name))?
        else {
            return Err(broken(MANIFEST, "is missing"));
        };
        if name == SIGNATURE {
            return Err(broken(MANIFEST, "is missing"));
        }
        if found.len() >= MAX_FILES || !names.insert(name.clone()) {
            return Err(broken(name, "is there twice, or is one of too many"));
        }
        let most = match name.as_str() {
            MANIFEST => MAX_MANIFEST,
            AUDIT => MAX_AUDIT as u64,
            _ => u64::MAX,
        };
        if bytes > most {
            return Err(broken(name, format!("{bytes} bytes are more than {most}")));
        }
        let mut kept = (name == MANIFEST || name == AUDIT).then(Vec::new);
        let sha256 = content(input, &name, bytes, kept.as_mut())?;
        if name == MANIFEST {
            break kept.unwrap_or_default();
        }
        if name == AUDIT {
            audit = kept;
        }
        found.push(Filed { name, bytes, sha256 });
    };
    let mut signature = Vec::new();
    match next(input, MANIFEST)? {
        Some((name, bytes)) if name == SIGNATURE && bytes == 129 => {
            content(input, &name, bytes, Some(&mut signature))?;
        }
        Some((name, _)) if name != SIGNATURE => {
            return Err(broken(name, "stands behind the manifest: it was put in"));
        }
        _ => return Err(broken(SIGNATURE, "is missing, or no signature")),
    }
    if next(input, SIGNATURE)?.is_some() || input.read(&mut [0])? > 0 {
        return Err(broken(SIGNATURE, "something stands behind it: it was put in"));
    }
    let read: Manifest =
        serde_json::from_slice(&manifest).map_err(|error| broken(MANIFEST, error.to_string()))?;
    let signature = String::from_utf8_lossy(&signature);
    if read.format != FORMAT || !read.key.has_signed(DOMAIN, &manifest, signature.trim_end_matches('\n')) {
        return Err(broken(MANIFEST, format!("is not what the key {} signed: it was changed", read.key)));
    }
    if !known.is_empty() && !known.contains(&read.key) {
        return Err(broken(MANIFEST, format!("is signed by {}, which is no key that was named", read.key)));
    }
    compare(&read.files, &found)?;
    audit.map_or(Ok(()), |audit| extract(&audit, &read.key))?;
    Ok(read)
}

/// Holds what is there against what the manifest says.
fn compare(told: &[Filed], found: &[Filed]) -> Result<(), BundleError> {
    for (place, one) in found.iter().enumerate() {
        match told.iter().find(|filed| filed.name == one.name) {
            None => return Err(broken(&one.name, "is not in the manifest: it was put in")),
            Some(filed) if filed != one => {
                let (is, was) = (one.sha256, filed.sha256);
                return Err(broken(
                    &one.name,
                    format!("was changed: its SHA-256 is {is}, and was {was} when it was signed"),
                ));
            }
            Some(_) if told.get(place) == Some(one) => {}
            Some(_) => {
                let missing = told.iter().find(|filed| found.iter().all(|other| other.name != filed.name));
                return Err(match missing {
                    Some(filed) => broken(&filed.name, "is missing: it was taken away"),
                    None => broken(&one.name, "stands in another place"),
                });
            }
        }
    }
    told.get(found.len()).map_or(Ok(()), |filed| Err(broken(&filed.name, "is missing: it was taken away")))
}

/// Whether each entry says what it said when it was hashed, and the checkpoint is by whoever signed the manifest.
fn extract(text: &[u8], key: &PublicKey) -> Result<(), BundleError> {
    let wrong = |line: usize, what: &str| Err(broken(AUDIT, format!("line {}: {what}", line + 1)));
    let text = std::str::from_utf8(text).map_err(|error| broken(AUDIT, error.to_string()))?;
    let mut last = 0;
    for (place, line) in text.lines().enumerate() {
        match serde_json::from_str::<Line>(line) {
            Ok(Line::Entry(link)) if link.entry.hash(&link.before) != link.hash => {
                return wrong(place, "the entry does not say what it said when it was hashed");
            }
            Ok(Line::Entry(link)) if link.entry.number <= last => {
                return wrong(place, "the entry stands in another place");
            }
            Ok(Line::Entry(link)) => last = link.entry.number,
            Ok(Line::Checkpoint(point)) if point.is_signed() && point.key == *key && point.number >= last => {
            }
            Ok(Line::Checkpoint(_)) => {
                return wrong(place, "the checkpoint is not by whoever signed the manifest");
            }
            Err(error) => return wrong(place, &error.to_string()),
        }
    }
    Ok(())
}

/// The next file's name and length; `None` at the archive's end.
fn next(input: &mut impl Read, behind: &str) -> Result<Option<(String, u64)>, BundleError> {
    let mut block = [0; BLOCK];
    let short = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => broken(behind, "the archive ends behind it, and is not whole"),
        _ => error.into(),
    };
    input.read_exact(&mut block).map_err(short)?;
    if block == [0; BLOCK] {
        input.read_exact(&mut block).map_err(short)?;
        return if block == [0; BLOCK] {
            Ok(None)
        } else {
            Err(broken(behind, "something else than the archive's end stands behind it"))
        };
    }
    let text = |from: usize, to: usize| {
        let field = &block[from..to];
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
        String::from_utf8_lossy(&field[..end]).into_owned()
    };
    let (name, bytes) = (text(0, MAX_NAME), u64::from_str_radix(&text(124, 136), 8));
    match bytes.ok().and_then(|bytes| Some((bytes, header(&name, bytes)?))) {
        Some((bytes, own)) if own == block => Ok(Some((name, bytes))),
        _ => Err(broken(behind, "what stands behind it is no file as a controller writes it")),
    }
}

/// Reads a file's content and the zeros behind it; its hash.
fn content(
    input: &mut impl Read,
    name: &str,
    bytes: u64,
    mut kept: Option<&mut Vec<u8>>,
) -> Result<Hash, BundleError> {
    let short = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => broken(name, "the archive ends within it"),
        _ => error.into(),
    };
    let (mut hash, mut left, mut piece) = (Sha256::new(), bytes, vec![0; PIECE]);
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let read = &mut piece[..size];
        input.read_exact(read).map_err(short)?;
        hash.update(&*read);
        if let Some(kept) = &mut kept {
            kept.extend_from_slice(read);
        }
        left -= size as u64;
    }
    let over = usize::try_from(bytes % BLOCK as u64).unwrap_or_default();
    let rest = &mut [0; BLOCK][..(BLOCK - over) % BLOCK];
    input.read_exact(rest).map_err(short)?;
    if rest.iter().any(|byte| *byte != 0) {
        return Err(broken(name, "something stands behind its end"));
    }
    Ok(Hash(hash.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Checkpoint;
    use crate::tests::chain;

    fn bundle(signer: &Signer) -> Vec<u8> {
        let at = Timestamp::from_secs(1_700_000_000);
        let links = chain(9);
        let last = links.last().unwrap();
        let point = Checkpoint::sign(signer, last.entry.number, last.hash, at);
        let lines = [Line::Entry(links[2].clone()), Line::Entry(links[6].clone()), Line::Checkpoint(point)];
        let audit: String = lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
        let mut bundle = Bundle::new("C1", at, signer);
        let mut bytes = bundle.file("case.json", b"{\"id\":\"C1\"}").unwrap();
        bytes.extend(bundle.file("headers/V1.pcapng", &[7; 1_024]).unwrap());
        bytes.extend(bundle.file(AUDIT, audit.as_bytes()).unwrap());
        for bad in ["../x", "/x", "a//b", "", ".", MANIFEST, SIGNATURE, "a b"] {
            assert!(bundle.file(bad, b"").is_none(), "{bad}");
        }
        bytes.extend(bundle.finish(signer).unwrap());
        bytes
    }

    fn signer(name: &str) -> Signer {
        Signer::open(&tempfile::tempdir().unwrap().path().join(name)).unwrap()
    }

    fn check(bytes: &[u8], known: &[PublicKey], file: &str, said: &str) {
        let error = verify(&mut &bytes[..], known).unwrap_err().to_string();
        assert!(error.starts_with(file) && error.contains(said), "{error}");
    }

    fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        [&bytes[..at], to, &bytes[at + from.len()..]].concat()
    }

    #[test]
    fn what_was_signed_holds_and_whatever_is_changed_is_named() {
        let (own, other) = (signer("a"), signer("b"));
        let good = bundle(&own);
        let read = verify(&mut &good[..], &[own.public()]).unwrap();
        assert_eq!((read.case.as_str(), read.files.len(), read.key), ("C1", 3, own.public()));
        assert_eq!(verify(&mut &good[..], &[]).unwrap(), read);

        check(&good, &[other.public()], "manifest.json:", "no key that was named");
        let changed = replace(&good, b"{\"id\":\"C1\"}", b"{\"id\":\"C2\"}");
        check(&changed, &[], "case.json:", "was changed");
        let named = own.public().to_string();
        let swapped = replace(&good, named.as_bytes(), other.public().to_string().as_bytes());
        // The first place is that of the checkpoint, the manifest's the next.
        check(&swapped, &[], "audit.jsonl:", "was changed");
        let (from, to) = (format!("\"key\": \"{named}\""), format!("\"key\": \"{}\"", other.public()));
        check(&replace(&good, from.as_bytes(), to.as_bytes()), &[], "manifest.json:", "signed");
        check(&replace(&good, b"\"case\": \"C1\"", b"\"case\": \"C2\""), &[], "manifest.json:", "signed");
        // Without its second file, and with one that was put in before the manifest.
        let first = BLOCK * 2;
        let without = [&good[..first], &good[first + 3 * BLOCK..]].concat();
        check(&without, &[], "headers/V1.pcapng:", "taken away");
        let more = [&part("more.json", b"{}").unwrap()[..], &good].concat();
        check(&more, &[], "more.json:", "put in");
        check(&[&good[..], b"x"].concat(), &[], "manifest.sig:", "behind it");
        check(&good[..good.len() - 3 * BLOCK], &[], "manifest", "");
        check(&good[..700], &[], "case.json:", "ends within it");
        check(b"no archive at all", &[], "the archive:", "not whole");
    }

    #[test]
    fn no_bit_of_it_can_be_turned_without_being_seen() {
        let own = signer("a");
        let good = bundle(&own);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            assert!(verify(&mut &bad[..], &[own.public()]).is_err(), "byte {at}");
        }
    }
}
