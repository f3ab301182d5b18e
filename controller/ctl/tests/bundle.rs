//! `reevectl cases verify`: what it says of a case that holds, and of one that does not. It asks nobody.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::process::{Command, Output};

use reeve_audit::Signer;
use reeve_audit::bundle::Bundle;
use reeve_policy::Timestamp;

fn verify(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reevectl"));
    command.args(["cases", "verify"]).args(arguments).output().unwrap()
}

fn check(output: &Output, code: i32, said: &[&str]) {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    said.iter().for_each(|said| assert!(text.contains(said), "{said} is not said: {text}"));
}

#[test]
fn what_holds_is_told_and_the_first_file_that_does_not_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let signer = Signer::open(path("audit.key").as_ref()).unwrap();
    let other = Signer::open(path("other.key").as_ref()).unwrap().public().to_string();
    let key = signer.public().to_string();
    let mut bundle = Bundle::new("C1", Timestamp::from_secs(1_700_000_000), &signer);
    let mut bytes = bundle.file("case.json", b"{\"id\":\"C1\"}").unwrap();
    bytes.extend(bundle.file("notices.jsonl", b"").unwrap());
    bytes.extend(bundle.finish(&signer).unwrap());
    let file = path("case.tar");
    let write = |bytes: &[u8]| std::fs::write(&file, bytes).unwrap();

    write(&bytes);
    check(&verify(&[&file]), 0, &["case C1 holds", "2 files", &key, "see with --key"]);
    check(&verify(&[&file, "--key", &key]), 0, &["case C1 holds", "which was named"]);
    check(&verify(&[&file, "--key", &key, "--json"]), 0, &["\"key_is_named\":true", "notices.jsonl"]);
    check(&verify(&[&file, "--key", &other]), 1, &["manifest.json: is signed by", &key]);
    check(&verify(&[&file, "--key", "abc"]), 2, &["neither 64 hexadecimal digits nor a file"]);
    check(&verify(&[&path("none.tar")]), 74, &["none.tar"]);
    // Any other program reads it, too.
    let listed = Command::new("tar").args(["-tf", &file]).output().unwrap();
    assert!(listed.status.success() && listed.stderr.is_empty(), "{listed:?}");
    let names = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(names, "case.json\nnotices.jsonl\nmanifest.json\nmanifest.sig\n");

    let mut changed = bytes.clone();
    changed[520] ^= 1;
    write(&changed);
    check(&verify(&[&file]), 1, &["case.json: was changed"]);
    write(&bytes[..bytes.len() - 1]);
    check(&verify(&[&file]), 1, &["not whole"]);
}
