//! The runtime of a program: one thread.

/// Runs a future and everything that it spawns on this thread. Without an actix system, the server's workers
/// are plain local runtimes, which wake a task with less overhead than an arbiter's.
///
/// # Errors
/// The runtime cannot be created.
pub fn block_on<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    Ok(runtime.block_on(future))
}
