//! Incidents written down: each format in its manners.

use jiff::Timestamp as Jiff;
use jiff::tz::{Offset, TimeZone};
use reeve_policy::Timestamp;
use serde_json::{Value, json};

use super::{Expected, Incident, Random, Sample};
use crate::Format;

/// An incident in a format.
pub(super) fn write(format: Format, incident: &Incident, random: &mut Random) -> Sample {
    let (name, is_mail, bytes) = match format {
        Format::Arf => ("arf", true, arf(incident, random)),
        Format::Xarf4 => enclosed("xarf4", &xarf4(incident, random), incident.now, random),
        Format::Xarf3 => enclosed("xarf3", &xarf3(incident, random), incident.now, random),
        Format::XArf02 => ("x-arf", true, xarf02(incident, random)),
        // Nobody sends a form as a message.
        Format::Plain | Format::Form => ("letter", true, letter(incident, random)),
    };
    Sample {
        name: format!("{name} {}", incident.number),
        format,
        is_mail,
        bytes,
        expected: Expected::Source(incident.source),
        copy_of: None,
    }
}

fn domain(incident: &Incident) -> &'static str {
    ["reporter.example", "cert.example.org", "abuse-desk.example.net"][incident.number % 3]
}

fn id(incident: &Incident) -> String {
    format!("5eed0000-0000-4000-8000-{:012x}", incident.number)
}

/// The time in RFC 5322's form, in some zone.
fn mail_date(incident: &Incident, random: &mut Random) -> String {
    let at = Jiff::from_second((incident.at.as_nanos() / 1_000_000_000) as i64).unwrap_or(Jiff::UNIX_EPOCH);
    let zone = *random.pick(&[0, 1, -5, 9]);
    let zoned = at.to_zoned(TimeZone::fixed(Offset::constant(zone)));
    let text = jiff::fmt::rfc2822::to_string(&zoned).unwrap_or_default();
    if random.chance(4) { format!("{text} (zone)") } else { text }
}

fn json_date(incident: &Incident, random: &mut Random) -> String {
    let at = Jiff::from_second((incident.at.as_nanos() / 1_000_000_000) as i64).unwrap_or(Jiff::UNIX_EPOCH);
    match random.below(3) {
        0 => at.to_string(),
        1 => at.to_string().replace('Z', ".250Z"),
        _ => at.to_zoned(TimeZone::fixed(Offset::constant(2))).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
    }
}

/// A mail with this body, in one of the manners that mail programs have.
fn mail(
    incident: &Incident,
    subject: &str,
    kind: &str,
    more: &str,
    body: &str,
    random: &mut Random,
) -> Vec<u8> {
    let domain = domain(incident);
    let number = random.below(1 << 30);
    let from = match random.below(3) {
        0 => format!("abuse@{domain}"),
        1 => format!("\"Abuse, Desk\" <abuse@{domain}>"),
        _ => format!("=?utf-8?q?Abus=C3=A9?= <abuse@{domain}>"),
    };
    let received = match random.below(2) {
        0 => String::new(),
        _ => format!("Received: from mx.{domain} ([192.0.2.250])\n\tby mx.provider.example; x\n"),
    };
    let fold = if random.chance(2) { "\n " } else { " " };
    let text = format!(
        "{received}From: {from}\nTo: abuse@provider.example\nSubject:{fold}{subject}\nMessage-ID: <{number}@{domain}>\n\
         MIME-Version: 1.0\n{more}Content-Type: {kind}\n\n{body}"
    );
    if random.chance(2) { text.into_bytes() } else { text.replace('\n', "\r\n").into_bytes() }
}

/// A part in one of the encodings.
fn part(kind: &str, body: &str, random: &mut Random) -> String {
    match random.below(3) {
        0 => format!("Content-Type: {kind}\n\n{body}\n"),
        1 => {
            let base64 = data_encoding::BASE64.encode(body.as_bytes());
            let lines: Vec<&str> =
                (0..base64.len()).step_by(76).map(|at| &base64[at..base64.len().min(at + 76)]).collect();
            format!("Content-Type: {kind}\nContent-Transfer-Encoding: base64\n\n{}\n", lines.join("\n"))
        }
        _ => {
            let quoted = body.replace('=', "=3D").replace('é', "=C3=A9");
            format!("content-type: {kind}\nCONTENT-TRANSFER-ENCODING: Quoted-Printable\n\n{quoted}\n")
        }
    }
}

/// Parts between the lines of a boundary.
fn multipart(parts: &[String], random: &mut Random) -> (String, String) {
    let boundary = format!("=_b{}", random.below(1 << 20));
    let mut body = String::from("This is a multipart.\n");
    for part in parts {
        body.push_str(&format!("--{boundary}\n{part}"));
    }
    body.push_str(&format!("--{boundary}--\n"));
    (format!("boundary=\"{boundary}\""), body)
}

