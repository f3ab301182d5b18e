//! The writer's own thread.
//!
//! A transaction is many short questions one after the other, and each answer comes from another thread: the engine's. Among ten
//! thousand streams on a shared runtime every one of them would wait its turn behind dozens of other tasks, and the transaction with it. Here
//! nothing else is run.

use std::io;

use tokio::sync::oneshot;

use super::Task;

/// The writer, at work. It ends when this is dropped, in the middle of whatever it does: what is not committed was not told.
#[derive(Debug)]
pub(crate) struct Thread {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Thread {
    /// Puts the writer to work.
    ///
    /// # Errors
    /// Where there can be no more threads.
    pub fn start(task: Task) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (ending, ended) = oneshot::channel();
        std::thread::Builder::new().name("writer".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = task.run() => {}
                    _ = stopped => {}
                }
            });
            // Nobody may wait for it.
            let _ = ending.send(());
        })?;
        Ok(Self { stop, ended })
    }

    /// Ends it, and waits until it has ended.
    pub async fn stop(self) {
        drop(self.stop);
        let _ = self.ended.await;
    }
}
