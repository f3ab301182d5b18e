//! Violations as reports to others.

use std::io::Write as _;
use std::path::Path;

use reeve_proto::operator::v1::ExportReportRequest;
use reeve_proto::operator::v1::export_report_request::Format;
use serde_json::json;

use crate::args::ReportFormatArg;
use crate::client::CallError;
use crate::commands::Call;

impl Call {
    pub(crate) async fn report(
        &self,
        violation: String,
        format: ReportFormatArg,
        file: Option<&Path>,
    ) -> Result<(), CallError> {
        let format = match format {
            ReportFormatArg::Xarf => Format::Xarf,
            ReportFormatArg::Arf => Format::Arf,
        };
        let request = ExportReportRequest { violation, format: format.into() };
        let answer = self.controller.operator().export_report(self.request(request)).await?.into_inner();
        let Some(path) = file else {
            let mut out = std::io::stdout().lock();
            out.write_all(&answer.report).map_err(CallError::Write)?;
            // A mail ends with a line; JSON is given one for the terminal.
            if !answer.report.ends_with(b"\n") {
                out.write_all(b"\n").map_err(CallError::Write)?;
            }
            return Ok(());
        };
        std::fs::write(path, &answer.report)
            .map_err(|source| CallError::File { path: path.to_owned(), source })?;
        let bytes = answer.report.len();
        self.tell(
            || json!({ "file": path, "bytes": bytes, "media_type": answer.media_type }),
            || format!("{bytes} bytes of {} are in {}", answer.media_type, path.display()),
        )
    }
}