/// RFC 5965, appendix B, in our own words.
fn arf(incident: &Incident, random: &mut Random) -> Vec<u8> {
    let source = incident.source;
    let mut fields: Vec<String> = vec![
        "Feedback-Type: abuse".into(),
        format!("Source-IP: {}", if random.chance(3) { format!("[{source}]") } else { source.to_string() }),
        format!(
            "Arrival-Date:{}{}",
            if random.chance(3) { "\n\t" } else { " " },
            mail_date(incident, random)
        ),
    ];
    for field in [
        "User-Agent: SomeGenerator/1.0",
        "Version: 1",
        "Original-Mail-From: <news@spam.example>",
        "Original-Rcpt-To: <=?redacted?@reporter.example>",
        "Reporting-MTA: dns; mx.reporter.example",
        "Authentication-Results: mx.reporter.example;\n spf=fail smtp.mail=news@spam.example",
        "Reported-Domain: spam.example",
        "Reported-URI: http://spam.example/buy.html",
        "Reported-URI: mailto:news@spam.example",
        "Version: one and a half",
        "Incidents: 17",
        "Removal-Recipient: user@reporter.example",
        "X-Unknown: é",
    ] {
        if random.chance(2) {
            fields.insert(random.below(fields.len() + 1), field.to_owned());
        }
    }
    if random.chance(2) {
        fields.push(format!("Source-Port: {}", incident.port));
    }
    let mut report = fields.join("\n");
    if random.chance(3) {
        report = report.replace("Source-IP", "source-ip");
    }
    let prose = format!("This is an abuse report for mail from {source}. Voilà.");
    let enclosed = format!(
        "Received: from evil.example ([{source}]) by mx.reporter.example\nFrom: <news@spam.example>\nTo: <user@reporter.example>\n\
         Subject: Earn money\nMessage-ID: <{}@spam.example>\n\nSpam Spam Spam, secret body\n",
        incident.number
    );
    let third = if random.chance(2) { "message/rfc822" } else { "text/rfc822-headers" };
    let mut parts = Vec::new();
    if !random.chance(5) {
        parts.push(part("text/plain; charset=utf-8", &prose, random));
    }
    parts.push(part("message/feedback-report", &format!("{report}\n"), random));
    if !random.chance(5) {
        parts.push(part(third, &enclosed, random));
    }
    let (boundary, body) = multipart(&parts, random);
    let kind = format!("multipart/report; report-type=feedback-report;\n {boundary}");
    if random.chance(4) {
        // What mailing lists and virus scanners do: the report in another multipart.
        let (outer, body) = multipart(&[format!("Content-Type: {kind}\n\n{body}")], random);
        return mail(incident, "FW: Earn money", &format!("multipart/mixed; {outer}"), "", &body, random);
    }
    mail(incident, "FW: Earn money", &kind, "", &body, random)
}

/// The types of XARF 4 with what each requires.
fn xarf4(incident: &Incident, random: &mut Random) -> Value {
    let date = json_date(incident, random);
    let url = format!("http://site{}.example/page", incident.number);
    // Of an incident the type is always the same: a copy tells the same.
    let (category, kind, more) = match incident.number % 14 {
        0 => (
            "messaging",
            "spam",
            json!({"protocol": "smtp", "smtp_from": "n@spam.example", "subject": "Earn money"}),
        ),
        1 => ("messaging", "bulk_messaging", json!({"protocol": "other", "recipient_count": 700})),
        2 => (
            "connection",
            "port_scan",
            json!({"protocol": "tcp", "first_seen": date, "destination_port": 22}),
        ),
        3 => (
            "connection",
            "login_attack",
            json!({"protocol": "tcp", "first_seen": date, "service": "ssh", "attempt_count": 90}),
        ),
        4 => (
            "connection",
            "ddos",
            json!({"protocol": "udp", "first_seen": date, "destination_ip": "192.0.2.251", "peak_pps": 9000}),
        ),
        5 => {
            ("connection", "scraping", json!({"protocol": "tcp", "first_seen": date, "total_requests": 8000}))
        }
        6 => ("content", "phishing", json!({"url": url})),
        7 => ("content", "malware", json!({"url": url, "malware_family": "mirai"})),
        8 => ("copyright", "copyright", json!({"infringing_url": url, "rights_holder": "Somebody"})),
        9 => {
            ("infrastructure", "botnet", json!({"compromise_evidence": "traffic", "c2_server": "c2.example"}))
        }
        10 => ("vulnerability", "open_service", json!({"service": "dns"})),
        11 => (
            "vulnerability",
            "cve",
            json!({"service": "smb", "service_port": 445, "cve_id": "CVE-2017-0144"}),
        ),
        12 => ("reputation", "blocklist", json!({"threat_type": "spam"})),
        _ => (
            "connection",
            "reconnaissance",
            json!({"protocol": "tcp", "first_seen": date, "probed_resources": ["/.env"]}),
        ),
    };
    let contact = json!({"org": "Réporter", "contact": format!("abuse@{}", domain(incident)), "domain": domain(incident)});
    let mut report = json!({
        "xarf_version": random.pick(&["4.0.0", "4.2.0"]),
        "report_id": id(incident),
        "timestamp": date,
        "reporter": contact,
        "sender": contact,
        "source_identifier": incident.source.to_string(),
        "category": category,
        "type": kind,
    });
    add(&mut report, more);
    for (name, value) in [
        ("source_port", json!(incident.port)),
        ("evidence_source", json!("honeypot")),
        ("confidence", json!(0.9)),
        ("description", json!("What happened, in\nwords.")),
        ("tags", json!(["attack:x"])),
        ("_internal", json!({"ticket": [1, {"deep": [[[[[[[[[[[[1]]]]]]]]]]]]}]})),
        (
            "evidence",
            json!([{"content_type": "message/rfc822", "description": "the mail",
                "payload": data_encoding::BASE64.encode(b"Subject: Earn money\r\nTo: user@reporter.example\r\n\r\nsecret body")}]),
        ),
    ] {
        if random.chance(2) {
            add(&mut report, json!({ name: value }));
        }
    }
    report
}

