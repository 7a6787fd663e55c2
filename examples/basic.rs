//! A server with a slow route: press Ctrl-C in the middle of a request and watch the drain.
//!
//! ```text
//! cargo run --example basic
//! curl localhost:3000/
//! curl 'localhost:3000/sleep?ms=3000'
//! ```

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};

#[graceful::main(timeout = "5s", signals = [INT, TERM])]
async fn main() -> std::io::Result<impl graceful::Server> {
    let listener = graceful::bind("127.0.0.1:3000").await?;
    Ok(graceful::serve(listener, service_fn(app)))
}

async fn app(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match request.uri().path() {
        "/" => text(StatusCode::OK, "hello\n".into()),
        "/sleep" => {
            let ms = milliseconds(&request).unwrap_or(1000);
            tokio::time::sleep(Duration::from_millis(ms)).await;
            text(StatusCode::OK, format!("slept {ms} ms\n"))
        }
        "/ready" if graceful::status().is_ready() => text(StatusCode::OK, "ready\n".into()),
        "/ready" => text(StatusCode::SERVICE_UNAVAILABLE, "going away\n".into()),
        _ => text(
            StatusCode::NOT_FOUND,
            "try / or /sleep?ms=3000 or /ready\n".into(),
        ),
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
