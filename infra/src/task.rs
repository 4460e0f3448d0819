//! The one home of spawned tasks: each has a name, an owner who awaits it, and stops by the same signal.

use std::future::Future;

use tokio::task::JoinHandle;
pub use tokio_util::sync::CancellationToken;

/// Tasks that are stopped and awaited together, in one process or one role.
#[derive(Debug, Default)]
pub struct TaskGroup {
    stop: CancellationToken,
    tasks: Vec<(&'static str, JoinHandle<()>)>,
}

impl TaskGroup {
    /// A group that also stops when `parent` does.
    #[must_use]
    pub fn under(parent: &CancellationToken) -> Self {
        Self { stop: parent.child_token(), tasks: Vec::new() }
    }

    #[must_use]
    pub fn stop_signal(&self) -> CancellationToken {
        self.stop.clone()
    }

    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push((name, spawn(task)));
    }

    /// Asks every task to stop and waits for each, the newest first.
    pub async fn shut_down(mut self) {
        self.stop.cancel();
        while let Some((name, task)) = self.tasks.pop() {
            if let Err(error) = task.await {
                tracing::error!(task = name, %error, "a task ended by a panic");
            }
        }
    }
}

/// Starts one task; the caller owns and awaits the handle.
#[expect(clippy::disallowed_methods, reason = "this is the one home of spawned tasks")]
pub fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(task)
}
