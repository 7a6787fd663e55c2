//! The drain of one connection, over a pipe and with a paused clock: no time passes but what the code
//! under test waits for, so that every bound can be asserted to the millisecond.

mod bodies;
mod moving;
mod parking;
mod pipelines;
pub(crate) mod races;
mod retiring;

use std::convert::Infallible;
use std::io::{IoSlice, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy, duplex, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use self::races::Race;
use super::beginning::Beginning;
use super::connection::Connection;
use super::conversation;
use super::first_bytes::HTTP2_PREFACE;
use super::followed::Followed;
use super::options::Options;
use super::security::Security;
use super::shared::Shared;
use super::transport::Transport;
use crate::config::Config;
use crate::lifecycle::Lifecycle;
use crate::lifecycle::server::Activity;
use crate::lifecycle::surroundings::Surroundings;
use crate::model::stage::Stage;
use crate::net::stream::{Peer, Stream};

const GRACE: Duration = Duration::from_millis(200);
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const HEAD_LIMIT: Duration = Duration::from_secs(1);
/// How long a slow handler takes.
const SLOW: Duration = Duration::from_secs(5);
const GET: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";

fn options() -> Options {
    Options {
        header_timeout: HEADER_TIMEOUT,
        ..Options::default()
    }
}

/// A server of one connection, and the client's end of it.
struct Pair {
    client: DuplexStream,
    shared: Arc<Shared>,
    /// The paths that the service was asked for.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Pair {
    fn new() -> Self {
        Self::with_room_for(256 << 10)
    }

    /// A pair between which so many bytes may be under way.
    fn with_room_for(bytes: usize) -> Self {
        Self::of(Self::server(options()), bytes)
    }

    fn with(options: Options) -> Self {
        Self::of(Self::server(options), 256 << 10)
    }

    fn server(options: Options) -> Arc<Shared> {
        let (lifecycle, _) = Lifecycle::new(
            Config::new().keep_alive_grace(GRACE).of_lifecycle(),
            Surroundings::default(),
        );
        Arc::new(Shared::new(lifecycle, options))
    }

    /// A pair whose connection is one more of the same server.
    fn beside(other: &Self) -> Self {
        Self::of(Arc::clone(&other.shared), 256 << 10)
    }

    fn of(shared: Arc<Shared>, bytes: usize) -> Self {
        let (client, server) = duplex(bytes);
        let connection = shared.connect(Peer::Unix);
        let stream = Stream::Duplex(server);
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let note = Arc::clone(&asked);
        let service = service_fn(move |request: Request<Incoming>| {
            note.lock().unwrap().push(request.uri().path().to_owned());
            answer(request)
        });
        let nothing = Beginning::default();
        conversation::spawn(
            stream,
            nothing,
            Security::ClearText,
            connection,
            service,
            (),
        );
        Self {
            client,
            shared,
            asked,
        }
    }

    /// A pair whose connection has served one request and was idle for `idle` since.
    async fn idle_for(idle: Duration) -> Self {
        let mut pair = Self::new();
        // Or else the response would be as old as the connection.
        sleep(Duration::from_millis(1)).await;
        pair.send(GET).await;
        assert!(!pair.response().await.contains("close"));
        sleep(idle).await;
        pair
    }

    async fn send(&mut self, bytes: &str) {
        self.client
            .write_all(bytes.as_bytes())
            .await
            .expect("the server reads");
    }

    fn drain(&self) {
        self.shared.reach(Stage::Draining);
    }

    /// Reads one response; empty where the stream ends instead.
    async fn response(&mut self) -> String {
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\nok") && self.client.read_buf(&mut read).await.unwrap() > 0 {
        }
        String::from_utf8(read).unwrap()
    }

    /// Reads to the end; returns what came and how long that took.
    async fn rest(&mut self) -> (String, Duration) {
        let begin = Instant::now();
        let mut read = String::new();
        self.client.read_to_string(&mut read).await.unwrap();
        (read, begin.elapsed())
    }
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // The first as it should be, the second with a response that closes.
    if let path @ ("/switch" | "/take") = request.uri().path() {
        let response = match path {
            "/switch" => Response::builder().status(StatusCode::SWITCHING_PROTOCOLS),
            _ => Response::builder().header("connection", "close"),
        };
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgrade.await.unwrap());
            drop(copy(&mut io, &mut sink()).await);
        });
        return Ok(response.body(Full::default()).unwrap());
    }
    let (head, mut body) = request.into_parts();
    match head.uri.path() {
        "/panic" => panic!("as asked for"),
        "/slow" => sleep(SLOW).await,
        "/read" => drop(body.collect().await),
        "/read-slowly" => {
            sleep(SLOW).await;
            drop(body.collect().await);
        }
        "/begin" => {
            body.frame().await;
        }
        "/read-on" => drop(tokio::spawn(async move {
            sleep(SLOW).await;
            body.collect().await
        })),
        "/hold" => drop(tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(body);
        })),
        _ => {}
    }
    Ok(Response::new(Full::new("ok".into())))
}

