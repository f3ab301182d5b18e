//! The node's own processes: what the keeper must know of them to tell the kernel whose they are.

use std::path::PathBuf;
use std::sync::Arc;

use reeve_core::ruleset::local::Here;
use reeve_policy::{NodeId, Tenant};

use super::watch::interest;
use crate::cgroups;
use crate::config::Loaded;

/// See the module.
#[derive(Debug)]
pub(crate) struct Processes {
    here: Here,
    root: Option<PathBuf>,
}

impl Processes {
    /// By these settings; `None` where nobody looks at the node's own processes.
    pub fn of(loaded: &Loaded) -> Option<Self> {
        let settings = loaded.settings.local.as_ref()?;
        let interest = interest(loaded);
        let mut read_ports: Vec<u16> =
            [interest.read_ports, interest.whole_ports, interest.quic_ports].concat();
        read_ports.sort_unstable();
        read_ports.dedup();
        let (mailers, first_user) = (settings.mailers.clone(), settings.first_user);
        let here = Here { read_ports, mailers, first_user, ..Here::default() };
        Some(Self { here, root: settings.cgroup_root.clone().or_else(cgroups::root) })
    }

    /// Looks which control groups of tenants there are; whether that has changed.
    pub fn look(&mut self, node: &NodeId, tenants: &[Arc<Tenant>]) -> bool {
        let Some(root) = &self.root else { return false };
        let here = tenants.iter().flat_map(|tenant| &tenant.cgroups).filter(|group| group.is_on(node));
        let groups = cgroups::ids(root, here.map(|group| &group.path));
        let is_other = groups != self.here.groups;
        self.here.groups = groups;
        is_other
    }

    /// What is known of them.
    pub fn here(&self) -> &Here {
        &self.here
    }
}
