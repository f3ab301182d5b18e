//! Messages by hand; the live listener is tried in `tests/capture.rs`, in a namespace of its own.

use proptest::prelude::*;

use super::message::{Message, messages};
use super::*;

/// A message about interface 7 with a name.
fn about(kind: u16, family: u8, name: &[u8]) -> Vec<u8> {
    let mut body = vec![family, 0];
    body.extend(1_u16.to_ne_bytes());
    // Up, and so is what is below it.
    for number in [7_u32, 0x1_0001, 0] {
        body.extend(number.to_ne_bytes());
    }
    body.extend((4 + name.len() as u16).to_ne_bytes());
    body.extend(3_u16.to_ne_bytes());
    body.extend(name);
    body.resize(body.len().next_multiple_of(4), 0);
    let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend([0; 10]);
    message.extend(body);
    message
}

#[test]
fn interfaces_are_read() {
    let link = Link {
        index: 7,
        name: "tap0".into(),
        up: true,
        carrier: true,
        mac: None,
        hardware: Hardware::Ethernet,
    };
    let told: Vec<Message> = messages(&[about(16, 0, b"tap0\0"), about(17, 0, b"tap0\0")].concat()).collect();
    assert_eq!(told, [Message::New(link), Message::Gone { index: 7 }]);
}

#[test]
fn leaving_a_bridge_is_not_going_away() {
    assert_eq!(messages(&about(17, 7, b"tap0\0")).collect::<Vec<_>>(), [Message::Other]);
}

proptest! {
    #[test]
    fn rubbish_does_no_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..120), len in 0_u32..130) {
        if bytes.len() >= 4 {
            bytes[..4].copy_from_slice(&len.to_ne_bytes());
        }
        messages(&bytes).for_each(drop);
    }
}
