//! Mail: exchangers and names in the internet, and a real Postfix on a tenant's host.
//!
//! Model: [`MailNet`] serves the names of as many domains as it is given, each with one exchanger, and has exchangers behind every
//! address; how one behaves is told by its address ([`Manner`]). [`Postfix`] is an instance of its own: configuration, queue and
//! log lie in the lab's folder, and the machine's own mail, if it has any, is not touched. Left out: sender authentication (SPF, DKIM),
//! which Reeve does not look at, and delivery: what is taken is dropped.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::Lab;
use super::addresses::NAMES_V4;
use super::namespace::Namespace;
use super::process::{Finished, Process};
use super::programs::Program;
use crate::wait::wait_until;

/// How long a daemon may take to come up.
const READY: Duration = Duration::from_secs(15);
/// How long a command may take.
const COMMAND: Duration = Duration::from_secs(20);

/// What an exchanger does with mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It takes everything.
    Takes,
    /// It knows no recipient.
    KnowsNobody,
    /// It puts each recipient off once.
    Greylists,
    /// It takes everything and offers STARTTLS.
    OffersTls,
}

/// The exchanger number `number`, at most 62,499, of those who behave so.
#[must_use]
pub fn exchanger(manner: Manner, number: u16) -> Ipv4Addr {
    let octet = match manner {
        Manner::Takes => 25,
        Manner::KnowsNobody => 26,
        Manner::Greylists => 27,
        Manner::OffersTls => 28,
    };
    let [third, fourth] = [number / 250, number % 250 + 1].map(|part| u8::try_from(part).unwrap_or(u8::MAX));
    Ipv4Addr::new(20, octet, third, fourth)
}

/// The exchanger number `number` over IPv6; it takes everything.
#[must_use]
pub fn exchanger_v6(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xf025, 0, 0, 0, number, 0x25)
}

/// A message that an exchanger took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The exchanger's address.
    pub exchanger: String,
    /// Whether it came over TLS.
    pub is_encrypted: bool,
}

/// The internet's exchangers and names.
#[derive(Debug)]
pub struct MailNet {
    sinks: Process,
    _names: Process,
}

impl MailNet {
    /// Starts exchangers, and a name server that knows `domains` with the exchanger of each.
    ///
    /// # Errors
    /// When one of them does not come up.
    pub fn start(lab: &Lab, domains: &[(String, Ipv4Addr)]) -> anyhow::Result<Self> {
        let sinks = Program::MailSink.serve(lab)?;
        let names = name_server(lab, domains)?;
        Ok(Self { sinks, _names: names })
    }

    /// The messages that were taken so far.
    #[must_use]
    pub fn taken(&self) -> Vec<Taken> {
        let line = |line: &str| {
            let mut words = line.split(' ');
            let exchanger = words.next()?.to_owned();
            Some(Taken { exchanger, is_encrypted: words.nth(1)? == "tls" })
        };
        self.sinks.stdout().lines().filter_map(line).collect()
    }
}

fn name_server(lab: &Lab, domains: &[(String, Ipv4Addr)]) -> anyhow::Result<Process> {
    let mut settings = String::from("port=53\nno-resolv\nno-hosts\nno-daemon\nuser=root\npid-file\n");
    for (domain, exchanger) in domains {
        writeln!(settings, "mx-host={domain},mx.{domain},10\nhost-record=mx.{domain},{exchanger}")?;
    }
    let path = lab.dir().join("names.conf");
    fs::write(&path, settings)?;
    let mut names = lab.net.spawn(&["dnsmasq", &format!("--conf-file={}", path.display())])?;
    wait_until("the name server to start", READY, || {
        ensure!(names.is_running()?, "{}", names.last_lines(10));
        Ok(names.stderr().contains("started"))
    })?;
    Ok(names)
}

/// For whom a Postfix takes mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relaying {
    /// For anybody from anybody: an open relay.
    Open,
    /// The same, with TLS offered on the way in and taken on the way out.
    OpenSealed,
    /// For its own domain from anybody, for others from the host itself.
    Closed,
    /// The same, with TLS offered on the way in and taken on the way out.
    ClosedSealed,
    /// For anybody from anybody, but not without TLS.
    OpenStrict,
    /// For its own domain from anybody, but not without TLS.
    ClosedStrict,
}

