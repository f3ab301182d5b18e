//! What there is to see on the node. Nothing is changed, but for rings and sockets that are opened and closed again.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use ipnet::IpNet;
use reeve_core::VantageId;
use reeve_core::blocklist::Reading;
use reeve_core::interest::Interest;
use reeve_policy::{Pause, Timestamp};

use crate::blocklists::{self, BlocklistError, BlocklistSettings};
use crate::capture::ring::Ring;
use crate::capture::{CaptureError, RingOptions};
use crate::config::Settings;
use crate::enforce::{EnforceError, Enforcer, Ownership};
use crate::links::{Links, LinksError};
use crate::state::{StateFolder, pause};

/// How long the controller may take to be found and to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// What the kernel calls itself, such as `6.1.0-35-amd64`.
pub(super) fn kernel_release() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned())
}

/// The capabilities that this process has in effect, a bit each (capabilities(7)).
pub(super) fn effective_capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

/// Whether the agent's table stands.
pub(super) fn nftables() -> Result<bool, EnforceError> {
    Enforcer::open(Ownership::Auto)?.is_installed()
}

/// Whether bridged packets are handed to the hooks of IP, and of IPv6; nothing where no bridge asks for it.
pub(super) fn bridge_calls() -> Option<(bool, bool)> {
    let folder = Path::new("/proc/sys/net/bridge");
    let is_on = |name| fs::read_to_string(folder.join(name)).ok().map(|text| text.trim() == "1");
    Some((is_on("bridge-nf-call-iptables")?, is_on("bridge-nf-call-ip6tables")?))
}

/// Whether an agent has claimed this network; see `run::claim_network`. Connecting claims nothing.
pub(super) fn another_agent() -> io::Result<bool> {
    let name = std::os::unix::net::SocketAddr::from_abstract_name(b"reeve-agent")?;
    match UnixDatagram::unbound()?.connect_addr(&name) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(error),
    }
}

/// Who has paused the node: its own pause, then the controller's.
pub(super) fn pauses(folder: &Path) -> io::Result<Vec<Pause>> {
    let own = pause::read(folder)?.map(|local| local.pause);
    let held = StateFolder::peek_pauses(folder).map_err(io::Error::other)?;
    let controllers = [held.fleet, held.node].into_iter().flatten().map(|held| held.pause);
    Ok(own.into_iter().chain(controllers).collect())
}

/// What is known of the time.
#[derive(Clone, Debug)]
pub(super) struct ClockSeen {
    pub now: SystemTime,
    /// When this program was built or installed: it cannot be earlier now.
    pub program: Option<SystemTime>,
    /// A service that keeps the time and says that it is kept.
    pub keeper: Option<&'static str>,
}

pub(super) fn clock() -> ClockSeen {
    // What each leaves where it has a source, or runs. Asking the kernel (adjtimex(2)) would say no more: it holds the clock
    // for kept as long as somebody keeps it.
    let keepers = [
        ("/run/systemd/timesync/synchronized", "systemd-timesyncd"),
        ("/run/chrony/chronyd.pid", "chrony"),
        ("/run/chronyd.pid", "chrony"),
        ("/run/ntpd.pid", "ntpd"),
        ("/run/openntpd.pid", "openntpd"),
    ];
    let program = std::env::current_exe().and_then(fs::metadata).and_then(|data| data.modified());
    ClockSeen {
        now: SystemTime::now(),
        program: program.ok(),
        keeper: keepers.iter().find(|(path, _)| Path::new(path).exists()).map(|(_, name)| *name),
    }
}

/// An interface that the settings name.
#[derive(Debug)]
pub(super) struct InterfaceSeen {
    pub name: String,
    pub is_up: bool,
    /// Whether a capture ring can be had on it.
    pub ring: Result<(), CaptureError>,
}

/// The interfaces that would be watched, each with a small ring on it for a moment.
pub(super) fn interfaces(settings: &Settings) -> Result<Vec<InterfaceSeen>, LinksError> {
    let watched = Links::open()?.list().into_iter().filter(|link| settings.kind_of(&link.name).is_some());
    let options = RingOptions::of_bytes(0);
    let seen = watched.map(|link| InterfaceSeen {
        ring: Ring::open(VantageId(0), &link.name, &Interest::default(), options).map(drop),
        is_up: link.up,
        name: link.name,
    });
    Ok(seen.collect())
}

/// What is to be seen of the state folder.
#[derive(Clone, Debug)]
pub(super) struct FolderSeen {
    /// The user whom the folder belongs to.
    pub owner: u32,
    /// A file in it that belongs to somebody else.
    pub foreign: Option<PathBuf>,
    /// Whether a file could be made in it.
    pub written: Result<(), String>,
    /// Free bytes, for whoever is not root.
    pub free_bytes: u64,
}

/// A list as the agent would read it, and how long ago its file was last changed.
pub(super) fn blocklist(
    list: &BlocklistSettings,
    spared: &[IpNet],
) -> (Result<Reading, BlocklistError>, Option<Duration>) {
    let changed = fs::metadata(&list.file).and_then(|metadata| metadata.modified()).ok();
    (blocklists::examine(list, spared), changed.map(|at| at.elapsed().unwrap_or_default()))
}

pub(super) fn folder(path: &Path) -> io::Result<FolderSeen> {
    let owner = fs::metadata(path)?.uid();
    let mut foreign = None;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.metadata()?.uid() != owner {
            foreign = Some(entry.path());
        }
    }
    // Root may write anywhere; that a disk is mounted read-only or broken, only a try shows.
    let name = path.join(format!("doctor.{}", std::process::id()));
    let written = fs::OpenOptions::new().write(true).create_new(true).open(&name).and_then(|file| {
        let synced = file.sync_all();
        fs::remove_file(&name).and(synced)
    });
    let space = rustix::fs::statvfs(path)?;
    Ok(FolderSeen {
        owner,
        foreign,
        written: written.map_err(|error| error.to_string()),
        free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
    })
}

/// Why the controller cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unreached {
    /// Its name is nobody's.
    Unknown(String),
    /// None of its addresses answered; what the last one said.
    Silent(String),
}

/// Finds the host of a URL and connects to it, for at most [`PATIENCE`]; who answered, and after what time.
pub(super) fn connect(url: &str) -> Result<(SocketAddr, Duration), Unreached> {
    let authority = super::judge::authority(url);
    let start = Instant::now();
    let (sender, found) = mpsc::channel();
    // A resolver that does not answer is left behind: the process ends soon.
    std::thread::spawn(move || {
        let _ = sender.send(authority.to_socket_addrs().map(Iterator::collect::<Vec<_>>));
    });
    let addresses = match found.recv_timeout(PATIENCE) {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Err(Unreached::Unknown(error.to_string())),
        Err(_) => return Err(Unreached::Unknown("no name server answered".into())),
    };
    let mut last = Unreached::Unknown("it has no address".into());
    for address in addresses {
        // A timeout of zero would be an error of its own.
        let left = PATIENCE.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&address, left) {
            Ok(_) => return Ok((address, start.elapsed())),
            Err(error) => last = Unreached::Silent(format!("{address}: {error}")),
        }
    }
    Err(last)
}

pub(super) fn now() -> Timestamp {
    Timestamp::EPOCH + SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path)
}

/// The mode of a key that can be read and holds one.
pub(super) fn key(path: &Path) -> io::Result<(u32, bool)> {
    let text = fs::read(path)?;
    Ok((fs::metadata(path)?.mode(), String::from_utf8_lossy(&text).contains("PRIVATE KEY-----")))
}
