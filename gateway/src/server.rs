//! Serving HTTP with a bound on everything: connections, header time and size, and a shutdown that finishes what began.
//!
//! `axum::serve` has no header time-out, so connections are served through hyper-util, which has one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use infra::task::CancellationToken;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Wait after a connection could not be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);
/// Longest that answers in progress are awaited at shutdown.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(10);

/// Bounds of one listener.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub connections_max: usize,
    pub header_bytes_max: usize,
    pub header_timeout: Duration,
}

impl From<&infra::config::Http> for Bounds {
    fn from(http: &infra::config::Http) -> Self {
        Self {
            connections_max: http.connections_max,
            header_bytes_max: http.header_bytes_max.max(8 << 10),
            header_timeout: Duration::from_millis(http.header_timeout_ms),
        }
    }
}

/// Serves until `stop`, then lets running requests finish within a bound.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, stop: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let connections = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(bounds.connections_max));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(bounds.header_timeout).max_buf_size(bounds.header_bytes_max);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(u32::try_from(bounds.header_bytes_max).unwrap_or(u32::MAX));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, address, slot)) = accepted else {
            continue;
        };
        let router = router.clone();
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(address));
            router.clone().oneshot(request)
        });
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let watched = graceful.watch(connection);
        let _handle = connections.spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(error, "a connection ended early");
            }
            drop(slot);
        });
    }
    connections.close();
    let finished = async {
        graceful.shutdown().await;
        connections.wait().await;
    };
    if tokio::time::timeout(SHUTDOWN_WAIT, finished).await.is_err() {
        tracing::warn!("some requests were cut off at shutdown");
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => {
            let _best_effort = stream.set_nodelay(true);
            Some((stream, address, slot))
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_RETRY).await;
            None
        }
    }
}
