//! Sets and their members.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

use nftnl_sys as sys;

use super::{Expression, Head, Received, Scratch, Set, c_string};

/// A member of a set as it goes to or comes from the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// The key, or the first one of a range; fields padded to four bytes each.
    pub key: Vec<u8>,
    /// The last key of a range, in sets with several fields.
    pub key_end: Option<Vec<u8>>,
    /// Whether the key is the first one behind a range, in sets with one field (`NFT_SET_ELEM_INTERVAL_END`).
    pub ends_range: bool,
    /// How long it is to stand, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// How long it still stands, in milliseconds; only read.
    pub expires_ms: Option<u64>,
    /// Packets and bytes that met it; only read.
    pub counters: Option<(u64, u64)>,
    /// What it leads to, in a map.
    pub data: Option<Vec<u8>>,
    /// The named object that it leads to.
    pub object: Option<String>,
}

impl Set {
    /// Sets a text.
    pub fn text(&mut self, attribute: u32, text: &str) {
        let text = c_string(text);
        // SAFETY: the string is copied.
        unsafe { sys::nftnl_set_set_str(self.0.as_ptr(), attribute as u16, text.as_ptr()) };
    }

    /// Sets a number.
    pub fn number(&mut self, attribute: u32, number: u32) {
        // SAFETY: the number is copied.
        unsafe { sys::nftnl_set_set_u32(self.0.as_ptr(), attribute as u16, number) };
    }

    /// Sets bytes.
    pub fn data(&mut self, attribute: u32, data: &[u8]) {
        // SAFETY: the bytes are copied; the length is theirs.
        unsafe {
            let len = data.len() as u32;
            sys::nftnl_set_set_data(self.0.as_ptr(), attribute as u16, data.as_ptr().cast::<c_void>(), len);
        }
    }

    /// Gives every member an expression of this kind.
    pub fn each(&mut self, expression: Expression) {
        // SAFETY: the set owns the expression from now on.
        unsafe { sys::nftnl_set_add_expr(self.0.as_ptr(), expression.give()) };
    }

    /// Adds a member.
    pub fn push(&mut self, member: &Member) {
        // SAFETY: every value is copied into the element, which the set owns from the last line on.
        unsafe {
            let element = sys::nftnl_set_elem_alloc();
            let element =
                NonNull::new(element).expect("libnftnl returns null only when memory is exhausted").as_ptr();
            let data = |attribute: u32, data: &[u8]| {
                sys::nftnl_set_elem_set(element, attribute as u16, data.as_ptr().cast(), data.len() as u32);
            };
            data(sys::NFTNL_SET_ELEM_KEY, &member.key);
            if let Some(end) = &member.key_end {
                data(sys::NFTNL_SET_ELEM_KEY_END, end);
            }
            if member.ends_range {
                let flag = libc::NFT_SET_ELEM_INTERVAL_END as u32;
                sys::nftnl_set_elem_set_u32(element, sys::NFTNL_SET_ELEM_FLAGS as u16, flag);
            }
            if let Some(value) = &member.data {
                data(sys::NFTNL_SET_ELEM_DATA, value);
            }
            if let Some(object) = &member.object {
                let name = c_string(object);
                sys::nftnl_set_elem_set_str(element, sys::NFTNL_SET_ELEM_OBJREF as u16, name.as_ptr());
            }
            if let Some(timeout) = member.timeout_ms {
                sys::nftnl_set_elem_set_u64(element, sys::NFTNL_SET_ELEM_TIMEOUT as u16, timeout);
            }
            sys::nftnl_set_elem_add(self.0.as_ptr(), element);
        }
    }

    /// Writes a message about the set itself.
    pub fn write(&self, scratch: &mut Scratch, head: Head, out: &mut Vec<u8>) {
        // SAFETY: the header is one that `write` just made, with room behind it.
        scratch.write(head, out, |header| unsafe {
            sys::nftnl_set_nlmsg_build_payload(header.cast(), self.0.as_ptr());
        });
    }

    /// Writes a message about which set is meant, for a listing of its members.
    pub fn write_request(&self, scratch: &mut Scratch, head: Head, out: &mut Vec<u8>) {
        // SAFETY: the header is one that `write` just made, with room behind it.
        scratch.write(head, out, |header| unsafe {
            sys::nftnl_set_elems_nlmsg_build_payload(header.cast(), self.0.as_ptr());
        });
    }

    /// Writes messages about its members, as many as they need; `next` numbers them.
    pub fn write_members(&self, scratch: &mut Scratch, mut next: impl FnMut() -> Head, out: &mut Vec<u8>) {
        // SAFETY: the iterator lives within this function and the set outlives it. libnftnl ends a message before its
        // list outgrows 64 KiB, for which the scratch has room.
        unsafe {
            let iterator = sys::nftnl_set_elems_iter_create(self.0.as_ptr());
            let mut more = !iterator.is_null();
            while more {
                scratch.write(next(), out, |header| {
                    more = sys::nftnl_set_elems_nlmsg_build_payload_iter(header.cast(), iterator) > 0;
                });
            }
            if !iterator.is_null() {
                sys::nftnl_set_elems_iter_destroy(iterator);
            }
        }
    }

