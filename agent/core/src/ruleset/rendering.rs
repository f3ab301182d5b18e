//! Elements step by step: what changes in them when some measures come and go.
//!
//! [`Rendering`] comes to the same as [`elements`](super::elements::elements) and [`local::elements`] together, at the cost of what has
//! changed. It knows which measures ask for each element, so that one that goes leaves what others ask for. Only elements that differ
//! in their destination alone can overlap, so these are weighed together ([`Cell`]) and all others each for itself.
//!
//! Where tenants, protected destinations or the node's own processes are others than before, and where the sets have no room for all
//! that is asked for, it is made anew as a whole: the difference is small all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use reeve_policy::{DecisionId, DesiredState, Measure, NodeId, Tenant, Timestamp};

use super::elements::{self, Asked, Kin, Manner, Places, Spared, without_overlaps};
use super::local::{self, Here, Owned, OwnedBy, WEIGHED_STEP};
use super::{Element, Elements, Hold, SetId};

/// What elements depend on beside the measures.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'s> {
    /// The node.
    pub node: &'s NodeId,
    /// The tenants.
    pub tenants: &'s [Arc<Tenant>],
    /// What is spared whatever is decided.
    pub spared: Spared<'s>,
    /// What is known of the node's own processes, if they are watched.
    pub here: Option<&'s Here>,
}

/// What is other in some elements than in those before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Those that are there no more.
    pub gone: BTreeSet<Element>,
    /// Those that are new, or have another hold than before.
    pub changed: Elements,
}

impl Difference {
    /// What leads from `before` to `after`.
    #[must_use]
    pub fn between(before: &Elements, after: &Elements) -> Self {
        let gone = before.keys().filter(|element| !after.contains_key(*element)).cloned().collect();
        let is_other = |(element, hold): &(&Element, &Hold)| before.get(*element) != Some(*hold);
        let changed = after.iter().filter(is_other).map(|(element, hold)| (element.clone(), hold.clone()));
        Self { gone, changed: changed.collect() }
    }

    /// Whether nothing is other.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.changed.is_empty()
    }

    /// Goes this way.
    pub fn apply(&self, elements: &mut Elements) {
        self.gone.iter().for_each(|element| drop(elements.remove(element)));
        elements.extend(self.changed.iter().map(|(element, hold)| (element.clone(), hold.clone())));
    }
}

/// The setting that a rendering was last brought to.
#[derive(Clone, Debug)]
struct Known {
    node: NodeId,
    tenants: Vec<Arc<Tenant>>,
    protected: Vec<IpNet>,
    own: Vec<IpNet>,
    lifeline: Vec<IpNet>,
    manner: Manner,
    here: Option<Here>,
    places: Places,
    owned: OwnedBy,
}

impl Known {
    fn of(setting: Setting<'_>) -> Self {
        let Setting { node, tenants, spared, here } = setting;
        Self {
            node: node.clone(),
            tenants: tenants.to_vec(),
            protected: spared.protected.to_vec(),
            own: spared.own.to_vec(),
            lifeline: spared.lifeline.to_vec(),
            manner: spared.manner,
            here: here.cloned(),
            places: Places::of(node, tenants),
            owned: OwnedBy::of(node, if here.is_some() { tenants } else { &[] }),
        }
    }

    fn is(&self, setting: Setting<'_>) -> bool {
        let Setting { node, tenants, spared, here } = setting;
        let are_same = self.tenants.len() == tenants.len()
            && self.tenants.iter().zip(tenants).all(|(one, other)| Arc::ptr_eq(one, other));
        are_same
            && self.node == *node
            && self.protected == spared.protected
            && self.own == spared.own
            && self.lifeline == spared.lifeline
            && self.manner == spared.manner
            && self.here.as_ref() == here
    }

    fn has_mailer(&self) -> bool {
        self.here.as_ref().is_some_and(|here| !here.mailers.is_empty())
    }

    /// What a measure asks for.
    fn part(&self, measure: &Measure, now: Timestamp) -> Vec<Asked> {
        let mut part = self.places.part(measure, &self.lifeline, self.manner);
        part.extend(self.owned.part(measure, self.has_mailer(), &self.lifeline, now));
        part
    }
}

