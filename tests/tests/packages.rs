//! The Debian packages in a Debian of their own: installed, at work, upgraded, removed and purged without a trace.
//!
//! Model: a minimal Debian is made once by debootstrap and kept as an archive beside the builds; each test unpacks a copy and
//! runs dpkg in it, by chroot, in a network namespace of the lab and a mount namespace that ends with each command. There is
//! no service manager in it, so that what the maintainer scripts leave to one (stop, start) is done here by hand.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on is to fail")]

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reeve_tests::house::{READY, TENANTS, text};
use reeve_tests::lab::addresses::VICTIM_V4;
use reeve_tests::lab::{Finished, Lab, Namespace, Process};
use reeve_tests::wait::wait_until;

const TOOL: Duration = Duration::from_secs(60);
const PACKAGES: [&str; 3] = ["reeve-agent", "reeve-controller", "reevectl"];
/// What the packages depend on, and a maker of users, which one of the tests takes away.
const INCLUDED: &str = "libnftnl11,libmnl0,systemd-standalone-sysusers";
/// The tenant's address in the ruleset: she is cut off.
const ALICE: &str = "203.0.113.10";

/// What may differ when all is gone, and why.
const EXCLUDED: [(&str, &str); 7] = [
    ("var/lib/dpkg", "dpkg's own book of what it has done"),
    ("var/log", "what dpkg and its like have logged"),
    ("var/cache", "caches, of the dynamic linker for one, are made anew by whoever needs them"),
    ("etc/passwd-", "the copy that the shadow tools leave of the file before the last change"),
    ("etc/group-", "the same"),
    ("etc/shadow-", "the same"),
    ("etc/gshadow-", "the same"),
];

/// The folder of all builds: tests lie in PROFILE/deps in it.
fn target() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}

/// The packages under test, by their names.
fn packages() -> BTreeMap<&'static str, PathBuf> {
    let folder =
        std::env::var_os("REEVE_PACKAGES").map_or_else(|| target().join("debian-quick"), PathBuf::from);
    let hint = format!("no packages in {}: make them with `./dev packages quick`", folder.display());
    let files: Vec<PathBuf> =
        fs::read_dir(&folder).expect(&hint).map(|entry| entry.unwrap().path()).collect();
    let of = |name: &'static str| {
        let is_it = |path: &&PathBuf| {
            text(path).ends_with(".deb")
                && path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{name}_"))
        };
        (name, files.iter().find(is_it).expect(&hint).clone())
    };
    PACKAGES.map(of).into()
}

fn tool(program: &str, arguments: &[&str]) {
    let output =
        Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&said));
}

/// The archive of a minimal Debian, made when it is not there.
fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let archive = target().join(format!("bookworm-{}.tar", INCLUDED.replace(',', "-")));
        if !archive.exists() {
            let start = Instant::now();
            let folder = tempfile::Builder::new().prefix("reeve-debian-").tempdir().unwrap();
            let include = format!("--include={INCLUDED}");
            tool("debootstrap", &["--variant=minbase", &include, "bookworm", text(folder.path())]);
            let new = archive.with_extension("new");
            let skipped = ["--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*"];
            tool("tar", &[&["-C", text(folder.path()), "-cf", text(&new)], &skipped[..], &["."]].concat());
            fs::rename(&new, &archive).unwrap();
            eprintln!("{} made in {} s", archive.display(), start.elapsed().as_secs());
        }
        archive
    })
}

/// A Debian of its own, with the packages in /packages, and a newer version of each in /packages/next.
struct Debian<'a> {
    root: tempfile::TempDir,
    network: &'a Namespace,
}

/// Runs in the root at $0 what follows; the mounts end with the mount namespace that the command was given.
const ENTER: &str = "mount -t proc proc \"$0/proc\" && mount -t sysfs sys \"$0/sys\" && \
     exec chroot \"$0\" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive \"$@\"";

