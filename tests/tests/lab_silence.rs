//! Silence: ordinary hosts of many kinds side by side, a way out that is gone for a while, and not one alert.
//!
//! A minute in every run; `./dev soak` says half an hour.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use reeve_tests::lab::{Process, Program};
use reeve_tests::street::{Home, Street, Told, tried_until};

/// Who lives in the street, with what is expected of them.
const HOMES: &[(&str, &str)] = &[
    ("resolver", ""),
    ("mail", "mail"),
    ("blocked", "mail"),
    ("monitor", ""),
    ("browser", ""),
    ("tunnels", ""),
    ("timeserver", ""),
    ("files", ""),
    ("retries", ""),
    ("bittorrent", ""),
    ("ethereum", ""),
    ("ipfs", ""),
    ("federation", ""),
    ("storm", ""),
    ("telemetry", ""),
    ("web", "web"),
    ("downloads", ""),
    ("git", ""),
    ("tools", ""),
];

fn seconds(variable: &str, short: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}

fn home<'a>(street: &'a Street, id: &str) -> &'a Home {
    street.homes.iter().find(|home| home.id == id).unwrap()
}

/// A server of SSH in the internet, and what is pushed to it again and again with a key.
fn push_in_a_row(street: &Street) -> [Process; 2] {
    let dir = street.lab.dir();
    let path = |name: &str| dir.join(name).display().to_string();
    for key in ["host-key", "user-key"] {
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]).status();
        assert!(made.unwrap().success());
    }
    std::fs::rename(dir.join("user-key.pub"), dir.join("authorized")).unwrap();
    std::fs::set_permissions(dir.join("authorized"), std::fs::Permissions::from_mode(0o600)).unwrap();
    // Debian's sshd wants the folder to be there, and takes no harm from it.
    std::fs::create_dir_all("/run/sshd").unwrap();
    let settings = format!(
        "Port 2222\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nPasswordAuthentication no\n",
        path("host-key"),
        path("authorized")
    );
    std::fs::write(dir.join("sshd.conf"), settings).unwrap();
    let server = street.lab.net.spawn(&["/usr/sbin/sshd", "-D", "-e", "-f", &path("sshd.conf")]).unwrap();
    let script = format!(
        "cd {} && git init -q --bare far.git && git init -q near && cd near && git config user.name a && git config user.email a@a.example\n\
         export GIT_SSH_COMMAND='ssh -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=5'\n\
         while :; do head -c 20000 /dev/urandom > file; git add file; git commit -q -m more; git push -q ssh://root@20.22.0.1:2222{} HEAD:main || sleep 2; sleep 1; done",
        dir.display(),
        path("user-key"),
        path("far.git"),
    );
    let pusher = home(street, "git").namespace.spawn(&["sh", "-c", &script]).unwrap();
    [server, pusher]
}

/// What people run by hand and by timer.
const TOOLS: &str = "while :; do
  ping -q -c 5 -i 0.3 20.99.1.2 >/dev/null; ping -q -c 3 -i 0.5 -W 1 185.9.9.9 >/dev/null
  dig +short +tries=1 +time=1 @20.53.0.53 a.example >/dev/null
  curl -s -o /dev/null -Z 'http://20.80.7.7/[1-8]'
  for t in $(seq 1 12); do ping -q -t $t -c 1 -W 0.2 20.99.1.3 >/dev/null; done
  curl -s -m 2 http://20.99.1.4:8081/ ; sleep 2
done";

#[test]
fn ordinary_hosts_are_left_in_peace() {
    let length = seconds("REEVE_SOAK_SECONDS", 100);
    let mut street = Street::build(HOMES, None).unwrap();
    let lab = &street.lab;
    let text = length.to_string();
    let beyond = (length + 5).to_string();
    let mut servers = vec![Program::MailSink.serve(lab).unwrap()];
    servers.push(Program::Outside.spawn(lab, &lab.net, &[&beyond]).unwrap());
    let (timeserver, web) =
        (home(&street, "timeserver").v4().to_string(), home(&street, "web").v4().to_string());
    // The provider of one of them lets no mail out.
    lab.rt
        .nft(&format!(
            "table inet provider {{\n chain forward {{\n type filter hook forward priority 5;\n\
             ip saddr {} tcp dport 25 drop\n }}\n}}\n",
            home(&street, "blocked").v4()
        ))
        .unwrap();
    for each in 1..=50 {
        let storm = home(&street, "storm");
        let address = storm.v6().to_string();
        let prefix = address.strip_suffix('2').unwrap();
        storm.namespace.ip(&format!("addr add {prefix}c:{each:x}/64 dev eth0 nodad\n")).unwrap();
    }
    let mut programs = Vec::new();
    for home in &street.homes {
        match home.id.as_str() {
            "git" | "tools" => {}
            role => {
                let address = home.v6().to_string();
                let prefix = address.strip_suffix('2').unwrap();
                let argv = [role, &home.v4().to_string(), prefix, &text];
                programs.push(Program::Ordinary.spawn(lab, &home.namespace, &argv).unwrap());
            }
        }
    }
    let pushing = push_in_a_row(&street);
    let tools = home(&street, "tools").namespace.spawn(&["sh", "-c", TOOLS]).unwrap();
    let visitors = Program::Visitors.spawn(lab, &lab.net, &[&timeserver, &web, &text]).unwrap();
    // A stranger scans the web server, slowly enough to go on for long, and floods its closed ports: it answers with resets and errors.
    let scan = lab
        .net
        .spawn(&["nmap", "-n", "-Pn", "-sS", "-p-", "--max-retries", "0", "--max-rate", "60", &web])
        .unwrap();
    let flood = lab.net.spawn(&["hping3", "-q", "--udp", "-p", "++9000", "-i", "u20000", &web]).unwrap();

    let outage = seconds("REEVE_SILENCE_OUTAGE_SECONDS", 10).min(length / 5);
    // By then what has gone on for a minute is known to be no flood.
    std::thread::sleep(Duration::from_secs(length * 7 / 10));
    lab.net.ip("link set net0 down\n").unwrap();
    std::thread::sleep(Duration::from_secs(outage));
    lab.net
        .ip("link set net0 up\naddr add 2001:db8:9::2/64 dev net0 nodad\n\
             route add default via 169.254.9.1\nroute add default via 2001:db8:9::1\n")
        .unwrap();
    for program in programs {
        program.finish(Duration::from_secs(length + 60)).unwrap().success().unwrap();
    }
    let pushed = std::fs::read_dir(lab.dir().join("far.git/objects")).unwrap().count();
    assert!(pushed > 5, "{}\n{}", pushing[0].last_lines(5), pushing[1].last_lines(5));
    drop((pushing, tools, visitors, scan, flood, servers));
    // What is still open has its time to be silent.
    std::thread::sleep(Duration::from_secs(5));
    for home in &street.homes {
        if street.was_very_busy(home) {
            let _ = writeln!(std::io::stderr(), "{:<12} more packets than are counted", home.id);
            continue;
        }
        let (packets, targets) = tried_until(&street.sent_by(home).unwrap(), Duration::MAX);
        let _ = writeln!(std::io::stderr(), "{:<12} {packets:>9} packets to {targets:>6} targets", home.id);
        assert!(packets > 30, "{} did next to nothing", home.id);
    }
    let told: Vec<Told> = street.close().unwrap();
    assert!(told.is_empty(), "{told:#?}");
    let _ = writeln!(
        std::io::stderr(),
        "{length} s of ordinary traffic of {} hosts, {outage} s without a way out, no alert",
        HOMES.len()
    );
}
