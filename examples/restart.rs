//! A server that hands over to a new process: no request is lost, no connect refused.
//!
//! ```text
//! cargo run --example restart
//! kill -USR2 PID           # the answer of `curl localhost:3000/` shows the new process
//! ```

use std::convert::Infallible;
use std::process;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};

#[graceful::main(timeout = "10s", restart = [USR2], restart_timeout = "10s")]
async fn main() -> std::io::Result<impl graceful::Server> {
    // What an earlier process has counted, and what the next one will get.
    let generation = match graceful::inherited_state()?.as_deref() {
        Some([generation]) => *generation,
        _ => 1,
    };
    graceful::on_handover(move || async move {
        Ok::<_, Infallible>(vec![generation.saturating_add(1)])
    });
    let listener = graceful::bind("127.0.0.1:3000").await?;
    println!("process {}, generation {generation}", process::id());
    Ok(graceful::serve(
        listener,
        service_fn(move |request| app(request, generation)),
    ))
}

async fn app(
    request: Request<Incoming>,
    generation: u8,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/slow" {
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    let body = format!("process {}, generation {generation}\n", process::id());
    Ok(Response::new(Full::new(body.into())))
}
