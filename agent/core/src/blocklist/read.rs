//! The text of a list: an address, a prefix or a range a line, as FireHOL (`.netset`, `.ipset`), Spamhaus (`drop.txt`), DShield
//! (`block.txt`) and most others write them. What stands behind `#` or `;` is a comment; further columns are not read.
//!
//! A line that cannot be read is skipped and told. So is one that must not be obeyed ([`Refusal`]): a slip in a feed is not
//! to cut customers off from half of the internet, or from the provider itself.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use reeve_policy::Name;

use super::{Blocklist, ListKind};
use crate::detect::horizontal::is_bogon;

/// No entry of a feed that means harm is larger than this: a /8, or a /16 of IPv6.
const MAX_V4: u32 = 1 << 24;
const MIN_LEN_V6: u32 = 16;
/// The most ranges of one list; what comes later is not obeyed.
const MAX_ENTRIES: usize = 4_000_000;
/// Lines that are told one by one; the rest are only counted.
const MAX_TOLD: usize = 20;

/// Why a line is not obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is no address, prefix or range.
    Unreadable,
    /// No prefix is as long as that.
    Length,
    /// A prefix with bits behind its length, which its writer may have meant as the one address or as all of the prefix.
    HostBits(IpNet),
    /// A range that ends before it begins.
    Reversed,
    /// A range from one family of addresses to the other.
    Families,
    /// It is larger than a /8, or a /16 of IPv6.
    TooLarge,
    /// Nobody can have it on the internet: private, reserved or multicast.
    Bogon,
    /// It meets a protected destination.
    Protected,
    /// The list is longer than can be held.
    TooMany,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => {
                "no address, prefix or range; allowed: 192.0.2.1, 192.0.2.0/24, 192.0.2.1-192.0.2.9 or the like of IPv6"
            }
            Self::Length => "no prefix is that long; allowed: up to /32, of IPv6 up to /128",
            Self::HostBits(net) => {
                return write!(f, "bits behind the prefix's length; allowed: {} or {}", net.trunc(), net.addr());
            }
            Self::Reversed => "a range that ends before it begins; allowed: FIRST-LAST",
            Self::Families => "a range from one family to the other; allowed: both ends of one",
            Self::TooLarge => "larger than a /8, or a /16 of IPv6, which is the most that is allowed",
            Self::Bogon => "private, reserved or multicast",
            Self::Protected => "meets a protected destination",
            Self::TooMany => "the list is longer than 4000000 entries",
        })
    }
}

impl Refusal {
    /// Whether the line is no entry at all, rather than one that must not be obeyed.
    const fn is_broken(self) -> bool {
        matches!(self, Self::Unreadable | Self::Length | Self::HostBits(_) | Self::Reversed | Self::Families)
    }
}

/// A line that is not obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, counted from 1.
    pub line: usize,
    /// What stands there, cut to 64 characters.
    pub text: String,
    /// Why not.
    pub why: Refusal,
}

/// What became of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The list.
    pub list: Blocklist,
    /// How many lines hold an entry that is obeyed.
    pub entries: usize,
    /// How many could not be read.
    pub unreadable: usize,
    /// How many could, and are not obeyed.
    pub refused: usize,
    /// The first of both.
    pub told: Vec<BadLine>,
}

impl Reading {
    /// How many lines are or should be entries.
    #[must_use]
    pub const fn lines(&self) -> usize {
        self.entries + self.unreadable + self.refused
    }

    /// Whether so many lines cannot be read that this is hardly the file that was meant: more than one in ten.
    #[must_use]
    pub const fn is_rubbish(&self) -> bool {
        self.unreadable > self.lines() / 10
    }
}

pub(super) fn read(name: Name, kind: ListKind, text: &[u8], spared: &[IpNet]) -> Reading {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    let (mut entries, mut unreadable, mut refused, mut told) = (0, 0, 0, Vec::new());
    for (index, line) in
        text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).split(|byte| *byte == b'\n').enumerate()
    {
        let content = line.split(|byte| matches!(byte, b'#' | b';')).next().unwrap_or(line).trim_ascii();
        if content.is_empty() {
            continue;
        }
        let range = std::str::from_utf8(content).map_err(|_| Refusal::Unreadable).and_then(range);
        let full = v4.len() + v6.len() >= MAX_ENTRIES;
        match range
            .and_then(|range| range.check(spared))
            .and_then(|range| if full { Err(Refusal::TooMany) } else { Ok(range) })
        {
            Ok(Range::V4(start, end)) => v4.push((start, end)),
            Ok(Range::V6(start, end)) => v6.push((start, end)),
            Err(why) => {
                if why.is_broken() {
                    unreadable += 1
                } else {
                    refused += 1
                }
                if told.len() < MAX_TOLD {
                    let text = String::from_utf8_lossy(content).chars().take(64).collect();
                    told.push(BadLine { line: index + 1, text, why });
                }
                continue;
            }
        }
        entries += 1;
    }
    let v4 = join(v4, |end| end.checked_add(1));
    let v6 = join(v6, |end| end.checked_add(1));
    Reading { list: Blocklist { name, kind, v4, v6 }, entries, unreadable, refused, told }
}

