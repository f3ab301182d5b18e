//! What the kernel was told: the elements, and what would take long to find out from them each time.

use std::collections::{BTreeMap, BTreeSet};

use reeve_core::ruleset::{Difference, Element, Elements, Hold, SetId};
use reeve_policy::DecisionId;
use reeve_policy::rate::Rate;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Told {
    elements: Elements,
    /// The elements that carry a decision out.
    by_decision: BTreeMap<DecisionId, BTreeSet<Element>>,
    /// The limits, by name, and how many elements lead to each.
    limits: BTreeMap<String, (Rate, usize)>,
    /// How many elements each set has.
    counts: BTreeMap<SetId, u32>,
}

impl Told {
    pub fn of(elements: Elements) -> Self {
        let mut told = Self::default();
        for (element, hold) in elements {
            told.enter(element, hold);
        }
        told
    }

    pub fn elements(&self) -> &Elements {
        &self.elements
    }

    pub fn counts(&self) -> &BTreeMap<SetId, u32> {
        &self.counts
    }

    /// The rate of a limit that something leads to.
    pub fn rate(&self, limit: &str) -> Option<Rate> {
        self.limits.get(limit).map(|(rate, _)| *rate)
    }

    /// The elements that carry a decision out.
    pub fn of_decision(&self, id: &DecisionId) -> impl Iterator<Item = &Element> {
        self.by_decision.get(id).into_iter().flatten()
    }

    /// Whether an element stands in the kernel as `hold` says, but for whom it serves.
    pub fn stays(&self, element: &Element, hold: &Hold) -> bool {
        self.elements.get(element).is_some_and(|held| {
            held.lasting == hold.lasting
                && held.object(element) == hold.object(element)
                && held.rate == hold.rate
        })
    }

    /// Goes on; the limits to which nothing leads any more.
    pub fn follow(&mut self, difference: &Difference) -> BTreeSet<String> {
        let mut left = BTreeSet::new();
        for element in difference.gone.iter().chain(difference.changed.keys()) {
            left.extend(self.leave(element));
        }
        for (element, hold) in &difference.changed {
            self.enter(element.clone(), hold.clone());
        }
        left.retain(|name| !self.limits.contains_key(name));
        left
    }

    fn enter(&mut self, element: Element, hold: Hold) {
        for id in &hold.decisions {
            self.by_decision.entry(id.clone()).or_default().insert(element.clone());
        }
        if let Some((name, rate)) = hold.object(&element).zip(hold.rate) {
            self.limits.entry(name).or_insert((rate, 0)).1 += 1;
        }
        *self.counts.entry(element.set()).or_default() += 1;
        self.elements.insert(element, hold);
    }

    /// Takes an element out; its limit, if nothing else leads to that.
    fn leave(&mut self, element: &Element) -> Option<String> {
        let hold = self.elements.remove(element)?;
        if let Some(count) = self.counts.get_mut(&element.set()) {
            *count -= 1;
        }
        for id in &hold.decisions {
            if let Some(elements) = self.by_decision.get_mut(id) {
                elements.remove(element);
                if elements.is_empty() {
                    self.by_decision.remove(id);
                }
            }
        }
        let name = hold.object(element)?;
        let (_, count) = self.limits.get_mut(&name)?;
        *count -= 1;
        if *count > 0 {
            return None;
        }
        self.limits.remove(&name);
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use reeve_core::ruleset::{Lasting, Pace};

    use super::*;

    fn limit(host: u8, decisions: &[&str]) -> (Element, Hold) {
        let source = std::net::IpAddr::from([203, 0, 113, host]).into();
        let element = Element::Limit { pace: Pace::Traffic, source, destination: None, service: None };
        let decisions = decisions.iter().map(|id| DecisionId(id.parse().unwrap())).collect();
        (element, Hold { lasting: Lasting::Lease, decisions, rate: Some("9/second".parse().unwrap()) })
    }

    /// Every part of it is what it would be had it been told all at once.
    fn check(told: &Told) {
        let anew = Told::of(told.elements.clone());
        assert_eq!((&told.by_decision, &told.limits), (&anew.by_decision, &anew.limits));
        let counts =
            |told: &Told| told.counts.clone().into_iter().filter(|(_, n)| *n > 0).collect::<Vec<_>>();
        assert_eq!(counts(told), counts(&anew));
    }

    #[test]
    fn a_limit_goes_with_the_last_that_leads_to_it() {
        let mut told = Told::of([limit(1, &["a"]), limit(2, &["a"])].into());
        let gone = |host| Difference { gone: [limit(host, &[]).0].into(), ..Difference::default() };
        assert!(told.follow(&gone(1)).is_empty());
        check(&told);
        // One that another decision takes over leads to that one's.
        let other = Difference { changed: [limit(2, &["b", "a"])].into(), ..Difference::default() };
        assert_eq!(told.follow(&other).into_iter().collect::<Vec<_>>(), ["t-a"]);
        check(&told);
        assert_eq!(told.of_decision(&DecisionId("a".parse().unwrap())).count(), 1);
        // Where it moves from one element to another it stays.
        let moved = Difference { gone: [limit(2, &[]).0].into(), changed: [limit(3, &["b"])].into() };
        assert!(told.follow(&moved).is_empty());
        check(&told);
        assert!(told.rate("t-b").is_some());
    }
}