impl<'a> Debian<'a> {
    fn unpack(network: &'a Namespace) -> Self {
        let root = tempfile::Builder::new().prefix("reeve-debian-").tempdir().unwrap();
        tool("tar", &["-C", text(root.path()), "-xpf", text(image())]);
        let next = root.path().join("packages/next");
        fs::create_dir_all(&next).unwrap();
        for (name, package) in packages() {
            fs::copy(&package, root.path().join(format!("packages/{name}.deb"))).unwrap();
            let opened = tempfile::tempdir().unwrap();
            tool("dpkg-deb", &["-R", text(&package), text(opened.path())]);
            let control = opened.path().join("DEBIAN/control");
            let lines = fs::read_to_string(&control).unwrap();
            let version = lines.lines().find(|line| line.starts_with("Version: ")).unwrap();
            fs::write(&control, lines.replace(version, &format!("{version}+next"))).unwrap();
            let made = next.join(format!("{name}.deb"));
            tool("dpkg-deb", &["-Zgzip", "-z1", "-b", text(opened.path()), text(&made)]);
        }
        Self { root, network }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn argv<'b>(&'b self, argv: &[&'b str]) -> Vec<&'b str> {
        [&["sh", "-c", ENTER, text(self.root.path())], argv].concat()
    }

    fn try_run(&self, argv: &[&str]) -> Finished {
        self.network.run(&self.argv(argv), TOOL).unwrap()
    }

    fn run(&self, argv: &[&str]) -> Finished {
        self.try_run(argv).success().unwrap()
    }

    fn dpkg(&self, action: &str, names: &[&str]) -> Finished {
        self.run(&[&["dpkg", action], names].concat())
    }

    fn version(&self, package: &str) -> String {
        self.run(&["dpkg-query", "--show", "--showformat=${Version}", package]).stdout
    }

    fn has_user(&self, name: &str) -> bool {
        self.try_run(&["getent", "passwd", name]).status.success()
    }

    /// The agent as its unit runs it: its user, two capabilities, and somebody who is told when it is ready.
    fn start_agent(&self) -> Process {
        let ear = self.path("run/notify");
        let manager = UnixDatagram::bind(&ear).unwrap();
        fs::set_permissions(&ear, fs::Permissions::from_mode(0o777)).unwrap();
        manager.set_nonblocking(true).unwrap();
        let capabilities = "-all,+net_admin,+net_raw";
        #[rustfmt::skip]
        let argv = [
            "setpriv", "--reuid", "reeve-agent", "--regid", "reeve-agent", "--clear-groups", "--no-new-privs",
            "--bounding-set", capabilities, "--inh-caps", capabilities, "--ambient-caps", capabilities,
            "env", "NOTIFY_SOCKET=/run/notify", "reeve-agent", "run",
        ];
        let mut agent = self.network.spawn(&self.argv(&argv)).unwrap();
        let mut buffer = [0; 1024];
        wait_until("the agent to be ready", READY, || {
            anyhow::ensure!(agent.is_running()?, "{}", agent.last_lines(20));
            let told = manager.recv(&mut buffer).map_or(&[][..], |len| &buffer[..len]);
            Ok(String::from_utf8_lossy(told).contains("READY=1"))
        })
        .unwrap();
        fs::remove_file(&ear).unwrap();
        agent
    }

    /// Every file but the excluded ones: what it is, its mode, its owners, and what it holds.
    fn listing(&self) -> BTreeMap<PathBuf, String> {
        let mut files = BTreeMap::new();
        list(self.root.path(), Path::new(""), &mut files);
        files
    }
}

fn list(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let path = folder.join(entry.unwrap().file_name());
        if EXCLUDED.iter().any(|(excluded, _)| path == Path::new(excluded)) {
            continue;
        }
        let full = root.join(&path);
        let data = fs::symlink_metadata(&full).unwrap();
        let holds = if data.is_symlink() {
            text(&fs::read_link(&full).unwrap()).to_owned()
        } else if data.is_file() {
            let mut hasher = DefaultHasher::new();
            hasher.write(&fs::read(&full).unwrap());
            format!("{:016x}", hasher.finish())
        } else {
            String::new()
        };
        let line = format!("{:o} {}:{} {holds}", data.mode(), data.uid(), data.gid());
        files.insert(path.clone(), line);
        if data.is_dir() {
            list(root, &path, files);
        }
    }
}

#[track_caller]
fn assert_same(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) {
    assert!(before.len() > 5_000, "a Debian has more than {} files", before.len());
    let paths = before.keys().chain(after.keys());
    let differing: Vec<_> = paths
        .filter(|path| before.get(*path) != after.get(*path))
        .map(|path| (path, before.get(path), after.get(path)))
        .collect();
    assert!(differing.is_empty(), "{differing:#?}");
}

/// Looks at the ruleset all the while that `work` takes; how often, and whether alice was cut off each time.
fn watched<T>(network: &Namespace, work: impl FnOnce() -> T) -> (T, usize) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut looks = 0;
            while !over.load(Ordering::Relaxed) {
                let ruleset = network.ruleset().unwrap();
                assert!(ruleset.contains(ALICE), "at look {looks} there was only\n{ruleset}");
                looks += 1;
            }
            looks
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        (done, looking.join().unwrap())
    })
}

