//! What is set in `controller.toml`, which nobody needs who runs one controller on one file.

mod approval;
mod cases;
mod complaints;
mod export;
mod outbox;
mod reports;
mod sessions;
mod web;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use reeve_policy::reader::parse_duration;
use reeve_reports::Contact;
use serde::Deserialize;

pub use approval::Approval;
use approval::ApprovalText;
pub use cases::Cases;
use cases::CasesText;
pub use complaints::Complaints;
use complaints::ComplaintsText;
use export::SinkText;
pub use export::{Format, Place, Sink};
use outbox::{FileText, MailText, WebhookText};
pub use outbox::{Mail, Outbox, Tls, Webhook};
use reports::ReportsText;
pub use sessions::Sessions;
use sessions::SessionsText;
pub use web::Web;
use web::WebText;

use crate::auth::{AllowLists, Role};
use crate::error::ControllerError;
use crate::pki;

/// The file's name in the controller's folder.
pub const FILE_NAME: &str = "controller.toml";
/// The credential that systemd hands over (`LoadCredential=`), where no file of the password is named.
const CREDENTIAL: &str = "database-password";
/// The longest password that is read, in bytes.
const MAX_PASSWORD: usize = 4_096;
/// What is kept of the past, if nobody says otherwise.
const RETENTION_DAYS: u32 = 30;
/// And of strikes: a year and a month, longer than the presets remember them.
const STRIKE_DAYS: u32 = 400;
/// The longest that may be asked for: a hundred years.
const MAX_DAYS: u32 = 36_500;
/// The shortest life of a node's certificate: shorter ones would be renewed all the time.
const SHORTEST_LIFE: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// All settings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where the database is.
    pub database: Database,
    /// What is kept of the past.
    pub retention: Retention,
    /// Who gets in.
    pub access: Access,
    /// Which acts take a second person; none if it is not there.
    pub approval: Option<Approval>,
    /// How long people are logged in.
    pub sessions: Sessions,
    /// When cases end by themselves.
    pub cases: Cases,
    /// Where complaints come in, and until when they are answered.
    pub complaints: Complaints,
    /// Who reports to others what was found; nobody does without it.
    pub reports: Option<Contact>,
    /// By which ways notices leave.
    pub outbox: Outbox,
    /// Which log servers and files are told what happens.
    pub events: Vec<Sink>,
    /// The port for whoever follows a link; there are no links without it.
    pub links: Option<Web>,
    /// The port of the console; there is none without it.
    pub console: Option<Web>,
}

/// Who gets in.
#[derive(Clone, Debug)]
pub struct Access {
    /// From where alone each role is taken; from everywhere if it is not in it.
    pub allow: AllowLists,
    /// How long certificates hold that nodes fetch: ten seconds to a year.
    pub certificate_life: Duration,
    /// Whether readers are told what services there are (gRPC server reflection).
    pub reflection: bool,
}

impl Default for Access {
    fn default() -> Self {
        Self { allow: AllowLists::new(), certificate_life: pki::LONGEST_LIFE, reflection: true }
    }
}

/// Where the database is.
#[derive(Clone, Debug, Default)]
pub enum Database {
    /// A SQLite file in the controller's folder.
    #[default]
    File,
    /// A server that speaks PostgreSQL's protocol.
    Server(Server),
}

/// A database on a server.
#[derive(Clone)]
pub struct Server {
    /// With the password, so it is shown to nobody.
    pub(crate) url: String,
    /// What to call it.
    pub place: String,
    /// Whether what other controllers change is listened for, and not only looked for.
    pub listens: bool,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.place)
    }
}