fn add(report: &mut Value, more: Value) {
    if let (Value::Object(report), Value::Object(more)) = (report, more) {
        report.extend(more);
    }
}

fn xarf3(incident: &Incident, random: &mut Random) -> Value {
    let (class, kind) = [
        ("Activity", "Spam"),
        ("Activity", "LoginAttack"),
        ("Activity", "PortScan"),
        ("Activity", "DDoS"),
        ("Content", "Phishing"),
        ("Content", "Malware"),
        ("Content", "Copyright"),
        ("Vulnerability", "OpenService"),
        ("Activity", "Botnet"),
    ][incident.number % 9];
    let kind = if random.chance(3) { kind.to_lowercase() } else { kind.to_owned() };
    let mut body = json!({"ReportClass": class, "ReportType": kind, "Date": json_date(incident, random)});
    if random.chance(2) {
        add(&mut body, json!({"SourceIp": incident.source.to_string(), "SourcePort": incident.port}));
    } else {
        add(
            &mut body,
            json!({"Source": {"IP": incident.source.to_string(), "Port": incident.port, "Type": "ip"}}),
        );
    }
    for more in [
        json!({"DestinationIp": "192.0.2.251", "DestinationPort": 80}),
        json!({"Samples": [{"ContentType": "text/plain", "Base64Encoded": false, "Description": "log", "Payload": "secret body"}]}),
        json!({"Attachment": [{"ContentType": "text/plain", "Description": "log", "Data": "c2VjcmV0IGJvZHk="}]}),
        json!({"AdditionalInfo": {"Protocol": "smtp", "SMTPFrom": "n@spam.example", "PacketCount": 7}}),
        json!({"Ongoing": true, "ByteCount": 20_000_000u64}),
    ] {
        if random.chance(2) {
            add(&mut body, more);
        }
    }
    let domain = domain(incident);
    let mut report = json!({
        "ReporterInfo": {"ReporterOrg": "Réporter", "ReporterOrgDomain": domain, "ReporterOrgEmail": format!("abuse@{domain}")},
        "Disclosure": true,
        "Report": body,
    });
    if random.chance(2) {
        add(&mut report, json!({"Version": random.pick(&["3", "3.0.0", "2.0"])}));
    }
    report
}

/// JSON alone, in an array, or in a mail.
fn enclosed(
    name: &'static str,
    report: &Value,
    now: Timestamp,
    random: &mut Random,
) -> (&'static str, bool, Vec<u8>) {
    let text = if random.chance(2) {
        report.to_string()
    } else {
        serde_json::to_string_pretty(report).unwrap_or_default()
    };
    match random.below(4) {
        0 => (name, false, text.into_bytes()),
        1 => (name, false, format!("\u{feff}[{text}]").into_bytes()),
        _ => {
            let kind = *random.pick(&[
                "application/json; name=xarf.json",
                "application/json",
                "text/plain; charset=utf-8",
                "application/octet-stream; name=\"report.json\"",
            ]);
            let parts = [
                part("text/plain; charset=utf-8", "Please see the attached report.", random),
                part(kind, &text, random),
            ];
            let (boundary, body) = multipart(&parts, random);
            // Who sends it is not who says so: the report's own contact counts.
            let carrier = Incident { number: 0, source: [192, 0, 2, 9].into(), port: 1, at: now, now };
            let bytes = mail(
                &carrier,
                "Abuse",
                &format!("multipart/mixed; {boundary}"),
                "X-XARF: PLAIN\n",
                &body,
                random,
            );
            (name, true, bytes)
        }
    }
}