/// A mail server on a tenant's host.
#[derive(Debug)]
pub struct Postfix {
    master: Process,
    config: String,
}

/// Its own domain.
pub const OWN_DOMAIN: &str = "alice.example";

impl Postfix {
    /// Starts one in `host` and waits until it greets.
    ///
    /// # Errors
    /// When it does not come up, with what it logged.
    pub fn start(lab: &Lab, host: &Namespace, relaying: Relaying) -> anyhow::Result<Self> {
        // Its daemons are another user than this one, and must reach its folder.
        fs::set_permissions(lab.dir(), Permissions::from_mode(0o711))?;
        let dir = lab.dir().join("postfix");
        lay_out(&dir, relaying)?;
        let config = dir.join("etc").display().to_string();
        let resolver = dir.join("resolv.conf");
        fs::write(&resolver, format!("nameserver {NAMES_V4}\n"))?;
        // The mount is seen by this program alone: `ip netns exec` gives it a mount namespace of its own.
        let script = "mount --bind \"$1\" /etc/resolv.conf && exec postfix -c \"$2\" start-fg";
        let resolver = resolver.display().to_string();
        let mut master = host.spawn(&["sh", "-c", script, "sh", &resolver, &config])?;
        wait_until("Postfix to greet", READY, || {
            ensure!(master.is_running()?, "{}", master.last_lines(20));
            host.enter(|| Ok(TcpStream::connect(("127.0.0.1", 25)).is_ok()))
        })
        .with_context(|| master.last_lines(20))?;
        Ok(Self { master, config })
    }

    /// Closes it as its owner would: from now on it relays for the host itself alone.
    ///
    /// # Errors
    /// When it cannot be told to.
    pub fn close(&self, host: &Namespace) -> anyhow::Result<()> {
        let path = Path::new(&self.config).join("main.cf");
        let settings = fs::read_to_string(&path)?;
        ensure!(settings.contains(OPEN), "it is closed already");
        fs::write(&path, settings.replace(OPEN, CLOSED))?;
        host.run(&["postfix", "-c", &self.config, "reload"], COMMAND)?.success().map(drop)
    }

    /// Tries all mail that waits once more.
    ///
    /// # Errors
    /// When it cannot be told to.
    pub fn flush(&self, host: &Namespace) -> anyhow::Result<()> {
        host.run(&["postqueue", "-c", &self.config, "-f"], COMMAND)?.success().map(drop)
    }

    /// How many messages wait.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn waiting(&self, host: &Namespace) -> anyhow::Result<usize> {
        let listed: Finished = host.run(&["postqueue", "-c", &self.config, "-j"], COMMAND)?.success()?;
        Ok(listed.stdout.lines().count())
    }

    /// How many deliveries were tried and ended so, by its log: `sent`, `deferred` or `bounced`.
    #[must_use]
    pub fn deliveries(&self, status: &str) -> usize {
        let wanted = format!("status={status}");
        let is_delivery = |line: &&str| line.contains("postfix/smtp[") && line.contains(&wanted);
        self.master.stdout().lines().filter(is_delivery).count()
    }

    /// The end of its log.
    #[must_use]
    pub fn last_lines(&self, count: usize) -> String {
        self.master.last_lines(count)
    }
}

/// A letter in a mailbox, as an independent reader of mail sees it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Letter {
    /// Whose it is.
    pub from: String,
    /// To whom.
    pub to: String,
    /// Its subject.
    pub subject: String,
    /// The message that it belongs to.
    pub references: String,
    /// All fields of its head.
    pub headers: std::collections::BTreeMap<String, String>,
    /// Its text.
    pub text: String,
    /// The same in HTML.
    pub html: String,
}

