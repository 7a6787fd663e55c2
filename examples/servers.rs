//! Two servers in one process: the public one, and one for those who watch over it.
//!
//! ```text
//! cargo run --example servers
//! curl -i localhost:3001/ready
//! curl localhost:3001/status
//! curl 'localhost:3000/sleep?ms=6000'
//! ```
//!
//! Press Ctrl-C in the middle of the last one, and go on asking the admin server:
//!
//! 1. From the signal on `/ready` says 503, and `/status` says `LameDuck`. For two seconds the public
//!    server still accepts, so that a load balancer has time to see it.
//! 2. Then `/status` says `Draining`. The public server refuses connects and finishes what it has; the
//!    admin server answers as before.
//! 3. When the last public request is answered, the admin server ends, too, and the exit code is 0.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};

#[graceful::main(timeout = "10s", lame_duck = "2s")]
async fn main() -> std::io::Result<(impl graceful::Server, impl graceful::Server)> {
    let public = graceful::bind("127.0.0.1:3000").await?;
    let admin = graceful::bind("127.0.0.1:3001").await?;
    Ok((
        graceful::serve(public, service_fn(app)),
        graceful::serve(admin, service_fn(watch)).drain_last(),
    ))
}

async fn app(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match request.uri().path() {
        "/" => text(StatusCode::OK, "hello\n".into()),
        "/sleep" => {
            let ms = milliseconds(&request).unwrap_or(1000);
            tokio::time::sleep(Duration::from_millis(ms)).await;
            text(StatusCode::OK, format!("slept {ms} ms\n"))
        }
        _ => text(StatusCode::NOT_FOUND, "try / or /sleep?ms=6000\n".into()),
    })
}

async fn watch(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = graceful::status();
    Ok(match request.uri().path() {
        "/ready" if status.is_ready() => text(StatusCode::OK, "ready\n".into()),
        "/ready" => text(StatusCode::SERVICE_UNAVAILABLE, "going away\n".into()),
        // This request is one of those that it counts.
        "/status" => text(StatusCode::OK, format!("{status}\n")),
        _ => text(StatusCode::NOT_FOUND, "try /ready or /status\n".into()),
    })
}

fn milliseconds(request: &Request<Incoming>) -> Option<u64> {
    request.uri().query()?.strip_prefix("ms=")?.parse().ok()
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
