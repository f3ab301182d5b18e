//! Benchmarks.

/// Runs them.
///
/// # Errors
/// When one cannot be run.
pub fn run() -> anyhow::Result<()> {
    Ok(())
}
