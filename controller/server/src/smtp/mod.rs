//! A port that takes mail for an abuse desk, by SMTP.
//!
//! Model: [`session`] says what is answered; here are the port, the clock and the bounds. A mail is handed to a *sink*, and taken from its
//! sender when that has it on disk; else the sender is told to try again. So nothing is lost on the way, and nothing waits here.
//!
//! Bounds: sessions in all and of one network (whoever is too much is told so), the time to say something, and how long a session lasts.
//!
//! Deliberately absent: sending. What is taken is never handed on, so this relays for nobody.

mod session;

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::auth::network;
use crate::error::ControllerError;
use crate::metrics::Metrics;
pub(crate) use session::{Outcome, Rules};
use session::{Session, Step};

/// Sessions at once. Each may hold as much of a mail as is read.
const SESSIONS: usize = 64;
/// Sessions at once of one network: a mail server opens twenty at most (`default_destination_concurrency_limit` of Postfix).
const SESSIONS_OF_NETWORK: usize = 24;
/// How much is read at once, in bytes.
const PIECE: usize = 16 << 10;
/// Of whoever was told to go so much is read, so that the answer is not lost with what is on the way.
const FAREWELL: usize = 1 << 20;

/// How long whom is waited for.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// For the next command, and for more of a mail (RFC 5321, section 4.5.3.2.7).
    silence: Duration,
    /// For a whole mail, however slowly it drips.
    mail: Duration,
    /// For a whole session.
    session: Duration,
    /// Until whoever was told to go is gone.
    farewell: Duration,
}

const PATIENCE: Patience = Patience {
    silence: Duration::from_secs(300),
    mail: Duration::from_secs(900),
    session: Duration::from_secs(3_600),
    farewell: Duration::from_secs(5),
};

/// The port, taken but not served yet.
#[derive(Debug)]
pub(crate) struct Smtp {
    listener: TcpListener,
    address: SocketAddr,
}

impl Smtp {
    /// Takes the port.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn bind(listen: SocketAddr) -> Result<Self, ControllerError> {
        let failed = |source| ControllerError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes mail for as long as it is polled, and hands it to `sink`.
    pub async fn serve<S, F>(self, rules: Rules, metrics: Metrics, sink: S)
    where
        S: Fn(Vec<u8>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send,
    {
        self.serve_with(rules, metrics, sink, PATIENCE).await;
    }

    async fn serve_with<S, F>(self, rules: Rules, metrics: Metrics, sink: S, patience: Patience)
    where
        S: Fn(Vec<u8>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send,
    {
        let rules = Arc::new(rules);
        let places = Places::default();
        // Whatever goes on ends with this.
        let mut sessions = JoinSet::new();
        loop {
            while sessions.try_join_next().is_some() {}
            let (mut stream, from) = match self.listener.accept().await {
                Ok(come) => come,
                Err(error) => {
                    // No more files: whoever waits waits until one is closed.
                    tracing::debug!(%error, "no mail can be let in");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Some(place) = places.enter(from.ip()) else {
                metrics.see_mails("busy", 1);
                // As much as the system takes at once: nobody is waited for.
                let _ = stream.try_write(b"421 4.3.2 too many sessions; try again\r\n");
                let _ = timeout(Duration::from_millis(10), stream.shutdown()).await;
                continue;
            };
            let (rules, sink, metrics) = (Arc::clone(&rules), sink.clone(), metrics.clone());
            sessions.spawn(async move {
                metrics.see_mail_sessions(1);
                let counted = Sessions(&metrics);
                if let Err(error) = converse(stream, rules, counted.0, sink, patience).await {
                    tracing::debug!(%from, %error, "a session of SMTP ended");
                }
                drop((place, counted));
            });
        }
    }
}

/// Counts a session until it is dropped.
struct Sessions<'m>(&'m Metrics);

impl Drop for Sessions<'_> {
    fn drop(&mut self) {
        self.0.see_mail_sessions(-1);
    }
}

/// Who has a session.
#[derive(Clone, Debug, Default)]
struct Places(Arc<Mutex<HashMap<IpNet, usize>>>);

/// A session of a network, until it is dropped.
#[derive(Debug)]
struct Place(Places, IpNet);

impl Places {
    fn enter(&self, from: IpAddr) -> Option<Place> {
        let network = network(from);
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= SESSIONS
            || open.get(&network).is_some_and(|count| *count >= SESSIONS_OF_NETWORK)
        {
            return None;
        }
        *open.entry(network).or_default() += 1;
        drop(open);
        Some(Place(self.clone(), network))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.1);
            }
        }
    }
}

/// One session, to its end.
async fn converse<S, F>(
    mut stream: TcpStream,
    rules: Arc<Rules>,
    metrics: &Metrics,
    sink: S,
    patience: Patience,
) -> std::io::Result<()>
where
    S: Fn(Vec<u8>) -> F,
    F: Future<Output = Outcome>,
{
    let _ = stream.set_nodelay(true);
    let until = Instant::now() + patience.session;
    let (mut session, mut answers) = Session::new(rules);
    let mut piece = vec![0; PIECE];
    // When the mail under way is to be here whole.
    let mut mail_until = None;
    let mut has_ended = false;
    while !has_ended {
        if !answers.is_empty() {
            timeout(patience.silence, stream.write_all(&answers)).await??;
            answers.clear();
        }
        let is_in_mail = session.is_in_mail();
        let mail_end = is_in_mail.then(|| *mail_until.get_or_insert_with(|| Instant::now() + patience.mail));
        if !is_in_mail {
            mail_until = None;
        }
        let end = [Some(Instant::now() + patience.silence), mail_end, Some(until)];
        let end = end.into_iter().flatten().min().unwrap_or(until);
        let came = match timeout_at(end, stream.read(&mut piece)).await {
            Ok(Ok(0)) => return Ok(()),
            Ok(came) => came?,
            Err(_) => {
                session.end("421 4.4.2 that took too long", &mut answers);
                break;
            }
        };
        let mut input = &piece[..came];
        while !input.is_empty() && !has_ended {
            match session.read(&mut input, &mut answers) {
                Step::More => {}
                Step::Mail(mail) => {
                    let outcome = sink(mail).await;
                    let became = if outcome == Outcome::Stored { "stored" } else { "deferred" };
                    metrics.see_mails(became, 1);
                    session.answer(outcome, &mut answers);
                }
                Step::End => has_ended = true,
            }
        }
        metrics.see_mails("refused", session.take_refused());
    }
    metrics.see_mails("refused", session.take_refused());
    farewell(stream, &answers, patience).await
}

/// Says the last words. What is still on the way is read: else the system would throw the words away with it.
async fn farewell(mut stream: TcpStream, answers: &[u8], patience: Patience) -> std::io::Result<()> {
    let words = async {
        stream.write_all(answers).await?;
        stream.shutdown().await?;
        let (mut rest, mut piece) = (FAREWELL, vec![0; PIECE]);
        while rest > 0 {
            match stream.read(&mut piece).await? {
                0 => break,
                came => rest = rest.saturating_sub(came),
            }
        }
        Ok(())
    };
    timeout(patience.farewell, words).await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests;
