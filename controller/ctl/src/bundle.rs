//! A case as one file: fetched, and verified without the controller.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use reeve_audit::bundle::{self, BundleError, Manifest};
use reeve_policy::Name;
use reeve_proto::operator::v1::ExportCaseRequest;
use serde_json::json;

use crate::args::AuditKey;
use crate::audit::AuditError;
use crate::client::CallError;
use crate::commands::Call;

impl Call {
    pub(crate) async fn export_case(&self, id: &Name, path: &Path) -> Result<(), CallError> {
        let request = self.request(ExportCaseRequest { id: id.to_string() });
        // Nothing is made where the controller refuses.
        let mut chunks = self.controller.cases().export_case(request).await?.into_inner();
        let failed = |source| CallError::File { path: path.to_owned(), source };
        // It says who did what: nobody else is to read it.
        let opened = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        let mut out = BufWriter::new(opened);
        let written = async {
            let mut bytes = 0;
            while let Some(part) = chunks.message().await? {
                bytes += part.chunk.len();
                out.write_all(&part.chunk).map_err(failed)?;
            }
            out.flush().map_err(failed)?;
            Ok::<_, CallError>(bytes)
        };
        let bytes = match written.await {
            Ok(bytes) => bytes,
            Err(error) => {
                // Half of it would be taken for the whole.
                let _ = std::fs::remove_file(path);
                return Err(error);
            }
        };
        self.tell(
            || json!({ "case": id, "file": path, "bytes": bytes }),
            || format!("case {id} is in {}, {bytes} bytes; reevectl cases verify reads it", path.display()),
        )
    }
}

/// Verifies a case that was written out; says what holds.
pub fn verify(path: &Path, keys: &[AuditKey], is_json: bool) -> Result<String, CallError> {
    let failed = |source| CallError::File { path: path.to_owned(), source };
    let known: Vec<_> = keys.iter().map(|key| key.0).collect();
    let mut input = BufReader::new(File::open(path).map_err(failed)?);
    let manifest = bundle::verify(&mut input, &known).map_err(|error| match error {
        BundleError::Read(source) => failed(source),
        BundleError::Broken { file, what } => AuditError::Bundle { path: path.to_owned(), file, what }.into(),
    })?;
    let Manifest { case, made, key, files, .. } = &manifest;
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    if is_json {
        let files: Vec<_> = files.iter().map(|file| &file.name).collect();
        return Ok(json!({
            "case": case, "made": made, "key": key, "key_is_named": !known.is_empty(), "bytes": bytes, "files": files,
        })
        .to_string());
    }
    let mut text =
        format!("case {case} holds as it was written out at {made}: {} files, {bytes} bytes\n", files.len());
    text.push_str(&match known.is_empty() {
        true => {
            format!("signed by {key}: see with --key that it is the controller's (`reevectl audit key`)\n")
        }
        false => format!("signed by {key}, which was named\n"),
    });
    Ok(text)
}
