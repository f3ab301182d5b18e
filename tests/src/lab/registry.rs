//! What this process has made and must take away again, whatever becomes of it.
//!
//! Model: namespaces and process groups are entered here when they are made and struck off when they are gone. Their
//! owners clean up in `Drop`; on SIGINT, SIGTERM and SIGHUP, and on a panic that aborts, this register does it
//! instead. Only ids and names that this process entered are ever touched. Left out: a parent killed by SIGKILL, which nobody can catch;
//! its children die with it (they ask the kernel for that), but its empty namespaces stay.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::sys;

#[derive(Debug, Default)]
struct Register {
    groups: BTreeSet<u32>,
    namespaces: BTreeSet<String>,
}

static REGISTER: Mutex<Register> =
    Mutex::new(Register { groups: BTreeSet::new(), namespaces: BTreeSet::new() });
static CATCH_SIGNALS: Once = Once::new();

/// Enters a namespace, and from the first one on catches the signals that end a process.
///
/// # Errors
/// When the signal handlers cannot be set.
pub fn add_namespace(name: &str) -> anyhow::Result<()> {
    let mut failure = None;
    CATCH_SIGNALS.call_once(|| failure = catch_signals().err());
    if let Some(error) = failure {
        return Err(error.context("cannot catch SIGINT and SIGTERM"));
    }
    register().namespaces.insert(name.to_owned());
    Ok(())
}

/// Kills what still runs in a namespace, deletes it and strikes it off.
pub fn remove_namespace(name: &str) {
    delete_namespace(name);
    register().namespaces.remove(name);
}

/// Enters the leader of a process group.
pub fn add_group(leader: u32) {
    register().groups.insert(leader);
}

/// Kills a group whose leader is a child that was not waited for yet, waits for it and strikes it off.
pub fn remove_group(child: &mut Child) {
    let mut register = register();
    if register.groups.remove(&child.id()) {
        sys::kill_group(child.id());
        // A killed child is there to be waited for; if it is not, there is nothing left to clean up either.
        let _ = child.wait();
    }
}

/// Asks whether a child has ended. Its id is struck off in the same breath: the kernel may give it away again.
///
/// # Errors
/// When the child cannot be waited for.
pub fn poll_child(child: &mut Child) -> std::io::Result<Option<std::process::ExitStatus>> {
    let mut register = register();
    let status = child.try_wait()?;
    if status.is_some() {
        register.groups.remove(&child.id());
    }
    Ok(status)
}

fn register() -> MutexGuard<'static, Register> {
    REGISTER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn catch_signals() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("lab-signals".to_owned())
        .spawn(move || {
            if let Some(signal) = signals.forever().next() {
                remove_everything();
                std::process::exit(128 + signal);
            }
        })
        .context("cannot start the thread that waits for signals")?;
    if cfg!(panic = "abort") {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            before(info);
            remove_everything();
        }));
    }
    Ok(())
}

fn remove_everything() {
    // `try_lock`: a panic may have come while this thread held the register. Then its `Drop`s must do.
    let Ok(register) = REGISTER.try_lock() else { return };
    register.groups.iter().copied().for_each(sys::kill_group);
    register.namespaces.iter().for_each(|name| delete_namespace(name));
}

fn delete_namespace(name: &str) {
    let listed = Command::new("ip").args(["netns", "pids", name]).stderr(Stdio::null()).output();
    let pids = listed.map(|output| output.stdout).unwrap_or_default();
    for pid in String::from_utf8_lossy(&pids).split_whitespace().filter_map(|pid| pid.parse().ok()) {
        // The namespace is ours alone, so whoever lives in it was started by us, if by way of a shell.
        if pid != std::process::id() {
            let _ = sys::signal_process(pid, libc::SIGKILL);
        }
    }
    let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
}
