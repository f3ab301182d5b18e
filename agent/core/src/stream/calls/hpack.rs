//! The compression of HTTP/2's header fields (RFC 7541), as far as it takes to know whom a request is for.
//!
//! All fields are followed, since each may refer to those before; of their texts only those of `:method`, `:path` and
//! `:authority` are kept, and only their beginnings. A peer that wants a larger table than every client may use unasked cannot be
//! followed: then requests are counted and not told apart.

use std::collections::VecDeque;

/// The size of the table unless the server allows another (RFC 9113, section 6.5.2).
const TABLE_MAX: usize = 4_096;
/// What an entry costs beside its texts (RFC 7541, section 4.1).
const ENTRY_COST: usize = 32;
/// As much as is kept of a text.
const TEXT_MAX: usize = 261;
/// The entries that everybody has (RFC 7541, appendix A).
const STATIC_LEN: usize = 61;

/// A field that matters, by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Name {
    Authority,
    Method,
    Path,
    #[default]
    Other,
}

#[derive(Clone, Debug, Default)]
struct Field {
    name: Name,
    /// The length of its name.
    name_len: usize,
    /// Its value's length, and the beginning of that if it matters.
    value_len: usize,
    value: Box<[u8]>,
}

/// What a request says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub authority: Vec<u8>,
    pub path: Vec<u8>,
    pub method: Vec<u8>,
}

/// The client's table.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The newest first.
    entries: VecDeque<Field>,
    size: usize,
    limit: usize,
}

/// It cannot be followed any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Astray;

impl Default for Decoder {
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, limit: TABLE_MAX }
    }
}

impl Decoder {
    /// Reads a whole block of fields.
    pub fn read(&mut self, mut block: &[u8]) -> Result<Asked, Astray> {
        let mut asked = Asked::default();
        while let Some(first) = block.first().copied() {
            let field = match first {
                0x80.. => self.entry(integer(&mut block, 7)?)?,
                0x20..=0x3f => {
                    let limit = integer(&mut block, 5)?;
                    if limit > TABLE_MAX {
                        return Err(Astray);
                    }
                    self.limit = limit;
                    self.shrink(limit);
                    continue;
                }
                _ => {
                    let is_kept = first & 0x40 != 0;
                    let index = integer(&mut block, if is_kept { 6 } else { 4 })?;
                    let field = self.literal(index, &mut block)?;
                    if is_kept {
                        self.insert(field.clone());
                    }
                    field
                }
            };
            let place = match field.name {
                Name::Authority => &mut asked.authority,
                Name::Method => &mut asked.method,
                Name::Path => &mut asked.path,
                Name::Other => continue,
            };
            *place = field.value.into_vec();
        }
        Ok(asked)
    }

    fn literal(&self, index: usize, block: &mut &[u8]) -> Result<Field, Astray> {
        let (name, name_len) = if index == 0 {
            let (len, text) = string(block, TEXT_MAX)?;
            let name = match text.as_slice() {
                b":authority" => Name::Authority,
                b":method" => Name::Method,
                b":path" => Name::Path,
                _ => Name::Other,
            };
            (name, len)
        } else {
            let known = self.entry(index)?;
            (known.name, known.name_len)
        };
        let (value_len, value) = string(block, if name == Name::Other { 0 } else { TEXT_MAX })?;
        Ok(Field { name, name_len, value_len, value: value.into() })
    }

    fn entry(&self, index: usize) -> Result<Field, Astray> {
        match index {
            0 => Err(Astray),
            1..=STATIC_LEN => Ok(fixed(index)),
            _ => self.entries.get(index - STATIC_LEN - 1).cloned().ok_or(Astray),
        }
    }

    fn insert(&mut self, field: Field) {
        let cost = field.cost();
        self.shrink(self.limit.saturating_sub(cost));
        if cost <= self.limit {
            self.size += cost;
            self.entries.push_front(field);
        }
    }

