//! actix-web with its defaults, except that it leaves idle connections open as the others do.

use std::io;
use std::time::Duration;

use actix_web::{App, HttpServer, rt, web};
use graceful_benches::service::{self, SLOW};

/// Longer than any measurement; the default is five seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(600);
/// More than any measurement has; the default is 25 000 for each worker.
const CONNECTIONS_MAX: usize = 1_000_000;

fn main() -> io::Result<()> {
    rt::System::new().block_on(serve())
}

async fn serve() -> io::Result<()> {
    let app = || {
        App::new()
            .route("/", web::get().to(answer))
            .route("/slow", web::get().to(answer_slowly))
    };
    let server = HttpServer::new(app)
        .keep_alive(KEEP_ALIVE)
        .max_connections(CONNECTIONS_MAX)
        .bind("127.0.0.1:0")?;
    service::announce(server.addrs()[0])?;
    server.run().await
}

async fn answer() -> &'static str {
    "ok"
}

async fn answer_slowly() -> &'static str {
    rt::time::sleep(SLOW).await;
    "ok"
}
