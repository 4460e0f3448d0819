//! The outside of Daybook: HTTP, command line, sandbox payment provider; and the one binary that runs every role.

mod app;
mod auth;
mod bench;
mod cart_expiry;
mod cli;
mod demo;
mod doctor;
mod export;
mod http;
mod import;
mod migrate;
mod observe;
mod roles;
mod sandbox_psp;
mod server;
mod settings;
mod shop;
mod up;
mod verify;

pub use cli::main;

/// Completes at SIGINT or SIGTERM.
async fn until_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}
