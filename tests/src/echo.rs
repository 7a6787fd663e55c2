//! The service of the servers under test; every behaviour of a request has its route.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::sleep;
use tower_service::Service;

/// The body of a response.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The service. It says `handling PATH` when a handler begins, `finished PATH` or `dropped PATH` when it ends,
/// except for `/` and `/echo`, which are what loads use.
#[derive(Clone, Copy, Debug)]
pub struct Echo;

impl Service<Request<Incoming>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        Box::pin(async { Ok(answer(request).await) })
    }
}

async fn answer(request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/" => return text("hello"),
        "/echo" => return echoed(request).await,
        _ => {}
    }
    println!("handling {path}");
    let dropped = Dropped(&path);
    let response = route(&path, request).await;
    std::mem::forget(dropped);
    println!("finished {path}");
    response
}

/// Says of a handler that it has not come to its end.
struct Dropped<'a>(&'a str);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        println!("dropped {}", self.0);
    }
}

async fn route(path: &str, request: Request<Incoming>) -> Response<Body> {
    let query = Query(request.uri().query().unwrap_or("").to_owned());
    match path {
        "/peer" => peer(&request),
        "/pid" => text(std::process::id().to_string()),
        "/sleep" => {
            slept(
                query.milliseconds("ms"),
                query.text("from") == Some("drain"),
            )
            .await
        }
        "/wait" => waited().await,
        "/go" => go(),
        "/cling" => cling().await,
        "/stream" => stream(query.number("n"), query.milliseconds("ms")),
        "/events" => events(),
        "/upload" => upload(request, query.text("wait") == Some("drain")).await,
        "/read_on" => read_on(request),
        "/early" => status(StatusCode::PAYLOAD_TOO_LARGE, filler(query.number("bytes"))),
        "/big" => {
            sleep(query.milliseconds("ms")).await;
            status(StatusCode::OK, filler(query.number("bytes")))
        }
        "/panic" => panic!("as the client wished"),
        "/block" => blocked(query.milliseconds("ms")),
        "/spawn_blocking" => spawned_blocking(query.milliseconds("ms")),
        "/spawn" => spawned(query.milliseconds("ms")),
        "/spawn_panic" => spawned_to_panic(),
        "/detach" => detached(query.milliseconds("ms")),
        "/status" => readiness(),
        "/parked" => text(graceful::status().parked.to_string()),
        "/census" => text(graceful::status().to_string()),
        "/stop" => stopped(),
        "/fail" => failing(),
        "/restart" => restarted().await,
        "/inherited" => inherited(),
        "/environment" => output_of("env", &[]),
        "/mask" => output_of("grep", &["SigBlk", "/proc/self/status"]),
        "/descriptors" => output_of("ls", &["-l", "/proc/self/fd"]),
        _ if path.starts_with("/named/") => std::future::pending().await,
        _ => status(StatusCode::NOT_FOUND, Bytes::new()),
    }
}

/// Answers where the request comes from, as far as it says.
fn peer(request: &Request<Incoming>) -> Response<Body> {
    let address = request.extensions().get::<SocketAddr>().copied();
    text(format!("{address:?}"))
}

/// Sleeps, if asked for only from the beginning of the drain on, and says how many others sleep at the
/// same time.
async fn slept(time: Duration, from_drain: bool) -> Response<Body> {
    static SLEEPING: AtomicUsize = AtomicUsize::new(0);
    let sleeping = SLEEPING.fetch_add(1, Ordering::SeqCst) + 1;
    if from_drain {
        graceful::shutdown().await;
    }
    sleep(time).await;
    SLEEPING.fetch_sub(1, Ordering::SeqCst);
    text(format!("slept beside {}", sleeping - 1))
}

static GO: Notify = Notify::const_new();

/// Answers when another client asks for `/go`.
async fn waited() -> Response<Body> {
    GO.notified().await;
    text("waited")
}

fn go() -> Response<Body> {
    GO.notify_one();
    text("go")
}

/// Waits for ever, and is a while on its way out.
async fn cling() -> Response<Body> {
    struct Slow;

    impl Drop for Slow {
        fn drop(&mut self) {
            thread::sleep(Duration::from_millis(300));
        }
    }

    let _slow = Slow;
    std::future::pending().await
}

/// Sends `count` pieces, `interval` apart.
fn stream(count: usize, interval: Duration) -> Response<Body> {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        for piece in 0..count {
            sleep(interval).await;
            // Fails where the client went away, and then nobody wants the rest.
            let _ = sender.send_data(Bytes::from(format!("{piece};"))).await;
        }
    });
    Response::new(body.boxed_unsync())
}

/// Sends events until the drain begins, then says goodbye.
fn events() -> Response<Body> {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        // Both only fail where the client went away.
        let _ = sender
            .send_data(Bytes::from_static(b"data: hello\n\n"))
            .await;
        graceful::shutdown().await;
        let _ = sender
            .send_data(Bytes::from_static(b"data: goodbye\n\n"))
            .await;
    });
    Response::new(body.boxed_unsync())
}

