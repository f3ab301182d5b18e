//! `doctor`: the controller's machine looked over, point by point, with what to do where a point is not as it must be.
//!
//! It changes nothing, and works while the controller runs and while it does not. [`judge`] says what the findings mean, and is pure.
//! `check` tells whether the folder can be used and stops at the first thing that is wrong; this goes on to the end.

mod judge;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use reeve_manual::findings::Finding;
use reeve_policy::Timestamp;

use crate::auth::{SECRETS_KEY, Vault};
use crate::config::expiry;
use crate::error::ControllerError;
use crate::server::claim_folder;
use crate::settings::{Database, Settings};
use crate::store::{self, StoreError};
use crate::{audit, clock, pki};

/// The database answers within this time.
const PATIENCE: Duration = Duration::from_secs(15);

/// Looks the controller of a folder over.
pub async fn examine(dir: &Path) -> Vec<Finding> {
    let mode = match fs::metadata(dir) {
        Ok(found) if found.is_dir() => found.permissions().mode(),
        Ok(_) => return vec![judge::no_folder(dir, "it is no folder")],
        Err(error) => return vec![judge::no_folder(dir, &error.to_string())],
    };
    let now = clock::now();
    let mut findings = vec![judge::folder(dir, mode)];
    let settings = Settings::load(dir);
    findings.push(judge::settings(&settings));
    findings.extend(credentials(dir, now));
    findings.push(judge::clock(ahead(dir, now)));
    let free = rustix::fs::statvfs(dir).map(|space| space.f_bavail.saturating_mul(space.f_frsize));
    findings.push(judge::room(dir, free.map_err(io::Error::from)));
    findings.push(judge::running(&claimed(dir)));
    let Ok(Settings { database, .. }) = settings else { return findings };
    if matches!(database, Database::File) && !dir.join(store::FILE_NAME).exists() {
        findings.push(judge::no_database());
        return findings;
    }
    let looked = tokio::time::timeout(PATIENCE, store::examine(&database, dir)).await;
    let looked = looked.unwrap_or_else(|_| Err(StoreError::Sql(sqlx::Error::PoolTimedOut)));
    let known = looked.as_ref().ok().and_then(|seen| seen.content.as_ref()?.vault.clone());
    if let Some(known) = known {
        let own = Vault::look(dir).map(|vault| vault.map(|vault| vault.fingerprint()));
        findings.push(judge::secrets(&dir.join(SECRETS_KEY), &own, &known));
    }
    findings.extend(judge::database(&looked, now));
    findings
}

fn credentials(dir: &Path, now: Timestamp) -> Vec<Finding> {
    let there: Vec<bool> =
        [pki::CA, pki::SERVER, pki::SERVER_KEY].iter().map(|name| dir.join(name).exists()).collect();
    let mut findings = Vec::new();
    if there.iter().all(|there| !there) {
        findings.push(judge::no_certificates());
    } else {
        for name in [pki::CA, pki::SERVER] {
            let path = dir.join(name);
            let read = fs::read(&path)
                .map_err(|source| ControllerError::File { path: path.clone(), source })
                .and_then(|pem| expiry(&path, &pem));
            findings.push(judge::certificate(&path, &read, now));
        }
        if !there[2] {
            findings.push(judge::no_key(&dir.join(pki::SERVER_KEY)));
        }
    }
    for name in [pki::CA_KEY, pki::SERVER_KEY, audit::KEY, SECRETS_KEY] {
        let path = dir.join(name);
        // The authority's key may be kept elsewhere, and the log's is made at the first start.
        if let Ok(found) = fs::metadata(&path) {
            findings.push(judge::key(&path, found.permissions().mode()));
        }
    }
    findings
}

/// How far what was written last lies ahead of the clock.
fn ahead(dir: &Path, now: Timestamp) -> Duration {
    let newest = fs::read_dir(dir).into_iter().flatten().flatten().filter_map(|entry| {
        let changed = entry.metadata().ok()?.modified().ok()?;
        changed.duration_since(SystemTime::UNIX_EPOCH).ok()
    });
    newest.max().unwrap_or_default().saturating_sub(now.since(Timestamp::EPOCH))
}

/// Whether a controller has the folder; looking leaves nothing behind.
fn claimed(dir: &Path) -> Result<bool, ControllerError> {
    if !dir.join("lock").exists() {
        return Ok(false);
    }
    match claim_folder(dir) {
        Ok(_released_at_once) => Ok(false),
        Err(ControllerError::InUse { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}
