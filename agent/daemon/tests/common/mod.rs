//! What the tests on the real kernel share.

use nix::sched::{CloneFlags, unshare};

/// Runs `test` on a thread with a fresh network namespace, which ends with it.
pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => test(),
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("SKIPPED: a network namespace takes root ({error})");
        }
        Err(error) => panic!("a network namespace takes root: {error}"),
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
