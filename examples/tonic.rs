//! tonic's own server, which loses nothing at a stop: adapted from outside. The service is gRPC's
//! health check, which says "not serving" as soon as the signal comes.
//!
//! ```text
//! cargo run --example tonic --features tonic
//! grpc_health_probe -addr=localhost:50051
//! ```
//!
//! Or watch it with nothing but curl, and press Ctrl-C on the other side:
//!
//! ```text
//! printf '\0\0\0\0\0' | curl --no-buffer --http2-prior-knowledge --data-binary @- \
//!     -H 'content-type: application/grpc' -H 'te: trailers' \
//!     localhost:50051/grpc.health.v1.Health/Watch | od -A n -t x1
//! ```

use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

#[graceful::main(timeout = "5s", signals = [INT, TERM])]
async fn main() -> std::io::Result<impl graceful::Server> {
    let (reporter, health) = health_reporter();
    report_to(reporter);
    let listener = graceful::bind("127.0.0.1:50051").await?;
    let (listener, layer, shutdown) = graceful::adapt(listener);
    Ok(Server::builder()
        .layer(layer)
        .add_service(health)
        .serve_with_incoming_shutdown(listener, shutdown))
}

fn report_to(mut reporter: HealthReporter) {
    let before = reporter.clone();
    graceful::on_drain(async move {
        let not_serving = ServingStatus::NotServing;
        before.set_service_status("", not_serving).await;
    });
    // A stream that has no end by itself would be waited for until the deadline.
    tokio::spawn(async move {
        graceful::shutdown().await;
        reporter.clear_service_status("").await;
    });
}
