//! Without the attribute: settings that are known only at run time, and a `main` that goes on
//! when the server has ended.
//!
//! ```text
//! TIMEOUT=5 cargo run --example config
//! curl 'localhost:3000/sleep?ms=3000'
//! ```
//!
//! Press Ctrl-C in the middle of the request: it is answered, `main` has the last word, and the exit code
//! (`echo $?`) is 0. With `ms=9000` it is cut five seconds after Ctrl-C, and the exit code is 124.
//!
//! ```text
//! TIMEOUT=soon cargo run --example config
//! ```
//!
//! This says what is wrong with the value, and the exit code is 1.

use std::convert::Infallible;
use std::env::{self, VarError};
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use graceful::{Config, Signal};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};

fn main() -> ExitCode {
    let timeout = match timeout() {
        Ok(timeout) => timeout,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = Config::new()
        .timeout(timeout)
        .signals([Signal::Int, Signal::Term])
        .run(async {
            let listener = graceful::bind("127.0.0.1:3000").await?;
            Ok::<_, io::Error>(graceful::serve(listener, service_fn(app)))
        });
    // The server and the runtime are gone. No deadline holds any more, and Ctrl-C means nothing, so
    // this has to be short. At the deadline, or at a second Ctrl-C, the process ends inside of `run`.
    println!("main: the server has ended");
    code
}

/// Reads how long a stop may take, in seconds.
fn timeout() -> Result<Duration, String> {
    let value = match env::var("TIMEOUT") {
        Ok(value) => value,
        Err(VarError::NotPresent) => return Ok(Duration::from_secs(25)),
        Err(error) => return Err(format!("TIMEOUT: {error}")),
    };
    let seconds = value.parse().map_err(|_| {
        format!("TIMEOUT is `{value}`, and has to be whole seconds, as in `TIMEOUT=10`")
    })?;
    Ok(Duration::from_secs(seconds))
}

async fn app(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match request.uri().path() {
        "/" => text(StatusCode::OK, "hello\n".into()),
        "/sleep" => {
            let ms = milliseconds(&request).unwrap_or(1000);
            tokio::time::sleep(Duration::from_millis(ms)).await;
            text(StatusCode::OK, format!("slept {ms} ms\n"))
        }
        _ => text(StatusCode::NOT_FOUND, "try / or /sleep?ms=3000\n".into()),
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
