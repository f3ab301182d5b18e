//! `reevectl audit verify`: what it says of a log that holds, and of one that does not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::path::Path;
use std::process::{Command, Output};

use reeve_audit::{Checkpoint, Entry, Hash, Line, Signer};
use reeve_policy::Timestamp;

fn verify(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reevectl"));
    command.args(["audit", "verify"]).args(arguments).output().unwrap()
}

/// Three entries, and a checkpoint over the second.
fn lines(signer: &Signer) -> Vec<String> {
    let (mut before, mut lines) = (Hash::START, Vec::new());
    for number in 1..=3 {
        let at = Timestamp::from_secs(1_700_000_000 + number);
        let text = |text: &str| text.to_owned();
        let (who, role, from, act) = (text("ann"), text("admin"), text("192.0.2.7"), text("Suspend"));
        let (subject, asked, reason) = (text("tenant/a"), text("{}"), text("sends spam"));
        let entry =
            Entry { number, at, who, role, from, act, subject, asked, reason, outcome: text("asked") };
        let link = entry.link(before);
        before = link.hash;
        lines.push(serde_json::to_string(&Line::Entry(link)).unwrap());
        if number == 2 {
            let checkpoint = Checkpoint::sign(signer, number, before, at);
            lines.push(serde_json::to_string(&Line::Checkpoint(checkpoint)).unwrap());
        }
    }
    lines
}

fn check(output: &Output, code: i32, said: &[&str]) {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    said.iter().for_each(|said| assert!(text.contains(said), "{said} is not said: {text}"));
}

#[test]
fn what_holds_is_told_and_what_does_not_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let signer = Signer::open(&path("audit.key")).unwrap();
    let other = Signer::open(&path("other.key")).unwrap().public().to_string();
    let key = signer.public().to_string();
    let log = text(&path("log.jsonl"));
    let lines = lines(&signer);
    let write = |lines: &[String]| std::fs::write(&log, lines.join("\n") + "\n").unwrap();

    write(&lines);
    check(&verify(&[&log]), 0, &["3 entries hold, 1 to 3", "1 checkpoints, by", &key]);
    let vouched =
        ["a named key vouches for all up to entry 2", "nobody vouches for what comes behind, 3 to 3"];
    check(&verify(&[&log, "--key", &key]), 0, &vouched);
    std::fs::write(path("audit.pub"), format!("{key}\n")).unwrap();
    check(&verify(&[&log, "--key", &text(&path("audit.pub"))]), 0, &vouched);
    check(&verify(&[&log, "--json", "--key", &key]), 0, &["\"entries\":3", "\"vouched\":2"]);
    check(&verify(&[&log, "--key", &other]), 1, &["no checkpoint of", &other, &key]);
    check(&verify(&[&log, "--key", "abc"]), 2, &["neither 64 hexadecimal digits nor a file"]);

    // Somebody else vouches for what comes behind.
    let stranger = Signer::open(&path("other.key")).unwrap();
    let last: Line = serde_json::from_str(lines.last().unwrap()).unwrap();
    let Line::Entry(last) = last else { panic!("the last line is an entry") };
    let at = Timestamp::from_secs(1_700_000_004);
    let mut gone_on = lines.clone();
    let claim = Checkpoint::sign(&stranger, 3, last.hash, at);
    gone_on.push(serde_json::to_string(&Line::Checkpoint(claim)).unwrap());
    write(&gone_on);
    check(&verify(&[&log]), 0, &["and others"]);
    check(&verify(&[&log, "--key", &key]), 1, &["up to entry 2", &other, "up to 3"]);
    check(&verify(&[&log, "--key", &key, "--key", &other]), 0, &["up to entry 3"]);

    let mut changed = lines.clone();
    changed[1] = changed[1].replace("sends spam", "a mistake");
    write(&changed);
    check(&verify(&[&log, "--key", &key]), 1, &["line 2: entry 2 does not say what it said"]);
    let mut shorter = lines;
    shorter.remove(1);
    write(&shorter);
    check(&verify(&[&log]), 1, &["line 2: the checkpoint over entry 2 stands behind entry 1"]);
    std::fs::write(&log, "").unwrap();
    check(&verify(&[&log]), 0, &["there is no entry in it"]);
    check(&verify(&[&text(&path("nothing"))]), 74, &["nothing"]);
}
