//! Asks tenants' mail servers whether they are open relays, where the policy says so: a task of its own, one question at a time.
//!
//! **From where.** A server may trust its own network and what lies next to it (`mynetworks`), and says nothing then by taking mail from
//! there. So a question is asked from an address of the node's that is public, not the tenant's, and not in the same /24 or /64 as the server;
//! where the node has none it is asked all the same, and acceptance means nothing ([`reeve_core::engine`] leaves it a suspicion): an operator
//! asks from elsewhere with `reevectl check-relay`.
//!
//! How often is the engine's part. A replay asks nobody: it has no such task.

use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc;

use ipnet::IpNet;
use reeve_policy::language::RelayCheck;
use reeve_policy::{CheckVerdict, TenantId};
use reeve_relay_check::{Question, ask, is_outside};
use tokio::sync::mpsc as async_mpsc;

use super::Command;

/// So many questions wait. Each takes some minutes at the longest.
const WAITING_MAX: usize = 16;
const PORT_SMTP: u16 = 25;

/// What came of a question.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub tenant: TenantId,
    pub verdict: CheckVerdict,
    /// Whether the server does not know who asked.
    pub is_outside: bool,
    /// The server; `None` where none was asked.
    pub server: Option<IpAddr>,
}

/// One question.
#[derive(Debug)]
struct Task {
    tenant: TenantId,
    server: IpAddr,
    source: Option<IpAddr>,
    question: Question,
}

/// Takes questions.
#[derive(Clone, Debug)]
pub(crate) struct Asker(async_mpsc::Sender<Task>);

impl Asker {
    /// Begins to ask, and tells what comes of it.
    pub fn start(commands: mpsc::Sender<Command>) -> Self {
        let (sender, mut tasks) = async_mpsc::channel::<Task>(WAITING_MAX);
        tokio::spawn(async move {
            while let Some(task) = tasks.recv().await {
                let answer = task.carry_out().await;
                if commands.send(Command::RelayChecked(answer)).is_err() {
                    return;
                }
            }
        });
        Self(sender)
    }

    /// Puts a question of a server of the tenant's, whose networks are `theirs`; `own` are the node's addresses. Whether there was room for it.
    pub fn ask(
        &self,
        tenant: &TenantId,
        server: IpAddr,
        check: &RelayCheck,
        theirs: &[IpNet],
        own: &[IpAddr],
    ) -> bool {
        let source = own.iter().copied().find(|own| is_outside(*own, server, theirs));
        let question = Question { from: check.from.clone(), to: check.to.clone() };
        let task = Task { tenant: tenant.clone(), server, source, question };
        let is_room = self.0.try_send(task).is_ok();
        if !is_room {
            tracing::warn!(%tenant, %server, "too many mail servers wait to be asked; this one is in a quarter of an hour");
        }
        is_room
    }
}

impl Task {
    async fn carry_out(self) -> Answer {
        let Self { tenant, server, source, question } = self;
        let checked = ask(SocketAddr::new(server, PORT_SMTP), source, question).await;
        let codes: Vec<String> =
            checked.transcript.iter().map(|(step, code)| format!("{step} {code}")).collect();
        tracing::info!(
            %tenant, %server, source = source.map(tracing::field::display), codes = codes.join(", "), trouble = checked.trouble,
            "asked whether it is an open relay: {}", checked.verdict.name()
        );
        if checked.verdict == CheckVerdict::Accepted && source.is_none() {
            tracing::warn!(
                %tenant, %server,
                "the server may trust this node, which has no address that is far enough: ask it with `reevectl check-relay`"
            );
        }
        let (verdict, is_outside) = (checked.verdict, source.is_some());
        Answer { tenant, verdict, is_outside, server: Some(server) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_room_is_told_so() {
        // Nobody takes anything out.
        let (sender, _tasks) = async_mpsc::channel(WAITING_MAX);
        let asker = Asker(sender);
        let mailbox = |text: &str| text.parse().unwrap();
        let recheck = RelayCheck::DEFAULT_RECHECK;
        let check = RelayCheck { from: mailbox("a@b.example"), to: mailbox("c@d.example"), recheck };
        let tenant: TenantId = "alice".parse().unwrap();
        let asked = (0..40).filter(|_| asker.ask(&tenant, [203, 0, 113, 10].into(), &check, &[], &[]));
        assert_eq!(asked.count(), WAITING_MAX);
    }
}
