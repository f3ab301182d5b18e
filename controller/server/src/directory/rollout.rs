//! Which policy each node is to run.

use std::collections::BTreeSet;
use std::sync::Arc;

use reeve_policy::{AssignedPolicy, Assignment, NodeId, PolicyVersion};
use ring::digest::{SHA256, digest};

/// What was assigned last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Its number, which only grows; 0 where nothing ever was.
    pub number: u64,
    /// What nodes are to run that nothing is staged to; `None` for their own.
    pub active: Option<Arc<AssignedPolicy>>,
    /// What some nodes are to run.
    pub staged: Option<Staged>,
}

/// A policy for some nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// It.
    pub policy: Arc<AssignedPolicy>,
    /// Which nodes.
    pub share: Share,
}

/// Some nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Share {
    /// So many of a hundred.
    Percent(u8),
    /// These.
    Nodes(BTreeSet<NodeId>),
}

impl Share {
    /// The most nodes that are named.
    pub const MAX_NODES: usize = 4_096;

    /// Whether a node is among them. A node's place depends on its name alone, so a larger share holds all of a smaller one, and a node
    /// that is new moves no other.
    #[must_use]
    pub fn holds(&self, node: &NodeId) -> bool {
        match self {
            Self::Percent(percent) => place(node) < u64::from(*percent),
            Self::Nodes(nodes) => nodes.contains(node),
        }
    }
}

/// 0 to 99.
fn place(node: &NodeId) -> u64 {
    let hash = digest(&SHA256, node.as_str().as_bytes());
    let first: [u8; 8] = hash.as_ref()[..8].try_into().expect("SHA-256 has 32 bytes");
    u64::from_be_bytes(first) % 100
}

impl Rollout {
    /// What a node is to run; `None` for its own.
    #[must_use]
    pub fn meant_for(&self, node: &NodeId) -> Option<&Arc<AssignedPolicy>> {
        match &self.staged {
            Some(staged) if staged.share.holds(node) => Some(&staged.policy),
            _ => self.active.as_ref(),
        }
    }

    /// What a node is to be told that has decided on an assignment and runs this policy of a controller's, or refused; `None` if it has
    /// what it is to have, or decided on a later one than we know.
    #[must_use]
    pub fn news_for(
        &self,
        node: &NodeId,
        decided: u64,
        running: Option<&PolicyVersion>,
        has_refused: bool,
    ) -> Option<Assignment> {
        let meant = self.meant_for(node);
        let has_it = !has_refused && meant.map(|policy| &policy.version) == running;
        if self.number <= decided || has_it {
            return None;
        }
        Some(Assignment { number: self.number, policy: meant.map(|policy| AssignedPolicy::clone(policy)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: usize) -> NodeId {
        format!("hv-{number}").parse().unwrap()
    }

    fn policy(version: u32) -> Arc<AssignedPolicy> {
        let version = PolicyVersion { name: "p".parse().unwrap(), version };
        Arc::new(AssignedPolicy { version, source: String::new() })
    }

    #[test]
    fn a_larger_share_holds_all_of_a_smaller_one() {
        let held = |percent| -> BTreeSet<usize> {
            (0..2_000).filter(|number| Share::Percent(percent).holds(&node(*number))).collect()
        };
        let mut before = BTreeSet::new();
        for percent in [0, 1, 5, 10, 50, 99, 100] {
            let now = held(percent);
            assert!(now.is_superset(&before), "{percent}");
            let (meant, is) = (usize::from(percent) * 20, now.len());
            // Five times the spread of so many draws.
            assert!(is.abs_diff(meant) <= 112, "{percent} %: {is} of 2000");
            before = now;
        }
        assert_eq!((held(0).len(), held(100).len()), (0, 2_000));
        // Nodes must not move because the controller is another build.
        assert_eq!(place(&node(7)), 57);
    }

    #[test]
    fn a_node_is_told_what_it_does_not_have_and_never_what_is_older() {
        let staged = Staged { policy: policy(2), share: Share::Nodes([node(1)].into()) };
        let rollout = Rollout { number: 5, active: Some(policy(1)), staged: Some(staged) };
        let told = |number, decided, running: Option<u32>, has_refused| {
            let running = running.map(|version| policy(version).version.clone());
            let news = rollout.news_for(&node(number), decided, running.as_ref(), has_refused);
            news.map(|news| (news.number, news.policy.map(|policy| policy.version.version)))
        };
        assert_eq!(told(0, 0, None, false), Some((5, Some(1))));
        assert_eq!(told(0, 4, Some(1), false), None, "it has it");
        assert_eq!(told(0, 4, Some(2), false), Some((5, Some(1))));
        assert_eq!(told(1, 4, Some(1), false), Some((5, Some(2))));
        assert_eq!(
            told(1, 4, Some(2), true),
            Some((5, Some(2))),
            "what it refused before is asked of it again"
        );
        assert_eq!(told(1, 5, Some(1), true), None, "it has refused this one");
        assert_eq!(told(1, 6, Some(1), false), None, "it knows better");
        assert_eq!(Rollout::default().news_for(&node(1), 0, Some(&policy(1).version), false), None);
        let back = Rollout { number: 6, ..Rollout::default() };
        let news = back.news_for(&node(1), 5, Some(&policy(2).version), false);
        assert_eq!(news, Some(Assignment { number: 6, policy: None }));
    }
}
