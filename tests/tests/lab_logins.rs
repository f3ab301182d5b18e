//! Logins: real tools that guess, each named for its tenant, and what only looks like them, of which nothing is told.
//!
//! Real servers of SSH and FTP, instances of their own in the internet, and small ones that let nobody in; keys are made for the test.
//! Every tool runs in a home of its own, and the record of it all is replayed to the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use reeve_tests::lab::{Process, Program};
use reeve_tests::street::{Expected, Row, Street, run_table};
use reeve_tests::wait::wait_until;

/// How many tools run at once, and how long each may at most.
const AT_ONCE: usize = 12;
const LONGEST: Duration = Duration::from_secs(150);
/// How long a server may take until it listens.
const LISTENING: Duration = Duration::from_secs(20);

/// Where a line says that its tool came to its end and well.
const DONE: &str = "@done";

const fn guesses(id: &'static str, line: &'static str) -> Row {
    Row { id, line, expected: Expected::Any(&["bruteforce"]), profile: "" }
}

const fn honest(id: &'static str, line: &'static str) -> Row {
    Row { id, line, expected: Expected::Silence, profile: "" }
}

const GUESSES: &[Row] = &[
    guesses("hydra-ssh", "hydra -I -t 8 -l root -P words 20.22.@n.1 -s 2222 ssh"),
    guesses("medusa-ssh", "medusa -h 20.22.@n.1 -u root -P words -M ssh -n 2222 -t 4"),
    guesses("ncrack-ssh", "ncrack -T4 --user root,admin -P words ssh://20.22.@n.1:2222"),
    guesses(
        "sshpass-ssh",
        "for p in $(seq 1 45); do sshpass -p x$p ssh -F ssh-typed root@20.22.@n.1 true; done",
    ),
    guesses(
        "sshpass-ssh-long",
        "for p in $(seq 1 45); do sshpass -p Correct-Horse-Battery-$p ssh -F ssh-typed root@20.22.@n.1 true; done",
    ),
    guesses(
        "sshpass-ssh-12-hosts",
        "for h in $(seq 1 12); do for p in 1 2 3 4; do sshpass -p x$p ssh -F ssh-typed root@20.22.@n.$h true; done; done",
    ),
    guesses("hydra-ftp", "hydra -I -t 8 -L names -P words 20.22.@n.1 ftp"),
    guesses("medusa-ftp", "medusa -h 20.22.@n.1 -U names -P words -M ftp -t 6"),
    guesses("hydra-smtp", "hydra -I -t 6 -l info@d.example -P words smtp://20.22.@n.1:587"),
    guesses("hydra-imap", "hydra -I -t 6 -L names -P words imap://20.22.@n.1"),
    guesses("hydra-pop3", "hydra -I -t 6 -l info -P words pop3://20.22.@n.1"),
    guesses("medusa-pop3", "medusa -h 20.22.@n.1 -u info -P words -M pop3 -t 5"),
    guesses("hydra-http-basic", "hydra -I -t 4 -l admin -P words -s 8095 20.70.0.1 http-get /files"),
];

const HONEST: &[Row] = &[
    honest(
        "git-push",
        "far=$PWD/far.git; mkdir near && cd near && git init -q && git config user.name a && git config user.email a@a.example\n\
         export GIT_SSH_COMMAND='ssh -F ../ssh-keyed'\n\
         for i in $(seq 1 40); do echo $i > file; git add file; git commit -q -m more; git push -q ssh://root@20.24.@n.1:2222$far HEAD:main || exit 1; done; touch @done",
    ),
    honest(
        "ssh-true",
        "for i in $(seq 1 60); do ssh -F ssh-keyed root@20.24.@n.1 true || exit 1; done; touch @done",
    ),
    honest(
        "ssh-10-hosts",
        "for i in $(seq 1 60); do ssh -F ssh-keyed root@20.24.@n.$((i % 10 + 1)) uptime || exit 1; done; touch @done",
    ),
    honest(
        "scp-loop",
        "for i in $(seq 1 30); do scp -q -F ssh-keyed words root@20.24.@n.1:$PWD/copied || exit 1; done; touch @done",
    ),
    honest(
        "banner-only",
        "bash -c 'for i in $(seq 1 60); do exec 3<>/dev/tcp/20.24.@n.$((i % 20 + 1))/2222; read -r -t 2 a <&3; printf \"SSH-2.0-check\\r\\n\" >&3; exec 3>&-; sleep 0.2; done'",
    ),
    honest(
        "mail-client-old-password",
        "for i in $(seq 1 12); do curl -s -m 5 -u info:old pop3://20.24.@n.1/; sleep 3; done; true",
    ),
    honest(
        "mail-client-in-haste",
        "for i in $(seq 1 60); do curl -s -m 5 -u info:old imap://20.24.@n.1/; sleep 0.3; done; true",
    ),
    honest(
        "mistyped-thrice",
        "for i in $(seq 1 12); do for p in 1 2 3; do sshpass -p x$p ssh -F ssh-typed root@20.24.@n.1 true; done; ssh -F ssh-keyed root@20.24.@n.1 true || exit 1; done; touch @done",
    ),
    honest(
        "key-is-gone",
        "for i in $(seq 1 40); do ssh -F ssh-gone root@20.24.@n.1 true; sleep 0.5; done; true",
    ),
];

