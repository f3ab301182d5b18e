//! The Open Cybersecurity Schema Framework, version 1.4: Detection Finding (2004), Remediation Activity (7001), Authentication (3002) and
//! API Activity (6003).

use std::net::IpAddr;

use serde_json::{Value, json};

use super::record::{Record, Severity, Sort};

/// The version of the schema.
const VERSION: &str = "1.4.0";
/// An activity that has no number of its own: its name says what it is.
const OTHER: u32 = 99;

/// The record as an event.
pub(super) fn event(record: &Record) -> Value {
    let time = record.at.as_nanos() / 1_000_000;
    let (severity_id, severity) = match record.severity {
        Severity::Informational => (1, "Informational"),
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
    };
    let (class_uid, class_name, category_uid, category_name) = match record.sort {
        Sort::Finding { .. } => (2004_u32, "Detection Finding", 2, "Findings"),
        Sort::Remediation { .. } => (7001, "Remediation Activity", 7, "Remediation"),
        Sort::SignIn { .. } => (3002, "Authentication", 3, "Identity & Access Management"),
        Sort::Call => (6003, "API Activity", 6, "Application Activity"),
    };
    let (activity_id, activity_name) = match &record.sort {
        Sort::Finding { activity: 1, .. } => (1, "Create"),
        Sort::Finding { activity: 2, .. } => (2, "Update"),
        Sort::Finding { .. } => (3, "Close"),
        Sort::Remediation { activity: 1, .. } => (1, "Isolate"),
        Sort::Remediation { .. } => (3, "Restore"),
        Sort::SignIn { .. } => (1, "Logon"),
        Sort::Call => (OTHER, record.action.as_str()),
    };
    let mut event = json!({
        "activity_id": activity_id,
        "activity_name": activity_name,
        "category_uid": category_uid,
        "category_name": category_name,
        "class_uid": class_uid,
        "class_name": class_name,
        "type_uid": class_uid * 100 + activity_id,
        "time": time,
        "severity_id": severity_id,
        "severity": severity,
        "message": record.title,
        "metadata": {
            "version": VERSION,
            "uid": record.uid,
            "event_code": record.kind,
            "product": { "vendor_name": "Reeve", "name": "reeve-controller", "version": env!("CARGO_PKG_VERSION") },
        },
    });
    let mut set = |key: &str, value: Value| event[key] = value;
    // Of a name that nobody has nothing is told.
    let user = json!({ "name": if record.who.is_empty() { "unknown" } else { record.who.as_str() } });
    match &record.sort {
        Sort::Finding { activity, uid } => {
            let mut info = json!({ "uid": uid, "title": record.title });
            if !record.class.is_empty() {
                info["types"] = json!([record.class]);
            }
            set("finding_info", info);
            // New, in progress, resolved.
            let (id, name) =
                [(1, "New"), (2, "In Progress"), (4, "Resolved")][usize::from(*activity - 1).min(2)];
            set("status_id", id.into());
            set("status", name.into());
            set("resources", json!([{ "uid": record.tenant, "type": "tenant" }]));
        }
        Sort::Remediation { decision, .. } => {
            set("command_uid", decision.as_str().into());
            set("status_id", 1.into());
            set("status", "Success".into());
        }
        Sort::SignIn { is_failed } => {
            set("user", user);
            set("service", json!({ "name": "reeve-controller" }));
            let (id, name) = if *is_failed { (2, "Failure") } else { (1, "Success") };
            set("status_id", id.into());
            set("status", name.into());
        }
        Sort::Call => {
            set("actor", json!({ "user": user }));
            set("api", json!({ "operation": record.action }));
            let (id, name) = match record.outcome.as_str() {
                "done" => (1, "Success"),
                outcome if outcome.starts_with("asked") => (0, "Unknown"),
                _ => (OTHER, record.outcome.as_str()),
            };
            set("status_id", id.into());
            set("status", name.into());
        }
    }
    if matches!(record.sort, Sort::SignIn { .. } | Sort::Call) {
        // Whoever is on the controller's machine comes from no address.
        let is_address = record.from.parse::<IpAddr>().is_ok();
        let endpoint = if is_address { json!({ "ip": record.from }) } else { json!({ "name": "local" }) };
        set("src_endpoint", endpoint);
    }
    let rest = [
        ("action", &record.action),
        ("class", &record.class),
        ("clause", &record.clause),
        ("node", &record.node),
        ("outcome", &record.outcome),
        ("role", &record.role),
        ("scope", &record.scope),
        ("tenant", &record.tenant),
        ("who", &record.who),
    ];
    let rest = rest.into_iter().filter(|(_, text)| !text.is_empty());
    set("unmapped", rest.map(|(key, text)| (key.to_owned(), Value::from(text.as_str()))).collect());
    event
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::hostile;
    use super::*;

    #[test]
    fn hostile_words_are_one_line_and_come_back_as_they_were() {
        let event = event(&Record::of_entry(&hostile()));
        let line = event.to_string();
        assert!(!line.contains(['\n', '\r', '\u{1b}']), "{line}");
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["actor"]["user"]["name"], hostile().who);
        assert_eq!((&read["class_uid"], &read["type_uid"]), (&json!(6003), &json!(600_399)));
    }
}
