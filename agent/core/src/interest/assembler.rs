//! A small assembler for classic BPF: named places instead of counted jumps.
//!
//! The instruction set is that of McCanne and Jacobson, "The BSD Packet Filter" (1993), with Linux's extensions
//! (`Documentation/networking/filter.rst`). Only what the interest filter needs is here. All jumps go forward,
//! as the kernel demands.

use std::num::NonZeroU32;

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Class, size, mode and operation.
    pub code: u16,
    /// How many instructions to skip if the comparison holds.
    pub jt: u8,
    /// How many to skip if it does not.
    pub jf: u8,
    /// The constant operand.
    pub k: u32,
}

// Instruction codes (include/uapi/linux/bpf_common.h and filter.h), already combined.
pub(super) const LD_W_LEN: u16 = 0x80;
pub(super) const LD_W_ABS: u16 = 0x20;
pub(super) const LD_H_ABS: u16 = 0x28;
pub(super) const LD_B_ABS: u16 = 0x30;
pub(super) const LD_H_IND: u16 = 0x48;
pub(super) const LD_B_IND: u16 = 0x50;
pub(super) const LD_W_IND: u16 = 0x40;
pub(super) const LD_MEM: u16 = 0x60;
pub(super) const LDX_IMM: u16 = 0x01;
pub(super) const ST: u16 = 0x02;
pub(super) const ALU_ADD_K: u16 = 0x04;
pub(super) const ALU_SUB_K: u16 = 0x14;
pub(super) const ALU_SUB_X: u16 = 0x1c;
pub(super) const ALU_AND_K: u16 = 0x54;
pub(super) const ALU_MOD_K: u16 = 0x94;
pub(super) const JMP_JA: u16 = 0x05;
pub(super) const JMP_JEQ_K: u16 = 0x15;
pub(super) const JMP_JGE_K: u16 = 0x35;
pub(super) const JMP_JSET_K: u16 = 0x45;
pub(super) const RET_K: u16 = 0x06;
pub(super) const TAX: u16 = 0x07;
pub(super) const TXA: u16 = 0x87;

/// `SKF_AD_OFF + SKF_AD_RANDOM`: a load from here yields a random word (Linux 3.16 and newer).
pub(super) const RANDOM_OFFSET: u32 = (-0x1000_i32 + 56) as u32;

/// A place in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// The instruction that follows.
    Next,
    /// The one behind it.
    AfterNext,
    /// Where the type behind so many VLAN tags is looked at.
    Tagged(u32),
    TooMany,
    Network,
    Tag,
    Ipv4(Base),
    Ipv4Length(Base),
    Ports4(Base),
    Keep4(Base),
    Ipv6(Base),
    Ipv6Length(Base),
    Ports6(Base),
    Keep6(Base),
    /// One of many that need no name.
    Fresh(u32),
}

/// Where a header begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// That many bytes from the frame's first.
    At(u32),
    /// Where X says.
    X,
}

/// What is loaded into the accumulator. Offsets are bytes from the frame's first, or from a header's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    Half(u32),
    Byte(Base, u32),
    HalfFrom(Base, u32),
    /// A word that begins so many bytes before.
    WordBefore(Base, u32),
    FrameLen,
    Random,
    Scratch(u32),
}

/// An instruction whose jumps are still names.
#[derive(Clone, Copy, Debug)]
struct Draft {
    code: u16,
    k: u32,
    yes: Label,
    no: Label,
}

/// Collects instructions and places.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    drafts: Vec<Draft>,
    places: Vec<(Label, usize)>,
    fresh: u32,
}

impl Assembler {
    fn push(&mut self, code: u16, k: u32) {
        self.branch(code, k, Label::Next, Label::Next);
    }

    fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) {
        self.drafts.push(Draft { code, k, yes, no });
    }

    /// A label that no other has.
    pub fn fresh_label(&mut self) -> Label {
        self.fresh += 1;
        Label::Fresh(self.fresh)
    }

    /// Names the place of the next instruction.
    pub fn mark(&mut self, label: Label) {
        self.places.push((label, self.drafts.len()));
    }

    pub fn load(&mut self, load: Load) {
        match load {
            Load::Half(offset) => self.push(LD_H_ABS, offset),
            Load::Byte(Base::At(base), offset) => self.push(LD_B_ABS, base + offset),
            Load::Byte(Base::X, offset) => self.push(LD_B_IND, offset),
            Load::HalfFrom(Base::At(base), offset) => self.push(LD_H_ABS, base + offset),
            Load::HalfFrom(Base::X, offset) => self.push(LD_H_IND, offset),
            Load::WordBefore(Base::At(base), distance) => self.push(LD_W_ABS, base - distance),
            // The kernel adds a signed number to X.
            Load::WordBefore(Base::X, distance) => self.push(LD_W_IND, 0_u32.wrapping_sub(distance)),
            Load::FrameLen => self.push(LD_W_LEN, 0),
            Load::Random => self.push(LD_W_ABS, RANDOM_OFFSET),
            Load::Scratch(cell) => self.push(LD_MEM, cell),
        }
    }

    pub fn load_x(&mut self, value: u32) {
        self.push(LDX_IMM, value);
    }

    pub fn store(&mut self, cell: u32) {
        self.push(ST, cell);
    }

    pub fn and(&mut self, mask: u32) {
        self.push(ALU_AND_K, mask);
    }

    pub fn subtract(&mut self, value: u32) {
        self.push(ALU_SUB_K, value);
    }

    pub fn subtract_x(&mut self) {
        self.push(ALU_SUB_X, 0);
    }

    /// Moves X on by `value`, at the cost of the accumulator.
    pub fn advance_x(&mut self, value: u32) {
        self.push(TXA, 0);
        self.push(ALU_ADD_K, value);
        self.push(TAX, 0);
    }

    pub fn modulo(&mut self, divisor: NonZeroU32) {
        self.push(ALU_MOD_K, divisor.get());
    }

    pub fn when_equal(&mut self, value: u32, yes: Label, no: Label) {
        self.branch(JMP_JEQ_K, value, yes, no);
    }

    pub fn when_at_least(&mut self, value: u32, yes: Label, no: Label) {
        self.branch(JMP_JGE_K, value, yes, no);
    }

    pub fn when_any(&mut self, mask: u32, yes: Label, no: Label) {
        self.branch(JMP_JSET_K, mask, yes, no);
    }

    pub fn jump(&mut self, to: Label) {
        self.branch(JMP_JA, 0, to, to);
    }

    pub fn ret(&mut self, value: u32) {
        self.push(RET_K, value);
    }

    /// Returns `value` if the accumulator equals `other`, and goes on if not.
    pub fn ret_when_equal(&mut self, other: u32, value: u32) {
        self.branch(JMP_JEQ_K, other, Label::Next, Label::AfterNext);
        self.ret(value);
    }

    /// The instructions with all names resolved.
    pub fn assemble(self) -> Vec<Instruction> {
        let place = |label: Label| {
            let found = self.places.iter().find(|(name, _)| *name == label);
            found.expect("every label that is jumped to is marked").1
        };
        let resolve = |here: usize, draft: &Draft| {
            let distance = |label: Label| match label {
                Label::Next => 0,
                Label::AfterNext => 1,
                label => place(label).checked_sub(here + 1).expect("every jump goes forward"),
            };
            let short = |label| u8::try_from(distance(label)).expect("the fixed part is shorter than 255");
            match draft.code {
                JMP_JA => {
                    let k = u32::try_from(distance(draft.yes)).expect("a program is shorter than 4 Gi");
                    Instruction { code: JMP_JA, jt: 0, jf: 0, k }
                }
                code => Instruction { code, jt: short(draft.yes), jf: short(draft.no), k: draft.k },
            }
        };
        self.drafts.iter().enumerate().map(|(here, draft)| resolve(here, draft)).collect()
    }
}
