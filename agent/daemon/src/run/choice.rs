//! Which policy the node runs: that of its settings, or one that the controller assigned, if the settings let it.
//!
//! An assignment is decided on once, in the order of their numbers, which only grow: one that comes late never takes the node back. What is
//! taken is compiled here and checked against what this node protects, is on disk before it is in force, and is told after. What is
//! refused leaves everything as it was, and the controller is told why.
//!
//! Left out: how a policy comes into force (a reload of the settings, which the engine takes as an input), and how far the node may go,
//! which its own `mode` says, whatever is assigned.

use std::path::PathBuf;
use std::sync::Arc;

use reeve_policy::language::Policy;
use reeve_policy::{AssignedPolicy, Assignment, PolicyVersion};
use reeve_proto::session::PolicyHeld;

use super::add_lifelines;
use crate::config::{Loaded, PolicyFrom};
use crate::state::assigned;

/// What was assigned, and what became of it.
#[derive(Debug)]
pub(super) struct Choice {
    state_dir: PathBuf,
    /// The settings as they were read last, with the policy that they name.
    base: Loaded,
    /// What was taken last.
    taken: Assignment,
    /// The last assignment that was decided on.
    decided: u64,
    /// Why it was refused; empty if it was not.
    refused: String,
}

impl Choice {
    /// Goes on from what an earlier run took; the settings with the policy that holds. One that does not fit any more is let go, for the
    /// settings' own.
    pub fn begin(base: Loaded, taken: Assignment) -> (Self, Loaded) {
        let state_dir = base.settings.state_dir.clone();
        let mut choice = Self { state_dir, base, taken, decided: 0, refused: String::new() };
        if choice.base.settings.policy_from == PolicyFrom::Local {
            if let Some(policy) = &choice.taken.policy {
                tracing::info!(policy = %policy.version, "a policy that a controller assigned is left: the settings say policy_from = \"local\"");
            }
            let base = choice.base.clone();
            return (choice, base);
        }
        choice.decided = choice.taken.number;
        match fit(&choice.base, &choice.taken) {
            Ok(loaded) => (choice, loaded),
            Err(why) => {
                tracing::error!(
                    %why,
                    "the policy that the controller assigned cannot be run any more: that of the settings holds"
                );
                choice.refused = why;
                // What is in force is what is told; after a reload the controller asks again.
                choice.taken = assigned::none();
                let base = choice.base.clone();
                (choice, base)
            }
        }
    }

    /// Takes settings that were read anew; them with the policy that holds.
    ///
    /// # Errors
    /// Why the assigned policy does not fit them: all is as before.
    pub fn reload(&mut self, base: Loaded) -> Result<Loaded, String> {
        let is_local = base.settings.policy_from == PolicyFrom::Local;
        let loaded = if is_local { base.clone() } else { fit(&base, &self.taken)? };
        self.base = base;
        // By other settings the answer may be another: the controller asks again.
        self.decided = if is_local { 0 } else { self.taken.number };
        self.refused.clear();
        Ok(loaded)
    }

    /// Decides on an assignment; what holds from now on, if it is something else.
    pub fn decide(&mut self, assignment: Assignment) -> Option<Loaded> {
        if assignment.number <= self.decided {
            tracing::debug!(
                number = assignment.number,
                decided = self.decided,
                "an assignment that comes late"
            );
            return None;
        }
        self.decided = assignment.number;
        self.refused.clear();
        let number = assignment.number;
        let told = assignment
            .policy
            .as_ref()
            .map_or("the settings' own".to_owned(), |policy| policy.version.to_string());
        match self.take(assignment) {
            Ok(loaded) => {
                tracing::warn!(number, policy = told, "the controller assigned a policy");
                Some(loaded)
            }
            Err(why) => {
                tracing::error!(
                    number,
                    policy = told,
                    %why,
                    "the policy that the controller assigned is refused"
                );
                self.refused = why;
                None
            }
        }
    }

    fn take(&mut self, assignment: Assignment) -> Result<Loaded, String> {
        if self.base.settings.policy_from == PolicyFrom::Local {
            if assignment.policy.is_none() {
                return Ok(self.base.clone());
            }
            return Err(
                "found policy_from = \"local\" in the node's settings; allowed: \"controller\"".to_owned()
            );
        }
        let loaded = fit(&self.base, &assignment)?;
        assigned::store(&self.state_dir, &assignment).map_err(|error| error.to_string())?;
        self.taken = assignment;
        Ok(loaded)
    }

