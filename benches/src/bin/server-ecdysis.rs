//! ecdysis, restarted by `SIGUSR2`, with hyper-util's `GracefulShutdown` for the connections that stay behind.

use std::io;
use std::pin::pin;

use ecdysis::tokio_ecdysis::{SignalKind, StopOnShutdown, TokioEcdysisBuilder};
use futures_lite::StreamExt;
use graceful_benches::service;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;

fn main() -> io::Result<()> {
    service::runtime()?.block_on(serve())
}

async fn serve() -> io::Result<()> {
    let mut ecdysis = TokioEcdysisBuilder::new(SignalKind::user_defined2())?;
    ecdysis.stop_on_signal(SignalKind::terminate())?;
    let address = service::address()?;
    let mut connections = pin!(ecdysis.listen_tcp(StopOnShutdown::Yes, address)?);
    let (_ecdysis, ended) = ecdysis.ready()?;
    let ended = tokio::spawn(ended);
    let server = auto::Builder::new(TokioExecutor::new());
    let graceful = GracefulShutdown::new();
    // Ends when the successor is ready, or at the signal to stop.
    while let Some(accepted) = connections.next().await {
        let connection = server
            .serve_connection_with_upgrades(
                TokioIo::new(accepted?),
                service_fn(service::answer_process),
            )
            .into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // The client went away, or was sent away; it is the one that counts.
            let _ = connection.await;
        });
    }
    ended
        .await
        .map_err(io::Error::other)?
        .map_err(io::Error::other)?;
    graceful.shutdown().await;
    Ok(())
}
