//! Masks: which fields of an entry are told (AIP-157).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, Value};
use prost_types::FieldMask;
use tonic::Status;

use crate::refusal::Reason;

/// The most paths of a mask.
const MAX_PATHS: usize = 100;
/// The most bytes of a path.
const MAX_PATH: usize = 200;

/// The whole protocol.
static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(reeve_proto::DESCRIPTORS).expect("the build has made them"));

/// What is told of a message; of each field all, or what is told of its message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kept(BTreeMap<String, Option<Self>>);

/// Which fields of an entry are told.
#[derive(Clone, Debug)]
pub(crate) struct Mask {
    descriptor: Option<MessageDescriptor>,
    kept: Option<Kept>,
}

impl Mask {
    /// Reads a mask over messages of this name; none, or `*`, is all.
    pub fn read(name: &str, asked: Option<FieldMask>) -> Result<Self, Status> {
        let descriptor = POOL.get_message_by_name(name);
        let paths = asked.map(|asked| asked.paths).unwrap_or_default();
        let (Some(descriptor), false) = (descriptor, paths.is_empty() || paths == ["*"]) else {
            return Ok(Self { descriptor: None, kept: None });
        };
        if paths.len() > MAX_PATHS {
            let text = format!("read_mask: found {} paths; allowed: at most {MAX_PATHS}", paths.len());
            return Err(Reason::InvalidReadMask.status(text));
        }
        let mut kept = Kept::default();
        for path in &paths {
            keep(&mut kept, &descriptor, path).map_err(|allowed| {
                let shown: String = path.chars().take(MAX_PATH).collect();
                let text = format!("read_mask: found {shown:?}; allowed: {}", allowed.join(", "));
                Reason::InvalidReadMask.about(text, [("allowed", allowed.join(","))])
            })?;
        }
        Ok(Self { descriptor: Some(descriptor), kept: Some(kept) })
    }

    /// What is told of an entry.
    pub fn apply<M: Message + Default>(&self, entry: M) -> M {
        let (Some(descriptor), Some(kept)) = (&self.descriptor, &self.kept) else { return entry };
        let bytes = entry.encode_to_vec();
        let Ok(mut message) = DynamicMessage::decode(descriptor.clone(), bytes.as_slice()) else {
            return entry;
        };
        clear(&mut message, kept);
        M::decode(message.encode_to_vec().as_slice()).unwrap_or_default()
    }
}

/// Adds a path, or gives what may stand in its place.
fn keep(kept: &mut Kept, descriptor: &MessageDescriptor, path: &str) -> Result<(), Vec<String>> {
    let names = || descriptor.fields().map(|field| field.name().to_owned()).collect::<Vec<_>>();
    let (first, rest) = match path.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    };
    let field = descriptor.get_field_by_name(first).ok_or_else(names)?;
    let Some(rest) = rest else {
        kept.0.insert(first.to_owned(), None);
        return Ok(());
    };
    // Within lists and maps nothing is chosen: they are told whole or not at all.
    let Kind::Message(inner) = field.kind() else { return Err(vec![first.to_owned()]) };
    if field.is_list() || field.is_map() {
        return Err(vec![first.to_owned()]);
    }
    let below = match kept.0.get_mut(first) {
        Some(None) => &mut Kept::default(),
        Some(Some(below)) => below,
        None => {
            kept.0.entry(first.to_owned()).or_insert_with(|| Some(Kept::default())).get_or_insert_default()
        }
    };
    let allowed = keep(below, &inner, rest);
    allowed.map_err(|allowed| allowed.into_iter().map(|name| format!("{first}.{name}")).collect())
}

fn clear(message: &mut DynamicMessage, kept: &Kept) {
    let fields: Vec<_> = message.fields().map(|(field, _)| field).collect();
    for field in fields {
        match kept.0.get(field.name()) {
            None => message.clear_field(&field),
            Some(None) => {}
            Some(Some(below)) => {
                if let Value::Message(inner) = message.get_field_mut(&field) {
                    clear(inner, below);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use reeve_proto::operator::v1::TenantEntry;
    use reeve_proto::types::v1::Tenant;

    use super::*;

    fn entry() -> TenantEntry {
        let addresses = vec!["192.0.2.1/32".to_owned()];
        let tenant = Tenant { id: "a".into(), name: "A".into(), addresses, ..Tenant::default() };
        TenantEntry { tenant: Some(tenant), state: 2 }
    }

    fn masked(paths: &[&str]) -> Result<TenantEntry, String> {
        let asked = FieldMask { paths: paths.iter().map(ToString::to_string).collect() };
        let mask = Mask::read("reeve.operator.v1.TenantEntry", Some(asked))
            .map_err(|status| status.message().to_owned())?;
        Ok(mask.apply(entry()))
    }

    #[test]
    fn only_what_is_asked_for_is_told() {
        assert_eq!(masked(&[]).unwrap(), entry());
        assert_eq!(masked(&["*"]).unwrap(), entry());
        assert_eq!(masked(&["state"]).unwrap(), TenantEntry { tenant: None, state: 2 });
        let id = Tenant { id: "a".into(), ..Tenant::default() };
        assert_eq!(masked(&["tenant.id"]).unwrap(), TenantEntry { tenant: Some(id), state: 0 });
        // The wider of two paths holds, whichever comes first.
        let whole = TenantEntry { state: 0, ..entry() };
        assert_eq!(masked(&["tenant", "tenant.id"]).unwrap(), whole);
        assert_eq!(masked(&["tenant.id", "tenant"]).unwrap(), whole);
        let told = masked(&["tenant.id", "tenant.addresses"]).unwrap();
        assert_eq!(told.tenant.unwrap().addresses.len(), 1);
    }

    #[test]
    fn what_there_is_not_is_refused_with_what_there_is() {
        assert_eq!(masked(&["stat"]).unwrap_err(), "read_mask: found \"stat\"; allowed: tenant, state");
        let told = masked(&["tenant.nme"]).unwrap_err();
        assert!(told.contains("allowed: tenant.id, tenant.name, tenant.parent"), "{told}");
        assert!(masked(&["state.x"]).is_err() && masked(&["tenant.exemptions.clause"]).is_err());
        assert!(masked(&["tenant."]).is_err() && masked(&[""]).is_err());
        let many = vec!["state"; 101];
        assert!(masked(&many).unwrap_err().contains("found 101 paths"));
    }
}
