//! One change: a transaction, and a look at just what it was about.

use std::collections::{BTreeMap, BTreeSet};

use reeve_core::ruleset::elements::objects;
use reeve_core::ruleset::{Difference, Element, Elements, Lasting};
use reeve_policy::Timestamp;
use reeve_policy::rate::Rate;

use super::netlink::read::{self, Observed};
use super::netlink::{Batch, print};
use super::{EnforceError, Enforcer, TIMEOUT_TOLERANCE, stands};

/// Of more elements than this a listing of the sets costs less than to ask for each.
const ASKED_MOST: usize = 512;

impl Enforcer {
    /// Makes the kernel hold `wanted` and nothing else.
    ///
    /// # Errors
    /// What the kernel refused, even of tables laid down anew.
    pub fn apply(&mut self, wanted: &Elements, now: Timestamp) -> Result<(), EnforceError> {
        self.change(&Difference::between(self.held(), wanted), now)
    }

    /// Makes the kernel hold what is other than what it was told last, and looks that it does. What others do meanwhile is noticed by
    /// [`Enforcer::check`].
    ///
    /// # Errors
    /// What the kernel refused, even of tables laid down anew.
    pub fn change(&mut self, difference: &Difference, now: Timestamp) -> Result<(), EnforceError> {
        match self.try_change(difference, now) {
            Err(EnforceError::NotPermitted(error)) => Err(EnforceError::NotPermitted(error)),
            Err(error) => {
                tracing::warn!(%error, "a change of the ruleset failed; the tables are laid down anew");
                let mut wanted = self.held().clone();
                difference.apply(&mut wanted);
                self.install(wanted, now)
            }
            Ok(()) => Ok(()),
        }
    }

    fn try_change(&mut self, difference: &Difference, now: Timestamp) -> Result<(), EnforceError> {
        let stays = |element: &Element| {
            difference.changed.get(element).is_some_and(|hold| self.told.stays(element, hold))
        };
        let new: Elements = difference
            .changed
            .iter()
            .filter(|(element, _)| !stays(element))
            .map(|(element, hold)| (element.clone(), hold.clone()))
            .collect();
        // What is to be other has to go first: the kernel changes no element.
        let is_held = |element: &&Element| self.held().contains_key(*element);
        let gone: BTreeSet<Element> =
            difference.gone.iter().chain(new.keys()).filter(is_held).cloned().collect();
        let limits = self.new_limits(&new)?;
        let before = self.seen_of(gone.iter())?;
        self.check_there(&gone, &before, now)?;
        let mut batch = Batch::default();
        for (ruleset, seen) in self.rulesets.iter().zip(&before) {
            let family = ruleset.family;
            let there = gone.iter().filter(|element| seen.elements.contains_key(*element));
            print::delete(&mut batch, family, there);
            print::add_limits(&mut batch, family, limits.iter());
            print::add(&mut batch, family, &new, now);
        }
        self.transact(batch)?;
        self.carry(&before, |element| new.contains_key(element));
        for element in gone.iter().filter(|element| !new.contains_key(*element)) {
            self.carried.remove(element);
        }
        self.stale.retain(|name| !limits.contains_key(name));
        let left = self.told.follow(difference);
        self.stale.extend(left);
        self.drop_stale();
        self.verify_part(&gone, &new, limits.keys(), now)
    }

    /// Looks that what is to go is there: what has run out is gone already, or will be within a tick, and nothing else.
    fn check_there(
        &self,
        gone: &BTreeSet<Element>,
        before: &[Observed],
        now: Timestamp,
    ) -> Result<(), EnforceError> {
        let runs_out = |element: &Element| match self.held().get(element).map(|hold| hold.lasting) {
            Some(Lasting::Until(end)) => end.since(now) <= TIMEOUT_TOLERANCE,
            _ => false,
        };
        let mut missing = 0;
        for (ruleset, seen) in self.rulesets.iter().zip(before) {
            let here = gone.iter().filter(|element| element.set().is_in(ruleset.family));
            missing +=
                here.filter(|element| !seen.elements.contains_key(*element) && !runs_out(element)).count();
        }
        if missing > 0 { Err(EnforceError::NotAsTold { missing, surplus: 0 }) } else { Ok(()) }
    }

    /// The limits that elements lead to and that the kernel does not have.
    fn new_limits(&self, new: &Elements) -> Result<BTreeMap<String, Rate>, EnforceError> {
        let mut limits = objects(new);
        // One of the same name at another rate would stay as it is.
        if limits.iter().any(|(name, rate)| self.told.rate(name).is_some_and(|told| told != *rate)) {
            return Err(EnforceError::OtherRate);
        }
        limits.retain(|name, _| self.told.rate(name).is_none());
        Ok(limits)
    }

    /// Takes away limits that nothing leads to. An element that ran out keeps its limit until the kernel has cleaned up; then
    /// it is tried again.
    pub(super) fn drop_stale(&mut self) {
        for name in std::mem::take(&mut self.stale) {
            let mut batch = Batch::default();
            for ruleset in &self.rulesets {
                print::delete_limits(&mut batch, ruleset.family, std::iter::once(&name));
            }
            match self.transact(batch) {
                Err(error) if error.errno() == Some(libc::EBUSY) => _ = self.stale.insert(name),
                Err(error) => tracing::debug!(%error, "a limit that is used no more was not there"),
                Ok(()) => {}
            }
        }
    }

    /// Of each table what it holds of these elements, and perhaps more.
    pub(super) fn seen_of<'e>(
        &mut self,
        elements: impl ExactSizeIterator<Item = &'e Element> + Clone,
    ) -> Result<Vec<Observed>, EnforceError> {
        if elements.len() > ASKED_MOST {
            return self.observe();
        }
        let socket = &mut self.socket;
        let tables =
            self.rulesets.iter().map(|ruleset| read::look_up(socket, ruleset.family, elements.clone()));
        Ok(tables.collect::<Result<_, _>>()?)
    }

    /// Reads back what was changed, and compares.
    fn verify_part<'l>(
        &mut self,
        gone: &BTreeSet<Element>,
        new: &Elements,
        limits: impl Iterator<Item = &'l String> + Clone,
        now: Timestamp,
    ) -> Result<(), EnforceError> {
        if gone.len() + new.len() > ASKED_MOST {
            return self.verify(now);
        }
        let all: Vec<&Element> = gone.iter().chain(new.keys()).collect();
        let seen = self.seen_of(all.into_iter())?;
        let (mut missing, mut surplus) = (0, 0);
        for (ruleset, table) in self.rulesets.iter().zip(&seen) {
            let here = new.iter().filter(|(element, _)| element.set().is_in(ruleset.family));
            missing += here.filter(|(element, hold)| !stands(table, element, hold, now)).count();
            let is_over = |element: &&Element| !new.contains_key(*element);
            let over = gone.iter().filter(is_over);
            surplus += over.filter(|element| table.elements.contains_key(*element)).count();
            missing += read::missing_limits(&mut self.socket, ruleset.family, limits.clone())?;
        }
        if missing + surplus > 0 {
            return Err(EnforceError::NotAsTold { missing, surplus });
        }
        Ok(())
    }
}
