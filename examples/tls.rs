//! HTTPS, over HTTP/1.1 and HTTP/2. First make a certificate for `localhost`, with its key:
//!
//! ```text
//! openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost \
//!     -addext subjectAltName=DNS:localhost -keyout /tmp/key.pem -out /tmp/cert.pem
//! cargo run --example tls --features tls -- /tmp/cert.pem /tmp/key.pem
//! curl --cacert /tmp/cert.pem https://localhost:3000/            # hello over HTTP/2.0
//! curl --cacert /tmp/cert.pem --http1.1 https://localhost:3000/  # hello over HTTP/1.1
//! curl -k 'https://localhost:3000/sleep?ms=3000'                 # -k takes any certificate
//! ```
//!
//! Press Ctrl-C in the middle of the last one: it is answered, and the process ends with exit code 0.
//!
//! When the certificate has been renewed, `kill -USR2 PID`, with the number in the log, has a new process
//! read it and take over; no connect is refused meanwhile.

use std::convert::Infallible;
use std::env;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};

#[graceful::main(timeout = "5s", restart = [USR2])]
async fn main() -> io::Result<impl graceful::Server> {
    let mut arguments = env::args_os().skip(1);
    let (Some(certificate), Some(key)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other(
            "name the certificate and its key: tls cert.pem key.pem",
        ));
    };
    let tls = graceful::Tls::from_pem_files(certificate, key)?;
    let listener = graceful::bind("127.0.0.1:3000").await?;
    Ok(graceful::serve(listener, service_fn(app)).tls(tls))
}

async fn app(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let version = request.version();
    Ok(match request.uri().path() {
        "/" => text(StatusCode::OK, format!("hello over {version:?}\n")),
        "/sleep" => {
            let ms = milliseconds(&request).unwrap_or(1000);
            tokio::time::sleep(Duration::from_millis(ms)).await;
            text(StatusCode::OK, format!("slept {ms} ms over {version:?}\n"))
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
