//! The small programs that run in the lab: servers in the internet, clients wherever they are needed.
//!
//! Model: their text is part of this crate and lies in the lab's folder while it is used, for the Python that Debian has, without
//! anything beside its standard library. Each ends by itself or with the lab. Left out: whatever a tool of Debian's does as well.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::Lab;
use super::namespace::Namespace;
use super::process::{Finished, Process};
use crate::wait::wait_until;

/// How long a server may take until it listens.
const LISTENING: Duration = Duration::from_secs(10);

/// A program of the lab's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Mail exchangers on every address; they tell of each message.
    MailSink,
    /// A client that sends numbered messages.
    MailSend,
    /// A web service on every address, port 8090 plain and 8443 with TLS; it tells of each request.
    HttpService,
    /// A client that calls it at a steady pace.
    HttpSteady,
    /// Services that let nobody in.
    Refuser,
    /// A service that answers much to little.
    Reflector,
    /// What asks it.
    Asker,
    /// The internet that ordinary hosts meet.
    Outside,
    /// What ordinary hosts do.
    Ordinary,
    /// Those who come to them from outside.
    Visitors,
}

impl Program {
    fn source(self) -> (&'static str, &'static str) {
        match self {
            Self::MailSink => ("mail_sink.py", include_str!("programs/mail_sink.py")),
            Self::MailSend => ("mail_send.py", include_str!("programs/mail_send.py")),
            Self::HttpService => ("http_service.py", include_str!("programs/http_service.py")),
            Self::HttpSteady => ("http_steady.py", include_str!("programs/http_steady.py")),
            Self::Refuser => ("refuser.py", include_str!("programs/refuser.py")),
            Self::Reflector => ("reflector.py", include_str!("programs/reflector.py")),
            Self::Asker => ("asker.py", include_str!("programs/asker.py")),
            Self::Outside => ("outside.py", include_str!("programs/outside.py")),
            Self::Ordinary => ("ordinary.py", include_str!("programs/ordinary.py")),
            Self::Visitors => ("visitors.py", include_str!("programs/visitors.py")),
        }
    }

    /// Its path in the lab's folder, where it is put if it is not there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn path(self, lab: &Lab) -> anyhow::Result<PathBuf> {
        let (name, text) = self.source();
        let path = lab.dir().join(name);
        if !path.exists() {
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(path)
    }

    /// Starts it in `namespace`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(self, lab: &Lab, namespace: &Namespace, arguments: &[&str]) -> anyhow::Result<Process> {
        let path = self.path(lab)?;
        let mut argv = vec!["python3", path.to_str().context("the lab's paths are text")?];
        argv.extend(arguments);
        namespace.spawn(&argv)
    }

    /// Runs it in `namespace` until it ends, at most for `deadline`.
    ///
    /// # Errors
    /// When it does not end in time, or not with code 0.
    pub fn run(
        self,
        lab: &Lab,
        namespace: &Namespace,
        arguments: &[&str],
        deadline: Duration,
    ) -> anyhow::Result<Finished> {
        self.spawn(lab, namespace, arguments)?.finish(deadline)?.success()
    }

    /// Starts a server in the internet, with a certificate of its own, and waits until it says that it listens.
    ///
    /// # Errors
    /// When it ends, or does not listen in time.
    pub fn serve(self, lab: &Lab) -> anyhow::Result<Process> {
        let (certificate, key) = certificate(lab.dir())?;
        let mut server = self.spawn(lab, &lab.net, &[&certificate, &key])?;
        wait_until(&format!("{} to listen", self.source().0), LISTENING, || {
            ensure!(server.is_running()?, "{}", server.last_lines(10));
            Ok(server.stderr().contains("listening"))
        })?;
        Ok(server)
    }
}

/// Starts a server of HTTP/2 over TLS in the internet that gives out the files of `dir` on `port` of every address.
///
/// # Errors
/// When it does not listen in time.
pub fn http2_server(lab: &Lab, dir: &Path, port: u16) -> anyhow::Result<Process> {
    let (certificate, key) = certificate(lab.dir())?;
    nghttpd(lab, dir, port, &[&key, &certificate])
}

/// The same in the clear, for clients that know beforehand what it speaks, as gRPC within a data centre.
///
/// # Errors
/// When it does not listen in time.
pub fn http2_clear_server(lab: &Lab, dir: &Path, port: u16) -> anyhow::Result<Process> {
    nghttpd(lab, dir, port, &["--no-tls"])
}

fn nghttpd(lab: &Lab, dir: &Path, port: u16, rest: &[&str]) -> anyhow::Result<Process> {
    let (dir, port_text) = (dir.to_str().context("the lab's paths are text")?, port.to_string());
    let argv = match rest {
        ["--no-tls"] => vec!["nghttpd", "--htdocs", dir, "--no-tls", &port_text],
        files => [&["nghttpd", "--htdocs", dir, &port_text], files].concat(),
    };
    let mut server = lab.net.spawn(&argv)?;
    wait_until("nghttpd to listen", LISTENING, || {
        ensure!(server.is_running()?, "{}", server.last_lines(10));
        lab.net.enter(|| Ok(TcpStream::connect(("127.0.0.1", port)).is_ok()))
    })?;
    Ok(server)
}

/// A certificate that nobody vouches for, as many servers have one.
pub(super) fn certificate(dir: &Path) -> anyhow::Result<(String, String)> {
    let path = |name: &str| dir.join(name).display().to_string();
    let (certificate, key) = (path("server.crt"), path("server.key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-subj", "/CN=server.example", "-days", "2", "-keyout", &key, "-out", &certificate])
        // Whoever is given the certificate itself to go by takes it, as one of this machine's.
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .output()
        .context("cannot start openssl")?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok((certificate, key))
}
