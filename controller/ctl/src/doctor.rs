//! `doctor`: from the operator's side, whether the controller can be reached and does its work, and which nodes need somebody.
//!
//! It goes on to the end, whatever it finds, and changes nothing. What is seen on the controller's own machine
//! `reeve-controller doctor` tells, and on a node `reeve-agent doctor`.

mod judge;

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reeve_manual::findings::{self, Finding};
use reeve_policy::Timestamp;
use reeve_proto::operator::v1::{ListNodesRequest, WhoAmIRequest, WhoAmIResponse};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;

use crate::args::Connection;
use crate::client::{CallError, Controller};

/// Looks, and tells.
pub async fn run(connection: &Connection, is_json: bool) -> Result<(), CallError> {
    let findings = examine(connection).await;
    let text = if is_json { findings::json(&findings).to_string() } else { findings::table(&findings) };
    writeln!(std::io::stdout().lock(), "{text}")?;
    match findings::exit_code(&findings) {
        0 => Ok(()),
        code => {
            let points = findings.iter().filter(|finding| finding.advice.is_some()).count();
            Err(CallError::Unwell { points, of: findings.len(), code })
        }
    }
}

async fn examine(connection: &Connection) -> Vec<Finding> {
    let mut findings = own_files(connection);
    let began = Instant::now();
    let controller = match Controller::connect(connection, false).await {
        Ok(controller) => controller,
        Err(error) => {
            findings.push(judge::unreached(&error));
            return findings;
        }
    };
    let ask = Ask { timeout: connection.timeout };
    let who = controller.access().who_am_i(ask.of(WhoAmIRequest {})).await;
    let took = began.elapsed();
    let who = match who {
        Ok(who) => who.into_inner(),
        // A handshake that the controller refuses shows here, at the first call.
        Err(status) => {
            findings.push(judge::unreached(&CallError::from(status)));
            return findings;
        }
    };
    findings.push(judge::reached(took));
    findings.push(judge::role(&who));
    findings.extend(skew(&controller, ask).await);
    let health = controller.health().check(ask.of(HealthCheckRequest { service: String::new() })).await;
    findings.push(judge::serving(health.map(|told| told.into_inner().status())));
    if judge::reads(&who) {
        match controller.all_nodes(ListNodesRequest::default(), ask.timeout).await {
            Ok(nodes) => findings.extend(judge::fleet(&nodes, now())),
            Err(status) => findings.push(judge::no_nodes(&CallError::from(status))),
        }
    }
    findings
}

/// How requests are made.
#[derive(Clone, Copy)]
struct Ask {
    timeout: Duration,
}

impl Ask {
    fn of<T>(self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }
}

/// How far the controller's clock is from ours. It is asked again: the first answer came after the handshake.
async fn skew(controller: &Controller, ask: Ask) -> Option<Finding> {
    let before = now();
    let told: Result<WhoAmIResponse, Status> =
        controller.access().who_am_i(ask.of(WhoAmIRequest {})).await.map(tonic::Response::into_inner);
    let after = now();
    let theirs = reeve_proto::time("time", told.ok()?.time).ok()?;
    Some(judge::skew(before, theirs, after))
}

/// What is shown to the controller: certificates, keys and tokens, as files.
fn own_files(connection: &Connection) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut secrets: Vec<&Path> = Vec::new();
    let of = |name: &str| connection.dir.as_ref().map(|dir| dir.join(name));
    let mut certificates: Vec<PathBuf> = of("ca.crt").into_iter().collect();
    let key = connection.operator.as_ref().and_then(|name| of(&format!("operators/{name}.key")));
    if let Some(name) = &connection.operator {
        certificates.extend(of(&format!("operators/{name}.crt")));
        secrets.extend(key.as_deref());
    }
    secrets.extend(connection.token_file.as_deref());
    findings.extend(certificates.iter().map(|path| judge::certificate(path, &std::fs::read(path), now())));
    for path in secrets {
        let mode = std::fs::metadata(path).map(|found| found.permissions().mode());
        findings.push(judge::secret(path, &mode));
    }
    findings
}

fn now() -> Timestamp {
    Timestamp::EPOCH + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
