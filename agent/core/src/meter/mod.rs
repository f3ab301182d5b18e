//! Meters: what detectors count with. Bounded, and cheap enough for every packet.
//!
//! - [`targets`]: distinct targets and their outcomes over a sliding window.
//! - [`rates`]: packets and bytes to the busiest destinations, second by second.
//! - [`sliding`]: a count over a sliding window.
//! - [`samples`]: the last packet headers, as evidence.
//! - [`loss`]: how much of the traffic the capture missed, second by second.

pub mod loss;
pub mod rates;
pub mod samples;
pub mod sliding;
pub mod targets;
