//! Reeve's controller: where agents report, where operators steer, and where billing and portals ask.
//!
//! One process and one SQLite file, or several on one PostgreSQL database. The way of the data:
//!
//! ```text
//! agents ─▶ services::agent ─▶ writer ─▶ store (one transaction for many reports) ─▶ acknowledgement
//!                                 │
//!                                 ├─▶ directory (who is who and where they stand, in memory) ─▶ services::status, http
//!                                 └─▶ events ─▶ services::operator (watch)
//! operators ─▶ auth ─▶ audit ─▶ services::operator ─▶ writer ─▶ orders ─▶ services::agent ─▶ agents
//! ```
//!
//! Invariants: only the [`writer`] writes, and those of several controllers one after the other, so everything happens in one order; nothing is acknowledged, published
//! or sent before it is on disk; what is told of a tenant's state is what agents read back from their kernels.

pub mod approval;
pub mod audit;
pub mod auth;
pub mod clock;
mod complaints;
pub mod config;
mod console;
pub mod directory;
pub mod doctor;
pub mod error;
pub mod events;
mod export;
mod files;
mod health;
mod http;
pub mod identity;
mod links;
mod listing;
pub mod metrics;
mod openpgp;
mod outbox;
pub mod pki;
pub mod refusal;
pub mod remedy;
mod retention;
pub mod server;
mod services;
pub mod settings;
mod smtp;
pub mod store;
pub mod streams;
mod tending;
mod trial;
mod web;
pub mod writer;
