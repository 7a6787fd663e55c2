//! K. Message boundaries: where a request ends is known, never inferred.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use graceful_tests::{Certificate, Connection, Listen, Proxy, SOON, Server, Signal, command, get};

macro_rules! over_every_transport {
    ($($name:ident)*) => {
        mod over_tcp {
            $(#[test] fn $name() { super::$name(&graceful_tests::Listen::tcp()); })*
        }

        mod over_unix {
            $(#[test] fn $name() { super::$name(&graceful_tests::Listen::unix()); })*
        }

        mod over_tls {
            $(#[test] fn $name() { super::$name(&graceful_tests::Listen::tls()); })*
        }
    };
}

over_every_transport! {
    k1_a_body_that_is_not_read_is_never_served
    k1_a_body_that_is_not_read_is_never_served_whenever_the_drain_begins
    k1_a_body_that_was_read_to_its_end_ends_no_connection
    k2_two_requests_in_any_spelling_are_answered
    k3_the_last_response_says_close_whatever_came_before_it
    k4_a_post_as_the_last_request_costs_nothing
    k5_an_early_answer_can_be_read
    k5_an_early_answer_can_be_read_however_slowly
    k7_a_half_closed_client_is_answered
    k7_a_half_closed_client_that_goes_frees_its_handler
    k7_a_half_closed_client_has_gone_unless_it_is_to_be_answered
}

/// How often a server is stopped behind a proxy.
const STOPS: usize = 5;
const CLIENTS: usize = 8;

/// The heads of uploads, up to the path and from there on; all of them have the body of [`body`].
const UPLOADS: [&str; 4] = [
    "content-length: 60034\r\n",
    "content-length: 60034\r\nexpect: 100-continue\r\n",
    "transfer-encoding: chunked\r\n",
    "transfer-encoding: chunked\r\nexpect: 100-continue\r\n",
];

fn head(path: &str, fields: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: test\r\n{fields}\r\n")
}

/// Empty lines and then a request, which a server may serve only if it takes the body for requests.
fn body(fields: &str) -> Vec<u8> {
    let internal = get("/internal");
    let lines = "\r\n".repeat((60034 - internal.len()) / 2);
    let body = [lines.as_bytes(), internal.as_bytes()].concat();
    if !fields.contains("chunked") {
        return body;
    }
    let chunk = |data: &[u8]| [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat();
    let chunks: Vec<_> = body.chunks(1000).map(chunk).collect();
    [chunks.concat().as_slice(), b"0\r\n\r\n"].concat()
}

/// Fails unless the server has ended without having served the request in the body.
#[track_caller]
fn expect_unserved(listen: &Listen, server: Server) {
    let log = listen.expect_clean_end(server);
    assert!(!log.has("/internal"), "a body was served:\n{log}");
}

fn k1_a_body_that_is_not_read_is_never_served(listen: &Listen) {
    for fields in UPLOADS {
        let server = listen.start(command!("echo"), &[]);
        let mut connection = listen.connect(&server);
        let body = body(fields);
        let (begin, end) = body.split_at(20_000);
        connection.send(head("/sleep?ms=100&from=drain", fields));
        connection.send(begin);
        server.wait_for("handling /sleep");
        server.drain();
        // Fails where the answer was quicker; the connection is of no more use then.
        let _ = connection.try_send(end);
        assert_eq!(connection.response().status, 200, "{fields:?}");
        connection.expect_eof();
        expect_unserved(listen, server);
    }
}

fn k1_a_body_that_is_not_read_is_never_served_whenever_the_drain_begins(listen: &Listen) {
    for fields in UPLOADS {
        let server = listen.start(command!("echo"), &["workers=2"]);
        let uploads: Vec<_> = (0..8)
            .map(|_| {
                let mut connection = listen.connect(&server);
                let upload = [head("/early?bytes=10", fields).into_bytes(), body(fields)].concat();
                thread::spawn(move || {
                    // The first ones before the signal, and each one up to its answer or its end.
                    let _ = connection.try_send(&upload);
                    connection.try_response().map(|response| response.status)
                })
            })
            .collect();
        server.wait_for("handling /early");
        server.signal(Signal::TERM);
        for upload in uploads {
            let status = upload.join().expect("no panic");
            assert!(matches!(status, Ok(413)), "{fields:?}: {status:?}");
        }
        expect_unserved(listen, server);
    }
}

fn k1_a_body_that_was_read_to_its_end_ends_no_connection(listen: &Listen) {
    for fields in UPLOADS {
        let server = listen.start(command!("echo"), &["grace=30s"]);
        let mut connection = listen.connect(&server);
        upload(&mut connection, fields);
        server.drain();
        connection.get("/").expect_last();
        connection.expect_eof();
        expect_unserved(listen, server);
    }
}

fn upload(connection: &mut Connection, fields: &str) {
    connection.send(head("/upload", fields));
    connection.send(body(fields));
    if fields.contains("100-continue") {
        assert_eq!(connection.head().status, 100);
    }
    let response = connection.response();
    assert_eq!((response.status, &*response.text()), (200, "60034"));
    assert!(!response.says_close(), "{response:?}");
}

#[test]
fn k1_behind_nginx_a_body_that_is_not_read_is_never_served() {
    let upload = [head("/early?bytes=10", UPLOADS[0]).into(), body(UPLOADS[0])].concat();
    for _ in 0..STOPS {
        let server = Listen::tcp().start(command!("echo"), &[]);
        let proxy = match Proxy::nginx([server.address(); 2]) {
            Ok(proxy) => proxy,
            Err(reason) => return eprintln!("skipped: {reason}"),
        };
        let mut client = Connection::open(proxy.address());
        assert_eq!(client.get("/internal").status, 403);
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let mut client = Connection::open(proxy.address());
                    // A 502 is the proxy's, where it has taken a connection that is about to close.
                    let mut status = 0;
                    while status != 502 || server.is_accepting() {
                        client.send(&upload);
                        status = client.response().status;
                    }
                });
            }
            server.wait_for_times("handling /early", 10 * CLIENTS);
            server.signal(Signal::TERM);
        });
        // It would keep its connections to the server.
        drop(proxy);
        expect_unserved(&Listen::tcp(), server);
    }
}

