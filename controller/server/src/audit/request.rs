//! What a request says, for the log: as JSON, whom it is about, and why.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use data_encoding::HEXLOWER;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, Value};
use reeve_policy::pause::MAX_REASON;
use ring::digest::{SHA256, digest};

use super::Also;
use crate::services::MAX_BATCH;

/// The fields that name whom or what a request is about, the first that is there. The last two are of what the method's name says.
const SUBJECTS: [&str; 6] = ["tenant", "violation", "node", "person", "name", "id"];
/// Fields that are never entered.
const SECRETS: [&str; 5] = ["token", "secret", "code", "password", "invitation"];
/// Of longer lists so many are entered.
const LIST_MAX: usize = 20;
/// The list of a batch is entered whole: whoever approves one sees all that it does.
const BATCH: &str = "requests";
/// Of a longer text no more is entered than its length and its SHA-256: a policy is kept elsewhere.
const TEXT_MAX: usize = 4_096;
/// The same of whom a request is about, and of why it is made: longer ones the services refuse, which comes after they are entered.
const SUBJECT_MAX: usize = 256;
const REASON_MAX: usize = MAX_REASON;
/// What stands in a secret's place.
const HIDDEN: &str = "(not entered)";
/// Behind a request, of how many entries which of its lists were cut; no field has such a name.
const LEFT_OUT: &str = "(left out)";

/// The whole protocol.
static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(reeve_proto::DESCRIPTORS).expect("the build has made them"));

/// What a request says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// Whom or what it is about, such as `tenant/a`.
    pub subject: String,
    /// All of it as JSON, without secrets; long lists are cut.
    pub asked: String,
    /// Why.
    pub reason: String,
    /// Of a batch, whom or what its requests are about, each to be found by its own.
    pub also: Vec<Also>,
}

/// Reads the message of a request to the method with this path; nothing of one that cannot be read, which the service will refuse.
pub(crate) fn read(path: &str, message: &[u8]) -> Said {
    let Some((service, method)) = path.trim_start_matches('/').split_once('/') else {
        return Said::default();
    };
    let input = POOL
        .get_service_by_name(service)
        .and_then(|service| service.methods().find(|one| one.name() == method))
        .map(|method| method.input());
    let Some(message) = input.and_then(|input| DynamicMessage::decode(input, message).ok()) else {
        return Said::default();
    };
    let batch = message.get_field_by_name(BATCH).map(|all| requests(&all)).unwrap_or_default();
    let also = batch.iter().filter_map(|one| {
        let subject = format!("tenant/{}", bounded(text_of(one, "tenant")?, SUBJECT_MAX));
        Some(Also { subject, reason: bounded(text_of(one, "reason").unwrap_or_default(), REASON_MAX) })
    });
    let also: Vec<Also> = also.collect();
    let text = |name: &str| text_of(&message, name);
    // Who approves or rejects does so to an approval.
    let is_approval = service.ends_with(".ApprovalService");
    let noun = method.rfind(|letter: char| letter.is_ascii_uppercase()).map_or("", |at| &method[at..]);
    let noun = if is_approval { "approval" } else { noun };
    // What is noted is of a case, and is found there.
    let noun = if noun == "Note" { "case" } else { noun };
    let subject = SUBJECTS.iter().find_map(|name| {
        let kind = if matches!(*name, "name" | "id") { noun.to_lowercase() } else { (*name).to_owned() };
        text(name).map(|value| format!("{kind}/{}", bounded(value, SUBJECT_MAX)))
    });
    let subject = subject.or_else(|| (!batch.is_empty()).then(|| format!("tenants/{}", batch.len())));
    // All requests of a batch are usually made for one reason, and whoever approves it is to read that first.
    let common = || {
        let (first, others) = also.split_first()?;
        others.iter().all(|one| one.reason == first.reason).then(|| first.reason.clone())
    };
    let reason = bounded(text("reason").or_else(common).unwrap_or_default(), REASON_MAX);
    let mut shown = message;
    let mut left_out = BTreeMap::new();
    hide(&mut shown, "", &mut left_out);
    let asked = with_left_out(serde_json::to_string(&shown).unwrap_or_default(), &left_out);
    Said { subject: subject.unwrap_or_default(), asked, reason, also }
}

/// A field of a message that is a text with something in it.
fn text_of(message: &DynamicMessage, name: &str) -> Option<String> {
    match message.get_field_by_name(name).as_deref() {
        Some(Value::String(text)) => Some(text.clone()).filter(|text| !text.is_empty()),
        _ => None,
    }
}

