//! Reeve's agent: the shell around the pure core. It captures, applies and reports; what it decides, the core decides.
//!
//! [`run`] strings the live agent together; `reeve-replay` and [`score`] play captures through the same core.

pub mod blocklists;
pub mod capture;
mod cgroups;
pub mod cli;
pub mod config;
pub mod control;
pub mod enforce;
pub mod links;
pub mod metrics;
pub mod node;
pub mod record;
pub mod run;
pub mod score;
pub mod state;