/// Reads letters of a folder, oldest first, and writes them as JSON.
const READ_LETTERS: &str = "\
import email, email.policy, json, pathlib, sys
found = []
for path in sorted(pathlib.Path(sys.argv[1]).glob('*'), key=lambda path: path.stat().st_mtime_ns):
    letter = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    body = lambda kind: letter.get_body((kind,)).get_content() if letter.get_body((kind,)) else ''
    found.append({'from': letter['From'], 'to': letter['To'], 'subject': letter['Subject'],
        'references': letter['References'] or '', 'headers': {name: str(value) for name, value in letter.items()},
        'text': body('plain'), 'html': body('html')})
print(json.dumps(found))
";

/// A mail server that keeps what it takes for a tenant's domain, over TLS alone.
#[derive(Debug)]
pub struct Mailboxes {
    _master: Process,
    letters: PathBuf,
    certificate: String,
}

impl Mailboxes {
    /// The port that it takes letters at: submission.
    const PORT: u16 = 2587;

    /// Starts one on the loopback of `host` and waits until it greets.
    ///
    /// # Errors
    /// When it does not come up, with what it logged.
    pub fn start(lab: &Lab, host: &Namespace) -> anyhow::Result<Self> {
        fs::set_permissions(lab.dir(), Permissions::from_mode(0o711))?;
        let dir = lab.dir().join("mailboxes");
        let made = |name: &str| -> anyhow::Result<PathBuf> {
            let path = dir.join(name);
            fs::create_dir_all(&path)?;
            Ok(path)
        };
        let (etc, queue, data, base) = (made("etc")?, made("queue")?, made("data")?, made("letters")?);
        chown(&data, Some(user("postfix")?), None)?;
        let nobody = user("nobody")?;
        chown(&base, Some(nobody), Some(nobody))?;
        let master = MASTER.replacen("smtp       inet", &format!("127.0.0.1:{} inet", Self::PORT), 1);
        fs::write(etc.join("master.cf"), format!("{master}virtual    unix  - n n - - virtual\n"))?;
        let (certificate, key) = super::programs::certificate(&etc)?;
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {}\ndata_directory = {}\nmydomain = desk.example\n{}\
             virtual_mailbox_base = {}\nvirtual_mailbox_maps = static:box/\nvirtual_minimum_uid = 100\n\
             virtual_uid_maps = static:{nobody}\nvirtual_gid_maps = static:{nobody}\n\
             smtpd_tls_security_level = encrypt\nsmtpd_tls_cert_file = {certificate}\nsmtpd_tls_key_file = {key}\n{CLOSED}",
            queue.display(),
            data.display(),
            MAIN.replace(
                "virtual_mailbox_domains = $mydomain",
                &format!("virtual_mailbox_domains = {OWN_DOMAIN}")
            )
            .replace("virtual_transport = discard:", "virtual_transport = virtual")
            .replace("inet_interfaces = all", "inet_interfaces = loopback-only"),
            base.display(),
        );
        fs::write(etc.join("main.cf"), main)?;
        let config = etc.display().to_string();
        let mut master = host.spawn(&["postfix", "-c", &config, "start-fg"])?;
        wait_until("the mailboxes' server to greet", READY, || {
            ensure!(master.is_running()?, "{}", master.last_lines(20));
            host.enter(|| Ok(TcpStream::connect(("127.0.0.1", Self::PORT)).is_ok()))
        })
        .with_context(|| master.last_lines(20))?;
        Ok(Self { _master: master, letters: base.join("box/new"), certificate })
    }

    /// Where it takes letters.
    #[must_use]
    pub const fn port(&self) -> u16 {
        Self::PORT
    }

    /// The file of what vouches for it.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// What was taken, oldest first.
    ///
    /// # Errors
    /// When a letter cannot be read.
    pub fn letters(&self) -> anyhow::Result<Vec<Letter>> {
        let read =
            std::process::Command::new("python3").args(["-c", READ_LETTERS]).arg(&self.letters).output()?;
        ensure!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        Ok(serde_json::from_slice(&read.stdout)?)
    }

    /// Waits until there are so many.
    ///
    /// # Errors
    /// When there are not in time.
    pub fn wait_for(&self, count: usize, patience: Duration) -> anyhow::Result<Vec<Letter>> {
        wait_until("letters to be taken", patience, || Ok(self.letters()?.len() >= count))
            .with_context(|| self._master.last_lines(20))?;
        self.letters()
    }
}

