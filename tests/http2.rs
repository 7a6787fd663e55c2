//! F. HTTP/2, frame by frame, in clear text and over TLS (F5).

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use graceful_tests::http2::{self, Frame, GOODBYE, Http2, body_of, expect_no_loss, is_goodbye};
use graceful_tests::{Certificate, Connection, SOON, Server, Signal, command, server};

macro_rules! in_clear_text_and_over_tls {
    ($($name:ident)*) => {
        mod in_clear_text {
            $(#[test] fn $name() { super::$name(&super::Way::ClearText); })*
        }

        mod f5_over_tls {
            $(#[test] fn $name() { super::$name(&super::Way::tls()); })*
        }
    };
}

in_clear_text_and_over_tls! {
    f1_a_response_that_the_kernel_has_is_complete_however_slowly_it_is_read
    f1_a_response_that_the_kernel_has_waits_for_a_client_that_pauses
    f1_a_large_response_that_is_read_slowly_is_complete
    f1_streams_in_flight_finish
    f2_goaway_comes_twice_and_a_stream_in_between_is_served
    f2_a_request_that_crosses_the_goaway_on_a_long_way_is_served
    f2_clients_in_closed_loops_lose_nothing
    l10_clients_in_closed_loops_lose_nothing
    l10_an_idle_connection_is_told_first
    l10_a_request_in_flight_outlives_its_connections_age
    l10_who_never_answers_is_ended
    l10_who_reads_slowly_beyond_the_age_loses_nothing
    f3_an_idle_connection_is_ended
    f4_a_client_that_never_answers_the_ping_is_ended
    f4_a_client_that_never_answers_the_ping_and_goes_on_asking_is_ended
    a_client_that_vanishes_is_noticed_by_the_keep_alive
    more_streams_than_allowed_are_refused
    k7_streams_that_the_client_has_reset_are_counted_and_named
    a_stream_on_which_only_the_client_goes_on_is_waited_for_and_named
    k7_who_leaves_as_the_last_is_counted_and_named
    k7_who_does_not_read_on_has_left
    k9_a_websocket_is_told_named_and_waited_for
    k9_a_websocket_that_has_ended_is_forgotten
    f4_a_client_that_never_sends_its_preface_is_ended
    f4_a_head_that_never_ends_is_ended
    k7_what_an_offence_ends_has_not_finished
}

/// The last stream of a GOAWAY that takes back nothing.
const ALL: u32 = u32::MAX >> 1;

fn f1_streams_in_flight_finish(way: &Way) {
    let (server, mut client) = way.start();
    client.get(1, "/sleep?ms=700");
    client.get(3, "/stream?n=7&ms=100");
    server.wait_for("handling /sleep");
    server.wait_for("handling /stream");
    server.drain();
    let frames = client.rest();
    assert!(body_of(1, &frames).starts_with("slept beside"));
    assert_eq!(body_of(3, &frames), "0;1;2;3;4;5;6;");
    expect_goaways(&frames, 3);
    server.exit_within(SOON).expect(0);
}

fn f1_a_large_response_that_is_read_slowly_is_complete(way: &Way) {
    const SIZE: u32 = 5_000_000;
    let (server, mut client) = way.start();
    client.get(1, &format!("/big?bytes={SIZE}"));
    // All of it is one piece, and in the hands of the server's HTTP/2 from here on.
    server.wait_for("finished /big");
    server.drain();
    // Longer than a connection is kept that has no stream.
    sleep(Duration::from_secs(2));
    for _ in 0..5 {
        client.make_room(1, SIZE / 5);
        sleep(Duration::from_millis(100));
    }
    let frames = client.rest();
    assert_eq!(body_of(1, &frames).len(), SIZE as usize);
    expect_goaways(&frames, 1);
    server.exit_within(SOON).expect(0);
}

fn f1_a_response_that_the_kernel_has_is_complete_however_slowly_it_is_read(way: &Way) {
    for answers in [Answers::AtOnce, Answers::InTurn] {
        // A client that is only silent has a quarter of it.
        let (server, mut client) = way.start_with("echo", &["timeout=16s"]);
        expect_slow_reader_to_lose_nothing(server, &mut client, answers);
    }
}

fn f1_a_response_that_the_kernel_has_waits_for_a_client_that_pauses(way: &Way) {
    let (server, client) = way.start_with("echo", &["timeout=24s"]);
    expect_who_pauses_to_lose_nothing(server, client);
}

#[test]
fn f1_a_response_of_an_adapted_server_waits_for_a_client_that_pauses() {
    let server = server!("framework", "timeout=24s");
    let client = Http2::over(server.connect());
    expect_who_pauses_to_lose_nothing(server, client);
}

#[track_caller]
fn expect_who_pauses_to_lose_nothing(server: Server, mut client: Http2) {
    const SIZE: u32 = 2_000_000;
    client.get(1, &format!("/big?bytes={SIZE}"));
    client.make_room(1, SIZE);
    server.wait_for("finished /big");
    client.wait_for_data(1);
    server.drain();
    server.wait_for("1 connection with unread data; unread by 127.0.0.1:");
    // Who is not known to be there, and takes nothing, has 5 s for each of the answer to the PING, the end and the close.
    sleep(Duration::from_secs(18));
    client.make_room(1, 1);
    let frames = client.rest();
    let read = frames.iter().filter_map(|frame| match frame {
        Frame::Data { bytes, .. } => Some(bytes.len()),
        _ => None,
    });
    // But for the first one.
    assert_eq!(read.sum::<usize>(), SIZE as usize - (16 << 10));
    server.exit_within(SOON).expect(0);
}

#[test]
fn f1_a_response_of_an_adapted_server_is_complete_however_slowly_it_is_read() {
    for answers in [Answers::AtOnce, Answers::InTurn] {
        let server = server!("framework", "timeout=16s");
        let mut client = Http2::over(server.connect());
        expect_slow_reader_to_lose_nothing(server, &mut client, answers);
    }
}

/// When a client answers the PING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    /// When it comes, before the response is there.
    AtOnce,
    /// When everything before it is read.
    InTurn,
}

#[track_caller]
fn expect_slow_reader_to_lose_nothing(server: Server, client: &mut Http2, answers: Answers) {
    const SIZE: u32 = 2_000_000;
    let wait = if answers == Answers::AtOnce {
        "&ms=500"
    } else {
        ""
    };
    client.get(1, &format!("/big?bytes={SIZE}{wait}"));
    client.make_room(1, SIZE);
    server.wait_for("handling /big");
    if answers == Answers::AtOnce {
        server.drain();
        let ping = client.wait_for_ping();
        client.pong(&ping);
    }
    server.wait_for("finished /big");
    if answers == Answers::InTurn {
        // Read by nobody, the response is in the kernel before the PING is.
        sleep(Duration::from_millis(200));
        server.drain();
    }
    // Later than a client that only was silent would be taken to know of the end; before it does.
    let asking = (answers == Answers::InTurn).then_some(90);
    let frames = client.read_slowly(Duration::from_millis(60), asking);
    let log = server.exit_within(SOON).expect(0);
    let named = [
        "waiting for 1 connection with unread data; ",
        "waiting for 1 request: GET /big",
    ];
    assert!(named.iter().any(|named| log.has(named)), "{log}");
    assert!(!log.has("waiting for 1 idle"), "{log}");
    assert_eq!(body_of(1, &frames).len(), SIZE as usize, "{answers:?}");
    if asking.is_some() {
        assert_eq!(body_of(3, &frames), "hello");
    }
}

fn f2_goaway_comes_twice_and_a_stream_in_between_is_served(way: &Way) {
    let (server, mut client) = way.start();
    client.get(1, "/sleep?ms=700");
    server.wait_for("handling /sleep");
    server.drain();
    client.wait_for(|frame| {
        *frame
            == Frame::GoAway {
                last: ALL,
                error: 0,
            }
    });
    let ping = client.wait_for_ping();
    // The client had not seen the GOAWAY when it opened this one: its answer to the PING, which
    // came after the GOAWAY, is still to come.
    client.get(3, "/");
    client.pong(&ping);
    let frames = client.rest();
    assert_eq!(body_of(3, &frames), "hello");
    assert!(body_of(1, &frames).starts_with("slept beside"));
    assert!(
        frames.contains(&Frame::GoAway { last: 3, error: 0 }),
        "the second: {frames:?}"
    );
    server.exit_within(SOON).expect(0);
}

/// The way there and back takes longer than a connection without anything else to say would be kept.
fn f2_a_request_that_crosses_the_goaway_on_a_long_way_is_served(way: &Way) {
    for is_busy in [false, true] {
        let (server, mut client) = way.start();
        client.get(1, "/");
        client.wait_for_end(1);
        if is_busy {
            client.get(3, "/sleep?ms=2500");
            server.wait_for("handling /sleep");
        }
        server.drain();
        let ping = client.wait_for_ping();
        sleep(Duration::from_millis(1500));
        client.get(5, "/");
        client.pong(&ping);
        let frames = client.rest();
        assert_eq!(body_of(5, &frames), "hello", "busy: {is_busy}");
        let last = Frame::GoAway { last: 5, error: 0 };
        assert!(frames.contains(&last), "the second: {frames:?}");
        server.exit_within(SOON).expect(0);
    }
}

fn f2_clients_in_closed_loops_lose_nothing(way: &Way) {
    for _ in 0..3 {
        let (server, client) = way.start();
        let others = (1..16).map(|_| Http2::over(way.connect(&server)));
        let clients: Vec<_> = others.chain([client]).collect();
        let served = AtomicUsize::new(0);
        thread::scope(|scope| {
            for client in clients {
                scope.spawn(|| use_up(client, 1, Duration::ZERO, &served));
            }
            while served.load(Ordering::Relaxed) < 1000 {
                thread::yield_now();
            }
            server.drain();
        });
        server.exit_within(SOON).expect(0);
    }
}

/// Opens so many streams at a time until the server says goodbye, and fails where one that the server has not taken back
/// is not answered.
fn use_up(mut client: Http2, streams: usize, pause: Duration, served: &AtomicUsize) {
    let mut last = ALL;
    let mut numbers = (1..).step_by(2);
    while last == ALL {
        sleep(pause);
        let mut open: BTreeSet<u32> = numbers.by_ref().take(streams).collect();
        for stream in &open {
            client.get(*stream, "/");
        }
        while open.first().is_some_and(|stream| *stream <= last) {
            match client.next() {
                Some(Frame::Data {
                    stream, end: true, ..
                }) => {
                    open.remove(&stream);
                    served.fetch_add(1, Ordering::Relaxed);
                }
                Some(Frame::Ping(payload)) => client.pong(&payload),
                Some(Frame::GoAway {
                    last: new,
                    error: 0,
                }) => last = new,
                Some(Frame::Reset { stream }) => panic!("stream {stream} was reset"),
                Some(_) => {}
                None => panic!("{open:?} were lost; the last is {last}"),
            }
        }
    }
}

fn l10_clients_in_closed_loops_lose_nothing(way: &Way) {
    const CLIENTS: usize = 16;
    for (limit, streams, pause) in [
        ("max_requests=10", 1, 0),
        ("max_requests=10", 8, 0),
        ("max_age=20ms", 1, 0),
        ("max_age=20ms", 8, 0),
        // Most of them ask at about the moment in which they are told.
        ("keep_alive_timeout=10ms", 1, 11),
    ] {
        let (server, client) = way.start_with("echo", &["timeout=60s", limit]);
        drop(client);
        let served = AtomicUsize::new(0);
        let use_some_up = || {
            for _ in 0..6 {
                let client = Http2::over(way.connect(&server));
                use_up(client, streams, Duration::from_millis(pause), &served);
            }
        };
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(use_some_up);
            }
        });
        if limit == "max_requests=10" {
            let served = served.into_inner();
            assert!(served >= CLIENTS * 6 * 10, "{served} with {limit}");
        }
        server.drain();
        server.exit_within(SOON).expect(0);
    }
}

