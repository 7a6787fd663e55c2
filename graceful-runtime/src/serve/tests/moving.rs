//! Connections that move from one server to another, over real sockets: what happens in the old one, and how the new one goes on.

use tokio::io::AsyncRead;
use tokio::sync::Semaphore;

use super::*;
use crate::handover::channel::Channel;
use crate::handover::inbound::{Inbound, Taker, TakerGuard};
use crate::handover::parcel::{Manifest, Note};
use crate::lifecycle::server::RunningServer;
use crate::net::inherited::{ListenerId, Listeners};
use crate::serve::moved::serving_taker;
use crate::serve::options::Life;
use crate::serve::service::HttpService;

/// A limit that only ever fails a test.
const LIMIT: Duration = Duration::from_secs(60);
const POST: &str = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n";
const GATE: &str = "GET /gate HTTP/1.1\r\nhost: test\r\n\r\n";

/// A server before or after a restart, whose responses say which of the two it is.
struct Side {
    name: &'static str,
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
    /// A request for `/gate` takes one permit.
    gate: Arc<Semaphore>,
}

impl Side {
    fn new(name: &'static str, listener: Option<ListenerId>) -> Self {
        Self::with(options(), name, listener)
    }

    fn with(options: Options, name: &'static str, listener: Option<ListenerId>) -> Self {
        let config = Config::new().keep_alive_grace(GRACE).of_lifecycle();
        let (lifecycle, _) = Lifecycle::new(config, Surroundings::default());
        Self {
            name,
            shared: Arc::new(Shared::of_listener(lifecycle, options, listener)),
            room: Arc::new(Semaphore::new(1000)),
            gate: Arc::new(Semaphore::new(0)),
        }
    }

    fn service(&self) -> impl HttpService + use<> {
        let (name, gate) = (self.name, Arc::clone(&self.gate));
        service_fn(move |request: Request<Incoming>| {
            let gate = Arc::clone(&gate);
            async move {
                if request.uri().path() == "/gate" {
                    gate.acquire().await.unwrap().forget();
                }
                let response = Response::builder().header("by", name);
                response.body(Full::<Bytes>::new("ok".into()))
            }
        })
    }

    fn taker(&self) -> Taker {
        serving_taker(&self.shared, &self.service(), &self.room)
    }

    fn serve(&self, stream: Stream) {
        let connection = self.shared.connect(Peer::Unix);
        let nothing = Beginning::default();
        let clear = Security::ClearText;
        conversation::spawn(stream, nothing, clear, connection, self.service(), ());
    }

    /// Returns the client's end of a new connection.
    async fn accept(&self) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        self.serve(Stream::Tcp(accepted.unwrap().0));
        Client(client.unwrap())
    }

    fn connection(&self) -> Arc<Connection> {
        self.shared.connections.members().remove(0)
    }

    async fn is_empty(&self) {
        in_time(self.shared.connections.empty()).await;
    }

    async fn counts(&self, count: usize) {
        until(|| self.shared.connections.len() == count).await;
    }
}

/// The client's end of a connection.
struct Client(TcpStream);

impl Client {
    async fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    async fn response(&mut self) -> String {
        in_time(response(&mut self.0)).await
    }

    async fn ask(&mut self) -> String {
        self.send(GET).await;
        self.response().await
    }

    async fn rest(&mut self) -> String {
        let mut read = String::new();
        in_time(self.0.read_to_string(&mut read)).await.unwrap();
        read
    }
}

/// Reads one response; empty where the stream ends instead.
async fn response(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\nok") && stream.read_buf(&mut read).await.unwrap() > 0 {}
    String::from_utf8(read).unwrap()
}

async fn in_time<F: Future>(future: F) -> F::Output {
    timeout(LIMIT, future).await.expect("it happens")
}

