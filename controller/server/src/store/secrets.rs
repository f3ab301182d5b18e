//! What the controllers of one database have in common and nobody else knows.

use ring::rand::{SecureRandom as _, SystemRandom};

use super::{Connection, StoreError};
use crate::listing::Pages;

/// Whether a controller's own key, by its fingerprint, is the one that secrets were encrypted with: that of whichever controller came first.
///
/// # Errors
/// Where the database fails.
pub(crate) async fn is_own(conn: &mut Connection, fingerprint: &[u8]) -> Result<bool, StoreError> {
    sqlx::query("INSERT INTO secrets (name, value) VALUES ('vault', $1) ON CONFLICT (name) DO NOTHING")
        .bind(fingerprint)
        .execute(&mut *conn)
        .await?;
    let (first,): (Vec<u8>,) =
        sqlx::query_as("SELECT value FROM secrets WHERE name = 'vault'").fetch_one(conn).await?;
    Ok(first == fingerprint)
}

/// What seals tokens of pages, made by whichever controller comes first.
///
/// # Errors
/// Where the database fails, or the system has no randomness.
pub(crate) async fn pages(conn: &mut Connection) -> Result<Pages, StoreError> {
    let mut fresh = [0; 32];
    let no_randomness =
        |_| StoreError::Body { kind: "key", detail: "the system has no randomness to make one".to_owned() };
    SystemRandom::new().fill(&mut fresh).map_err(no_randomness)?;
    sqlx::query("INSERT INTO secrets (name, value) VALUES ('pages', $1) ON CONFLICT (name) DO NOTHING")
        .bind(fresh.to_vec())
        .execute(&mut *conn)
        .await?;
    let (key,): (Vec<u8>,) =
        sqlx::query_as("SELECT value FROM secrets WHERE name = 'pages'").fetch_one(conn).await?;
    Ok(Pages::of(&key))
}
