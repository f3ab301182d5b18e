//! Complaints that come by mail: a folder as mail servers keep it, looked into while they write there.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common::{IS_ON_POSTGRES, Running, alice, execute, import, set, share};
use reeve_proto::operator::v1::complaint_service_client::ComplaintServiceClient;
use reeve_proto::operator::v1::{Complaint, ComplaintState, ListComplaintsRequest, SubmitComplaintsRequest};
use tonic::transport::Channel;

const PATIENCE: Duration = Duration::from_secs(60);

/// An empty maildir.
pub(super) struct Maildir(tempfile::TempDir);

impl Maildir {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for part in ["new", "cur", "tmp"] {
            std::fs::create_dir(dir.path().join(part)).unwrap();
        }
        Self(dir)
    }

    fn at(&self, part: &str) -> PathBuf {
        self.0.path().join(part)
    }

    /// Puts a mail there as a mail server does.
    pub(super) fn deliver(&self, name: &str, text: &str) {
        let written = self.at("tmp").join(name);
        std::fs::write(&written, text).unwrap();
        std::fs::rename(written, self.at("new").join(name)).unwrap();
    }

    fn names(&self, part: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.at(part)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    pub(super) fn settings(&self) -> String {
        format!("[complaints]\nmaildir = \"{}\"\n", self.0.path().display())
    }

    /// Waits until nothing is in `new` but these.
    pub(super) async fn is_left_with(&self, left: &[&str]) {
        let since = Instant::now();
        while self.names("new") != left {
            assert!(since.elapsed() < PATIENCE, "{:?} instead of {left:?}", self.names("new"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A letter about an address; another one for each number.
fn letter(number: u32, source: &str) -> String {
    format!(
        "Received: from mx.reader.example\nFrom: Ann <ann@reader.example>\nTo: abuse@provider.example\n\
         Subject: portscan\nMessage-ID: <{number}@reader.example>\n\nA portscan came from {source}. Case {number}.\n"
    )
}

async fn list(channel: &Channel) -> Vec<Complaint> {
    let request = ListComplaintsRequest { page_size: 500, ..Default::default() };
    let answer = ComplaintServiceClient::new(channel.clone()).list_complaints(request).await.unwrap();
    let mut all = answer.into_inner().complaints;
    all.reverse();
    all
}

async fn start(dir: &Path) -> (Running, Channel) {
    let controller = Running::start(dir).await;
    let channel = controller.plain().await;
    import(&channel, vec![alice()], true).await;
    (controller, channel)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_is_taken_whole_and_put_away_and_nothing_holds_it_up() {
    let maildir = Maildir::new();
    let dir = tempfile::tempdir().unwrap();
    let (controller, _) = start(dir.path()).await;
    controller.stop().await;
    set(dir.path(), &maildir.settings());
    // The first of all are what cannot be taken: they stay, and all else goes on.
    std::fs::create_dir(maildir.at("new").join("0000.folder")).unwrap();
    let secret = tempfile::tempdir().unwrap();
    std::fs::write(secret.path().join("other"), letter(9, "203.0.113.9")).unwrap();
    symlink(secret.path().join("other"), maildir.at("new").join("0001.link")).unwrap();
    maildir.deliver(".hidden", &letter(8, "203.0.113.8"));
    std::fs::write(maildir.at("tmp").join("1700000000.half"), "From: ann@reader.example\nSubj").unwrap();
    maildir.deliver("1700000001.M1P1.mx", &letter(1, "203.0.113.1"));
    maildir.deliver("1700000002.M1P1.mx", "what is this");
    maildir.deliver("1700000003.M1P1.mx:2,", &letter(2, "192.0.2.1"));
    maildir.deliver("1700000004.M1P1.mx", &letter(1, "203.0.113.1"));
    maildir.deliver("1700000005.M1P1.mx", "");
    let large = format!("{}{}", letter(3, "203.0.113.3"), "x".repeat(3 << 20));
    maildir.deliver("1700000006.M1P1.mx", &large);
    let is_root = {
        // Root reads what nobody may.
        let denied = maildir.at("new").join("0002.denied");
        std::fs::write(&denied, letter(7, "203.0.113.7")).unwrap();
        std::fs::set_permissions(&denied, std::fs::Permissions::from_mode(0o000)).unwrap();
        std::fs::read(&denied).is_ok()
    };
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let stays: &[&str] = if is_root {
        &[".hidden", "0000.folder", "0001.link"]
    } else {
        &[".hidden", "0000.folder", "0001.link", "0002.denied"]
    };
    maildir.is_left_with(stays).await;
    let all: Vec<Complaint> =
        list(&channel).await.into_iter().filter(|one| !one.source.ends_with(".7")).collect();
    use ComplaintState::{Filed, Unmatched, Unreadable};
    let states: Vec<(ComplaintState, u64)> = all.iter().map(|one| (one.state(), one.times)).collect();
    assert_eq!(states, [(Filed, 2), (Unreadable, 1), (Unmatched, 1), (Unreadable, 1), (Filed, 1)], "{all:?}");
    assert!(all.iter().all(|one| one.via == "mail"));
    let put_away: Vec<String> =
        maildir.names("cur").into_iter().filter(|name| !name.starts_with("0002")).collect();
    let mx = |second: u32, flags: &str| format!("170000000{second}.M1P1.mx:2,{flags}");
    let expected = [mx(1, "S"), mx(2, "S"), mx(3, ""), mx(4, "S"), mx(5, "S"), mx(6, "S")];
    assert_eq!(put_away, expected);
    assert_eq!(maildir.names("tmp"), ["1700000000.half"], "what is being written is not looked at");
    // It is written to the end, and moved.
    std::fs::remove_file(maildir.at("tmp").join("1700000000.half")).unwrap();
    maildir.deliver("1700000000.half", &letter(4, "203.0.113.4"));
    maildir.is_left_with(stays).await;
    assert_eq!(list(&channel).await.last().unwrap().source, "203.0.113.4");
    controller.stop().await;

    // It died after the message was stored, and before it was put away.
    std::fs::rename(maildir.at("cur").join("1700000000.half:2,S"), maildir.at("new").join("1700000000.half"))
        .unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    maildir.is_left_with(stays).await;
    let again = list(&channel).await;
    assert_eq!(again.iter().filter(|one| one.source == "203.0.113.4").count(), 1);
    controller.stop().await;

    // Without a folder to put it away into nothing is taken, nor counted.
    let times = again.iter().map(|one| one.times).sum::<u64>();
    std::fs::rename(maildir.at("cur"), maildir.at("gone")).unwrap();
    maildir.deliver("1700000007.M1P1.mx", &letter(1, "203.0.113.1"));
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    // Longer than from one look to the next.
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    assert_eq!(list(&channel).await.iter().map(|one| one.times).sum::<u64>(), times);
    std::fs::rename(maildir.at("gone"), maildir.at("cur")).unwrap();
    maildir.is_left_with(stays).await;
    assert_eq!(list(&channel).await.iter().map(|one| one.times).sum::<u64>(), times + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_controllers_empty_one_maildir() {
    let maildir = Maildir::new();
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // On a server they have one database, as they should; else each its own.
    if IS_ON_POSTGRES {
        let url = reeve_cluster::Cluster::of_this_process().database().unwrap();
        dirs.iter().for_each(|dir| share(dir.path(), &url));
    }
    dirs.iter().for_each(|dir| set(dir.path(), &maildir.settings()));
    for number in 0..300 {
        let name = format!("17000{number:05}.M1P1.mx");
        maildir.deliver(&name, &letter(number, &format!("203.0.113.{}", number % 16)));
    }
    let controllers = [Running::start(dirs[0].path()).await, Running::start(dirs[1].path()).await];
    maildir.is_left_with(&[]).await;
    assert_eq!(maildir.names("cur").len(), 300);
    let mut all = Vec::new();
    for controller in &controllers {
        all.push(list(&controller.plain().await).await);
    }
    let subjects = |all: &[Complaint]| {
        all.iter().map(|one| one.number).collect::<std::collections::BTreeSet<u64>>().len()
    };
    if IS_ON_POSTGRES {
        assert_eq!((all[0].len(), subjects(&all[0])), (300, 300));
        assert_eq!(all[0], all[1]);
    } else {
        assert!(all[0].len() + all[1].len() >= 300, "{} {}", all[0].len(), all[1].len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_mail_takes_no_more_places_than_its_share() {
    let maildir = Maildir::new();
    let dir = tempfile::tempdir().unwrap();
    let (controller, _) = start(dir.path()).await;
    controller.stop().await;
    set(dir.path(), &maildir.settings());
    let contact = r#"{"org":"CERT","contact":"cert@cert.example","domain":"cert.example"}"#;
    // Three hundred of nobody's, each of them sound, and one that is a customer's behind them; and two hundred that are not.
    let report = |number: u32, source: &str| {
        format!(
            r#"{{"xarf_version":"4.2.0","report_id":"5eed0000-0000-4000-8000-{number:012}","timestamp":"2026-07-01T10:00:00Z",
            "reporter":{contact},"sender":{contact},"source_identifier":"{source}","category":"connection","type":"port_scan",
            "protocol":"tcp","first_seen":"2026-07-01T10:00:00Z","destination_port":22}}"#
        )
    };
    let mut sound: Vec<String> = (0..300).map(|number| report(number, "192.0.2.9")).collect();
    sound.push(report(300, "203.0.113.7"));
    let mail = |json: &str| {
        format!(
            "From: robot@elsewhere.example\nSubject: reports\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n\
             --b\n\nSee there.\n--b\nContent-Type: application/json; name=xarf.json\n\n[{json}]\n--b--\n"
        )
    };
    maildir.deliver("1700000001.M1P1.mx", &mail(&sound.join(",")));
    let mut unsound = vec![r#"{"xarf_version":"4.2.0"}"#.to_owned(); 200];
    unsound.push(report(301, "203.0.113.8"));
    maildir.deliver("1700000002.M1P1.mx", &mail(&unsound.join(",")));
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    maildir.is_left_with(&[]).await;
    let all = list(&channel).await;
    let of = |state: ComplaintState| all.iter().filter(move |one| one.state() == state);
    assert_eq!(of(ComplaintState::Unmatched).count(), 50);
    assert_eq!(of(ComplaintState::Filed).count(), 2, "what is a customer's is filed all the same");
    let details: Vec<&str> = of(ComplaintState::Unreadable).map(|one| one.detail.as_str()).collect();
    assert_eq!(details.len(), 2, "{details:?}");
    assert!(details[0].contains("wait than are kept one by one"), "{details:?}");
    assert!(details[1].contains("and 199 more of this message"), "{details:?}");
    // An operator's own are an operator's to read, however many.
    let message = format!("[{}]", (400..500).map(|n| report(n, "192.0.2.9")).collect::<Vec<_>>().join(","));
    let asked = SubmitComplaintsRequest { message: message.into_bytes(), ..Default::default() };
    let taken = ComplaintServiceClient::new(channel.clone()).submit_complaints(asked).await.unwrap();
    assert_eq!(taken.into_inner().complaints.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_no_room_for_stays_and_holds_up_nothing_behind_it() {
    let maildir = Maildir::new();
    let dir = tempfile::tempdir().unwrap();
    let (controller, _) = start(dir.path()).await;
    controller.stop().await;
    set(dir.path(), &maildir.settings());
    execute(
        dir.path(),
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) \
         INSERT INTO complaints (mark, state, received, updated, times, via, format, kind, source, reporter, detail, body) \
         SELECT 'm' || i, 'unreadable', 1, 1, 1, '', '', '', '', '', '', '' FROM n",
    )
    .await;
    // More than are looked at at once, and behind them what is a customer's.
    for number in 0..250 {
        maildir.deliver(&format!("17000{number:05}.M1P1.mx"), &format!("nothing {number}"));
    }
    maildir.deliver("1800000000.M1P1.mx", &letter(1, "203.0.113.1"));
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let stays: Vec<String> = (0..250).map(|number| format!("17000{number:05}.M1P1.mx")).collect();
    maildir.is_left_with(&stays.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(list(&channel).await.last().unwrap().state(), ComplaintState::Filed);
}