/// A text, or of one that is longer than `most` its length and hash.
fn bounded(text: String, most: usize) -> String {
    if text.len() <= most {
        return text;
    }
    let hash = HEXLOWER.encode(digest(&SHA256, text.as_bytes()).as_ref());
    format!("({} bytes, SHA-256 {hash})", text.len())
}

/// No more than the beginning of a text.
pub(super) fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// The requests of a batch, as many as one may have.
fn requests(all: &Value) -> Vec<DynamicMessage> {
    let all = all.as_list().unwrap_or_default().iter().take(MAX_BATCH);
    all.filter_map(|one| one.as_message().cloned()).collect()
}

/// The same JSON object with how many of which lists it leaves out: whoever reads it, and approves by it, is to know that there is more.
fn with_left_out(asked: String, left_out: &BTreeMap<String, usize>) -> String {
    let Some(open) = asked.strip_suffix('}').filter(|_| !left_out.is_empty()) else { return asked };
    let told = serde_json::to_string(left_out).unwrap_or_default();
    format!("{open},\"{LEFT_OUT}\":{told}}}")
}

/// Takes secrets out, and what is too much: of which lists how many are left out is told by the fields on the way to them.
fn hide(message: &mut DynamicMessage, within: &str, left_out: &mut BTreeMap<String, usize>) {
    let fields: Vec<_> = message.fields().map(|(field, _)| field).collect();
    for field in fields {
        if SECRETS.contains(&field.name()) {
            match field.kind() {
                Kind::String if !field.is_list() => message.set_field(&field, Value::String(HIDDEN.into())),
                _ => message.clear_field(&field),
            }
            continue;
        }
        match message.get_field_mut(&field) {
            Value::Message(inner) => hide(inner, &format!("{within}{}.", field.name()), left_out),
            // What people write about others stands where it is forgotten in its time.
            Value::String(text) if field.name() == "text" => *text = bounded(std::mem::take(text), 0),
            Value::String(text) => *text = bounded(std::mem::take(text), TEXT_MAX),
            // A file, such as somebody's mail: of it no more than how many bytes it has.
            Value::Bytes(bytes) => {
                if !bytes.is_empty() {
                    left_out.insert(format!("{within}{}", field.name()), bytes.len());
                }
                message.clear_field(&field);
            }
            Value::List(all) => {
                let path = format!("{within}{}", field.name());
                let most = if field.name() == BATCH { MAX_BATCH } else { LIST_MAX };
                if all.len() > most {
                    left_out.insert(path.clone(), all.len() - most);
                    all.truncate(most);
                }
                for (place, one) in all.iter_mut().enumerate() {
                    if let Value::Message(inner) = one {
                        hide(inner, &format!("{path}[{place}]."), left_out);
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use reeve_proto::operator::v1::{
        BatchSuspendRequest, ImportTenantsRequest, ReleaseRequest, RevokeTokenRequest,
        SubmitComplaintsRequest, SuspendRequest, UploadPolicyRequest,
    };
    use reeve_proto::types::v1::Tenant;

    use super::*;

    const OPERATOR: &str = "/reeve.operator.v1.OperatorService";

    #[test]
    fn whom_what_and_why_are_read_of_any_request() {
        let request = ReleaseRequest {
            tenant: "a".into(),
            reason: "paid \"by\" wire".into(),
            forgive: true,
            ..ReleaseRequest::default()
        };
        let said = read(&format!("{OPERATOR}/Release"), &request.encode_to_vec());
        assert_eq!((said.subject.as_str(), said.reason.as_str()), ("tenant/a", "paid \"by\" wire"));
        assert_eq!(said.asked, r#"{"tenant":"a","reason":"paid \"by\" wire","forgive":true}"#);
        let request = RevokeTokenRequest { name: "bridge".into() };
        let said = read("/reeve.operator.v1.AccessService/RevokeToken", &request.encode_to_vec());
        assert_eq!(said.subject, "token/bridge");
    }

    #[test]
    fn long_lists_are_cut_and_what_cannot_be_read_is_nothing() {
        let tenants = (0..1_000).map(|number| Tenant { id: format!("t-{number}"), ..Tenant::default() });
        let request = ImportTenantsRequest { tenants: tenants.collect(), method: 1, ..Default::default() };
        let said = read(&format!("{OPERATOR}/ImportTenants"), &request.encode_to_vec());
        assert!(said.asked.contains("t-19") && !said.asked.contains("t-20"), "{}", said.asked);
        // It is told that there are more, and of which list.
        assert!(said.asked.ends_with(r#","(left out)":{"tenants":980}}"#), "{}", said.asked);
        let addresses = (0..25).map(|number| format!("192.0.2.{number}")).collect();
        let tenant = Tenant { id: "t".into(), addresses, ..Tenant::default() };
        let request = ImportTenantsRequest { tenants: vec![tenant], method: 1, ..Default::default() };
        let said = read(&format!("{OPERATOR}/ImportTenants"), &request.encode_to_vec());
        let asked: serde_json::Value = serde_json::from_str(&said.asked).unwrap();
        assert_eq!(asked["(left out)"], serde_json::json!({ "tenants[0].addresses": 5 }));
        for (path, bytes) in [
            (format!("{OPERATOR}/Release"), &b"\xff\xff\xff"[..]),
            (format!("{OPERATOR}/Nothing"), b""),
            (OPERATOR.to_owned(), b""),
            (String::new(), b""),
        ] {
            assert_eq!(read(&path, bytes), Said::default(), "{path}");
        }
    }

    #[test]
    fn of_a_batch_each_request_is_entered_and_the_reason_if_it_is_one() {
        let read = |reasons: &[&str]| {
            let one = |(number, reason): (usize, &&str)| SuspendRequest {
                tenant: format!("t-{number}"),
                reason: (*reason).into(),
                ..SuspendRequest::default()
            };
            let requests = reasons.iter().enumerate().map(one).collect();
            let batch = BatchSuspendRequest { requests, ..BatchSuspendRequest::default() };
            read(&format!("{OPERATOR}/BatchSuspend"), &batch.encode_to_vec())
        };
        let said = read(&["spam"; 30]);
        assert_eq!(
            (said.subject.as_str(), said.reason.as_str(), said.also.len()),
            ("tenants/30", "spam", 30)
        );
        assert_eq!((said.also[29].subject.as_str(), said.also[29].reason.as_str()), ("tenant/t-29", "spam"));
        assert!(said.asked.contains("t-29"), "{}", said.asked);
        let said = read(&["spam", "scans"]);
        assert_eq!((said.reason.as_str(), said.also[1].reason.as_str()), ("", "scans"));
        // No more than a batch may have, whoever sends how many.
        assert_eq!(read(&["spam"; 600]).also.len(), MAX_BATCH);
    }

    #[test]
    fn neither_subject_nor_reason_is_longer_than_it_may_be() {
        let long = |name: &str| SuspendRequest {
            tenant: name.repeat(10_000),
            reason: "y".repeat(60_000),
            ..SuspendRequest::default()
        };
        let batch = BatchSuspendRequest { requests: vec![long("x"), long("z")], ..Default::default() };
        for said in [
            read(&format!("{OPERATOR}/Suspend"), &long("x").encode_to_vec()),
            read(&format!("{OPERATOR}/BatchSuspend"), &batch.encode_to_vec()),
        ] {
            let all = said.also.iter().map(|one| (&one.subject, &one.reason));
            for (subject, reason) in all.chain([(&said.subject, &said.reason)]) {
                assert!(subject.len() < 300 && reason.len() < 1_100, "{subject} {reason}");
                assert!(reason.contains("(60000 bytes, SHA-256 "), "{reason}");
            }
        }
    }

    #[test]
    fn of_a_long_text_its_hash_is_entered() {
        let request =
            UploadPolicyRequest { source: "x".repeat(5_000), name: "ours".into(), ..Default::default() };
        let said = read("/reeve.operator.v1.PolicyService/UploadPolicy", &request.encode_to_vec());
        assert_eq!(said.subject, "policy/ours");
        assert!(said.asked.len() < 300 && said.asked.contains("(5000 bytes, SHA-256 "), "{}", said.asked);
    }

    #[test]
    fn of_a_file_its_length_is_entered() {
        let request = SubmitComplaintsRequest { message: b"a letter".to_vec(), format: 1 };
        let said = read("/reeve.operator.v1.ComplaintService/SubmitComplaints", &request.encode_to_vec());
        assert_eq!(said.asked, r#"{"format":"COMPLAINT_FORMAT_MAIL","(left out)":{"message":8}}"#);
    }

    #[test]
    fn secrets_are_not_entered() {
        // Wherever a message has such a field.
        let mut found = 0;
        for descriptor in POOL.all_messages() {
            let mut message = DynamicMessage::new(descriptor.clone());
            for field in descriptor.fields().filter(|field| {
                SECRETS.contains(&field.name()) && field.kind() == Kind::String && !field.is_list()
            }) {
                found += 1;
                message.set_field(&field, Value::String("hunter2".into()));
            }
            hide(&mut message, "", &mut BTreeMap::new());
            assert!(
                !serde_json::to_string(&message).unwrap().contains("hunter2"),
                "{}",
                descriptor.full_name()
            );
        }
        assert!(found > 0, "the protocol has secrets");
    }
}
