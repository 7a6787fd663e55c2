//! axum's own server, which loses nothing at a stop: adapted from outside.
//!
//! ```text
//! cargo run --example axum --features axum
//! curl localhost:3000/sleep/3000
//! ```
//!
//! Press Ctrl-C in the middle of the request. `graceful::serve(listener, app)` does the same and knows
//! more of its connections; this is for an application that needs `axum::serve`.

use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;

#[graceful::main(timeout = "5s", signals = [INT, TERM])]
async fn main() -> std::io::Result<impl graceful::Server> {
    let app = Router::new()
        .route("/", get(|| async { "hello\n" }))
        .route("/sleep/{ms}", get(sleep))
        .route("/ready", get(ready));
    let listener = graceful::bind("127.0.0.1:3000").await?;
    let (listener, layer, shutdown) = graceful::adapt(listener);
    Ok(axum::serve(listener, app.layer(layer)).with_graceful_shutdown(shutdown))
}

async fn sleep(Path(ms): Path<u64>) -> String {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    format!("slept {ms} ms\n")
}

async fn ready() -> (StatusCode, &'static str) {
    if graceful::status().is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "going away\n")
    }
}
