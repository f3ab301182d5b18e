//! Complaints that come by SMTP: from a real program, from those that mean harm, and while the database does not take them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::complaints::{get, list};
use crate::common::{Running, alice, execute, import, set};
use reeve_proto::operator::v1::ComplaintState;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Channel;

const PATIENCE: Duration = Duration::from_secs(60);
const SETTINGS: &str = "[complaints]\nsmtp = \"127.0.0.1:0\"\nsmtp_recipients = [\"Abuse@example.net\"]\n";
const OPENED: &str = "EHLO a\r\nMAIL FROM:<ann@reader.example>\r\nRCPT TO:<abuse@example.net>\r\nDATA\r\n";

async fn start(dir: &Path) -> (Running, Channel, SocketAddr) {
    let controller = Running::start(dir).await;
    let channel = controller.plain().await;
    import(&channel, vec![alice()], true).await;
    let smtp = controller.smtp.unwrap();
    (controller, channel, smtp)
}

/// What Python's own client comes to, as `what code`.
async fn sent(smtp: SocketAddr, how: &[&'static str]) -> Vec<String> {
    let mut command = std::process::Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smtp.py"));
    command.args([smtp.ip().to_string(), smtp.port().to_string()]).args(how);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let read = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        format!("{} {}", line["what"].as_str().unwrap(), line["code"])
    };
    lines.lines().map(read).collect()
}

