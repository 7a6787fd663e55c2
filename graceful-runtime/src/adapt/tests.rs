//! A framework in a few lines, which does what axum and tonic do, under a paused clock.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy, duplex, sink};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};
use tower_layer::Layer as _;
use tower_service::Service as _;

use super::adapter::Adapter;
use super::drain::Drain;
use super::entry::ServerEntry;
use super::listener::Queue;
use super::{Io, Layer, Layered};
use crate::config::Config;
use crate::lifecycle::Lifecycle;
use crate::lifecycle::server::View;
use crate::lifecycle::surroundings::Surroundings;
use crate::model::phase::Event;
use crate::model::stage::Stage;
use crate::net::stream::{Peer, Stream};
use crate::serve::connection::Connection;
use crate::serve::limits::HEAD_LIMIT;
use crate::serve::shared::Shared;
use crate::serve::tests::races::Race;

const GRACE: Duration = Duration::from_millis(200);
/// The longest round trip that an HTTP/2 client is given.
const GOAWAY_LIMIT: Duration = Duration::from_secs(5);
const GET: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";
const SLOW: &str = "GET /slow HTTP/1.1\r\nhost: test\r\n\r\n";
/// The preface with empty settings.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// A request head on stream 1, of which the body may follow.
const HEADERS: &[u8] = b"\0\0\x01\x01\x04\0\0\0\x01\x82";

/// A GOAWAY that ends the streams.
const PROTOCOL_ERROR: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\x01";

/// An adapted server without a listener.
struct Adapted {
    lifecycle: Arc<Lifecycle>,
    adapter: Arc<Adapter>,
    entry: Arc<ServerEntry>,
    /// Whether the framework was told.
    told: watch::Receiver<bool>,
}

impl Adapted {
    fn new() -> Self {
        let (lifecycle, _) = Lifecycle::new(
            Config::new().keep_alive_grace(GRACE).of_lifecycle(),
            Surroundings::default(),
        );
        lifecycle.step(Event::Ready);
        let shared = Arc::new(Shared::new(Arc::clone(&lifecycle), super::options()));
        let entry = Arc::new(ServerEntry::new(Arc::clone(&shared)));
        let adapter = Arc::new(Adapter::new(shared));
        let drain = Drain {
            adapter: Arc::clone(&adapter),
            acceptor: Weak::new(),
            queue: watch::channel(Queue::Open).1,
        };
        let (tell, told) = watch::channel(false);
        tokio::spawn(async move {
            drain.run().await;
            tell.send_replace(true);
            tell.closed().await;
        });
        Self {
            lifecycle,
            adapter,
            entry,
            told,
        }
    }

    fn connect(&self, does: Does) -> Client {
        let (io, client) = self.pipe();
        let service = Layer::new(Arc::clone(&self.adapter)).layer(Answer);
        tokio::spawn(framework(io, service, does, self.told.clone()));
        Client(client)
    }

    /// Returns the two ends of a connection.
    fn pipe(&self) -> (Io, DuplexStream) {
        let (client, server) = duplex(64 << 10);
        let shared = Arc::clone(&self.adapter.shared);
        let connection = shared.connect(Peer::Unix);
        let io = Io::new(
            Stream::Duplex(server),
            Bytes::new(),
            connection,
            Arc::clone(&self.adapter),
            Arc::clone(&self.entry),
        );
        (io, client)
    }

    /// A connection that has served one request and was idle for `idle` since.
    async fn idle_for(&self, idle: Duration) -> Client {
        let mut client = self.connect(Does::Http1);
        client.send(GET).await;
        assert!(!client.response().await.contains("close"));
        sleep(idle).await;
        client
    }

    fn lame_duck(&self) {
        self.lifecycle.step(Event::Trigger);
        self.adapter.shared.reach(Stage::LameDuck);
    }

    fn drain(&self) {
        self.lifecycle.step(Event::Trigger);
        self.lifecycle.step(Event::LameDuckOver);
    }

    /// Tells whether the one connection is followed.
    fn follows_requests(&self) -> bool {
        let connections = self.adapter.shared.connections.members();
        assert_eq!(connections.len(), 1);
        connections[0].follows_requests()
    }

    fn requests(&self) -> Vec<String> {
        let requests = |connection: &Arc<Connection>| {
            let View { peer, requests, .. } = connection.view();
            let named = |request| format!("{request} from {peer}");
            requests.into_iter().map(named).collect::<Vec<_>>()
        };
        let connections = self.adapter.shared.connections.members();
        connections.iter().flat_map(requests).collect()
    }
}