/// Requests for `PATH`, as clients may write them; some have a body.
const SPELLINGS: [&str; 8] = [
    "GET PATH HTTP/1.1\r\nhost: test\r\n\r\n",
    "GET PATH HTTP/1.1\r\nhost:test\r\na:b\r\nc:d\r\n\r\n",
    "GET PATH HTTP/1.1\r\nhost:    test   \r\n\r\n",
    "GET PATH HTTP/1.1\nhost: test\n\n",
    "GET http://testPATH HTTP/1.1\r\nhost: test\r\n\r\n",
    "\r\nPOST PATH HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\n\r\n\r\n",
    "POST PATH HTTP/1.1\r\nhost: test\r\ncontent-length: 04\r\nContent-Length:4\r\n\r\nabcd",
    "POST PATH HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n\
     3;a=b\r\nabc\r\n0\r\nx: y\r\n\r\n",
];

fn k2_two_requests_in_any_spelling_are_answered(listen: &Listen) {
    let server = listen.start(command!("echo"), &[]);
    let connections: Vec<_> = SPELLINGS
        .map(|spelling| {
            let first = spelling.replace("PATH", "/upload?wait=drain");
            let mut connection = listen.connect(&server);
            // The first may be answered before the server has seen that it drains, the second is not.
            connection.send(first + &get("/sleep?ms=300"));
            (spelling, connection)
        })
        .into();
    server.wait_for_times("handling /upload", SPELLINGS.len());
    server.drain();
    for (spelling, mut connection) in connections {
        let first = connection.response();
        assert!(
            first.status == 200 && !first.says_close(),
            "{spelling:?}: {first:?}"
        );
        connection.response().expect_last();
        connection.expect_eof();
    }
    let log = listen.expect_clean_end(server);
    assert!(log.has(", 0 cut"), "{log}");
}

fn k3_the_last_response_says_close_whatever_came_before_it(listen: &Listen) {
    let server = listen.start(command!("echo"), &["lame_duck=20s"]);
    let mut connections = SPELLINGS.map(|spelling| {
        let mut connection = listen.connect(&server);
        for _ in 0..20 {
            connection.send(spelling.replace("PATH", "/upload"));
            assert!(!connection.response().says_close());
        }
        connection
    });
    let mut watch = listen.connect(&server);
    server.signal(Signal::TERM);
    while !watch.get("/").says_close() {}
    for (spelling, connection) in SPELLINGS.iter().zip(&mut connections) {
        connection.send(spelling.replace("PATH", "/upload"));
        let response = connection.response();
        assert!(response.says_close(), "{spelling:?}: {response:?}");
        connection.expect_eof();
    }
}

