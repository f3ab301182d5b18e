//! Suspensions and releases: of one tenant, or of several in one step.

use std::collections::HashSet;
use std::io::Read as _;
use std::path::Path;

use reeve_proto::operator::v1::batch_release_response::result::Outcome as ReleaseOutcome;
use reeve_proto::operator::v1::batch_suspend_response::result::Outcome as SuspendOutcome;
use reeve_proto::operator::v1::{
    BatchError, BatchReleaseRequest, BatchSuspendRequest, NodeOrder, ReleaseRequest, SuspendRequest,
};
use tonic::Code;

use crate::args::Whom;
use crate::client::CallError;
use crate::commands::{Call, done};
use crate::{json, show};

/// The most tenants of one act.
const MOST: usize = 500;

/// What became of one of several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Whom it was about, or the address that nobody has.
    pub tenant: String,
    /// The order's key; empty where there is none.
    pub order: String,
    /// What became of it on each node, and how many more there are.
    pub nodes: Vec<NodeOrder>,
    /// How many nodes more.
    pub nodes_omitted: u32,
    /// What a release ended, and how many strikes it took back.
    pub ended: Option<u32>,
    /// How many strikes it took back.
    pub forgiven: Option<u32>,
    /// Why it was not done: reason and text.
    pub error: Option<(String, String)>,
}

impl Row {
    fn of(tenant: String) -> Self {
        Self { tenant, ..Self::default() }
    }

    fn fail(&mut self, error: Option<BatchError>) {
        let BatchError { reason, message } = error.unwrap_or_default();
        self.error = Some((reason, message));
    }
}

impl Call {
    pub(crate) async fn suspend_whom(&self, whom: Whom, request: SuspendRequest) -> Result<(), CallError> {
        if let Some(one) = whom.only() {
            let tenant = self.tenant(one.clone()).await?;
            return self.suspend(SuspendRequest { tenant, ..request }).await;
        }
        let mut rows = self.rows(&whom).await?;
        let waited = request.wait;
        let one = SuspendRequest { wait: false, idempotency_key: String::new(), ..request.clone() };
        let requests = wanted(&rows).map(|tenant| SuspendRequest { tenant, ..one.clone() }).collect();
        let batch = BatchSuspendRequest { requests, idempotency_key: request.idempotency_key, wait: waited };
        if !batch.requests.is_empty() {
            let answer = self.controller.operator().batch_suspend(self.request(batch)).await?.into_inner();
            for (row, result) in rows.iter_mut().filter(|row| row.error.is_none()).zip(answer.results) {
                row.nodes_omitted = result.nodes_omitted;
                match result.outcome {
                    Some(SuspendOutcome::Ordered(ordered)) => {
                        (row.order, row.nodes) = (ordered.order, ordered.nodes);
                    }
                    Some(SuspendOutcome::Error(error)) => row.fail(Some(error)),
                    None => row.fail(None),
                }
            }
        }
        self.tell(|| json::rows(&rows), || show::rows(&rows, "suspended"))?;
        all_done(&rows, waited)
    }

    pub(crate) async fn release_whom(&self, whom: Whom, request: ReleaseRequest) -> Result<(), CallError> {
        if let Some(one) = whom.only() {
            let tenant = self.tenant(one.clone()).await?;
            return self.release(ReleaseRequest { tenant, ..request }).await;
        }
        let mut rows = self.rows(&whom).await?;
        let waited = request.wait;
        let one = ReleaseRequest { wait: false, idempotency_key: String::new(), ..request.clone() };
        let requests = wanted(&rows).map(|tenant| ReleaseRequest { tenant, ..one.clone() }).collect();
        let batch = BatchReleaseRequest { requests, idempotency_key: request.idempotency_key, wait: waited };
        if !batch.requests.is_empty() {
            let answer = self.controller.operator().batch_release(self.request(batch)).await?.into_inner();
            for (row, result) in rows.iter_mut().filter(|row| row.error.is_none()).zip(answer.results) {
                row.nodes_omitted = result.nodes_omitted;
                match result.outcome {
                    Some(ReleaseOutcome::Ordered(ordered)) => {
                        (row.order, row.nodes) = (ordered.order, ordered.nodes);
                        (row.ended, row.forgiven) = (ordered.ended, ordered.forgiven);
                    }
                    Some(ReleaseOutcome::Error(error)) => row.fail(Some(error)),
                    None => row.fail(None),
                }
            }
        }
        self.tell(|| json::rows(&rows), || show::rows(&rows, "released"))?;
        all_done(&rows, waited)
    }

