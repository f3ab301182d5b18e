//! Tenants are taken over from a file.

use std::io::Read as _;
use std::path::Path;

use reeve_policy::Tenant;
use reeve_policy::language::{TenantsFormat, parse_tenants_as};
use reeve_policy::reader::Document;
use reeve_proto::operator::v1::tenant_change::Kind;
use reeve_proto::operator::v1::{
    FieldChange, ImportTenantsRequest, ImportTenantsResponse, TenantChange, import_tenants_request,
};
use serde_json::{Value, json};

use crate::args::FormatArg;
use crate::client::CallError;
use crate::commands::Call;

/// The tenants of a file, or of standard input.
pub fn read(file: &Path, format: Option<FormatArg>) -> Result<Vec<Tenant>, CallError> {
    let failed = |source| CallError::File { path: file.to_owned(), source };
    let is_input = file == Path::new("-");
    let text = if is_input {
        // One byte more than is read says that it is too long.
        let most = Document::MAX_BYTES as u64 + 1;
        let mut text = String::new();
        std::io::stdin().lock().take(most).read_to_string(&mut text).map_err(failed)?;
        text
    } else {
        std::fs::read_to_string(file).map_err(failed)?
    };
    let name = if is_input { "standard input".to_owned() } else { file.display().to_string() };
    let format = format.map_or_else(|| TenantsFormat::of(&name), Into::into);
    let tenants = parse_tenants_as(&name, &text, format)?;
    if tenants.is_empty() {
        return Err(CallError::NoTenants { path: file.to_owned() });
    }
    Ok(tenants)
}

impl Call {
    /// Takes tenants over, or asks what that would change.
    pub async fn import(&self, tenants: &[Tenant], replace: bool, dry_run: bool) -> Result<(), CallError> {
        use import_tenants_request::Method;
        let method = if replace { Method::Replace } else { Method::Upsert };
        let tenants = tenants.iter().map(Into::into).collect();
        let request = self.request(ImportTenantsRequest { tenants, method: method.into(), dry_run });
        let done = self.controller.operator().import_tenants(request).await;
        let done = done.map_err(|status| CallError::Import(Box::new(status)))?.into_inner();
        self.tell(|| told(dry_run, &done), || shown(dry_run, &done))
    }
}

/// What became of a tenant, in a word.
fn word(change: &TenantChange) -> &'static str {
    match change.kind() {
        Kind::Added => "added",
        Kind::Changed => "changed",
        Kind::Removed => "removed",
        Kind::Unspecified => "-",
    }
}

fn told(dry_run: bool, done: &ImportTenantsResponse) -> Value {
    let field = |field: &FieldChange| {
        json!({
            "field": field.field, "removed": field.removed, "added": field.added, "omitted": field.omitted,
        })
    };
    let change = |change: &TenantChange| {
        json!({
            "tenant": change.tenant, "kind": word(change),
            "fields": change.fields.iter().map(field).collect::<Vec<_>>(),
        })
    };
    json!({
        "dry_run": dry_run,
        "added": done.added, "changed": done.changed, "removed": done.removed, "unchanged": done.unchanged,
        "version": done.version,
        "changes": done.changes.iter().map(change).collect::<Vec<_>>(), "changes_omitted": done.changes_omitted,
    })
}

/// What came to, and for a dry run above it a line for each tenant and each field of one that is another.
fn shown(dry_run: bool, done: &ImportTenantsResponse) -> String {
    let ImportTenantsResponse { added, changed, removed, unchanged, version, changes, changes_omitted } =
        done;
    if !dry_run {
        return format!(
            "{added} added, {changed} changed, {removed} removed, {unchanged} as before; version {version}"
        );
    }
    let mut lines = Vec::new();
    for change in changes {
        let mark = match change.kind() {
            Kind::Added => '+',
            Kind::Removed => '-',
            Kind::Changed | Kind::Unspecified => '~',
        };
        lines.push(format!("{mark} {}", change.tenant));
        lines.extend(change.fields.iter().map(|field| format!("    {}", shown_field(field))));
    }
    if *changes_omitted > 0 {
        lines.push(format!("  and {changes_omitted} more"));
    }
    lines.push(format!(
        "Would be: {added} added (+), {changed} changed (~), {removed} removed (-), {unchanged} as before. Nothing was changed."
    ));
    lines.join("\n")
}

/// `addresses: -203.0.113.0/28 +198.51.100.7/32`, or `name: "A" -> "B"`.
fn shown_field(field: &FieldChange) -> String {
    let FieldChange { field: key, removed, added, omitted } = field;
    if removed.is_empty() && added.is_empty() {
        return format!("{key}: the same in another order");
    }
    let marked =
        |mark: char, all: &[String]| all.iter().map(|one| format!(" {mark}{one}")).collect::<String>();
    let more = if *omitted > 0 { format!(" and {omitted} more") } else { String::new() };
    format!("{key}:{}{}{more}", marked('-', removed), marked('+', added))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_shows_who_and_what() {
        let field = |field: &str, removed: &[&str], added: &[&str]| FieldChange {
            field: field.into(),
            removed: removed.iter().map(ToString::to_string).collect(),
            added: added.iter().map(ToString::to_string).collect(),
            omitted: 0,
        };
        let change = |tenant: &str, kind: Kind, fields| TenantChange {
            tenant: tenant.into(),
            kind: kind.into(),
            fields,
        };
        let fields = vec![
            field("name", &["A"], &["B"]),
            field("addresses", &["192.0.2.1/32"], &["192.0.2.2/32", "2001:db8::/48"]),
            FieldChange { omitted: 7, ..field("macs", &[], &["02:00:00:00:00:01"]) },
            field("interfaces", &[], &[]),
        ];
        let done = ImportTenantsResponse {
            added: 1,
            changed: 1,
            removed: 2,
            unchanged: 3,
            version: 9,
            changes: vec![
                change("a", Kind::Added, Vec::new()),
                change("b", Kind::Changed, fields),
                change("c", Kind::Removed, Vec::new()),
            ],
            changes_omitted: 1,
        };
        insta::assert_snapshot!(shown(true, &done), @r"
        + a
        ~ b
            name: -A +B
            addresses: -192.0.2.1/32 +192.0.2.2/32 +2001:db8::/48
            macs: +02:00:00:00:00:01 and 7 more
            interfaces: the same in another order
        - c
          and 1 more
        Would be: 1 added (+), 1 changed (~), 2 removed (-), 3 as before. Nothing was changed.
        ");
        assert_eq!(shown(false, &done), "1 added, 1 changed, 2 removed, 3 as before; version 9");
        let value = told(true, &done);
        assert_eq!(value["changes"][1]["fields"][1]["removed"][0], "192.0.2.1/32");
        assert_eq!((&value["changes"][2]["kind"], &value["changes_omitted"]), (&json!("removed"), &json!(1)));
    }
}
