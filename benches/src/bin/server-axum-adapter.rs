//! axum's own server, made loss-free from outside.

use std::io;
use std::process::ExitCode;

use axum::Router;
use axum::routing::get;
use graceful_benches::service::{self, SLOW};

fn main() -> ExitCode {
    let config = graceful::Config::new();
    let config = if service::current_thread() {
        config.current_thread()
    } else {
        config
    };
    config.run(serve())
}

async fn serve() -> io::Result<impl graceful::Server> {
    let app = Router::new()
        .route("/", get(answer))
        .route("/slow", get(answer_slowly));
    let listener = graceful::bind("127.0.0.1:0").await?;
    service::announce(listener.local_addr()?)?;
    let (listener, layer, shutdown) = graceful::adapt(listener);
    Ok(axum::serve(listener, app.layer(layer)).with_graceful_shutdown(shutdown))
}

async fn answer() -> &'static str {
    "ok"
}

async fn answer_slowly() -> &'static str {
    tokio::time::sleep(SLOW).await;
    "ok"
}
