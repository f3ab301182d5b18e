//! libnftnl's objects, owned: made, filled, written as messages, read from messages, freed.
//!
//! This is one of the two modules of the agent with `unsafe` in it. Each wrapper owns one object of the C library; an
//! expression that is added to a rule or set, and an element that is added to a set, belong to it from then on. Nothing
//! here knows what the objects are for.

#![allow(unsafe_code)]

mod set;

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::NonNull;

use nftnl_sys as sys;

pub use set::Member;

/// Longer than any message: an element list ends before its attribute outgrows 16 bits of length.
const SCRATCH_WORDS: usize = 16 * 1024 + 4 * 1024;

/// Where messages are written, aligned as netlink demands.
#[derive(Debug)]
pub struct Scratch(Vec<u64>);

impl Default for Scratch {
    fn default() -> Self {
        Self(vec![0; SCRATCH_WORDS])
    }
}

/// The type, flags, number and family of a message.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// `NFT_MSG_*`.
    pub kind: i32,
    /// `NLM_F_*`, beside `NLM_F_REQUEST`.
    pub flags: i32,
    /// Sequence number.
    pub sequence: u32,
    /// `NFPROTO_*`.
    pub family: u16,
}

/// `NFPROTO_INET`.
pub const INET: u16 = 1;
/// `NFPROTO_BRIDGE`.
pub const BRIDGE: u16 = 7;
/// `NFPROTO_UNSPEC`.
pub const UNSPEC: u16 = 0;

impl Scratch {
    fn start(&mut self) -> *mut c_char {
        self.0.as_mut_ptr().cast()
    }

    /// Appends the message that begins the scratch to `out`, padded to four bytes.
    fn take(&self, out: &mut Vec<u8>) {
        // SAFETY: the words are initialised and a byte has no invalid value; the length is that of the allocation.
        let bytes = unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast::<u8>(), self.0.len() * 8) };
        // The first field of a message is its length (struct nlmsghdr).
        let len = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        out.extend_from_slice(&bytes[..len.min(bytes.len())]);
        out.resize(out.len().next_multiple_of(4), 0);
    }

    /// Writes a message with `fill` adding what follows the header.
    fn write(&mut self, head: Head, out: &mut Vec<u8>, fill: impl FnOnce(*mut libc::nlmsghdr)) {
        let (kind, flags) = (head.kind as u16, head.flags as u16);
        // SAFETY: the scratch is longer than header and any payload that libnftnl writes here, and is aligned to 8.
        let header =
            unsafe { sys::nftnl_nlmsg_build_hdr(self.start(), kind, head.family, flags, head.sequence) };
        fill(header.cast());
        self.take(out);
    }

    /// Writes a message without a payload.
    pub fn bare(&mut self, head: Head, out: &mut Vec<u8>) {
        self.write(head, out, |_| {});
    }

    /// Writes the message that begins a batch.
    pub fn begin(&mut self, sequence: u32, out: &mut Vec<u8>) {
        // SAFETY: as in `write`.
        unsafe { sys::nftnl_batch_begin(self.start(), sequence) };
        self.take(out);
    }

    /// Writes the message that ends a batch.
    pub fn end(&mut self, sequence: u32, out: &mut Vec<u8>) {
        // SAFETY: as in `write`.
        unsafe { sys::nftnl_batch_end(self.start(), sequence) };
        self.take(out);
    }
}

/// A received message, aligned.
#[derive(Debug, Default)]
pub struct Received(Vec<u32>);

impl Received {
    /// Copies a whole message, header included, to where it is aligned.
    pub fn load(&mut self, message: &[u8]) {
        self.0.clear();
        self.0.extend(message.chunks(4).map(|chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            u32::from_ne_bytes(word)
        }));
    }

    fn header(&self) -> *const libc::nlmsghdr {
        self.0.as_ptr().cast()
    }
}

/// For names that were checked when they were read: they hold no NUL.
fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