fn l10_an_idle_connection_is_told_first(way: &Way) {
    let (server, mut client) = way.start_with("echo", &["timeout=60s", "keep_alive_timeout=100ms"]);
    client.get(1, "/");
    let ping = client.wait_for_ping();
    // It had not seen the GOAWAY.
    client.get(3, "/");
    client.pong(&ping);
    let frames = client.rest();
    assert_eq!(body_of(3, &frames), "hello");
    assert!(
        frames.contains(&Frame::GoAway { last: 3, error: 0 }),
        "the second: {frames:?}"
    );
    server.drain();
    server.exit_within(SOON).expect(0);
}

fn l10_a_request_in_flight_outlives_its_connections_age(way: &Way) {
    let (server, mut client) = way.start_with("echo", &["timeout=60s", "max_age=100ms"]);
    client.get(1, "/sleep?ms=1000");
    let frames = client.rest();
    assert!(body_of(1, &frames).starts_with("slept beside"));
    expect_goaways(&frames, 1);
    server.drain();
    server.exit_within(SOON).expect(0);
}

/// Longer than a client is waited for that takes nothing.
fn l10_who_reads_slowly_beyond_the_age_loses_nothing(way: &Way) {
    const SIZE: u32 = 2_000_000;
    let (server, mut client) = way.start_with("echo", &["timeout=60s", "max_age=100ms"]);
    client.get(1, &format!("/big?bytes={SIZE}"));
    client.make_room(1, SIZE);
    let frames = client.read_slowly(Duration::from_millis(60), None);
    assert_eq!(body_of(1, &frames).len(), SIZE as usize);
    expect_goaways(&frames, 1);
    server.drain();
    server.exit_within(SOON).expect(0);
}