    fn shrink(&mut self, to: usize) {
        while self.size > to {
            let Some(gone) = self.entries.pop_back() else { break };
            self.size -= gone.cost();
        }
    }
}

impl Field {
    fn cost(&self) -> usize {
        self.name_len.saturating_add(self.value_len).saturating_add(ENTRY_COST)
    }
}

/// An entry of the table that everybody has.
fn fixed(index: usize) -> Field {
    /// The lengths of the names, from the first on.
    const NAMES: [u8; STATIC_LEN] = [
        10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14, 16,
        13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10,
        4, 3, 16,
    ];
    let (name, value): (Name, &[u8]) = match index {
        1 => (Name::Authority, b""),
        2 => (Name::Method, b"GET"),
        3 => (Name::Method, b"POST"),
        4 => (Name::Path, b"/"),
        5 => (Name::Path, b"/index.html"),
        _ => (Name::Other, b""),
    };
    Field { name, name_len: NAMES[index - 1].into(), value_len: value.len(), value: value.into() }
}

/// An integer behind a prefix of so many bits (RFC 7541, section 5.1).
fn integer(block: &mut &[u8], bits: u32) -> Result<usize, Astray> {
    let mut next = || {
        let (first, rest) = block.split_first().ok_or(Astray)?;
        *block = rest;
        Ok(usize::from(*first))
    };
    let most = (1 << bits) - 1;
    let mut value = next()? & most;
    if value < most {
        return Ok(value);
    }
    // More than four bytes are more than any text has.
    for shift in [0, 7, 14, 21] {
        let byte = next()?;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Astray)
}

/// A text (RFC 7541, section 5.2): how long it is, and at most `most` of it.
fn string(block: &mut &[u8], most: usize) -> Result<(usize, Vec<u8>), Astray> {
    let is_coded = block.first().ok_or(Astray)? & 0x80 != 0;
    let len = integer(block, 7)?;
    let (text, rest) = block.split_at_checked(len).ok_or(Astray)?;
    *block = rest;
    if is_coded { decode(text, most) } else { Ok((len, text[..len.min(most)].to_vec())) }
}

/// How long the code of each byte is (RFC 7541, appendix B). The code is canonical: of codes of one length, the smaller is the smaller
/// byte's, so the lengths tell all of it.
const CODE_LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];
const SHORTEST: usize = 5;
const LONGEST: usize = 30;
/// The symbol that ends a text and never stands in one.
const END: u16 = 256;

/// The bytes in the order of their codes, and for each length the first code and where its bytes begin.
struct Code {
    symbols: [u16; 257],
    first: [u32; LONGEST + 1],
    place: [usize; LONGEST + 2],
}

