//! Who has how many places to watch from: of all that there are nobody has more than a share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use reeve_policy::Name;

use super::desk::TooMany;
use crate::auth::{Caller, Role, Shown};

/// How many may watch at a time, and how many of them as one caller.
const WATCHERS: usize = 1_024;
const OF_CALLER: usize = 256;

type Who = (Shown, Role, Name);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: HashMap<Who, usize>,
}

/// The places. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<Taken>>);

/// One that is taken, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    who: Who,
}

impl Places {
    /// A place for a caller, if they may have one more.
    pub fn take(&self, caller: &Caller) -> Result<Place, TooMany> {
        let who = (caller.shown, caller.role, caller.name.clone());
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let theirs = taken.of.get(&who).copied().unwrap_or_default();
        if taken.all >= WATCHERS || theirs >= OF_CALLER {
            return Err(TooMany);
        }
        taken.all += 1;
        taken.of.insert(who.clone(), theirs + 1);
        Ok(Place { places: self.clone(), who })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        match taken.of.get_mut(&self.who) {
            Some(theirs) if *theirs > 1 => *theirs -= 1,
            _ => _ = taken.of.remove(&self.who),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_places_and_what_is_given_back_is_free() {
        let places = Places::default();
        let caller = |name: &str| Caller {
            shown: Shown::Token,
            role: Role::Status,
            name: name.parse().unwrap(),
            owner: None,
            from: None,
            began: None,
        };
        let mut greedy: Vec<Place> =
            (0..OF_CALLER).map(|_| places.take(&caller("greedy")).unwrap()).collect();
        assert!(places.take(&caller("greedy")).is_err());
        let others: Vec<Place> = (0..WATCHERS - OF_CALLER)
            .map(|number| places.take(&caller(&format!("p{number}"))).unwrap())
            .collect();
        assert!(places.take(&caller("late")).is_err(), "all are taken");
        greedy.pop();
        assert!(places.take(&caller("late")).is_ok());
        drop((greedy, others));
        let taken = places.0.lock().unwrap();
        assert_eq!((taken.all, taken.of.len()), (0, 0));
    }
}
