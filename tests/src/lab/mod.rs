//! The lab: two tenants, a node and an internet in network namespaces of this process's own.
//!
//! ```text
//!  alice ── eth0 ═ tap1 ──┐
//!                         rt (the node) ── up0 ═ net0 ── net (the internet)
//!  bob ──── eth0 ═ tap2 ──┘
//! ```
//! Model: a [`Lab`] is made whole or not at all, runs beside others (its names hold the process id and a random number),
//! and takes everything away in `Drop`, on a signal and on a panic. In `net` a [`Responder`] serves on every address there is.
//!
//! Left out: delay and loss, name service but where [`mail`] takes it; and any way out. No namespace has a link to the machine.

pub mod addresses;
mod generator;
pub mod mail;
mod namespace;
mod process;
mod programs;
mod registry;
mod responder;
mod sniffer;
mod sys;
mod topology;
mod visitor;

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;

pub use generator::{Generator, Sent, Spread};
pub use namespace::Namespace;
pub use process::{Finished, Process};
pub use programs::{Program, http2_clear_server, http2_server};
pub use responder::Responder;
pub use sniffer::{Header, Sniffer};
pub use sys::clock_ticks_per_second;
pub(crate) use sys::enter_network_namespace;
pub use visitor::{Visitor, VisitorReport};

use addresses::{ALICE_PORT, BOB_PORT, INTERNET_INTERFACE, TENANT_INTERFACE, UPLINK};

/// How the tenants' traffic passes the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The node is their router.
    Routed,
    /// Their ports and the uplink are ports of one bridge, and their router is beyond it. Says whether the kernel hands what is
    /// bridged to the hooks of what is routed as well (`bridge-nf-call-iptables`).
    Bridged {
        /// Whether it does.
        netfilter: bool,
    },
    /// Their ports are ports of one bridge, and the node is their router by it.
    Gateway,
    /// Alice is on the node itself, by an address of her own. Bob is routed.
    Local,
}

/// The whole lab. Its namespaces are gone when it is dropped.
#[derive(Debug)]
pub struct Lab {
    // Declared in the order in which they are to be dropped: what listens in a namespace goes before it.
    responder: Responder,
    /// The first tenant's machine.
    pub alice: Namespace,
    /// The second tenant's machine.
    pub bob: Namespace,
    /// The node: a router between the tenants and the internet. Agent and controller run here.
    pub rt: Namespace,
    /// The internet.
    pub net: Namespace,
    shape: Shape,
    dir: TempDir,
}

impl Lab {
    /// Makes a lab in which every packet is a packet: segmentation offloads are off.
    ///
    /// # Errors
    /// When the user is not root, a tool is missing, or the kernel lacks what is needed.
    pub fn up() -> anyhow::Result<Self> {
        Self::build(Shape::Routed, false)
    }

    /// The same with the tenants' traffic passing otherwise.
    ///
    /// # Errors
    /// As [`Lab::up`].
    pub fn up_shaped(shape: Shape) -> anyhow::Result<Self> {
        Self::build(shape, false)
    }

    /// Makes a lab whose interfaces bundle segments as real ones do.
    ///
    /// # Errors
    /// As [`Lab::up`].
    pub fn up_with_offloads() -> anyhow::Result<Self> {
        Self::build(Shape::Routed, true)
    }

    fn build(shape: Shape, offloads: bool) -> anyhow::Result<Self> {
        if !sys::is_root() {
            bail!("the lab needs root: it makes network namespaces. Run it as root or with sudo.");
        }
        let dir =
            tempfile::Builder::new().prefix("reeve-lab-").tempdir().context("cannot make a directory")?;
        let random = RandomState::new().hash_one(std::process::id()) & 0xff_ffff;
        let make = |part: &str| {
            let name = format!("reeve-{}-{random:06x}-{part}", std::process::id());
            Namespace::create(name, dir.path())
        };
        let (alice, bob, rt, net) = (make("t1")?, make("t2")?, make("rt")?, make("net")?);
        let responder = Responder::start(&net)?;
        let lab = Self { responder, alice, bob, rt, net, shape, dir };
        topology::wire(&lab, offloads)?;
        Ok(lab)
    }

    /// How the tenants' traffic passes the node.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Where Alice's programs run.
    #[must_use]
    pub fn home_of_alice(&self) -> &Namespace {
        if self.shape == Shape::Local { &self.rt } else { &self.alice }
    }

    /// The four namespaces.
    #[must_use]
    pub fn namespaces(&self) -> [&Namespace; 4] {
        [&self.alice, &self.bob, &self.rt, &self.net]
    }

    /// Every interface but the loopback ones, with its namespace.
    #[must_use]
    pub fn interfaces(&self) -> [(&Namespace, &'static str); 6] {
        [
            (&self.alice, TENANT_INTERFACE),
            (&self.bob, TENANT_INTERFACE),
            (&self.rt, ALICE_PORT),
            (&self.rt, BOB_PORT),
            (&self.rt, UPLINK),
            (&self.net, INTERNET_INTERFACE),
        ]
    }

    /// Lets every packet that an interface sends be a packet: no bundles of segments.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn switch_offloads_off(&self, namespace: &Namespace, interface: &str) -> anyhow::Result<()> {
        topology::switch_offloads_off(namespace, interface)
    }

    /// A directory that lives as long as the lab.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// How many connections the internet's small services have answered.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.responder.served()
    }

    /// Starts an iperf3 server in the internet and waits until it listens.
    ///
    /// # Errors
    /// When it does not come up within five seconds.
    pub fn iperf3_server(&self) -> anyhow::Result<Process> {
        let mut server = self.net.spawn(&["iperf3", "--server"])?;
        crate::wait::wait_until("iperf3 to listen", Duration::from_secs(5), || {
            if !server.is_running()? {
                bail!("{}", server.last_lines(5));
            }
            self.net.enter(|| Ok(std::net::TcpStream::connect(("127.0.0.1", 5201)).is_ok()))
        })?;
        Ok(server)
    }
}