async fn until(is_so: impl Fn() -> bool) {
    in_time(async {
        while !is_so() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

fn listener_ids() -> [ListenerId; 2] {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listeners = Listeners::default();
    ["a", "b"].map(|asked| {
        let registration = listeners.register(asked, false, std::os::fd::AsFd::as_fd(&socket));
        registration.unwrap().id()
    })
}

/// Lets connections of the listener go from one to the other, which takes them if it has a taker.
fn open(old: &Side, listener: ListenerId, taker: Option<Taker>) -> Way {
    let (ours, theirs) = Channel::pair().unwrap();
    ours.send(&Manifest::default().encode(), &[]).unwrap();
    let outbound = &old.shared.lifecycle().outbound;
    let carrier = outbound.open(ours, vec![(0, listener)]).unwrap();
    let shared = Arc::clone(&old.shared);
    tokio::spawn(async move {
        carrier.run(|_| ()).await;
        shared.wake_connections();
    });
    let inbound = Arc::new(Inbound::new(vec![theirs]));
    let guard = taker.map(|taker| inbound.register(0, taker));
    let receivers = inbound.receivers().into_iter();
    Way {
        _guard: guard,
        receivers: receivers
            .map(|receiver| tokio::spawn(receiver).abort_handle())
            .collect(),
    }
}

struct Way {
    _guard: Option<TakerGuard>,
    receivers: Vec<tokio::task::AbortHandle>,
}

impl Way {
    /// Ends as with the process of the successor.
    fn break_off(&self) {
        self.receivers
            .iter()
            .for_each(tokio::task::AbortHandle::abort);
    }
}

fn sides() -> (Side, Side, Way) {
    let [listener, _] = listener_ids();
    let (old, new) = (Side::new("old", Some(listener)), Side::new("new", None));
    let way = open(&old, listener, Some(new.taker()));
    (old, new, way)
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_move_and_are_served_on() {
    let (old, new, _way) = sides();
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = old.accept().await;
        assert!(client.ask().await.contains("by: old"));
        clients.push(client);
    }
    let mut unused = old.accept().await;
    old.shared.reach(Stage::Draining);
    old.is_empty().await;
    new.counts(101).await;
    for client in clients.iter_mut().chain([&mut unused]) {
        let response = client.ask().await;
        assert!(response.contains("by: new"), "{response}");
        assert!(!response.contains("close"), "{response}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_moves_along_and_is_answered() {
    for head in [GET, POST] {
        for before in ["", "\r\n", GET] {
            for cut in 1..head.len() {
                let (old, new, _way) = sides();
                let mut client = old.accept().await;
                client.send(before).await;
                let (begin, end) = head.split_at(cut);
                client.send(begin).await;
                if before == GET {
                    assert!(client.response().await.contains("by: old"));
                }
                let connection = old.connection();
                until(|| connection.activity() == Activity::HalfRequest).await;
                old.shared.reach(Stage::Draining);
                old.is_empty().await;
                new.counts(1).await;
                client.send(end).await;
                let response = client.response().await;
                assert!(
                    response.contains("by: new"),
                    "{before:?} {begin:?}: {response}"
                );
                assert!(
                    client.ask().await.contains("by: new"),
                    "nothing is left over"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_that_is_too_long_to_move_stays() {
    let (old, _new, _way) = sides();
    let mut client = old.accept().await;
    let long = "x".repeat(40 << 10);
    client
        .send(&format!("GET / HTTP/1.1\r\nhost: test\r\na: {long}"))
        .await;
    let connection = old.connection();
    until(|| connection.activity() == Activity::HalfRequest).await;
    old.shared.reach(Stage::Draining);
    client.send("\r\n\r\n").await;
    let response = client.response().await;
    assert!(response.contains("by: old"), "{response}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_ends_as_in_any_drain() {
    for half in ["", &GET[..10]] {
        let [listener, _] = listener_ids();
        let old = Side::new("old", Some(listener));
        let _way = open(&old, listener, None);
        let mut client = old.accept().await;
        assert!(client.ask().await.contains("by: old"));
        client.send(half).await;
        let connection = old.connection();
        until(|| half.is_empty() || connection.activity() == Activity::HalfRequest).await;
        old.shared.reach(Stage::Draining);
        let is_here = || connection.activity() != Activity::Moving;
        until(|| connection.destination().is_none() && is_here()).await;
        client.send(&GET[half.len()..]).await;
        let rest = client.rest().await;
        assert!(
            rest.contains("by: old") && rest.contains("connection: close"),
            "{rest}"
        );
        old.is_empty().await;

        let mut idle = old.accept().await;
        assert_eq!(idle.rest().await, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_that_was_refused_has_its_time_once() {
    let [listener, _] = listener_ids();
    let old = Side::new("old", Some(listener));
    let _way = open(&old, listener, None);
    let mut client = old.accept().await;
    client.send(&GET[..10]).await;
    let connection = old.connection();
    until(|| connection.activity() == Activity::HalfRequest).await;
    let begin = Instant::now();
    old.shared.reach(Stage::Draining);
    assert!(client.rest().await.starts_with("HTTP/1.1 408"));
    assert!(begin.elapsed() >= HEAD_LIMIT);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_successor_ends_everything_stays() {
    let (old, new, way) = sides();
    let mut client = old.accept().await;
    client.send(GATE).await;
    let connection = old.connection();
    until(|| connection.is_busy()).await;
    old.shared.reach(Stage::Draining);
    way.break_off();
    until(|| connection.destination().is_none()).await;
    old.gate.add_permits(1);
    let rest = client.rest().await;
    assert!(
        rest.contains("by: old") && rest.contains("connection: close"),
        "{rest}"
    );
    assert_eq!(new.shared.connections.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_in_flight_says_close_where_its_connection_stays() {
    for stage in [Stage::LameDuck, Stage::Draining] {
        let [listener, other] = listener_ids();
        for (of, taken, moves) in [
            (Some(listener), listener, true),
            (None, listener, false),
            (Some(listener), other, false),
        ] {
            let (old, new) = (Side::new("old", of), Side::new("new", None));
            let _way = open(&old, taken, Some(new.taker()));
            let mut client = old.accept().await;
            client.send(GATE).await;
            let connection = old.connection();
            until(|| connection.is_busy()).await;
            old.shared.reach(stage);
            old.gate.add_permits(1);
            let response = client.response().await;
            assert!(response.contains("by: old"));
            assert_eq!(
                !response.contains("connection: close"),
                moves,
                "{stage:?} {of:?}"
            );
            old.shared.reach(Stage::Draining);
            old.is_empty().await;
            if moves {
                assert!(client.ask().await.contains("by: new"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_stays() {
    let (old, new, _way) = sides();
    let mut client = old.accept().await;
    client.0.write_all(HTTP2_PREFACE).await.unwrap();
    client
        .0
        .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
        .await
        .unwrap();
    let connection = old.connection();
    until(|| connection.is_http2()).await;
    old.shared.reach(Stage::Draining);
    let mut read = Vec::new();
    in_time(async {
        // The type of a frame behind its length: GOAWAY.
        while !read.windows(5).any(|bytes| bytes == [0, 0, 8, 7, 0]) {
            assert!(client.0.read_buf(&mut read).await.unwrap() > 0);
        }
    })
    .await;
    assert_eq!(new.shared.connections.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_never_idle_is_told_to_close() {
    let (old, new, _way) = sides();
    let mut client = old.accept().await;
    client.send(&GATE.repeat(2)).await;
    let connection = old.connection();
    until(|| connection.is_busy()).await;
    old.shared.reach(Stage::Draining);
    sleep(HEAD_LIMIT + Duration::from_millis(10)).await;
    old.gate.add_permits(1);
    assert!(!client.response().await.contains("connection: close"));
    old.gate.add_permits(1);
    let rest = client.rest().await;
    assert!(rest.contains("connection: close"), "{rest}");
    assert_eq!(new.shared.connections.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_in_a_loop_moves_without_a_close() {
    let (old, new, _way) = sides();
    let mut client = old.accept().await;
    assert!(client.ask().await.contains("by: old"));
    let shared = Arc::clone(&old.shared);
    tokio::spawn(async move { shared.reach(Stage::Draining) });
    let responses = in_time(async {
        let mut responses = String::new();
        while !responses.contains("by: new") {
            responses += &client.ask().await;
        }
        responses
    })
    .await;
    assert!(!responses.contains("close"), "{responses}");
    assert_eq!(new.shared.connections.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn moved_connections_count_and_may_be_too_many() {
    let [listener, _] = listener_ids();
    let old = Side::new("old", Some(listener));
    let mut new = Side::new("new", None);
    new.room = Arc::new(Semaphore::new(1));
    let _way = open(&old, listener, Some(new.taker()));
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(old.accept().await);
    }
    old.shared.reach(Stage::Draining);
    old.is_empty().await;
    new.counts(4).await;
    for client in &mut clients {
        assert!(client.ask().await.contains("by: new"));
    }
    assert_eq!(new.room.available_permits(), 0);
    // Those that are too many get what becomes free, and hold it.
    new.room.add_permits(4);
    until(|| new.room.available_permits() == 1).await;
    // A moment in which they would give it back.
    sleep(Duration::from_millis(10)).await;
    assert_eq!(new.room.available_permits(), 1);
    drop(clients);
    until(|| new.room.available_permits() == 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_at_its_end_takes_none() {
    let (old, new, _way) = sides();
    let mut client = old.accept().await;
    new.shared.reach(Stage::Draining);
    old.shared.reach(Stage::Draining);
    assert!(client.ask().await.contains("by: old"));
    assert_eq!(new.shared.connections.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_was_kept_ends_with_its_server() {
    let new = Side::new("new", None);
    let (client, server) = std::os::unix::net::UnixStream::pair().unwrap();
    // Nothing but the end of the server ends it in time.
    let note = Note {
        requests: 1,
        ..Note::default()
    };
    let begin = new.taker()(&note, std::os::fd::AsFd::as_fd(&server)).unwrap();
    assert_eq!(new.shared.connections.len(), 1, "the drain waits for it");
    new.shared.reach(Stage::Cut);
    begin(server.into(), note);
    new.is_empty().await;
    client.set_nonblocking(true).unwrap();
    let mut client = tokio::net::UnixStream::from_std(client).unwrap();
    assert_eq!(in_time(response(&mut client)).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_is_cut_with_its_server() {
    let [listener, _] = listener_ids();
    let old = Side::new("old", Some(listener));
    // Nobody receives.
    let (ours, _theirs) = Channel::pair().unwrap();
    let outbound = &old.shared.lifecycle().outbound;
    let carrier = outbound.open(ours, vec![(0, listener)]).unwrap();
    tokio::spawn(carrier.run(|_| ()));
    let _client = old.accept().await;
    let connection = old.connection();
    old.shared.reach(Stage::Draining);
    until(|| connection.activity() == Activity::Moving).await;
    old.shared.reach(Stage::Cut);
    old.is_empty().await;
}

/// A client of a connection that has moved with this note.
fn moved(options: Options, note: &Note) -> Pair {
    let shared = Pair::server(options);
    let (client, server) = duplex(256 << 10);
    let member = shared.continue_with(Peer::Unix, note);
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let service = service_fn(answer);
    let (stream, clear) = (Stream::Duplex(server), Security::ClearText);
    conversation::spawn(stream, note.clone().into(), clear, member, service, ());
    Pair {
        client,
        shared,
        asked,
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_never_asked_keeps_its_time() {
    let note = Note {
        accepted: HEADER_TIMEOUT / 3,
        idle: HEADER_TIMEOUT / 3,
        ..Note::default()
    };
    let (rest, took) = moved(options(), &note).rest().await;
    assert_eq!((&*rest, took), ("", HEADER_TIMEOUT / 3 * 2));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_keeps_its_time() {
    let options = options();
    let limit = options.keep_alive_timeout.unwrap();
    let note = Note {
        requests: 1,
        accepted: limit * 10,
        idle: limit / 3,
        ..Note::default()
    };
    let (rest, took) = moved(options, &note).rest().await;
    assert_eq!((&*rest, took), ("", limit / 3 * 2));
}

#[tokio::test(start_paused = true)]
async fn half_a_head_keeps_its_time() {
    for (requests, head) in [(0, "G"), (0, "PRI"), (0, GET), (1, "G"), (1, GET)] {
        let note = Note {
            requests,
            accepted: HEADER_TIMEOUT * 10,
            idle: HEADER_TIMEOUT * 10,
            begun: Some(HEADER_TIMEOUT / 3),
            bytes: head[..head.len().min(GET.len() - 1)].into(),
            ..Note::default()
        };
        let mut pair = moved(options(), &note);
        let (rest, took) = pair.rest().await;
        assert!(rest.starts_with("HTTP/1.1 408"), "{head}: {rest}");
        assert_eq!(took, HEADER_TIMEOUT / 3 * 2, "{requests} {head}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_of_half_a_head_is_not_that_of_the_next() {
    let (begin, end) = GET.split_at(10);
    let note = Note {
        begun: Some(HEADER_TIMEOUT / 3),
        bytes: begin.into(),
        ..Note::default()
    };
    let mut pair = moved(options(), &note);
    sleep(HEADER_TIMEOUT / 3).await;
    pair.send(&format!("{end}{begin}")).await;
    assert!(pair.response().await.contains("200 OK"));
    let (rest, took) = pair.rest().await;
    assert!(rest.starts_with("HTTP/1.1 408"), "{rest}");
    assert_eq!(took, HEADER_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_connection_keeps_its_count_and_its_age() {
    let age = Duration::from_secs(100);
    let options = Options {
        life: Some(Life {
            max_requests: Some(3),
            max_age: Some(age),
        }),
        ..options()
    };
    for (requests, accepted, is_last) in [
        (1, Duration::ZERO, false),
        (2, Duration::ZERO, true),
        (1, age / 2, false),
        (1, age * 2, true),
    ] {
        let note = Note {
            requests,
            accepted,
            ..Note::default()
        };
        let mut pair = moved(options, &note);
        pair.send(GET).await;
        let response = pair.response().await;
        assert_eq!(response.contains("connection: close"), is_last, "{note:?}");
    }
}

#[tokio::test]
async fn a_connection_that_was_never_asked_is_not_in_use() {
    let shared = Pair::server(options());
    let age = Duration::from_micros(1);
    for note in [
        Note::default(),
        Note {
            accepted: age,
            idle: age,
            ..Note::default()
        },
    ] {
        let member = shared.continue_with(Peer::Unix, &note);
        assert!(!member.is_used(Instant::now(), GRACE), "{note:?}");
    }
}

#[tokio::test]
async fn a_connection_that_moves_again_says_the_same() {
    let shared = Pair::server(options());
    let note = Note {
        listener: 7,
        requests: 9,
        accepted: HEADER_TIMEOUT * 3,
        idle: HEADER_TIMEOUT * 2,
        begun: Some(HEADER_TIMEOUT),
        bytes: b"GET".to_vec(),
    };
    let member = shared.continue_with(Peer::Unix, &note);
    let begin = Instant::now();
    let again = member.note(7, note.clone().into());
    let tolerance = begin.elapsed() + Duration::from_millis(100);
    let is_near = |one: Duration, other: Duration| one.abs_diff(other) < tolerance;
    assert!(is_near(again.accepted, note.accepted) && is_near(again.idle, note.idle));
    assert!(is_near(again.begun.unwrap(), HEADER_TIMEOUT));
    assert_eq!(
        (again.listener, again.requests, again.bytes),
        (note.listener, note.requests, note.bytes)
    );
}
