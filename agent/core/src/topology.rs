//! Placeholder: whose is a packet.