/// What is kept of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// For how long what is over is kept; `None` for ever.
    pub keep: Option<Duration>,
    /// For how long strikes are kept, without their evidence, and sums of traffic by month; no shorter than that.
    pub strikes: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep: Some(DAY * RETENTION_DAYS), strikes: DAY * STRIKE_DAYS }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Text {
    database: Option<DatabaseText>,
    retention: Option<RetentionText>,
    access: Option<AccessText>,
    approval: Option<ApprovalText>,
    sessions: Option<SessionsText>,
    cases: Option<CasesText>,
    complaints: Option<ComplaintsText>,
    reports: Option<ReportsText>,
    mail: Option<MailText>,
    #[serde(default)]
    webhook: Vec<WebhookText>,
    notice_file: Option<FileText>,
    #[serde(default)]
    events: Vec<SinkText>,
    links: Option<WebText>,
    console: Option<WebText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DatabaseText {
    url: String,
    password_file: Option<PathBuf>,
    #[serde(default = "yes")]
    listen: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessText {
    certificate_life: Option<String>,
    #[serde(default = "yes")]
    reflection: bool,
    #[serde(default)]
    allow: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetentionText {
    #[serde(default = "usual_days")]
    days: u32,
    #[serde(default = "usual_strike_days")]
    strike_days: u32,
}

const fn usual_days() -> u32 {
    RETENTION_DAYS
}

const fn usual_strike_days() -> u32 {
    STRIKE_DAYS
}

const fn yes() -> bool {
    true
}

impl Settings {
    /// The settings of a folder; the usual ones where there is no file.
    ///
    /// # Errors
    /// Where the file cannot be read or says what is not understood, and where the password cannot be had.
    pub fn load(dir: &Path) -> Result<Self, ControllerError> {
        let path = dir.join(FILE_NAME);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&path, &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ControllerError::File { path, source }),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ControllerError> {
        let wrong = |reason: String| ControllerError::Setting { path: path.to_owned(), reason };
        // The text of the line stays out of the message: it may hold what belongs into no log.
        let read: Text = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            wrong(format!("line {}: {}", before.matches('\n').count() + 1, error.message()))
        })?;
        let database = match read.database {
            None => Database::File,
            Some(read) => Database::Server(server(read).map_err(wrong)?),
        };
        let retention = match read.retention {
            None => Retention::default(),
            Some(RetentionText { days, strike_days }) => {
                for (key, least, days) in [("days", 0, days), ("strike_days", 1, strike_days)] {
                    if !(least..=MAX_DAYS).contains(&days) {
                        return Err(wrong(format!(
                            "retention.{key}: {days} is not {least} to {MAX_DAYS} days"
                        )));
                    }
                }
                Retention { keep: (days > 0).then_some(DAY * days), strikes: DAY * strike_days }
            }
        };
        let access = read.access.map(access).transpose().map_err(wrong)?.unwrap_or_default();
        let approval = read.approval.map(Approval::try_from).transpose().map_err(wrong)?;
        let sessions = read.sessions.map(Sessions::try_from).transpose().map_err(wrong)?.unwrap_or_default();
        let cases = read.cases.map(Cases::try_from).transpose().map_err(wrong)?.unwrap_or_default();
        let complaints =
            read.complaints.map(Complaints::try_from).transpose().map_err(wrong)?.unwrap_or_default();
        let reports = read.reports.map(Contact::try_from).transpose().map_err(wrong)?;
        let outbox = Outbox::read(read.mail, read.webhook, read.notice_file).map_err(wrong)?;
        let events = export::sinks(read.events).map_err(wrong)?;
        let web = |table, read: Option<WebText>| read.map(|read| Web::read(table, read)).transpose();
        let links = web("links", read.links).map_err(wrong)?;
        if complaints.form && links.is_none() {
            return Err(wrong(
                "complaints.form: the form is on the port of [links], and there is none".to_owned(),
            ));
        }
        if complaints.acknowledge && outbox.mail.is_none() {
            return Err(wrong(
                "complaints.acknowledge: letters leave by [mail], and there is none".to_owned(),
            ));
        }
        let console = web("console", read.console).map_err(wrong)?;
        if console
            .as_ref()
            .is_some_and(|console| !reqwest::Url::parse(&console.url).is_ok_and(|url| url.path() == "/"))
        {
            return Err(wrong("console.url: the console has a host of its own, and no path".to_owned()));
        }
        Ok(Self {
            database,
            retention,
            access,
            approval,
            sessions,
            cases,
            complaints,
            reports,
            outbox,
            events,
            links,
            console,
        })
    }
}

fn access(read: AccessText) -> Result<Access, String> {
    let mut access = Access { reflection: read.reflection, ..Access::default() };
    if let Some(text) = read.certificate_life {
        let life = parse_duration(&text).filter(|life| (SHORTEST_LIFE..=pki::LONGEST_LIFE).contains(life));
        access.certificate_life =
            life.ok_or_else(|| format!("access.certificate_life: {text:.40?} is not 10s to 365d"))?;
    }
    for (name, texts) in read.allow {
        let role = match name.as_str() {
            "node" => Role::Node,
            name => name.parse().map_err(|error| format!("access.allow: {error}, or node"))?,
        };
        let prefix = |text: &String| {
            let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
            let wrong = || {
                format!("access.allow.{name}: {text:.60?} is no address and no prefix, such as 192.0.2.0/24")
            };
            text.parse::<IpNet>().ok().or_else(address).map(|prefix| prefix.trunc()).ok_or_else(wrong)
        };
        access.allow.insert(role, texts.iter().map(prefix).collect::<Result<_, String>>()?);
    }
    Ok(access)
}

fn server(read: DatabaseText) -> Result<Server, String> {
    const FORM: &str = "database.url: postgres://USER@HOST[:PORT]/DATABASE[?sslmode=...&sslrootcert=FILE]";
    let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| read.url.strip_prefix(scheme));
    let rest = rest.ok_or(FORM)?;
    let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if user.contains(':') || tail.contains("password=") {
        return Err("database.url: it holds a password, which belongs into a file of its own (database.password_file)".into());
    }
    let options = read.url.parse::<sqlx::postgres::PgConnectOptions>();
    let options = options.map_err(|error| format!("{FORM}: {error}"))?;
    let database = options.get_database().ok_or_else(|| format!("{FORM}: it names no database"))?;
    let is_here = options.get_socket().is_some()
        || ["localhost", "127.0.0.1", "[::1]", "::1"].contains(&options.get_host());
    let place = match options.get_socket() {
        Some(socket) => format!("PostgreSQL at {}, database {database}", socket.display()),
        None => format!("PostgreSQL at {}:{}, database {database}", options.get_host(), options.get_port()),
    };
    let secret = secret("database.password_file", CREDENTIAL, read.password_file)?;
    let mut url = String::from("postgres://");
    match secret {
        Some(_) if user.is_empty() => {
            return Err(format!("{FORM}: it names no user, but there is a password"));
        }
        Some(secret) => {
            url.push_str(user);
            url.push(':');
            secret.bytes().for_each(|byte| url.push_str(&format!("%{byte:02X}")));
            url.push('@');
        }
        None if user.is_empty() => {}
        None => url.push_str(&format!("{user}@")),
    }
    url.push_str(host);
    url.push_str(tail);
    // Who is not on this machine shows who it is, unless the settings say that it need not.
    if !is_here && !tail.contains("sslmode=") && !tail.contains("ssl-mode=") {
        url.push_str(if tail.contains('?') { "&sslmode=verify-full" } else { "?sslmode=verify-full" });
    }
    Ok(Server { url, place, listens: read.listen })
}

