//! The rules of the walled garden.

use std::net::SocketAddr;

use nftnl_sys as sys;
use reeve_core::ruleset::garden::{HTTP_PORT, LED_BURST, LED_PER_SECOND, PACKETS_BURST, PACKETS_PER_SECOND};
use reeve_core::ruleset::{Family, Field, GardenRule, Verdict, Version};

use super::object::{self, Expression};
use super::print::{
    CMP_EQ, PROTOCOL_TCP, REGISTER, TRANSPORT_HEADER, compare, limit_expression, octets, payload, push_key,
    push_protocol, push_version, verdict_expression,
};

/// `NFT_NAT_DNAT` and `NF_NAT_RANGE_PROTO_SPECIFIED` (linux/netfilter/nf_tables.h, nf_nat.h).
const DNAT: u32 = 1;
const HAS_PORT: u32 = 2;

pub(super) fn push_rule(object: &mut object::Rule, rule: GardenRule, family: Family) {
    let version = rule.version();
    match rule {
        GardenRule::Lead(to) => {
            push_version(object, version, family);
            push_protocol(object, PROTOCOL_TCP);
            object.push(payload(TRANSPORT_HEADER, 2, 2, REGISTER));
            object.push(compare(CMP_EQ, &HTTP_PORT.to_be_bytes()));
            object.push(limit_expression(LED_PER_SECOND, LED_BURST));
            push_translation(object, to);
        }
        GardenRule::Enter(to) => {
            push_place(object, (Field::Destination(version), 2), to, family);
            object.push(limit_expression(PACKETS_PER_SECOND, PACKETS_BURST));
            object.push(verdict_expression(Verdict::Accept));
        }
        GardenRule::Answer(from) => {
            push_place(object, (Field::Source(version), 0), from, family);
            object.push(verdict_expression(Verdict::Return));
        }
    }
}

/// Asks for an address and TCP port; the latter stands so far in the header.
fn push_place(object: &mut object::Rule, (address, offset): (Field, u32), place: SocketAddr, family: Family) {
    push_key(object, &[address], family, true);
    object.push(compare(CMP_EQ, &octets(place.ip())));
    push_protocol(object, PROTOCOL_TCP);
    object.push(payload(TRANSPORT_HEADER, offset, 2, REGISTER));
    object.push(compare(CMP_EQ, &place.port().to_be_bytes()));
}

fn push_translation(object: &mut object::Rule, to: SocketAddr) {
    let (version, protocol) = match to {
        SocketAddr::V4(_) => (Version::V4, libc::NFPROTO_IPV4),
        SocketAddr::V6(_) => (Version::V6, libc::NFPROTO_IPV6),
    };
    let port_register = REGISTER + if version == Version::V4 { 1 } else { 4 };
    let immediate = |register: u32, data: &[u8]| {
        Expression::new(c"immediate")
            .number(sys::NFTNL_EXPR_IMM_DREG, register)
            .data(sys::NFTNL_EXPR_IMM_DATA, data)
    };
    object.push(immediate(REGISTER, &octets(to.ip())));
    object.push(immediate(port_register, &to.port().to_be_bytes()));
    object.push(
        Expression::new(c"nat")
            .number(sys::NFTNL_EXPR_NAT_TYPE, DNAT)
            .number(sys::NFTNL_EXPR_NAT_FAMILY, protocol as u32)
            .number(sys::NFTNL_EXPR_NAT_REG_ADDR_MIN, REGISTER)
            .number(sys::NFTNL_EXPR_NAT_REG_PROTO_MIN, port_register)
            .number(sys::NFTNL_EXPR_NAT_FLAGS, HAS_PORT),
    );
}