fn k4_a_post_as_the_last_request_costs_nothing(listen: &Listen) {
    // A machine that is too busy to end a process within the timeout shows nothing, and gets another try.
    assert!((0..10).any(|_| ends_at_once_after_posts(listen)));
}

/// Tells whether a server whose connections have brought a POST last ends within less than a second, which
/// is what waiting for their peers would cost.
fn ends_at_once_after_posts(listen: &Listen) -> bool {
    let server = listen.start(command!("echo"), &["grace=1ms", "timeout=900ms"]);
    let connections: Vec<_> = SPELLINGS
        .map(|spelling| {
            let mut connection = listen.connect(&server);
            connection.send(spelling.replace("PATH", "/upload"));
            assert_eq!(connection.response().status, 200);
            // Neither a close nor another request comes, but an empty line may.
            connection.send("\r\n");
            connection
        })
        .into();
    server.signal(Signal::TERM);
    let exit = server.exit_within(SOON);
    for mut connection in connections {
        connection.expect_eof();
    }
    exit.code == Some(0) && exit.log.has(": no request was in flight")
}

fn k5_an_early_answer_can_be_read(listen: &Listen) {
    let server = listen.start(command!("echo"), &[]);
    for _ in 0..10 {
        let mut connection = listen.connect(&server);
        connection.send(head("/early?bytes=1000", "content-length: 8000000\r\n"));
        // The server stops reading somewhere, and says why: an error to send is no surprise.
        let _ = connection.try_send(vec![b'x'; 8_000_000]);
        let response = connection.response();
        assert_eq!((response.status, response.body.len()), (413, 1000));
    }
    server.signal(Signal::TERM);
    listen.expect_clean_end(server);
}

fn k5_an_early_answer_can_be_read_however_slowly(listen: &Listen) {
    const PIECES: usize = 60;
    const PIECE: usize = 16 << 10;
    let server = listen.start(command!("echo"), &[]);
    let mut connection = listen.connect(&server);
    let path = format!("/early?bytes={}", PIECES * PIECE);
    connection.send(head(&path, "content-length: 8000000\r\n"));
    server.wait_for("finished /early");
    server.drain();
    assert_eq!(connection.head().status, 413);
    for piece in 0..PIECES {
        // Each time something of the upload that nobody reads; it stops where the server reads no more.
        let _ = connection.try_send([b'x'; 1000]);
        // One pause is longer than a peer may be silent that has everything.
        sleep(Duration::from_millis(if piece == 5 { 1500 } else { 60 }));
        let read = connection.exactly(PIECE);
        read.unwrap_or_else(|error| panic!("lost behind {piece} pieces: {error}"));
    }
    listen.expect_clean_end(server);
}

#[test]
fn k5_behind_nginx_an_early_answer_can_be_read() {
    for listen in [Listen::tcp(), Listen::unix()] {
        let server = listen.start(command!("echo"), &[]);
        for _ in 0..10 {
            // A new one each time, which has no connection of which it does not know yet that it has ended.
            let proxy = match Proxy::nginx([server.address(); 2]) {
                Ok(proxy) => proxy,
                Err(reason) => return eprintln!("skipped: {reason}"),
            };
            let mut client = Connection::open(proxy.address());
            client.send(head("/early?bytes=1000", "content-length: 1000000\r\n"));
            client.send(vec![b'x'; 1_000_000]);
            let response = client.response();
            assert_eq!((response.status, response.body.len()), (413, 1000));
        }
        server.signal(Signal::TERM);
        listen.expect_clean_end(server);
    }
}