fn count(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

#[tokio::test(start_paused = true)]
async fn idle_beyond_the_grace_closes_at_once() {
    let mut pair = Pair::idle_for(GRACE).await;
    pair.drain();
    assert_eq!(pair.rest().await, (String::new(), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn idle_within_the_grace_waits_for_all_of_it() {
    let mut pair = Pair::idle_for(GRACE / 4).await;
    pair.drain();
    assert_eq!(pair.rest().await, (String::new(), GRACE));
}

#[tokio::test(start_paused = true)]
async fn where_requests_came_just_now_whoever_is_idle_has_the_grace() {
    for request in [GET, "GET /slow HTTP/1.1\r\nhost: test\r\n\r\n"] {
        let mut idle = Pair::idle_for(GRACE * 100).await;
        let mut unused = Pair::beside(&idle);
        let mut busy = Pair::beside(&idle);
        sleep(GRACE / 4).await;
        busy.send(request).await;
        sleep(GRACE / 4).await;
        idle.drain();
        sleep(GRACE / 2).await;
        idle.send(GET).await;
        let (rest, took) = idle.rest().await;
        assert!(rest.contains("connection: close"), "{rest}");
        assert_eq!(took, Duration::ZERO);
        assert_eq!(unused.rest().await, (String::new(), GRACE / 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_beside_it_does_not_make_an_idle_one_wait() {
    let mut idle = Pair::idle_for(GRACE).await;
    let _new = Pair::beside(&idle);
    idle.drain();
    assert_eq!(idle.rest().await, (String::new(), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn idle_within_the_grace_answers_one_more_request() {
    let mut pair = Pair::idle_for(GRACE / 4).await;
    pair.drain();
    sleep(GRACE / 2).await;
    pair.send(GET).await;
    let (rest, took) = pair.rest().await;
    assert!(
        rest.contains("200 OK") && rest.contains("connection: close"),
        "{rest}"
    );
    assert_eq!(took, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_counts_from_its_accept() {
    let mut pair = Pair::new();
    sleep(GRACE / 4).await;
    pair.drain();
    assert_eq!(pair.rest().await, (String::new(), GRACE * 3 / 4));
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed_after_the_header_timeout() {
    assert_eq!(Pair::new().rest().await, (String::new(), HEADER_TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn a_request_in_flight_gets_its_response_with_close() {
    let mut pair = Pair::new();
    pair.send("GET /slow HTTP/1.1\r\nhost: test\r\n\r\n").await;
    sleep(Duration::from_secs(1)).await;
    pair.drain();
    let (rest, took) = pair.rest().await;
    assert!(
        rest.contains("200 OK") && rest.contains("connection: close"),
        "{rest}"
    );
    assert_eq!(took, Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn half_a_head_may_be_completed() {
    // At every place where a head can be cut, on a new connection and on a used one.
    for cut in 1..GET.len() {
        for is_used in [false, true] {
            let mut pair = if is_used {
                Pair::idle_for(GRACE * 2).await
            } else {
                Pair::new()
            };
            pair.send(&GET[..cut]).await;
            sleep(Duration::from_millis(1)).await;
            pair.drain();
            sleep(HEAD_LIMIT / 2).await;
            pair.send(&GET[cut..]).await;
            let (rest, _) = pair.rest().await;
            assert!(
                rest.contains("200 OK"),
                "cut at {cut}, used: {is_used}: {rest}"
            );
            assert!(rest.contains("connection: close"), "{rest}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_head_is_known_as_such() {
    let half = &GET[..GET.len() - 1];
    for (first, activity) in [
        ("", Activity::Idle),
        ("\r\n", Activity::Idle),
        ("P", Activity::HalfRequest),
        ("G", Activity::HalfRequest),
        (half, Activity::HalfRequest),
        (GET, Activity::Idle),
        (&format!("{GET}{half}"), Activity::HalfRequest),
    ] {
        let mut pair = Pair::new();
        pair.send(first).await;
        sleep(Duration::from_millis(1)).await;
        let connection = pair.shared.connections.members().remove(0);
        assert_eq!(connection.activity(), activity, "{first:?}");
        if first == half {
            pair.send(&GET[half.len()..]).await;
            sleep(Duration::from_millis(1)).await;
            assert_eq!(connection.activity(), Activity::Idle);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_head_that_ends_never_is_bounded() {
    for begin in ["G", "P", "PRI * HTTP/2", "GET / HTTP/1.1\r\nhost:"] {
        let mut pair = Pair::new();
        pair.send(begin).await;
        sleep(Duration::from_millis(1)).await;
        pair.drain();
        let (rest, took) = pair.rest().await;
        assert!(
            rest.is_empty() || rest.starts_with("HTTP/1.1 408"),
            "{begin:?}: {rest}"
        );
        assert_eq!(took, HEAD_LIMIT, "{begin:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn empty_lines_are_not_the_begin_of_a_head() {
    for lines in ["\r\n", "\n\r\n\r", "\r", "\r\n\r\n", &"\r\n".repeat(100)] {
        for is_used in [false, true] {
            for is_answered in [false, true] {
                let mut pair = match is_used {
                    true => Pair::idle_for(Duration::ZERO).await,
                    false => Pair::new(),
                };
                pair.send(lines).await;
                sleep(GRACE / 4).await;
                pair.drain();
                if is_answered {
                    sleep(GRACE / 4).await;
                    pair.send(&format!("\n{GET}")).await;
                    let (rest, _) = pair.rest().await;
                    assert_eq!(count(&rest, "200 OK"), 1, "{lines:?} {is_used}: {rest}");
                } else {
                    let grace = if is_used { GRACE } else { GRACE * 3 / 4 };
                    assert_eq!(pair.rest().await, (String::new(), grace), "{lines:?}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_nothing_but_empty_lines_counts_as_silent() {
    for lines in ["\r\n", "\n\n", "\n\r"] {
        let mut pair = Pair::new();
        for _ in 0..3 {
            sleep(HEADER_TIMEOUT / 4).await;
            pair.send(lines).await;
        }
        let (rest, took) = pair.rest().await;
        assert_eq!((&*rest, took), ("", HEADER_TIMEOUT / 4), "{lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_preface_behind_an_empty_line_is_not_http2() {
    let mut pair = Pair::new();
    pair.send("\r\n").await;
    pair.client.write_all(HTTP2_PREFACE).await.unwrap();
    let mut rest = Vec::new();
    pair.client.read_to_end(&mut rest).await.unwrap();
    // hyper closes without a word, and no frame of HTTP/2 comes.
    assert_eq!(rest, b"");
}

#[tokio::test(start_paused = true)]
async fn each_half_head_has_its_own_time() {
    let mut pair = Pair::new();
    let (begin, end) = GET.split_at(10);
    pair.send(begin).await;
    for _ in 0..3 {
        sleep(HEADER_TIMEOUT * 2 / 3).await;
        pair.send(end).await;
        assert!(pair.response().await.contains("200 OK"));
        pair.send(begin).await;
    }
    let (rest, took) = pair.rest().await;
    assert!(rest.starts_with("HTTP/1.1 408"), "{rest}");
    assert_eq!(took, HEADER_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn each_half_head_has_its_own_time_after_any_time() {
    for idle in [Duration::ZERO, HEADER_TIMEOUT * 2] {
        let mut pair = Pair::idle_for(Duration::ZERO).await;
        let (begin, end) = GET.split_at(10);
        for _ in 0..3 {
            pair.send(begin).await;
            sleep(Duration::from_millis(5)).await;
            pair.send(end).await;
            assert!(pair.response().await.contains("200 OK"), "{idle:?}");
            sleep(idle).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn http1_does_not_turn_into_http2() {
    let mut pair = Pair::idle_for(Duration::ZERO).await;
    pair.drain();
    sleep(GRACE / 2).await;
    pair.client.write_all(HTTP2_PREFACE).await.unwrap();
    let mut rest = Vec::new();
    pair.client.read_to_end(&mut rest).await.unwrap();
    // As without a drain: nothing, and no frame of HTTP/2.
    assert_eq!(rest, b"");
}

#[tokio::test(start_paused = true)]
async fn half_a_head_is_bounded_without_a_drain_too() {
    let mut pair = Pair::idle_for(HEADER_TIMEOUT * 2).await;
    pair.send("GET / HTTP/1.1\r\nhost:").await;
    let (rest, took) = pair.rest().await;
    assert!(rest.starts_with("HTTP/1.1 408"), "{rest}");
    assert_eq!(took, HEADER_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn half_a_second_head_read_with_the_first_is_kept() {
    let mut pair = Pair::new();
    pair.send(&format!("{GET}GET / HT")).await;
    pair.response().await;
    sleep(GRACE * 2).await;
    pair.drain();
    sleep(HEAD_LIMIT / 2).await;
    pair.send("TP/1.1\r\nhost: test\r\n\r\n").await;
    let (rest, _) = pair.rest().await;
    assert!(
        rest.contains("200 OK") && rest.contains("connection: close"),
        "{rest}"
    );
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_answered_and_only_the_last_says_close() {
    let mut pair = Pair::new();
    let first = "GET /slow HTTP/1.1\r\nhost: test\r\n\r\n";
    pair.send(&format!("{first}{GET}{GET}")).await;
    sleep(Duration::from_secs(1)).await;
    pair.drain();
    let (rest, _) = pair.rest().await;
    assert_eq!(count(&rest, "200 OK"), 3, "{rest}");
    assert_eq!(count(&rest, "connection: close"), 1, "{rest}");
    assert!(
        rest.rfind("connection: close") > rest.rfind("200 OK"),
        "{rest}"
    );
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_with_bodies_are_answered() {
    let mut pair = Pair::new();
    let post = |path| {
        format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: 6\r\n\r\n\n\r\n\n\r\n")
    };
    pair.send(&format!("{}{}{GET}", post("/slow"), post("/")))
        .await;
    sleep(Duration::from_secs(1)).await;
    pair.drain();
    let (rest, _) = pair.rest().await;
    assert_eq!(count(&rest, "200 OK"), 3, "{rest}");
    assert_eq!(count(&rest, "connection: close"), 1, "{rest}");
}

#[tokio::test(start_paused = true)]
async fn a_pipelined_request_that_comes_in_pieces_is_answered() {
    for cut in 1..GET.len() {
        let mut pair = Pair::new();
        let (begin, end) = GET.split_at(cut);
        pair.send("GET /slow HTTP/1.1\r\nhost: test\r\n\r\n").await;
        sleep(Duration::from_secs(1)).await;
        pair.send(begin).await;
        sleep(Duration::from_secs(1)).await;
        pair.drain();
        pair.send(end).await;
        let (rest, _) = pair.rest().await;
        assert_eq!(count(&rest, "200 OK"), 2, "cut at {cut}: {rest}");
        assert_eq!(count(&rest, "connection: close"), 1, "{rest}");
    }
}

#[tokio::test(start_paused = true)]
async fn odd_spaces_do_not_add_up_to_a_request() {
    let mut pair = Pair::new();
    for _ in 0..100 {
        pair.send("GET / HTTP/1.1\r\nhost:    test   \r\n\r\n")
            .await;
        assert!(pair.response().await.contains("200 OK"));
    }
    pair.shared.reach(Stage::LameDuck);
    pair.send(GET).await;
    assert!(pair.rest().await.0.contains("connection: close"));
}

#[tokio::test(start_paused = true)]
async fn a_body_is_never_taken_for_a_request() {
    let mut pair = Pair::new();
    let head = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\n";
    pair.send(&format!("{head}{GET}")).await;
    sleep(Duration::from_millis(1)).await;
    pair.drain();
    let (rest, _) = pair.rest().await;
    assert_eq!(count(&rest, "HTTP/1.1"), 1, "{rest}");
}

#[tokio::test(start_paused = true)]
async fn a_lame_duck_announces_the_close_and_leaves_idle_connections() {
    let mut pair = Pair::idle_for(GRACE * 2).await;
    pair.shared.reach(Stage::LameDuck);
    sleep(GRACE * 2).await;
    pair.send(GET).await;
    let (rest, _) = pair.rest().await;
    assert!(
        rest.contains("200 OK") && rest.contains("connection: close"),
        "{rest}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_handler_is_answered_and_ends_only_the_request() {
    let mut pair = Pair::new();
    pair.send("GET /panic HTTP/1.1\r\nhost: test\r\n\r\n").await;
    let mut head = [0; 12];
    pair.client.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 500");
    pair.send(GET).await;
    assert!(pair.response().await.contains("200 OK"));
}

#[tokio::test(start_paused = true)]
async fn open_streams_are_those_that_the_client_waits_for() {
    let pair = Pair::new();
    let [connection] = &pair.shared.connections.members()[..] else {
        panic!("there is one connection")
    };
    let connection = Arc::clone(connection);
    let (mut send, driver) = h2::client::handshake(pair.client).await.unwrap();
    let driver = tokio::spawn(driver);
    let mut slow = Vec::new();
    for number in 0..50 {
        let path = ["/", "/slow"][number % 2];
        let request = Request::get(format!("http://test{path}")).body(()).unwrap();
        let (response, body) = send.send_request(request, number % 3 > 0).unwrap();
        match path {
            "/slow" => slow.push((response, body)),
            _ => drop(tokio::spawn(async { drop((response.await, body)) })),
        }
    }
    for expected in [25, 24, 23] {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(connection.open_streams(), Some(expected));
        // The client gives up on it.
        slow.pop();
    }
    sleep(SLOW).await;
    assert_eq!(connection.open_streams(), Some(0));
    drop((send, slow));
    driver.await.unwrap().unwrap();
}

/// A connection of HTTP/2 behind the preface.
fn followed(stream: Stream) -> (Followed, Arc<Connection>) {
    let (lifecycle, _) = Lifecycle::new(Config::new().of_lifecycle(), Surroundings::default());
    let shared = Arc::new(Shared::new(lifecycle, options()));
    let connection = Arc::new(Connection::new(Arc::clone(&shared.policy), Peer::Unix));
    connection.becomes_http2();
    let mut io = Followed::new(Transport::new(
        stream,
        Bytes::new(),
        Arc::clone(&connection),
    ));
    io.follow(0);
    (io, connection)
}

#[tokio::test]
async fn a_stream_ends_with_a_frame_that_is_written_in_slices() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (_client, server) = (client.await.unwrap(), listener.accept().await.unwrap().0);
    let (mut io, connection) = followed(Stream::Tcp(server));
    io.note_read(b"\0\0\x01\x01\x05\0\0\0\x01\x82");
    assert_eq!(connection.open_streams(), Some(1));
    let data = b"\0\0\x04\0\x01\0\0\0\x01data";
    let (head, rest) = data.split_at(9);
    for (slices, open) in [([head, &rest[..1]], 1), ([&rest[1..3], &rest[3..]], 0)] {
        let slices = slices.map(IoSlice::new);
        assert_ne!(io.write_vectored(&slices).await.unwrap(), 0);
        assert_eq!(connection.open_streams(), Some(open));
    }
}

/// What comes from a client that still reads would make a reset of a close.
#[tokio::test]
async fn whether_a_client_reads_on_is_known_by_what_has_arrived_and_by_its_answer() {
    const ASKED: &[u8] =
        b"\0\0\x08\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\0\0\0\x08\x06\0\0\0\0\0leaving?";
    const ANSWER: &[u8] = b"\0\0\x08\x06\x01\0\0\0\0leaving?";
    const RESPONSE: &[u8] = b"\0\0\x04\0\x01\0\0\0\x01data";
    let leaves: [fn(&Connection); 2] = [
        |connection| {
            connection.policy.begin_drain(Instant::now(), || false);
            connection.policy.stage.set(Stage::Draining);
        },
        |connection| _ = connection.retire(),
    ];
    let ends = [(&b""[..], false), (RESPONSE, true)];
    for (leave, (behind, reads_on)) in leaves.map(|leave| ends.map(|end| (leave, end))).concat() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (mut client, server) = (client.await.unwrap(), listener.accept().await.unwrap().0);
        let (mut io, connection) = followed(Stream::Tcp(server));
        io.write_all(RESPONSE).await.unwrap();
        assert!(connection.may_be_sending());
        client.read_exact(&mut [0; RESPONSE.len()]).await.unwrap();
        leave(&connection);
        let mut bytes = [0; 100];
        assert!(timeout(SLOW / 100, io.read(&mut bytes)).await.is_err());
        assert!(!connection.may_be_sending(), "it has arrived");

        io.write_all(RESPONSE).await.unwrap();
        io.write_all(ASKED).await.unwrap();
        io.write_all(behind).await.unwrap();
        assert!(timeout(SLOW / 100, io.read(&mut bytes)).await.is_err());
        assert!(connection.may_be_sending(), "it may be reading that");
        client.write_all(ANSWER).await.unwrap();
        assert_eq!(io.read(&mut bytes).await.unwrap(), ANSWER.len());
        assert_eq!(connection.may_be_sending(), reads_on);
    }
}

/// hyper's buffer has room for one byte at least.
#[tokio::test]
async fn an_answer_is_read_before_anything_else_whatever_room_there_is() {
    let goaway = b"\0\0\x08\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\0\0\0\x08\x06\0\0\0\0\0leaving?";
    for room in 1..30 {
        let (mut client, server) = duplex(1000);
        let (mut io, connection) = followed(Stream::Duplex(server));
        io.write_all(goaway).await.unwrap();
        client.write_all(b"next").await.unwrap();
        connection.presume_answer();
        let mut read = Vec::new();
        while !read.ends_with(b"next") {
            let mut buffer = vec![0; room];
            let count = io.read(&mut buffer).await.unwrap();
            read.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(read, b"\0\0\x08\x06\x01\0\0\0\0leaving?next", "{room}");
    }
}

#[tokio::test]
async fn a_client_that_has_ended_is_told_nothing_and_one_that_has_not_is() {
    for (ends, room, told) in [(true, 1, 0), (false, 0, 17)] {
        let (mut client, server) = duplex(1000);
        let (mut io, connection) = followed(Stream::Duplex(server));
        match ends {
            true => client.shutdown().await.unwrap(),
            // Into no room, no byte is read, and no end either.
            false => client.write_all(b"x").await.unwrap(),
        }
        assert_eq!(io.read(&mut vec![0; room]).await.unwrap(), 0);
        // The connection has the socket then.
        drop((io, connection));
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        assert_eq!(read.len(), told, "{read:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_tells_an_http2_client_which_streams_were_looked_at() {
    let mut pair = Pair::new();
    pair.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await;
    // GET, http, and a literal path.
    pair.client
        .write_all(b"\0\0\x09\x01\x05\0\0\0\x03\x82\x86\x04\x05/slow")
        .await
        .unwrap();
    sleep(Duration::from_secs(1)).await;
    pair.shared.reach(Stage::Cut);
    let mut read = Vec::new();
    pair.client.read_to_end(&mut read).await.unwrap();
    let goaway = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x03\0\0\0\0";
    assert!(read.ends_with(goaway), "{read:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cut_ends_everything_at_once() {
    let mut pair = Pair::new();
    pair.send("GET /slow HTTP/1.1\r\nhost: test\r\n\r\n").await;
    sleep(Duration::from_secs(1)).await;
    pair.shared.reach(Stage::Cut);
    assert_eq!(pair.rest().await, (String::new(), Duration::ZERO));
    pair.shared.connections.empty().await;
}

#[tokio::test(start_paused = true)]
async fn what_could_be_written_is_answered() {
    for race in Race::all() {
        let mut pair = match race.is_used {
            true => Pair::idle_for(Duration::ZERO).await,
            false => Pair::new(),
        };
        let shared = Arc::clone(&pair.shared);
        race.drain(move || shared.reach(Stage::Draining));
        if race.request(&mut pair.client).await.is_ok() {
            let response = pair.response().await;
            assert!(response.contains("200 OK"), "{race:?}: {response:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_unknown_does_not_hold_the_drain() {
    let pair = Pair::new();
    let connection = Arc::clone(&pair.shared.connections.members()[0]);
    // Its task begins before it.
    sleep(Duration::from_millis(1)).await;
    connection.becomes_http1();
    // A request that nobody has fed.
    let _guard = connection.begin(&Request::new(Empty::<Bytes>::new()));
    for (stage, after, is_last) in [
        (Stage::LameDuck, HEAD_LIMIT * 2, false),
        (Stage::Draining, HEAD_LIMIT / 2, false),
        (Stage::Draining, HEAD_LIMIT / 2, true),
    ] {
        pair.shared.reach(stage);
        sleep(after).await;
        assert_eq!(connection.is_last_response(), is_last, "{stage:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_what_an_upgraded_connection_carries() {
    for path in ["/switch", "/take"] {
        let mut pair = Pair::new();
        let upgrade = "connection: upgrade\r\nupgrade: anything";
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n{upgrade}\r\n\r\n");
        pair.send(&request).await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(pair.client.read_u8().await.unwrap());
        }
        pair.send(&GET.repeat(1000)).await;
        sleep(Duration::from_millis(1)).await;
        let connections = pair.shared.connections.members();
        assert_eq!(connections.len(), 1);
        assert!(!connections[0].follows_requests(), "{path}");
        assert_eq!(*pair.asked.lock().unwrap(), [path]);
    }
}

/// A request that the kernel has and the runtime has not heard of yet: on one thread, the connection's task
/// runs before anybody looks for new events.
#[tokio::test]
async fn what_the_runtime_has_not_heard_of_is_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let config = Config::new().keep_alive_grace(Duration::ZERO);
    let (lifecycle, _) = Lifecycle::new(config.of_lifecycle(), Surroundings::default());
    let shared = Arc::new(Shared::new(lifecycle, options()));
    let connection = shared.connect(Peer::Unix);
    let (stream, service) = (Stream::Tcp(accepted), service_fn(answer));
    let (nothing, security) = (Beginning::default(), Security::ClearText);
    conversation::spawn(stream, nothing, security, connection, service, ());
    // The task has found nothing to read.
    sleep(Duration::from_millis(1)).await;

    client.write_all(GET.as_bytes()).unwrap();
    shared.reach(Stage::Draining);
    // The other end answers only while this task waits.
    let read = tokio::task::spawn_blocking(move || {
        let mut read = String::new();
        client.read_to_string(&mut read).map(|_| read)
    });
    let read = read.await.unwrap().unwrap();
    assert!(read.ends_with("\r\n\r\nok"), "{read:?}");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_silent_connection_has_not_begun_a_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await;
    let (accepted, _) = listener.accept().await.unwrap();
    let config = Config::new().keep_alive_grace(Duration::ZERO);
    let (lifecycle, _) = Lifecycle::new(config.of_lifecycle(), Surroundings::default());
    let shared = Arc::new(Shared::new(lifecycle, options()));
    let connection = Connection::new(Arc::clone(&shared.policy), Peer::Unix);
    shared.reach(Stage::Draining);
    let mut stream = Stream::Tcp(accepted);
    let mut patience = super::first_bytes::HeadPatience::default();
    assert!(!patience.first_byte(&mut stream, &connection).await);
}