macro_rules! owned {
    ($(#[$doc:meta])* $name:ident, $type:ident, $alloc:ident, $free:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(NonNull<sys::$type>);

        impl Default for $name {
            fn default() -> Self {
                // SAFETY: the call has no preconditions.
                let object = unsafe { sys::$alloc() };
                Self(NonNull::new(object).expect("libnftnl returns null only when memory is exhausted"))
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: the object is owned and not used after this.
                unsafe { sys::$free(self.0.as_ptr()) };
            }
        }
    };
}

owned!(
    /// A table.
    Table, nftnl_table, nftnl_table_alloc, nftnl_table_free
);
owned!(
    /// A chain.
    Chain, nftnl_chain, nftnl_chain_alloc, nftnl_chain_free
);
owned!(
    /// A rule.
    Rule, nftnl_rule, nftnl_rule_alloc, nftnl_rule_free
);
owned!(
    /// A named object; a limit, here.
    Limit, nftnl_obj, nftnl_obj_alloc, nftnl_obj_free
);
owned!(
    /// A set, with elements perhaps.
    Set, nftnl_set, nftnl_set_alloc, nftnl_set_free
);

impl Table {
    /// Names it.
    pub fn name(&mut self, name: &str) {
        let name = c_string(name);
        // SAFETY: the string is copied.
        unsafe { sys::nftnl_table_set_str(self.0.as_ptr(), sys::NFTNL_TABLE_NAME as u16, name.as_ptr()) };
    }

    /// Gives it flags.
    pub fn flags(&mut self, flags: u32) {
        // SAFETY: the number is copied.
        unsafe { sys::nftnl_table_set_u32(self.0.as_ptr(), sys::NFTNL_TABLE_FLAGS as u16, flags) };
    }

    /// Reads it from a message: its name, its flags, and the netlink port of its owner.
    pub fn read(message: &Received) -> Option<(String, u32, Option<u32>)> {
        let table = Self::default();
        // SAFETY: the message is whole and aligned; what is read is copied into the table.
        unsafe {
            if sys::nftnl_table_nlmsg_parse(message.header().cast(), table.0.as_ptr()) < 0 {
                return None;
            }
            let name = sys::nftnl_table_get_str(table.0.as_ptr(), sys::NFTNL_TABLE_NAME as u16);
            let is_set = |attribute: u32| sys::nftnl_table_is_set(table.0.as_ptr(), attribute as u16);
            let number = |attribute: u32| sys::nftnl_table_get_u32(table.0.as_ptr(), attribute as u16);
            if name.is_null() {
                return None;
            }
            let owner = is_set(sys::NFTNL_TABLE_OWNER).then(|| number(sys::NFTNL_TABLE_OWNER));
            let flags = if is_set(sys::NFTNL_TABLE_FLAGS) { number(sys::NFTNL_TABLE_FLAGS) } else { 0 };
            Some((CStr::from_ptr(name).to_string_lossy().into_owned(), flags, owner))
        }
    }

    /// Writes a message about it.
    pub fn write(&self, scratch: &mut Scratch, head: Head, out: &mut Vec<u8>) {
        // SAFETY: the header is one that `write` just made, with room behind it.
        scratch.write(head, out, |header| unsafe {
            sys::nftnl_table_nlmsg_build_payload(header.cast(), self.0.as_ptr());
        });
    }
}

impl Chain {
    /// Sets a text.
    pub fn text(&mut self, attribute: u32, text: &str) {
        let text = c_string(text);
        // SAFETY: the string is copied.
        unsafe { sys::nftnl_chain_set_str(self.0.as_ptr(), attribute as u16, text.as_ptr()) };
    }

    /// Sets a number.
    pub fn number(&mut self, attribute: u32, number: i32) {
        // SAFETY: the number is copied; hook numbers, priorities and policies all have 32 bits.
        unsafe { sys::nftnl_chain_set_s32(self.0.as_ptr(), attribute as u16, number) };
    }

    /// Writes a message about it.
    pub fn write(&self, scratch: &mut Scratch, head: Head, out: &mut Vec<u8>) {
        // SAFETY: the header is one that `write` just made, with room behind it.
        scratch.write(head, out, |header| unsafe {
            sys::nftnl_chain_nlmsg_build_payload(header.cast(), self.0.as_ptr());
        });
    }

    /// Reads it from a message, as a line of text without what changes from run to run.
    pub fn describe(message: &Received) -> Option<(String, String)> {
        let chain = Self::default();
        // SAFETY: the message is whole and aligned; what is read is copied into the chain.
        unsafe {
            if sys::nftnl_chain_nlmsg_parse(message.header().cast(), chain.0.as_ptr()) < 0 {
                return None;
            }
            let text = |attribute: u32| {
                let text = sys::nftnl_chain_get_str(chain.0.as_ptr(), attribute as u16);
                if text.is_null() {
                    String::new()
                } else {
                    CStr::from_ptr(text).to_string_lossy().into_owned()
                }
            };
            let number = |attribute: u32| sys::nftnl_chain_get_s32(chain.0.as_ptr(), attribute as u16);
            let based = sys::nftnl_chain_is_set(chain.0.as_ptr(), sys::NFTNL_CHAIN_HOOKNUM as u16);
            let hook = if based {
                let (hook, priority) = (number(sys::NFTNL_CHAIN_HOOKNUM), number(sys::NFTNL_CHAIN_PRIO));
                format!(" hook {hook} priority {priority} policy {}", number(sys::NFTNL_CHAIN_POLICY))
            } else {
                String::new()
            };
            let name = text(sys::NFTNL_CHAIN_NAME);
            Some((text(sys::NFTNL_CHAIN_TABLE), format!("chain {name}{hook}")))
        }
    }
}

impl Limit {
    /// Sets a text.
    pub fn text(&mut self, attribute: u32, text: &str) {
        let text = c_string(text);
        // SAFETY: the string is copied.
        unsafe { sys::nftnl_obj_set_str(self.0.as_ptr(), attribute as u16, text.as_ptr()) };
    }

    /// Sets a number of 32 bits.
    pub fn number(&mut self, attribute: u32, number: u32) {
        // SAFETY: the number is copied.
        unsafe { sys::nftnl_obj_set_u32(self.0.as_ptr(), attribute as u16, number) };
    }

    /// Sets a number of 64 bits.
    pub fn long(&mut self, attribute: u32, number: u64) {
        // SAFETY: the number is copied.
        unsafe { sys::nftnl_obj_set_u64(self.0.as_ptr(), attribute as u16, number) };
    }

    /// Writes a message about it.
    pub fn write(&self, scratch: &mut Scratch, head: Head, out: &mut Vec<u8>) {
        // SAFETY: the header is one that `write` just made, with room behind it.
        scratch.write(head, out, |header| unsafe {
            sys::nftnl_obj_nlmsg_build_payload(header.cast(), self.0.as_ptr());
        });
    }

    /// Reads an object from a message: its table and its name.
    pub fn read(message: &Received) -> Option<(String, String)> {
        let object = Self::default();
        // SAFETY: the message is whole and aligned; what is read is copied into the object.
        unsafe {
            if sys::nftnl_obj_nlmsg_parse(message.header().cast(), object.0.as_ptr()) < 0 {
                return None;
            }
            let text = |attribute: u32| {
                let text = sys::nftnl_obj_get_str(object.0.as_ptr(), attribute as u16);
                (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
            };
            Some((text(sys::NFTNL_OBJ_TABLE)?, text(sys::NFTNL_OBJ_NAME)?))
        }
    }
}

impl Rule {
    /// Sets a text.
    pub fn text(&mut self, attribute: u32, text: &str) {
        let text = c_string(text);
        // SAFETY: the string is copied.
        unsafe { sys::nftnl_rule_set_str(self.0.as_ptr(), attribute as u16, text.as_ptr()) };
    }

    /// Sets a number.
    pub fn number(&mut self, attribute: u32, number: u32) {
        // SAFETY: the number is copied.
        unsafe { sys::nftnl_rule_set_u32(self.0.as_ptr(), attribute as u16, number) };
    }

    /// Appends an expression.
    pub fn push(&mut self, expression: Expression) {
        // SAFETY: the rule owns the expression from now on.
        unsafe { sys::nftnl_rule_add_expr(self.0.as_ptr(), expression.give()) };
    }

    /// Writes a message about it.
    pub fn write(&self, scratch: &mut Scratch, head: Head, out: &mut Vec<u8>) {
        // SAFETY: the header is one that `write` just made, with room behind it.
        scratch.write(head, out, |header| unsafe {
            sys::nftnl_rule_nlmsg_build_payload(header.cast(), self.0.as_ptr());
        });
    }

    /// Reads it from a message: its table, and its chain and expressions as text.
    pub fn describe(message: &Received) -> Option<(String, String)> {
        let rule = Self::default();
        let mut buffer = vec![0_u8; 4_096];
        // SAFETY: the message is whole and aligned; the text is written within the buffer and ends with NUL.
        unsafe {
            if sys::nftnl_rule_nlmsg_parse(message.header().cast(), rule.0.as_ptr()) < 0 {
                return None;
            }
            let text = |attribute: u32| {
                let text = sys::nftnl_rule_get_str(rule.0.as_ptr(), attribute as u16);
                if text.is_null() {
                    String::new()
                } else {
                    CStr::from_ptr(text).to_string_lossy().into_owned()
                }
            };
            let (table, chain) = (text(sys::NFTNL_RULE_TABLE), text(sys::NFTNL_RULE_CHAIN));
            sys::nftnl_rule_snprintf(buffer.as_mut_ptr().cast(), buffer.len(), rule.0.as_ptr(), 0, 0);
            let all = CStr::from_bytes_until_nul(&buffer).ok()?.to_string_lossy().into_owned();
            // The first line holds the handle, which is another one each time.
            let expressions = all.split_once('\n').map_or("", |(_, rest)| rest);
            Some((table, format!("rule in {chain}:\n{}", expressions.trim_end())))
        }
    }
}

/// An expression of a rule or set.
#[derive(Debug)]
pub struct Expression(NonNull<sys::nftnl_expr>);

impl Expression {
    /// By its name in the kernel: `meta`, `payload`, `lookup` ...
    pub fn new(name: &CStr) -> Self {
        // SAFETY: the string ends with NUL and is only read.
        let object = unsafe { sys::nftnl_expr_alloc(name.as_ptr()) };
        Self(NonNull::new(object).expect("libnftnl knows the expressions that are used here"))
    }

    /// Sets a number of 32 bits.
    #[must_use]
    pub fn number(self, attribute: u32, number: u32) -> Self {
        // SAFETY: the number is copied.
        unsafe { sys::nftnl_expr_set_u32(self.0.as_ptr(), attribute as u16, number) };
        self
    }

    /// Sets a number of 64 bits.
    #[must_use]
    pub fn long(self, attribute: u32, number: u64) -> Self {
        // SAFETY: the number is copied.
        unsafe { sys::nftnl_expr_set_u64(self.0.as_ptr(), attribute as u16, number) };
        self
    }

    /// Sets a number of 16 bits.
    #[must_use]
    pub fn short(self, attribute: u32, number: u16) -> Self {
        // SAFETY: the number is copied.
        unsafe { sys::nftnl_expr_set_u16(self.0.as_ptr(), attribute as u16, number) };
        self
    }

    /// Sets a number of 8 bits.
    #[must_use]
    pub fn byte(self, attribute: u32, number: u8) -> Self {
        // SAFETY: the number is copied.
        unsafe { sys::nftnl_expr_set_u8(self.0.as_ptr(), attribute as u16, number) };
        self
    }

    /// Sets a text.
    #[must_use]
    pub fn text(self, attribute: u32, text: &str) -> Self {
        let text = c_string(text);
        // SAFETY: the string is copied.
        unsafe { sys::nftnl_expr_set_str(self.0.as_ptr(), attribute as u16, text.as_ptr()) };
        self
    }

    /// Sets bytes.
    #[must_use]
    pub fn data(self, attribute: u32, data: &[u8]) -> Self {
        // SAFETY: the bytes are copied; the length is theirs.
        unsafe {
            let len = data.len() as u32;
            sys::nftnl_expr_set(self.0.as_ptr(), attribute as u16, data.as_ptr().cast::<c_void>(), len);
        }
        self
    }

    /// Puts another expression into it.
    #[must_use]
    pub fn inner(self, attribute: u32, expression: Self) -> Self {
        // SAFETY: this expression owns the other one from now on.
        unsafe { sys::nftnl_expr_add_expr(self.0.as_ptr(), attribute, expression.give()) };
        self
    }

    fn give(self) -> *mut sys::nftnl_expr {
        let object = self.0.as_ptr();
        std::mem::forget(self);
        object
    }
}

impl Drop for Expression {
    fn drop(&mut self) {
        // SAFETY: nobody took it over.
        unsafe { sys::nftnl_expr_free(self.0.as_ptr()) };
    }
}

/// Reads the number of a generation from a message.
pub fn generation(message: &Received) -> Option<u32> {
    // SAFETY: the message is whole and aligned; the object is owned here and freed before the end.
    unsafe {
        let object = NonNull::new(sys::nftnl_gen_alloc())?.as_ptr();
        let parsed = sys::nftnl_gen_nlmsg_parse(message.header().cast(), object) >= 0;
        let is_set = parsed && sys::nftnl_gen_is_set(object, sys::NFTNL_GEN_ID as u16);
        let number = is_set.then(|| sys::nftnl_gen_get_u32(object, sys::NFTNL_GEN_ID as u16));
        sys::nftnl_gen_free(object);
        number
    }
}
