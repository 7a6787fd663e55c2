//! Ours.

use std::io;
use std::process::ExitCode;

use graceful_benches::service;
use hyper::service::service_fn;

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
    let listener = graceful::bind("127.0.0.1:0").await?;
    service::announce(listener.local_addr()?)?;
    Ok(graceful::serve(listener, service_fn(service::answer)))
}
