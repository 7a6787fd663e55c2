//! Work in the background that a stop waits for: a worker that takes jobs from a queue, and what a
//! handler begins and does not wait for.
//!
//! ```text
//! cargo run --example tasks --features tasks
//! curl localhost:3000/               # how many tasks run
//! curl -X POST localhost:3000/mail   # answered at once; the mail takes three seconds more
//! ```
//!
//! Press Ctrl-C while the mail is being sent. The worker finishes the job that it is at and takes no
//! other, the mail is sent, and then the process ends, with exit code 0:
//!
//! ```text
//! graceful: SIGINT: draining 2 tasks; at most 10 s (Ctrl-C again to stop now)
//! job 1: done
//! worker: takes no more jobs
//! graceful: waiting for 1 task: the one spawned at examples/tasks.rs:82:13, 1.5 s old; 9 s left
//! graceful: waiting for 1 task: the one spawned at examples/tasks.rs:82:13, 2.5 s old; 8 s left
//! mail: sent
//! graceful: stopped in 2.5 s: no request was in flight
//! ```
//!
//! A task that takes more than the ten seconds is cut and named, and the exit code is 124.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::sleep;

#[graceful::main(timeout = "10s")]
async fn main() -> std::io::Result<impl graceful::Server> {
    graceful::spawn(work(Queue::default()));
    let listener = graceful::bind("127.0.0.1:3000").await?;
    Ok(graceful::serve(listener, service_fn(app)))
}

/// Does one job after the other, until the drain begins.
async fn work(mut queue: Queue) {
    let mut shutdown = graceful::shutdown();
    loop {
        // Only the wait for a job is in here, because `select!` drops what has not come first. `biased`
        // lets the shutdown come first, however many jobs there are.
        let job = tokio::select! {
            biased;
            () = &mut shutdown => break,
            job = queue.next() => job,
        };
        println!("job {job}: begun");
        sleep(Duration::from_secs(2)).await;
        println!("job {job}: done");
    }
    println!("worker: takes no more jobs");
}

/// Stands for a queue that other processes fill, such as one in Redis or SQS.
#[derive(Default)]
struct Queue {
    taken: u64,
}

impl Queue {
    /// Waits for the next job. It is still in the queue if the wait is given up.
    async fn next(&mut self) -> u64 {
        sleep(Duration::from_secs(1)).await;
        self.taken += 1;
        self.taken
    }
}

async fn app(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => {
            let tasks = graceful::status().tasks;
            text(StatusCode::OK, format!("tasks: {tasks}\n"))
        }
        (&Method::POST, "/mail") => {
            graceful::spawn(send_mail());
            text(StatusCode::ACCEPTED, "it will be sent\n".into())
        }
        _ => text(StatusCode::NOT_FOUND, "try GET / or POST /mail\n".into()),
    })
}

async fn send_mail() {
    println!("mail: sending");
    sleep(Duration::from_secs(3)).await;
    println!("mail: sent");
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