    async fn suspend(&self, request: SuspendRequest) -> Result<(), CallError> {
        let (tenant, waited) = (request.tenant.clone(), request.wait);
        let answer = self.controller.operator().suspend(self.request(request)).await?.into_inner();
        self.tell(
            || json::order(&tenant, &answer.order, &answer.nodes),
            || show::order(&tenant, "suspended", &answer.nodes),
        )?;
        done(&answer.nodes, waited)
    }

    async fn release(&self, request: ReleaseRequest) -> Result<(), CallError> {
        let (tenant, waited, forgive) = (request.tenant.clone(), request.wait, request.forgive);
        let answer = self.controller.operator().release(self.request(request)).await?.into_inner();
        self.tell(|| json::released(&tenant, &answer), || show::released(&tenant, forgive, &answer))?;
        done(&answer.nodes, waited)
    }

    /// A row for each of those who are meant, in the order in which they are named. An address that nobody has holds nobody else up.
    async fn rows(&self, whom: &Whom) -> Result<Vec<Row>, CallError> {
        let mut named = whom.tenants.clone();
        if let Some(path) = &whom.from {
            named.extend(listed(path)?);
        }
        let (mut rows, mut seen) = (Vec::new(), HashSet::new());
        for subject in named {
            let row = match self.tenant(subject.clone()).await {
                Ok(tenant) => Row::of(tenant),
                Err(CallError::Refused(status)) if status.code() == Code::NotFound => {
                    let error = Some(("SUBJECT_NOT_FOUND".to_owned(), status.message().to_owned()));
                    Row { error, ..Row::of(subject) }
                }
                Err(error) => return Err(error),
            };
            if seen.insert(row.tenant.clone()) {
                rows.push(row);
            }
        }
        if rows.len() > MOST {
            return Err(CallError::Typed("at most 500 tenants at once"));
        }
        Ok(rows)
    }
}

/// Whom a file names, one a line.
fn listed(path: &Path) -> Result<Vec<String>, CallError> {
    let failed = |source| CallError::File { path: path.to_owned(), source };
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
    } else {
        text = std::fs::read_to_string(path).map_err(failed)?;
    }
    let all = names(&text);
    if all.is_empty() { Err(CallError::NoTenants { path: path.to_owned() }) } else { Ok(all) }
}

fn names(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

fn wanted(rows: &[Row]) -> impl Iterator<Item = String> {
    rows.iter().filter(|row| row.error.is_none()).map(|row| row.tenant.clone())
}

/// Whether it was done for everybody; what was not comes before what is not yet.
fn all_done(rows: &[Row], waited: bool) -> Result<(), CallError> {
    let failed = rows.iter().filter(|row| row.error.is_some()).count();
    if failed > 0 {
        return Err(CallError::NotForAll { failed, of: rows.len() });
    }
    let mut late = Ok(());
    for row in rows {
        match done(&row.nodes, waited) {
            Err(CallError::NotYet) => late = Err(CallError::NotYet),
            other => other?,
        }
    }
    late
}

#[cfg(test)]
mod tests {
    use reeve_proto::operator::v1::node_order::State;

    use super::*;

    fn row(tenant: &str, states: &[State]) -> Row {
        let node = |(number, state): (usize, &State)| NodeOrder {
            node: format!("n{number}"),
            state: (*state).into(),
            detail: String::new(),
        };
        Row { nodes: states.iter().enumerate().map(node).collect(), ..Row::of(tenant.to_owned()) }
    }

    #[test]
    fn a_file_names_one_a_line() {
        assert_eq!(names("a\r\n\n# not these\n  203.0.113.7 \nb"), ["a", "203.0.113.7", "b"]);
        assert!(names("# nobody\n\n").is_empty());
    }

    #[test]
    fn what_was_not_done_for_somebody_is_no_success() {
        let code = |rows: &[Row]| all_done(rows, true).err().map(|error| error.exit_code());
        let good = row("a", &[State::Done, State::Done]);
        let late = row("b", &[State::Done, State::Stored]);
        let bad = row("c", &[State::Failed]);
        let missing = Row { error: Some(("TENANT_NOT_FOUND".into(), "none".into())), ..row("d", &[]) };
        assert_eq!(code(std::slice::from_ref(&good)), None);
        assert_eq!(code(&[late.clone(), good.clone()]), Some(4));
        assert_eq!(code(&[late.clone(), bad, good.clone()]), Some(1));
        assert_eq!(code(&[late.clone(), missing, good.clone()]), Some(1));
        assert_eq!(all_done(&[late, good], false).err().map(|error| error.exit_code()), None);
    }
}
