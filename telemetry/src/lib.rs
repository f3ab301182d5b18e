//! What the daemons share to be watched: how they log, where Prometheus reads their metrics, and how their list is kept true.
//!
//! Left out: what is logged and measured; that is each daemon's.

pub mod listed;
pub mod logs;
pub mod metrics;
