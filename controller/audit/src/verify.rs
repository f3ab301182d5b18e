//! Verification, without the controller.

use std::collections::BTreeSet;

use crate::{Checkpoint, Hash, Line, Link, PublicKey};

/// The first thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Broken {
    /// Where, counted from 1.
    pub line: u64,
    /// What, in words that name the entry.
    pub what: String,
}

/// What was found to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many entries there were.
    pub entries: u64,
    /// The first's number; 0 where there was none. Above 1 the chain's beginning is not among them.
    pub first: u64,
    /// The last's number; 0 where there was none.
    pub last: u64,
    /// The last's hash.
    pub head: Hash,
    /// How many checkpoints there were.
    pub checkpoints: u64,
    /// The last entry that a checkpoint of a known key vouches for; 0 where none does.
    pub vouched: u64,
    /// The last entry that a checkpoint of another key vouches for; 0 where none does.
    pub claimed: u64,
    /// The keys of the checkpoints that nobody named.
    pub strangers: BTreeSet<PublicKey>,
}

/// Reads what was written out, line by line.
#[derive(Clone, Debug)]
pub struct Verify {
    known: BTreeSet<PublicKey>,
    line: u64,
    last: Option<(u64, Hash)>,
    verified: Verified,
}

impl Verify {
    /// With the keys of controllers whose checkpoints are believed.
    #[must_use]
    pub fn new(known: impl IntoIterator<Item = PublicKey>) -> Self {
        let verified = Verified {
            entries: 0,
            first: 0,
            last: 0,
            head: Hash::START,
            checkpoints: 0,
            vouched: 0,
            claimed: 0,
            strangers: BTreeSet::new(),
        };
        Self { known: known.into_iter().collect(), line: 0, last: None, verified }
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// Where it does not fit what came before; what comes behind it says nothing any more.
    pub fn take(&mut self, text: &str) -> Result<(), Broken> {
        self.line += 1;
        if text.trim().is_empty() {
            return Ok(());
        }
        let broken = |line, what| Broken { line, what };
        match serde_json::from_str::<Line>(text) {
            // Whatever is read twice, or not at all, would be said beside what was hashed.
            Ok(line) if serde_json::to_string(&line).is_ok_and(|own| own != text.trim_end()) => {
                Err("is not written as the controller writes it: nothing may be added, left out or set in another order".to_owned())
            }
            Ok(Line::Entry(link)) => self.link(&link),
            Ok(Line::Checkpoint(checkpoint)) => self.checkpoint(&checkpoint),
            Err(error) => Err(format!("is no entry and no checkpoint: {error}")),
        }
        .map_err(|what| broken(self.line, what))
    }

    fn link(&mut self, link: &Link) -> Result<(), String> {
        let number = link.entry.number;
        match self.last {
            Some((last, _)) if number <= last => {
                return Err(format!(
                    "entry {number} follows entry {last}: it was put in, or stands in another place"
                ));
            }
            Some((last, _)) if number > last + 1 => {
                let missing = if number == last + 2 {
                    format!("entry {} is missing", last + 1)
                } else {
                    format!("entries {} to {} are missing", last + 1, number - 1)
                };
                return Err(format!("entry {number} follows entry {last}: {missing}"));
            }
            None if number == 0 => return Err("entry 0: entries are numbered from 1 on".to_owned()),
            None if number == 1 && link.before != Hash::START => {
                return Err("entry 1 follows something: the chain's beginning was taken away".to_owned());
            }
            _ => {}
        }
        if link.entry.hash(&link.before) != link.hash {
            return Err(format!(
                "entry {number} does not say what it said when it was hashed: it was changed"
            ));
        }
        if let Some((last, hash)) = self.last.filter(|(_, hash)| *hash != link.before) {
            return Err(format!(
                "entry {number} was made behind an entry {last} with the hash {}, and this one has {hash}: entry {last} was made anew, or entry {number} was",
                link.before
            ));
        }
        self.last = Some((number, link.hash));
        let verified = &mut self.verified;
        verified.entries += 1;
        if verified.first == 0 {
            verified.first = number;
        }
        (verified.last, verified.head) = (number, link.hash);
        Ok(())
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), String> {
        let number = checkpoint.number;
        if !checkpoint.is_signed() {
            return Err(format!(
                "the checkpoint over entry {number} is not what key {} signed",
                checkpoint.key
            ));
        }
        match self.last {
            Some((last, _)) if number != last => {
                return Err(format!(
                    "the checkpoint over entry {number} stands behind entry {last}: entries were taken away or put in"
                ));
            }
            Some((_, hash)) if hash != checkpoint.hash => {
                return Err(format!(
                    "entry {number} has the hash {hash}, and a checkpoint vouches for {}: the chain up to it was made anew",
                    checkpoint.hash
                ));
            }
            Some(_) => {}
            // What is written out may begin behind it.
            None => self.last = Some((number, checkpoint.hash)),
        }
        self.verified.checkpoints += 1;
        if self.known.contains(&checkpoint.key) {
            self.verified.vouched = number;
        } else {
            self.verified.claimed = number;
            self.verified.strangers.insert(checkpoint.key);
        }
        Ok(())
    }

    /// What was found to hold, at the end.
    #[must_use]
    pub fn finish(self) -> Verified {
        self.verified
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{chain, entry};
    use crate::{Line, Signer};
    use reeve_policy::Timestamp;

    fn verify(lines: &[Line], known: &[PublicKey]) -> Result<Verified, Broken> {
        let mut verify = Verify::new(known.iter().copied());
        for line in lines {
            verify.take(&serde_json::to_string(line).unwrap())?;
        }
        Ok(verify.finish())
    }

    fn lines(length: u64) -> Vec<Line> {
        chain(length).into_iter().map(Line::Entry).collect()
    }

    fn link(line: &mut Line) -> &mut Link {
        match line {
            Line::Entry(link) => link,
            Line::Checkpoint(_) => panic!("is an entry"),
        }
    }

    #[test]
    fn what_holds_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let signer = Signer::open(&folder.path().join("key")).unwrap();
        let mut all = lines(5);
        let head = link(&mut all[4]).hash;
        let seal =
            |number: u64, hash| Line::Checkpoint(Checkpoint::sign(&signer, number, hash, Timestamp::EPOCH));
        let middle = link(&mut all[2]).hash;
        all.insert(3, seal(3, middle));
        all.push(seal(5, head));
        let told = verify(&all, &[signer.public()]).unwrap();
        assert_eq!((told.entries, told.first, told.last, told.head), (5, 1, 5, head));
        assert_eq!((told.checkpoints, told.vouched, told.strangers.len()), (2, 5, 0));
        let told = verify(&all, &[]).unwrap();
        assert_eq!((told.vouched, told.strangers), (0, BTreeSet::from([signer.public()])));
        // From a checkpoint on, and from the middle.
        assert_eq!(verify(&all[3..], &[signer.public()]).unwrap().first, 4);
        assert_eq!(verify(&all[4..], &[]).unwrap().first, 4);
        assert_eq!(verify(&[], &[]).unwrap().last, 0);
    }

    #[test]
    fn the_first_thing_that_does_not_fit_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let signer = Signer::open(&folder.path().join("key")).unwrap();
        let told = |change: &dyn Fn(&mut Vec<Line>)| {
            let mut all = lines(5);
            change(&mut all);
            verify(&all, &[signer.public()]).unwrap_err()
        };
        let check = |change: &dyn Fn(&mut Vec<Line>), line: u64, expect: &str| {
            let told = told(change);
            assert_eq!(told.line, line, "{told}");
            assert!(told.what.contains(expect), "{told}");
        };
        check(&|all| link(&mut all[2]).entry.reason = "none".into(), 3, "entry 3 does not say what it said");
        check(&|all| link(&mut all[2]).entry.at = Timestamp::EPOCH, 3, "entry 3 does not say what it said");
        check(&|all| _ = all.remove(2), 3, "entry 3 is missing");
        check(&|all| _ = all.drain(1..3), 2, "entries 2 to 3 are missing");
        check(&|all| all.swap(1, 2), 2, "entry 2 is missing");
        check(&|all| all.insert(2, all[1].clone()), 3, "entry 2 follows entry 2");
        // One that is changed and hashed again does not fit the next.
        let anew = |all: &mut Vec<Line>| {
            let before = link(&mut all[1]).hash;
            all[2] = Line::Entry(entry(3, "tenant/other").link(before));
        };
        check(&anew, 4, "entry 4 was made behind an entry 3");
        // All made anew from there do not fit a checkpoint.
        let all_anew = |all: &mut Vec<Line>| {
            let seal =
                Line::Checkpoint(Checkpoint::sign(&signer, 5, link(&mut all[4]).hash, Timestamp::EPOCH));
            let mut before = link(&mut all[1]).hash;
            for number in 3..=5 {
                let made = entry(number, "tenant/other").link(before);
                before = made.hash;
                all[number as usize - 1] = Line::Entry(made);
            }
            all.push(seal);
        };
        check(&all_anew, 6, "the chain up to it was made anew");
        let forged = |all: &mut Vec<Line>| {
            let mut seal = Checkpoint::sign(&signer, 5, link(&mut all[4]).hash, Timestamp::EPOCH);
            seal.at = Timestamp::from_secs(1);
            all.push(Line::Checkpoint(seal));
        };
        check(&forged, 6, "is not what key");
        let cut = |all: &mut Vec<Line>| {
            let seal =
                Line::Checkpoint(Checkpoint::sign(&signer, 5, link(&mut all[4]).hash, Timestamp::EPOCH));
            all.truncate(4);
            all.push(seal);
        };
        check(&cut, 5, "stands behind entry 4");
        check(&|all| link(&mut all[0]).before = Hash([1; 32]), 1, "entry 1 follows something");
        let mut verify = Verify::new([]);
        assert!(verify.take("").is_ok());
        assert_eq!(verify.take("{\"entry\":3}").unwrap_err().line, 2);
        let mut text = serde_json::to_string(&lines(1)[0]).unwrap();
        text.insert_str("{\"entry\":{".len(), "\"more\":1,");
        assert!(Verify::new([]).take(&text).is_err(), "nothing can be said beside what is hashed");
    }
}