fn l10_who_never_answers_is_ended(way: &Way) {
    let (server, mut client) = way.start_with("echo", &["timeout=60s", "keep_alive_timeout=100ms"]);
    client.get(1, "/");
    let frames: Vec<_> = client.by_ref().collect();
    assert_eq!(body_of(1, &frames), "hello");
    expect_goaways(&frames, 1);
    server.drain();
    server.exit_within(SOON).expect(0);
}

fn f3_an_idle_connection_is_ended(way: &Way) {
    let (server, mut client) = way.start();
    client.get(1, "/");
    client.wait_for_end(1);
    server.drain();
    expect_goaways(&client.rest(), 1);
    server.exit_within(SOON).expect(0);
}

fn f4_a_client_that_never_answers_the_ping_is_ended(way: &Way) {
    let (server, mut client) = way.start();
    client.get(1, "/");
    client.wait_for_end(1);
    server.drain();
    while client.next().is_some() {}
    server.exit_within(SOON).expect(0);
}

fn f4_a_client_that_never_answers_the_ping_and_goes_on_asking_is_ended(way: &Way) {
    let (server, mut client) = way.start_with("echo", &["timeout=16s"]);
    client.get(1, "/sleep?ms=100");
    server.wait_for("handling /sleep");
    server.drain();
    let frames = client.asks_on_and_on(3, "/sleep?ms=100");
    expect_no_loss(&frames);
    server.exit_within(SOON).expect(0);
}