/// Answers the length of the request's body, which it may begin to read only in the drain.
async fn upload(request: Request<Incoming>, in_the_drain: bool) -> Response<Body> {
    if in_the_drain {
        graceful::shutdown().await;
    }
    match request.into_body().collect().await {
        Ok(body) => text(body.to_bytes().len().to_string()),
        Err(error) => status(StatusCode::BAD_REQUEST, Bytes::from(error.to_string())),
    }
}

/// Answers at once, and reads on.
fn read_on(request: Request<Incoming>) -> Response<Body> {
    tokio::spawn(async move {
        match request.into_body().collect().await {
            Ok(body) => println!("read {} bytes", body.to_bytes().len()),
            Err(error) => println!("read nothing: {error}"),
        }
    });
    text("reading")
}

/// Answers the request's body, with the process id before it, after a while.
async fn echoed(request: Request<Incoming>) -> Response<Body> {
    let query = Query(request.uri().query().unwrap_or("").to_owned());
    sleep(query.milliseconds("ms")).await;
    match request.into_body().collect().await {
        Ok(body) => {
            let id = format!("{} ", std::process::id());
            text([id.as_bytes(), &body.to_bytes()].concat())
        }
        Err(error) => status(StatusCode::BAD_REQUEST, Bytes::from(error.to_string())),
    }
}

fn blocked(time: Duration) -> Response<Body> {
    thread::sleep(time);
    text("blocked")
}

/// Leaves a thread of tokio's pool busy.
fn spawned_blocking(time: Duration) -> Response<Body> {
    tokio::task::spawn_blocking(move || thread::sleep(time));
    text("spawned")
}

/// Leaves a tracked task behind.
fn spawned(time: Duration) -> Response<Body> {
    graceful::spawn(async move {
        sleep(time).await;
        println!("tracked task done");
    });
    text("spawned")
}

/// Leaves a tracked task behind that panics.
fn spawned_to_panic() -> Response<Body> {
    graceful::spawn(async { panic!("as the client wished") });
    text("spawned")
}

/// Leaves an untracked task behind.
fn detached(time: Duration) -> Response<Body> {
    tokio::spawn(async move {
        sleep(time).await;
        println!("untracked task done");
    });
    text("detached")
}

/// Answers as a health check does.
fn readiness() -> Response<Body> {
    if graceful::status().is_ready() {
        text("ready")
    } else {
        status(
            StatusCode::SERVICE_UNAVAILABLE,
            Bytes::from_static(b"not ready"),
        )
    }
}

fn stopped() -> Response<Body> {
    graceful::stop();
    text("stopping")
}

/// Restarts, and says what came of it.
async fn restarted() -> Response<Body> {
    match graceful::restart().await {
        Ok(()) => text("restarted"),
        Err(error) => status(
            StatusCode::SERVICE_UNAVAILABLE,
            Bytes::from(error.to_string()),
        ),
    }
}

/// Answers what the process before this one has left.
fn inherited() -> Response<Body> {
    match graceful::inherited_state() {
        Ok(Some(state)) => text(state),
        Ok(None) => status(StatusCode::NOT_FOUND, Bytes::new()),
        Err(error) => status(
            StatusCode::INTERNAL_SERVER_ERROR,
            Bytes::from(error.to_string()),
        ),
    }
}

/// Answers what a program says that this process starts.
fn output_of(program: &str, arguments: &[&str]) -> Response<Body> {
    let mut command = Command::new(program);
    match command.args(arguments).stdin(Stdio::inherit()).output() {
        Ok(output) => text(output.stdout),
        Err(error) => status(
            StatusCode::INTERNAL_SERVER_ERROR,
            Bytes::from(error.to_string()),
        ),
    }
}

static FAIL: Notify = Notify::const_new();

/// Makes the server beside this one fail, where there is one.
fn failing() -> Response<Body> {
    FAIL.notify_one();
    text("failing")
}

/// Waits until a client asks for `/fail`.
pub async fn asked_to_fail() {
    FAIL.notified().await;
}

/// Takes `SIGUSR1` as an application does that reopens its log files at it.
///
/// # Errors
///
/// Where the signal cannot be listened to.
pub fn count_usr1() -> io::Result<()> {
    let mut usr1 = signal(SignalKind::user_defined1())?;
    tokio::spawn(async move { while usr1.recv().await.is_some() {} });
    Ok(())
}

fn filler(count: usize) -> Bytes {
    vec![b'x'; count].into()
}

fn text(text: impl Into<Bytes>) -> Response<Body> {
    status(StatusCode::OK, text.into())
}

fn status(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// The part of a path behind the question mark.
struct Query(String);

impl Query {
    fn text(&self, name: &str) -> Option<&str> {
        let pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .into_iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    fn number<N: FromStr + Default>(&self, name: &str) -> N {
        self.text(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or_default()
    }

    fn milliseconds(&self, name: &str) -> Duration {
        Duration::from_millis(self.number(name))
    }
}