    /// Reads the set itself from a message: its table, and its name and kind as text.
    pub fn describe(message: &Received) -> Option<(String, String)> {
        let set = Self::default();
        // SAFETY: the message is whole and aligned; what is read is copied into the set.
        unsafe {
            if sys::nftnl_set_nlmsg_parse(message.header().cast(), set.0.as_ptr()) < 0 {
                return None;
            }
            let text = |attribute: u32| {
                let text = sys::nftnl_set_get_str(set.0.as_ptr(), attribute as u16);
                if text.is_null() {
                    String::new()
                } else {
                    CStr::from_ptr(text).to_string_lossy().into_owned()
                }
            };
            let number = |attribute: u32| sys::nftnl_set_get_u32(set.0.as_ptr(), attribute as u16);
            let (flags, key_len) = (number(sys::NFTNL_SET_FLAGS), number(sys::NFTNL_SET_KEY_LEN));
            let (name, size) = (text(sys::NFTNL_SET_NAME), number(sys::NFTNL_SET_DESC_SIZE));
            Some((
                text(sys::NFTNL_SET_TABLE),
                format!("set {name} flags {flags:#x} key {key_len} size {size}"),
            ))
        }
    }

    /// Reads members from a message and appends them to `members`.
    pub fn read_members(message: &Received, members: &mut Vec<Member>) -> bool {
        let set = Self::default();
        // SAFETY: the message is whole and aligned; what is read is copied into the set, which outlives the iterator.
        unsafe {
            if sys::nftnl_set_elems_nlmsg_parse(message.header().cast(), set.0.as_ptr()) < 0 {
                return false;
            }
            let iterator = sys::nftnl_set_elems_iter_create(set.0.as_ptr());
            if iterator.is_null() {
                return false;
            }
            loop {
                let element = sys::nftnl_set_elems_iter_next(iterator);
                if element.is_null() {
                    break;
                }
                members.push(read_member(element));
            }
            sys::nftnl_set_elems_iter_destroy(iterator);
        }
        true
    }
}

/// Copies what is known of an element.
///
/// # Safety
/// `element` is one of libnftnl's that lives for as long as the call.
unsafe fn read_member(element: *mut sys::nftnl_set_elem) -> Member {
    // SAFETY: each getter is asked only for what is set, and returns a place within the element with its length.
    unsafe {
        let is_set = |attribute: u32| sys::nftnl_set_elem_is_set(element, attribute as u16);
        let data = |attribute: u32| {
            let mut len = 0_u32;
            let start = sys::nftnl_set_elem_get(element, attribute as u16, &raw mut len).cast::<u8>();
            if start.is_null() {
                Vec::new()
            } else {
                std::slice::from_raw_parts(start, len as usize).to_vec()
            }
        };
        let long = |attribute: u32| {
            is_set(attribute).then(|| sys::nftnl_set_elem_get_u64(element, attribute as u16))
        };
        let flags = if is_set(sys::NFTNL_SET_ELEM_FLAGS) {
            sys::nftnl_set_elem_get_u32(element, sys::NFTNL_SET_ELEM_FLAGS as u16)
        } else {
            0
        };
        let counters = is_set(sys::NFTNL_SET_ELEM_EXPR).then(|| {
            let mut len = 0_u32;
            let counter = sys::nftnl_set_elem_get(element, sys::NFTNL_SET_ELEM_EXPR as u16, &raw mut len);
            let counter = counter.cast::<sys::nftnl_expr>();
            if counter.is_null() {
                return (0, 0);
            }
            let packets = sys::nftnl_expr_get_u64(counter, sys::NFTNL_EXPR_CTR_PACKETS as u16);
            (packets, sys::nftnl_expr_get_u64(counter, sys::NFTNL_EXPR_CTR_BYTES as u16))
        });
        let object = is_set(sys::NFTNL_SET_ELEM_OBJREF).then(|| {
            let name = sys::nftnl_set_elem_get_str(element, sys::NFTNL_SET_ELEM_OBJREF as u16);
            if name.is_null() { String::new() } else { CStr::from_ptr(name).to_string_lossy().into_owned() }
        });
        Member {
            object,
            data: is_set(sys::NFTNL_SET_ELEM_DATA).then(|| data(sys::NFTNL_SET_ELEM_DATA)),
            key: data(sys::NFTNL_SET_ELEM_KEY),
            key_end: is_set(sys::NFTNL_SET_ELEM_KEY_END).then(|| data(sys::NFTNL_SET_ELEM_KEY_END)),
            ends_range: flags & libc::NFT_SET_ELEM_INTERVAL_END as u32 != 0,
            timeout_ms: long(sys::NFTNL_SET_ELEM_TIMEOUT),
            expires_ms: long(sys::NFTNL_SET_ELEM_EXPIRATION),
            counters,
        }
    }
}