    /// What the controller is told, where `policy` is in force.
    pub fn held(&self, policy: &Policy) -> PolicyHeld {
        let is_assigned =
            self.base.settings.policy_from == PolicyFrom::Controller && self.taken.policy.is_some();
        PolicyHeld {
            assignment: self.decided,
            running: PolicyVersion { name: policy.name.clone(), version: policy.version },
            is_assigned,
            refused: self.refused.clone(),
        }
    }
}

/// The settings with the policy that is assigned, or why it does not fit them.
fn fit(base: &Loaded, assignment: &Assignment) -> Result<Loaded, String> {
    let mut loaded = base.clone();
    if let Some(assigned) = &assignment.policy {
        let mut policy = AssignedPolicy::compile(assigned).map_err(|error| error.to_string())?;
        base.settings.protect(&mut policy);
        loaded.policy = Arc::new(policy);
        let mut whole = loaded.clone();
        add_lifelines(&mut whole);
        let aims = whole.policy.aims_at_protected();
        if !aims.is_empty() {
            return Err(aims.join("; "));
        }
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use reeve_policy::Mode;

    use super::*;
    use crate::config;

    /// Settings of a node in a folder.
    fn loaded(folder: &Path, more: &str) -> Loaded {
        let state = folder.display();
        let text = format!(
            "node = \"n1\"\nstate_dir = \"{state}\"\n{more}[controller]\naddress = \"http://127.0.0.1:1\"\n\
             [[vantage]]\nkind = \"port\"\ninterfaces = [\"tap*\"]\n"
        );
        let settings = config::parse(Path::new("agent.toml"), &text).unwrap();
        let mut policy = Policy::preset("baseline").unwrap();
        settings.protect(&mut policy);
        Loaded { settings, policy: Arc::new(policy), tenants: Vec::new() }
    }

    fn assigned(number: u64, version: u32, more: &str) -> Assignment {
        let source = format!(
            "[policy]\nname = \"ours\"\nversion = {version}\nextends = \"baseline\"\nmode = \"enforce\"\n{more}"
        );
        let version = PolicyVersion { name: "ours".parse().unwrap(), version };
        Assignment { number, policy: Some(AssignedPolicy { version, source }) }
    }

    fn running(loaded: &Loaded) -> String {
        PolicyVersion { name: loaded.policy.name.clone(), version: loaded.policy.version }.to_string()
    }

    const TAKES: &str = "policy_from = \"controller\"\n";

    #[test]
    fn a_late_assignment_never_takes_a_node_back_and_the_last_outlasts_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let (mut choice, begun) = Choice::begin(loaded(folder.path(), TAKES), assigned::none());
        assert_eq!(running(&begun), "baseline@1");
        assert!(!choice.held(&begun.policy).is_assigned);
        let three = choice.decide(assigned(3, 2, "")).unwrap();
        assert_eq!(
            (running(&three).as_str(), three.settings.mode),
            ("ours@2", Mode::Observe),
            "the node only observes"
        );
        assert!(choice.decide(assigned(2, 9, "")).is_none());
        assert!(choice.decide(assigned(3, 9, "")).is_none());
        let held = choice.held(&three.policy);
        assert_eq!((held.assignment, held.is_assigned, held.refused.as_str()), (3, true, ""));
        // A rollback has a number of its own.
        assert_eq!(running(&choice.decide(assigned(4, 1, "")).unwrap()), "ours@1");
        let kept = crate::state::StateFolder::open(folder.path()).unwrap().load().unwrap().assignment;
        assert_eq!(kept, assigned(4, 1, ""));
        let (mut choice, begun) = Choice::begin(loaded(folder.path(), TAKES), kept);
        assert_eq!((running(&begun).as_str(), choice.held(&begun.policy).assignment), ("ours@1", 4));
        let own = choice.decide(Assignment { number: 5, policy: None }).unwrap();
        assert_eq!((running(&own).as_str(), choice.held(&own.policy).is_assigned), ("baseline@1", false));
    }

    #[test]
    fn what_does_not_fit_is_refused_and_all_is_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let protecting =
            format!("{TAKES}[protected]\ndestinations = [\"192.0.2.0/24\", \"2001:db8::/32\"]\n");
        let base = loaded(folder.path(), &protecting);
        let (mut choice, _) = Choice::begin(base, assigned::none());
        let before = choice.decide(assigned(1, 1, "")).unwrap();
        assert!(
            before.policy.protected_destinations.contains(&"192.0.2.0/24".parse().unwrap()),
            "the node's own"
        );
        let aimed = |address: &str| {
            format!(
                "[[endpoint]]\nname = \"api\"\naddresses = [\"{address}\"]\nports = [443]\n[[rule]]\nid = \"calls\"\n\
                 on = [\"api_burst\"]\nladder = [{{ action = \"block\", scope = \"endpoint\", until = \"1h\" }}]\n"
            )
        };
        let mut other = assigned(5, 1, "");
        other.policy.as_mut().unwrap().version.version = 2;
        for (assignment, why) in [
            (
                assigned(2, 2, "colour = \"red\"\n"),
                "ours@2:6:1: `policy.colour`: found a key that is not known",
            ),
            (assigned(3, 2, &aimed("192.0.2.7")), "which is within 192.0.2.0/24"),
            (assigned(4, 2, &aimed("2001:db8::7")), "which is within 2001:db8::/32"),
            (Assignment { number: 6, ..other }, "found policy ours@1; allowed: ours@2"),
        ] {
            let number = assignment.number;
            assert!(choice.decide(assignment).is_none(), "{why}");
            let held = choice.held(&before.policy);
            assert_eq!((held.assignment, held.is_assigned), (number, true));
            assert!(held.refused.contains(why), "{}", held.refused);
        }
        // What the disk does not take is not in force either.
        std::fs::create_dir(folder.path().join("policy.json.new")).unwrap();
        assert!(choice.decide(assigned(7, 3, "")).is_none());
        assert!(choice.held(&before.policy).refused.contains("cannot be written"));
        // After a reload the controller asks again.
        let again = choice.reload(loaded(folder.path(), TAKES)).unwrap();
        let held = choice.held(&again.policy);
        assert_eq!((held.assignment, held.refused.as_str(), running(&again).as_str()), (1, "", "ours@1"));
    }

    #[test]
    fn a_node_that_is_not_told_to_takes_none() {
        let folder = tempfile::tempdir().unwrap();
        let (mut choice, begun) = Choice::begin(loaded(folder.path(), ""), assigned(4, 1, ""));
        assert_eq!((running(&begun).as_str(), choice.held(&begun.policy).assignment), ("baseline@1", 0));
        assert!(choice.decide(assigned(5, 2, "")).is_none());
        let held = choice.held(&begun.policy);
        assert_eq!((held.assignment, held.is_assigned), (5, false));
        assert!(held.refused.contains("policy_from = \"local\""), "{}", held.refused);
        assert_eq!(running(&choice.decide(Assignment { number: 6, policy: None }).unwrap()), "baseline@1");
        assert!(choice.held(&begun.policy).refused.is_empty());
        assert!(!folder.path().join("policy.json").exists());
    }

    #[test]
    fn one_that_does_not_fit_any_more_gives_way_at_a_start_and_stops_a_reload() {
        let folder = tempfile::tempdir().unwrap();
        let (choice, begun) = Choice::begin(loaded(folder.path(), TAKES), assigned(4, 1, "colour = 1\n"));
        let held = choice.held(&begun.policy);
        assert_eq!((running(&begun).as_str(), held.assignment, held.is_assigned), ("baseline@1", 4, false));
        assert!(held.refused.contains("colour"), "{}", held.refused);
        let endpoint = "[[endpoint]]\nname = \"api\"\naddresses = [\"192.0.2.7\"]\nports = [443]\n[[rule]]\nid = \"calls\"\n\
                        on = [\"api_burst\"]\nladder = [{ action = \"block\", scope = \"endpoint\", until = \"1h\" }]\n";
        let (mut choice, begun) = Choice::begin(loaded(folder.path(), TAKES), assigned(5, 1, endpoint));
        assert_eq!(running(&begun), "ours@1");
        let protecting = format!("{TAKES}[protected]\ndestinations = [\"192.0.2.7\"]\n");
        let refused = choice.reload(loaded(folder.path(), &protecting)).unwrap_err();
        assert!(refused.contains("which is within 192.0.2.7/32"), "{refused}");
        assert_eq!(choice.held(&begun.policy).assignment, 5);
    }
}
