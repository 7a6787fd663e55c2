//! Ours, restarted by `SIGUSR2`.

use std::io;
use std::process::ExitCode;

use graceful_benches::service;
use hyper::service::service_fn;

fn main() -> ExitCode {
    graceful::Config::new()
        .restart([graceful::Signal::Usr2])
        .run(serve())
}

async fn serve() -> io::Result<impl graceful::Server> {
    let listener = graceful::bind(service::address()?).await?;
    Ok(graceful::serve(
        listener,
        service_fn(service::answer_process),
    ))
}
