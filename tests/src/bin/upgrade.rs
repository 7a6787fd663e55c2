//! WebSockets under axum: one that says goodbye and one that takes no notice.

use std::io;
use std::process::ExitCode;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::routing::any;
use graceful_tests::servers::{Running, bind, serve};
use graceful_tests::settings::Settings;

fn main() -> ExitCode {
    let settings = Settings::from_args();
    settings.config().run(start(settings))
}

async fn start(settings: Settings) -> io::Result<Running> {
    println!("main");
    let router = Router::new()
        .route(
            "/ws",
            any(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(polite)),
        )
        .route(
            "/ignore",
            any(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(ignorant)),
        );
    let listener = bind("127.0.0.1:0").await?;
    println!("bound");
    serve(listener, router, &settings)
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

async fn ignorant(mut socket: WebSocket) {
    println!("socket open");
    while socket.recv().await.is_some() {}
}
