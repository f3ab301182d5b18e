//! Tenants and modes.

use reeve_policy::{Exemption, Mode, Profile, Tenant};

use crate::MAX_SELECTORS;
use crate::error::WireError;
use crate::generated::types::v1 as wire;
use crate::read::{choice, clip, list, parsed, parsed_list, parsed_or_none, port, text, time, time_to_wire};

/// Reads a mode.
pub(crate) fn mode(field: &str, value: i32) -> Result<Mode, WireError> {
    choice(field, value, "1 (observe) or 2 (enforce)", |mode| match mode {
        wire::Mode::Unspecified => None,
        wire::Mode::Observe => Some(Mode::Observe),
        wire::Mode::Enforce => Some(Mode::Enforce),
    })
}

impl From<Mode> for wire::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Observe => Self::Observe,
            Mode::Enforce => Self::Enforce,
        }
    }
}

/// Reads a profile.
pub(crate) fn profile(field: &str, value: i32) -> Result<Profile, WireError> {
    choice(
        field,
        value,
        "0 (none), 1 (web), 2 (mail), 3 (p2p), 4 (crawler), 5 (scanner), 6 (federation) or 7 (monitoring)",
        |profile| {
            Some(match profile {
                wire::Profile::Unspecified => Profile::None,
                wire::Profile::Web => Profile::Web,
                wire::Profile::Mail => Profile::Mail,
                wire::Profile::P2p => Profile::P2p,
                wire::Profile::Crawler => Profile::Crawler,
                wire::Profile::Scanner => Profile::Scanner,
                wire::Profile::Federation => Profile::Federation,
                wire::Profile::Monitoring => Profile::Monitoring,
            })
        },
    )
}

impl From<Profile> for wire::Profile {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::None => Self::Unspecified,
            Profile::Web => Self::Web,
            Profile::Mail => Self::Mail,
            Profile::P2p => Self::P2p,
            Profile::Crawler => Self::Crawler,
            Profile::Scanner => Self::Scanner,
            Profile::Federation => Self::Federation,
            Profile::Monitoring => Self::Monitoring,
        }
    }
}

impl From<&Tenant> for wire::Tenant {
    fn from(tenant: &Tenant) -> Self {
        Self {
            id: tenant.id.to_string(),
            name: clip(&tenant.name),
            parent: tenant.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
            addresses: tenant.addresses.iter().map(ToString::to_string).collect(),
            interfaces: tenant.interfaces.iter().map(ToString::to_string).collect(),
            macs: tenant.macs.iter().map(ToString::to_string).collect(),
            mode: tenant.mode.map(|mode| wire::Mode::from(mode).into()),
            mail_clients: tenant.mail_clients.iter().map(ToString::to_string).collect(),
            lifeline: tenant.lifeline.iter().map(ToString::to_string).collect(),
            profile: wire::Profile::from(tenant.profile).into(),
            mail_domains: tenant.mail_domains.iter().map(ToString::to_string).collect(),
            relay_domains: tenant.relay_domains.iter().map(ToString::to_string).collect(),
            quota_bytes: tenant.quota_bytes,
            known_offender: tenant.known_offender.iter().map(ToString::to_string).collect(),
            language: tenant.language.as_ref().map(ToString::to_string).unwrap_or_default(),
            contacts: tenant.contacts.iter().map(ToString::to_string).collect(),
            exemptions: tenant.exemptions.iter().map(Into::into).collect(),
            uids: tenant.uids.iter().map(ToString::to_string).collect(),
            cgroups: tenant.cgroups.iter().map(ToString::to_string).collect(),
            system_users: tenant.system_users,
        }
    }
}

impl TryFrom<wire::Tenant> for Tenant {
    type Error = WireError;

    fn try_from(tenant: wire::Tenant) -> Result<Self, WireError> {
        Ok(Self {
            id: parsed("id", &tenant.id)?,
            name: text("name", tenant.name)?,
            parent: parsed_or_none("parent", &tenant.parent)?,
            addresses: parsed_list("addresses", &tenant.addresses, MAX_SELECTORS)?,
            interfaces: parsed_list("interfaces", &tenant.interfaces, MAX_SELECTORS)?,
            macs: parsed_list("macs", &tenant.macs, MAX_SELECTORS)?,
            mode: tenant.mode.map(|value| mode("mode", value)).transpose()?,
            mail_clients: parsed_list("mail_clients", &tenant.mail_clients, MAX_SELECTORS)?,
            lifeline: parsed_list("lifeline", &tenant.lifeline, MAX_SELECTORS)?,
            profile: profile("profile", tenant.profile)?,
            mail_domains: parsed_list("mail_domains", &tenant.mail_domains, MAX_SELECTORS)?,
            relay_domains: parsed_list("relay_domains", &tenant.relay_domains, MAX_SELECTORS)?,
            quota_bytes: tenant.quota_bytes,
            known_offender: parsed_list("known_offender", &tenant.known_offender, MAX_SELECTORS)?
                .into_iter()
                .collect(),
            language: parsed_or_none("language", &tenant.language)?,
            contacts: parsed_list("contacts", &tenant.contacts, Tenant::MAX_CONTACTS)?,
            exemptions: list("exemptions", tenant.exemptions, MAX_SELECTORS, Exemption::try_from)?,
            uids: parsed_list("uids", &tenant.uids, MAX_SELECTORS)?,
            cgroups: parsed_list("cgroups", &tenant.cgroups, MAX_SELECTORS)?,
            system_users: tenant.system_users,
        })
    }
}

impl From<&Exemption> for wire::Exemption {
    fn from(exemption: &Exemption) -> Self {
        Self {
            id: exemption.id.as_ref().map(ToString::to_string).unwrap_or_default(),
            clause: exemption.clause.to_string(),
            targets: exemption.targets.iter().map(ToString::to_string).collect(),
            ports: exemption.ports.iter().copied().map(u32::from).collect(),
            reference: exemption.reference.clone(),
            from: exemption.from.map(time_to_wire),
            until: exemption.until.map(time_to_wire),
        }
    }
}

impl TryFrom<wire::Exemption> for Exemption {
    type Error = WireError;

    fn try_from(exemption: wire::Exemption) -> Result<Self, WireError> {
        let reference = text("reference", exemption.reference)?;
        if !Self::is_reference(&reference) {
            let allowed = format!("the written permission: 1 to {} bytes on one line", Self::MAX_REFERENCE);
            return Err(WireError::new("reference", format_args!("`{reference}`"), allowed));
        }
        let ports = list("ports", exemption.ports, Self::MAX_PORTS, |number| port("port", number))?;
        let (from, until) = (exemption.from, exemption.until);
        let from = from.map(|at| time("from", Some(at))).transpose()?;
        let until = until.map(|at| time("until", Some(at))).transpose()?;
        if from.zip(until).is_some_and(|(from, until)| until <= from) {
            return Err(WireError::new("until", "a time not after `from`", "a time after it"));
        }
        Ok(Self {
            id: parsed_or_none("id", &exemption.id)?,
            clause: parsed("clause", &exemption.clause)?,
            targets: parsed_list("targets", &exemption.targets, Self::MAX_TARGETS)?,
            ports,
            reference,
            from,
            until,
        })
    }
}