#[test]
fn k6_half_a_record_is_a_request_that_has_begun() {
    // On an idle connection, and behind a request in flight: right behind it, and when its handler runs.
    let idle = get("/pid");
    let sleeping = get("/sleep?ms=200&from=drain");
    for (first, handling) in [
        (&idle, "finished /pid"),
        (&sleeping, "handling"),
        (&sleeping, "bound"),
    ] {
        for count in [1, 4, 5, 6, 20, usize::MAX] {
            // A machine that is too busy to send the rest within a second shows nothing, and gets another try.
            let was_in_time = (0..10).any(|_| completes_a_record_in_time(first, handling, count));
            assert!(was_in_time, "{first:?} {handling} {count}");
        }
    }
}

/// Sends `first`, when the server has printed `printed` the first `count` bytes of a record with a further
/// request, and the rest in the drain; returns whether that was within the second which the server grants.
fn completes_a_record_in_time(first: &str, printed: &str, count: usize) -> bool {
    // Long enough for the server to have read what was sent; where it has not, the kernel tells of it.
    let give_it_time = || sleep(Duration::from_millis(50));
    let certificate = Certificate::new();
    let server = Listen::tcp().start(command!("echo"), &["grace=1ms", &certificate.setting()]);
    let handshake = certificate.handshake(server.address(), "http/1.1");
    let mut begin = Instant::now();
    let before = || {
        server.wait_for(printed);
        if printed != "bound" {
            give_it_time();
        }
    };
    let connection = handshake.finish_and_cut(first, &get("/"), count, before, || {
        give_it_time();
        begin = Instant::now();
        server.drain();
        sleep(Duration::from_millis(400));
    });
    if begin.elapsed() > Duration::from_millis(900) {
        return false;
    }
    let mut connection = connection.expect("the server reads on");
    assert_eq!(connection.response().status, 200);
    connection.response().expect_last();
    connection.expect_eof();
    Listen::tcp().expect_clean_end(server);
    true
}

#[test]
fn k6_half_a_record_that_is_never_completed_is_bounded() {
    let certificate = Certificate::new();
    let server = Listen::tcp().start(command!("echo"), &["grace=1ms", &certificate.setting()]);
    let handshake = certificate.handshake(server.address(), "http/1.1");
    // The server has ended when the rest would be sent.
    let _ = handshake.finish_and_cut(
        &get("/"),
        &get("/"),
        7,
        || {},
        || {
            server.drain();
            Listen::tcp().expect_clean_end(server);
        },
    );
}

/// A server that answers half-closed clients.
fn answering_half_closed(listen: &Listen) -> Server {
    listen.start(command!("echo"), &["half_close=yes"])
}

fn k7_a_half_closed_client_is_answered(listen: &Listen) {
    let slow = get("/sleep?ms=100&from=drain");
    let upload = "POST /upload?wait=drain HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nhello";
    let cases = [
        vec![slow.as_str()],
        vec![upload],
        vec![&slow, upload],
        vec![&slow, &slow],
    ];
    for requests in cases {
        let server = answering_half_closed(listen);
        let mut connection = listen.connect(&server);
        connection.send(requests.concat());
        connection.finish_sending();
        server.wait_for("handling /");
        server.drain();
        for request in &requests {
            assert_eq!(connection.response().status, 200, "{request}");
        }
        connection.expect_eof();
        listen.expect_clean_end(server);
    }
}

fn k7_a_half_closed_client_that_goes_frees_its_handler(listen: &Listen) {
    let server = answering_half_closed(listen);
    let wait = get("/wait");
    for (number, pipelined) in ["", &wait].into_iter().enumerate() {
        for is_half_closed in [false, true] {
            let mut connection = listen.connect(&server);
            connection.send(&wait);
            server.wait_for_times(
                "handling /wait",
                number * 2 + 1 + usize::from(is_half_closed),
            );
            connection.send(pipelined);
            if is_half_closed {
                connection.finish_sending();
            }
            connection.reset();
            server.wait_for_times(
                "dropped /wait",
                number * 2 + 1 + usize::from(is_half_closed),
            );
        }
    }
    server.drain();
    listen.expect_clean_end(server);
}

fn k7_a_half_closed_client_has_gone_unless_it_is_to_be_answered(listen: &Listen) {
    let server = listen.start(command!("echo"), &[]);
    let mut connection = listen.connect(&server);
    connection.send(get("/wait"));
    server.wait_for("handling /wait");
    connection.finish_sending();
    server.wait_for("dropped /wait");
    server.drain();
    listen.expect_clean_end(server);
}
