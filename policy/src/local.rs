//! Users and control groups of a node: by whom its own processes' packets are told apart, where many customers share one address.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::tenant::NodeId;

/// User ids below this are the system's own (Debian's `FIRST_UID`), and no tenant's unless its entry says so.
pub const FIRST_USER: u32 = 1_000;
/// The most user ids that one tenant may have: each is an element in the kernel.
pub const USERS_MAX: usize = 1_024;
/// How deep below the root of the hierarchy a tenant's control group may lie.
pub const GROUP_DEPTH_MAX: usize = 4;
/// The longest path of a control group, in bytes.
const GROUP_PATH_MAX: usize = 512;

/// User ids, of one node or of any, as `[NODE:]UID[-UID]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct UserSelector {
    /// The node; `None` for every node whose own users are tenants.
    pub node: Option<NodeId>,
    /// The first user id.
    pub first: u32,
    /// The last one.
    pub last: u32,
}

/// A text that is no `[NODE:]UID[-UID]`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no user id: write UID, UID-UID, or either behind NODE:")]
pub struct ParseUserError(String);

/// The node before a colon, if one stands there, and the rest.
fn split_node(text: &str) -> Option<(Option<NodeId>, &str)> {
    match text.split_once(':') {
        Some((node, rest)) => Some((Some(node.parse().ok()?), rest)),
        None => Some((None, text)),
    }
}

/// Digits alone: the standard library would take a sign.
fn user_id(text: &str) -> Option<u32> {
    // The last one is what the kernel says where there is nobody.
    let id = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())??;
    (id != u32::MAX).then_some(id)
}

impl UserSelector {
    /// How many users it names.
    #[must_use]
    pub const fn count(&self) -> usize {
        (self.last - self.first) as usize + 1
    }

    /// Whether it holds on `node`.
    #[must_use]
    pub fn is_on(&self, node: &NodeId) -> bool {
        self.node.as_ref().is_none_or(|own| own == node)
    }

    fn read(text: &str) -> Option<Self> {
        let (node, ids) = split_node(text)?;
        let (first, last) = match ids.split_once('-') {
            Some((first, last)) => (user_id(first)?, user_id(last)?),
            None => (user_id(ids)?, user_id(ids)?),
        };
        (first <= last).then_some(Self { node, first, last })
    }
}

impl FromStr for UserSelector {
    type Err = ParseUserError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::read(text).ok_or_else(|| ParseUserError(text.chars().take(96).collect()))
    }
}

impl fmt::Display for UserSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.node {
            write!(f, "{node}:")?;
        }
        write!(f, "{}", self.first)?;
        if self.last > self.first { write!(f, "-{}", self.last) } else { Ok(()) }
    }
}

impl From<UserSelector> for String {
    fn from(selector: UserSelector) -> Self {
        selector.to_string()
    }
}

impl TryFrom<String> for UserSelector {
    type Error = ParseUserError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A control group (version 2) with all below it, of one node or of any, as `[NODE:]PATH`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct GroupSelector {
    /// The node; `None` for every node whose own users are tenants.
    pub node: Option<NodeId>,
    /// Its path below the root of the hierarchy, without a slash before it: `hosting.slice/u1001`.
    pub path: Arc<str>,
}

/// A text that is no `[NODE:]PATH`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is no control group: write its path below /sys/fs/cgroup, at most four deep, perhaps behind NODE:"
)]
pub struct ParseGroupError(String);

impl GroupSelector {
    /// How deep below the root it lies.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.path.split('/').count()
    }

    /// Whether it holds on `node`.
    #[must_use]
    pub fn is_on(&self, node: &NodeId) -> bool {
        self.node.as_ref().is_none_or(|own| own == node)
    }

    fn read(text: &str) -> Option<Self> {
        let (node, path) = split_node(text)?;
        let is_part = |part: &str| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && part.len() < 256
                && part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
        };
        let good = path.len() <= GROUP_PATH_MAX
            && path.split('/').count() <= GROUP_DEPTH_MAX
            && path.split('/').all(is_part);
        good.then(|| Self { node, path: path.into() })
    }
}

impl FromStr for GroupSelector {
    type Err = ParseGroupError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::read(text).ok_or_else(|| ParseGroupError(text.chars().take(96).collect()))
    }
}

impl fmt::Display for GroupSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "{node}:{}", self.path),
            None => f.write_str(&self.path),
        }
    }
}

impl From<GroupSelector> for String {
    fn from(selector: GroupSelector) -> Self {
        selector.to_string()
    }
}

impl TryFrom<String> for GroupSelector {
    type Error = ParseGroupError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_one_or_some_of_one_node_or_all() {
        for (text, first, last) in [("1001", 1_001, 1_001), ("2000-2009", 2_000, 2_009), ("web-3:7-8", 7, 8)]
        {
            let users: UserSelector = text.parse().unwrap();
            assert_eq!((users.first, users.last), (first, last));
            assert_eq!(users.to_string(), text);
        }
        let users: UserSelector = "web-3:7".parse().unwrap();
        assert!(users.is_on(&"web-3".parse().unwrap()) && !users.is_on(&"web-4".parse().unwrap()));
        for bad in ["", "-1", "+1", "1-", "9-8", "www-data", ":1", "1:2:3", "4294967295", "1 2"] {
            assert!(bad.parse::<UserSelector>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn groups_are_paths_below_the_root() {
        let group: GroupSelector = "web3:hosting.slice/u1001".parse().unwrap();
        assert_eq!((&*group.path, group.depth()), ("hosting.slice/u1001", 2));
        assert_eq!(group.to_string(), "web3:hosting.slice/u1001");
        for bad in ["", "/a", "a//b", "a/..", "a/b/c/d/e", "a b", "a\"b", "a/"] {
            assert!(bad.parse::<GroupSelector>().is_err(), "{bad:?}");
        }
    }
}
