//! axum with its own graceful shutdown, as its documentation shows it.

use std::io;

use axum::Router;
use axum::routing::get;
use graceful_benches::service::{self, SLOW};

fn main() -> io::Result<()> {
    service::runtime()?.block_on(serve())
}

async fn serve() -> io::Result<()> {
    let app = Router::new()
        .route("/", get(answer))
        .route("/slow", get(answer_slowly));
    let terminated = service::terminated()?;
    let listener = service::listen().await?;
    axum::serve(listener, app)
        .with_graceful_shutdown(terminated)
        .await
}

async fn answer() -> &'static str {
    "ok"
}

async fn answer_slowly() -> &'static str {
    tokio::time::sleep(SLOW).await;
    "ok"
}