#[test]
fn an_upgrade_leaves_measures_standing_and_a_purge_leaves_nothing() {
    let lab = Lab::up().unwrap();
    let debian = Debian::unpack(&lab.rt);
    // The users are to be made by hand here, as on a Debian without systemd.
    debian.dpkg("--purge", &["systemd-standalone-sysusers"]);
    let (files, ruleset) = (debian.listing(), lab.rt.ruleset().unwrap());

    let debs = PACKAGES.map(|name| format!("/packages/{name}.deb"));
    let next = PACKAGES.map(|name| format!("/packages/next/{name}.deb"));
    let (debs, next) = (debs.each_ref().map(String::as_str), next.each_ref().map(String::as_str));
    debian.dpkg("--install", &debs);
    for name in ["reeve", "reeve-agent"] {
        assert!(debian.has_user(name), "{name}");
    }
    let checked = debian.run(&["reeve-agent", "check"]);
    assert!(checked.stdout.contains("mode        observe"), "{}", checked.stdout);
    let conffiles = debian.run(&["dpkg-query", "--show", "--showformat=${Conffiles}", "reeve-agent"]).stdout;
    assert!(conffiles.contains(" /etc/reeve/agent.toml "), "{conffiles}");

    // As installed, it starts and touches nothing.
    let agent = debian.start_agent();
    agent.terminate(READY).unwrap().success().unwrap();
    assert_eq!(lab.rt.ruleset().unwrap(), ruleset);

    let config = debian.path("etc/reeve/agent.toml");
    let settings = fs::read_to_string(&config).unwrap();
    let enforcing =
        settings.replace("mode = \"observe\"", "mode = \"enforce\"").replace("\"node-1\"", "\"rt\"");
    assert_ne!(settings, enforcing);
    fs::write(&config, &enforcing).unwrap();
    fs::write(debian.path("etc/reeve/tenants.toml"), TENANTS).unwrap();
    let agent = debian.start_agent();
    let victim = VICTIM_V4.to_string();
    let scan = ["nmap", "-n", "-Pn", "-sS", "-p", "1-300", "--max-retries", "0", victim.as_str()];
    lab.alice.run(&scan, TOOL).unwrap();
    let is_cut = || Ok(lab.rt.ruleset()?.contains(ALICE));
    wait_until("alice to be cut off", READY, is_cut)
        .unwrap_or_else(|error| panic!("{error}: {}", agent.last_lines(20)));

    // The service manager would start the agent anew at the end of the upgrade. Then the same where none is running: whatever
    // the scripts do to the table, nobody is there to forbid or to mend it.
    let version = debian.version("reeve-agent");
    assert_eq!(version, format!("{}-1", env!("CARGO_PKG_VERSION")));
    let changelog = include_str!("../../systemd/debian/changelog");
    assert!(
        changelog.starts_with(&format!("reeve ({version}) ")),
        "{version} is not what the changelog begins with"
    );
    let (agent, looks) = watched(&lab.rt, || {
        debian.dpkg("--install", &next);
        agent.terminate(READY).unwrap().success().unwrap();
        debian.dpkg("--install", &debs);
        debian.dpkg("--install", &next);
        debian.start_agent()
    });
    assert!(looks > 10, "looked {looks} times only");
    assert_eq!(debian.version("reeve-agent"), format!("{version}+next"));
    assert_eq!(fs::read_to_string(&config).unwrap(), enforcing, "what the administrator wrote stays");

    agent.terminate(READY).unwrap().success().unwrap();
    assert!(is_cut().unwrap(), "measures stand when the agent stops");
    debian.dpkg("--remove", &PACKAGES);
    assert_eq!(lab.rt.ruleset().unwrap(), ruleset, "nobody is left to lift what stands");
    assert!(!debian.path("usr/bin/reeve-agent").exists());
    let journal = fs::metadata(debian.path("var/lib/reeve/agent/journal")).unwrap();
    assert_ne!(journal.uid(), 0, "what the removal wrote is still the agent's");
    assert!(config.exists() && debian.has_user("reeve-agent"), "a removal keeps settings, state and users");

    debian.dpkg("--purge", &PACKAGES);
    assert_same(&files, &debian.listing());
    assert_eq!(lab.rt.ruleset().unwrap(), ruleset);
}

