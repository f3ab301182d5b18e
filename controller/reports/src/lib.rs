//! Abuse reports, read and written.
//!
//! Model: whatever somebody sends (a mail with ARF, XARF or X-ARF in it, JSON of XARF, or a letter) becomes [`Complaint`]s: what kind of
//! abuse, by which source, when, who says so, and what is to be taken down. What cannot be read is [`Refused`] with a [`Reason`] that
//! whoever sent it understands; [`read_form`] does the same with what somebody filled in, and [`answer_to`] says whom a program may answer. The other way, [`Facts`] of a violation become XARF 4 ([`xarf`]) and, for mail, ARF ([`arf`]).
//!
//! Pure: bytes and the time go in, values come out. Memory is bounded by constants, and no bytes make it panic: what comes here comes from
//! anybody. Of others' mail nothing but header fields is kept, and of those none that names who got it; of evidence its type, size and
//! hash. docs/reports.md says what is taken from where, docs/adr/0017 why.
//!
//! Deliberately absent: whose an address is, whether to believe it, and what to do about it (the caller's); fetching and sending;
//! decryption ([`Sealed`] only finds what is to be decrypted); XARF that is packed or written in YAML.

#![forbid(unsafe_code)]

mod answer;
mod complaint;
mod form;
mod json;
mod kind;
mod mime;
mod read;
mod refused;
#[cfg(feature = "samples")]
pub mod samples;
mod sealed;
mod source;
mod when;
mod words;
mod write;

pub use answer::{Unanswerable, answer_to, is_answered, may_be_answered, message_id};
pub use complaint::{
    Attachment, Complaint, Deadline, Field, Fingerprint, Format, Found, MAX_FIELDS, MAX_LINE, MAX_LIST,
    MAX_TEXT, Reporter, Takedown,
};
pub use form::{Form, read_form};
pub use kind::{Kind, ParseKindError};
pub use read::{Reading, read_json, read_mail};
pub use refused::{Reason, Refused};
pub use sealed::Sealed;
pub use write::{Contact, Facts, Seen, XarfType, arf, xarf, xarf_type};

/// The largest report that is read, in bytes: XARF 4 allows evidence of 5 MiB, which base64 makes a third larger.
pub const MAX_BYTES: usize = 16 << 20;

/// The most reports that one mail or array may hold.
pub const MAX_REPORTS: usize = json::MAX_REPORTS;

/// The most bytes of text that a [`Complaint`] holds: a character takes four at most.
pub const MAX_COMPLAINT_BYTES: usize = 4
    * (MAX_TEXT
        + MAX_LINE * (2 * MAX_LIST + MAX_FIELDS + 4)
        + 100 * MAX_FIELDS
        + (800 + 320) * MAX_LIST
        + 4_000);
