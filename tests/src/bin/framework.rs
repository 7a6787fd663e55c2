//! Servers of other frameworks: `framework=axum` or `tonic`, adapted or, with `as=is`, as they are.
//!
//! `framework=graceful` serves the same app without another framework. With `connect_info=yes` its
//! handlers learn who asks. With `beside=graceful` there is a server of ours, too, and with `hook=yes` a hook at the end.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::ConnectInfo;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{StatusCode, Uri};
use axum::routing::{any, get, post};
use graceful::adapt::PeerAddr;
use graceful_tests::echo::Echo;
use graceful_tests::servers::{Running, bind};
use graceful_tests::settings::Settings;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

fn main() -> ExitCode {
    let settings = Settings::from_args();
    settings.config().run(start(settings))
}

async fn start(settings: Settings) -> io::Result<Vec<Running>> {
    println!("main");
    if settings.text("hook") == Some("yes") {
        graceful::on_stop(async { println!("hook runs") });
    }
    if settings.text("framework") == Some("graceful") {
        return Ok(vec![served(&settings).await?]);
    }
    let is_tonic = settings.text("framework") == Some("tonic");
    let mut servers = vec![match settings.text("as") {
        Some("is") if is_tonic => tonic_as_it_is(listen().await?),
        Some("is") => axum_as_it_is(listen().await?),
        _ if is_tonic => tonic(&settings).await?,
        _ => axum(&settings).await?,
    }];
    if settings.text("beside") == Some("graceful") {
        let server = graceful::serve(bind("127.0.0.1:0").await?, Echo);
        servers.push(Box::pin(server.into_future()));
    }
    println!("bound");
    Ok(servers)
}

async fn served(settings: &Settings) -> io::Result<Running> {
    let listener = bind(settings.text("listen").unwrap_or("127.0.0.1:0")).await?;
    let mut server = graceful::serve(listener, app());
    if settings.text("connect_info") == Some("yes") {
        server = server.connect_info();
    }
    println!("bound");
    Ok(Box::pin(server.into_future()))
}

async fn axum(settings: &Settings) -> io::Result<Running> {
    let listener = bind(settings.text("listen").unwrap_or("127.0.0.1:0")).await?;
    let (listener, layer, shutdown) = graceful::adapt(listener);
    let app = app().layer(layer);
    if settings.text("connect_info") == Some("yes") {
        let app = app.into_make_service_with_connect_info::<PeerAddr>();
        let server = axum::serve(listener, app).with_graceful_shutdown(shutdown);
        return Ok(Box::pin(server.into_future()));
    }
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown);
    Ok(Box::pin(server.into_future()))
}

async fn tonic(settings: &Settings) -> io::Result<Running> {
    let listener = bind(settings.text("listen").unwrap_or("127.0.0.1:0")).await?;
    let (listener, layer, shutdown) = graceful::adapt(listener);
    let server = Server::builder()
        // So that the clients of all the tests can be the same.
        .accept_http1(settings.text("http1") != Some("no"))
        .layer(layer)
        .serve_with_incoming_shutdown(Routes::from(app()), listener, shutdown);
    Ok(boxed(server))
}

fn axum_as_it_is(listener: TcpListener) -> Running {
    let server = axum::serve(listener, app()).with_graceful_shutdown(graceful::shutdown());
    Box::pin(server.into_future())
}

fn tonic_as_it_is(listener: TcpListener) -> Running {
    let server = Server::builder()
        .accept_http1(true)
        .serve_with_incoming_shutdown(
            Routes::from(app()),
            TcpIncoming::from(listener),
            graceful::shutdown(),
        );
    boxed(server)
}

fn boxed(
    server: impl Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
) -> Running {
    Box::pin(async { server.await.map_err(io::Error::other) })
}

/// Listens without our help, and says so in our words, for which the tests wait.
async fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    println!("addr {address}");
    println!("as if it were graceful: listening on {address}");
    Ok(listener)
}

fn app() -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/sleep", get(sleep))
        .route("/panic", get(panic))
        .route("/upload", post(upload))
        .route("/big", get(big))
        .route("/peer", get(peer))
        .route("/adapted_peer", get(adapted_peer))
        .route("/pid", get(|| async { std::process::id().to_string() }))
        .route("/requests", get(requests))
        .route("/status", get(readiness))
        .route(
            "/slow_ws",
            any(async |uri: Uri, upgrade: WebSocketUpgrade| {
                sleep(uri).await;
                upgrade.on_upgrade(polite)
            }),
        )
        .route(
            "/ws",
            any(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(polite)),
        )
}

/// Sleeps for as many milliseconds as the query says, `ms=`; from the beginning of the drain on where it
/// ends with `&from=drain`.
async fn sleep(uri: Uri) -> &'static str {
    println!("handling /sleep");
    let query = uri.query().unwrap_or_default();
    let (query, is_from_drain) = match query.strip_suffix("&from=drain") {
        Some(query) => (query, true),
        None => (query, false),
    };
    if is_from_drain {
        graceful::shutdown().await;
    }
    let ms = query.strip_prefix("ms=").and_then(|ms| ms.parse().ok());
    let ms = ms.unwrap_or_default();
    tokio::time::sleep(Duration::from_millis(ms)).await;
    "slept"
}

async fn panic(uri: Uri) {
    println!("handling /panic");
    sleep(uri).await;
    panic!("as the client wished");
}

/// Answers as [`graceful_tests::echo`] does, and with an error where nobody knows.
async fn peer(ConnectInfo(address): ConnectInfo<SocketAddr>) -> String {
    format!("{:?}", Some(address))
}

async fn adapted_peer(ConnectInfo(PeerAddr(address)): ConnectInfo<PeerAddr>) -> String {
    format!("{address:?}")
}

/// Answers as many bytes as the query says, `bytes=`, in one piece; with `&ms=` behind it, after that many milliseconds.
async fn big(uri: Uri) -> Vec<u8> {
    println!("handling /big");
    let query = uri.query().and_then(|query| query.strip_prefix("bytes="));
    let query = query.unwrap_or_default();
    let (count, ms) = query.split_once("&ms=").unwrap_or((query, "0"));
    tokio::time::sleep(Duration::from_millis(ms.parse().unwrap_or_default())).await;
    println!("finished /big");
    vec![b'x'; count.parse().unwrap_or_default()]
}

async fn upload(body: Bytes) -> String {
    body.len().to_string()
}

/// Answers how many requests are in flight, this one included.
async fn requests() -> String {
    graceful::status().requests.to_string()
}

async fn readiness() -> StatusCode {
    match graceful::status().is_ready() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Says goodbye when the drain begins, then waits for the client to do the same.
async fn polite(mut socket: WebSocket) {
    println!("socket open");
    graceful::shutdown().await;
    let goodbye = CloseFrame {
        code: close_code::AWAY,
        reason: "shutting down".into(),
    };
    // Fails where the client went away, and the loop ends at once.
    let _ = socket.send(Message::Close(Some(goodbye))).await;
    while socket.recv().await.is_some() {}
    println!("socket task ends");
}