const CODE: Code = {
    let mut made = Code { symbols: [0; 257], first: [0; LONGEST + 1], place: [0; LONGEST + 2] };
    let (mut length, mut number, mut code) = (SHORTEST, 0, 0);
    while length <= LONGEST {
        made.first[length] = code;
        made.place[length] = number;
        let mut symbol = 0;
        while symbol < 257 {
            if CODE_LENGTHS[symbol] as usize == length {
                made.symbols[number] = symbol as u16;
                number += 1;
                code += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        length += 1;
    }
    made.place[LONGEST + 1] = number;
    made
};

fn decode(coded: &[u8], most: usize) -> Result<(usize, Vec<u8>), Astray> {
    static TABLE: Code = CODE;
    let (mut text, mut len) = (Vec::new(), 0);
    let (mut code, mut bits) = (0_u32, 0_usize);
    for bit in coded.iter().flat_map(|byte| (0..8).rev().map(move |shift| u32::from(byte >> shift & 1))) {
        (code, bits) = (code << 1 | bit, bits + 1);
        if bits < SHORTEST {
            continue;
        }
        let number = TABLE.place[bits + 1] - TABLE.place[bits];
        let offset = code.wrapping_sub(TABLE.first[bits]) as usize;
        if offset < number {
            let symbol = TABLE.symbols[TABLE.place[bits] + offset];
            if symbol == END {
                return Err(Astray);
            }
            len += 1;
            if text.len() < most {
                text.push(u8::try_from(symbol).expect("all but the last are bytes"));
            }
            (code, bits) = (0, 0);
        } else if bits == LONGEST {
            return Err(Astray);
        }
    }
    // What is left over is less than a byte, all ones.
    if bits > 7 || code != (1 << bits) - 1 {
        return Err(Astray);
    }
    Ok((len, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// Reads blocks one after another; what each asks for, and the table's size.
    fn check(blocks: &[(&str, &str, usize)]) {
        let mut decoder = Decoder::default();
        for (hex, expect, size) in blocks {
            let asked = decoder.read(&bytes(hex)).unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let told = format!("{} {} {}", text(&asked.method), text(&asked.authority), text(&asked.path));
            assert_eq!((told.as_str(), decoder.size), (*expect, *size));
        }
    }

    #[test]
    fn requests_of_the_standard_are_read() {
        // RFC 7541, appendix C.3.
        check(&[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", "GET www.example.com /", 57),
            ("8286 84be 5808 6e6f 2d63 6163 6865", "GET www.example.com /", 110),
            (
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
                "GET www.example.com /index.html",
                164,
            ),
        ]);
        // Appendix C.4: the same in Huffman's code.
        check(&[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", "GET www.example.com /", 57),
            ("8286 84be 5886 a8eb 1064 9cbf", "GET www.example.com /", 110),
            (
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
                "GET www.example.com /index.html",
                164,
            ),
        ]);
        // Appendix C.2.2: a literal path that is not kept.
        check(&[("040c 2f73 616d 706c 652f 7061 7468", "  /sample/path", 0)]);
    }

    #[test]
    fn every_byte_comes_back() {
        // The codes of all bytes, as the lengths tell them.
        let (mut coded, mut code_of) = (Vec::new(), vec![(0_u32, 0_usize); 257]);
        for length in SHORTEST..=LONGEST {
            for offset in 0..CODE.place[length + 1] - CODE.place[length] {
                let symbol = CODE.symbols[CODE.place[length] + offset];
                code_of[symbol as usize] = (CODE.first[length] + offset as u32, length);
            }
        }
        // The last of them is known from the standard.
        assert_eq!((code_of[256], code_of[b'a' as usize]), ((0x3fff_ffff, 30), (0x3, 5)));
        let mut bits: Vec<u8> = Vec::new();
        for (code, length) in &code_of[..256] {
            bits.extend((0..*length).rev().map(|shift| (code >> shift & 1) as u8));
        }
        bits.resize(bits.len().next_multiple_of(8), 1);
        coded.extend(bits.chunks(8).map(|byte| byte.iter().fold(0_u8, |sum, bit| sum << 1 | bit)));
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&coded, 1_000), Ok((256, all)));
    }

    #[test]
    fn the_table_is_bounded_and_what_is_not_there_is_told() {
        let mut decoder = Decoder::default();
        for number in 0..500_u16 {
            let name = format!("x-{number}");
            let block = [&[0x40, name.len() as u8][..], name.as_bytes(), &[3], b"abc"].concat();
            decoder.read(&block).unwrap();
        }
        assert!(decoder.size <= TABLE_MAX && decoder.entries.len() <= TABLE_MAX / ENTRY_COST);
        assert_eq!(decoder.read(&[0x3f, 0xe1, 0xff, 0x03]), Err(Astray));
        assert_eq!(decoder.read(&[0x20]), Ok(Asked::default()));
        assert!(decoder.entries.is_empty());
        for block in
            [&[0x80][..], &[0xbe], &[0xff], &[0x00, 0x05, b'a'], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]]
        {
            assert_eq!(Decoder::default().read(block), Err(Astray), "{block:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let mut decoder = Decoder::default();
            for block in blocks {
                let _ = decoder.read(&block);
                prop_assert!(decoder.size <= TABLE_MAX);
            }
        }
    }
}
