//! The world outside a test whose time stands still: servers and connections, on a thread and a runtime of
//! their own.

use std::{sync::mpsc, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// A runtime beside the test's. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Outside {
    runtime: Handle,
    _stop: oneshot::Sender<()>,
}

impl Outside {
    pub(crate) fn start() -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, handle) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime starts");
            if ready.send(runtime.handle().clone()).is_ok() {
                let _ = runtime.block_on(stopped);
            }
        });
        Self {
            runtime: handle.recv().expect("the thread starts"),
            _stop: stop,
        }
    }

    /// Does `work` outside while the caller's thread waits. Nothing of the caller's runtime moves
    /// meanwhile: neither its other tasks nor its time.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let (done, result) = mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            // Nobody else waits for it.
            let _ = done.send(work.await);
        });
        result.recv().expect("no work outside panics")
    }
}
