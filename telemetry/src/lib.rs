//! What the daemons share to be watched: how they log, and where Prometheus reads their metrics.
//!
//! Left out: what is logged and measured; that is each daemon's.

pub mod logs;
pub mod metrics;