/// Sorts ranges, and makes one of those that touch or overlap.
fn join<N: Copy + Ord>(mut ranges: Vec<(N, N)>, after: impl Fn(N) -> Option<N>) -> Box<[(N, N)]> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        // Nothing comes after the last address of all.
        let touches = after(kept.1).is_none_or(|after| next.0 <= after);
        if touches {
            kept.1 = kept.1.max(next.1);
        }
        touches
    });
    ranges.into_boxed_slice()
}

enum Range {
    V4(u32, u32),
    V6(u128, u128),
}

impl Range {
    fn check(self, spared: &[IpNet]) -> Result<Self, Refusal> {
        let (start, end): (IpAddr, IpAddr) = match self {
            Self::V4(start, end) if end - start >= MAX_V4 => return Err(Refusal::TooLarge),
            Self::V4(start, end) => {
                (std::net::Ipv4Addr::from(start).into(), std::net::Ipv4Addr::from(end).into())
            }
            Self::V6(start, end) if (end - start) >> (128 - MIN_LEN_V6) > 0 => return Err(Refusal::TooLarge),
            Self::V6(start, end) => {
                (std::net::Ipv6Addr::from(start).into(), std::net::Ipv6Addr::from(end).into())
            }
        };
        let is_nobodys =
            |address: IpAddr| is_bogon(address) || address.is_multicast() || address.is_unspecified();
        if is_nobodys(start) || is_nobodys(end) {
            return Err(Refusal::Bogon);
        }
        let meets = |prefix: &IpNet| prefix.network() <= end && start <= prefix.broadcast();
        let same_family = |prefix: &&IpNet| prefix.addr().is_ipv4() == start.is_ipv4();
        if spared.iter().filter(same_family).any(meets) { Err(Refusal::Protected) } else { Ok(self) }
    }
}

/// The range of an entry: `192.0.2.1`, `192.0.2.0/24`, `192.0.2.1-192.0.2.9`, or its two ends in two columns.
fn range(content: &str) -> Result<Range, Refusal> {
    let mut columns =
        content.split(|c: char| c.is_whitespace() || c == ',').filter(|column| !column.is_empty());
    let first = columns.next().ok_or(Refusal::Unreadable)?;
    let ends = match first.split_once('-') {
        Some((start, "")) => (start, columns.next()),
        Some((start, end)) => (start, Some(end)),
        None => match columns.next() {
            Some("-") => (first, columns.next()),
            Some(second) if second.parse::<IpAddr>().is_ok() => (first, Some(second)),
            _ => return prefix(first),
        },
    };
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| Refusal::Unreadable);
    match (address(ends.0)?, address(ends.1.ok_or(Refusal::Unreadable)?)?) {
        (IpAddr::V4(start), IpAddr::V4(end)) if start <= end => Ok(Range::V4(start.into(), end.into())),
        (IpAddr::V6(start), IpAddr::V6(end)) if start <= end => Ok(Range::V6(start.into(), end.into())),
        (start, end) if start.is_ipv4() == end.is_ipv4() => Err(Refusal::Reversed),
        _ => Err(Refusal::Families),
    }
}