/// Elements that are weighed together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum CellId {
    One(Element),
    Kin(Kin),
}

impl CellId {
    fn of(element: &Element) -> Self {
        element.kin().map_or_else(|| Self::One(element.clone()), |(kin, _)| Self::Kin(kin))
    }
}

/// What is asked for of elements that are weighed together, by whom, and what it comes to.
#[derive(Debug, Default)]
struct Cell {
    asked: BTreeMap<DecisionId, Vec<Asked>>,
    standing: Vec<Element>,
}

/// A measure that is rendered.
#[derive(Debug)]
struct Rendered {
    measure: Measure,
    cells: Vec<CellId>,
    /// How many elements of each set it asks for.
    takes: BTreeMap<SetId, u32>,
    /// Whether some of them last until a time that depends on when they are asked for.
    is_weighed: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Rendering {
    known: Option<Known>,
    at: Timestamp,
    elements: Elements,
    measures: BTreeMap<DecisionId, Rendered>,
    cells: BTreeMap<CellId, Cell>,
    /// How many elements of each set are asked for, doubles among them.
    taken: BTreeMap<SetId, u32>,
    /// Measures that come to no element.
    unheld: BTreeSet<DecisionId>,
    /// Whether some set has no room for all that is asked for: then all is made anew each time.
    is_crowded: bool,
}

impl Rendering {
    /// The elements as they are to stand.
    #[must_use]
    pub fn elements(&self) -> &Elements {
        &self.elements
    }

    /// Measures that come to no element of their own: there is nothing by which the kernel could tell the tenant's packets, or no
    /// room.
    #[must_use]
    pub fn unheld(&self) -> &BTreeSet<DecisionId> {
        &self.unheld
    }

    /// Goes on to what is desired in a setting at `now`, and says what is other than before.
    pub fn update(&mut self, desired: &DesiredState, setting: Setting<'_>, now: Timestamp) -> Difference {
        let is_step = now >= self.at && self.known.as_ref().is_some_and(|known| known.is(setting));
        if !is_step || self.is_crowded {
            return self.make_anew(desired, setting, now);
        }
        let touched = self.take(desired, now);
        if self.lacks_room() {
            return self.make_anew(desired, setting, now);
        }
        self.settle(touched)
    }

    /// Makes all of it anew.
    fn make_anew(&mut self, desired: &DesiredState, setting: Setting<'_>, now: Timestamp) -> Difference {
        let before = std::mem::take(self);
        let known = before.known.filter(|known| known.is(setting)).unwrap_or_else(|| Known::of(setting));
        self.known = Some(known);
        let touched = self.take(desired, now);
        self.is_crowded = self.lacks_room();
        if self.is_crowded {
            self.elements = all(desired, setting, now);
            let held: BTreeSet<&DecisionId> =
                self.elements.values().flat_map(|hold| &hold.decisions).collect();
            let is_unheld = |id: &&DecisionId| !held.contains(*id);
            self.unheld = desired.measures.keys().filter(is_unheld).cloned().collect();
        } else {
            self.elements = elements::always(setting.tenants, setting.spared);
            if let Some(here) = setting.here {
                self.elements.extend(local::always(setting.node, setting.tenants, here));
            }
            self.settle(touched);
        }
        Difference::between(&before.elements, &self.elements)
    }

    /// Whether some set has no room for all that is asked for.
    fn lacks_room(&self) -> bool {
        self.taken.iter().any(|(set, number)| *number > set.capacity())
    }

