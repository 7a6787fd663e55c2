//! What a handler learns of its client: from our server, and from an adapted one.

use std::net::SocketAddr;

use graceful_tests::http2::{Frame, body_of};
use graceful_tests::{Certificate, Connection, Http2, SOON, server};

#[test]
fn a_request_has_the_address_of_its_client() {
    let server = server!("echo", "connect_info=yes");
    expect_addresses(|_| server.connect(), "/peer");
}

#[test]
fn a_request_over_tls_has_the_address_of_its_client() {
    let certificate = Certificate::new();
    let server = server!("echo", "connect_info=yes", certificate.setting());
    expect_addresses(
        |protocol| certificate.connect(server.address(), protocol),
        "/peer",
    );
}

#[test]
fn a_request_has_no_address_unless_that_is_asked_for() {
    let server = server!("echo");
    assert_eq!(server.connect().get("/peer").text(), "None");
}

#[test]
fn a_request_on_a_unix_socket_has_no_address() {
    let socket = Socket::new();
    let server = server!("echo", "connect_info=yes", socket.setting());
    assert_eq!(server.connect().get("/peer").text(), "None");
}

#[test]
fn axums_handlers_extract_the_address_of_their_client() {
    let server = server!("framework", "framework=graceful", "connect_info=yes");
    expect_addresses(|_| server.connect(), "/peer");
}

#[test]
fn axums_extractor_fails_where_there_is_no_address() {
    let socket = Socket::new();
    let with_nothing_asked = server!("framework", "framework=graceful");
    let on_a_unix_socket = server!(
        "framework",
        "framework=graceful",
        "connect_info=yes",
        socket.setting()
    );
    for server in [with_nothing_asked, on_a_unix_socket] {
        assert_eq!(server.connect().get("/peer").status, 500);
    }
}

#[test]
fn adapted_handlers_extract_the_address_of_their_client() {
    let server = server!("framework", "framework=axum", "connect_info=yes");
    expect_addresses(|_| server.connect(), "/adapted_peer");
}

#[test]
fn adapted_handlers_extract_no_address_on_a_unix_socket() {
    let socket = Socket::new();
    let server = server!(
        "framework",
        "framework=axum",
        "connect_info=yes",
        socket.setting()
    );
    assert_eq!(server.connect().get("/adapted_peer").text(), "None");
}

/// axum puts something of its own around the layer then, which must not come between the two.
#[test]
fn adapted_with_connect_info_loses_nothing() {
    let server = server!(
        "framework",
        "framework=axum",
        "connect_info=yes",
        "timeout=60s"
    );
    let mut connection = server.sleeping(2000);
    let client = address_of(&connection);
    server.drain();
    connection.response().expect_last();
    connection.expect_eof();
    let log = server.exit_within(SOON).expect(0);
    // Known by its address, so the layer has found the connection.
    assert!(
        log.has(&format!("waiting for 1 request: GET /sleep from {client}")),
        "{log}"
    );
    assert!(log.has("1 request finished, 0 cut"), "{log}");
}

/// Fails unless both versions of HTTP are told the address of their own end.
#[track_caller]
fn expect_addresses(connect: impl Fn(&str) -> Connection, path: &str) {
    let mut connection = connect("http/1.1");
    let expected = format!("{:?}", Some(address_of(&connection)));
    // Twice: every request has it, not the first one only.
    for _ in 0..2 {
        assert_eq!(connection.get(path).text(), expected);
    }
    let connection = connect("h2");
    let expected = format!("{:?}", Some(address_of(&connection)));
    let mut client = Http2::over(connection);
    for stream in [1, 3] {
        assert_eq!(asked_over_http2(&mut client, stream, path), expected);
    }
}

#[track_caller]
fn address_of(connection: &Connection) -> SocketAddr {
    connection.local_addr().expect("a TCP socket has one")
}

#[track_caller]
fn asked_over_http2(client: &mut Http2, stream: u32, path: &str) -> String {
    client.get(stream, path);
    let mut frames = Vec::new();
    while !matches!(frames.last(), Some(Frame::Data { end: true, .. })) {
        frames.push(client.next().expect("the server answers"));
    }
    body_of(stream, &frames)
}

/// A place for a UNIX socket, for as long as this value lives.
struct Socket(tempfile::TempDir);

impl Socket {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("there is a place for temporary files"))
    }

    fn setting(&self) -> String {
        format!("listen=unix:{}", self.0.path().join("socket").display())
    }
}
