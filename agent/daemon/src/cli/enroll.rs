//! `enroll`: the node's first certificate.

use super::EnrollArgs;
use super::table::settings_of;
use crate::control::enrol::{EnrolError, enrol};

/// Fetches the node's first certificate, and tells where it is.
///
/// # Errors
/// When the settings cannot be read, or there is none to be had.
pub fn enroll(args: &EnrollArgs) -> anyhow::Result<String> {
    let settings = settings_of(&args.config)?;
    let controller = settings.controller.as_ref().ok_or(EnrolError::Settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let by = runtime.block_on(enrol(controller, &settings.node, &args.token_file, args.again))?;
    let path = controller.certificate.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    Ok(format!("node {} is enrolled with {}: its certificate is {path}", settings.node, by))
}
