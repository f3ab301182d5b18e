//! Columns and bodies: how values are laid down and read back.

use prost::Message;
use reeve_policy::{
    Alert, Decision, Exemption, Measure, Name, NodeEvent, NodeHealth, Notice, Order, RelayChecked, Tenant,
    Timestamp, Violation,
};
use reeve_proto::{WireError, agent, types};

use super::StoreError;

/// A point in time as SQLite's signed 64 bits; later than 2262 is 2262.
pub(super) fn nanos(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanos()).unwrap_or(i64::MAX)
}

/// A point in time read back.
pub(super) fn time(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// A count as SQLite's signed 64 bits; more is the most there is.
pub(super) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A count read back.
pub(super) fn uncount(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A spool's epoch: 64 random bits, whatever their sign.
pub(super) const fn epoch(value: u64) -> i64 {
    value.cast_signed()
}

/// A key read back.
pub(super) fn name(kind: &'static str, text: &str) -> Result<Name, StoreError> {
    text.parse().map_err(|error: reeve_policy::tenant::ParseNameError| StoreError::Body {
        kind,
        detail: error.to_string(),
    })
}

/// What is kept whole.
pub(super) trait Body: Sized {
    /// The message on disk.
    type Wire: Message + Default;
    /// What to call it in an error.
    const KIND: &'static str;
    /// To disk.
    fn to_wire(&self) -> Self::Wire;
    /// From disk.
    fn from_wire(wire: Self::Wire) -> Result<Self, WireError>;

    /// To disk.
    fn encode(&self) -> Vec<u8> {
        self.to_wire().encode_to_vec()
    }

    /// From disk.
    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let wire = Self::Wire::decode(bytes)
            .map_err(|error| StoreError::Body { kind: Self::KIND, detail: error.to_string() })?;
        Self::from_wire(wire).map_err(|error| StoreError::body(Self::KIND, &error))
    }
}

macro_rules! body {
    ($($domain:ty, $wire:ty, $kind:literal;)*) => {$(
        impl Body for $domain {
            type Wire = $wire;
            const KIND: &'static str = $kind;

            fn to_wire(&self) -> Self::Wire {
                self.into()
            }

            fn from_wire(wire: Self::Wire) -> Result<Self, WireError> {
                wire.try_into()
            }
        }
    )*};
}

body! {
    Tenant, types::v1::Tenant, "tenant";
    Violation, types::v1::Violation, "violation";
    Alert, types::v1::Alert, "alert";
    Decision, types::v1::Decision, "decision";
    Measure, types::v1::Measure, "measure";
    NodeHealth, agent::v1::NodeHealth, "health sample";
    Order, agent::v1::Order, "order";
    NodeEvent, types::v1::NodeEvent, "node event";
    RelayChecked, types::v1::RelayChecked, "answer of a mail server";
    Notice, types::v1::Notice, "notice";
    Exemption, types::v1::Exemption, "exemption";
}
