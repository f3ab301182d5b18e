//! What follows tenants from node to node.

use reeve_policy::{Decision, StrikeElsewhere, TenantStanding};

use crate::error::WireError;
use crate::generated::agent::v1::order::standings as wire;
use crate::read::{list, parsed, time, time_to_wire};

impl From<&StrikeElsewhere> for wire::Strike {
    fn from(strike: &StrikeElsewhere) -> Self {
        Self {
            rule: strike.rule.to_string(),
            opened: Some(time_to_wire(strike.opened)),
            closed: strike.closed.map(time_to_wire),
            number: strike.number,
        }
    }
}

impl TryFrom<wire::Strike> for StrikeElsewhere {
    type Error = WireError;

    fn try_from(strike: wire::Strike) -> Result<Self, WireError> {
        Ok(Self {
            rule: parsed("rule", &strike.rule)?,
            opened: time("opened", strike.opened)?,
            closed: strike.closed.map(|closed| time("closed", Some(closed))).transpose()?,
            number: strike.number,
        })
    }
}

impl From<&TenantStanding> for wire::Standing {
    fn from(standing: &TenantStanding) -> Self {
        Self {
            tenant: standing.tenant.to_string(),
            strikes: standing.strikes.iter().take(TenantStanding::MAX_STRIKES).map(Into::into).collect(),
            decisions: standing
                .decisions
                .iter()
                .take(TenantStanding::MAX_DECISIONS)
                .map(Into::into)
                .collect(),
        }
    }
}

impl TryFrom<wire::Standing> for TenantStanding {
    type Error = WireError;

    fn try_from(standing: wire::Standing) -> Result<Self, WireError> {
        let strike = StrikeElsewhere::try_from;
        Ok(Self {
            tenant: parsed("tenant", &standing.tenant)?,
            strikes: list("strikes", standing.strikes, Self::MAX_STRIKES, strike)?,
            decisions: list("decisions", standing.decisions, Self::MAX_DECISIONS, Decision::try_from)?,
        })
    }
}
