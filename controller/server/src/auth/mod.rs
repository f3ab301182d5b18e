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
mod connections;
mod door;
mod gate;
mod layer;
mod limits;
pub mod password;
mod people;
mod secret;
mod throttle;
mod vault;

pub use book::{Book, Change, Enrolment, Records, Revocation, Subject, Taken, Token};
pub use caller::{Caller, ParseRoleError, Role, Shown};
pub use connections::{Connections, MAX_PENDING, MAX_PENDING_OF_ADDRESS, PATIENCE, Peer};
pub(crate) use connections::{Guarded, incoming};
pub use door::{Busy, Doorkeeper, Failed};
pub use gate::{AllowLists, Gate, Presented, Refusal};
pub(crate) use layer::GateLayer;
pub use password::Password;
pub use people::{Factors, LoggedIn, MAX_LINE, Person, Second, Session, SetUp, with_network};
pub use secret::{Hash, Secret};
pub use throttle::{Throttle, network};
pub use vault::{FILE_NAME as SECRETS_KEY, Vault, VaultError};
