//! What is shown at the door: no TLS before 1.2, no certificate that lasts longer than a year, no key weaker than RSA of 2,048 bits. Asked by
//! OpenSSL, which is not what the controller is built with.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::Running;
use reeve_controller::auth::Role;
use reeve_controller::pki::{self, Wanted};

/// A year and a day, in seconds.
const YEAR: &str = "31708800";

/// What OpenSSL says, and whether it is content.
fn openssl(args: &[&str], input: &[u8]) -> (bool, String) {
    let mut child = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    // One that has heard enough does not read the rest.
    _ = child.stdin.take().unwrap().write_all(input);
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.success(), text)
}

fn ensure_sound(name: &str, certificate: &[u8]) {
    let (lasts, _) = openssl(&["x509", "-noout", "-checkend", YEAR], certificate);
    assert!(!lasts, "{name} lasts longer than a year");
    let (is_good, text) = openssl(&["x509", "-noout", "-checkend", "86400", "-text"], certificate);
    assert!(is_good, "{name} is over tomorrow: {text}");
    assert!(text.contains("ASN1 OID: prime256v1"), "{name}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_old_tls_no_long_certificate_and_no_weak_key() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = Wanted {
        nodes: vec!["n1".parse().unwrap()],
        people: vec![(Role::Operator, "oncall".parse().unwrap())],
        ..Wanted::default()
    };
    pki::init(dir.path(), &wanted).unwrap();
    let controller = Running::start(dir.path()).await;
    for port in [controller.address.port(), controller.http.port()] {
        let door = format!("127.0.0.1:{port}");
        let ask = |version: &str| {
            // The least that this OpenSSL can be brought to: what refuses is to be the controller.
            let args = [
                "s_client",
                "-connect",
                &door,
                version,
                "-cipher",
                "ALL:@SECLEVEL=0",
                "-alpn",
                "h2,http/1.1",
            ];
            openssl(&args, b"")
        };
        for old in ["-tls1", "-tls1_1"] {
            let (_, text) = ask(old);
            // The alert is the controller's: handshake_failure (40) or protocol_version (70).
            assert!(text.contains("SSL alert number"), "{old}: {text}");
            assert!(!text.contains("BEGIN CERTIFICATE"), "{old}: {text}");
        }
        for version in ["-tls1_2", "-tls1_3"] {
            let (_, text) = ask(version);
            let shown = text.find("-----BEGIN CERTIFICATE-----").expect("a certificate is shown");
            ensure_sound(&format!("that of port {port}"), &text.as_bytes()[shown..]);
        }
    }
    for path in ["nodes/n1.crt", "operators/oncall.crt"] {
        ensure_sound(path, &std::fs::read(Path::new(dir.path()).join(path)).unwrap());
    }
    controller.stop().await;
}
