//! When a connection of HTTP/2 that is idle, old or much used is ended, and that nothing is lost by it.

use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use hyper::Method;
use tokio::task::JoinHandle;

use super::*;
use crate::serve::limits::GOAWAY_LIMIT;
use crate::serve::options::Life;

/// How long a connection may be idle; shorter than a slow handler takes.
const LIMIT: Duration = Duration::from_secs(2);
const AGE: Duration = Duration::from_secs(20);
/// More than the granularity of a timer.
const MOMENT: Duration = Duration::from_millis(2);

const LIMITED: Life = Life {
    max_requests: None,
    max_age: None,
};

fn idle_for(limit: Duration) -> Options {
    Options {
        keep_alive_timeout: Some(limit),
        ..options()
    }
}

fn lives(life: Life) -> Options {
    Options {
        keep_alive_timeout: None,
        life: Some(life),
        ..options()
    }
}

/// A client that does what it should.
struct Client {
    send: SendRequest<Bytes>,
    connection: Arc<Connection>,
    /// Returns when the server has closed.
    closed: JoinHandle<Instant>,
}

impl Client {
    async fn new(options: Options) -> Self {
        let pair = Pair::with(options);
        let connection = Arc::clone(&pair.shared.connections.members()[0]);
        let (send, driver) = h2::client::handshake(pair.client).await.unwrap();
        let closed = tokio::spawn(async {
            driver.await.unwrap();
            Instant::now()
        });
        Self {
            send,
            connection,
            closed,
        }
    }

    fn begin(
        &mut self,
        request: Request<()>,
        is_whole: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        self.send.send_request(request, is_whole).unwrap()
    }

    fn get(&mut self, path: &str) -> ResponseFuture {
        self.begin(request(path), true).0
    }

    async fn ask(&mut self, path: &str) {
        finish(self.get(path)).await;
    }

    fn is_told(&mut self) -> bool {
        self.send.send_request(request("/"), true).is_err()
    }

    /// Waits until the server has closed; returns when that was.
    async fn closed(self) -> Instant {
        // Nothing that the client does ends the connection.
        let _send = self.send;
        in_time(self.closed).await.unwrap()
    }
}

/// Fails where what is waited for does not come; no time passes while it may.
async fn in_time<T>(wait: impl Future<Output = T>) -> T {
    timeout(AGE * 100, wait).await.expect("it comes at last")
}

fn request(path: &str) -> Request<()> {
    Request::get(format!("http://test{path}")).body(()).unwrap()
}

async fn finish(response: ResponseFuture) {
    read(response.await.unwrap().into_body()).await;
}

