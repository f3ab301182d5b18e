//! Tenants and modes.

use reeve_policy::{Mode, Profile, Tenant};

use crate::MAX_SELECTORS;
use crate::error::WireError;
use crate::generated::types::v1 as wire;
use crate::read::{choice, clip, parsed, parsed_list, parsed_or_none, text};

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
        })
    }
}
