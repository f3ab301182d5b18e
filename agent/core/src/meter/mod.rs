//! Meters: what detectors count with. Bounded, and cheap enough for every packet.
//!
//! - [`targets`]: distinct targets and their outcomes over a sliding window.
//! - [`tally`]: one count, second by second, and when it is to be judged.
//! - [`rates`]: what goes to the busiest destinations and networks, and in all.
//! - [`keyed`]: a few things by key, for those and others.
//! - [`sliding`]: a count over a sliding window.
//! - [`hash`]: numbers that fall evenly, for sketches.
//! - [`samples`]: the last packet headers, as evidence.
//! - [`loss`]: how much of the traffic the capture missed, second by second.

pub mod hash;
pub mod keyed;
pub mod loss;
pub mod rates;
pub mod samples;
pub mod sliding;
pub mod tally;
pub mod targets;
