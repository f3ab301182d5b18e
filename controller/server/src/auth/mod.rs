//! Who gets in: who calls, as what, and what that allows.
//!
//! Every call passes the [`Gate`] before any service sees it. It reads who calls ([`Caller`]) from the client certificate or
//! from a token in `authorization`, looks the method up in one table ([`access::METHODS`]), and refuses what is not in it.
//! Services find the caller among the request's extensions ([`Caller::of`]). Other ways in than gRPC ask the same gate:
//! [`Gate::admit`].
//!
//! The gate answers from memory ([`Book`]), which follows the database: a change is in force when whoever ordered it is answered.
//!
//! Left out: what a role may do *within* a method, such as billing's suspensions, which is its service's to say.

pub mod access;
mod book;
mod caller;
mod gate;
mod layer;
mod secret;

pub use book::{Book, Change, Records, Taken, Token};
pub use caller::{Caller, Role, Shown};
pub use gate::{Gate, Presented, Refusal};
pub(crate) use layer::GateLayer;
pub use secret::{Hash, Secret};