#[test]
fn one_package_goes_without_the_other_and_sysusers_makes_the_users() {
    let logs = tempfile::tempdir().unwrap();
    let network = Namespace::create(format!("reeve-{}-packages", std::process::id()), logs.path()).unwrap();
    let debian = Debian::unpack(&network);
    debian.run(&["systemd-sysusers", "--version"]);
    let files = debian.listing();
    debian.dpkg("--install", &["/packages/reeve-agent.deb", "/packages/reeve-controller.deb"]);
    for (user, folder) in [("reeve", "controller"), ("reeve-agent", "agent")] {
        let folder = format!("/var/lib/reeve/{folder}");
        let told = debian.run(&["stat", "--format=%U:%G %a", &folder]).stdout;
        assert_eq!(told.trim(), format!("{user}:{user} 700"));
    }
    let as_reeve = |command: &str| {
        let dir = ["--dir", "/var/lib/reeve/controller"];
        debian.run(&[&["runuser", "-u", "reeve", "--", "reeve-controller", command], &dir[..]].concat())
    };
    as_reeve("init");
    assert!(as_reeve("check").stdout.contains("good"));

    // An agent that was started by hand holds up no removal, and whoever removes is told. Then all comes back.
    let agent = debian.start_agent();
    let told = debian.dpkg("--remove", &["reeve-agent"]).stderr;
    assert!(told.contains("`nft delete table inet reeve` then lifts them"), "{told}");
    agent.terminate(READY).unwrap().success().unwrap();
    debian.dpkg("--install", &["/packages/reeve-agent.deb"]);

    // A table that somebody's agent left, with nobody at work.
    network.nft("table inet reeve {}\ntable inet other {}\n").unwrap();
    debian.dpkg("--purge", &["reeve-agent"]);
    let ruleset = network.ruleset().unwrap();
    assert!(ruleset.contains("inet other") && !ruleset.contains("inet reeve"), "{ruleset}");
    assert!(!debian.has_user("reeve-agent") && debian.has_user("reeve"));
    assert!(!debian.path("var/lib/reeve/agent").exists() && !debian.path("etc/reeve/agent.toml").exists());
    assert!(
        debian.path("etc/reeve/controller.env").exists(),
        "the controller's settings are not the agent's"
    );
    as_reeve("check");

    fs::write(debian.path("etc/reeve/notes"), "whatever an administrator leaves there").unwrap();
    debian.dpkg("--purge", &["reeve-controller"]);
    assert_same(&files, &debian.listing());
}
