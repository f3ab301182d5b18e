//! A second node beside the house's, with an agent of its own and the same controller: tenants move from one to the other.
//!
//! Model: a router in a namespace of its own with a port `tap9` to where Alice may be, and an uplink of its own to the internet. Its agent reaches
//! the controller by a line that is carried from one namespace into the other, byte by byte, as a management network would.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::{House, PORT, READY, binary, text};
use crate::lab::{Namespace, Process, enter_network_namespace};
use crate::wait::wait_until;

/// The second node's name.
pub const NAME: &str = "rt9";

/// The second node.
#[derive(Debug)]
pub struct Neighbour {
    // Dropped before the namespace that they are in.
    agent: Option<Process>,
    line: Line,
    /// The node.
    pub rt: Namespace,
}

impl Neighbour {
    /// Makes the node, and starts an enforcing agent on it with the house's policy.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn open(house: &House) -> anyhow::Result<Self> {
        let name = format!("{}9", house.lab.rt.name());
        let rt = Namespace::create(name, house.lab.dir())?;
        wire(house, &rt)?;
        let made = Command::new(binary("reeve-controller")?)
            .args(["init", "--node", NAME, "--dir", &house.text("controller")])
            .output()?;
        ensure!(made.status.success(), "init: {}", String::from_utf8_lossy(&made.stderr));
        let dir = house.text("controller");
        let settings = format!(
            "node = \"{NAME}\"\nmode = \"enforce\"\npolicy = \"{}\"\nstate_dir = \"agent-state-9\"\n\n\
             [[vantage]]\nkind = \"port\"\ninterfaces = [\"tap9\"]\n\n\
             [controller]\naddress = \"https://127.0.0.1:{PORT}\"\nca = \"{dir}/ca.crt\"\n\
             certificate = \"{dir}/nodes/{NAME}.crt\"\nkey = \"{dir}/nodes/{NAME}.key\"\n",
            house.policy
        );
        std::fs::write(house.path("agent9.toml"), settings)?;
        let line = Line::lay(&rt, &house.lab.rt)?;
        let mut neighbour = Self { agent: None, line, rt };
        neighbour.start_agent(house)?;
        Ok(neighbour)
    }

    /// Starts its agent and waits until it is linked.
    ///
    /// # Errors
    /// When it ends, or is not linked in time.
    pub fn start_agent(&mut self, house: &House) -> anyhow::Result<()> {
        let (program, config, record) =
            (binary("reeve-agent")?, house.text("agent9.toml"), house.text("record-9"));
        let argv = [text(&program), "run", "--config", &config, "--log", "debug", "--record", &record];
        let mut agent = self.rt.spawn(&argv)?;
        wait_until("the second agent to be linked", READY, || {
            ensure!(agent.is_running()?, "{}", agent.last_lines(10));
            Ok(agent.stderr().contains("linked to the controller"))
        })?;
        self.agent = Some(agent);
        Ok(())
    }

    /// Stops its agent and replays what it wrote down: it gives what ran live. How many outputs were compared.
    ///
    /// # Errors
    /// When a replay differs, with where.
    pub fn check_parity(&mut self, house: &House) -> anyhow::Result<u64> {
        let agent = self.agent.take().context("the agent is not running")?;
        agent.terminate(READY)?.success()?;
        let replayed =
            house.reeve_agent(&["replay", "--recorded", "--json", &house.text("record-9")])?.success()?;
        let end: serde_json::Value = serde_json::from_str(replayed.stdout.lines().last().context("no end")?)?;
        end["played"]["equal"].as_u64().context("a replay tells how much was equal")
    }

    /// Waits until its agent was told what follows tenants.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn wait_until_told(&self) -> anyhow::Result<()> {
        let agent = self.agent.as_ref().context("the agent is not running")?;
        wait_until("the second agent to be told", READY, || {
            Ok(agent.stderr().contains("what follows tenants"))
        })
        .map(drop)
    }

    /// What its agent said last.
    #[must_use]
    pub fn last_words(&self) -> String {
        self.agent.as_ref().map_or(String::new(), |agent| agent.last_lines(25))
    }

    /// Takes Alice's machine from the first node's port to this one's, addresses and all.
    ///
    /// # Errors
    /// When a link cannot be moved.
    pub fn take_alice(&self, house: &House) -> anyhow::Result<()> {
        house.lab.alice.ip(
            "link set eth0 down\nlink set eth9 up\naddr flush dev eth0\naddr add 203.0.113.10/25 dev eth9\n\
             addr add 2001:db8:10::10/64 dev eth9 nodad\nroute add default via 203.0.113.1\n\
             route add default via 2001:db8:10::1\n",
        )?;
        // The internet's way back to her.
        house.lab.net.ip(
            "route replace 203.0.113.0/25 via 169.254.10.1\nroute replace 2001:db8:10::/64 via 2001:db8:a::1\n",
        )
    }

    /// Cuts the line to the controller, or mends it.
    pub fn set_line(&self, is_whole: bool) {
        self.line.is_whole.store(is_whole, Ordering::Relaxed);
    }
}

