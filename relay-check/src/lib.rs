//! The active check: asks a mail server whether it would take a stranger's mail for somebody elsewhere, and sends none.
//!
//! Whether a server is an open relay can be seen from its traffic, and where that is encrypted only suspected. This asks, as the server's
//! own clients do: an outside sender, an outside recipient (RFC 5321, section 7.9). The dialogue ([`dialogue`]) knows no DATA. Agents ask a tenant's server
//! where the policy says so; `reevectl check-relay` asks from where an operator sits.
//!
//! Left out: TLS. A server that takes nothing without is not judged.

pub mod dialogue;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reeve_policy::CheckVerdict;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use dialogue::{Dialogue, Next};
pub use dialogue::{Question, Step};

/// How long to wait for a server to answer a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long to wait for each reply.
const REPLY: Duration = Duration::from_secs(30);
/// How long the farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// No server says more than this before the question is answered.
const BYTES_MAX: usize = 64 * 1_024;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The answer.
    pub verdict: CheckVerdict,
    /// The codes, in their order. No text is kept: it is the server's, and may say anything.
    pub transcript: Vec<(Step, u16)>,
    /// Why there is no answer, where the network or the server's silence is why.
    pub trouble: Option<String>,
}

/// Asks the server at `target`, from `source` if one is given.
pub async fn ask(target: SocketAddr, source: Option<IpAddr>, question: Question) -> Checked {
    let failed = |trouble: &str| Checked {
        verdict: CheckVerdict::Unreachable,
        transcript: Vec::new(),
        trouble: Some(trouble.to_owned()),
    };
    let stream = match timeout(CONNECT, connect(target, source)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return failed(&error.to_string()),
        Err(_) => return failed("nobody answers"),
    };
    let Ok(own) = stream.local_addr() else { return failed("the connection is gone") };
    talk(stream, Dialogue::new(question, own.ip())).await
}

async fn connect(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(target).await
}

async fn talk(mut stream: TcpStream, mut dialogue: Dialogue) -> Checked {
    let done = |dialogue: &Dialogue, verdict, trouble: Option<&str>| Checked {
        verdict,
        transcript: dialogue.transcript().to_vec(),
        trouble: trouble.map(str::to_owned),
    };
    let (mut buffer, mut all) = ([0; 1_024], 0);
    loop {
        let len = match timeout(REPLY, stream.read(&mut buffer)).await {
            Ok(Ok(len)) if len > 0 => len,
            Ok(_) => {
                return done(&dialogue, CheckVerdict::Unreachable, Some("the server ended the connection"));
            }
            Err(_) => return done(&dialogue, CheckVerdict::Unreachable, Some("the server does not reply")),
        };
        all += len;
        if all > BYTES_MAX {
            return done(&dialogue, CheckVerdict::Unclear, Some("the server says too much"));
        }
        // What comes after a reply before it is our turn again is no answer to anything.
        let (_, next) = dialogue.hear(&buffer[..len]);
        match next {
            Next::Listen => {}
            Next::Say(line) => {
                if stream.write_all(format!("{line}\r\n").as_bytes()).await.is_err() {
                    return done(
                        &dialogue,
                        CheckVerdict::Unreachable,
                        Some("the server ended the connection"),
                    );
                }
            }
            Next::Known(verdict) => {
                // Whatever it says to that, it was answered.
                let _ = timeout(FAREWELL, async {
                    stream.write_all(b"RSET\r\nQUIT\r\n").await?;
                    while stream.read(&mut buffer).await? > 0 {}
                    io::Result::Ok(())
                })
                .await;
                return done(&dialogue, verdict, None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// A server that says so, line by line after each line it hears; what came of asking it, and what it heard.
    async fn check(address: &str, replies: &'static [&'static str]) -> (Checked, Vec<String>) {
        let listener = TcpListener::bind((address, 0)).await.expect("a port");
        let target = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let (mut heard, mut buffer) = (Vec::new(), [0; 1_024]);
            for reply in replies {
                stream.write_all(reply.as_bytes()).await.expect("it listens");
                match stream.read(&mut buffer).await {
                    Ok(len) if len > 0 => {
                        heard.push(String::from_utf8_lossy(&buffer[..len]).trim().to_owned())
                    }
                    _ => break,
                }
            }
            heard
        });
        let mailbox = |text: &str| text.parse().expect("a mailbox");
        let question = Question { from: mailbox("a@b.example"), to: mailbox("c@d.example") };
        let checked = ask(target, None, question).await;
        (checked, server.await.expect("it ends"))
    }

    #[tokio::test]
    async fn a_server_is_asked_and_nothing_is_sent() {
        for address in ["127.0.0.1", "::1"] {
            let (checked, heard) =
                check(address, &["220 mx\r\n", "250-mx\r\n250 x\r\n", "250 ok\r\n", "554 no\r\n"]).await;
            assert_eq!(checked.verdict, CheckVerdict::Refused);
            let codes: Vec<u16> = checked.transcript.iter().map(|(_, code)| *code).collect();
            assert_eq!(codes, [220, 250, 250, 554]);
            assert_eq!(heard.last().map(String::as_str), Some("RSET\r\nQUIT"));
            assert!(heard.iter().all(|line| !line.contains("DATA")), "{heard:?}");
        }
        let (checked, _) = check("127.0.0.1", &["220 mx\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n"]).await;
        assert_eq!(checked.verdict, CheckVerdict::Accepted);
    }

    #[tokio::test]
    async fn a_server_that_goes_away_or_is_not_there_is_not_judged() {
        let (checked, _) = check("127.0.0.1", &["220 mx\r\n"]).await;
        assert_eq!(checked.verdict, CheckVerdict::Unreachable);
        let free =
            TcpListener::bind(("127.0.0.1", 0)).await.expect("a port").local_addr().expect("an address");
        let mailbox = |text: &str| text.parse().expect("a mailbox");
        let question = Question { from: mailbox("a@b.example"), to: mailbox("c@d.example") };
        assert_eq!(ask(free, None, question).await.verdict, CheckVerdict::Unreachable);
    }
}
