//! What was recorded, through the same core that runs live.
//!
//! Purpose: captures are read ([`capture`]), and what an agent keeps of the last days is kept and read ([`history`]);
//! both are played as whoever's traffic they are ([`scene`]), held against another policy ([`trial`]), and told to people, without an agent
//! and without a kernel, so that the operators' command line can do it as well.
//!
//! Left out: interfaces, and anything that is enforced.

pub mod capture;
pub mod history;
pub mod scene;
pub mod tenants;
pub mod trial;

pub use reeve_core::topology::VantageKind;

pub use capture::{CaptureFileError, FileError, FileSource, Progress};
pub use scene::{MAX_SENDERS, NODE, Replayed, Scene, TAIL, Teller, json_line, replay, text_line};
pub use tenants::{TenantArg, from_args};