fn a_client_that_vanishes_is_noticed_by_the_keep_alive(way: &Way) {
    let settings = ["timeout=60s", "keep_alive=1500ms"];
    let (server, mut client) = way.start_with("echo", &settings);
    let mut present = Http2::over(way.connect(&server));
    client.get(1, "/sleep?ms=50000");
    present.get(1, "/sleep?ms=5000");
    // Answers every PING, from the first on, as the other does not.
    let present = thread::spawn(move || present.rest());
    server.wait_for_times("handling /sleep", 2);
    server.drain();
    let frames = present.join().expect("it reads to the end");
    assert!(body_of(1, &frames).starts_with("slept beside"));
    server.exit_within(SOON).expect(0);
}

fn more_streams_than_allowed_are_refused(way: &Way) {
    let (server, mut client) = way.start_with("echo", &["timeout=60s", "streams=2"]);
    for stream in [1, 3] {
        client.get(stream, "/sleep?ms=1000");
    }
    server.wait_for_times("handling /sleep", 2);
    client.get(5, "/");
    client.wait_for(|frame| *frame == Frame::Reset { stream: 5 });
    server.drain();
    let frames = client.rest();
    for stream in [1, 3] {
        assert!(body_of(stream, &frames).starts_with("slept beside"));
    }
    server.exit_within(SOON).expect(0);
}