/// For whom it relays, by its settings: for everybody, or for the host alone.
const OPEN: &str = "mynetworks = 0.0.0.0/0\n";
const CLOSED: &str = "mynetworks = 127.0.0.0/8\n";

fn lay_out(dir: &Path, relaying: Relaying) -> anyhow::Result<()> {
    let made = |name: &str| -> anyhow::Result<PathBuf> {
        let path = dir.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    };
    let (etc, queue, data) = (made("etc")?, made("queue")?, made("data")?);
    chown(&data, Some(user("postfix")?), None)?;
    fs::write(etc.join("master.cf"), MASTER)?;
    let mut main = format!(
        "compatibility_level = 3.6\nqueue_directory = {}\ndata_directory = {}\nmydomain = {OWN_DOMAIN}\n{MAIN}",
        queue.display(),
        data.display()
    );
    main += match relaying {
        Relaying::Open | Relaying::OpenSealed | Relaying::OpenStrict => OPEN,
        Relaying::Closed | Relaying::ClosedSealed | Relaying::ClosedStrict => CLOSED,
    };
    let level = match relaying {
        Relaying::Open | Relaying::Closed => None,
        Relaying::OpenSealed | Relaying::ClosedSealed => Some("may"),
        Relaying::OpenStrict | Relaying::ClosedStrict => Some("encrypt"),
    };
    if let Some(level) = level {
        let (certificate, key) = super::programs::certificate(&etc)?;
        writeln!(
            main,
            "smtpd_tls_security_level = {level}\nsmtpd_tls_cert_file = {certificate}\nsmtpd_tls_key_file = {key}"
        )?;
    }
    fs::write(etc.join("main.cf"), main)?;
    Ok(())
}

/// The id of a user of the machine.
fn user(name: &str) -> anyhow::Result<u32> {
    let users = fs::read_to_string("/etc/passwd")?;
    let line = users.lines().find(|line| line.starts_with(&format!("{name}:")));
    let id = line.and_then(|line| line.split(':').nth(2)).with_context(|| format!("no user {name}"))?;
    Ok(id.parse()?)
}

/// What both kinds have: names by the lab's server alone, quick and many deliveries at a time, local mail dropped, the log
/// where the lab reads it.
const MAIN: &str = "\
myhostname = mail.$mydomain
myorigin = $mydomain
mydestination =
virtual_mailbox_domains = $mydomain
virtual_transport = discard:
local_transport = discard:
local_recipient_maps =
alias_maps =
alias_database =
inet_protocols = ipv4
inet_interfaces = all
smtp_host_lookup = dns
smtp_tls_security_level = may
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_client_connection_rate_limit = 0
smtp_connect_timeout = 5s
queue_run_delay = 60s
minimal_backoff_time = 60s
maillog_file = /dev/stdout
";

/// The services that are needed for that; none of them in a root folder of its own.
const MASTER: &str = "\
smtp       inet  n - n - - smtpd
pickup     unix  n - n 60 1 pickup
cleanup    unix  n - n - 0 cleanup
qmgr       unix  n - n 300 1 qmgr
tlsmgr     unix  - - n 1000? 1 tlsmgr
rewrite    unix  - - n - - trivial-rewrite
bounce     unix  - - n - 0 bounce
defer      unix  - - n - 0 bounce
trace      unix  - - n - 0 bounce
verify     unix  - - n - 1 verify
flush      unix  n - n 1000? 0 flush
proxymap   unix  - - n - - proxymap
proxywrite unix  - - n - 1 proxymap
smtp       unix  - - n - 20 smtp
relay      unix  - - n - 20 smtp
showq      unix  n - n - - showq
error      unix  - - n - - error
retry      unix  - - n - - error
discard    unix  - - n - - discard
anvil      unix  - - n - 1 anvil
scache     unix  - - n - 1 scache
postlog    unix-dgram n - n - 1 postlogd
";