/// The page behind a password: on a port like any other one packet in sixteen is seen, at an endpoint all.
const POLICY: &str = "
[policy]
name = \"street\"
version = 1
extends = \"baseline\"

[[endpoint]]
name = \"files\"
addresses = [\"20.70.0.1/32\"]
ports = [8095]
calls_per_second = 50.0
burst = 100
in_flight = 50
";

/// What the servers need, and the tools: keys, settings, names and passwords.
fn write_down(street: &Street) {
    let dir = street.lab.dir();
    let path = |name: &str| dir.join(name).display().to_string();
    for key in ["host-key", "user-key", "gone-key"] {
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]).status();
        assert!(made.unwrap().success());
    }
    std::fs::rename(dir.join("user-key.pub"), dir.join("authorized")).unwrap();
    std::fs::set_permissions(dir.join("authorized"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    write(
        "sshd.conf",
        &format!(
            "Port 2222\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\n\
             PasswordAuthentication yes\nKbdInteractiveAuthentication no\nMaxStartups 300\nSubsystem sftp internal-sftp\n",
            path("host-key"),
            path("authorized")
        ),
    );
    let all = "Port 2222\nLogLevel ERROR\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nGlobalKnownHostsFile /dev/null\nConnectTimeout 10\n";
    write(
        "ssh-typed",
        &format!(
            "{all}PreferredAuthentications password\nPubkeyAuthentication no\nNumberOfPasswordPrompts 1\n"
        ),
    );
    for (name, key) in [("ssh-keyed", "user-key"), ("ssh-gone", "gone-key")] {
        write(name, &format!("{all}BatchMode yes\nIdentitiesOnly yes\nIdentityFile {}\n", path(key)));
    }
    // Short ones and such that OpenSSH's client fills up further.
    let words: String = (0..80)
        .map(|n| if n % 4 == 3 { format!("a-long-password-{n}\n") } else { format!("pass{n}\n") })
        .collect();
    write("words", &words);
    write("names", "root\nadmin\ninfo\nbackup\n");
    let made = Command::new("git").args(["init", "-q", "--bare", &path("far.git")]).status();
    assert!(made.unwrap().success());
}

/// The servers, each an instance of its own.
fn serve(street: &Street) -> anyhow::Result<Vec<Process>> {
    write_down(street);
    let lab = &street.lab;
    // Debian's sshd wants the folder to be there, and takes no harm from it.
    std::fs::create_dir_all("/run/sshd")?;
    let settings = lab.dir().join("sshd.conf").display().to_string();
    let mut servers = vec![
        Program::Refuser.serve(lab)?,
        lab.net.spawn(&["/usr/sbin/sshd", "-D", "-e", "-f", &settings])?,
        lab.net.spawn(&["/usr/bin/python3", "-m", "pyftpdlib", "-i", "0.0.0.0", "-p", "21"])?,
    ];
    wait_until("the servers to listen", LISTENING, || {
        for server in &mut servers {
            ensure!(server.is_running()?, "{}", server.last_lines(10));
        }
        let asked = lab.net.run(
            &["bash", "-c", "</dev/tcp/127.0.0.1/21 && </dev/tcp/127.0.0.1/2222"],
            Duration::from_secs(5),
        )?;
        Ok(asked.success().is_ok())
    })?;
    Ok(servers)
}

#[test]
fn who_guesses_is_named_and_who_works_is_not() {
    let only = std::env::var("REEVE_ROWS").unwrap_or_default();
    let mut rows: Vec<Row> = [GUESSES, HONEST]
        .concat()
        .into_iter()
        .filter(|row| only.split(',').any(|only| row.id.contains(only)))
        .collect();
    // Who works and did not get on was silent for nothing.
    let marks = std::env::temp_dir().join(format!("reeve-logins-{}", std::process::id()));
    std::fs::create_dir(&marks).unwrap();
    let mark = |row: &Row| marks.join(row.id);
    let works: Vec<Row> = rows.iter().filter(|row| row.line.contains(DONE)).copied().collect();
    for row in &mut rows {
        row.line = row.line.replace(DONE, &mark(row).display().to_string()).leak();
    }
    let ran = run_table(&rows, Some(POLICY), AT_ONCE, LONGEST, serve);
    let stuck: Vec<&str> = works.iter().filter(|row| !mark(row).exists()).map(|row| row.id).collect();
    std::fs::remove_dir_all(&marks).unwrap();
    let (table, wrong) = ran.unwrap();
    let _ = write!(std::io::stderr(), "{table}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(stuck.is_empty(), "did not get on: {stuck:?}");
}