fn xarf02(incident: &Incident, random: &mut Random) -> Vec<u8> {
    let (kind, service) = [
        ("login-attack", "ssh"),
        ("port-scan", "tcp"),
        ("spam", "smtp"),
        ("malware-attack", "http"),
        ("fraud", "http"),
    ][incident.number % 5];
    let domain = domain(incident);
    let mut lines = vec![
        format!("Reported-From: abuse@{domain}"),
        "Category: abuse".to_owned(),
        format!("Report-Type: {kind}"),
        format!("Date: {}", mail_date(incident, random)),
        "Source-Type: ip-address".to_owned(),
        format!(
            "Source: {}",
            if random.chance(2) { format!("\"{}\"", incident.source) } else { incident.source.to_string() }
        ),
        format!("Report-ID: {}@{domain}", id(incident)),
        format!("Schema-URL: http://www.x-arf.org/schema/abuse_{kind}_0.1.2.json"),
    ];
    for line in [
        "Version: 0.2",
        "User-Agent: made up",
        "Port: 22",
        "Attachment: text/plain",
        "Occurrences: 3 # about",
    ] {
        if random.chance(2) {
            lines.insert(random.below(lines.len()), line.to_owned());
        }
    }
    lines.push(format!("Service: {service}"));
    let yaml = if random.chance(3) { format!("---\n{}\n...\n", lines.join("\n")) } else { lines.join("\n") };
    let parts = [
        part("text/plain; charset=utf-8", "Dear abuse team, see below.", random),
        part("text/plain; charset=utf-8; name=\"report.txt\"", &yaml, random),
        part("text/plain; charset=utf-8; name=\"logfile.log\"", "sshd: secret body from 192.0.2.252", random),
    ];
    let (boundary, body) = multipart(&parts, random);
    let mark = *random.pick(&["X-XARF: PLAIN\n", "X-ARF: YES\n", "x-xarf: plain\n"]);
    mail(incident, "abuse report", &format!("multipart/mixed; {boundary}"), mark, &body, random)
}

fn letter(incident: &Incident, random: &mut Random) -> Vec<u8> {
    let source = incident.source.to_string();
    let source = match random.below(3) {
        0 if incident.source.is_ipv4() => source.replace('.', "[.]"),
        1 if incident.source.is_ipv4() => source.replacen('.', "[.]", 1),
        _ => source,
    };
    let date = json_date(incident, random);
    let (subject, text) = match incident.number % 5 {
        0 => (
            "brute force attack",
            format!(
                "Dear Sir,\nwe saw failed logins (fail2ban) on our server 192.0.2.253.\nSource: {source}\nTime: {date}\nRegards é"
            ),
        ),
        1 => (
            "spam",
            format!(
                "Unsolicited mail reached us from {source} at {date}, sent to 192.0.2.253.\nThis is spam.\n"
            ),
        ),
        2 => (
            "Notice of copyright infringement",
            format!(
                "The work at hxxp://site{}[.]example/film infringes our copyright (DMCA).\nIP address: {source}\n\
                 Seen: {date}\nPlease remove it within 48 hours.\n",
                incident.number
            ),
        ),
        3 => ("portscan", format!("Portscan detected.\n{date} src={source} dst=192.0.2.253 proto=tcp\n")),
        _ => ("DDoS", format!("Een ddos-aanval op 192.0.2.253.\nBron: {source}\nTijd: {date}\n")),
    };
    // A mail scanner's stamp, or a prefix: the letter is the same.
    let subject = format!("{}{subject}", random.pick(&["", "Fwd: ", "[EXT] "]));
    match random.below(3) {
        0 => mail(incident, &subject, "text/plain; charset=utf-8", "", &text, random),
        1 => {
            let page = format!("<html><body><p>{}</p></body></html>", text.replace('\n', "<br>\n"));
            let parts = [
                part("text/plain; charset=utf-8", &text, random),
                part("text/html; charset=utf-8", &page, random),
            ];
            let (boundary, body) = multipart(&parts, random);
            mail(incident, &subject, &format!("multipart/alternative; {boundary}"), "", &body, random)
        }
        _ => {
            let latin: Vec<u8> =
                text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?')).collect();
            let mut bytes = mail(incident, &subject, "text/plain; charset=iso-8859-1", "", "", random);
            bytes.extend(latin);
            bytes
        }
    }
}
