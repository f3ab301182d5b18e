//! Who complained is told that it is here: once, by a letter that answers theirs, and nobody is told who did not ask.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::complaints::list;
use super::forms::{Browser, LINKS, fields};
use super::maildir::Maildir;
use crate::common::{Agent, Running, alice, execute, import, set};
use reeve_controller::auth::Role;
use reeve_controller::pki::{self, Wanted};
use reeve_proto::operator::v1::case_service_client::CaseServiceClient;
use reeve_proto::operator::v1::complaint_service_client::ComplaintServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{
    ComplaintFormat, Delivery, DeliveryState, ListDeliveriesRequest, ResendDeliveryRequest, SealCaseRequest,
    SettleComplaintRequest,
};
use reeve_proto::types::v1::Tenant;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

const PATIENCE: Duration = Duration::from_secs(60);

/// A letter as a mail server was told it.
#[derive(Clone, Debug)]
struct Letter {
    from: String,
    to: Vec<String>,
    text: String,
}

impl Letter {
    /// The values of a field of its header, unfolded.
    fn fields(&self, name: &str) -> Vec<String> {
        let header = self.text.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
        let lines = header.split("\r\n").filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).collect()
    }

    fn field(&self, name: &str) -> String {
        let mut all = self.fields(name);
        assert_eq!(all.len(), 1, "{name}: {all:?} in {}", self.text);
        all.remove(0)
    }
}

/// A mail server that takes letters, but for addresses that begin with what it is to say to them; those with a sender it takes from all that it may take any other time.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Vec<Letter>>>);

impl Server {
    async fn start() -> (Self, u16) {
        let own = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = own.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.serve(BufReader::new(stream)).await });
            }
        });
        (own, port)
    }

    async fn serve(self, mut stream: BufReader<TcpStream>) -> std::io::Result<()> {
        stream.get_mut().write_all(b"220 mx.example ESMTP\r\n").await?;
        let (mut from, mut to) = (String::new(), Vec::new());
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end();
            let inner = |line: &str| line[line.find('<').unwrap()..].split(' ').next().unwrap().to_owned();
            let answer = match line.get(..4).unwrap_or(line).to_ascii_uppercase().as_str() {
                "EHLO" => "250-mx.example\r\n250 8BITMIME".to_owned(),
                "MAIL" => {
                    (from, to) = (inner(line), Vec::new());
                    "250 ok".to_owned()
                }
                "RCPT" => {
                    to.push(inner(line));
                    match inner(line) {
                        address if address.starts_with("<later") && from == "<>" => {
                            format!("451 not now {address}")
                        }
                        address if address.starts_with("<never") => format!("550 no such user {address}"),
                        _ => "250 ok".to_owned(),
                    }
                }
                "DATA" => {
                    stream.get_mut().write_all(b"354 go on\r\n").await?;
                    let mut text = String::new();
                    while !text.ends_with("\r\n.\r\n") {
                        stream.read_line(&mut text).await?;
                    }
                    self.0.lock().unwrap().push(Letter { from: from.clone(), to: to.clone(), text });
                    "250 taken".to_owned()
                }
                _ => "250 ok".to_owned(),
            };
            stream.get_mut().write_all(format!("{answer}\r\n").as_bytes()).await?;
        }
    }

    fn taken(&self) -> Vec<Letter> {
        self.0.lock().unwrap().clone()
    }
}

async fn until<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "it did not come about in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn mail(port: u16) -> String {
    format!(
        "[mail]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nfrom = \"abuse@example.net\"\nfrom_name = \"Example Hosting\"\n"
    )
}

/// A letter about an address with these fields on top; another one for each number.
fn letter(number: u32, source: &str, header: &str) -> String {
    format!(
        "{header}Subject: SECRET portscan\nMessage-ID: <{number}@reader.example>\n\nSECRET words: a portscan came from {source}. Case {number}.\n"
    )
}

/// The fields of somebody who writes.
fn by(who: &str) -> String {
    format!("Return-Path: <{who}>\nFrom: Ann <{who}>\nTo: abuse@example.net\n")
}

async fn start(dir: &Path) -> (Running, Channel) {
    let controller = Running::start(dir).await;
    let channel = controller.plain().await;
    import(&channel, vec![alice()], true).await;
    (controller, channel)
}

