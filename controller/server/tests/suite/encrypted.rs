//! Complaints that are encrypted: by GnuPG, which is another program than the one that opens them here.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::complaints::{get, list, submit_as};
use crate::common::{Running, alice, import, set};
use reeve_controller::config::Config;
use reeve_proto::operator::v1::{Complaint, ComplaintFormat, ComplaintState};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::transport::Channel;

const ARMOUR: &str = "-----BEGIN PGP MESSAGE-----";

/// A home of GnuPG, with its agent, which ends with it.
struct Gpg(tempfile::TempDir);

impl Gpg {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        Self(home)
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut gpg = Command::new("gpg")
            .arg("--homedir")
            .arg(self.0.path())
            .args(["--batch", "--no-tty", "--yes", "--trust-model", "always", "--pinentry-mode", "loopback"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gpg is needed: ./dev setup installs it");
        let mut stdin = gpg.stdin.take().unwrap();
        let input = input.to_vec();
        let writing = std::thread::spawn(move || stdin.write_all(&input));
        let output = gpg.wait_with_output().unwrap();
        writing.join().unwrap().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Makes a key and one below it that others encrypt to.
    fn make(&self, who: &str, kind: &str, passphrase: &str) {
        self.run(&["--passphrase", passphrase, "--quick-generate-key", who, kind, "default", "never"], b"");
        if kind != "future-default" {
            let listed = self.run(&["--with-colons", "--list-keys", who], b"");
            let listed = String::from_utf8(listed).unwrap();
            let fingerprint =
                listed.lines().find(|line| line.starts_with("fpr:")).unwrap().split(':').nth(9).unwrap();
            self.run(
                &["--passphrase", passphrase, "--quick-add-key", fingerprint, kind, "encr", "never"],
                b"",
            );
        }
    }

    /// The secret keys, in a file.
    fn export(&self, who: &[&str], passphrase: &str, to: PathBuf) -> PathBuf {
        let arguments = [&["--passphrase", passphrase, "--armor", "--export-secret-keys"], who].concat();
        std::fs::write(&to, self.run(&arguments, b"")).unwrap();
        to
    }

    fn seal(&self, how: &[&str], to: &str, content: &str) -> String {
        let arguments = [how, &["--armor", "--encrypt", "--recipient", to]].concat();
        String::from_utf8(self.run(&arguments, content.as_bytes())).unwrap()
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.0.path()).args(["--kill", "all"]).status();
    }
}

/// A mail of PGP/MIME (RFC 3156, section 4).
fn entity(number: u32, sealed: &str) -> String {
    format!(
        "From: Ann <ann@reader.example>\r\nTo: abuse@example.net\r\nSubject: ...\r\nMessage-ID: <{number}@reader.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/encrypted; boundary=\"b\";\r\n protocol=\"application/pgp-encrypted\"\r\n\r\n--b\r\n\
         Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n--b\r\nContent-Type: application/octet-stream; name=\"encrypted.asc\"\r\n\r\n\
         {}\r\n--b--\r\n",
        sealed.replace('\n', "\r\n")
    )
}

fn letter(number: u32, text: &str) -> String {
    format!(
        "From: Ann <ann@reader.example>\r\nSubject: hello\r\nMessage-ID: <{number}@reader.example>\r\nContent-Type: text/plain\r\n\r\n{}\r\n",
        text.replace('\n', "\r\n")
    )
}

const FEEDBACK: &str = "Content-Type: multipart/report; report-type=feedback-report; boundary=r\n\n--r\n\nThis is spam.\n--r\n\
    Content-Type: message/feedback-report\n\nFeedback-Type: abuse\nUser-Agent: fbl/1\nVersion: 1\nSource-IP: 203.0.113.2\n--r--\n";

async fn start(dir: &Path) -> (Running, Channel) {
    let controller = Running::start(dir).await;
    let channel = controller.plain().await;
    import(&channel, vec![alice()], true).await;
    (controller, channel)
}

async fn one(channel: &Channel, message: &str) -> Complaint {
    let mut all = submit_as(channel, ComplaintFormat::Unspecified, message.as_bytes()).await.unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_encrypted_to_us_is_read_by_every_way_in_and_what_is_not_waits() {
    let (dir, gpg, maildir) = (tempfile::tempdir().unwrap(), Gpg::new(), tempfile::tempdir().unwrap());
    gpg.make("abuse@example.net", "future-default", "");
    gpg.make("old-abuse@example.net", "rsa2048", "");
    gpg.make("ann@reader.example", "future-default", "");
    let ours = ["abuse@example.net", "old-abuse@example.net"];
    let key = gpg.export(&ours, "", dir.path().join("key.asc"));
    ["new", "cur", "tmp"].iter().for_each(|part| std::fs::create_dir(maildir.path().join(part)).unwrap());
    let (key, maildir) = (key.display(), maildir.path());
    set(
        dir.path(),
        &format!(
            "[complaints]\nopenpgp_key = \"{key}\"\nmaildir = \"{}\"\nsmtp = \"127.0.0.1:0\"\nsmtp_recipients = [\"abuse@example.net\"]\n",
            maildir.display()
        ),
    );
    let (controller, channel) = start(dir.path()).await;
    let inner =
        |subject: &str, text: &str| format!("Subject: {subject}\nContent-Type: text/plain\n\n{text}\n");
    let scan =
        |last: u32| inner("portscan", &format!("A portscan came from 203.0.113.{last}, secret words."));
    let [new, old] = ours;
    let signed = ["--sign", "--local-user", "ann@reader.example"];

    // The API: letters, a report, XARF without a mail; to one key or the other, signed too, and without the name of the key.
    let xarf = r#"{"xarf_version":"4.2.0","report_id":"5eed0000-0000-4000-8000-000000000009","timestamp":"2026-11-20T10:00:00Z",
        "reporter":{"org":"CERT","contact":"cert@cert.example","domain":"cert.example"},"sender":{"org":"CERT","contact":"cert@cert.example",
        "domain":"cert.example"},"source_identifier":"203.0.113.9","category":"messaging","type":"spam","protocol":"smtp","smtp_from":"a@b.example"}"#;
    for (message, source, kind, format) in [
        (entity(1, &gpg.seal(&[], new, &scan(1))), "203.0.113.1", "scan", "plain"),
        (entity(2, &gpg.seal(&signed, new, FEEDBACK)), "203.0.113.2", "spam", "arf"),
        (entity(3, &gpg.seal(&["--compress-algo", "none"], old, &scan(3))), "203.0.113.3", "scan", "plain"),
        (
            entity(
                4,
                &gpg.seal(
                    &["--hidden-recipient", old, "--compress-algo", "zip"],
                    "ann@reader.example",
                    &scan(4),
                ),
            ),
            "203.0.113.4",
            "scan",
            "plain",
        ),
        (letter(5, &gpg.seal(&[], new, "A portscan came from 203.0.113.5.")), "203.0.113.5", "scan", "plain"),
        (
            letter(6, &format!("Hello,\n{}\nAnn", gpg.seal(&["--force-mdc"], old, "Spam from 203.0.113.6."))),
            "203.0.113.6",
            "spam",
            "plain",
        ),
        (letter(7, &gpg.seal(&[], new, &xarf.replace("113.9", "113.7"))), "203.0.113.7", "spam", "xarf4"),
        (gpg.seal(&[], new, &format!("From: a@b.example\n{}", scan(8))), "203.0.113.8", "scan", "plain"),
        (gpg.seal(&[], new, &xarf.replace("000009", "000010")), "203.0.113.9", "spam", "xarf4"),
    ] {
        let taken = one(&channel, &message).await;
        assert_eq!((taken.state(), taken.source.as_str()), (ComplaintState::Filed, source), "{taken:?}");
        assert_eq!((taken.kind.as_str(), taken.format.as_str()), (kind, format), "{taken:?}");
    }
    let first = list(&channel, "source = \"203.0.113.1\"").await;
    let said = get(&channel, first[0].number).await.unwrap();
    assert!(
        said.report.contains("\"portscan\"") && said.message.is_empty(),
        "the subject that was encrypted: {}",
        said.report
    );
    assert_eq!(first[0].reporter, "Ann");

    // The maildir, and SMTP.
    std::fs::write(maildir.join("new/1700000001.M1P1.mx"), entity(10, &gpg.seal(&[], new, &scan(10))))
        .unwrap();
    let since = Instant::now();
    while list(&channel, "source = \"203.0.113.10\"").await.is_empty() {
        assert!(since.elapsed() < std::time::Duration::from_secs(60));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let mut smtp = tokio::net::TcpStream::connect(controller.smtp.unwrap()).await.unwrap();
    for piece in [
        "EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<abuse@example.net>\r\nDATA\r\n".to_owned(),
        format!("{}.\r\nQUIT\r\n", entity(11, &gpg.seal(&[], old, &scan(11)))),
    ] {
        smtp.write_all(piece.as_bytes()).await.unwrap();
        let mut heard = String::new();
        while !heard.contains("354 ") && !heard.contains("221 ") {
            let mut answer = [0; 1_024];
            let read = smtp.read(&mut answer).await.unwrap();
            assert!(read > 0, "{heard}");
            heard.push_str(std::str::from_utf8(&answer[..read]).unwrap());
        }
    }
    assert_eq!(list(&channel, "source = \"203.0.113.11\"").await.len(), 1);

    // What cannot be opened, or says nothing, waits: with why, and as it came.
    let sealed = gpg.seal(&[], new, &scan(12));
    let line = sealed.lines().nth(5).unwrap();
    let changed = sealed.replacen(line, &line.chars().rev().collect::<String>(), 1);
    let bomb = "0".repeat(8 << 20);
    for (message, why) in [
        (entity(12, &changed), "changed or cut off"),
        (entity(13, &sealed[..sealed.len() / 2]), "changed or cut off"),
        (entity(14, &gpg.seal(&[], "ann@reader.example", &scan(14))), "to another one than"),
        (entity(15, &gpg.seal(&[], new, &bomb)), "larger than"),
        (
            letter(16, &gpg.seal(&[], new, &gpg.seal(&[], new, "Spam from 203.0.113.16."))),
            "nobody here can open it",
        ),
        (
            entity(17, &gpg.seal(&[], new, &inner("hello", "Secret words, and nothing else."))),
            "no source address",
        ),
        (
            entity(
                18,
                &String::from_utf8(
                    gpg.run(&["--passphrase", "x", "--armor", "--symmetric"], scan(18).as_bytes()),
                )
                .unwrap(),
            ),
            "with a password",
        ),
    ] {
        let taken = one(&channel, &message).await;
        assert_eq!(taken.state(), ComplaintState::Unreadable, "{why}: {taken:?}");
        assert!(taken.detail.contains(why), "{why}: {}", taken.detail);
        let kept = String::from_utf8(get(&channel, taken.number).await.unwrap().message).unwrap();
        assert!(kept.contains(ARMOUR) && !kept.contains("ecret words"), "{why}: {kept}");
        assert!(message.starts_with(&kept), "{why}");
    }
    // A letter that quotes what is to somebody else is a letter; what is only signed is one, too.
    let quoting =
        format!("Spam from 203.0.113.12 with this in it:\n{}", gpg.seal(&[], "ann@reader.example", "x"));
    assert_eq!(one(&channel, &letter(19, &quoting)).await.source, "203.0.113.12");
    let clear =
        gpg.run(&["--local-user", "ann@reader.example", "--clear-sign"], b"Spam came from 203.0.113.13.\n");
    assert_eq!(one(&channel, &letter(20, &String::from_utf8(clear).unwrap())).await.source, "203.0.113.13");
    let signature =
        gpg.run(&["--local-user", "ann@reader.example", "--armor", "--detach-sign"], FEEDBACK.as_bytes());
    let signed = format!(
        "From: a@b.example\nContent-Type: multipart/signed; boundary=s; protocol=\"application/pgp-signature\"\n\n--s\n{FEEDBACK}\n--s\n\
         Content-Type: application/pgp-signature\n\n{}\n--s--\n",
        String::from_utf8(signature).unwrap()
    );
    assert_eq!(
        one(&channel, &signed.replace("113.2\n", "113.14\n")).await.source,
        "203.0.113.14",
        "a bad signature is not judged"
    );
    controller.stop().await;

    // Without a key it is said that there is none.
    let dir = tempfile::tempdir().unwrap();
    let (_controller, channel) = start(dir.path()).await;
    for message in [entity(1, &sealed), letter(2, &sealed), sealed] {
        let taken = one(&channel, &message).await;
        assert!(taken.detail.contains("nobody here can open it"), "{taken:?}");
    }
}

#[test]
fn a_key_that_opens_nothing_is_found_before_the_start() {
    let (dir, gpg) = (tempfile::tempdir().unwrap(), Gpg::new());
    gpg.make("abuse@example.net", "rsa2048", "geheim");
    let key = gpg.export(&["abuse@example.net"], "geheim", dir.path().join("key.asc"));
    let public = dir.path().join("public.asc");
    std::fs::write(&public, gpg.run(&["--armor", "--export", "abuse@example.net"], b"")).unwrap();
    let secrets = ["right", "wrong"].map(|name| dir.path().join(name));
    std::fs::write(&secrets[0], "geheim\n").unwrap();
    std::fs::write(&secrets[1], "geheimer\n").unwrap();
    let check = |settings: String| {
        std::fs::write(dir.path().join("controller.toml"), format!("[complaints]\n{settings}")).unwrap();
        let loads = Config::load(dir.path(), "127.0.0.1:0".parse().unwrap()).is_ok();
        let mut check = Command::new(env!("CARGO_BIN_EXE_reeve-controller"));
        let output = check.args(["check", "--dir"]).arg(dir.path()).output().unwrap();
        assert_eq!(output.status.success(), loads, "{output:?}");
        if !loads {
            assert_eq!(output.status.code(), Some(78), "{output:?}");
        }
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!said.contains("geheim"), "{said}");
        (loads, said)
    };
    let named = |path: &Path| format!("openpgp_key = \"{}\"\n", path.display());
    let with = |path: &Path| format!("{}openpgp_passphrase_file = \"{}\"\n", named(&key), path.display());
    for (settings, words) in [
        (named(&key), ["key.asc", "openpgp_passphrase_file"]),
        (with(&secrets[1]), ["key.asc", "the passphrase is another one"]),
        (with(Path::new("/nowhere/secret")), ["openpgp_passphrase_file", "/nowhere/secret"]),
        (named(&public), ["public.asc", "--export-secret-keys"]),
        (named(Path::new("/nowhere/key.asc")), ["complaints.openpgp_key", "/nowhere/key.asc"]),
        (named(Path::new("key.asc")), ["complaints.openpgp_key", "from the root on"]),
        (named(&secrets[0]), ["right", "--export-secret-keys"]),
        (
            "openpgp_passphrase_file = \"/x\"\n".to_owned(),
            ["openpgp_passphrase_file", "complaints.openpgp_key"],
        ),
    ] {
        let (is_good, said) = check(settings.clone());
        assert!(!is_good && words.iter().all(|word| said.contains(word)), "{settings}: {said}");
    }
    let (is_good, said) = check(with(&secrets[0]));
    assert!(is_good, "{said}");
}
