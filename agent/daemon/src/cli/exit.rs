//! Exit codes: what went wrong, for whoever runs the agent from a script (sysexits.h).

use std::io;

use reeve_replay::history::HistoryError;
use reeve_replay::{CaptureFileError, FileError};

use super::cases::NotKept;
use super::check::MissingInterface;
use super::doctor::Unwell;
use super::pause::BadReason;
use super::play::Clashing;
use super::thresholds::NoSuchClass;
use crate::blocklists::BlocklistError;
use crate::capture::CaptureError;
use crate::config::ConfigError;
use crate::control::LinkError;
use crate::control::enrol::EnrolError;
use crate::enforce::EnforceError;
use crate::links::LinksError;
use crate::record::RecordError;
use crate::run::RunError;
use crate::score::{MarksError, ScoreError};
use crate::state::StateError;

/// Something else.
pub const FAILURE: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// A file holds what it must not.
pub const DATA: u8 = 65;
/// What it takes is not there.
pub const UNAVAILABLE: u8 = 69;
/// Reading or writing failed.
pub const IO: u8 = 74;
/// Not permitted.
pub const PERMISSION: u8 = 77;
/// The settings are wrong.
pub const CONFIG: u8 = 78;

/// The code for an error, found by what caused it.
#[must_use]
pub fn code(error: &anyhow::Error) -> u8 {
    error.chain().find_map(of).unwrap_or(FAILURE)
}

fn of(error: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if let Some(error) = error.downcast_ref::<RunError>() {
        return Some(match error {
            RunError::Capture(error) => of_capture(error),
            RunError::Enforce(error) => of_enforce(error),
            RunError::State(error) => of_state(error),
            RunError::Link(error) => of_link(error),
            RunError::Config(error) => of_config(error),
            RunError::Record(error) => of_record(error),
            RunError::Metrics { source, .. } => of_io(source, UNAVAILABLE),
            RunError::NoInterface(_) | RunError::Links(_) | RunError::AlreadyRunning => UNAVAILABLE,
            RunError::System { source, .. } => of_io(source, FAILURE),
        });
    }
    if let Some(error) = error.downcast_ref::<NotKept>() {
        return Some(match error {
            NotKept::Write { source, .. } => of_io(source, IO),
            NotKept::Violation(_) | NotKept::Decision(_) => FAILURE,
        });
    }
    if let Some(error) = error.downcast_ref::<ScoreError>() {
        return Some(match error {
            ScoreError::Manifest { source, .. } => match source.kind() {
                csv::ErrorKind::Io(error) => of_io(error, IO),
                _ => DATA,
            },
            ScoreError::Field { .. } | ScoreError::NoManifest { .. } => DATA,
            ScoreError::Capture(error) => of_capture_file(error),
        });
    }
    if let Some(error) = error.downcast_ref::<MarksError>() {
        return Some(match error {
            MarksError::Read { source, .. } => of_io(source, IO),
            MarksError::Content(_) => DATA,
        });
    }
    if let Some(error) = error.downcast_ref::<BlocklistError>() {
        return Some(of_blocklist(error));
    }
    if let Some(error) = error.downcast_ref::<EnrolError>() {
        return Some(match error {
            EnrolError::File { source, .. } => of_io(source, IO),
            EnrolError::NoToken { .. } => DATA,
            EnrolError::Settings | EnrolError::OtherNode { .. } | EnrolError::Exists { .. } => CONFIG,
            EnrolError::Controller { .. } => UNAVAILABLE,
            EnrolError::Refused(_) => PERMISSION,
            EnrolError::Key(_) => FAILURE,
        });
    }
    if error.is::<MissingInterface>() || error.is::<LinksError>() {
        return Some(UNAVAILABLE);
    }
    if let Some(unwell) = error.downcast_ref::<Unwell>() {
        return Some(unwell.code);
    }
    if error.is::<BadReason>() || error.is::<NoSuchClass>() {
        return Some(USAGE);
    }
    if error.is::<Clashing>() {
        return Some(CONFIG);
    }
    let mut code = error.downcast_ref().map(of_capture);
    code = code.or_else(|| error.downcast_ref().map(of_capture_file));
    code = code.or_else(|| error.downcast_ref().map(of_history));
    code = code.or_else(|| error.downcast_ref().map(of_enforce));
    code = code.or_else(|| error.downcast_ref().map(of_state));
    code = code.or_else(|| error.downcast_ref().map(of_link));
    code = code.or_else(|| error.downcast_ref().map(of_config));
    code = code.or_else(|| error.downcast_ref().map(of_record));
    code.or_else(|| error.downcast_ref().map(|error| of_io(error, IO)))
}

/// Why no ring can be had.
pub(super) fn of_capture(error: &CaptureError) -> u8 {
    match error {
        CaptureError::NoInterface { .. } | CaptureError::InterfaceGone { .. } => UNAVAILABLE,
        CaptureError::NotPermitted { .. } => PERMISSION,
        CaptureError::UnsupportedHardware { .. } | CaptureError::VantageTaken { .. } => CONFIG,
        CaptureError::System { source, .. } => of_io(source, IO),
    }
}

fn of_capture_file(error: &CaptureFileError) -> u8 {
    match &error.source {
        FileError::Read { source, .. } => of_io(source, IO),
        _ => DATA,
    }
}

fn of_enforce(error: &EnforceError) -> u8 {
    match error {
        EnforceError::NoNftables(_) | EnforceError::Owned { .. } => UNAVAILABLE,
        EnforceError::NotPermitted(_) => PERMISSION,
        EnforceError::Full(_)
        | EnforceError::Netlink(_)
        | EnforceError::OtherRate
        | EnforceError::NotAsTold { .. } => FAILURE,
    }
}

fn of_record(error: &RecordError) -> u8 {
    match error {
        RecordError::Io { source, .. } => of_io(source, IO),
        RecordError::Unreadable { .. } => DATA,
        RecordError::Differs { .. } => FAILURE,
    }
}

fn of_history(error: &HistoryError) -> u8 {
    match error {
        HistoryError::Io { source, .. } => of_io(source, IO),
        HistoryError::Nothing { .. } => UNAVAILABLE,
        HistoryError::Unreadable { .. } => DATA,
    }
}

fn of_state(error: &StateError) -> u8 {
    match error {
        StateError::Folder { source, .. }
        | StateError::Read { source, .. }
        | StateError::Write { source, .. } => of_io(source, IO),
        StateError::InUse { .. } => UNAVAILABLE,
    }
}

fn of_link(error: &LinkError) -> u8 {
    match error {
        LinkError::Credential { source, .. } => of_io(source, CONFIG),
        LinkError::NotPem { .. } | LinkError::Address { .. } => CONFIG,
    }
}

fn of_config(error: &ConfigError) -> u8 {
    match error {
        ConfigError::Read { source, .. } => of_io(source, CONFIG),
        ConfigError::NoSuchPolicy { .. } => USAGE,
        ConfigError::Content(_) => CONFIG,
    }
}

/// As with other files that the settings name: that it is not there is the settings' fault, what it holds its own.
pub(super) fn of_blocklist(error: &BlocklistError) -> u8 {
    match error {
        BlocklistError::Read { source, .. } => of_io(source, CONFIG),
        BlocklistError::TooLong { .. } | BlocklistError::Nothing { .. } | BlocklistError::Rubbish { .. } => {
            DATA
        }
    }
}

fn of_io(error: &io::Error, otherwise: u8) -> u8 {
    match error.kind() {
        io::ErrorKind::PermissionDenied => PERMISSION,
        _ => otherwise,
    }
}