fn prefix(text: &str) -> Result<Range, Refusal> {
    let alone = |text: &str| text.parse::<IpAddr>().map(IpNet::from);
    let net = match text.split_once('/') {
        None => alone(text).map_err(|_| Refusal::Unreadable)?,
        Some((address, length)) => {
            // What is an address and a number can only be too long.
            let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            let why = if alone(address).is_ok() && is_number { Refusal::Length } else { Refusal::Unreadable };
            text.parse::<IpNet>().map_err(|_| why)?
        }
    };
    if net != net.trunc() {
        return Err(Refusal::HostBits(net));
    }
    Ok(match net {
        IpNet::V4(net) => Range::V4(net.network().into(), net.broadcast().into()),
        IpNet::V6(net) => Range::V6(net.network().into(), net.broadcast().into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(text: &[u8]) -> Reading {
        let spared = ["9.9.9.9/32".parse().unwrap(), "2620:fe::/48".parse().unwrap()];
        read("l".parse().unwrap(), ListKind::Networks, text, &spared)
    }

    /// How many ranges, entries, unreadable and refused lines a text comes to.
    #[track_caller]
    fn check(text: &str, expect: (usize, usize, usize, usize)) {
        let told = reading(text.as_bytes());
        assert_eq!((told.list.len(), told.entries, told.unreadable, told.refused), expect, "{told:?}");
    }

    #[test]
    fn what_feeds_write_is_read() {
        check("20.0.0.1\n21.0.0.0/8\n2a00::/32\n2a01::1\n", (4, 4, 0, 0));
        check("# FireHOL\n#\n20.0.0.1 # bad\n\n", (1, 1, 0, 0));
        check(
            "; Spamhaus DROP List\r\n1.10.16.0/20 ; SBL256894\r\n2.56.192.0/22;SBL459831\r\n",
            (2, 2, 0, 0),
        );
        check("#Start\tEnd\tNetmask\n45.135.193.0\t45.135.193.255\t24\t4231\tNAME\tUS\ta@b\n", (1, 1, 0, 0));
        check("20.0.0.1-20.0.0.9\n20.1.0.1 - 20.1.0.9\n2a00::1-2a00::9", (3, 3, 0, 0));
        check("\u{feff}20.0.0.1,2026-01-01,botnet\n", (1, 1, 0, 0));
        check("20.0.0.77/32\n2a00::5/128", (2, 2, 0, 0));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said_and_what_is_allowed() {
        for (text, expect) in [
            ("evil.example", "no address, prefix or range; allowed: 192.0.2.1, 192.0.2.0/24, "),
            ("20.0.0.0/", "no address, prefix or range; "),
            ("20.0.0.0/33", "no prefix is that long; allowed: up to /32, of IPv6 up to /128"),
            ("2a00::/129", "no prefix is that long; "),
            ("20.0.1.50/24", "bits behind the prefix's length; allowed: 20.0.1.0/24 or 20.0.1.50"),
            ("2a00::5/64", "bits behind the prefix's length; allowed: 2a00::/64 or 2a00::5"),
            ("20.0.0.9-20.0.0.1", "a range that ends before it begins; allowed: FIRST-LAST"),
            ("20.0.0.9 - 2a00::1", "a range from one family to the other; "),
            ("20.0.0.9-", "no address, prefix or range; "),
        ] {
            let told = reading(text.as_bytes());
            let why = told.told[0].why.to_string();
            assert!(why.starts_with(expect), "{text}: {why}");
            assert_eq!((told.list.len(), told.unreadable), (0, 1), "{text}");
        }
    }

    #[test]
    fn a_file_of_which_more_than_a_tenth_cannot_be_read_is_rubbish() {
        let lines = |good: usize, bad: usize| "20.0.0.1\n".repeat(good) + &"x\n".repeat(bad);
        assert!(!reading(lines(90, 10).as_bytes()).is_rubbish());
        assert!(reading(lines(89, 11).as_bytes()).is_rubbish());
        assert!(reading(lines(4, 1).as_bytes()).is_rubbish());
        // What is well written and must not be obeyed says nothing against the file.
        assert!(!reading(b"20.0.0.1\n10.0.0.0/8\n127.0.0.0/8\n").is_rubbish());
        assert!(!reading(b"").is_rubbish());
    }

    #[test]
    fn ranges_are_put_together() {
        check("20.0.0.0/25\n20.0.0.128/25\n20.0.0.7\n20.0.1.0/24\n20.0.0.7", (1, 5, 0, 0));
        check("223.255.255.255\n2a00::/32\n2a00:1::/32", (2, 3, 0, 0));
    }

    #[test]
    fn what_must_not_be_obeyed_is_not() {
        check("0.0.0.0/0\n::/0\n16.0.0.0/7\n2a00::/15", (0, 0, 0, 4));
        check(
            "10.0.0.0/8\n127.0.0.1\n224.0.0.0/4\n240.0.0.1\nfe80::1\nfd00::/8\n100.64.0.0/10",
            (0, 0, 0, 7),
        );
        check("9.9.9.0/24\n9.9.9.9\n2620:fe::fe\n9.9.10.0/24", (1, 1, 0, 3));
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_line() {
        let told = reading(
            b"20.0.0.1\nevil.example\n300.1.1.1\n20.0.0.9-20.0.0.1\n\xff\xfe\n20.0.0.0/33\n10.0.0.1\n",
        );
        assert_eq!((told.entries, told.unreadable, told.refused), (1, 5, 1));
        assert_eq!((told.told[0].line, told.told[0].text.as_str()), (2, "evil.example"));
        assert_eq!((told.told[5].line, told.told[5].why), (7, Refusal::Bogon));
        let many = reading("x\n".repeat(100_000).as_bytes());
        assert_eq!((many.told.len(), many.unreadable), (MAX_TOLD, 100_000));
    }
}