    /// Takes measures out and in; the cells that this touches.
    fn take(&mut self, desired: &DesiredState, now: Timestamp) -> BTreeSet<CellId> {
        let mut touched = BTreeSet::new();
        let is_next_step = now.floor_to(WEIGHED_STEP) != self.at.floor_to(WEIGHED_STEP);
        self.at = now;
        let is_over = |measure: &Measure| measure.expires.is_some_and(|end| end <= now);
        let is_gone = |(id, rendered): &(&DecisionId, &Rendered)| {
            let is_other = desired.measures.get(*id).is_none_or(|wanted| *wanted != rendered.measure);
            is_other || is_over(&rendered.measure) || (is_next_step && rendered.is_weighed)
        };
        let gone: Vec<DecisionId> = self.measures.iter().filter(is_gone).map(|(id, _)| id.clone()).collect();
        gone.iter().for_each(|id| self.take_out(id, &mut touched));
        self.unheld.retain(|id| desired.measures.contains_key(id));
        for (id, measure) in &desired.measures {
            if is_over(measure) {
                self.unheld.insert(id.clone());
            } else if !self.measures.contains_key(id) {
                self.take_in(id, measure, now, &mut touched);
            }
        }
        touched
    }

    fn take_in(
        &mut self,
        id: &DecisionId,
        measure: &Measure,
        now: Timestamp,
        touched: &mut BTreeSet<CellId>,
    ) {
        let part = self.known.as_ref().map(|known| known.part(measure, now)).unwrap_or_default();
        let mut rendered = Rendered {
            measure: measure.clone(),
            cells: Vec::new(),
            takes: BTreeMap::new(),
            is_weighed: false,
        };
        if part.iter().any(|one| one.is_own) {
            self.unheld.remove(id);
        } else {
            self.unheld.insert(id.clone());
        }
        for one in part {
            rendered.is_weighed |= matches!(one.element, Element::Owned { what: Owned::Weighed, .. });
            *rendered.takes.entry(one.element.set()).or_default() += 1;
            let cell = CellId::of(&one.element);
            let asked = self.cells.entry(cell.clone()).or_default().asked.entry(id.clone()).or_default();
            if asked.is_empty() {
                rendered.cells.push(cell.clone());
            }
            asked.push(one);
            touched.insert(cell);
        }
        for (set, number) in &rendered.takes {
            *self.taken.entry(*set).or_default() += number;
        }
        self.measures.insert(id.clone(), rendered);
    }

    fn take_out(&mut self, id: &DecisionId, touched: &mut BTreeSet<CellId>) {
        let Some(rendered) = self.measures.remove(id) else { return };
        for cell in rendered.cells {
            if let Some(found) = self.cells.get_mut(&cell) {
                found.asked.remove(id);
            }
            touched.insert(cell);
        }
        for (set, number) in rendered.takes {
            if let Some(taken) = self.taken.get_mut(&set) {
                *taken -= number;
            }
        }
    }

    /// Weighs cells anew, and says what came of it.
    fn settle(&mut self, touched: BTreeSet<CellId>) -> Difference {
        let mut difference = Difference::default();
        for id in touched {
            let Some(cell) = self.cells.get_mut(&id) else { continue };
            let mut weighed = Elements::new();
            for (id, asked) in &cell.asked {
                if let Some(rendered) = self.measures.get(id) {
                    asked.iter().for_each(|one| one.enter(&mut weighed, &rendered.measure.decision));
                }
            }
            let weighed = without_overlaps(weighed);
            for element in std::mem::take(&mut cell.standing) {
                if !weighed.contains_key(&element) {
                    self.elements.remove(&element);
                    difference.gone.insert(element);
                }
            }
            cell.standing = weighed.keys().cloned().collect();
            if cell.asked.is_empty() {
                self.cells.remove(&id);
            }
            for (element, hold) in weighed {
                if self.elements.get(&element) != Some(&hold) {
                    self.elements.insert(element.clone(), hold.clone());
                    difference.changed.insert(element, hold);
                }
            }
        }
        difference
    }
}

/// All elements at once.
#[must_use]
pub fn all(desired: &DesiredState, setting: Setting<'_>, now: Timestamp) -> Elements {
    let Setting { node, tenants, spared, here } = setting;
    let mut all = elements::elements(desired, node, tenants, spared, now);
    if let Some(here) = here {
        all.extend(local::elements(desired, node, tenants, spared, here, now));
    }
    all
}

#[cfg(test)]
mod tests;