async fn deliveries(channel: &Channel, filter: &str) -> Vec<Delivery> {
    let request = ListDeliveriesRequest { filter: filter.into(), page_size: 1_000, ..Default::default() };
    OperatorServiceClient::new(channel.clone())
        .list_deliveries(request)
        .await
        .unwrap()
        .into_inner()
        .deliveries
}

async fn resend(channel: &Channel, number: u64, again: bool) -> Result<Vec<Delivery>, tonic::Status> {
    let request = ResendDeliveryRequest { number, again, ..Default::default() };
    let answer = OperatorServiceClient::new(channel.clone()).resend_delivery(request).await?;
    Ok(answer.into_inner().deliveries)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_complained_is_told_once_and_programs_and_strangers_are_not() {
    let (maildir, dir) = (Maildir::new(), tempfile::tempdir().unwrap());
    let (server, port) = Server::start().await;
    set(dir.path(), &format!("{}acknowledge = true\n{}", maildir.settings(), mail(port)));
    let (controller, channel) = start(dir.path()).await;
    maildir.deliver("1700000001.a", &letter(1, "203.0.113.7", &by("Ann@reader.example")));
    // The same again, and another one by her on the same day, however she writes her address.
    maildir.deliver("1700000002.a", &letter(1, "203.0.113.7", &by("Ann@reader.example")));
    maildir.deliver("1700000003.a", &letter(2, "203.0.113.8", &by("ann@READER.example")));
    // Nobody's address, and a request to take something down, are told the same.
    let elsewhere = by("ben@elsewhere.example").replace("Ann <", "\"Ben, of the desk\" <")
        + "Reply-To: desk@elsewhere.example\n";
    maildir.deliver("1700000004.a", &letter(3, "192.0.2.9", &elsewhere));
    // Several in one are one.
    let one = |id: u32| {
        let contact = r#"{"org":"CERT","contact":"other@cert.example","domain":"cert.example"}"#;
        format!(
            r#"{{"xarf_version":"4.2.0","report_id":"5eed0000-0000-4000-8000-{id:012}","timestamp":"2026-01-02T03:04:05Z","reporter":{contact},
            "sender":{contact},"source_identifier":"203.0.113.7","category":"connection","type":"login_attack","protocol":"tcp",
            "first_seen":"2026-01-02T03:04:05Z","destination_port":22}}"#
        )
    };
    let several = format!(
        "{}Message-ID: <x y>\nSubject: reports\nMIME-Version: 1.0\nContent-Type: application/json; name=r.json\n\n[{},{}]\n",
        by("cert@cert.example"),
        one(1),
        one(2)
    );
    maildir.deliver("1700000005.a", &several);
    // Whoever is no person, did not write, or cannot be told from others.
    for (number, header) in (10..).zip([
        by("x@y.example").replace("Return-Path: <x@y.example>", "Return-Path: <>"),
        by("x@y.example").replace("Return-Path: <x@y.example>\n", ""),
        by("mailer-daemon@y.example"),
        by("no-reply@y.example"),
        by("x@y.example") + "Auto-Submitted: auto-generated\n",
        by("x@y.example") + "Precedence: bulk\n",
        by("x@y.example") + "List-Id: <l.y.example>\n",
        by("x@y.example").replace("Ann <x@y.example>", "x@y.example, victim@z.example"),
        by("x@y.example").replace("Ann <x@y.example>", "=?utf-8?q?x=40y.example=0d=0aBcc:_v=40z.example?="),
        by("x@y.example") + "From: victim@z.example\n",
        by("x@y.example").replace("Ann <x@y.example>", "\"x y\"@y.example"),
        by("x@y.example") + "Reply-To: bounces+x@y.example\n",
    ]) {
        maildir.deliver(&format!("17000000{number}.b"), &letter(number, "203.0.113.9", &header));
    }
    // A feedback loop, what names no address (as advertising does), and what cannot be read.
    let loop_ = format!(
        "{}Subject: fbl\nMIME-Version: 1.0\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\n\n--b\nContent-Type: message/feedback-report\n\n\
         Feedback-Type: abuse\nVersion: 1\nUser-Agent: x/1\nSource-IP: 203.0.113.5\n\n--b\nContent-Type: text/rfc822-headers\n\nSubject: pills\n--b--\n",
        by("fbl@isp.example")
    );
    maildir.deliver("1700000050.c", &loop_);
    let pills = format!("{}Subject: cheap\n\nBuy at http://pills.example/now\n", by("victim@z.example"));
    maildir.deliver("1700000051.c", &pills);
    maildir.deliver("1700000052.c", &format!("{}Subject: hello\n\nGood day.\n", by("victim@z.example")));
    maildir.is_left_with(&[]).await;

    let sent =
        until(|| async { Some(deliveries(&channel, "state = sent").await).filter(|all| all.len() >= 3) })
            .await;
    let all = deliveries(&channel, "").await;
    assert_eq!((sent.len(), all.len()), (3, 3), "{all:?}");
    let mut to: Vec<&str> = all.iter().map(|one| one.target.as_str()).collect();
    to.sort_unstable();
    assert_eq!(to, ["Ann@reader.example", "cert@cert.example", "desk@elsewhere.example"]);
    let complaints = list(&channel, "").await;
    for one in &all {
        assert_eq!((one.notice, one.tenant.as_str(), one.recipient.as_str()), (0, "", ""), "{one:?}");
        assert!(complaints.iter().any(|complaint| complaint.number == one.complaint), "{one:?}");
    }
    let letters = server.taken();
    assert_eq!(letters.len(), 3);
    let to_ann = letters.iter().find(|letter| letter.to == ["<Ann@reader.example>"]).unwrap();
    let first = complaints.iter().find(|one| one.source == "203.0.113.7" && one.kind == "scan").unwrap();
    assert_eq!(first.times, 2);
    assert_eq!(to_ann.from, "<>", "nothing comes back of it");
    assert_eq!(to_ann.field("Auto-Submitted"), "auto-replied");
    assert_eq!(to_ann.field("X-Auto-Response-Suppress"), "All");
    assert_eq!(
        (to_ann.field("In-Reply-To"), to_ann.field("References")),
        ("<1@reader.example>".into(), "<1@reader.example>".into())
    );
    assert_eq!(to_ann.field("To"), "Ann@reader.example");
    assert_eq!(to_ann.field("Subject"), format!("We have your complaint [{}]", first.number));
    assert!(to_ann.field("Content-Type").starts_with("text/plain"), "{}", to_ann.text);
    let says = format!("reference is {}.", first.number);
    assert!(to_ann.text.contains(&says) && to_ann.text.contains("203.0.113.7"), "{}", to_ann.text);
    for letter in &letters {
        for secret in ["alice", "Alice", "SECRET", "complaint/", &first.case_id, "Bcc", "victim"] {
            assert!(!letter.text.contains(secret), "{secret}: {}", letter.text);
        }
        assert_eq!(letter.to.len(), 1);
        assert_eq!(letter.fields("Bcc").len() + letter.fields("Cc").len(), 0);
    }
    // An id that is none is not answered by it; a complaint that is nobody's is told of in the same words.
    let to_cert = letters.iter().find(|letter| letter.to == ["<cert@cert.example>"]).unwrap();
    assert!(to_cert.fields("In-Reply-To").is_empty() && to_cert.fields("References").is_empty());
    let to_desk = letters.iter().find(|letter| letter.to == ["<desk@elsewhere.example>"]).unwrap();
    let same = |letter: &Letter| letter.text.split("\r\n\r\n").nth(2).unwrap().to_owned();
    assert_eq!(
        same(to_desk).replace("192.0.2.9", "203.0.113.7"),
        same(to_ann),
        "whose it is, or that it is nobody's, is not told"
    );

    // What an operator hands in, an operator answers; and nothing is sent again after a restart.
    let handed = letter(99, "203.0.113.3", &by("carl@reader.example"));
    super::complaints::submit_as(&channel, ComplaintFormat::Mail, handed.as_bytes()).await.unwrap();
    controller.stop().await;
    let (controller, channel) = start(dir.path()).await;
    maildir.deliver("1700000060.a", &letter(1, "203.0.113.7", &by("Ann@reader.example")));
    maildir.is_left_with(&[]).await;
    assert_eq!((deliveries(&channel, "").await.len(), server.taken().len()), (3, 3));
    let ours = deliveries(&channel, &format!("complaint = {}", first.number)).await;
    assert_eq!(ours.len(), 1);
    let refused = resend(&channel, ours[0].number, false).await.unwrap_err();
    assert_eq!(refused.get_details_error_info().unwrap().reason, "DELIVERY_SENT");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_waits_what_is_refused_is_kept_and_all_of_it_goes_with_the_complaint() {
    let (maildir, dir) = (Maildir::new(), tempfile::tempdir().unwrap());
    let (server, port) = Server::start().await;
    set(dir.path(), &format!("{}acknowledge = true\n{}", maildir.settings(), mail(port)));
    let (controller, channel) = start(dir.path()).await;
    maildir.deliver("1700000001.a", &letter(1, "192.0.2.7", &by("later@reader.example")));
    maildir.deliver("1700000002.a", &letter(2, "192.0.2.8", &by("never@reader.example")));
    let dead = until(|| async { deliveries(&channel, "state = dead").await.pop() }).await;
    assert!(dead.target == "never@reader.example" && dead.detail.contains("no such user"), "{dead:?}");
    let tried = || async {
        deliveries(&channel, "state = pending").await.into_iter().find(|one| !one.detail.is_empty())
    };
    let waits = until(tried).await;
    let (tried_at, next) = (waits.tried_time.unwrap().seconds, waits.next_time.unwrap().seconds);
    assert!((55..=65).contains(&(next - tried_at)), "{waits:?}");
    assert!(server.taken().is_empty());
    // A notice to the same address does not wait for it: anybody could hold up a customer's letters.
    let tenant = Tenant { contacts: vec!["later@reader.example".into()], ..alice() };
    import(&channel, vec![tenant], true).await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    agent.suspend(&channel, "alice").await;
    let told = until(|| async { deliveries(&channel, "state = sent").await.pop() }).await;
    assert!(told.notice > 0 && told.complaint == 0 && told.target == waits.target, "{told:?}");
    assert_eq!(server.taken().remove(0).from, "<abuse@example.net>");
    // By hand it is tried at once.
    let again = resend(&channel, dead.number, false).await.unwrap();
    assert_eq!(
        (again.len(), again[0].state(), again[0].complaint),
        (1, DeliveryState::Pending, dead.complaint)
    );
    until(|| async { deliveries(&channel, "state = dead").await.pop() }).await;

    // The address is kept as long as the complaint, and no longer.
    for number in [dead.complaint, waits.complaint] {
        let request = SettleComplaintRequest { number, reason: "nothing".into(), ..Default::default() };
        ComplaintServiceClient::new(channel.clone()).settle_complaint(request).await.unwrap();
    }
    controller.stop().await;
    let kept = "UPDATE complaints SET updated = 1 WHERE number = (SELECT complaint FROM deliveries WHERE target LIKE 'never%')";
    assert_eq!(execute(dir.path(), kept).await, 1);
    super::complaints::forget(dir.path()).await;
    let (controller, channel) = start(dir.path()).await;
    let left = deliveries(&channel, "").await;
    assert_eq!(
        left.iter().map(|one| one.number).collect::<Vec<_>>(),
        [told.number, waits.number],
        "{left:?}"
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_hides_who_complained_and_does_not_show_in_what_they_are_told() {
    let (maildir, dir) = (Maildir::new(), tempfile::tempdir().unwrap());
    let (server, port) = Server::start().await;
    let people = [(Role::Admin, "root"), (Role::Operator, "oncall")];
    let people = people.map(|(role, name)| (role, name.parse().unwrap())).to_vec();
    pki::init(dir.path(), &Wanted { people, ..Wanted::default() }).unwrap();
    set(dir.path(), &format!("{}acknowledge = true\n{}", maildir.settings(), mail(port)));
    let controller = Running::start(dir.path()).await;
    let own = |who: &'static str| controller.secure(dir.path(), dir.path(), who);
    let (root, oncall) = (own("operators/root").await, own("operators/oncall").await);
    import(&root, vec![alice()], true).await;
    maildir.deliver("1700000001.a", &letter(1, "203.0.113.7", &by("ann@reader.example")));
    maildir.deliver("1700000002.a", &letter(2, "192.0.2.7", &by("ben@reader.example")));
    until(|| async { Some(deliveries(&oncall, "state = sent").await).filter(|all| all.len() == 2) }).await;
    let filed = list(&root, "state = filed").await.remove(0);
    let request = SealCaseRequest { id: filed.case_id.clone(), reason: "court order 7".into(), end: false };
    CaseServiceClient::new(root.clone()).seal_case(request).await.unwrap();
    // Who complains of what is sealed is told what everybody is told: silence would tell.
    maildir.deliver("1700000003.a", &letter(3, "203.0.113.7", &by("cem@reader.example")));
    until(|| async { Some(deliveries(&root, "state = sent").await).filter(|all| all.len() == 3) }).await;
    let (seen, all) = (deliveries(&oncall, "").await, deliveries(&root, "").await);
    assert_eq!((seen.len(), all.len()), (1, 3), "{seen:?}");
    assert_eq!(seen[0].target, "ben@reader.example");
    for one in all.iter().filter(|one| one.target != "ben@reader.example") {
        assert_eq!(resend(&oncall, one.number, true).await.unwrap_err().code(), tonic::Code::NotFound);
    }
    resend(&oncall, seen[0].number, true).await.unwrap();
    let words = |to: &str| {
        let letters = server.taken();
        let letter = letters.iter().find(|letter| letter.to == [format!("<{to}@reader.example>")]).unwrap();
        let text = letter.text.split("\r\n\r\n").skip(1).collect::<Vec<_>>().join("\n");
        text.chars().filter(|letter| !letter.is_ascii_digit()).collect::<String>()
    };
    assert_eq!(words("cem"), words("ann"));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fills_in_a_form_is_told_in_its_language_if_they_want() {
    let dir = tempfile::tempdir().unwrap();
    let (server, port) = Server::start().await;
    set(dir.path(), &format!("{LINKS}[complaints]\nform = true\nacknowledge = true\n{}", mail(port)));
    let (controller, channel) = start(dir.path()).await;
    let browser = Browser::new(&controller);
    let page = browser.look("da", "192.0.2.1").await;
    assert!(page.text.contains("Du får besked"), "{}", page.text);
    let token = page.token();
    let send = async |email: &str, text: &str, from: &str| {
        let filled = [
            ("email", email),
            ("text", text),
            ("about", "http://203.0.113.7/BUY-PILLS"),
            ("kind", "phishing"),
        ];
        browser.send(&fields(&token, &filled), "da-DK", from).await.reference()
    };
    let number = send("ann@reader.example", "Køb PILLS", "192.0.2.1").await;
    // The same again, another by her, one by nobody, and one at whose address nobody reads.
    assert_eq!(send("ann@reader.example", "Køb PILLS", "192.0.2.1").await, number);
    send("Ann@reader.example", "mere", "192.0.2.1").await;
    send("", "anonym", "192.0.2.1").await;
    send("no-reply@reader.example", "maskine", "192.0.2.1").await;
    let sent = until(|| async { deliveries(&channel, "state = sent").await.pop() }).await;
    assert_eq!((sent.complaint, sent.target.as_str()), (number, "ann@reader.example"));
    assert_eq!(deliveries(&channel, "").await.len(), 1);
    let letter = server.taken().remove(0);
    assert_eq!((letter.from.as_str(), letter.field("Content-Language").as_str()), ("<>", "da"));
    assert!(letter.field("Subject").contains(&format!("[{number}]")), "{}", letter.text);
    assert!(
        letter.text.contains("phishing") && letter.text.contains("Adresse: 203.0.113.7"),
        "{}",
        letter.text
    );
    assert!(
        !letter.text.contains("PILLS") && !letter.text.contains("alice"),
        "what a stranger wrote goes nowhere: {}",
        letter.text
    );
    assert!(letter.fields("In-Reply-To").is_empty());
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_forged_letters_makes_few_and_none_where_nobody_asked_for_it() {
    let (maildir, dir) = (Maildir::new(), tempfile::tempdir().unwrap());
    let (server, port) = Server::start().await;
    // Not unless it is set.
    set(dir.path(), &format!("{}{}", mail(port), maildir.settings()));
    let (controller, _) = start(dir.path()).await;
    maildir.deliver("1600000000.a", &letter(9_999, "203.0.113.7", &by("ann@reader.example")));
    maildir.is_left_with(&[]).await;
    controller.stop().await;
    set(dir.path(), "acknowledge = true\n");
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    assert_eq!(deliveries(&channel, "").await.len(), 0, "nor what came before");
    for number in 0..150 {
        let (name, who) = (format!("17000{number:05}.a"), format!("v{number}@victim{}.example", number % 7));
        maildir.deliver(&name, &letter(number, &format!("203.0.113.{}", number % 16), &by(&who)));
    }
    maildir.is_left_with(&[]).await;
    let sent =
        until(|| async { Some(deliveries(&channel, "state = sent").await).filter(|all| all.len() >= 60) })
            .await;
    assert_eq!((sent.len(), deliveries(&channel, "").await.len(), server.taken().len()), (60, 60, 60));
    assert_eq!(list(&channel, "").await.len(), 151, "all of them are here");
    controller.stop().await;
}