/// Says this piece by piece, after the answer to each but the last, and returns all that was answered until the end.
async fn said(smtp: SocketAddr, pieces: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(smtp).await.unwrap();
    let mut answers = vec![0; 4_096];
    let mut heard = stream.read(&mut answers).await.unwrap();
    for piece in pieces {
        // Whoever was told to go need not have read it all.
        let _ = stream.write_all(piece).await;
        heard += tokio::time::timeout(Duration::from_millis(300), stream.read(&mut answers[heard..]))
            .await
            .map_or(0, |read| read.unwrap_or(0));
    }
    let _ = stream.shutdown().await;
    let rest = stream.read(&mut answers[heard..]);
    heard += tokio::time::timeout(PATIENCE, rest).await.unwrap().unwrap_or(0);
    String::from_utf8_lossy(&answers[..heard]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_program_sends_is_stored_when_it_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    set(dir.path(), SETTINGS);
    let (controller, channel, smtp) = start(dir.path()).await;
    let codes = sent(smtp, &[]).await;
    assert_eq!(
        codes,
        [
            "letter 250",
            "again 250",
            "feedback 250",
            "dots 250",
            "bytes 250",
            "nobody 550",
            "several 250",
            "announced 552",
            "large 250",
            "vrfy 252",
            "help 502",
            "bare 521",
            "unannounced 552",
            "nobody's 250",
        ]
    );
    // It dies at once: what it said it has, it has.
    controller.stop().await;
    drop(channel);
    let (controller, channel, _) = start(dir.path()).await;
    let mut all = list(&channel, "").await;
    all.reverse();
    use ComplaintState::{Filed, Unmatched};
    let found: Vec<_> =
        all.iter().map(|one| (one.source.as_str(), one.state(), one.times, one.format.as_str())).collect();
    assert_eq!(
        found,
        [
            ("203.0.113.1", Filed, 2, "plain"),
            ("203.0.113.2", Filed, 1, "arf"),
            ("203.0.113.3", Filed, 1, "plain"),
            ("203.0.113.4", Filed, 1, "plain"),
            ("203.0.113.5", Filed, 1, "plain"),
            ("203.0.113.7", Filed, 1, "plain"),
            ("192.0.2.9", Unmatched, 1, "plain"),
        ]
    );
    assert!(all.iter().all(|one| one.via == "mail"), "{all:?}");
    let dots = get(&channel, all[2].number).await.unwrap().report;
    assert!(dots.contains("..\\n.\\n.x"), "as it was written: {dots}");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_that_the_database_does_not_take() {
    let dir = tempfile::tempdir().unwrap();
    set(dir.path(), SETTINGS);
    let (controller, channel, _) = start(dir.path()).await;
    drop(channel);
    controller.stop().await;
    // Where there is no table nothing can be stored.
    execute(dir.path(), "ALTER TABLE complaints RENAME TO complaints_gone").await;
    let controller = Running::start(dir.path()).await;
    assert_eq!(sent(controller.smtp.unwrap(), &["one"]).await, ["letter 451"]);
    controller.stop().await;
    execute(dir.path(), "ALTER TABLE complaints_gone RENAME TO complaints").await;
    // As many wait as may: what is nobody's is to come again, and what can be filed is taken.
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) INSERT INTO complaints \
        (mark, state, received, updated, times, via, format, kind, source, reporter, detail, body) \
        SELECT 'mark ' || CAST(i AS TEXT), 'unmatched', 1, 1, 1, 'mail', 'plain', 'scan', '', '', '', '' FROM n";
    assert_eq!(execute(dir.path(), fill).await, 10_000);
    let (controller, channel, smtp) = start(dir.path()).await;
    let codes = sent(smtp, &[]).await;
    assert_eq!(codes.first().unwrap(), "letter 250");
    assert_eq!(codes.last().unwrap(), "nobody's 451");
    assert!(list(&channel, "source = \"192.0.2.9\"").await.is_empty());
    let (_, text) = controller.beside_metrics("/metrics").await;
    let counted = |line: &str| assert!(text.lines().any(|told| told == line), "{line}\n{text}");
    counted("reeve_controller_complaint_mails_total{outcome=\"stored\"} 7");
    counted("reeve_controller_complaint_mails_total{outcome=\"deferred\"} 1");
    counted("reeve_controller_complaint_mails_total{outcome=\"refused\"} 5");
    counted("reeve_controller_complaint_mail_sessions 0");
    // Somebody has looked, and it comes again.
    controller.stop().await;
    execute(dir.path(), "DELETE FROM complaints WHERE state = 'unmatched'").await;
    let (_controller, channel, smtp) = start(dir.path()).await;
    assert_eq!(sent(smtp, &[]).await.last().unwrap(), "nobody's 250");
    assert_eq!(list(&channel, "source = \"192.0.2.9\"").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_mean_harm_come_to_nothing_and_keep_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    set(dir.path(), SETTINGS);
    let (_controller, channel, smtp) = start(dir.path()).await;
    let second = "MAIL FROM:<root@example.net>\r\nRCPT TO:<abuse@example.net>\r\nDATA\r\nspam from 203.0.113.9\r\n.\r\n";
    // A second mail in the first one, for each way in which others end one.
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\r\r\n.\r\n", "\r\n.\r\r\n"] {
        let mail = format!("Subject: x\r\n\r\nspam from 203.0.113.8{end}{second}");
        let answers = said(smtp, &[OPENED.as_bytes(), mail.as_bytes()]).await;
        assert!(answers.contains("354 ") && answers.contains("\r\n521 5.5.2 "), "{end:?}: {answers}");
        assert!(!answers.contains("250 2.0.0"), "{end:?}: {answers}");
    }
    let garbage: Vec<u8> = (0..200_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let endless = vec![b'x'; 3 << 20];
    let early = format!("{OPENED}spam from 203.0.113.9\r\n.\r\n");
    let floods = "DATA\r\n".repeat(10_000);
    for (pieces, answer) in [
        (vec![garbage.as_slice()], "5"),
        (vec![endless.as_slice()], "500 5.5.2 the line is too long"),
        (vec![early.as_bytes()], "503 5.5.1 wait for the answer to DATA"),
        (vec![floods.as_bytes()], "421 4.7.0 too many errors"),
        (vec![b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_slice()], "521 5.5.1 no web server"),
        // A hello of TLS.
        (vec![&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n"[..]], "521"),
        // Half a mail is none.
        (vec![OPENED.as_bytes(), b"spam from 203.0.113.9\r\n".as_slice()], "354"),
    ] {
        let answers = said(smtp, &pieces).await;
        assert!(answers.contains(&format!("\r\n{answer}")), "{answer}: {answers}");
    }
    assert!(list(&channel, "").await.is_empty(), "nothing of it is a complaint");
    // Connections that say nothing take up the places of their network; as soon as one goes the next gets in.
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(smtp).await.unwrap());
    }
    let answers = said(smtp, &[b"QUIT\r\n"]).await;
    assert!(answers.starts_with("421 4.3.2 "), "{answers}");
    drop(idle);
    let since = Instant::now();
    while !said(smtp, &[b"NOOP\r\n"]).await.starts_with("220 ") {
        assert!(since.elapsed() < PATIENCE);
    }
    assert_eq!(sent(smtp, &["one"]).await, ["letter 250"]);
    assert_eq!(list(&channel, "").await.len(), 1);
}