async fn read(mut body: RecvStream) {
    let mut read = Vec::new();
    while let Some(piece) = body.data().await {
        read.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(read, b"ok");
}

#[tokio::test(start_paused = true)]
async fn who_asks_nothing_has_its_limit_from_the_accept() {
    let accepted = Instant::now();
    let client = Client::new(idle_for(LIMIT)).await;
    assert_eq!(client.closed().await, accepted + LIMIT);
}

#[tokio::test(start_paused = true)]
async fn who_speaks_late_and_asks_nothing_has_no_longer() {
    let mut pair = Pair::with(idle_for(LIMIT));
    let accepted = Instant::now();
    sleep(LIMIT / 2).await;
    pair.client.write_all(HTTP2_PREFACE).await.unwrap();
    pair.client.write_all(SETTINGS).await.unwrap();
    let mut client = Raw {
        pair,
        begin: accepted,
    };
    client.told().await;
    assert_eq!(accepted.elapsed(), LIMIT);
}

#[tokio::test(start_paused = true)]
async fn each_request_begins_the_limit_anew() {
    let mut client = Client::new(idle_for(LIMIT)).await;
    for wait in [LIMIT - MOMENT, LIMIT / 2, LIMIT - MOMENT] {
        sleep(wait).await;
        client.ask("/").await;
    }
    let asked = Instant::now();
    assert_eq!(client.closed().await, asked + LIMIT);
}

#[tokio::test(start_paused = true)]
async fn whose_stream_is_open_is_not_idle() {
    let mut client = Client::new(idle_for(LIMIT)).await;
    for _ in 0..2 {
        let begin = Instant::now();
        client.ask("/slow").await;
        assert_eq!(begin.elapsed(), SLOW);
        sleep(LIMIT - MOMENT).await;
        assert!(!client.is_told());
    }
    let asked = Instant::now();
    assert_eq!(client.closed().await, asked + LIMIT);
}

#[tokio::test(start_paused = true)]
async fn whose_upload_goes_on_behind_the_response_is_not_idle() {
    let mut client = Client::new(idle_for(LIMIT)).await;
    let post = Request::post("http://test/read-on").body(()).unwrap();
    let (response, mut upload) = client.begin(post, false);
    finish(response).await;
    for is_last in [false, true] {
        sleep(SLOW).await;
        upload.send_data("more".into(), is_last).unwrap();
    }
    let ended = Instant::now();
    assert_eq!(client.closed().await, ended + LIMIT);
}

#[tokio::test(start_paused = true)]
async fn whose_stream_is_upgraded_is_not_idle() {
    let mut client = Client::new(idle_for(LIMIT)).await;
    // With a response it knows that the server has such streams.
    client.ask("/").await;
    let mut connect = request("/take");
    *connect.method_mut() = Method::CONNECT;
    let protocol = Protocol::from_static("websocket");
    connect.extensions_mut().insert(protocol);
    let (response, mut socket) = client.begin(connect, false);
    assert_eq!(response.await.unwrap().status(), StatusCode::OK);
    sleep(SLOW).await;
    assert!(!client.is_told());
    socket.send_data("bye".into(), true).unwrap();
    let ended = Instant::now();
    assert_eq!(client.closed().await, ended + LIMIT);
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_a_connection_stays() {
    let options = Options {
        keep_alive_timeout: None,
        ..options()
    };
    let mut client = Client::new(options).await;
    for _ in 0..2 {
        sleep(HEADER_TIMEOUT * 1000).await;
        client.ask("/").await;
    }
    assert!(!client.is_told());
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_with_as_many_requests_as_it_may_bring() {
    let life = Life {
        max_requests: Some(3),
        ..LIMITED
    };
    let mut client = Client::new(lives(life)).await;
    for _ in 0..2 {
        client.ask("/").await;
        sleep(AGE).await;
    }
    let slow = client.get("/slow");
    sleep(MOMENT).await;
    assert!(client.is_told());
    finish(slow).await;
    let asked = Instant::now();
    assert_eq!(client.closed().await, asked);

    let mut client = Client::new(lives(life)).await;
    let responses = ["/slow", "/", "/slow", "/", "/slow"].map(|path| client.get(path));
    for response in responses {
        finish(response).await;
    }
    let asked = Instant::now();
    assert_eq!(client.closed().await, asked);
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_at_its_age_idle_or_busy() {
    let life = Life {
        max_age: Some(AGE),
        ..LIMITED
    };
    for is_busy in [false, true] {
        let mut client = Client::new(lives(life)).await;
        let end = client.connection.life_end().unwrap();
        let left = || end.duration_since(Instant::now());
        sleep(left() - SLOW / 2).await;
        let slow = is_busy.then(|| client.get("/slow"));
        sleep(left() - MOMENT).await;
        assert!(!client.is_told());
        sleep(MOMENT * 2).await;
        assert!(client.is_told());
        let mut closed = end;
        if let Some(slow) = slow {
            finish(slow).await;
            closed = Instant::now();
        }
        assert!(client.closed().await - closed < MOMENT, "busy: {is_busy}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_first_ends_a_connection() {
    for (limit, is_age) in [(AGE / 2, false), (AGE * 2, true)] {
        let life = Life {
            max_age: Some(AGE),
            ..LIMITED
        };
        let accepted = Instant::now();
        let client = Client::new(Options {
            life: Some(life),
            ..idle_for(limit)
        });
        let client = client.await;
        let age = client.connection.life_end().unwrap() - accepted;
        let end = if is_age { age } else { limit };
        let lived = client.closed().await - accepted;
        assert!(lived >= end && lived < end + MOMENT, "{lived:?} of {end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_age_is_too_long() {
    let life = Life {
        max_age: Some(Duration::MAX),
        ..LIMITED
    };
    let mut client = Client::new(lives(life)).await;
    client.ask("/").await;
    assert!(!client.is_told());
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
/// A frame without settings.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
/// The stream of a GOAWAY that takes back nothing.
const ALL: u32 = u32::MAX >> 1;

/// What a client gets to see of the end of its connection.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    GoAway(u32),
    Ping([u8; 8]),
    /// On that stream, and whether it is the last of it.
    Response(u32, bool),
}

/// A client that does nothing by itself.
struct Raw {
    pair: Pair,
    begin: Instant,
}

impl Raw {
    async fn new() -> Self {
        Self::with_room_for(256 << 10).await
    }

    /// A client that may be sent so many bytes as long as it reads none.
    async fn with_room_for(bytes: usize) -> Self {
        let mut pair = Pair::of(Pair::server(idle_for(LIMIT)), bytes);
        pair.client.write_all(HTTP2_PREFACE).await.unwrap();
        pair.client.write_all(SETTINGS).await.unwrap();
        Self {
            pair,
            begin: Instant::now(),
        }
    }

    /// Sends a request for a slow handler.
    async fn get_slow(&mut self, stream: u8) {
        let head = [0, 0, 9, HEADERS, 5, 0, 0, 0, stream];
        self.pair.client.write_all(&head).await.unwrap();
        // GET, http, and a literal path.
        let block = b"\x82\x86\x04\x05/slow";
        self.pair.client.write_all(block).await.unwrap();
    }

    async fn pong(&mut self, payload: [u8; 8]) {
        let head = [0, 0, 8, PING, ACK, 0, 0, 0, 0];
        let frame = [&head[..], &payload].concat();
        self.pair.client.write_all(&frame).await.unwrap();
    }

    /// Reads up to the next frame that counts; `None` at the end.
    async fn next(&mut self) -> Option<Seen> {
        loop {
            let mut head = [0; 9];
            let client = &mut self.pair.client;
            in_time(client.read_exact(&mut head)).await.ok()?;
            let [_, _, length, kind, flags, ..] = head;
            let mut payload = vec![0; length.into()];
            client.read_exact(&mut payload).await.unwrap();
            let stream = u32::from(head[8]);
            match kind {
                HEADERS | DATA => return Some(Seen::Response(stream, flags & 1 > 0)),
                PING if flags & ACK == 0 => {
                    return Some(Seen::Ping(payload.try_into().unwrap()));
                }
                GOAWAY => {
                    let (last, error) = payload.split_at(4);
                    assert_eq!(error, [0; 4], "it ends without an error");
                    return Some(Seen::GoAway(u32::from_be_bytes(last.try_into().unwrap())));
                }
                _ => {}
            }
        }
    }

    /// Reads up to the PING behind the GOAWAY, and returns what is to be answered.
    async fn told(&mut self) -> [u8; 8] {
        assert_eq!(self.next().await, Some(Seen::GoAway(ALL)));
        match self.next().await {
            Some(Seen::Ping(payload)) => payload,
            other => panic!("{other:?}"),
        }
    }

    async fn rest(&mut self) -> Vec<Seen> {
        let mut rest = Vec::new();
        while let Some(seen) = self.next().await {
            rest.push(seen);
        }
        rest
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_crosses_the_goaway_is_answered() {
    let mut client = Raw::new().await;
    let ping = client.told().await;
    assert_eq!(client.begin.elapsed(), LIMIT);
    sleep(GOAWAY_LIMIT - MOMENT).await;
    client.get_slow(3).await;
    client.pong(ping).await;
    assert_eq!(
        client.rest().await,
        [
            Seen::GoAway(3),
            Seen::Response(3, false),
            Seen::Response(3, true)
        ]
    );
    let took = LIMIT + GOAWAY_LIMIT - MOMENT + SLOW;
    assert_eq!(client.begin.elapsed(), took);
}

#[tokio::test(start_paused = true)]
async fn who_never_answers_has_its_time() {
    let mut client = Raw::new().await;
    client.told().await;
    assert_eq!(client.rest().await, [Seen::GoAway(0)]);
    assert_eq!(client.begin.elapsed(), LIMIT + GOAWAY_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn who_never_answers_and_waits_for_something_gets_it() {
    let mut client = Raw::new().await;
    client.told().await;
    sleep(GOAWAY_LIMIT - MOMENT).await;
    client.get_slow(1).await;
    assert_eq!(
        client.rest().await,
        [
            Seen::GoAway(1),
            Seen::Response(1, false),
            Seen::Response(1, true)
        ]
    );
    let took = LIMIT + GOAWAY_LIMIT - MOMENT + SLOW;
    assert_eq!(client.begin.elapsed(), took);
}

#[tokio::test(start_paused = true)]
async fn who_reads_nothing_has_its_time() {
    for room in [40, 70, 100] {
        let client = Raw::with_room_for(room).await;
        in_time(client.pair.shared.connections.empty()).await;
        assert_eq!(client.begin.elapsed(), LIMIT + GOAWAY_LIMIT, "{room}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_never_completes_a_head_has_its_time() {
    let mut client = Raw::new().await;
    let head = [0, 0, 1, HEADERS, 1, 0, 0, 0, 1, 0x82];
    client.pair.client.write_all(&head).await.unwrap();
    client.told().await;
    client.rest().await;
    assert_eq!(client.begin.elapsed(), LIMIT + GOAWAY_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_tell_again_nor_give_more_time() {
    let mut client = Raw::new().await;
    client.told().await;
    sleep(GOAWAY_LIMIT / 2).await;
    client.pair.drain();
    assert_eq!(client.rest().await, [Seen::GoAway(0)]);
    assert_eq!(client.begin.elapsed(), LIMIT + GOAWAY_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn the_limit_does_not_tell_again_in_a_drain() {
    let mut client = Raw::new().await;
    client.get_slow(1).await;
    sleep(MOMENT).await;
    client.pair.drain();
    let ping = client.told().await;
    client.pong(ping).await;
    assert_eq!(
        client.rest().await,
        [
            Seen::GoAway(1),
            Seen::Response(1, false),
            Seen::Response(1, true)
        ]
    );
    assert_eq!(client.begin.elapsed(), SLOW);
}
