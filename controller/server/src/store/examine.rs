//! The database looked over without touching it: nothing is made, upgraded or written.

use std::path::Path;
use std::time::Duration;

use reeve_policy::Timestamp;

use super::read::NodeRow;
use super::{Store, StoreError, engine, share};
use crate::settings::Database;

/// Controllers beat once a second; whoever does not in so long is not at work.
const BEATS: Duration = Duration::from_millis(2_500);

/// A database that was reached.
#[derive(Clone, Debug)]
pub struct Examined {
    /// What it is called.
    pub place: String,
    /// The version of its layout; 0 if nobody has laid it out.
    pub layout: i64,
    /// The version of this program's.
    pub own_layout: i64,
    /// What it takes on disk, if that is told.
    pub bytes: Option<u64>,
    /// What is damaged; nothing if all fits, or if it is the server's to look.
    pub damage: Vec<String>,
    /// The server's clock, where it is one.
    pub server_time: Option<Timestamp>,
    /// What is in it; nothing if its layout is another than ours.
    pub content: Option<Content>,
}

/// What is in a database.
#[derive(Clone, Debug)]
pub struct Content {
    /// The nodes.
    pub nodes: Vec<NodeRow>,
    /// How many orders wait, and since when the first.
    pub orders: (u64, Option<Timestamp>),
    /// By what the key is known that its secrets were encrypted with; `None` where no controller has said.
    pub vault: Option<Vec<u8>>,
    /// How many controllers are at work, where several may be.
    pub controllers: Option<usize>,
}

impl Examined {
    /// Whether this program can work on it.
    ///
    /// # Errors
    /// Where it is damaged, or of a newer layout.
    pub fn judge(&self) -> Result<(), StoreError> {
        if !self.damage.is_empty() {
            return Err(StoreError::Corrupt { place: self.place.clone(), detail: self.damage.join("; ") });
        }
        if self.layout > self.own_layout {
            let source = sqlx::migrate::MigrateError::VersionMissing(self.layout);
            return Err(StoreError::Migration { place: self.place.clone(), source });
        }
        Ok(())
    }
}

/// Looks a database over.
///
/// # Errors
/// Where it cannot be reached or read.
pub async fn examine(database: &Database, dir: &Path) -> Result<Examined, StoreError> {
    let (place, readers) = match database {
        Database::File => engine::look_at_file(dir).await?,
        Database::Server(server) => (server.place.clone(), engine::look_at_server(server).await?),
    };
    let is_shared = matches!(database, Database::Server(_));
    let damage = match engine::damage(&readers, is_shared).await {
        Ok(damage) => damage,
        Err(error) => return Err(engine::opening(&place, error)),
    };
    let layout = engine::layout(&readers, is_shared).await.map_err(|error| engine::opening(&place, error))?;
    let own_layout = engine::own_layout(is_shared);
    let bytes = if is_shared {
        // Other engines that speak the protocol need not know the function.
        let told: Result<(i64,), _> =
            sqlx::query_as("SELECT pg_database_size(current_database())").fetch_one(&readers).await;
        told.ok().and_then(|(bytes,)| u64::try_from(bytes).ok())
    } else {
        std::fs::metadata(&place).ok().map(|file| file.len())
    };
    let server_time = if is_shared {
        let told: (i64,) =
            sqlx::query_as("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)")
                .fetch_one(&readers)
                .await?;
        Some(Timestamp::EPOCH + Duration::from_millis(u64::try_from(told.0).unwrap_or(0)))
    } else {
        None
    };
    let store = Store { place: place.clone(), is_shared, readers };
    let content = if layout == own_layout && damage.is_empty() { Some(content(&store).await?) } else { None };
    store.close().await;
    Ok(Examined { place, layout, own_layout, bytes, damage, server_time, content })
}

async fn content(store: &Store) -> Result<Content, StoreError> {
    let nodes = store.nodes().await?;
    let waiting = store.waiting(Timestamp::EPOCH, Timestamp::EPOCH).await?;
    let vault: Option<(Vec<u8>,)> = sqlx::query_as("SELECT value FROM secrets WHERE name = 'vault'")
        .fetch_optional(&store.readers)
        .await?;
    let vault = vault.map(|(fingerprint,)| fingerprint);
    let controllers = if store.is_shared {
        let mut conn = store.readers.acquire().await?;
        let before = share::beats(&mut conn).await?;
        tokio::time::sleep(BEATS).await;
        let after = share::beats(&mut conn).await?;
        Some(after.iter().filter(|(id, beat)| before.get(*id) != Some(*beat)).count())
    } else {
        None
    };
    Ok(Content { nodes, orders: (waiting.orders, waiting.first), vault, controllers })
}
