//! The active check: asks a mail server whether it would take a stranger's mail for somebody elsewhere, and sends none.
//!
//! Whether a server is an open relay can be seen from its traffic, and where that is encrypted only suspected. This asks, as the server's
//! own clients do: an outside sender, an outside recipient (RFC 5321, section 7.9). The dialogue ([`dialogue`]) knows no DATA. Agents ask a tenant's server
//! where the policy says so; `reevectl check-relay` asks from where an operator sits.
//!
//! A server that takes nothing without encryption gets it ([`tls`]), and its certificate is not looked at: whose the server is, is known by its
//! address, and nothing that is said is a secret.
//!
//! Left out: servers that demand a login, or a certificate of whoever asks, before the question. They are not judged.

pub mod dialogue;
mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reeve_policy::CheckVerdict;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};

use dialogue::{Dialogue, Next};
pub use dialogue::{Question, Step};

/// How long to wait for a server to answer a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long to wait for each reply.
const REPLY: Duration = Duration::from_secs(30);
/// How long all of it may take: one that answers a byte at a time holds up nobody else for longer.
const TOTAL: Duration = Duration::from_secs(180);
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
    /// Where the question came from; `None` where no connection was made.
    pub source: Option<IpAddr>,
    /// Why there is no answer, where the network or the server's silence is why.
    pub trouble: Option<String>,
}

/// Asks the server at `target`, from `source` if one is given.
pub async fn ask(target: SocketAddr, source: Option<IpAddr>, question: Question) -> Checked {
    let failed = |trouble: &str| Checked {
        verdict: CheckVerdict::Unreachable,
        transcript: Vec::new(),
        source: None,
        trouble: Some(trouble.to_owned()),
    };
    let stream = match timeout(CONNECT, connect(target, source)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return failed(&error.to_string()),
        Err(_) => return failed("nobody answers"),
    };
    let Ok(own) = stream.local_addr() else { return failed("the connection is gone") };
    let checked = talk(stream, target.ip(), Dialogue::new(question, own.ip())).await;
    Checked { source: Some(own.ip()), ..checked }
}

/// Whether a server takes whoever comes from `own` for a stranger: it is public, none of `theirs`, and no neighbour of the server's.
#[must_use]
pub fn is_outside(own: IpAddr, server: IpAddr, theirs: &[IpNet]) -> bool {
    let (is_public, near) = match (own, server) {
        (IpAddr::V4(own), IpAddr::V4(server)) => {
            let is_shared = own.octets()[0] == 100 && own.octets()[1] & 0xc0 == 64;
            let is_public = !(own.is_private() || own.is_link_local() || own.is_loopback() || is_shared);
            (is_public, Ipv4Net::new(server, 24).map(IpNet::V4))
        }
        (IpAddr::V6(own), IpAddr::V6(server)) => {
            let is_public = !(own.is_unique_local() || own.is_unicast_link_local() || own.is_loopback());
            (is_public, Ipv6Net::new(server, 64).map(IpNet::V6))
        }
        _ => return false,
    };
    let is_near = near.is_ok_and(|near| near.contains(&own));
    is_public && !is_near && !own.is_unspecified() && !theirs.iter().any(|net| net.contains(&own))
}

async fn connect(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(target).await
}

/// How a stretch of the dialogue ends.
enum End {
    /// It is known.
    Known(CheckVerdict),
    /// The server waits for encryption.
    Seal,
    /// It is never known, and why.
    Never(CheckVerdict, &'static str),
}

async fn talk(mut stream: TcpStream, server: IpAddr, mut dialogue: Dialogue) -> Checked {
    let (end, mut left) = (Instant::now() + TOTAL, BYTES_MAX);
    let mut ended = converse(&mut stream, &mut dialogue, end, &mut left).await;
    if matches!(ended, End::Seal) {
        ended = match timeout_at(end.min(Instant::now() + REPLY), tls::seal(stream, server)).await {
            Ok(Ok(mut sealed)) => {
                let hello = dialogue.sealed();
                match say(&mut sealed, &hello, end).await {
                    Ok(()) => converse(&mut sealed, &mut dialogue, end, &mut left).await,
                    Err(never) => never,
                }
            }
            _ => End::Never(CheckVerdict::Unclear, "no encryption could be agreed upon"),
        };
    }
    let (verdict, trouble) = match ended {
        End::Known(verdict) => (verdict, None),
        End::Never(verdict, trouble) => (verdict, Some(trouble.to_owned())),
        // The dialogue asks for it once.
        End::Seal => (CheckVerdict::Unclear, None),
    };
    Checked { verdict, transcript: dialogue.transcript().to_vec(), source: None, trouble }
}

/// Goes on until something is known, or the two have to encrypt first.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    dialogue: &mut Dialogue,
    end: Instant,
    left: &mut usize,
) -> End {
    let mut buffer = [0; 1_024];
    loop {
        let len = match timeout_at(end.min(Instant::now() + REPLY), stream.read(&mut buffer)).await {
            Ok(Ok(len)) if len > 0 => len,
            Ok(_) => return End::Never(CheckVerdict::Unreachable, "the server ended the connection"),
            Err(_) => return End::Never(CheckVerdict::Unreachable, "the server does not reply"),
        };
        let Some(rest) = left.checked_sub(len) else {
            return End::Never(CheckVerdict::Unclear, "the server says too much");
        };
        *left = rest;
        // What comes after a reply before it is our turn again is no answer to anything.
        let (_, next) = dialogue.hear(&buffer[..len]);
        match next {
            Next::Listen => {}
            Next::Say(line) => {
                if let Err(never) = say(stream, &line, end).await {
                    return never;
                }
            }
            Next::Seal => return End::Seal,
            Next::Known(verdict) => {
                // Whatever it says to that, it was answered.
                let _ = timeout(FAREWELL, async {
                    stream.write_all(b"RSET\r\nQUIT\r\n").await?;
                    stream.flush().await?;
                    while stream.read(&mut buffer).await? > 0 {}
                    io::Result::Ok(())
                })
                .await;
                return End::Known(verdict);
            }
        }
    }
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, line: &str, end: Instant) -> Result<(), End> {
    let line = format!("{line}\r\n");
    let said = timeout_at(end, async {
        stream.write_all(line.as_bytes()).await?;
        stream.flush().await
    });
    match said.await {
        Ok(Ok(())) => Ok(()),
        _ => Err(End::Never(CheckVerdict::Unreachable, "the server ended the connection")),
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

    fn check_outside(own: &str, server: &str, theirs: &[&str], expect: bool) {
        let theirs: Vec<IpNet> = theirs.iter().map(|net| net.parse().unwrap()).collect();
        let told = is_outside(own.parse().unwrap(), server.parse().unwrap(), &theirs);
        assert_eq!(told, expect, "{own} asks {server} of {theirs:?}");
    }

    #[test]
    fn only_a_stranger_is_outside() {
        check_outside("192.0.2.1", "203.0.113.10", &["203.0.113.10/32"], true);
        check_outside("203.0.113.1", "203.0.113.10", &["203.0.113.10/32"], false);
        check_outside("192.0.2.1", "203.0.113.10", &["203.0.113.10/32", "192.0.2.0/28"], false);
        for own in ["10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.9.1", "2001:db8:1::1"] {
            check_outside(own, "203.0.113.10", &[], false);
        }
        check_outside("2001:db8:1::1", "2001:db8:10::10", &["2001:db8:10::/64"], true);
        check_outside("2001:db8:10::1", "2001:db8:10::10", &[], false);
        check_outside("fd00::1", "2001:db8:10::10", &[], false);
    }
}
