//! hyper-util's `auto` connections and nothing else: what serving costs without any shutdown.

use std::io;

use graceful_benches::service;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;

fn main() -> io::Result<()> {
    service::runtime()?.block_on(serve())
}

async fn serve() -> io::Result<()> {
    let listener = service::listen().await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            let service = service_fn(service::answer);
            // The client went away; it is the one that counts.
            let _ = server
                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                .await;
        });
    }
}