/// Forwards as the first node does, with a port for Alice and an uplink of its own.
fn wire(house: &House, rt: &Namespace) -> anyhow::Result<()> {
    rt.enter(|| {
        for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            std::fs::write(format!("/proc/sys/net/{key}"), "1")?;
        }
        for key in ["ipv4/icmp_ratelimit", "ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter"] {
            std::fs::write(format!("/proc/sys/net/{key}"), "0")?;
        }
        Ok(())
    })?;
    let (alice, net) = (house.lab.alice.name(), house.lab.net.name());
    rt.ip(&format!(
        "link add tap9 type veth peer name eth9 netns {alice}\nlink add up9 type veth peer name net9 netns {net}\n\
         link set tap9 up\nlink set up9 up\naddr add 203.0.113.1/25 dev tap9\naddr add 2001:db8:10::1/64 dev tap9 nodad\n\
         addr add 169.254.10.1/30 dev up9\naddr add 2001:db8:a::1/64 dev up9 nodad\n\
         route add default via 169.254.10.2\n"
    ))?;
    house.lab.net.ip(
        "link set net9 up\naddr add 169.254.10.2/30 dev net9\naddr add 2001:db8:a::2/64 dev net9 nodad\n",
    )?;
    rt.ip("route add default via 2001:db8:a::2\n")?;
    house.lab.switch_offloads_off(rt, "tap9")?;
    house.lab.switch_offloads_off(rt, "up9")?;
    house.lab.switch_offloads_off(&house.lab.alice, "eth9")?;
    house.lab.switch_offloads_off(&house.lab.net, "net9")
}

/// A line from a port of one namespace to the same one of another.
#[derive(Debug)]
struct Line {
    is_whole: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Line {
    fn lay(from: &Namespace, to: &Namespace) -> anyhow::Result<Self> {
        let listener = from.enter(|| Ok(TcpListener::bind(("127.0.0.1", PORT))?))?;
        listener.set_nonblocking(true)?;
        let far = to.open()?;
        let (is_whole, is_over) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let (whole, over) = (Arc::clone(&is_whole), Arc::clone(&is_over));
        // The thread enters the other namespace for good: what it connects, it connects there.
        let thread = std::thread::spawn(move || {
            if enter_network_namespace(far.as_fd()).is_err() {
                return;
            }
            let mut carried: Vec<JoinHandle<()>> = Vec::new();
            while !over.load(Ordering::Relaxed) {
                match listener.accept() {
                    // Nobody answers.
                    Ok(_) if !whole.load(Ordering::Relaxed) => {}
                    Ok((near, _)) => {
                        let state = (Arc::clone(&whole), Arc::clone(&over));
                        if let Ok(far) = TcpStream::connect(("127.0.0.1", PORT)) {
                            carried.extend(carry(near, far, &state).into_iter().flatten());
                        }
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(20)),
                }
            }
            carried.into_iter().for_each(|thread| _ = thread.join());
        });
        Ok(Self { is_whole, is_over, thread: Some(thread) })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Carries bytes both ways until one end is closed, or the line is cut.
fn carry(
    near: TcpStream,
    far: TcpStream,
    state: &(Arc<AtomicBool>, Arc<AtomicBool>),
) -> io::Result<[JoinHandle<()>; 2]> {
    near.set_nonblocking(false)?;
    let ways = [(near.try_clone()?, far.try_clone()?), (far, near)];
    Ok(ways.map(|(mut from, mut to)| {
        let (whole, over) = (Arc::clone(&state.0), Arc::clone(&state.1));
        std::thread::spawn(move || {
            let _ = from.set_read_timeout(Some(Duration::from_millis(50)));
            let mut bytes = [0_u8; 16 << 10];
            while whole.load(Ordering::Relaxed) && !over.load(Ordering::Relaxed) {
                match io::Read::read(&mut from, &mut bytes) {
                    Ok(0) => break,
                    Ok(count) => {
                        if io::Write::write_all(&mut to, &bytes[..count]).is_err() {
                            break;
                        }
                    }
                    Err(error)
                        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                    Err(_) => break,
                }
            }
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        })
    }))
}
