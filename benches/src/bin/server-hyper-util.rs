//! hyper-util's `GracefulShutdown` around its `auto` connections, as its example shows it.

use std::io;
use std::pin::pin;

use graceful_benches::service;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;

fn main() -> io::Result<()> {
    service::runtime()?.block_on(serve())
}

async fn serve() -> io::Result<()> {
    let mut terminated = pin!(service::terminated()?);
    let listener = service::listen().await?;
    let server = auto::Builder::new(TokioExecutor::new());
    let graceful = GracefulShutdown::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                let stream = TokioIo::new(stream);
                let connection = server
                    .serve_connection_with_upgrades(stream, service_fn(service::answer))
                    .into_owned();
                let connection = graceful.watch(connection);
                tokio::spawn(async move {
                    // The client went away, or was sent away; it is the one that counts.
                    let _ = connection.await;
                });
            }
            () = terminated.as_mut() => break,
        }
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}