/// What is special about the framework.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Http1,
    Http2,
    /// Calls the service in a task of its own.
    CallElsewhere,
    /// Reads to the end, as if it shook hands for TLS.
    Read,
}

async fn framework(
    mut io: Io,
    service: Layered<Answer>,
    does: Does,
    mut told: watch::Receiver<bool>,
) {
    if does == Does::Read {
        drop(copy(&mut io, &mut sink()).await);
        return;
    }
    let io = TokioIo::new(io);
    let mut told = pin!(async move { told.wait_for(|told| *told).await.is_ok() });
    macro_rules! drive {
        ($hyper:expr) => {{
            let mut hyper = pin!($hyper);
            let mut is_told = false;
            poll_fn(|cx| {
                if !is_told && told.as_mut().poll(cx).is_ready() {
                    is_told = true;
                    hyper.as_mut().graceful_shutdown();
                }
                hyper.as_mut().poll(cx)
            })
            .await
        }};
    }
    // How it went shows in what the client sees.
    let _ = match does {
        Does::Http1 => {
            let service = TowerToHyperService::new(service);
            drive!(http1::Builder::new().serve_connection(io, service))
        }
        Does::Http2 => {
            let service = TowerToHyperService::new(service);
            drive!(http2::Builder::new(TokioExecutor::new()).serve_connection(io, service))
        }
        Does::CallElsewhere => {
            let service = TowerToHyperService::new(Elsewhere(service));
            drive!(http1::Builder::new().serve_connection(io, service))
        }
        Does::Read => unreachable!("it has read"),
    };
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send>>;

#[derive(Clone)]
struct Answer;

impl<B> tower_service::Service<Request<B>> for Answer {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answering {
        let time = match request.uri().path() {
            "/slow" => Duration::from_secs(5),
            "/slower" => Duration::from_secs(15),
            _ => Duration::ZERO,
        };
        let large = request.uri().path() == "/large";
        Box::pin(async move {
            if !time.is_zero() {
                sleep(time).await;
            }
            let body = match large {
                true => large_body().into(),
                false => "ok".into(),
            };
            Ok(Response::new(Full::new(body)))
        })
    }
}

/// More than goes to the framework at once, and no two parts of it are the same.
fn large_body() -> Vec<u8> {
    (0..50_001_u32).flat_map(u32::to_be_bytes).collect()
}

#[derive(Clone)]
struct Elsewhere(Layered<Answer>);

impl tower_service::Service<Request<Incoming>> for Elsewhere {
    type Response = Response<super::Body<Full<Bytes>>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let mut service = self.0.clone();
        let answering = tokio::spawn(async move { service.call(request).await });
        Box::pin(async { answering.await.expect("no panic") })
    }
}

struct Client(DuplexStream);

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads one response; empty where the stream ends instead.
    async fn response(&mut self) -> String {
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\nok") && self.0.read_buf(&mut read).await.unwrap() > 0 {}
        String::from_utf8(read).unwrap()
    }

    /// Reads to the end; returns what came and how long that took.
    async fn rest(&mut self) -> (String, Duration) {
        let begin = Instant::now();
        let mut read = Vec::new();
        self.0.read_to_end(&mut read).await.unwrap();
        (String::from_utf8_lossy(&read).into_owned(), begin.elapsed())
    }
}

fn is_last(response: &str) -> bool {
    response.contains("200 OK") && response.contains("connection: close")
}