fn k7_streams_that_the_client_has_reset_are_counted_and_named(way: &Way) {
    let (server, mut client) = way.start();
    let mut other = Http2::over(way.connect(&server));
    client.get(1, "/sleep?ms=50000");
    client.get(3, "/stream?n=1000&ms=50");
    client.get(5, "/sleep?ms=1500");
    other.get(1, "/sleep?ms=50000");
    server.wait_for_times("handling /s", 4);
    server.drain();
    client.reset(1);
    client.wait_for_data(3);
    client.reset(3);
    drop(other);
    let frames = client.rest();
    assert!(body_of(5, &frames).starts_with("slept beside"));
    let log = server.exit_within(SOON).expect(0);
    let counted = "1 request finished, 0 cut, 3 left by their clients: ";
    assert!(log.has(counted), "{log}");
    let line = log.lines_with(counted).concat();
    for path in ["/sleep", "/stream"] {
        let name = format!("GET {path} from 127.0.0.1:");
        assert!(line.contains(&name), "{line}");
    }
}

fn a_stream_on_which_only_the_client_goes_on_is_waited_for_and_named(way: &Way) {
    let (server, mut client) = way.start();
    client.upload(1, "/read_on");
    client.wait_for(|frame| {
        matches!(
            frame,
            Frame::Data {
                stream: 1,
                end: true,
                ..
            }
        )
    });
    server.drain();
    // Longer than a connection is kept that has no stream, with pauses that are shorter.
    for _ in 0..7 {
        sleep(Duration::from_secs(1));
        client.data(1, &[b'x'; 1000], false);
    }
    assert!(
        server.log().has("waiting for 1 half-closed stream; "),
        "{}",
        server.log()
    );
    client.data(1, b"", true);
    client.rest();
    let log = server.exit_within(SOON).expect(0);
    assert!(log.has("read 7000 bytes"), "{log}");
}

/// The handler ends in a task of its own, and later than the connection.
fn k7_who_leaves_as_the_last_is_counted_and_named(way: &Way) {
    let (server, mut client) = way.start();
    client.get(1, "/cling");
    server.wait_for("handling /cling");
    server.drain();
    drop(client);
    let log = server.exit_within(SOON).expect(0);
    let counted = ": 0 requests finished, 0 cut, 1 left by its client: GET /cling from 127.";
    assert!(log.has(counted), "{log}");
}

fn f4_a_head_that_never_ends_is_ended(way: &Way) {
    for is_before in [true, false] {
        let (server, client) = way.start_with("echo", &["timeout=8s"]);
        http2::expect_half_head_to_time_out(server, client, is_before);
    }
}

fn k7_what_an_offence_ends_has_not_finished(way: &Way) {
    let (server, client) = way.start();
    http2::expect_offence_to_finish_nothing(server, client);
}

fn k7_who_does_not_read_on_has_left(way: &Way) {
    for is_reset in [true, false] {
        let (server, client) = way.start();
        http2::expect_who_reads_no_further_to_be_counted(server, client, is_reset);
    }
}

fn k9_a_websocket_is_told_named_and_waited_for(way: &Way) {
    let (server, mut client) = way.start_with("upgrade", &["timeout=6s"]);
    client.websocket(1, "/ws?secret");
    server.wait_for("socket open");
    server.drain();
    client.wait_for(|frame| is_goodbye(1, frame));
    let line = server.wait_for("waiting for");
    let named = "1 upgraded connection: CONNECT /ws from 127.0.0.1:";
    assert!(line.contains(named), "{line}");
    // Longer than a connection is kept that has no stream.
    sleep(Duration::from_secs(2));
    assert!(server.is_running(), "{}", server.log());
    client.data(1, GOODBYE, true);
    let frames = client.rest();
    let is_end = |frame: &Frame| {
        matches!(
            frame,
            Frame::Data {
                stream: 1,
                end: true,
                ..
            }
        )
    };
    assert!(frames.iter().any(is_end), "{frames:?}");
    let log = server.exit_within(SOON).expect(0);
    assert!(log.has("socket task ends"), "{log}");
}

