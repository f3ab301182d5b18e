//! Waiting on a condition with a deadline.
//!
//! Model: the condition is asked again and again, with a short pause that grows a little, until it holds or its time is
//! over. Nothing here sleeps for a result; the pause only keeps the two cores free for those who are waited for.

use std::time::{Duration, Instant};

use anyhow::bail;

/// The first pause between two looks.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// The longest pause between two looks: it bounds how much too late a condition is noticed.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Asks `look` until it gives something, and returns that with the time it took.
///
/// # Errors
/// When `deadline` has passed without, naming `what` was waited for; or at once when `look` itself fails.
pub fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<(T, Duration)> {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(found) = look()? {
            return Ok((found, start.elapsed()));
        }
        if start.elapsed() >= deadline {
            bail!("waited {:.1} s in vain for {what}", deadline.as_secs_f64());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// [`wait_for`] a condition that is only true or false.
///
/// # Errors
/// As [`wait_for`].
pub fn wait_until(
    what: &str,
    deadline: Duration,
    mut holds: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<Duration> {
    wait_for(what, deadline, || Ok(holds()?.then_some(()))).map(|((), took)| took)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_what_was_found_and_how_long_it_took() {
        let mut looks = 0;
        let (found, took) = wait_for("the third look", Duration::from_secs(5), || {
            looks += 1;
            Ok((looks == 3).then_some("here"))
        })
        .expect("found at the third look");
        assert_eq!(found, "here");
        assert!(took < Duration::from_secs(5));
    }

    #[test]
    fn names_what_was_missed() {
        let error = wait_until("rain", Duration::from_millis(5), || Ok(false)).expect_err("it never rains");
        assert_eq!(error.to_string(), "waited 0.0 s in vain for rain");
    }

    #[test]
    fn an_error_of_the_look_ends_the_wait_at_once() {
        let start = Instant::now();
        let look = || anyhow::bail!("the process is dead");
        let error = wait_until("an answer", Duration::from_secs(60), look).expect_err("the look failed");
        assert_eq!(error.to_string(), "the process is dead");
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