#[tokio::test(start_paused = true)]
async fn with_nothing_connected_the_framework_is_told_at_once() {
    let mut adapted = Adapted::new();
    let begin = Instant::now();
    adapted.drain();
    adapted.told.wait_for(|told| *told).await.unwrap();
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn idle_connections_cost_the_rest_of_their_grace() {
    for (idle, expected) in [(GRACE / 4, GRACE * 3 / 4), (GRACE * 2, Duration::ZERO)] {
        let mut adapted = Adapted::new();
        let mut client = adapted.idle_for(idle).await;
        let begin = Instant::now();
        adapted.drain();
        assert_eq!(client.rest().await, (String::new(), expected));
        adapted.told.wait_for(|told| *told).await.unwrap();
        assert_eq!(begin.elapsed(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_counts_from_its_accept() {
    for does in [Does::Http1, Does::Http2] {
        let adapted = Adapted::new();
        let mut client = adapted.connect(does);
        sleep(GRACE / 4).await;
        adapted.drain();
        assert_eq!(client.rest().await.1, GRACE * 3 / 4);
    }
}

#[tokio::test(start_paused = true)]
async fn idle_within_the_grace_answers_one_more_request() {
    let adapted = Adapted::new();
    let mut client = adapted.idle_for(GRACE / 4).await;
    adapted.drain();
    sleep(GRACE / 2).await;
    client.send(GET).await;
    let (rest, took) = client.rest().await;
    assert!(is_last(&rest), "{rest}");
    assert_eq!(took, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn half_a_head_may_be_completed_in_its_time() {
    for cut in 1..GET.len() {
        let adapted = Adapted::new();
        let mut client = adapted.idle_for(GRACE * 2).await;
        client.send(&GET[..cut]).await;
        sleep(Duration::from_millis(1)).await;
        adapted.drain();
        sleep(HEAD_LIMIT / 2).await;
        client.send(&GET[cut..]).await;
        let (rest, _) = client.rest().await;
        assert!(is_last(&rest), "cut at {cut}: {rest}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_second_head_read_with_the_first_is_kept() {
    for cut in 1..GET.len() {
        let (begin, end) = GET.split_at(cut);
        let adapted = Adapted::new();
        let mut client = adapted.connect(Does::Http1);
        client.send(format!("{GET}{begin}")).await;
        client.response().await;
        sleep(GRACE * 2).await;
        adapted.drain();
        sleep(HEAD_LIMIT / 2).await;
        client.send(end).await;
        let (rest, _) = client.rest().await;
        assert!(is_last(&rest), "cut at {cut}: {rest}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_head_that_ends_never_is_bounded() {
    for (does, begin) in [
        (Does::Http1, "G"),
        (Does::Http1, "GET / HTTP/1.1\r\nhost:"),
        (Does::Http2, "PRI * HTTP/2"),
    ] {
        let adapted = Adapted::new();
        let mut client = adapted.connect(does);
        client.send(begin).await;
        sleep(Duration::from_millis(1)).await;
        adapted.drain();
        assert_eq!(client.rest().await.1, HEAD_LIMIT, "{begin:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_in_flight_gets_its_response_with_close() {
    let adapted = Adapted::new();
    let mut client = adapted.connect(Does::Http1);
    client.send(SLOW).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(adapted.requests(), ["GET /slow from a UNIX socket"]);
    adapted.drain();
    let (rest, took) = client.rest().await;
    assert!(is_last(&rest), "{rest}");
    assert_eq!(took, Duration::from_secs(4));
    assert_eq!(adapted.requests(), [""; 0]);
}

/// Told, hyper would write `close` into the head of the response.
#[tokio::test(start_paused = true)]
async fn the_framework_is_told_late_where_a_request_may_switch_protocols() {
    let second = Duration::from_secs(1);
    for (path, upgrade, expected) in [
        ("/slow", "", GRACE + HEAD_LIMIT),
        ("/slow", "upgrade: websocket\r\n", 4 * second),
        ("/slower", "upgrade: websocket\r\n", GOAWAY_LIMIT),
    ] {
        let mut adapted = Adapted::new();
        let mut client = adapted.connect(Does::Http1);
        let head = format!("GET {path} HTTP/1.1\r\nhost: test\r\n{upgrade}\r\n");
        client.send(head).await;
        sleep(second).await;
        let begin = Instant::now();
        adapted.drain();
        adapted.told.wait_for(|told| *told).await.unwrap();
        assert_eq!(begin.elapsed(), expected, "{path}, {upgrade:?}");
        assert!(is_last(&client.rest().await.0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_made_switches_no_protocols_any_more() {
    let mut adapted = Adapted::new();
    let mut service = Layer::new(Arc::clone(&adapted.adapter)).layer(Answer);
    let request = Request::builder().header("upgrade", "h2c");
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let download = tower_service::Service::call(&mut service, request)
        .await
        .unwrap();
    let begin = Instant::now();
    adapted.drain();
    adapted.told.wait_for(|told| *told).await.unwrap();
    assert!(begin.elapsed() < GOAWAY_LIMIT, "{:?}", begin.elapsed());
    drop(download);
}

#[tokio::test(start_paused = true)]
async fn behind_odd_requests_the_last_response_says_close() {
    for odd in [
        "GET / HTTP/1.1\r\nhost:    test   \r\n\r\n",
        "GET / HTTP/1.1\r\nhost:test\r\na:b\r\nc:d\r\n\r\n",
        "GET / HTTP/1.1\n\n",
        "POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\n\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: test\r\n\r\n\r\n",
    ] {
        let adapted = Adapted::new();
        let mut client = adapted.connect(Does::Http1);
        for _ in 0..40 {
            client.send(odd).await;
            assert!(!client.response().await.contains("close"), "{odd:?}");
        }
        adapted.lame_duck();
        client.send(GET).await;
        let (rest, took) = client.rest().await;
        assert!(is_last(&rest), "{odd:?}: {rest}");
        assert_eq!(took, Duration::ZERO, "{odd:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_behind_any_spelling_is_answered() {
    for first in [
        "GET /slow HTTP/1.1\r\nhost:test\r\na:b\r\nc:d\r\n\r\n",
        "GET /slow HTTP/1.1\n\n",
        "POST /slow HTTP/1.1\r\ncontent-length: 4\r\n\r\n\r\n\r\n",
    ] {
        let adapted = Adapted::new();
        let mut client = adapted.connect(Does::Http1);
        client.send(format!("{first}{GET}")).await;
        sleep(Duration::from_secs(1)).await;
        adapted.lame_duck();
        let (rest, _) = client.rest().await;
        assert_eq!(rest.matches("200 OK").count(), 2, "{first:?}: {rest}");
        assert_eq!(rest.matches("connection: close").count(), 1, "{rest}");
    }
}

/// One HTTP/2 request, answered; it comes in a task of its own.
async fn ask_http2(adapted: &Adapted) {
    let client = adapted.connect(Does::Http2);
    let (mut send, connection) = h2::client::handshake(client.0).await.unwrap();
    let driver = tokio::spawn(async move { drop(connection.await) });
    let request = Request::get("http://test/").body(()).unwrap();
    let (response, _) = send.send_request(request, true).unwrap();
    let mut body = response.await.unwrap().into_body();
    while body.data().await.is_some() {}
    drop((body, send));
    driver.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn http2_beside_it_changes_nothing_for_http1() {
    let adapted = Adapted::new();
    ask_http2(&adapted).await;
    let mut idle = adapted.idle_for(Duration::ZERO).await;
    sleep(GRACE / 4).await;
    adapted.drain();
    assert_eq!(idle.rest().await, (String::new(), GRACE * 3 / 4));

    let adapted = Adapted::new();
    ask_http2(&adapted).await;
    let mut client = adapted.connect(Does::Http1);
    client.send(format!("{SLOW}{GET}")).await;
    sleep(Duration::from_secs(1)).await;
    adapted.lame_duck();
    let (rest, _) = client.rest().await;
    assert_eq!(rest.matches("200 OK").count(), 2, "{rest}");
    assert_eq!(rest.matches("connection: close").count(), 1, "{rest}");
}

/// Has no room for the second request at once.
#[derive(Clone)]
struct Tardy {
    asked: Arc<AtomicUsize>,
    /// When there is room for the request of this clone.
    room: Option<Arc<Mutex<Pin<Box<Sleep>>>>>,
}

impl tower_service::Service<Request<Incoming>> for Tardy {
    type Response = <Answer as tower_service::Service<Request<Incoming>>>::Response;
    type Error = Infallible;
    type Future = <Answer as tower_service::Service<Request<Incoming>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let asked = &self.asked;
        let room = self.room.get_or_insert_with(|| {
            let is_second = asked.fetch_add(1, Ordering::Relaxed) == 1;
            let wait = Duration::from_secs(if is_second { 2 } else { 0 });
            Arc::new(Mutex::new(Box::pin(sleep(wait))))
        });
        room.lock().unwrap().as_mut().poll(cx).map(Ok)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        Answer.call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_without_room_for_a_request_loses_none() {
    let adapted = Adapted::new();
    let tardy = Tardy {
        asked: Arc::default(),
        room: None,
    };
    let (io, client) = adapted.pipe();
    let service = Layer::new(Arc::clone(&adapted.adapter)).layer(tardy);
    let service = TowerToHyperService::new(service);
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(io), service));
    let mut client = Client(client);
    client.send(format!("{GET}{GET}")).await;
    client.response().await;
    sleep(Duration::from_millis(500)).await;
    client.send(GET).await;
    sleep(Duration::from_millis(500)).await;
    adapted.lame_duck();
    let (rest, _) = client.rest().await;
    assert_eq!(rest.matches("200 OK").count(), 2, "{rest}");
    assert_eq!(rest.matches("connection: close").count(), 1, "{rest}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_what_nobody_can_follow() {
    let adapted = Adapted::new();
    let mut client = adapted.connect(Does::CallElsewhere);
    assert!(adapted.follows_requests());
    client.send(GET).await;
    client.response().await;
    client.send(GET).await;
    client.response().await;
    assert!(!adapted.follows_requests());
    let adapted = Adapted::new();
    let mut encrypted = adapted.connect(Does::Read);
    encrypted.send([22, 3, 1]).await;
    sleep(Duration::from_millis(1)).await;
    assert!(!adapted.follows_requests());
}

#[tokio::test(start_paused = true)]
async fn a_stray_request_is_counted_and_nobody_is_cut_meanwhile() {
    let adapted = Adapted::new();
    let mut client = adapted.connect(Does::CallElsewhere);
    client.send(SLOW).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(adapted.requests(), ["GET /slow from a client"]);
    adapted.drain();
    let (rest, took) = client.rest().await;
    assert!(is_last(&rest), "{rest}");
    assert_eq!(took, Duration::from_secs(4));
    assert_eq!(adapted.requests(), [""; 0]);
}

#[tokio::test]
async fn a_large_body_comes_in_parts_and_is_the_same() {
    let adapted = Adapted::new();
    for (version, parts) in [(Version::HTTP_11, 1), (Version::HTTP_2, 13)] {
        let request = Request::builder().version(version).uri("/large");
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let mut service = Layer::new(Arc::clone(&adapted.adapter)).layer(Answer);
        let mut body = service.call(request).await.unwrap().into_body();
        let mut read = Vec::new();
        let mut count = 0;
        while !body.is_end_stream() {
            let left = body.size_hint().exact().unwrap();
            assert_eq!(left, (large_body().len() - read.len()) as u64);
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            read.extend_from_slice(&piece);
            count += 1;
        }
        assert!(body.frame().await.is_none());
        assert_eq!((read == large_body(), count), (true, parts), "{version:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn http2_without_an_answer_to_the_ping_is_bounded() {
    let mut adapted = Adapted::new();
    let mut client = adapted.connect(Does::Http2);
    client.send(HTTP2).await;
    sleep(GRACE * 2).await;
    let begin = Instant::now();
    adapted.drain();
    adapted.told.wait_for(|told| *told).await.unwrap();
    assert_eq!(
        begin.elapsed(),
        Duration::ZERO,
        "HTTP/2 can be told at once"
    );
    assert_eq!(client.rest().await.1, GOAWAY_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn tls_is_left_to_the_framework() {
    let mut adapted = Adapted::new();
    let mut client = adapted.connect(Does::Read);
    client.send([22]).await;
    sleep(GRACE / 4).await;
    let begin = Instant::now();
    adapted.drain();
    adapted.told.wait_for(|told| *told).await.unwrap();
    assert_eq!(begin.elapsed(), GRACE * 3 / 4);
    assert_eq!(client.rest().await.1, GOAWAY_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn what_could_be_written_is_answered() {
    for race in Race::all() {
        let adapted = Arc::new(Adapted::new());
        let mut client = match race.is_used {
            true => adapted.idle_for(Duration::ZERO).await,
            false => adapted.connect(Does::Http1),
        };
        let draining = Arc::clone(&adapted);
        race.drain(move || draining.drain());
        if race.request(&mut client.0).await.is_ok() {
            let response = client.response().await;
            assert!(response.contains("200 OK"), "{race:?}: {response:?}");
        }
    }
}

/// The tasks of the streams may be dropped before the framework has said that the connection is at fault, and after it.
#[tokio::test(start_paused = true)]
async fn a_stray_stream_is_left_whenever_its_connection_says_so() {
    for (is_at_fault, is_said_first) in [(true, true), (true, false), (false, false)] {
        let adapted = Adapted::new();
        let (mut io, mut client) = adapted.pipe();
        let mut service = Layer::new(Arc::clone(&adapted.adapter)).layer(Answer);
        let request = Request::builder().version(Version::HTTP_2).uri("/slow");
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let responding = tokio::spawn(service.call(request));
        client.write_all(HTTP2).await.unwrap();
        client.write_all(HEADERS).await.unwrap();
        assert_ne!(io.read(&mut [0; 1000]).await.unwrap(), 0);
        adapted.lifecycle.step(Event::Trigger);
        let mut say = async || {
            if is_at_fault {
                io.write_all(PROTOCOL_ERROR).await.unwrap();
            }
        };
        let end_stream = async || {
            responding.abort();
            assert!(responding.await.unwrap_err().is_cancelled());
        };
        if is_said_first {
            say().await;
            end_stream().await;
        } else {
            end_stream().await;
            say().await;
        }
        let lifecycle = Arc::clone(&adapted.lifecycle);
        drop((io, adapted));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(lifecycle.serving.len(), 0);
        let left = lifecycle.tally.gone.count();
        let finished = lifecycle.tally.finished();
        let expected = if is_at_fault { (1, 0) } else { (0, 1) };
        let what = format!("at fault: {is_at_fault}, said first: {is_said_first}");
        assert_eq!((left, finished), expected, "{what}");
    }
}