/// A secret: of the file that is named, else of the credential that systemd hands over, else none.
fn secret(key: &str, credential: &str, named: Option<PathBuf>) -> Result<Option<String>, String> {
    let handed_over = || {
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY")?;
        Some(Path::new(&folder).join(credential)).filter(|path| path.exists())
    };
    let Some(path) = named.or_else(handed_over) else { return Ok(None) };
    let wrong = |reason: String| format!("{key}: {}: {reason}", path.display());
    let read = std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
    let secret = read.strip_suffix('\n').unwrap_or(&read);
    if secret.is_empty() || secret.len() > MAX_PASSWORD || secret.contains('\n') {
        return Err(wrong(format!("one line of 1 to {MAX_PASSWORD} bytes is expected")));
    }
    Ok(Some(secret.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(Path::new("controller.toml"), text).map_err(|error| error.to_string())
    }

    fn url(text: &str) -> String {
        match parse(&format!("[database]\n{text}")).unwrap().database {
            Database::Server(server) => server.url,
            Database::File => panic!("a file"),
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_without_its_text() {
        let refused = |text: &str, words: &[&str]| {
            let error = parse(text).unwrap_err();
            words.iter().for_each(|word| assert!(error.contains(word), "{error}"));
            assert!(!error.contains("geheim"), "{error}");
        };
        refused("[retention]\ndays = 40000", &["retention.days", "40000", "36500"]);
        refused("[retention]\ndays = -1", &["line 2"]);
        refused("[retention]\nstrike_days = 0", &["retention.strike_days", "0 is not 1 to"]);
        refused("[access]\ncertificate_life = '366d'", &["certificate_life", "366d", "10s to 365d"]);
        refused("[access.allow]\nadmins = []", &["`admins`", "admin", "node"]);
        refused("[access.allow]\nadmin = ['here']", &["access.allow.admin", "here", "prefix"]);
        refused("[approval]\nexpires = '10s'", &["approval.expires", "10s", "1m to 31d"]);
        refused("[approval]\ntenants = 10001", &["approval.tenants", "10001", "10000"]);
        refused("[approval]\nimportant = ['a b']", &["approval.important", "a b"]);
        refused("[approval]\npause = true", &["line 2", "`pause`"]);
        refused("[complaints]\nform = true", &["complaints.form", "[links]"]);
        refused("[complaints]\nacknowledge = true", &["complaints.acknowledge", "[mail]"]);
        refused("[sessions]\nidle = '10s'", &["sessions.idle", "10s", "1m to 24h"]);
        refused("[sessions]\nsecond_factor = false", &["line 2", "`second_factor`"]);
        refused("[database]\n\nurls = 'postgres://u:geheim@h/d'", &["line 3", "`urls`", "`password_file`"]);
        refused("[database]\nurl = 'postgres://u:geheim@h/d'", &["database.url", "password_file"]);
        refused("[database]\nurl = 'postgres://u@h/d?password=geheim'", &["database.url", "password_file"]);
        refused("[database]\nurl = 'mysql://u@h/d'", &["postgres://USER@HOST"]);
        refused("[database]\nurl = 'postgres://u@h'", &["names no database"]);
        refused(
            "[database]\nurl = 'postgres://u@h/d'\npassword_file = '/nowhere/x'",
            &["password_file", "/nowhere/x"],
        );
    }

    #[test]
    fn who_is_not_on_this_machine_shows_who_it_is() {
        assert!(url("url = 'postgres://u@db.example/d'").ends_with("/d?sslmode=verify-full"));
        assert!(url("url = 'postgres://u@db.example/d?sslrootcert=/x'").ends_with("=/x&sslmode=verify-full"));
        assert!(url("url = 'postgres://u@db.example/d?sslmode=require'").ends_with("?sslmode=require"));
        for here in ["127.0.0.1", "[::1]", "localhost", "%2Frun%2Fpostgresql"] {
            assert_eq!(url(&format!("url = 'postgres://u@{here}/d'")), format!("postgres://u@{here}/d"));
        }
    }

    #[test]
    fn the_password_is_read_from_a_file_and_shown_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "geh@im/%\n").unwrap();
        let text =
            format!("[database]\nurl = 'postgres://u@localhost/d'\npassword_file = '{}'", file.display());
        let settings = parse(&text).unwrap();
        assert!(!format!("{settings:?}").contains("geh"), "{settings:?}");
        let Database::Server(server) = settings.database else { panic!("a file") };
        assert_eq!(server.url, "postgres://u:%67%65%68%40%69%6D%2F%25@localhost/d");
        std::fs::write(&file, "a\nb\n").unwrap();
        assert!(parse(&text).unwrap_err().contains("one line"));
    }

    #[test]
    fn without_a_file_all_is_as_usual() {
        let settings = Settings::load(tempfile::tempdir().unwrap().path()).unwrap();
        assert!(matches!(settings.database, Database::File));
        assert_eq!(settings.retention.keep, Some(DAY * 30));
        assert_eq!(parse("[retention]\ndays = 0").unwrap().retention.keep, None);
    }
}