fn k9_a_websocket_that_has_ended_is_forgotten(way: &Way) {
    let (server, mut client) = way.start_with("upgrade", &["timeout=60s"]);
    for (stream, path) in [(1, "/ignore"), (3, "/ws"), (5, "/ignore")] {
        client.websocket(stream, path);
        client
            .wait_for(|frame| matches!(frame, Frame::Headers { stream: of, .. } if *of == stream));
    }
    server.wait_for_times("socket open", 3);
    client.data(1, &[], true);
    client.wait_for(|frame| {
        matches!(
            frame,
            Frame::Data {
                stream: 1,
                end: true,
                ..
            }
        )
    });
    client.reset(5);
    server.drain();
    let line = server.wait_for("waiting for");
    let named = "waiting for 1 upgraded connection: CONNECT /ws from 127.0.0.1:";
    assert!(line.contains(named), "{line}");
    client.data(3, GOODBYE, true);
    client.rest();
    server.exit_within(SOON).expect(0);
}

fn f4_a_client_that_never_sends_its_preface_is_ended(way: &Way) {
    for beginning in [
        "",
        "PRI",
        "PRI * HTTP/2.0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let (server, _) = way.start();
        let mut connection = way.connect(&server);
        connection.send(beginning);
        server.drain();
        connection.rest().expect("an orderly close");
        server.exit_within(SOON).expect(0);
    }
}

/// How HTTP/2 is agreed on.
enum Way {
    /// By prior knowledge.
    ClearText,
    /// By ALPN.
    Tls(Certificate),
}

impl Way {
    fn tls() -> Self {
        Self::Tls(Certificate::new())
    }

    /// Starts a server that would need a minute if anything had to wait for the deadline.
    fn start(&self) -> (Server, Http2) {
        self.start_with("echo", &["timeout=60s"])
    }

    fn start_with(&self, program: &str, settings: &[&str]) -> (Server, Http2) {
        let mut command = match program {
            "upgrade" => command!("upgrade"),
            _ => command!("echo"),
        };
        command.args(settings);
        if let Self::Tls(certificate) = self {
            command.arg(certificate.setting());
        }
        let server = Server::start(command);
        let client = Http2::over(self.connect(&server));
        (server, client)
    }

    fn connect(&self, server: &Server) -> Connection {
        match self {
            Self::ClearText => server.connect(),
            Self::Tls(certificate) => certificate.connect(server.address(), "h2"),
        }
    }
}

/// Fails unless the server said goodbye without an error, in two steps, down to `last`.
#[track_caller]
fn expect_goaways(frames: &[Frame], last: u32) {
    let goaways: Vec<_> = frames
        .iter()
        .filter(|f| matches!(f, Frame::GoAway { .. }))
        .collect();
    let expected = [ALL, last].map(|last| Frame::GoAway { last, error: 0 });
    assert_eq!(goaways, expected.iter().collect::<Vec<_>>(), "{frames:?}");
}

#[test]
fn n14_who_floods_pings_and_reads_slowly_does_not_hold_the_drain() {
    for mut command in [command!("echo"), command!("framework")] {
        // Half of it is more than a client may take that has nothing in flight.
        command.arg("timeout=12s");
        let server = Server::start(command);
        let mut client = http2::flood(server.address());
        server.signal(Signal::TERM);
        // There is more than it would come to the end of.
        thread::spawn(move || {
            let mut some = [0; 12_000];
            while client.read(&mut some).is_ok_and(|count| count > 0) {
                sleep(Duration::from_millis(300));
            }
        });
        server.exit_within(SOON).expect(0);
    }
}

#[test]
fn n14_who_floods_pings_and_never_reads_does_not_hold_the_drain() {
    let server = server!("echo", "timeout=60s");
    let client = http2::flood(server.address());
    server.signal(Signal::TERM);
    server.exit_within(SOON).expect(0);
    drop(client);
}
