//! What has to happen around a drain: leave a service registry before it, close a database pool after it.
//!
//! ```text
//! cargo run --example hooks
//! curl 'localhost:3000/query?ms=3000'
//! ```
//!
//! Press Ctrl-C in the middle of the query. The registry is left at once, the query is answered, and
//! only then the pool is closed; each hook says what is left of the ten seconds:
//!
//! ```text
//! graceful[4711]: SIGINT: draining 1 request; at most 10 s (Ctrl-C again to stop now)
//! registry: leaving, 10.0s left
//! registry: left
//! graceful[4711]: waiting for 1 request: GET /query from 127.0.0.1:51234, 2 s old; 9 s left
//! graceful[4711]: waiting for 1 request: GET /query from 127.0.0.1:51234, 3 s old; 8 s left
//! pool: a query was answered
//! pool: closing, 8.0s left
//! pool: closed
//! graceful[4711]: stopped in 2.2 s: 1 request finished, 0 cut
//! ```
//!
//! `kill -USR2 4711`, with the number in your log, hands over to a new process instead. That one serves
//! under the same address, so the old one leaves the entry to it; its own pool it closes all the same.
//! The prompt is back then, and `kill -TERM` with the new number stops the new process.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use graceful::Reason;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use tokio::time::sleep;

#[graceful::main(timeout = "10s", restart = [USR2])]
async fn main() -> std::io::Result<impl graceful::Server> {
    let pool = Pool::open();
    graceful::on_stop(close(pool.clone()));
    let listener = graceful::bind("127.0.0.1:3000").await?;
    // The last thing that a start does. Hooks run where a start fails, too, and a new process that
    // cannot start must not take the old one, which serves on, out of the registry.
    join_registry().await;
    graceful::on_drain(leave_registry());
    Ok(graceful::serve(
        listener,
        service_fn(move |request| app(request, pool.clone())),
    ))
}

async fn join_registry() {
    // Stands for a request to Consul, etcd or a load balancer.
    sleep(Duration::from_millis(200)).await;
    println!("registry: joined");
}

async fn leave_registry() {
    if graceful::shutdown().reason() == Some(Reason::HandedOver) {
        println!("registry: the new process serves here, so the entry stays");
        return;
    }
    println!("registry: leaving, {:.1?} left", left());
    sleep(Duration::from_millis(200)).await;
    println!("registry: left");
}

async fn close(pool: Pool) {
    println!("pool: closing, {:.1?} left", left());
    pool.close().await;
    println!("pool: closed");
}

/// Returns what is left of the `timeout`.
fn left() -> Duration {
    graceful::shutdown().remaining().unwrap_or_default()
}

/// Stands for a pool of database connections.
#[derive(Clone)]
struct Pool;

impl Pool {
    fn open() -> Self {
        println!("pool: open");
        Self
    }

    async fn query(&self, ms: u64) {
        sleep(Duration::from_millis(ms)).await;
        println!("pool: a query was answered");
    }

    async fn close(self) {
        sleep(Duration::from_millis(200)).await;
    }
}

async fn app(request: Request<Incoming>, pool: Pool) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match request.uri().path() {
        "/query" => {
            let ms = milliseconds(&request).unwrap_or(1000);
            pool.query(ms).await;
            text(StatusCode::OK, format!("the query took {ms} ms\n"))
        }
        _ => text(StatusCode::NOT_FOUND, "try /query?ms=3000\n".into()),
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
