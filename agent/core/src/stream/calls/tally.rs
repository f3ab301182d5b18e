//! What is told of a connection's calls: for which endpoint, whether it is counted, and what still waits for an answer.

use std::net::IpAddr;

use reeve_policy::language::thresholds::EndpointKind;

use super::super::sites::{Asked, Look, Sites};
use super::Call;

/// Where a connection goes, and what may be there.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Site<'s> {
    pub sites: &'s Sites,
    pub remote: (IpAddr, u16),
}

/// For whom the calls of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Each says so itself.
    Open,
    /// All for one endpoint.
    At(usize),
    /// For nobody who is protected.
    Nowhere,
}

/// What became of the connection's opening, which is a call in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// It was not seen, or its call has begun.
    Over,
    /// It was answered; it is not yet known for whom it is.
    Held,
    /// It was told.
    Told,
}

/// A connection's calls, counted.
#[derive(Debug)]
pub(in super::super) struct Tally {
    place: Place,
    /// Whether the connection goes to the address of an endpoint.
    is_at: bool,
    opening: Opening,
    /// Whether only the opening counts.
    is_mute: bool,
    /// The endpoint of the last call.
    last: Option<usize>,
    waiting: Vec<(usize, u32)>,
}

impl Tally {
    pub fn new(look: Look) -> Self {
        let (place, is_at) = match look {
            Look::Away => (Place::Nowhere, false),
            Look::Certain(endpoint) => (Place::At(endpoint), true),
            Look::Open { is_at } => (Place::Open, is_at),
        };
        Self { place, is_at, opening: Opening::Over, is_mute: false, last: None, waiting: Vec::new() }
    }

    /// Whether nothing of the connection is of interest.
    pub fn is_nobodys(&self) -> bool {
        self.place == Place::Nowhere
    }

    /// Whether it is known for whom all calls of the connection are.
    pub fn is_settled(&self) -> bool {
        self.place != Place::Open
    }

    /// The connection's opening was answered.
    pub fn opened(&mut self, say: &mut impl FnMut(usize, Call)) {
        self.opening = Opening::Held;
        self.tell_opening(say);
    }

    /// All that is said in the connection is for the host `name`, and cannot be read.
    pub fn settle(&mut self, site: Site<'_>, name: Option<&[u8]>, say: &mut impl FnMut(usize, Call)) {
        if self.place == Place::Open {
            let found = site.sites.find(site.remote, Asked { host: name, ..Asked::default() });
            self.place = found.map_or(Place::Nowhere, Place::At);
            let kind = found.and_then(|place| site.sites.endpoints().get(place)).map(|known| known.kind);
            self.is_mute = kind == Some(EndpointKind::Signup);
        }
        self.tell_opening(say);
    }

    /// The endpoint that a call which says this of itself is for.
    pub fn place_of(&mut self, site: Site<'_>, asked: Asked<'_>) -> Option<usize> {
        match self.place {
            Place::At(endpoint) => Some(endpoint),
            Place::Nowhere => None,
            Place::Open => {
                let found = site.sites.find(site.remote, asked);
                if found.is_none() && !self.is_at && !site.sites.may_be(site.remote, asked.host) {
                    self.place = Place::Nowhere;
                }
                self.last = found.or(self.last);
                found
            }
        }
    }

    /// The endpoint of a call that says nothing of itself.
    pub fn usual_place(&self) -> Option<usize> {
        match self.place {
            Place::At(endpoint) => Some(endpoint),
            _ => self.last,
        }
    }

    /// A call to `place` began; to none that is protected, if that is `None`.
    pub fn begin(&mut self, place: Option<usize>, say: &mut impl FnMut(usize, Call)) {
        let opening = std::mem::replace(&mut self.opening, Opening::Over);
        let Some(place) = place.filter(|_| !self.is_mute) else { return };
        if opening == Opening::Held {
            say(place, Call::Opened);
        }
        match self.waiting.iter_mut().find(|(known, _)| *known == place) {
            Some((_, number)) => *number += 1,
            None => self.waiting.push((place, 1)),
        }
        say(place, Call::Began { counts: opening == Opening::Over });
    }

    /// One to `place` was answered.
    pub fn answer(&mut self, place: Option<usize>, say: &mut impl FnMut(usize, Call)) {
        let waiting = self.waiting.iter_mut().find(|(known, number)| Some(*known) == place && *number > 0);
        if let Some((place, number)) = waiting {
            *number -= 1;
            say(*place, Call::Answered);
        }
    }

    /// What is to be said of calls in flight now that the connection is over.
    pub fn ended(&self, mut say: impl FnMut(usize, Call)) {
        for (place, number) in self.waiting.iter().filter(|(_, number)| *number > 0) {
            say(*place, Call::Dropped(*number));
        }
    }

    fn tell_opening(&mut self, say: &mut impl FnMut(usize, Call)) {
        if let (Opening::Held, Place::At(place)) = (self.opening, self.place) {
            self.opening = Opening::Told;
            say(place, Call::Opened);
        }
    }
}
